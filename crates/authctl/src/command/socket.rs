//! `authctl socket` ↔ `socket.create`, `socket.list`, `socket.revoke`.

use std::path::Path;
use std::process::ExitCode;

use authd_client::Client;
use authd_proto::socket::{SocketCreate, SocketInfo, SocketList, SocketListReply, SocketRevoke};
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::{Json, seconds, split_scopes};
use crate::daemon;
use crate::exit::Failure;
use crate::output::{self, STRONG, clean, span, styled};

/// How long a new one waits for the person, where the account asks.
pub(super) const WAIT_SECS: u64 = 60;

/// Sockets that give one account's token and nothing else
///
/// For containers and remote hosts. Such a socket answers three methods for one account, until its time is
/// over or it is revoked; 'authctl ssh' makes and revokes one by itself.
#[derive(Args)]
pub(crate) struct SocketArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with them.
#[derive(Subcommand)]
enum Verb {
    /// Open one, and print its path
    #[command(
        after_help = "Examples:\n  authctl socket create --account work --scope api:read \
                            --ttl 1h\n  authctl socket create --account work --for container --uid 0"
    )]
    Create(CreateArgs),
    /// List those that are open
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Close one, or all, and every connection that came in there
    Revoke(RevokeArgs),
}

#[derive(Args)]
struct CreateArgs {
    /// Whose token it gives; may be left out where there is one account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,

    #[command(flatten)]
    terms: TermArgs,

    /// Whom it is for, as 'socket list' shows it; 'container', or the name of a host
    #[arg(long = "for", value_name = "HOST|container")]
    label: Option<String>,

    /// A uid to let in, as this system counts it, in the place of your own; repeat for more
    #[arg(long = "uid", value_name = "N")]
    uids: Vec<u32>,

    #[command(flatten)]
    json: Json,
}

/// What it gives, and for how long.
#[derive(Args)]
pub(super) struct TermArgs {
    /// The most scopes that may be asked for [default: those of the login]; repeat, or separate by commas
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// A resource that may be asked for (RFC 8707) [default: that of the login]; repeat for more
    #[arg(long = "resource", value_name = "URL")]
    resources: Vec<String>,

    /// How long it is there, from 1m to 30d
    #[arg(long, value_name = "TIME", default_value = "8h", value_parser = seconds)]
    ttl: u64,
}

impl TermArgs {
    /// The request for such a socket.
    pub(super) fn request(&self, account: Option<String>) -> SocketCreate {
        let scopes = split_scopes(&self.scopes).map(str::to_owned).collect();
        SocketCreate {
            account,
            scopes: (!self.scopes.is_empty()).then_some(scopes),
            resources: self.resources.clone(),
            ttl_secs: Some(self.ttl),
            wait_secs: Some(WAIT_SECS),
            ..SocketCreate::default()
        }
    }
}

#[derive(Args)]
struct RevokeArgs {
    /// Which, as 'socket list' names it
    #[arg(value_name = "NAME", required_unless_present = "all")]
    name: Option<String>,

    /// All of them
    #[arg(long, conflicts_with = "name")]
    all: bool,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: SocketArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    match args.verb {
        Verb::Create(args) => create(&args, &mut client)?,
        Verb::List { json } => list(json, &mut client)?,
        Verb::Revoke(args) => revoke(args, &mut client)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &CreateArgs, client: &mut Client) -> Result<(), Failure> {
    let ask = SocketCreate {
        label: args.label.clone(),
        uids: args.uids.clone(),
        ..args.terms.request(args.account.clone())
    };
    let socket = daemon::ask_waiting(client, &ask, WAIT_SECS)?;
    if args.json.json {
        return output::json(&socket);
    }
    output::note(format_args!(
        "{} gives the token of '{}' for {}; 'authctl socket revoke {}' ends it",
        clean(&socket.name),
        clean(&socket.account),
        span(args.terms.ttl),
        clean(&socket.name),
    ));
    match args.label.as_deref() {
        Some("container") => note_container(&socket),
        Some(host) => output::note(format_args!(
            "'authctl ssh {} --account {}' makes one by itself, and ends it with the session",
            clean(host),
            clean(&socket.account),
        )),
        None => {}
    }
    output::line(clean(&socket.path))
}

/// How its directory gets into a container. Not for writing: nobody in there is to put anything beside it.
fn note_container(socket: &SocketInfo) {
    let directory = Path::new(&socket.path).parent();
    let directory = directory.map_or_else(String::new, |path| path.display().to_string());
    // To others the socket is somebody else's, and they have to be told whose.
    let server = own_uid()
        .filter(|own| !socket.uids.contains(own))
        .map_or_else(String::new, |own| format!(" -e AUTHD_SOCKET_UID={own}"));
    output::note(format_args!(
        "for a container: -v {}:/run/authd:ro -e AUTHD_SOCKET=/run/authd/authd.sock{server}",
        clean(&directory),
    ));
}

#[cfg(unix)]
fn own_uid() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn own_uid() -> Option<u32> {
    None
}

fn list(json: Json, client: &mut Client) -> Result<(), Failure> {
    let sockets = daemon::pages(client, |cursor| SocketList {
        limit: None,
        cursor,
    })?;
    if json.json {
        return output::json(&Listing { sockets });
    }
    if sockets.is_empty() {
        output::note("there is none: 'authctl socket create' opens one");
        return Ok(());
    }
    output::line(table(&sockets, output::columns()))
}

/// What `socket list --json` prints.
#[derive(Serialize)]
struct Listing {
    sockets: Vec<SocketInfo>,
}

impl daemon::Page for SocketListReply {
    type Entry = SocketInfo;

    fn turn(self) -> (Vec<SocketInfo>, Option<String>) {
        (self.sockets, self.cursor)
    }
}

/// A line for each.
fn table(sockets: &[SocketInfo], columns: u16) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(columns)
        .set_header([
            "NAME", "ACCOUNT", "FOR", "SCOPES", "ENDS IN", "OPEN", "SERVED",
        ]);
    for socket in sockets {
        table.add_row([
            clean(&socket.name).into_owned(),
            clean(&socket.account).into_owned(),
            clean(socket.label.as_deref().unwrap_or("-")).into_owned(),
            clean(&socket.scopes.join(" ")).into_owned(),
            span(socket.ttl_secs),
            socket.connections.to_string(),
            socket.served.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut lines = table.lines();
    let mut text = lines
        .next()
        .map_or_else(String::new, |line| styled(STRONG, line.trim_end()));
    for line in lines {
        text.push('\n');
        text.push_str(line.trim_end());
    }
    text
}

fn revoke(args: RevokeArgs, client: &mut Client) -> Result<(), Failure> {
    let reply = daemon::ask(client, &SocketRevoke { name: args.name })?;
    if args.json.json {
        return output::json(&reply);
    }
    if reply.revoked.is_empty() {
        output::note("there is none");
    } else {
        output::note(format_args!("revoked {}", clean(&reply.revoked.join(", "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str, label: Option<&str>) -> SocketInfo {
        SocketInfo {
            name: name.to_owned(),
            path: format!("/run/user/1000/authd/restricted/{name}/authd.sock"),
            account: "work".to_owned(),
            scopes: vec!["api:read".to_owned(), "openid".to_owned()],
            resources: vec![],
            uids: vec![1000],
            label: label.map(str::to_owned),
            created_at: 0,
            expires_at: 0,
            ttl_secs: 28_000,
            connections: 1,
            served: 42,
            refused: 0,
        }
    }

    #[test]
    fn the_list_fits_80_columns_and_shows_no_control_characters() {
        let text = table(
            &[
                socket("work-3fa9c1", Some("b\x1b[2Jox")),
                socket("a-1", None),
            ],
            80,
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(
            plain.lines().all(|line| line.chars().count() <= 80),
            "{plain}"
        );
        assert!(plain.contains("b[2Jox"), "{plain}");
        assert!(
            plain
                .lines()
                .nth(1)
                .is_some_and(|line| line.starts_with("work-3fa9c1  work     ")),
            "{plain}"
        );
    }
}
