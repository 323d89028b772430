//! Clients that wait for the engine's answer, and who they are: an exchange that they cause is told in
//! their name.

use std::collections::{BTreeMap, HashMap};

use authd_core::id::{Account, Ticket};

use crate::{driver::Answerer, journal::Origin};

/// All of them.
#[derive(Default)]
pub(super) struct Waiting {
    answerers: HashMap<Ticket, (Account, Answerer)>,
    /// Of each account, the one that has waited longest first: tickets count up.
    origins: BTreeMap<(Account, Ticket), Origin>,
    /// The question being handled.
    at_hand: Option<(Account, Origin)>,
}

impl Waiting {
    pub(super) fn enter(
        &mut self,
        ticket: Ticket,
        account: &Account,
        origin: Origin,
        answerer: Answerer,
    ) {
        self.at_hand = Some((account.clone(), origin.clone()));
        self.origins.insert((account.clone(), ticket), origin);
        self.answerers.insert(ticket, (account.clone(), answerer));
    }

    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Answerer> {
        let (account, answerer) = self.answerers.remove(&ticket)?;
        self.origins.remove(&(account, ticket));
        Some(answerer)
    }

    pub(super) fn asked(&mut self) {
        self.at_hand = None;
    }

    /// Who brought about an exchange that clients of this account want: whoever asks at this moment,
    /// else the one that has waited longest.
    pub(super) fn cause_of_exchange(&self, account: &Account) -> Origin {
        let asking = self.at_hand.as_ref().filter(|(asked, _)| asked == account);
        if let Some((_, origin)) = asking {
            return origin.clone();
        }
        let first = (account.clone(), Ticket(0));
        let mut waiting = self.origins.range(first..);
        let longest = waiting.next().filter(|((of, _), _)| of == account);
        longest.map_or_else(Origin::default, |(_, origin)| origin.clone())
    }

    /// Who brought about a decision on this account: whoever asks at this moment, or nobody.
    pub(super) fn cause_of_decision(&self, account: &Account) -> Origin {
        let asking = self.at_hand.as_ref().filter(|(asked, _)| asked == account);
        asking.map_or_else(Origin::default, |(_, origin)| origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn account(name: &str) -> Account {
        Account::new(name).unwrap()
    }

    fn origin(client: &str) -> Origin {
        Origin {
            trace_id: None,
            client: Some(client.to_owned()),
        }
    }

    #[test]
    fn an_exchange_is_told_in_the_name_of_who_wants_it_and_of_nobody_else() {
        let mut waiting = Waiting::default();
        let (work, home) = (account("work"), account("home"));
        for (ticket, client) in [(1, "first"), (2, "second")] {
            let (answerer, _) = oneshot::channel();
            waiting.enter(Ticket(ticket), &work, origin(client), answerer);
        }
        assert_eq!(waiting.cause_of_exchange(&work), origin("second"));
        assert_eq!(waiting.cause_of_exchange(&home), Origin::default());
        waiting.asked();
        assert_eq!(waiting.cause_of_exchange(&work), origin("first"), "later");
        assert_eq!(waiting.cause_of_decision(&work), Origin::default());
        waiting.leave(Ticket(1));
        assert_eq!(waiting.cause_of_exchange(&work), origin("second"));
        waiting.leave(Ticket(2));
        assert_eq!(waiting.cause_of_exchange(&work), Origin::default());
    }
}
