//! A desktop's notification service of the test's own, on a bus of the test's own: the other end of a
//! question to the person.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
};

use zbus::{blocking::Connection, interface, zvariant::OwnedValue};

use crate::{
    PATIENCE,
    dbus::{Bus, in_time},
};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// It runs as long as it lives.
pub struct Notifier {
    connection: Connection,
    shown: mpsc::Receiver<Shown>,
    closed: mpsc::Receiver<u32>,
}

/// A notification, as it was asked for.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its number.
    pub id: u32,
    /// Its first line.
    pub summary: String,
    /// Its text.
    pub body: String,
    /// What can be pressed: keys and labels in turn.
    pub actions: Vec<String>,
}

struct Service {
    actions: bool,
    ids: Arc<AtomicU32>,
    shown: mpsc::Sender<Shown>,
    closed: mpsc::Sender<u32>,
}

#[interface(name = "org.freedesktop.Notifications")]
impl Service {
    fn get_capabilities(&self) -> Vec<&str> {
        if self.actions {
            vec!["body", "body-markup", "actions"]
        } else {
            vec!["body", "body-markup"]
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as the specification has it")]
    fn notify(
        &self,
        _app_name: &str,
        _replaces: u32,
        _icon: &str,
        summary: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        // The test may have gone.
        let _ = self.shown.send(Shown {
            id,
            summary,
            body,
            actions,
        });
        id
    }

    fn close_notification(&self, id: u32) {
        // The test may have gone.
        let _ = self.closed.send(id);
    }
}

impl Notifier {
    /// Starts one, whose notifications can be answered or only be read.
    ///
    /// # Panics
    /// When the bus does not take it.
    #[must_use]
    pub fn start(bus: &Bus, actions: bool) -> Self {
        let (show, shown) = mpsc::channel();
        let (close, closed) = mpsc::channel();
        let service = Service {
            actions,
            ids: Arc::default(),
            shown: show,
            closed: close,
        };
        let connection = bus.serve(NAME, PATH, service);
        Self {
            connection,
            shown,
            closed,
        }
    }

    /// The next notification.
    ///
    /// # Panics
    /// When none comes in time.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.recv_timeout(PATIENCE).expect("a notification")
    }

    /// The number of the next one that is taken away.
    ///
    /// # Panics
    /// When none is in time.
    #[must_use]
    pub fn closed(&self) -> u32 {
        self.closed
            .recv_timeout(PATIENCE)
            .expect("one that is taken away")
    }

    /// The person presses a button, or what is beside them (`default`).
    pub fn press(&self, id: u32, key: &str) {
        self.signal("ActionInvoked", (id, key.to_owned()));
    }

    /// The person closes it.
    pub fn dismiss(&self, id: u32) {
        self.signal("NotificationClosed", (id, 2_u32));
    }

    fn signal<B>(&self, name: &'static str, body: B)
    where
        B: serde::Serialize + zbus::zvariant::DynamicType + Send + 'static,
    {
        let connection = self.connection.clone();
        in_time(move || {
            let sent = connection.emit_signal(None::<&str>, PATH, NAME, name, &body);
            sent.expect("a signal on the bus");
        });
    }
}
