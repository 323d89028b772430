//! The store's format and how older ones are brought up to date.
//!
//! The version stands in three places: plainly beside the database ([`crate::about`]), so that a
//! store of a newer program is refused before anything is touched; and in front of each sealed
//! payload, so that a row, a mirror and a spilled answer are brought up alike, one by one, whenever
//! they are read. After a load, everything older is written anew in the current format.

use zeroize::Zeroizing;

use crate::seal::{Kind, Unsealable};

/// What was sealed, open.
pub(crate) type Payload = Zeroizing<Vec<u8>>;

/// Brings payloads from one version to the next.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// The version it starts from; it ends at the next.
    pub(crate) from: u8,
    /// The change. Payloads that it does not concern are given back as they are.
    pub(crate) apply: fn(Kind, Payload) -> Result<Payload, Unsealable>,
}

/// A version and the way to it.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) version: u8,
    pub(crate) steps: &'static [Step],
}

impl Format {
    /// What this program writes.
    pub(crate) const CURRENT: Self = Self {
        version: 1,
        steps: &[],
    };

    /// Applies every step from `version` on.
    pub(crate) fn bring_up(
        &self,
        kind: Kind,
        version: u8,
        payload: Payload,
    ) -> Result<Payload, Unsealable> {
        (version..self.version).try_fold(payload, |payload, from| {
            let step = self
                .steps
                .iter()
                .find(|step| step.from == from)
                .ok_or(Unsealable::Malformed)?;
            (step.apply)(kind, payload)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use authd_core::time::Wall;

    use super::*;
    use crate::{
        about::About,
        fault::{Keep, Memory, next_format},
        record::{PendingRevocation, TokenTypeHint},
        seal::DataKey,
        store::{Options, Store},
    };

    fn open(disk: &Memory, format: Format) -> Result<(Store, String), crate::OpenError> {
        let mut options = Options::new("/state", [1; 32], Wall(0));
        options.disk = Arc::new(disk.clone());
        let key = DataKey::from_bytes(&[7; 32]).unwrap();
        let (store, loaded) = Store::open_as(options, key, format)?;
        Ok((
            store,
            loaded
                .revocations
                .first()
                .map(|owed| owed.endpoint.clone())
                .unwrap_or_default(),
        ))
    }

    fn close(store: Store) {
        let (sender, closed) = std::sync::mpsc::channel();
        store.close(move |result| sender.send(result).unwrap());
        closed.recv().unwrap().unwrap();
    }

    #[test]
    fn an_older_store_is_brought_up_once_and_a_newer_one_is_left_alone() {
        let disk = Memory::default();
        let (store, _) = open(&disk, Format::CURRENT).unwrap();
        let owed = PendingRevocation {
            id: 1,
            account: authd_core::id::Account::new("work").unwrap(),
            endpoint: "https://idp.example.com/revoke".to_owned(),
            client_id: "c".to_owned(),
            client_auth: Default::default(),
            client_secret: None,
            provider: None,
            token: authd_core::secret::Secret::new("t"),
            hint: TokenTypeHint::RefreshToken,
        };
        store.owe_revocation(owed, |result| result.unwrap());
        close(store);

        for _ in 0..2 {
            let (store, endpoint) = open(&disk, next_format()).unwrap();
            assert_eq!(endpoint, "https://idp.example.com/revoke/");
            close(store);
        }
        assert_eq!(
            About::read(&disk, Path::new("/state"))
                .unwrap()
                .unwrap()
                .format,
            2
        );

        let content = |disk: &Memory| -> Vec<_> {
            disk.paths()
                .iter()
                .map(|path| (path.clone(), disk.content(path)))
                .collect()
        };
        let before = content(&disk);
        let refused = open(&disk, Format::CURRENT).err().unwrap();
        assert!(matches!(
            refused,
            crate::OpenError::NewerFormat { found: 2, known: 1 }
        ));
        assert!(
            before == content(&disk.crash(Keep::Everything)),
            "nothing was touched"
        );
    }
}
