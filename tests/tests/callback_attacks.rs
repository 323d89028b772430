//! Hostile requests to the callback of a login under way, one test each: what they are answered changes
//! nothing, and the genuine login succeeds afterwards. The real daemon and the real `authctl login`; the
//! attacks are bytes on a socket, as any web page and any program of this machine can send them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use authd_e2e::{Daemon, Instance, PATIENCE, PendingLogin, api};
use authd_testkit::{Browser, Endpoint, FakeServer, Options};
use url::Url;

/// A login under way, and where its answer is waited for.
struct Login {
    server: FakeServer,
    instance: Instance,
    _daemon: Daemon,
    pending: PendingLogin,
    callback: Url,
    address: SocketAddr,
    /// As a program that reads the browser's history knows it.
    state: String,
}

impl Login {
    fn begin() -> Self {
        let server = FakeServer::start(Options::default()).unwrap();
        let instance = Instance::new();
        let daemon = instance.start_daemon();
        let pending = instance.begin_login("demo", server.issuer(), &[]);
        Self::of(server, instance, daemon, pending)
    }

    fn of(server: FakeServer, instance: Instance, daemon: Daemon, pending: PendingLogin) -> Self {
        let callback = pending.authorize()["redirect_uri"].as_str().unwrap();
        let callback = Url::parse(callback).unwrap();
        let address = callback.socket_addrs(|| None).unwrap()[0];
        let asked = Url::parse(pending.url()).unwrap();
        let state = asked.query_pairs().find(|(name, _)| name == "state");
        let state = state.unwrap().1.into_owned();
        Self {
            server,
            instance,
            _daemon: daemon,
            pending,
            callback,
            address,
            state,
        }
    }

    /// The person at the provider's page: the address that the browser is sent back to.
    fn answer(&self) -> Url {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut browser = Browser::new();
        let asking = browser.request("GET".parse().unwrap(), self.pending.url(), &[], "");
        let sent_back = runtime.block_on(asking).unwrap();
        let location = Url::parse(sent_back.header("location").unwrap()).unwrap();
        assert!(location.as_str().starts_with(self.callback.as_str()));
        location
    }

    /// What a request with this target is answered, sent as the browser would: its status.
    fn get(&self, target: &str) -> u16 {
        self.request("GET", target, self.callback.authority())
    }

    fn request(&self, method: &str, target: &str, host: &str) -> u16 {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = self.send(request.as_bytes());
        assert!(!answer.contains("stolen"), "nothing of it is echoed");
        status(&answer)
    }

    /// Everything that is answered to these bytes.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // It may hang up on the way.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // A reset takes nothing from what came before it.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request with this query changes nothing.
    fn refuses(&self, query: &str) {
        let path = self.callback.path();
        assert_eq!(self.get(&format!("{path}?{query}")), 400, "{query}");
    }

    /// Nothing has come of the attack; the person signs in, and the login succeeds.
    fn succeeds(self) -> (FakeServer, Instance, Daemon, Url) {
        let answer = self.answer();
        self.succeeds_with(answer)
    }

    fn succeeds_with(self, answer: Url) -> (FakeServer, Instance, Daemon, Url) {
        let exchanged = self.server.counts().requests(Endpoint::Token);
        assert_eq!(exchanged, 0, "a code was exchanged");
        assert_eq!(self.instance.authctl(&["list"]).line(), "", "an account");
        let page = Browser::new().follow_blocking(answer.as_str()).unwrap();
        assert_eq!(page.status, 200);
        let (last, finished) = self.pending.finish();
        assert_eq!(last["event"], "done", "{finished:?}");
        let token = self.instance.authctl(&["token", "demo"]);
        assert_eq!(api::ping(&self.server, token.line()), 200);
        (self.server, self.instance, self._daemon, answer)
    }
}

/// The status of an answer; 0 when there is none.
fn status(answer: &str) -> u16 {
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.map_or(0, |status| status.parse().unwrap())
}

#[test]
fn a_wrong_state_changes_nothing() {
    let login = Login::begin();
    let issuer = login.server.issuer();
    let almost = &login.state[..login.state.len() - 1];
    for state in ["guess", "", almost, &login.state.to_ascii_uppercase()] {
        login.refuses(&format!("code=stolen&state={state}&iss={issuer}"));
    }
    login.succeeds();
}

#[test]
fn a_missing_state_changes_nothing() {
    let login = Login::begin();
    let issuer = login.server.issuer();
    login.refuses(&format!("code=stolen&iss={issuer}"));
    login.refuses("code=stolen");
    login.refuses("");
    // Nor may it hide where it is not looked for.
    let (path, state) = (login.callback.path(), &login.state);
    assert_eq!(login.get(&format!("{path}?code=stolen#state={state}")), 400);
    login.succeeds();
}

#[test]
fn a_duplicate_state_changes_nothing_even_if_it_is_the_right_one() {
    let login = Login::begin();
    let (state, issuer) = (&login.state, login.server.issuer());
    for states in [
        format!("state={state}&state={state}"),
        format!("state={state}&state=guess"),
        format!("state=guess&state={state}"),
        // The same name, spelt otherwise.
        format!("state={state}&st%61te={state}"),
    ] {
        login.refuses(&format!("code=stolen&iss={issuer}&{states}"));
        login.refuses(&format!("error=access_denied&iss={issuer}&{states}"));
    }
    // Nor does a right state make a second code of use.
    login.refuses(&format!(
        "code=stolen&code=stolen&iss={issuer}&state={state}"
    ));
    login.succeeds();
}

#[test]
fn an_error_with_a_wrong_state_does_not_end_the_login() {
    let login = Login::begin();
    let issuer = login.server.issuer();
    for error in ["access_denied", "server_error", "stolen"] {
        for state in ["&state=guess", "&state=", ""] {
            login.refuses(&format!(
                "error={error}&error_description=stolen&iss={issuer}{state}"
            ));
        }
    }
    login.succeeds();
}

#[test]
fn a_wrong_host_changes_nothing_even_with_the_right_answer() {
    let login = Login::begin();
    let answer = login.answer();
    let target = &answer[url::Position::BeforePath..];
    let port = login.address.port();
    // What a name of the attacker's that leads to this machine is asked by (DNS rebinding), and its like.
    for host in [
        &format!("rebound.example:{port}"),
        &format!("localhost:{port}"),
        &format!("127.0.0.1.rebound.example:{port}"),
        &format!("127.1:{port}"),
        "127.0.0.1",
        "",
    ] {
        assert_eq!(login.request("GET", target, host), 404, "{host}");
    }
    let two = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nHost: rebound.example\r\n\r\n",
        login.callback.authority()
    );
    assert_eq!(status(&login.send(two.as_bytes())), 404);
    let none = format!("GET {target} HTTP/1.1\r\n\r\n");
    assert_eq!(status(&login.send(none.as_bytes())), 404);
    login.succeeds_with(answer);
}

#[test]
fn a_head_before_the_get_does_not_use_up_the_answer() {
    let login = Login::begin();
    let answer = login.answer();
    let target = &answer[url::Position::BeforePath..];
    // As whatever looks at a link before a person does; and every other method but the right one.
    for method in ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "get", "TRACE"] {
        let status = login.request(method, target, login.callback.authority());
        assert_eq!(status, 405, "{method}");
    }
    login.succeeds_with(answer);
}

#[test]
fn a_header_of_ten_megabytes_is_not_read_and_changes_nothing() {
    let login = Login::begin();
    let answer = login.answer();
    let target = &answer[url::Position::BeforePath..];
    let host = login.callback.authority();
    let long = "x".repeat(10 * 1024 * 1024);
    let before = Instant::now();
    for request in [
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nstolen: {long}\r\n\r\n"),
        format!("GET {target}&stolen={long} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        // A head that is never over, and a line that is none.
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{long}"),
        long.clone(),
    ] {
        let answer = login.send(request.as_bytes());
        // Whoever is hung up on while it still sends may not get to read the answer.
        assert!([0, 400, 431].contains(&status(&answer)), "{answer}");
        assert!(!answer.contains("stolen"), "nothing of it is echoed");
    }
    let many = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
        "x: stolen\r\n".repeat(1_000_000)
    );
    assert!([0, 431].contains(&status(&login.send(many.as_bytes()))));
    // Hung up on at 8 KiB, none of them is waited for.
    assert!(before.elapsed() < PATIENCE, "{:?}", before.elapsed());
    login.succeeds_with(answer);
}

#[test]
fn two_hundred_connections_that_drip_do_not_keep_the_browser_out() {
    let login = Login::begin();
    let (address, host) = (login.address, login.callback.authority().to_owned());
    let (stop, stopped) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let dripping = thread::spawn(move || drip(address, &host, &tell, &stopped));
    // All two hundred hang on, each has begun to speak, and some have been shed and are there again.
    let shed = told.recv_timeout(PATIENCE).unwrap();
    assert!(shed > 0);
    let before = Instant::now();
    let ends = login.succeeds();
    let took = before.elapsed();
    // Were it not for the shedding, each sixteen would hold their places for five seconds.
    assert!(took < Duration::from_secs(15), "{took:?}");
    drop(stop);
    dripping.join().unwrap();
    drop(ends);
}

/// Two hundred connections, a byte on each every few milliseconds, each made anew when it is hung up on.
/// Tells once all are there and how many have been shed by then; goes on until nobody listens any more, or
/// it is stopped.
fn drip(address: SocketAddr, host: &str, tell: &mpsc::Sender<usize>, stopped: &mpsc::Receiver<()>) {
    let request = format!("GET /callback?code=stolen HTTP/1.1\r\nHost: {host}\r\nx: ");
    let mut bytes = request.bytes().chain(std::iter::repeat(b'x'));
    let connect = || {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nonblocking(true).unwrap();
        Some(stream)
    };
    let mut streams: Vec<TcpStream> = (0..200).map_while(|_| connect()).collect();
    assert_eq!(streams.len(), 200);
    let mut shed = 0;
    let mut is_told = false;
    // Not a wait for anything: the pace of the drip.
    while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
        let byte = [bytes.next().unwrap()];
        for stream in &mut streams {
            let lives = stream.write(&byte).is_ok()
                && stream
                    .read(&mut [0; 512])
                    .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            if !lives {
                shed += 1;
                match connect() {
                    Some(again) => *stream = again,
                    // The login is over.
                    None => return,
                }
            }
        }
        if shed > 0 && !is_told {
            is_told = true;
            // The test may have failed meanwhile.
            let _ = tell.send(shed);
        }
    }
}

#[test]
fn an_answer_that_is_brought_again_changes_nothing() {
    let (server, instance, daemon, first) = Login::begin().succeeds();
    let before = instance.account("demo");
    let exchanges = server.counts().requests(Endpoint::Token);
    // Its own listener is closed.
    let address = first.socket_addrs(|| None).unwrap()[0];
    assert!(TcpStream::connect(address).is_err());
    // The listener of the next login is open, and the old answer is brought there.
    let pending = instance.begin_login("demo", server.issuer(), &[]);
    let login = Login::of(server, instance, daemon, pending);
    login.refuses(first.query().unwrap());
    assert_eq!(login.server.counts().requests(Endpoint::Token), exchanges);
    let answer = login.answer();
    let target = answer[url::Position::BeforePath..].to_owned();
    assert_eq!(login.get(&target), 200);
    // From then on the browser's history holds nothing that anybody would take.
    assert!(TcpStream::connect(login.address).is_err());
    let (last, finished) = login.pending.finish();
    assert_eq!(last["event"], "done", "{finished:?}");
    assert_eq!(
        login.server.counts().requests(Endpoint::Token),
        exchanges + 1
    );
    assert_eq!(login.instance.account("demo").flags, before.flags);
    let token = login.instance.authctl(&["token", "demo"]);
    assert_eq!(api::ping(&login.server, token.line()), 200);
}
