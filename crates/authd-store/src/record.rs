//! What is kept: records, intents, owed revocations; and their serial form.
//!
//! [`Secret`] cannot be serialised, on purpose. Here, and nowhere else, private mirror types write
//! it into a buffer that is exactly large enough (so that growing leaves no copy behind) and is
//! wiped after sealing.

use std::{fmt, io};

use authd_core::{
    answer::GrantType,
    grant::{ClientAuth, Grant, Provider},
    id::{Account, AttemptId, Fingerprint, Generation, GrantId},
    lease::LeaseKey,
    map::SmallMap,
    secret::Secret,
    time::{Stamp, Wall},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, Visitor},
};
use zeroize::Zeroizing;

use crate::{locked::LockedKey, seal::SealError};

/// One account: the grant as the engine sees it, and the secrets beside it.
#[derive(Clone)]
pub struct Record {
    /// What the engine knows.
    pub grant: Grant,
    /// What it must not.
    pub secrets: Secrets,
}

/// The secrets of one account.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The refresh token of this generation (RFC 6749 §1.5).
    pub refresh_token: Option<Secret>,
    /// Its predecessor, kept until this one has been used once.
    pub previous_refresh_token: Option<Secret>,
    /// The client's secret, where the client is confidential (RFC 6749 §2.3.1).
    pub client_secret: Option<Secret>,
    /// The private key that the tokens are bound to (RFC 9449): it stands and falls with the refresh
    /// token, so they are written as one.
    pub dpop_key: Option<Secret>,
    /// The access tokens, one for each lease of the grant.
    pub access_tokens: SmallMap<LeaseKey, Secret>,
}

/// An exchange that is about to leave. While it stands, the refresh token may be spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Whose.
    pub account: Account,
    /// Of which login.
    pub grant: GrantId,
    /// The generation that is to be succeeded; 0 when the exchange is a login.
    pub generation: Generation,
    /// Names the attempt.
    pub attempt: AttemptId,
    /// Names what is about to be spent: the refresh token, the code or the device code.
    pub refresh_token_hash: Fingerprint,
    /// Which grant type it uses.
    pub grant_type: GrantType,
    /// For which access token.
    pub lease: LeaseKey,
    /// When it was written.
    pub at: Stamp,
}

/// Which token a revocation is about (RFC 7009 §2.1, `token_type_hint`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenTypeHint {
    /// `access_token`
    AccessToken,
    /// `refresh_token`
    RefreshToken,
}

/// A revocation that the provider has not confirmed yet; it is tried again until it has.
#[derive(Clone)]
pub struct PendingRevocation {
    /// Names it; drawn at random by whoever owes it.
    pub id: u64,
    /// Whose token it was. The account itself may be gone.
    pub account: Account,
    /// The revocation endpoint.
    pub endpoint: String,
    /// Our `client_id` there.
    pub client_id: String,
    /// How we prove to be that client.
    pub client_auth: ClientAuth,
    /// The client's secret, where it is confidential.
    pub client_secret: Option<Secret>,
    /// The provider as the account knew it; `None` in those from before this was kept.
    pub provider: Option<Provider>,
    /// The token to be revoked.
    pub token: Secret,
    /// What kind of token it is.
    pub hint: TokenTypeHint,
}

/// A record with what the store adds to it.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    /// Counts the writes of the whole store. It orders an account's records across logins, which
    /// the generation (1 anew at each login) cannot.
    pub(crate) ordinal: u64,
    /// The attempt that made this generation: by it a repeated commit is told from a rival one.
    pub(crate) attempt: Option<AttemptId>,
    /// The machine whose login it is. Records from before this was kept have the header's.
    pub(crate) machine: Option<[u8; 32]>,
}

/// What the store says about itself, sealed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The machine that made the store, for records that do not name theirs.
    pub(crate) machine: [u8; 32],
    pub(crate) instance: u128,
    pub(crate) created: Wall,
    /// What tokens are fingerprinted with, where that does not follow from the key any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint_key: Option<FingerprintKey>,
}

/// What tokens are fingerprinted with: 32 bytes, written as such.
#[derive(Clone)]
pub(crate) struct FingerprintKey(pub(crate) LockedKey);

impl Serialize for FingerprintKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FingerprintKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Zeroizing::new(<[u8; 32]>::deserialize(deserializer)?);
        Ok(Self(LockedKey::copied(&bytes)))
    }
}

impl Stored {
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Record { grant, secrets } = &self.record;
        encode(&StoredForm {
            ordinal: self.ordinal,
            attempt: self.attempt,
            machine: self.machine,
            grant,
            refresh_token: secrets.refresh_token.as_ref().map(Bare),
            previous_refresh_token: secrets.previous_refresh_token.as_ref().map(Bare),
            client_secret: secrets.client_secret.as_ref().map(Bare),
            dpop_key: secrets.dpop_key.as_ref().map(Bare),
            access_tokens: secrets
                .access_tokens
                .iter()
                .map(|(key, token)| (key, Bare(token)))
                .collect(),
        })
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let form: StoredForm<Grant, Taken, LeaseKey> = decode(payload)?;
        Some(Self {
            ordinal: form.ordinal,
            attempt: form.attempt,
            machine: form.machine,
            record: Record {
                grant: form.grant,
                secrets: Secrets {
                    refresh_token: form.refresh_token.map(|token| token.0),
                    previous_refresh_token: form.previous_refresh_token.map(|token| token.0),
                    client_secret: form.client_secret.map(|secret| secret.0),
                    dpop_key: form.dpop_key.map(|key| key.0),
                    access_tokens: form
                        .access_tokens
                        .into_iter()
                        .map(|(key, token)| (key, token.0))
                        .collect(),
                },
            },
        })
    }
}

impl PendingRevocation {
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        encode(&RevocationForm {
            id: self.id,
            account: self.account.clone(),
            endpoint: self.endpoint.clone(),
            client_id: self.client_id.clone(),
            client_auth: self.client_auth,
            client_secret: self.client_secret.as_ref().map(Bare),
            provider: self.provider.clone(),
            token: Bare(&self.token),
            hint: self.hint,
        })
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let form: RevocationForm<Taken> = decode(payload)?;
        Some(Self {
            id: form.id,
            account: form.account,
            endpoint: form.endpoint,
            client_id: form.client_id,
            client_auth: form.client_auth,
            client_secret: form.client_secret.map(|secret| secret.0),
            provider: form.provider,
            token: form.token.0,
            hint: form.hint,
        })
    }
}

/// Serialises into a buffer that never grows, and is wiped when dropped.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut length = Length(0);
    rmp_serde::encode::write_named(&mut length, value).map_err(|_| SealError::TooLarge)?;
    let mut payload = Zeroizing::new(Vec::with_capacity(length.0));
    rmp_serde::encode::write_named(&mut *payload, value).map_err(|_| SealError::TooLarge)?;
    Ok(payload)
}

pub(crate) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    rmp_serde::from_slice(payload).ok()
}

#[derive(Serialize, Deserialize)]
struct StoredForm<G, T, K> {
    ordinal: u64,
    attempt: Option<AttemptId>,
    #[serde(default)]
    machine: Option<[u8; 32]>,
    grant: G,
    refresh_token: Option<T>,
    previous_refresh_token: Option<T>,
    client_secret: Option<T>,
    /// Not in records from before there was one: a missing `Option` reads as `None`.
    dpop_key: Option<T>,
    access_tokens: Vec<(K, T)>,
}

#[derive(Serialize, Deserialize)]
struct RevocationForm<T> {
    id: u64,
    account: Account,
    endpoint: String,
    client_id: String,
    client_auth: ClientAuth,
    client_secret: Option<T>,
    #[serde(default)]
    provider: Option<Provider>,
    token: T,
    hint: TokenTypeHint,
}

/// A secret on its way into the sealer.
struct Bare<'a>(&'a Secret);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// A secret on its way out. Taken from the borrowed text at once, without a copy in between.
struct Taken(Secret);

impl<'de> Deserialize<'de> for Taken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Taken;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Taken, E> {
                Ok(Taken(Secret::new(text)))
            }

            // The default would quote what it found into the error.
            fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Taken, E> {
                Err(E::custom("no text"))
            }
        }
        deserializer
            .deserialize_str(Text)
            .map_err(|_| D::Error::custom("no secret"))
    }
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use authd_core::{
        flag::{Ambiguity, Raised},
        grant::{LastError, Subject},
        lease::{Expiry, Lease},
        scope::ScopeSet,
        time::{BootId, Now},
    };

    use super::*;

    pub(crate) fn stored() -> Stored {
        let key = LeaseKey {
            resource: Some("https://api.example.com".to_owned()),
            scopes: ScopeSet::parse("a b"),
        };
        let lease = Lease {
            generation: Generation(3),
            fingerprint: Fingerprint([7; 16]),
            token_type: "bearer".to_owned(),
            scopes: ScopeSet::parse("a"),
            issued: Stamp {
                boot_id: BootId(u128::MAX - 5),
                at: Now::default(),
            },
            lifetime: Some(Duration::from_millis(3_600_500)),
            expiry: Expiry::Exact,
            lead: Duration::from_secs(9),
            rejected: false,
            dead: false,
        };
        let mut grant = Grant {
            account: Account::new("work").unwrap(),
            id: GrantId(u64::MAX),
            generation: Generation(3),
            provider: Provider::default().into(),
            subject: Some(Subject {
                sub: "1".to_owned(),
                name: None,
            }),
            scopes: ScopeSet::parse("a b c"),
            resource: None,
            resources: ["https://api.example".to_owned()].into(),
            renewed_by: authd_core::grant::RenewedBy::RefreshToken,
            renewable: true,
            leases: SmallMap::from([(key.clone(), lease)]),
            learned: SmallMap::new(),
            flags: Default::default(),
            renewals: 2,
            created_at: Wall(-1),
            last_error: Some(
                LastError {
                    code: "x".to_owned(),
                    message: "y".to_owned(),
                    at: Wall(1),
                }
                .into(),
            ),
            metadata_seen: Some(Wall(2)),
        };
        grant.flags.ambiguous = Some(Raised {
            reason: Ambiguity::AnswerLost,
            since: Wall(5),
        });
        Stored {
            ordinal: 12,
            attempt: Some(AttemptId(99)),
            machine: Some([250; 32]),
            record: Record {
                grant,
                secrets: Secrets {
                    refresh_token: Some(Secret::new("rt-3")),
                    previous_refresh_token: None,
                    client_secret: Some(Secret::new("")),
                    dpop_key: Some(Secret::new("key-3")),
                    access_tokens: SmallMap::from([(key, Secret::new("at-3"))]),
                },
            },
        }
    }

    #[test]
    fn a_record_round_trips_in_a_buffer_that_never_grew() {
        let stored = stored();
        let payload = stored.encode().unwrap();
        assert_eq!(payload.len(), payload.capacity());
        let back = Stored::decode(&payload).unwrap();
        assert_eq!(back.record.grant, stored.record.grant);
        assert_eq!((back.ordinal, back.attempt), (12, Some(AttemptId(99))));
        assert_eq!(back.machine, Some([250; 32]));
        let secrets = back.record.secrets;
        assert!(secrets.refresh_token.unwrap().matches("rt-3"));
        assert!(secrets.previous_refresh_token.is_none());
        assert!(secrets.client_secret.unwrap().is_empty());
        assert!(secrets.dpop_key.unwrap().matches("key-3"));
        let (key, token) = secrets.access_tokens.into_iter().next().unwrap();
        assert_eq!(key.scopes.to_string(), "a b");
        assert!(token.matches("at-3"));
    }

    /// With `AUTHD_WRITE_SEEDS` set they are written anew.
    #[test]
    fn the_fuzz_targets_begin_with_records_of_today() {
        let record = stored().encode().unwrap();
        let length = u16::try_from(record.len()).unwrap().to_be_bytes();
        // As a row, a mirror and a spilled answer, each sealed.
        let pieces = [1, 8 << 3 | 1, 15 << 3 | 1]
            .map(|what: u8| [&[what][..], &length, &record].concat())
            .concat();
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        for (seed, bytes) in [
            ("store_record/record", record.as_slice()),
            ("store_directory/record", &pieces),
        ] {
            let path = corpus.join(seed);
            if std::env::var_os("AUTHD_WRITE_SEEDS").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, bytes).unwrap();
            }
            let kept = std::fs::read(&path).unwrap();
            assert!(kept == bytes, "{seed}: run this with AUTHD_WRITE_SEEDS=1");
        }
    }

    #[test]
    fn a_record_from_before_there_were_keys_is_read() {
        #[derive(Serialize)]
        struct Before {
            ordinal: u64,
            attempt: Option<AttemptId>,
            grant: Grant,
            refresh_token: Option<String>,
            previous_refresh_token: Option<String>,
            client_secret: Option<String>,
            access_tokens: Vec<(LeaseKey, String)>,
        }
        let stored = stored();
        let payload = encode(&Before {
            ordinal: 12,
            attempt: None,
            grant: stored.record.grant.clone(),
            refresh_token: Some("rt-3".to_owned()),
            previous_refresh_token: None,
            client_secret: None,
            access_tokens: Vec::new(),
        });
        let back = Stored::decode(&payload.unwrap()).unwrap().record;
        assert_eq!(back.grant, stored.record.grant);
        assert!(back.secrets.refresh_token.unwrap().matches("rt-3"));
        assert!(back.secrets.dpop_key.is_none());
    }

    #[test]
    fn a_cut_payload_is_refused_without_a_panic() {
        let payload = stored().encode().unwrap();
        for end in 0..payload.len() {
            assert!(Stored::decode(&payload[..end]).is_none(), "cut at {end}");
        }
    }
}
