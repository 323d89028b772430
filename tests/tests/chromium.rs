//! A person in a real browser, at the certified provider's own pages, and the page where they end.
//!
//! With `AUTHD_SCREENSHOTS=FOLDER` what was seen of that page is kept there.

use std::{fs, path::PathBuf};

use authd_e2e::{
    Instance, PendingLogin,
    chromium::{Chromium, Scheme},
    provider::Provider,
};

const SCOPES: [&str; 2] = ["--scope", "openid offline_access"];

/// A desktop's window, and a telephone that is as narrow as they come.
const SIZES: [(&str, u32, u32); 2] = [("wide", 900, 560), ("narrow", 320, 560)];

/// The least contrast of text, by WCAG 2.2 (1.4.3, level AA).
const LEAST_CONTRAST: f64 = 4.5;

/// Contrasts of all texts with the card they stand on, as the browser computes their colours.
const CONTRASTS: &str = r"
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).map((part) => part / 255).map((part) =>
            part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const card = light(getComputedStyle(document.querySelector('main')).backgroundColor);
    return [...document.querySelectorAll('h1, p, footer, svg')].map((element) => {
        const text = light(getComputedStyle(element).color);
        return (Math.max(text, card) + 0.05) / (Math.min(text, card) + 0.05);
    });
";

/// Looks at the page in every size and in both colours.
fn look_at(chromium: &Chromium, name: &str) {
    assert_eq!(
        chromium.script("return document.documentElement.lang"),
        "en"
    );
    assert_eq!(
        chromium.script("return document.querySelectorAll('main, h1').length"),
        2
    );
    let title = chromium.script("return document.title");
    assert_eq!(title, format!("{} – authd", chromium.text("h1")));
    for (size, width, height) in SIZES {
        for scheme in [Scheme::Light, Scheme::Dark] {
            chromium.show(width, height, scheme);
            let wide = chromium.script("return document.documentElement.scrollWidth");
            assert!(
                wide.as_u64() <= Some(u64::from(width)),
                "{name}: it has to be scrolled"
            );
            let contrasts = chromium.script(CONTRASTS);
            let contrasts = contrasts.as_array().expect("a list");
            assert_eq!(contrasts.len(), 4);
            for contrast in contrasts {
                assert!(
                    contrast.as_f64() >= Some(LEAST_CONTRAST),
                    "{name}: {contrasts:?}"
                );
            }
            if let Some(folder) = std::env::var_os("AUTHD_SCREENSHOTS") {
                let scheme = format!("{scheme:?}").to_lowercase();
                let file = PathBuf::from(folder).join(format!("{name}-{size}-{scheme}.png"));
                fs::write(file, chromium.screenshot()).expect("the folder is there");
            }
        }
    }
}

fn begin(provider: &Provider, instance: &Instance, account: &str) -> PendingLogin {
    PendingLogin::start(&mut provider.login(instance, account, "public", &SCOPES))
}

#[test]
fn a_person_signs_in_at_a_real_consent_page_and_is_told_so() {
    let provider = Provider::start_with_person();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let chromium = Chromium::start();

    let pending = begin(&provider, &instance, "work");
    chromium.open(pending.url());
    chromium.type_into("input[name=login]", "alice");
    chromium.type_into("input[name=password]", "any will do");
    chromium.click("button[type=submit]");
    // The consent page: it says what for, and has no field for a name.
    chromium.see("Authorize");
    chromium.click("button[type=submit]");
    chromium.see("You are signed in");
    assert!(chromium.text("main").contains("You can close this window"));
    look_at(&chromium, "signed-in");

    let (done, finished) = pending.finish();
    assert_eq!(done["event"], "done", "{finished:?}");
    assert_eq!(done["subject"], "alice");
    assert!(provider.is_active(instance.authctl(&["token", "work"]).line()));

    // The same person at the same page, who now thinks better of it.
    let pending = begin(&provider, &instance, "home");
    chromium.open(pending.url());
    chromium.click("a[href$=abort]");
    chromium.see("The sign-in was denied");
    look_at(&chromium, "denied");
    let (error, finished) = pending.finish();
    assert_eq!(
        (error["code"].as_str(), finished.code()),
        (Some("denied"), 6)
    );
    assert_eq!(instance.authctl(&["token", "home"]).code(), 3);

    // An answer that is none, but knows the state.
    let pending = begin(&provider, &instance, "home");
    let redirect = pending.authorize()["redirect_uri"]
        .as_str()
        .expect("one")
        .to_owned();
    let state = pending.url().split_once("state=").expect("a state").1;
    let state = state.split('&').next().unwrap_or_default();
    let issuer = provider.issuer();
    // First one that does not know it: a stray page changes nothing, and says so.
    chromium.open(&format!("{redirect}?code=x&state=stray&iss={issuer}"));
    chromium.see("Not part of this sign-in");
    look_at(&chromium, "strange");
    let failed = "error=server_error&error_description=<b>reflected</b>";
    chromium.open(&format!("{redirect}?{failed}&state={state}&iss={issuer}"));
    chromium.see("The sign-in failed");
    assert!(!chromium.text("body").contains("reflected"));
    look_at(&chromium, "failed");
    let (error, finished) = pending.finish();
    assert_eq!(error["code"], "login_failed", "{finished:?}");

    // The policy of the page forbids everything that it does not use: nothing was refused.
    let refused: Vec<_> = chromium
        .complaints()
        .into_iter()
        .filter(|complaint| complaint.contains("Content Security Policy"))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}
