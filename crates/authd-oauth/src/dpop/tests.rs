use http::{HeaderValue, header};
use serde_json::json;

use super::*;
use crate::jws::{KeySet, Verified};

const NOW: Now = Now {
    boot: Boot(5_000),
    wall: Wall(1_700_000_000_000),
};

fn request(url: &str) -> ProofRequest<'_> {
    ProofRequest {
        method: "POST",
        url,
        access_token: None,
        nonce: None,
        at: NOW.wall,
        jti: u128::from_be_bytes([7; 16]),
    }
}

/// Checked by the key that the proof itself shows, as a server does.
fn verified(proof: &Secret) -> Verified {
    let header = proof.expose().split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let keys = json!({ "keys": [header["jwk"]] }).to_string();
    KeySet::from_json(keys.as_bytes())
        .unwrap()
        .verify(proof.expose(), &[Algorithm::Es256])
        .ok()
        .unwrap()
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn headers(nonce: Option<&str>, date: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(nonce) = nonce {
        headers.insert(DPOP_NONCE, HeaderValue::from_str(nonce).unwrap());
    }
    if let Some(date) = date {
        headers.insert(header::DATE, HeaderValue::from_str(date).unwrap());
    }
    headers
}

#[test]
fn a_proof_is_for_one_request_at_one_moment() {
    let key = DpopKey::generate().unwrap();
    let proof = key
        .proof(request("https://IDP.example:443/token?x=1#y"))
        .ok()
        .unwrap();
    let Verified { header, claims } = verified(&proof);
    assert_eq!(header["typ"], "dpop+jwt");
    assert_eq!(
        Value::Object(claims),
        json!({
            "jti": URL_SAFE_NO_PAD.encode([7; 16]), "htm": "POST",
            "htu": "https://idp.example/token", "iat": 1_700_000_000,
        })
    );
    let jwk = header["jwk"].as_object().unwrap();
    assert!(!jwk.contains_key("d"), "the private part stays here");
}

#[test]
fn at_a_resource_it_names_the_token_and_the_nonce() {
    let key = DpopKey::generate().unwrap();
    // RFC 9449 §7.1.
    let token = Secret::new("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    let proof = key
        .proof(ProofRequest {
            access_token: Some(&token),
            nonce: Some("eyJ7S_zG"),
            ..request("https://resource.example.org/protectedresource")
        })
        .ok()
        .unwrap();
    let claims = verified(&proof).claims;
    assert_eq!(claims["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    assert_eq!(claims["nonce"], "eyJ7S_zG");
}

#[test]
fn a_key_comes_back_from_the_store_as_the_same_key() {
    let key = DpopKey::generate().unwrap();
    let again = DpopKey::from_stored(key.stored()).ok().unwrap();
    assert_eq!(again.thumbprint(), key.thumbprint());
    assert_ne!(DpopKey::generate().unwrap().thumbprint(), key.thumbprint());
    for bad in ["", "!", "AAAA"] {
        assert!(DpopKey::from_stored(&Secret::new(bad)).is_err());
    }
}

#[test]
fn what_is_no_address_gets_no_proof() {
    let key = DpopKey::generate().unwrap();
    for bad in [
        "",
        "/path",
        "ftp://host/",
        "data:text/plain,x",
        "https://u:p@host/",
        "https:///",
    ] {
        assert_eq!(
            key.proof(request(bad)).err(),
            Some(ProofError::Url),
            "{bad}"
        );
    }
}

#[test]
fn the_newest_nonce_of_each_origin_is_kept() {
    let servers = DpopServers::default();
    let token = url("https://idp.example/token");
    servers.hear(&token, &headers(Some("n-1"), None), NOW);
    servers.hear(&token, &headers(Some("n-2"), None), NOW);
    servers.hear(&token, &headers(None, None), NOW);
    assert_eq!(
        servers.nonce(&url("https://idp.example/other")).as_deref(),
        Some("n-2")
    );
    assert_eq!(servers.nonce(&url("https://idp.example:8443/token")), None);
    for bad in ["", "two words", "quo\"ted", &"x".repeat(NONCE_LEN + 1)] {
        servers.hear(&token, &headers(Some(bad), None), NOW);
        assert_eq!(servers.nonce(&token).as_deref(), Some("n-2"), "{bad}");
    }
}

#[test]
fn no_number_of_origins_fills_the_memory() {
    let servers = DpopServers::default();
    for n in 0..ORIGINS + 10 {
        let origin = url(&format!("https://h{n}.example/"));
        servers.hear(&origin, &headers(Some("n"), None), NOW);
    }
    assert_eq!(servers.0.lock().unwrap().len(), ORIGINS);
}

#[test]
fn the_servers_clock_dates_a_proof_whatever_is_done_to_ours() {
    let servers = DpopServers::default();
    let token = url("https://idp.example/token");
    assert_eq!(servers.time(&token, NOW), NOW.wall);
    // An hour ahead of us.
    let date = "Tue, 14 Nov 2023 23:13:20 GMT";
    servers.hear(&token, &headers(None, Some(date)), NOW);
    let ahead = Wall::from_unix_secs(1_700_003_600);
    assert_eq!(servers.time(&token, NOW), ahead);
    let later = Now {
        boot: NOW.boot.after(Duration::from_secs(60)),
        wall: Wall(0),
    };
    assert_eq!(
        servers.time(&token, later),
        ahead.after(Duration::from_secs(60))
    );
}
