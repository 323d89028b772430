//! Stock Neovim speaks to the socket without a plugin.

use authd_e2e::{Instance, neovim};
use authd_testkit::{FakeServer, Options};

#[test]
fn rpcrequest_returns_the_token_and_raises_a_readable_error() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let seen = neovim::run(
        &instance,
        "
let seen.token = rpcrequest(channel, 'token.get', {'account': 'demo'})
try
  call rpcrequest(channel, 'token.get', {'account': 'nobody'})
catch
  let seen.unknown_account = v:exception
endtry
try
  call rpcrequest(channel, 'no.such.method')
catch
  let seen.unknown_method = v:exception
endtry
let seen.again = rpcrequest(channel, 'token.get', {'account': 'demo'})
",
    );
    let token = &seen["token"];
    let printed = instance.authctl(&["token", "demo"]);
    assert!(token["access_token"] == printed.line(), "another token");
    assert_eq!(token["account"], "demo");
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["expiry"], "exact");
    assert_eq!(token["generation"], 1);
    assert!(token["expires_at"].is_u64() && token["ttl_secs"].is_u64());
    assert!(token["scopes"].is_array() && token["fingerprint"].is_string());
    assert_eq!(token["low"], false);

    let raised = seen["unknown_account"].as_str().unwrap();
    assert!(
        raised.contains("unknown_account: there is no account 'nobody'"),
        "{raised}"
    );
    assert!(raised.contains("authctl list"), "no hint: {raised}");
    let raised = seen["unknown_method"].as_str().unwrap();
    assert!(raised.contains("unknown_method: "), "{raised}");
    assert!(
        seen["again"]["access_token"] == printed.line(),
        "an error ended the channel"
    );
}

#[test]
fn every_way_in_which_lua_writes_nothing_means_no_parameters() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let seen = neovim::run(
        &instance,
        "
lua << END
local function ask(...)
  return vim.rpcrequest(vim.g.channel, 'token.get', ...).account
end
local accounts = {
  ask(),
  ask(nil),
  ask(vim.NIL),
  ask({}),
  ask(vim.empty_dict()),
}
local works, raised = pcall(vim.rpcrequest, vim.g.channel, 'token.get', {{}})
vim.g.lua = {accounts = accounts, works = works, raised = raised}
END
let seen.lua = g:lua
let seen.vim = [rpcrequest(channel, 'token.get').account]
let seen.vim += [rpcrequest(channel, 'token.get', {}).account]
let seen.vim += [rpcrequest(channel, 'token.get', []).account]
let seen.vim += [rpcrequest(channel, 'token.get', v:null).account]
",
    );
    for way in ["lua", "vim"] {
        let accounts = match way {
            "lua" => &seen["lua"]["accounts"],
            _ => &seen["vim"],
        };
        let accounts = accounts.as_array().unwrap();
        assert!(accounts.len() >= 4, "{way}: {accounts:?}");
        assert!(accounts.iter().all(|account| account == "demo"), "{way}");
    }
    // A list with an empty map in it is none of them, and is refused in words.
    assert_eq!(seen["lua"]["works"], false);
    let raised = seen["lua"]["raised"].as_str().unwrap();
    assert!(raised.contains("bad_request: "), "{raised}");
}

/// Neovim knows no method `event` and says so with a notification of its own, `nvim_error_event`.
#[test]
fn events_that_neovim_has_no_use_for_leave_the_channel_as_it_was() {
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let seen = neovim::run(
        &instance,
        "
let seen.events = rpcrequest(channel, 'subscribe', {'account': 'demo'}).events
let seen.renewed = rpcrequest(channel, 'renew', {'account': 'demo'}).renewed
let seen.watchers = rpcrequest(channel, 'daemon.status').watchers
let seen.sent = rpcnotify(channel, 'nvim_error_event', 0, 'a word')
let seen.generation = rpcrequest(channel, 'token.get', {'account': 'demo'}).generation
let seen.messages = execute('messages')
",
    );
    assert!(
        seen["events"].as_array().unwrap().contains(&"token".into()),
        "{}",
        seen["events"]
    );
    assert_eq!(seen["renewed"], true);
    assert_eq!(seen["watchers"], 1, "the subscription lives");
    assert_eq!(seen["sent"], 1);
    assert_eq!(seen["generation"], 2, "the channel lives");
    assert_eq!(seen["messages"], "", "nothing is shown to the person");
    assert_eq!(instance.account("demo").generation, 2);
}
