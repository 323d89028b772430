//! `provider.*`: which providers can be logged in to by name, and what is known of them.

use authd_oauth::{
    DEFAULT_REDIRECT_URI,
    preset::{Entry, Fact, Known, Redirect, Source},
};
use authd_proto::{
    WireError, limits, page,
    provider::{
        ProviderAddress, ProviderFact, ProviderInfo, ProviderList, ProviderListReply,
        ProviderOrigin, ProviderRegistration, ProviderShow, ProviderShowReply, ProviderSource,
        ProviderVariable,
    },
    request::Flow,
};

use crate::{authorize::preset::unresolved, daemon::Shared};

/// `provider.list`: sorted by name. The cursor is the last name of the page before.
#[expect(clippy::unnecessary_wraps, reason = "every handler answers alike")]
pub(crate) fn list(daemon: &Shared, list: &ProviderList) -> Result<ProviderListReply, WireError> {
    let presets = daemon.config.load().presets();
    let all: Vec<ProviderInfo> = presets
        .iter()
        .filter(|(name, _)| list.cursor.as_deref().is_none_or(|cursor| *name > cursor))
        .map(|(name, known)| info(name, known))
        .collect();
    let count = all.len();
    let page: Vec<ProviderInfo> = page::fill(all, limits::page_limit(list.limit));
    let cursor = (page.len() < count)
        .then(|| page.last().map(|provider| provider.name.clone()))
        .flatten();
    Ok(ProviderListReply {
        providers: page,
        cursor,
    })
}

/// `provider.show`.
pub(crate) fn show(daemon: &Shared, show: &ProviderShow) -> Result<ProviderShowReply, WireError> {
    let presets = daemon.config.load().presets();
    let known = presets
        .find(&show.provider)
        .map_err(|error| unresolved(&presets, error.into()))?;
    let entry = &known.entry;
    let registration = entry
        .registration
        .as_ref()
        .map(|registration| ProviderRegistration {
            url: registration.url.clone(),
            steps: registration.steps.clone(),
        });
    Ok(ProviderShowReply {
        info: info(&show.provider, known),
        addresses: addresses(entry),
        redirect_uri: redirect_uri(entry),
        registration,
        notes: entry.notes.clone(),
        facts: Fact::ALL
            .iter()
            .map(|fact| ProviderFact {
                fact: fact.name().to_owned(),
                value: fact.stated(entry),
                sources: sources(entry, *fact),
            })
            .collect(),
    })
}

fn info(name: &str, known: &Known) -> ProviderInfo {
    let Known { entry, from_config } = known;
    let browser = entry.issuer.is_some() || entry.authorization_endpoint.is_some();
    let device = entry.device == Some(true) || entry.device_authorization_endpoint.is_some();
    let flows = [(browser, Flow::Browser), (device, Flow::Device)];
    let variables = entry.variables.iter();
    ProviderInfo {
        name: name.to_owned(),
        title: entry.title.clone().unwrap_or_else(|| name.to_owned()),
        flows: flows
            .into_iter()
            .filter_map(|(there, flow)| there.then_some(flow))
            .collect(),
        variables: variables
            .map(|(name, variable)| ProviderVariable {
                name: name.clone(),
                about: variable.about.clone(),
                default: variable.default.clone(),
            })
            .collect(),
        origin: match from_config {
            true => ProviderOrigin::Config,
            false => ProviderOrigin::BuiltIn,
        },
    }
}

fn addresses(entry: &Entry) -> Vec<ProviderAddress> {
    entry
        .addresses()
        .into_iter()
        .filter(|(name, _)| *name != "redirect_uri")
        .filter_map(|(name, url)| {
            Some(ProviderAddress {
                name: name.to_owned(),
                url: url.clone()?,
            })
        })
        .collect()
}

/// What to enter where the client is registered. Where every port will do, none is entered.
fn redirect_uri(entry: &Entry) -> String {
    let own = entry.redirect_uri.clone();
    match entry.redirect {
        Some(Redirect::AnyPort) => DEFAULT_REDIRECT_URI.to_owned(),
        _ => own.unwrap_or_else(|| DEFAULT_REDIRECT_URI.to_owned()),
    }
}

fn sources(entry: &Entry, fact: Fact) -> Vec<ProviderSource> {
    entry
        .sources
        .iter()
        .filter(|source| source.facts.contains(&fact))
        .map(
            |Source {
                 url, read, says, ..
             }| ProviderSource {
                url: url.clone(),
                read: read.clone(),
                says: says.clone(),
            },
        )
        .collect()
}
