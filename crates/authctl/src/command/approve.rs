//! `authctl approve` ↔ `approval.list`, `approval.answer`, `subscribe`: what programs wait for your word for.

use std::process::ExitCode;

use authd_client::Client;
use authd_proto::approval::{Answer, ApprovalAnswer, ApprovalList, Asks, Question, Tier};
use authd_proto::event::EventKind;
use authd_proto::request::Subscribe;
use clap::Args;

use crate::cli::{Json, seconds};
use crate::daemon;
use crate::exit::Failure;
use crate::input::Keyboard;
use crate::output::{self, STRONG, clean, span, styled};

/// Answer programs that ask for a token
///
/// Without ID it lists the questions that wait; at a terminal it asks you about each, and about those that
/// come, until interrupted. With ID and nothing else, the program gets what the tier of the account gives
/// for a yes: see 'authctl grant'.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    authctl approve                     be asked, here, about what comes\n  \
    authctl approve 7                   yes\n  \
    authctl approve 7 --for 8h          yes, also the next time, for 8 hours\n  \
    authctl approve 7 --deny            no")]
pub(crate) struct ApproveArgs {
    /// The question to answer
    #[arg(value_name = "ID")]
    id: Option<u64>,

    /// This time only
    #[arg(long, requires = "id", conflicts_with_all = ["always", "span", "deny"])]
    once: bool,

    /// From now on, until it is revoked: a standing approval
    #[arg(long, requires = "id", conflicts_with_all = ["span", "deny"])]
    always: bool,

    /// From now on, for so long: a standing approval
    #[arg(long = "for", id = "span", value_name = "DURATION", requires = "id", value_parser = seconds, conflicts_with = "deny")]
    span: Option<u64>,

    /// No
    #[arg(long, requires = "id")]
    deny: bool,

    #[command(flatten)]
    json: Json,
}

impl ApproveArgs {
    fn answer(&self) -> (Answer, Option<u64>) {
        if self.deny {
            (Answer::Deny, None)
        } else if self.once {
            (Answer::Once, None)
        } else if self.always || self.span.is_some() {
            (Answer::Always, self.span)
        } else {
            (Answer::Allow, None)
        }
    }
}

pub(crate) fn run(args: &ApproveArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::running()?;
    if let Some(id) = args.id {
        let (answer, for_secs) = args.answer();
        let reply = tell(&mut client, id, answer, for_secs)?;
        if args.json.json {
            output::json(&reply)?;
        } else {
            said(&reply.account, reply.answer, for_secs);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.json.json {
        let waiting = daemon::ask(&mut client, &ApprovalList {})?;
        output::json(&waiting)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Only where somebody sees the questions and can type.
    if Keyboard::take().is_some() {
        return converse(client);
    }
    let waiting = daemon::ask(&mut client, &ApprovalList {})?.approvals;
    if waiting.is_empty() {
        output::note("no program waits for an answer");
    }
    for question in &waiting {
        output::line(shown(question, output::now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks about each question, and about those that come. Ends when it is interrupted, or with the daemon.
fn converse(mut client: Client) -> Result<ExitCode, Failure> {
    let wanted = Subscribe {
        events: Some(vec![EventKind::Approval]),
        account: None,
    };
    // Subscribed first and asked afterwards, so no question falls in between.
    daemon::ask(&mut client, &wanted)?;
    let mut told_to_wait = false;
    loop {
        let waiting = daemon::ask(&mut client, &ApprovalList {})?.approvals;
        if let Some(question) = waiting.first() {
            told_to_wait = false;
            output::tell(shown(question, output::now()));
            let Some(answer) = typed(question) else {
                return Ok(ExitCode::SUCCESS);
            };
            match tell(&mut client, question.approval_id, answer, None) {
                Ok(reply) => said(&reply.account, reply.answer, None),
                // Somebody else was quicker, or it was withdrawn: the next one.
                Err(failure) if failure.wire_code().is_some() => output::note(failure.message()),
                Err(failure) => return Err(failure),
            }
            continue;
        }
        if !std::mem::replace(&mut told_to_wait, true) {
            output::note("no program waits for an answer; Ctrl-C ends this");
        }
        client.next_event(None)?;
    }
}

/// What the person types; nothing is no. `None` at the end of input.
fn typed(question: &Question) -> Option<Answer> {
    let keyboard = Keyboard::take()?;
    let changes = matches!(question.asks, Asks::Tier | Asks::Grant | Asks::Socket);
    let prompt = match (changes, question.tier) {
        (true, _) => "Allow it? y(es), or Enter for no: ",
        (false, Tier::AskOnce) => "Allow it? o(nce), y(es) until lock, or Enter for no: ",
        (false, _) => "Allow it once? y(es), or Enter for no: ",
    };
    let line = keyboard.answer(prompt)?;
    Some(match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Answer::Allow,
        "o" | "once" if !changes => Answer::Once,
        _ => Answer::Deny,
    })
}

fn tell(
    client: &mut Client,
    id: u64,
    answer: Answer,
    for_secs: Option<u64>,
) -> Result<authd_proto::approval::ApprovalAnswerReply, Failure> {
    let answer = ApprovalAnswer {
        approval_id: id,
        answer,
        for_secs,
    };
    daemon::ask(client, &answer)
}

fn said(account: &str, answer: Answer, for_secs: Option<u64>) {
    let account = clean(account);
    let how = match (answer, for_secs) {
        (Answer::Deny, _) => "denied".to_owned(),
        (Answer::Once, _) => "allowed this time".to_owned(),
        (Answer::Allow, _) => {
            "allowed until lock, 10 minutes without a request, or 12 hours".to_owned()
        }
        (Answer::Always, Some(secs)) => format!("allowed for {}", span(secs)),
        (Answer::Always, None) => "allowed until it is revoked".to_owned(),
    };
    output::note(format_args!("'{account}': {how}"));
}

/// The question, what the system says first, then what the program says.
fn shown(question: &Question, now: u64) -> String {
    let account = styled(STRONG, clean(&question.account));
    let change = question.change.as_deref().unwrap_or_default();
    let what = match question.asks {
        Asks::Token => format!("a token of {account}"),
        Asks::Proof => format!("proofs for a token of {account}"),
        Asks::Tier => format!("to lower the tier of {account} to {}", tier_word(change)),
        Asks::Grant => format!("a standing approval for {} on {account}", clean(change)),
        Asks::Socket => format!("a restricted socket for {account} {}", clean(change)),
        Asks::Unknown => format!("something of {account} that this authctl does not know"),
    };
    let caller = &question.caller;
    let mut text = format!("{}  asks for {what}\n", question.approval_id);
    let mut row = |name: &str, value: &str| {
        text.push_str(&format!("    {name:<9} {}\n", clean(value)));
    };
    row("who", &caller.summary());
    row("known as", &caller.name);
    if let Some(claimed) = &question.claimed {
        row("claims", &format!("to be \"{claimed}\""));
    }
    if !question.scopes.is_empty() {
        row("scopes", &question.scopes.join(" "));
    }
    if let Some(resource) = &question.resource {
        row("resource", resource);
    }
    row(
        "until",
        &format!("{} from now", span(question.expires_at.saturating_sub(now))),
    );
    text.truncate(text.trim_end().len());
    text
}

fn tier_word(word: &str) -> String {
    clean(word).replace('_', "-")
}

#[cfg(test)]
mod tests {
    use authd_proto::approval::CallerInfo;

    use super::*;

    #[test]
    fn what_the_system_says_comes_first_and_no_claim_acts_on_the_terminal() {
        let question = Question {
            approval_id: 7,
            account: "work".into(),
            asks: Asks::Token,
            caller: CallerInfo {
                name: "session:17.42".into(),
                pid: Some(900),
                executable: Some("/tmp/\u{1b}]0;x\u{7}evil".into()),
                terminal: Some("pts/2".into()),
                ..CallerInfo::default()
            },
            claimed: Some("git\u{1b}[2J\u{202e}\nwho       /usr/bin/git".into()),
            tier: Tier::AskOnce,
            scopes: vec!["a".into(), "b".into()],
            resource: None,
            change: None,
            asked_at: 100,
            expires_at: 400,
        };
        let text = shown(&question, 150);
        let plain = text
            .replace(&format!("{STRONG}"), "")
            .replace(&format!("{STRONG:#}"), "");
        assert_eq!(
            plain.lines().collect::<Vec<_>>(),
            [
                "7  asks for a token of work",
                "    who       /tmp/]0;xevil (pid 900) on pts/2",
                "    known as  session:17.42",
                "    claims    to be \"git[2J who       /usr/bin/git\"",
                "    scopes    a b",
                "    until     4m 10s from now",
            ]
        );
    }
}
