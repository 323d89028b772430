//! A listening socket with a thread and a runtime of its own.
//!
//! A thread of its own, so that blocking tests can use the server, and so that a test that pauses its
//! own runtime's clock leaves the server alone. A hard stop drops the runtime: every connection
//! breaks at once.

use std::{io, net::TcpListener, thread::JoinHandle};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch, task::JoinSet};
use tower_service::Service as _;

use super::faulty::Severed;

/// A running listener; dropping it stops it hard.
pub(crate) struct Listener {
    stop: watch::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Run,
    Gracefully,
    Now,
}

/// The service's error: the connection must end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("an injected fault ends the connection")]
struct Drop;

impl Listener {
    /// Serves `router` on `socket`.
    ///
    /// # Errors
    /// When the socket, the thread or its runtime cannot be had.
    pub(crate) fn serve(socket: TcpListener, router: Router) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let socket = {
            let _runtime = runtime.enter();
            tokio::net::TcpListener::from_std(socket)?
        };
        let (stop, stopped) = watch::channel(Stop::Run);
        let thread = std::thread::Builder::new()
            .name("fake-as".to_owned())
            .spawn(move || runtime.block_on(accept(socket, router, stopped)))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops accepting, lets open requests end, and closes.
    pub(crate) async fn stop_gracefully(self) {
        self.stop.send_replace(Stop::Gracefully);
        // The thread drops the last receiver when it ends.
        self.stop.closed().await;
    }
}

impl std::ops::Drop for Listener {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Now);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

async fn accept(socket: tokio::net::TcpListener, router: Router, mut stop: watch::Receiver<Stop>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), stop.clone()));
                }
                // Out of descriptors: until a connection ends nothing can be accepted.
                Err(_) => {
                    if connections.join_next().await.is_none() {
                        tokio::task::yield_now().await;
                    }
                }
            },
        }
    }
    drop(socket);
    while *stop.borrow_and_update() == Stop::Gracefully {
        tokio::select! {
            _ = stop.changed() => {}
            ended = connections.join_next() => if ended.is_none() {
                return;
            },
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut stop: watch::Receiver<Stop>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answered = router.call(request.map(Body::new)).await;
            let Ok(response) = answered;
            match response.extensions().get::<Severed>() {
                Some(_) => Err(Drop),
                None => Ok(response),
            }
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            // Clients that break off, and connections that a fault ends, come out as errors here.
            _ = connection.as_mut() => return,
            _ = stop.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}
