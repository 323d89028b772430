//! rtnetlink: the kernel tells of addresses and routes that appear (`rtnetlink(7)`).
//!
//! Only what is new counts: the kernel repeats what it said whenever a router extends the life of an
//! address. Addresses that reach no further than this link or this machine do not count at all.

use std::{collections::BTreeSet, io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink,
        recvfrom, socket_with,
    },
};
use tokio::{io::unix::AsyncFd, time::sleep};

use super::{Sign, tell};
use crate::driver::Mailbox;

/// How long what belongs together may take to come: an address, then its route.
const SETTLING: Duration = Duration::from_secs(1);
/// Least distance between two words to the driver: each starts a try at every provider anew, and there
/// are networks that come and go without end.
const DISTANCE: Duration = Duration::from_secs(5);

// linux/rtnetlink.h: RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
// The kinds of message.
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
// Attributes of an address (linux/if_addr.h) and of a route.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// An IPv6 address that is not used before nobody else is known to have it.
const IFA_F_TENTATIVE: u8 = 0x40;
/// From here on a scope reaches no further than the link.
const RT_SCOPE_LINK: u8 = 253;
/// The loopback interface has this number in every network namespace.
const LOOPBACK: u32 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTN_UNICAST: u8 = 1;

/// Tells the driver when the network is back, for as long as the runtime lives.
///
/// # Errors
/// When the kernel gives no socket, or none that can be watched.
pub(super) async fn listen(mailbox: &Mailbox) -> io::Result<()> {
    let socket = open()?;
    let mut network = Network::default();
    loop {
        while !take_in(&socket, &mut network)? {
            socket.readable().await?.clear_ready();
        }
        sleep(SETTLING).await;
        take_in(&socket, &mut network)?;
        tell(mailbox, Sign::NetworkUp, None);
        sleep(DISTANCE - SETTLING).await;
    }
}

fn open() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    #[expect(
        unsafe_code,
        reason = "the runtime wants a promise about who owns the socket"
    )]
    // SAFETY: the runtime owns the descriptor from here on; nobody else can close it.
    let socket = unsafe { AsyncFd::register(socket)? };
    Ok(socket)
}

/// Reads all that is there; whether any of it is a network that was not there before.
fn take_in(socket: &AsyncFd<OwnedFd>, network: &mut Network) -> io::Result<bool> {
    let mut news = false;
    let mut buffer = [0; 8192];
    loop {
        match recvfrom(socket.get_ref(), &mut buffer, RecvFlags::empty()) {
            Ok((read, _, Some(sender))) => {
                let sender = SocketAddrNetlink::try_from(sender)?;
                // Any process may send to this socket; the kernel is number 0.
                if sender.pid() == 0 {
                    news |= network.take(&buffer[..read.min(buffer.len())]);
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::NOBUFS) => news |= network.lose_track(),
            Err(Errno::AGAIN) => return Ok(news),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What leads out of this machine, as far as the kernel has told.
#[derive(Debug, Default)]
struct Network(BTreeSet<Way>);

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Address { interface: u32, address: Vec<u8> },
    DefaultRoute { interface: u32, gateway: Vec<u8> },
}

impl Way {
    fn interface(&self) -> u32 {
        match self {
            Self::Address { interface, .. } | Self::DefaultRoute { interface, .. } => *interface,
        }
    }
}

impl Network {
    /// More came than the socket holds, and what it was is not known: a way may have appeared, and one
    /// that is remembered may have gone, so that it is news when it comes again. Always news.
    fn lose_track(&mut self) -> bool {
        self.0.clear();
        true
    }

    /// Takes in a datagram; whether there is a way in it that was not there before.
    fn take(&mut self, datagram: &[u8]) -> bool {
        let mut news = false;
        for (kind, body) in messages(datagram) {
            match kind {
                NEWADDR | NEWROUTE => {
                    if let Some(way) = way(kind, body)
                        && !self.0.contains(&way)
                    {
                        tracing::debug!(interface = way.interface(), "a way out appears");
                        self.0.insert(way);
                        news = true;
                    }
                }
                DELADDR | DELROUTE => {
                    if let Some(way) = way(kind, body) {
                        self.0.remove(&way);
                    }
                }
                _ => {}
            }
        }
        news
    }
}

/// The way that an address or a route is, if it leads out.
fn way(kind: u16, body: &[u8]) -> Option<Way> {
    if matches!(kind, NEWADDR | DELADDR) {
        // struct ifaddrmsg: family, prefix length, flags, scope, interface.
        let (head, attributes) = body.split_at_checked(8)?;
        let (flags, scope, interface) = (head[2], head[3], u32_at(head, 4)?);
        if interface == LOOPBACK || scope >= RT_SCOPE_LINK || flags & IFA_F_TENTATIVE != 0 {
            return None;
        }
        // On a point-to-point link the first is the other end.
        let address = attribute(attributes, IFA_LOCAL).or(attribute(attributes, IFA_ADDRESS))?;
        Some(Way::Address {
            interface,
            address: address.to_owned(),
        })
    } else {
        // struct rtmsg: family, destination's length, source's, TOS, table, protocol, scope, type,
        // flags.
        let (head, attributes) = body.split_at_checked(12)?;
        let (length, table, kind) = (head[1], head[4], head[7]);
        if length != 0 || table != RT_TABLE_MAIN || kind != RTN_UNICAST {
            return None;
        }
        let interface = attribute(attributes, RTA_OIF).and_then(|value| u32_at(value, 0));
        Some(Way::DefaultRoute {
            // A route over several interfaces names none here.
            interface: interface.unwrap_or(0),
            gateway: attribute(attributes, RTA_GATEWAY)
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

/// The messages of a datagram: `struct nlmsghdr` (length, kind, flags, sequence, port), then a body.
fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    records(datagram, |head| {
        Some((u32_at(head, 0)? as usize, u16_at(head, 4)?, 16))
    })
}

/// The value of an attribute: `struct rtattr` (length, type), then the value.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = records(attributes, |head| {
        Some((u16_at(head, 0)?.into(), u16_at(head, 2)?, 4))
    });
    all.find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// Takes apart what lies one after the other, aligned to 4 bytes. `head` gives the length of the whole,
/// the kind, and the length of the head. What is malformed ends it.
fn records(
    mut bytes: &[u8],
    head: impl Fn(&[u8]) -> Option<(usize, u16, usize)>,
) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind, head) = head(bytes)?;
        let body = bytes.get(head..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIVERSE: u8 = 0;
    const HOST: u8 = 254;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn address(kind: u16, flags: u8, scope: u8, interface: u8, last: u8) -> Vec<u8> {
        let mut body = vec![2, 24, flags, scope];
        body.extend(u32::from(interface).to_ne_bytes());
        body.extend(attribute(IFA_ADDRESS, &[192, 0, 2, last]));
        body.extend(attribute(IFA_LOCAL, &[192, 0, 2, last]));
        body.extend(attribute(3, b"eth0\0"));
        message(kind, &body)
    }

    fn route(kind: u16, length: u8, table: u8) -> Vec<u8> {
        let mut body = vec![2, length, 0, 0, table, 3, UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
        body.extend(attribute(RTA_OIF, &2_u32.to_ne_bytes()));
        body.extend(attribute(RTA_GATEWAY, &[192, 0, 2, 1]));
        message(kind, &body)
    }

    #[test]
    fn an_address_is_news_once_and_again_after_it_was_gone() {
        let mut network = Network::default();
        let came = address(NEWADDR, 0, UNIVERSE, 2, 7);
        assert!(network.take(&came));
        assert!(!network.take(&came), "a router extended its life");
        assert!(network.take(&address(NEWADDR, 0, UNIVERSE, 3, 7)));
        assert!(!network.take(&address(DELADDR, 0, UNIVERSE, 2, 7)));
        assert!(network.take(&came));
    }

    #[test]
    fn after_a_gap_in_what_the_kernel_told_every_address_is_news() {
        let mut network = Network::default();
        let came = address(NEWADDR, 0, UNIVERSE, 2, 7);
        assert!(network.take(&came));
        // Somewhere in what was lost it went.
        assert!(network.lose_track());
        assert!(network.take(&came));
        assert!(!network.take(&came));
    }

    #[test]
    fn what_reaches_no_further_than_the_link_is_no_network() {
        let mut network = Network::default();
        assert!(!network.take(&address(NEWADDR, 0, HOST, 2, 1)));
        let loopback = address(NEWADDR, 0, UNIVERSE, 1, 1);
        assert!(!network.take(&loopback));
        assert!(!network.take(&address(NEWADDR, 0, RT_SCOPE_LINK, 2, 7)));
    }

    #[test]
    fn an_address_counts_once_it_can_be_used() {
        let mut network = Network::default();
        let tentative = address(NEWADDR, IFA_F_TENTATIVE, UNIVERSE, 2, 7);
        assert!(!network.take(&tentative));
        assert!(network.take(&address(NEWADDR, 0, UNIVERSE, 2, 7)));
    }

    #[test]
    fn of_routes_the_default_route_alone_counts() {
        let mut network = Network::default();
        assert!(!network.take(&route(NEWROUTE, 24, RT_TABLE_MAIN)));
        assert!(!network.take(&route(NEWROUTE, 0, 255)), "the local table");
        assert!(network.take(&route(NEWROUTE, 0, RT_TABLE_MAIN)));
        assert!(!network.take(&route(DELROUTE, 0, RT_TABLE_MAIN)));
        assert!(network.take(&route(NEWROUTE, 0, RT_TABLE_MAIN)));
    }

    #[test]
    fn several_messages_in_one_datagram_are_all_read() {
        let mut network = Network::default();
        let mut datagram = address(NEWADDR, 0, HOST, 1, 1);
        datagram.extend(address(NEWADDR, 0, UNIVERSE, 2, 7));
        assert!(network.take(&datagram));
    }

    #[test]
    fn what_is_malformed_is_no_network_and_no_panic() {
        let whole = address(NEWADDR, 0, UNIVERSE, 2, 7);
        for length in 0..16 + 8 + 8 {
            assert!(!Network::default().take(&whole[..length]), "{length}");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 3, 255] {
                let mut bent = whole.clone();
                bent[place] = value;
                Network::default().take(&bent);
            }
        }
    }
}
