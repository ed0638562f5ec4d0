// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the daemon asks the kernel over netlink: devices, addresses, routes, and whether the module is there.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};
use vnet_core::Mac;
use vnet_netlink::attributes::{Reader, Writer};
use vnet_netlink::message::{Content, Message, Messages};

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNSID: u16 = 90;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const AF_BRIDGE: u8 = 7;
const NUD_PERMANENT: u16 = 0x80;
/// Multicast groups, by number from 1: link, neigh, IPv4 addresses and routes, IPv6 addresses and routes.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];
/// Most messages of the kernel that are taken in before others have their turn.
const TURN: usize = 64;
/// Generic netlink.
const NLCTRL: u16 = 16;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Index of the bridge or the like that it is a port of, or 0.
    pub(crate) master: u32,
    pub(crate) address: Mac,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A device is there, or is different.
    Link(Link),
    /// A device is gone, or in another namespace.
    Gone(u32),
    /// Addresses of this host.
    Addresses,
    /// Routes.
    Routes,
    /// A bridge (its index) has learned a MAC behind a port.
    Learned(u32, u32, Mac),
    /// A bridge has forgotten a MAC.
    Forgotten(u32, Mac),
    /// Changes were lost.
    Lost,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => bytes
            .first_chunk::<16>()
            .map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32_at(payload, 4)?,
        name: String::new(),
        mtu: 0,
        up: u32_at(payload, 8)? & libc::IFF_UP as u32 != 0,
        master: 0,
        address: Mac::from_bytes([0; 6]),
    };
    for attribute in Reader::new(payload.get(16..)?).map_while(Result::ok) {
        match attribute.kind {
            IFLA_ADDRESS => {
                link.address = Mac::from_bytes(attribute.bytes().unwrap_or_default());
            }
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MTU => link.mtu = attribute.u32().unwrap_or_default(),
            IFLA_MASTER => link.master = attribute.u32().unwrap_or_default(),
            _ => {}
        }
    }
    Some(link)
}

fn parse_change(message: &Message<'_>) -> Option<Change> {
    let payload = message.payload;
    // Bridges tell of their ports in messages of their own family, which say nothing of the device.
    let family = *payload.first()?;
    match message.kind {
        RTM_NEWLINK if family != AF_BRIDGE => parse_link(payload).map(Change::Link),
        RTM_DELLINK if family != AF_BRIDGE => u32_at(payload, 4).map(Change::Gone),
        RTM_NEWADDR | RTM_DELADDR => Some(Change::Addresses),
        RTM_NEWROUTE | RTM_DELROUTE => Some(Change::Routes),
        RTM_NEWNEIGH | RTM_DELNEIGH if family == AF_BRIDGE => {
            let (mut mac, mut master) = (None, None);
            for attribute in Reader::new(payload.get(12..)?).map_while(Result::ok) {
                match attribute.kind {
                    NDA_LLADDR => mac = attribute.bytes().ok().map(Mac::from_bytes),
                    NDA_MASTER => master = attribute.u32().ok(),
                    _ => {}
                }
            }
            if message.kind == RTM_DELNEIGH {
                return Some(Change::Forgotten(master?, mac?));
            }
            // What is permanent is an address of the port itself.
            let state = u16::from_ne_bytes(*payload.get(8..)?.first_chunk()?);
            if state & NUD_PERMANENT != 0 {
                return None;
            }
            Some(Change::Learned(master?, u32_at(payload, 4)?, mac?))
        }
        _ => None,
    }
}

fn open(protocol: SockProtocol, groups: u32, extra: SockFlag) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | extra;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// A socket on which changes are told.
pub(crate) struct Watcher {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Watcher {
    pub(crate) fn open() -> nix::Result<Self> {
        let groups = GROUPS
            .iter()
            .fold(0, |groups, group| groups | (1 << (group - 1)));
        Ok(Self {
            fd: open(SockProtocol::NetlinkRoute, groups, SockFlag::SOCK_NONBLOCK)?,
            buffer: vec![0; 64 * 1024],
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What has changed since the last call, or the first part of it: then the socket stays readable.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Changes::default();
        for _ in 0..TURN {
            match recv(
                self.fd.as_raw_fd(),
                &mut self.buffer,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(length) => {
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    let messages = Messages::new(bytes).map_while(Result::ok);
                    messages
                        .filter_map(|message| parse_change(&message))
                        .for_each(|change| changes.add(change));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => changes.add(Change::Lost),
                Err(_) => break,
            }
        }
        changes.all
    }
}

/// Changes that are dealt with together.
#[derive(Default)]
struct Changes {
    all: Vec<Change>,
    addresses: bool,
    routes: bool,
    lost: bool,
}

impl Changes {
    /// Adds one; what has everything looked at anew is there once.
    fn add(&mut self, change: Change) {
        let told = match change {
            Change::Addresses => &mut self.addresses,
            Change::Routes => &mut self.routes,
            Change::Lost => &mut self.lost,
            _ => return self.all.push(change),
        };
        if !std::mem::replace(told, true) {
            self.all.push(change);
        }
    }
}

/// A socket for requests, one at a time.
pub(crate) struct Requests {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requests {
    /// For rtnetlink.
    pub(crate) fn route() -> nix::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    fn open(protocol: SockProtocol) -> nix::Result<Self> {
        Ok(Self {
            fd: open(protocol, 0, SockFlag::empty())?,
            sequence: 0,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Asks, and gives each message of the answer to `each`.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> nix::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(16 + payload.len()).map_err(|_| Errno::EMSGSIZE)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend((REQUEST | ACK | flags).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(payload);
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty())?;
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            let bytes = self.buffer.get(..length).unwrap_or_default();
            for message in Messages::new(bytes).map_while(Result::ok) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.content().map_err(|_| Errno::EBADMSG)? {
                    Content::Data(data) => each(data),
                    Content::Done(_) => return Ok(()),
                    Content::Refused(refusal) => return Err(refusal.errno),
                    Content::Nothing => {}
                }
            }
        }
    }

    /// All devices.
    pub(crate) fn links(&mut self) -> nix::Result<HashMap<u32, Link>> {
        let mut links = HashMap::new();
        self.ask(RTM_GETLINK, DUMP, &[0; 16], |data| {
            if let Some(link) = parse_link(data) {
                links.insert(link.index, link);
            }
        })?;
        Ok(links)
    }

    /// One device, by name.
    pub(crate) fn link(&mut self, name: &str) -> nix::Result<Link> {
        let mut found = None;
        let mut payload = vec![0; 16];
        payload.extend(text(IFLA_IFNAME, name)?);
        self.ask(RTM_GETLINK, 0, &payload, |data| found = parse_link(data))?;
        found.ok_or(Errno::ENODEV)
    }

    /// One device, by index.
    pub(crate) fn link_at(&mut self, index: u32) -> nix::Result<Link> {
        let mut found = None;
        let mut payload = vec![0; 16];
        if let Some(field) = payload.get_mut(4..8) {
            field.copy_from_slice(&index.to_ne_bytes());
        }
        self.ask(RTM_GETLINK, 0, &payload, |data| found = parse_link(data))?;
        found.ok_or(Errno::ENODEV)
    }

    /// All addresses of this host.
    pub(crate) fn addresses(&mut self) -> nix::Result<Addresses> {
        let mut all = Addresses::default();
        self.ask(RTM_GETADDR, DUMP, &[0; 8], |data| {
            let attributes = Reader::new(data.get(8..).unwrap_or_default());
            let (mut local, mut other, mut broadcast) = (None, None, None);
            for attribute in attributes.map_while(Result::ok) {
                match attribute.kind {
                    IFA_LOCAL => local = address(attribute.value),
                    IFA_ADDRESS => other = address(attribute.value),
                    IFA_BROADCAST => broadcast = address(attribute.value),
                    _ => {}
                }
            }
            // Of a point-to-point device, the other is the peer's.
            all.own.extend(local.or(other));
            all.broadcasts.extend(broadcast);
            // struct ifaddrmsg: family, length of the prefix.
            if let (Some(IpAddr::V4(network)), Some(length @ 0..31)) = (other, data.get(1)) {
                let hosts = u32::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
                let last = Ipv4Addr::from_bits(network.to_bits() | hosts);
                all.broadcasts.insert(last.into());
            }
        })?;
        Ok(all)
    }

    /// The device and our address by which an address is reached, through a device if one is given.
    pub(crate) fn route_to(&mut self, to: IpAddr, device: u32) -> Option<(u32, Option<IpAddr>)> {
        let (family, octets) = match to {
            IpAddr::V4(to) => (libc::AF_INET, to.octets().to_vec()),
            IpAddr::V6(to) => (libc::AF_INET6, to.octets().to_vec()),
        };
        let bits = u8::try_from(octets.len() * 8).ok()?;
        // struct rtmsg.
        let mut payload = vec![u8::try_from(family).ok()?, bits];
        payload.resize(12, 0);
        let mut attributes = Writer::new();
        attributes.put(RTA_DST, &octets).ok()?;
        if device != 0 {
            attributes.put(RTA_OIF, &device.to_ne_bytes()).ok()?;
        }
        payload.extend(attributes.into_bytes());
        let mut found = None;
        self.ask(RTM_GETROUTE, 0, &payload, |data| {
            let (mut out, mut source) = (None, None);
            let attributes = Reader::new(data.get(12..).unwrap_or_default());
            for attribute in attributes.map_while(Result::ok) {
                match attribute.kind {
                    RTA_OIF => out = attribute.u32().ok(),
                    RTA_PREFSRC => source = address(attribute.value),
                    _ => {}
                }
            }
            found = out.map(|out| (out, source));
        })
        .ok()?;
        found
    }

    fn change(&mut self, index: u32, flags: (u32, u32), kind: u16, value: u32) -> nix::Result<()> {
        // struct ifinfomsg.
        let mut payload = vec![0; 4];
        payload.extend(index.to_ne_bytes());
        payload.extend(flags.0.to_ne_bytes());
        payload.extend(flags.1.to_ne_bytes());
        if kind != 0 {
            let mut attributes = Writer::new();
            let done = attributes.put(kind, &value.to_ne_bytes());
            done.map_err(|_| Errno::EINVAL)?;
            payload.extend(attributes.into_bytes());
        }
        self.ask(RTM_NEWLINK, 0, &payload, |_| {})
    }

    /// Sets a device's MTU.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> nix::Result<()> {
        self.change(index, (0, 0), IFLA_MTU, mtu)
    }

    /// Makes a device a port of a bridge.
    pub(crate) fn set_master(&mut self, index: u32, master: u32) -> nix::Result<()> {
        self.change(index, (0, 0), IFLA_MASTER, master)
    }

    /// Takes a device up.
    pub(crate) fn set_up(&mut self, index: u32) -> nix::Result<()> {
        let up = libc::IFF_UP as u32;
        self.change(index, (up, up), 0, 0)
    }

    /// Removes a device; that it is gone already is no failure.
    pub(crate) fn delete(&mut self, index: u32) -> nix::Result<()> {
        let mut payload = vec![0; 4];
        payload.extend(index.to_ne_bytes());
        payload.extend([0; 8]);
        match self.ask(RTM_DELLINK, 0, &payload, |_| {}) {
            Err(Errno::ENODEV) => Ok(()),
            done => done,
        }
    }

    /// By which number another network namespace is known here; -1 if it has none.
    pub(crate) fn namespace_id(&mut self, namespace: BorrowedFd<'_>) -> i32 {
        let mut payload = vec![0; 4];
        let mut attributes = Writer::new();
        let fd = namespace.as_raw_fd();
        if attributes.put(NETNSA_FD, &fd.to_ne_bytes()).is_err() {
            return -1;
        }
        payload.extend(attributes.into_bytes());
        let mut id = -1;
        let _ = self.ask(RTM_GETNSID, 0, &payload, |data| {
            let attributes = Reader::new(data.get(4..).unwrap_or_default());
            for attribute in attributes.map_while(Result::ok) {
                if attribute.kind == NETNSA_NSID {
                    id = attribute.i32().unwrap_or(-1);
                }
            }
        });
        id
    }
}

fn text(kind: u16, text: &str) -> nix::Result<Vec<u8>> {
    let mut attributes = Writer::new();
    let done = attributes.put_text(kind, text);
    done.map_err(|_| Errno::EINVAL)?;
    Ok(attributes.into_bytes())
}

/// Addresses that are not another host's.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    own: HashSet<IpAddr>,
    /// Each of all hosts of a network that this host is on.
    broadcasts: HashSet<IpAddr>,
}

impl Addresses {
    /// Whether an address is this host's own.
    pub(crate) fn contains(&self, address: &IpAddr) -> bool {
        self.own.contains(address)
    }

    /// Whether an address is that of all hosts of a network that this host is on.
    pub(crate) fn is_broadcast(&self, address: &IpAddr) -> bool {
        self.broadcasts.contains(address)
    }
}

/// How many vnets the kernel module has in this network namespace; none if it is not loaded.
pub(crate) fn module_nets() -> nix::Result<Option<usize>> {
    let mut requests = Requests::open(SockProtocol::NetlinkGeneric)?;
    // All families: the kernel would load a module for the name of one.
    let all = [CTRL_GETFAMILY, 1, 0, 0];
    let mut family = None;
    requests.ask(NLCTRL, DUMP, &all, |data| {
        let attributes = Reader::new(data.get(4..).unwrap_or_default());
        let (mut id, mut name) = (None, None);
        for attribute in attributes.map_while(Result::ok) {
            match attribute.kind {
                CTRL_FAMILY_ID => id = attribute.u16().ok(),
                CTRL_FAMILY_NAME => name = Some(attribute.text()),
                _ => {}
            }
        }
        if name.as_deref() == Some(vnet_core::abi::FAMILY) {
            family = id;
        }
    })?;
    let Some(family) = family else {
        return Ok(None);
    };
    let mut nets = 0;
    let get = [vnet_core::abi::cmd::NET_GET, 1, 0, 0];
    requests.ask(family, DUMP, &get, |_| nets += 1)?;
    Ok(Some(nets))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::socketpair;

    use super::*;

    #[test]
    fn a_storm_is_taken_in_part_by_part() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (fd, kernel) = pair.expect("made");
        let mut watcher = Watcher {
            fd,
            buffer: vec![0; 4096],
        };
        let count = TURN as u32 + 10;
        for index in 0..count {
            let mut payload = [0; 16];
            payload[4..8].copy_from_slice(&index.to_ne_bytes());
            let gone = crate::message::message(RTM_DELLINK, 0, 0, 0, &payload);
            send(kernel.as_raw_fd(), &gone, MsgFlags::MSG_DONTWAIT).expect("room");
        }
        let expected: Vec<_> = (0..count).map(Change::Gone).collect();
        assert_eq!(watcher.changes(), expected[..TURN]);
        assert_eq!(watcher.changes(), expected[TURN..]);
        assert_eq!(watcher.changes(), []);
    }

    #[test]
    fn what_has_all_looked_at_anew_is_told_once() {
        let mut changes = Changes::default();
        for _ in 0..3 {
            for change in [
                Change::Lost,
                Change::Gone(1),
                Change::Routes,
                Change::Addresses,
            ] {
                changes.add(change);
            }
        }
        let (lost, gone) = (Change::Lost, Change::Gone(1));
        let (routes, addresses) = (Change::Routes, Change::Addresses);
        assert_eq!(
            changes.all,
            [lost, gone.clone(), routes, addresses, gone.clone(), gone]
        );
    }
}
