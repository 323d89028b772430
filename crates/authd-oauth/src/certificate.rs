//! Client certificates: the client proves itself in the TLS handshake (RFC 8705 §2).

use std::{fmt, sync::Arc};

use authd_core::{secret::Secret, time::Wall};
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

/// A certificate chain and the key of its first. The key cannot be printed.
pub struct ClientCertificate {
    pub(crate) resolver: Arc<SingleCertAndKey>,
    chain: Vec<CertificateDer<'static>>,
    validity: Validity,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Why a certificate cannot be used. The user must give another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// No PEM certificate in the file.
    #[error("there is no certificate in it (PEM)")]
    Unreadable,
    /// No PEM key.
    #[error("there is no private key for it (PEM, not locked by a passphrase)")]
    NoKey,
    /// TLS cannot sign with it.
    #[error("the private key is of a type that TLS cannot use here")]
    KeyType,
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// Its time is over.
    #[error("the certificate expired {} ago", days(*.0))]
    Expired(u64),
    /// Its time has not come.
    #[error("the certificate is not valid before {} from now", days(*.0))]
    NotYetValid(u64),
}

/// Seconds as people count them here.
fn days(secs: u64) -> String {
    match secs / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

impl ClientCertificate {
    /// From PEM: the chain, the client's own certificate first, and its key (PKCS #8, PKCS #1 or
    /// SEC 1). Both may be one text.
    ///
    /// A certificate out of its time is refused here and not left to the provider: in TLS 1.3 its
    /// refusal comes after the request has left, and could be taken for a lost answer.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn from_pem(chain: &str, key: &Secret, now: Wall) -> Result<Self, BadCertificate> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| BadCertificate::Unreadable)?;
        let first = chain.first().ok_or(BadCertificate::Unreadable)?;
        let validity = Validity::of(first).ok_or(BadCertificate::Unreadable)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| BadCertificate::NoKey)?;
        let key = any_supported_type(&key).map_err(|_| BadCertificate::KeyType)?;
        let certified = CertifiedKey::new(chain.clone(), key);
        certified
            .keys_match()
            .map_err(|_| BadCertificate::Mismatch)?;
        let certificate = Self {
            chain,
            resolver: Arc::new(SingleCertAndKey::from(certified)),
            validity,
        };
        certificate.check(now)?;
        Ok(certificate)
    }

    /// The chain in DER, the client's own certificate first: public.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether it is within its time.
    ///
    /// # Errors
    /// [`BadCertificate::Expired`] and [`BadCertificate::NotYetValid`].
    pub fn check(&self, now: Wall) -> Result<(), BadCertificate> {
        let now = now.unix_secs();
        let Validity { from, until } = self.validity;
        if now > until {
            return Err(BadCertificate::Expired(now.abs_diff(until)));
        }
        if now < from {
            return Err(BadCertificate::NotYetValid(from.abs_diff(now)));
        }
        Ok(())
    }
}

/// `validity` of a certificate (RFC 5280 §4.1.2.5), in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: i64,
    until: i64,
}

impl Validity {
    /// Walks down to it: rustls checks the certificates of others, and has nothing to say of ours.
    fn of(certificate: &[u8]) -> Option<Self> {
        const SEQUENCE: u8 = 0x30;
        let (certificate, _) = take(certificate, SEQUENCE)?;
        let (mut rest, _) = take(certificate, SEQUENCE)?;
        const VERSION: u8 = 0xa0;
        if rest.first() == Some(&VERSION) {
            rest = take(rest, VERSION)?.1;
        }
        const INTEGER: u8 = 0x02;
        // serialNumber, signature, issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            rest = take(rest, tag)?.1;
        }
        let (validity, _) = take(rest, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }
}

/// The content of the element in front and what follows it, when it has this tag (X.690 §8.1).
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// A UTCTime or a GeneralizedTime, both to the second and in UTC (RFC 5280 §4.1.2.5).
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    const UTC: u8 = 0x17;
    const GENERALIZED: u8 = 0x18;
    let (text, century, rest) = match der.first()? {
        &UTC => {
            let (text, rest) = take(der, UTC)?;
            // RFC 5280 §4.1.2.5.1.
            let century = if text.first()? >= &b'5' { "19" } else { "20" };
            (text, century, rest)
        }
        _ => {
            let (text, rest) = take(der, GENERALIZED)?;
            (text, "", rest)
        }
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits[range].parse::<i64>().ok();
    let days = days_from_civil(part(0..4)?, part(4..6)?, part(6..8)?)?;
    let secs = part(8..10)? * 3600 + part(10..12)? * 60 + part(12..14)?;
    Some((days * 86_400 + secs, rest))
}

/// Days from the epoch to a day of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(from: (i32, u8, u8), until: (i32, u8, u8)) -> (String, Secret) {
        let mut params = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = |label: &str, der: &[u8]| {
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let key = pem("PRIVATE KEY", &key.serialize_der());
        (
            pem("CERTIFICATE", certificate.der()),
            Secret::new(key.as_str()),
        )
    }

    fn now() -> Wall {
        Wall::from_unix_secs(20_454 * 86_400)
    }

    #[test]
    fn a_certificate_counts_within_its_time_alone() {
        for (from, until, expected) in [
            ((2025, 1, 1), (2027, 1, 1), None),
            // Years that UTCTime cannot say.
            ((1949, 12, 31), (2064, 2, 29), None),
            (
                (2020, 2, 29),
                (2025, 12, 29),
                Some(BadCertificate::Expired(3 * 86_400)),
            ),
            (
                (2026, 1, 2),
                (2030, 1, 1),
                Some(BadCertificate::NotYetValid(86_400)),
            ),
        ] {
            let (chain, key) = made(from, until);
            let read = ClientCertificate::from_pem(&chain, &key, now());
            assert_eq!(read.err(), expected, "{from:?} {until:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_reason() {
        let (chain, key) = made((2025, 1, 1), (2027, 1, 1));
        let (_, other) = made((2025, 1, 1), (2027, 1, 1));
        let cut = chain.replacen("MII", "MIJ", 1);
        for (chain, key, why) in [
            (chain.as_str(), &other, BadCertificate::Mismatch),
            (&chain, &Secret::new(chain.as_str()), BadCertificate::NoKey),
            ("", &key, BadCertificate::Unreadable),
            (key.expose(), &key, BadCertificate::Unreadable),
            (&cut, &key, BadCertificate::Unreadable),
        ] {
            let read = ClientCertificate::from_pem(chain, key, now());
            assert_eq!(read.err(), Some(why));
        }
        let expired = BadCertificate::Expired(2 * 86_400 + 5);
        assert_eq!(expired.to_string(), "the certificate expired 2 days ago");
    }

    #[test]
    fn no_certificate_however_cut_is_a_panic() {
        let (chain, _) = made((2025, 1, 1), (2027, 1, 1));
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        assert!(Validity::of(&der).is_some());
        for end in 0..der.len() {
            // Whatever it says of a cut one, it says it.
            let _ = Validity::of(&der[..end]);
        }
        assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn days_are_counted_as_the_calendar_counts_them() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2100, 3, 1), 47_541),
            ((1969, 12, 31), -1),
        ] {
            assert_eq!(
                days_from_civil(date.0, date.1, date.2),
                Some(days),
                "{date:?}"
            );
        }
        assert_eq!(days_from_civil(2000, 13, 1), None);
    }
}
