//! What a daemon, or whoever took its place, sends to a client.
#![no_main]

use authd_proto::event::Event;
use authd_proto::frame::FrameBuffer;
use authd_proto::message::{Message, Outcome};
use authd_proto::response::{
    AccountInfo, AccountListReply, DaemonStatusReply, EventsQueryReply, HelloReply, LoginProgress,
    LoginStartReply, LogoutReply, TokenReply,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut incoming = FrameBuffer::new();
    let mut rest = data;
    loop {
        match incoming.next_frame() {
            Ok(Some(frame)) => read(frame),
            Ok(None) => match incoming.read_from(&mut rest) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Err(_) => return,
        }
    }
});

fn read(frame: &[u8]) {
    match Message::parse(frame) {
        Ok(Message::Response { outcome, .. }) => every_result(outcome),
        Ok(Message::Notification { params, .. }) => drop(params.decode::<Event>()),
        Ok(Message::Request { .. }) | Err(_) => {}
    }
}

/// A client knows what it asked for; here any answer meets any question.
fn every_result(outcome: Outcome<'_>) {
    drop(outcome.decode::<HelloReply>());
    drop(outcome.decode::<TokenReply>());
    drop(outcome.decode::<AccountInfo>());
    drop(outcome.decode::<AccountListReply>());
    drop(outcome.decode::<LoginStartReply>());
    drop(outcome.decode::<LoginProgress>());
    drop(outcome.decode::<LogoutReply>());
    drop(outcome.decode::<DaemonStatusReply>());
    drop(outcome.decode::<EventsQueryReply>());
}
