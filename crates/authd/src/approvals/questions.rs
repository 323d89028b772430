//! The questions that wait for the person: one of each client at a time, few in all, and not too often.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use authd_core::{
    id::Account,
    policy::{CallerName, Purpose, Tier},
    time::{Boot, Now},
};
use authd_proto::approval::Answer;
use tokio::sync::watch;

use crate::{caller::Caller, restricted::Terms};

/// A question that nobody answers is withdrawn after so long.
pub(crate) const LIFE: Duration = Duration::from_secs(300);
/// Questions that wait at a time, whoever asks.
const MOST: usize = 16;
/// What is counted as often.
const MINUTE: Duration = Duration::from_secs(60);
/// Questions of one client in a minute, ...
const OF_ONE: usize = 3;
/// ... and of all: a program can make itself many clients.
const OF_ALL: usize = 30;

/// What is asked of the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Something to be handed out.
    HandOut(Purpose),
    /// A tier that asks less.
    Tier(Tier),
    /// A standing approval, and for how many seconds.
    Grant(CallerName, Option<u64>),
    /// A restricted socket.
    Socket(Box<Terms>),
}

/// How a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is being put to the person.
    Open,
    /// It can be answered, but nobody was told of it.
    NobodyToAsk,
    /// It was answered, by a yes or a no.
    Answered(bool),
    /// It was withdrawn, by lock.
    Cancelled,
    /// It was withdrawn: the account has gone.
    Gone,
    /// Nobody answered in time.
    Expired,
}

/// One question.
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) account: Account,
    pub(crate) subject: Subject,
    pub(crate) caller: Arc<Caller>,
    pub(crate) claimed: Option<String>,
    pub(crate) tier: Tier,
    pub(crate) scopes: Vec<String>,
    pub(crate) resource: Option<String>,
    pub(crate) asked: Now,
    pub(super) standing: watch::Sender<Standing>,
}

impl Question {
    /// Tells whoever waits for it that it was answered.
    pub(super) fn tell(&self, answer: Answer) {
        let yes = answer != Answer::Deny;
        self.standing.send_replace(Standing::Answered(yes));
    }
}

/// What somebody wants to have asked.
pub(crate) struct Wish {
    pub(crate) account: Account,
    pub(crate) subject: Subject,
    pub(crate) caller: Arc<Caller>,
    pub(crate) claimed: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) resource: Option<String>,
}

/// A question that was asked.
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) standing: watch::Receiver<Standing>,
    /// Whether it was asked just now.
    pub(crate) is_new: bool,
}

/// Why no question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAsked {
    /// Another one of this client waits.
    Another(u64),
    /// This client asked too often.
    TooOften {
        /// When it may ask again.
        after: Duration,
    },
    /// There are too many questions as it is.
    TooMany,
}

/// All that wait, and how often was asked.
#[derive(Default)]
pub(super) struct Questions {
    next_id: u64,
    /// By their numbers.
    waiting: BTreeMap<u64, Question>,
    /// Who asked in the last minute, the earliest first.
    asked: VecDeque<(Boot, CallerName)>,
}

impl Questions {
    /// Asks, or joins the question that waits already.
    pub(super) fn ask(&mut self, wish: &Wish, tier: Tier, now: Now) -> Result<Asked, NotAsked> {
        self.tidy(now);
        let client = wish.caller.name();
        let own = self
            .waiting
            .values()
            .find(|question| question.caller.name().is_one_client_with(client));
        if let Some(own) = own {
            // Two whom nobody knows are one client, but what one is told is not for the other.
            let same = own.account == wish.account
                && own.subject == wish.subject
                && own.caller.name() == client;
            return if same {
                Ok(Asked {
                    id: own.id,
                    standing: own.standing.subscribe(),
                    is_new: false,
                })
            } else {
                Err(NotAsked::Another(own.id))
            };
        }
        let of_client = self
            .asked
            .iter()
            .filter(|(_, who)| who.is_one_client_with(client));
        let times: Vec<Boot> = of_client.map(|(at, _)| *at).collect();
        if times.len() >= OF_ONE {
            let after = MINUTE.saturating_sub(now.boot.since(times[times.len() - OF_ONE]));
            return Err(NotAsked::TooOften { after });
        }
        if self.waiting.len() >= MOST || self.asked.len() >= OF_ALL {
            return Err(NotAsked::TooMany);
        }
        self.next_id += 1;
        let id = self.next_id;
        let (standing, receiver) = watch::channel(Standing::Open);
        let question = Question {
            id,
            account: wish.account.clone(),
            subject: wish.subject.clone(),
            caller: Arc::clone(&wish.caller),
            claimed: wish.claimed.clone(),
            tier,
            scopes: wish.scopes.clone(),
            resource: wish.resource.clone(),
            asked: now,
            standing,
        };
        self.asked.push_back((now.boot, client.clone()));
        self.waiting.insert(id, question);
        Ok(Asked {
            id,
            standing: receiver,
            is_new: true,
        })
    }

    /// Those that wait, the oldest first.
    pub(super) fn waiting(&mut self, now: Now) -> impl Iterator<Item = &Question> {
        self.tidy(now);
        self.waiting.values()
    }

    /// How many wait.
    pub(super) fn count(&mut self, now: Now) -> usize {
        self.waiting(now).count()
    }

    /// The question of that number, as long as it waits.
    pub(super) fn get(&mut self, id: u64, now: Now) -> Option<&Question> {
        self.tidy(now);
        self.waiting.get(&id)
    }

    /// Takes a question out whose answer is carried out: nobody else answers it then. Whoever waits for it waits
    /// on until it [tells](Question::tell).
    pub(super) fn take(&mut self, id: u64, now: Now) -> Option<Question> {
        self.tidy(now);
        self.waiting.remove(&id)
    }

    /// The answer could not be carried out.
    pub(super) fn put_back(&mut self, question: Question) {
        self.waiting.insert(question.id, question);
    }

    /// Takes a question that was answered, or is withdrawn, and lets everybody know.
    pub(super) fn settle(&mut self, id: u64, standing: Standing) -> Option<Question> {
        let question = self.waiting.remove(&id)?;
        question.standing.send_replace(standing);
        Some(question)
    }

    /// Somebody came to answer.
    pub(super) fn reopen(&mut self, id: u64, now: Now) {
        if let Some(question) = self.get(id, now) {
            question.standing.send_replace(Standing::Open);
        }
    }

    /// Withdraws those about an account that has gone.
    pub(super) fn cancel_of(&mut self, account: &Account) {
        let about = self.waiting.values();
        let about: Vec<u64> = about
            .filter(|question| question.account == *account)
            .map(|question| question.id)
            .collect();
        for id in about {
            self.settle(id, Standing::Gone);
        }
    }

    /// Withdraws all.
    pub(super) fn cancel_all(&mut self) {
        for (_, question) in std::mem::take(&mut self.waiting) {
            question.standing.send_replace(Standing::Cancelled);
        }
    }

    /// What has expired goes, and what was asked more than a minute ago counts no more.
    fn tidy(&mut self, now: Now) {
        let over = |question: &Question| now.boot.since(question.asked.boot) >= LIFE;
        let expired: Vec<u64> = self
            .waiting
            .values()
            .filter(|question| over(question))
            .map(|question| question.id)
            .collect();
        for id in expired {
            self.settle(id, Standing::Expired);
        }
        while self
            .asked
            .front()
            .is_some_and(|(at, _)| now.boot.since(*at) >= MINUTE)
        {
            self.asked.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use authd_core::time::Wall;

    use super::*;
    use crate::caller::Callers;

    fn at(secs: u64) -> Now {
        Now {
            boot: Boot(1_000_000 + secs * 1000),
            wall: Wall(0),
        }
    }

    fn wish(caller: &Arc<Caller>, account: &str) -> Wish {
        Wish {
            account: Account::new(account).unwrap(),
            subject: Subject::HandOut(Purpose::Token),
            caller: Arc::clone(caller),
            claimed: None,
            scopes: Vec::new(),
            resource: None,
        }
    }

    fn asked(questions: &mut Questions, wish: &Wish, secs: u64) -> Result<(u64, bool), NotAsked> {
        let asked = questions.ask(wish, Tier::AskEach, at(secs))?;
        Ok((asked.id, asked.is_new))
    }

    #[test]
    fn a_client_has_one_question_at_a_time() {
        let mut questions = Questions::default();
        let caller = Callers::named("exe:/usr/bin/git");
        assert_eq!(
            asked(&mut questions, &wish(&caller, "work"), 0),
            Ok((1, true))
        );
        assert_eq!(
            asked(&mut questions, &wish(&caller, "work"), 1),
            Ok((1, false))
        );
        assert_eq!(
            asked(&mut questions, &wish(&caller, "home"), 1),
            Err(NotAsked::Another(1))
        );
        let other = Callers::named("exe:/usr/bin/gh");
        assert_eq!(
            asked(&mut questions, &wish(&other, "work"), 1),
            Ok((2, true))
        );
        let nobody = Callers::default().unidentified();
        assert_eq!(
            asked(&mut questions, &wish(&nobody, "work"), 1),
            Ok((3, true))
        );
        let another = Callers::default();
        another.unidentified();
        assert_eq!(
            asked(&mut questions, &wish(&another.unidentified(), "work"), 1),
            Err(NotAsked::Another(3)),
            "all whom nobody knows are one client"
        );
    }

    #[test]
    fn three_questions_a_minute_and_no_more() {
        let mut questions = Questions::default();
        let caller = Callers::named("exe:/usr/bin/git");
        for secs in [0, 10, 20] {
            let (id, is_new) = asked(&mut questions, &wish(&caller, "work"), secs).unwrap();
            assert!(is_new);
            questions.settle(id, Standing::Answered(false)).unwrap();
        }
        let after = Duration::from_secs(35);
        assert_eq!(
            asked(&mut questions, &wish(&caller, "work"), 25),
            Err(NotAsked::TooOften { after })
        );
        assert_eq!(
            asked(&mut questions, &wish(&caller, "work"), 60),
            Ok((4, true))
        );
    }

    #[test]
    fn many_clients_do_not_make_many_questions() {
        let mut questions = Questions::default();
        let mut refused = 0;
        for number in 0..100 {
            let caller = Callers::named(&format!("unit:u{number}.service"));
            refused += usize::from(asked(&mut questions, &wish(&caller, "work"), 0).is_err());
        }
        assert_eq!(refused, 100 - MOST);
        questions.cancel_all();
        for number in 100..200 {
            let caller = Callers::named(&format!("unit:u{number}.service"));
            let _ = asked(&mut questions, &wish(&caller, "work"), 1);
        }
        assert_eq!(questions.count(at(1)), OF_ALL - MOST);
    }

    #[test]
    fn a_question_without_an_answer_is_withdrawn_and_told() {
        let mut questions = Questions::default();
        let caller = Callers::named("exe:/usr/bin/git");
        let one = questions
            .ask(&wish(&caller, "work"), Tier::AskOnce, at(0))
            .unwrap();
        assert_eq!(questions.count(at(299)), 1);
        assert_eq!(questions.count(at(300)), 0);
        assert_eq!(*one.standing.borrow(), Standing::Expired);
        assert!(questions.settle(one.id, Standing::Cancelled).is_none());
        let two = questions
            .ask(&wish(&caller, "work"), Tier::AskOnce, at(300))
            .unwrap();
        assert_ne!(one.id, two.id);
        questions.cancel_all();
        assert_eq!(*two.standing.borrow(), Standing::Cancelled);
    }
}
