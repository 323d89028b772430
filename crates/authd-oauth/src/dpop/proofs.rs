//! The proofs of one exchange, and the few refusals after which it is sent again.

use authd_core::{
    answer::{Answer, Body, Received},
    time::{Now, Wall},
};
use http::HeaderMap;
use url::Url;

use super::{Dpop, Proving, attach, far_apart};
use crate::{
    client::Ambient,
    http::{Outgoing, TransportFailure},
};

/// Makes the proofs of one exchange and decides what a refusal of one means.
///
/// `use_dpop_nonce` and `invalid_dpop_proof` say that the server looked at the proof and at nothing
/// else (RFC 9449 §5, §8): whatever was to be spent is not spent, and the request may be sent again.
/// Each reason counts once, so an exchange is at most four requests, and mostly one.
pub(crate) struct Proofs<'a> {
    dpop: Option<Dpop<'a>>,
    proving: bool,
    /// The date of the proof last sent.
    dated: Option<Wall>,
    nonce_taken: bool,
    date_taken: bool,
}

impl<'a> Proofs<'a> {
    pub(crate) fn new(dpop: Option<Dpop<'a>>) -> Self {
        Self {
            dpop,
            proving: dpop.is_some_and(|dpop| dpop.when == Proving::Always),
            dated: None,
            nonce_taken: false,
            date_taken: false,
        }
    }

    /// Whether the request last sent had a proof.
    pub(crate) fn proving(&self) -> bool {
        self.proving
    }

    /// Puts a proof into the request, where one is due.
    pub(crate) fn attach(
        &mut self,
        outgoing: &mut Outgoing,
        ambient: &dyn Ambient,
    ) -> Result<(), TransportFailure> {
        let Some(dpop) = self.dpop.filter(|_| self.proving) else {
            return Ok(());
        };
        let made = dpop.proof(outgoing.method.as_str(), &outgoing.url, None, ambient);
        let (proof, at) = made.map_err(|why| {
            tracing::warn!(%why, "no proof of possession");
            TransportFailure::BadEndpoint
        })?;
        self.dated = Some(at);
        attach(&mut outgoing.headers, &proof)
    }

    /// Learns from a response, whatever it says.
    pub(crate) fn hear(&self, url: &Url, headers: &HeaderMap, now: Now) {
        if let Some(dpop) = self.dpop {
            dpop.servers.hear(url, headers, now);
        }
    }

    /// Whether `answer` refuses the proof alone, and another may do better. `nonce` says whether a nonce
    /// came with it.
    pub(crate) fn may_mend(&mut self, answer: &Answer, nonce: bool) -> bool {
        let Received::Response {
            status: 400..500,
            body: Body::Error { code, .. },
        } = &answer.received
        else {
            return false;
        };
        let asks_for_nonce = code == "use_dpop_nonce";
        if self.dpop.is_none() || !(asks_for_nonce || code == "invalid_dpop_proof") {
            return false;
        }
        let first = !std::mem::replace(&mut self.proving, true);
        let mends = if asks_for_nonce {
            nonce && !std::mem::replace(&mut self.nonce_taken, true)
        } else {
            let wrong_date = self
                .dated
                .zip(answer.date)
                .is_some_and(|(ours, theirs)| far_apart(ours, theirs));
            wrong_date && !std::mem::replace(&mut self.date_taken, true)
        };
        if first || mends {
            tracing::debug!(code, "sent again with another proof of possession");
        }
        first || mends
    }
}
