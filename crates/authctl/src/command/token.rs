//! `authctl token` ↔ `token.get`, `token.reject`, `dpop.proof`: the hot path.
//!
//! Tools run this before every request, so it does nothing that the answer does not need: it connects,
//! asks, and prints.

use std::process::ExitCode;

use authd_client::Client;
use authd_proto::SecretStr;
use authd_proto::limits::DEFAULT_WAIT_SECS;
use authd_proto::request::{DpopProof, TokenGet, TokenReject};
use authd_proto::response::{DpopProofReply, TokenReply};
use clap::{Args, ValueEnum};

use crate::cli::{Json, Slot, seconds};
use crate::daemon;
use crate::exit::Failure;
use crate::{input, output};

/// Print an access token that is alive
///
/// Nothing but the token goes to standard output. It never asks anything and never waits longer than
/// --wait.
#[derive(Args)]
#[command(after_help = "Examples:\n  authctl token work\n  \
                  authctl token --resource https://mcp.example.com/mcp    whoever has it")]
pub(crate) struct TokenArgs {
    /// The account; may be left out where there is one, or where --resource decides
    account: Option<String>,

    #[command(flatten)]
    slot: Slot,

    /// How long the token must still live at least
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    min_ttl: Option<u64>,

    /// How long to wait for a renewal
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    wait: u64,

    /// A server answered 401 to the token on standard input: print a newer one
    #[arg(long, requires = "account", conflicts_with = "min_ttl")]
    rejected: bool,

    /// What to print
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        conflicts_with = "json"
    )]
    format: Format,

    /// The method of the request that the header is for; matters where tokens are bound to a key
    #[arg(long, value_name = "METHOD", default_value = "GET", requires = "url")]
    method: String,

    /// Where that request goes: then a bound token's header comes with the proof it needs (RFC 9449)
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The DPoP-Nonce that the server at --url gave last
    // A server is free to begin one with a hyphen (RFC 9449 §8.1).
    #[arg(
        long,
        value_name = "NONCE",
        requires = "url",
        allow_hyphen_values = true
    )]
    nonce: Option<String>,

    #[command(flatten)]
    json: Json,
}

/// How a token is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The token alone
    Text,
    /// All there is to know about it
    Json,
    /// An Authorization header, and with --url a DPoP header where the token is bound to a key
    Header,
}

pub(crate) fn run(args: &TokenArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    let reply = match &args.account {
        Some(account) if args.rejected => reject(args, account, &mut client)?,
        account => daemon::ask_waiting(
            &mut client,
            &TokenGet {
                account: account.as_deref(),
                scopes: args.slot.scopes(),
                resource: args.slot.resource.as_deref(),
                min_ttl_secs: args.min_ttl,
                wait_secs: Some(args.wait),
            },
            args.wait,
        )?,
    };
    if output::to_terminal() {
        output::note(format_args!(
            "this shows a secret; to use it, write $(authctl token {})",
            output::clean(&reply.renewal.account)
        ));
    }
    let format = if args.json.json {
        Format::Json
    } else {
        args.format
    };
    let proof = match (&args.url, is_bound(&reply)) {
        (Some(url), true) if format == Format::Header => {
            Some(prove(args, url, &reply, &mut client)?)
        }
        (_, true) if format != Format::Json => {
            output::note(format_args!(
                "this token is bound to a key: a request with it needs a proof; for one, give \
                 --format header --method METHOD --url URL"
            ));
            None
        }
        _ => None,
    };
    print(&reply, proof.as_ref(), format)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether requests with the token need a proof (RFC 9449 §7.1).
pub(super) fn is_bound(reply: &TokenReply) -> bool {
    reply.renewal.token_type.eq_ignore_ascii_case("DPoP")
}

fn prove(
    args: &TokenArgs,
    url: &str,
    reply: &TokenReply,
    client: &mut Client,
) -> Result<DpopProofReply, Failure> {
    let proof = DpopProof {
        account: reply.renewal.account.clone(),
        method: args.method.clone(),
        url: url.to_owned(),
        // By name: the daemon may have a newer one by now.
        access_token: Some(reply.access_token.clone()),
        scopes: None,
        resource: None,
        nonce: args.nonce.clone(),
    };
    // The daemon waits so long for an answer of the person's.
    daemon::ask_waiting(client, &proof, DEFAULT_WAIT_SECS)
}

fn reject(args: &TokenArgs, account: &str, client: &mut Client) -> Result<TokenReply, Failure> {
    let rejected = input::secret("the rejected token")?;
    daemon::ask_waiting(
        client,
        &TokenReject {
            account,
            fingerprint: None,
            access_token: Some(SecretStr::new(rejected.expose())),
            scopes: args.slot.scopes(),
            resource: args.slot.resource.as_deref(),
            status: Some(401),
            www_authenticate: None,
            wait_secs: Some(args.wait),
        },
        args.wait,
    )
}

fn print(
    reply: &TokenReply,
    proof: Option<&DpopProofReply>,
    format: Format,
) -> Result<(), Failure> {
    let token = reply.access_token.expose();
    match format {
        Format::Json => output::json(reply),
        Format::Text => output::bytes(format!("{token}\n").as_bytes()),
        Format::Header => {
            let scheme = &reply.renewal.token_type;
            let proof = proof.map_or_else(String::new, |proof| {
                format!("DPoP: {}\n", proof.proof.expose())
            });
            output::bytes(format!("Authorization: {scheme} {token}\n{proof}").as_bytes())
        }
    }
}
