//! Windows: the power manager tells of sleep, the IP helper of addresses. Nothing here was run on
//! Windows yet.
#![expect(unsafe_code, reason = "notifications of Windows have no other door")]

use std::{ffi::c_void, ptr, time::Duration};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use windows_sys::Win32::{
    Foundation::HANDLE,
    NetworkManagement::IpHelper::{
        MIB_NOTIFICATION_TYPE, MIB_UNICASTIPADDRESS_ROW, MibAddInstance,
        NotifyUnicastIpAddressChange,
    },
    Networking::WinSock::AF_UNSPEC,
    System::Power::{DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS, PowerRegisterSuspendResumeNotification},
    UI::WindowsAndMessaging::{DEVICE_NOTIFY_CALLBACK, PBT_APMRESUMEAUTOMATIC, PBT_APMSUSPEND},
};

use super::{Sign, tell};
use crate::{clock::Clock, driver::Mailbox};

/// How long what belongs together may take to come.
const SETTLING: Duration = Duration::from_secs(1);
/// Least distance between two words of the network: each starts a try at every provider anew.
const DISTANCE: Duration = Duration::from_secs(5);

/// What the callbacks send to. It lives as long as the process: the notifications are never cancelled.
struct Listener {
    mailbox: Mailbox,
    addresses: UnboundedSender<()>,
}

pub(super) fn listen(mailbox: &Mailbox, _clock: &Clock) {
    let (addresses, mut told) = unbounded_channel();
    let listener: &'static Listener = Box::leak(Box::new(Listener {
        mailbox: mailbox.clone(),
        addresses,
    }));
    let to_driver = mailbox.clone();
    tokio::spawn(async move {
        while told.recv().await.is_some() {
            tokio::time::sleep(SETTLING).await;
            while told.try_recv().is_ok() {}
            tell(&to_driver, Sign::NetworkUp, None);
            tokio::time::sleep(DISTANCE - SETTLING).await;
        }
    });
    let context: *const Listener = listener;
    let mut subscription = DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS {
        Callback: Some(power_changed),
        Context: context.cast_mut().cast(),
    };
    let mut registration = ptr::null_mut();
    // SAFETY: the parameters are copied; the context they name lives as long as the process.
    let result = unsafe {
        PowerRegisterSuspendResumeNotification(
            DEVICE_NOTIFY_CALLBACK,
            (&raw mut subscription).cast::<c_void>() as HANDLE,
            &raw mut registration,
        )
    };
    if result != 0 {
        tracing::debug!(result, "nobody tells when the machine is about to sleep");
    }
    let mut registration = ptr::null_mut();
    // SAFETY: the context lives as long as the process, and the callback reads it only.
    let result = unsafe {
        NotifyUnicastIpAddressChange(
            AF_UNSPEC,
            Some(address_changed),
            context.cast(),
            false,
            &raw mut registration,
        )
    };
    if result != 0 {
        tracing::debug!(result, "nobody tells when the network is back");
    }
}

/// `DEVICE_NOTIFY_CALLBACK_ROUTINE`. Called on a thread of the system's.
unsafe extern "system" fn power_changed(
    context: *const c_void,
    kind: u32,
    _setting: *const c_void,
) -> u32 {
    // SAFETY: the context is the listener that was registered with it, and that is never dropped.
    let listener = unsafe { &*context.cast::<Listener>() };
    match kind {
        PBT_APMSUSPEND => tell(&listener.mailbox, Sign::Suspending, None),
        PBT_APMRESUMEAUTOMATIC => tell(&listener.mailbox, Sign::Resumed, None),
        _ => {}
    }
    0
}

/// `PUNICAST_IPADDRESS_CHANGE_CALLBACK`. Called on a thread of the system's.
unsafe extern "system" fn address_changed(
    context: *const c_void,
    _row: *const MIB_UNICASTIPADDRESS_ROW,
    kind: MIB_NOTIFICATION_TYPE,
) {
    if kind == MibAddInstance {
        // SAFETY: the context is the listener that was registered with it, and that is never dropped.
        let listener = unsafe { &*context.cast::<Listener>() };
        // The daemon may have ended.
        let _ = listener.addresses.send(());
    }
}
