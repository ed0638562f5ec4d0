// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The UDP sockets: one of each family for each worker, all on the same port (SO_REUSEPORT), and for vnets whose source
//! port follows the flow a few more that only send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, socket};

use crate::sys::{self, Control, RawAddress};

/// Source ports of each family that the flows of a worker are spread over.
const FLOW_PORTS: usize = 8;
/// Bytes of room that are asked for; what the kernel gives may be less.
const BUFFER: i32 = 4 << 20;
/// Options that libc has not for all targets; include/uapi/linux/in.h, in6.h, udp.h.
const IP_MULTICAST_ALL: i32 = 49;
const IPV6_MULTICAST_ALL: i32 = 29;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
const IPV6_TRANSPARENT: i32 = 75;
const PMTUDISC_DONT: i32 = 0;
const PMTUDISC_DO: i32 = 2;
/// Most pieces of one send with segments, and most bytes.
pub(crate) const SEGMENTS_MAX: usize = 64;
pub(crate) const DATAGRAM_MAX: usize = 65_507;

/// One of the two families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Whether the kernel has IPv6: it may lack it, or it may have been switched off at boot.
pub(crate) fn has_v6() -> bool {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Inet6, SockType::Datagram, flags, None).is_ok()
}

fn open(family: Family) -> nix::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(domain, SockType::Datagram, flags, None)?;
    match family {
        Family::V4 => {
            sys::set_option(&fd, libc::SOL_IP, libc::IP_MULTICAST_LOOP, 0)?;
            sys::set_option(&fd, libc::SOL_IP, libc::IP_RECVERR, 1)?;
            sys::set_option(&fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, PMTUDISC_DONT)?;
        }
        Family::V6 => {
            sys::set_option(&fd, libc::SOL_IPV6, libc::IPV6_V6ONLY, 1)?;
            sys::set_option(&fd, libc::SOL_IPV6, libc::IPV6_MULTICAST_LOOP, 0)?;
            sys::set_option(&fd, libc::SOL_IPV6, libc::IPV6_RECVERR, 1)?;
            sys::set_option(&fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, PMTUDISC_DONT)?;
        }
    }
    // Needs CAP_NET_ADMIN; without, the room is what the system allows.
    if sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER).is_err() {
        let _ = sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER);
    }
    Ok(fd)
}

fn bind_to(fd: &OwnedFd, family: Family, port: u16) -> nix::Result<()> {
    match family {
        Family::V4 => bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)),
        Family::V6 => {
            let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
            bind(fd.as_raw_fd(), &SockaddrIn6::from(any))
        }
    }
}

/// Opens one of the sockets on the port. Only the first gets group packets, so that each is handled once.
fn open_bound(family: Family, port: u16, first: bool) -> nix::Result<OwnedFd> {
    let fd = open(family)?;
    let (level, tos, info, all) = match family {
        Family::V4 => (
            libc::SOL_IP,
            libc::IP_RECVTOS,
            libc::IP_PKTINFO,
            IP_MULTICAST_ALL,
        ),
        Family::V6 => (
            libc::SOL_IPV6,
            libc::IPV6_RECVTCLASS,
            libc::IPV6_RECVPKTINFO,
            IPV6_MULTICAST_ALL,
        ),
    };
    sys::set_option(&fd, level, tos, 1)?;
    sys::set_option(&fd, level, info, 1)?;
    if !first {
        sys::set_option(&fd, level, all, 0)?;
    }
    // What a peer forwards is sent with the address of who sent it first.
    match family {
        Family::V4 => sys::set_option(&fd, level, libc::IP_TRANSPARENT, 1)?,
        Family::V6 => sys::set_option(&fd, level, IPV6_TRANSPARENT, 1)?,
    }
    if sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
        let _ = sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER);
    }
    // Only for speed; kernels before 5.0 have it not.
    let _ = sys::set_option(&fd, libc::SOL_UDP, UDP_GRO, 1);
    // The first shares the port only once it has it, so that it cannot share somebody else's.
    if !first {
        sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    bind_to(&fd, family, port)?;
    if first {
        sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    Ok(fd)
}

/// The sockets of all workers.
pub(crate) struct Sockets {
    /// The port of all of them.
    pub(crate) port: u16,
    v4: Vec<OwnedFd>,
    /// Empty where the kernel has no IPv6.
    v6: Vec<OwnedFd>,
}

impl Sockets {
    /// Opens them.
    ///
    /// # Errors
    ///
    /// EADDRINUSE if anybody else has the port, in either family.
    pub(crate) fn open(port: u16, workers: usize) -> nix::Result<Self> {
        let all = |family| {
            (0..workers)
                .map(|index| open_bound(family, port, index == 0))
                .collect::<nix::Result<Vec<_>>>()
        };
        let v6 = match all(Family::V6) {
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => Vec::new(),
            done => done?,
        };
        let v4 = all(Family::V4)?;
        Ok(Self { port, v4, v6 })
    }

    /// One for each family, on a port that the kernel chooses, without what takes rights. That for IPv6 is there, and cannot send.
    #[cfg(test)]
    pub(crate) fn unbound() -> Self {
        let one = || vec![open(Family::V4).expect("a socket")];
        Self {
            port: 0,
            v4: one(),
            v6: one(),
        }
    }

    /// The socket of a worker; none if the kernel has not that family.
    pub(crate) fn of(&self, family: Family, worker: usize) -> Option<BorrowedFd<'_>> {
        let all = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        Some(all.get(worker)?.as_fd())
    }

    /// Joins a group on a device.
    pub(crate) fn join(&self, group: IpAddr, device: u32) -> nix::Result<()> {
        self.membership(
            group,
            device,
            libc::IP_ADD_MEMBERSHIP,
            libc::IPV6_ADD_MEMBERSHIP,
        )
    }

    /// Leaves a group; that it was left already is no failure.
    pub(crate) fn leave(&self, group: IpAddr, device: u32) {
        let _ = self.membership(
            group,
            device,
            libc::IP_DROP_MEMBERSHIP,
            libc::IPV6_DROP_MEMBERSHIP,
        );
    }

    fn membership(&self, group: IpAddr, device: u32, v4: i32, v6: i32) -> nix::Result<()> {
        let fd = self.of(Family::of(group), 0).ok_or(Errno::EAFNOSUPPORT)?;
        match group {
            IpAddr::V4(group) => {
                // struct ip_mreqn: group, own address, index.
                let mut request = [0; 12];
                request[..4].copy_from_slice(&group.octets());
                request[8..].copy_from_slice(&device.to_ne_bytes());
                sys::set_option_bytes(fd, libc::SOL_IP, v4, &request)
            }
            IpAddr::V6(group) => {
                // struct ipv6_mreq: group, index.
                let mut request = [0; 20];
                request[..16].copy_from_slice(&group.octets());
                request[16..].copy_from_slice(&device.to_ne_bytes());
                sys::set_option_bytes(fd, libc::SOL_IPV6, v6, &request)
            }
        }
    }
}

/// Sockets with other source ports, of one worker each. They receive nothing.
pub(crate) struct Flows {
    v4: Vec<Vec<OwnedFd>>,
    v6: Vec<Vec<OwnedFd>>,
}

impl Flows {
    /// Opens them for so many workers, for IPv6 if there is any.
    pub(crate) fn open(workers: usize, v6: bool) -> nix::Result<Self> {
        let one = |family| {
            let fd = open(family)?;
            sys::drop_everything(&fd)?;
            bind_to(&fd, family, 0)?;
            Ok(fd)
        };
        let all = |family, wanted: bool| {
            (0..if wanted { workers } else { 0 })
                .map(|_| (0..FLOW_PORTS).map(|_| one(family)).collect())
                .collect::<nix::Result<Vec<Vec<_>>>>()
        };
        Ok(Self {
            v4: all(Family::V4, true)?,
            v6: all(Family::V6, v6)?,
        })
    }

    /// All of a worker, always in the same order.
    pub(crate) fn all(&self, worker: usize) -> impl Iterator<Item = BorrowedFd<'_>> {
        let all = [self.v4.get(worker), self.v6.get(worker)];
        all.into_iter().flatten().flatten().map(AsFd::as_fd)
    }

    /// The socket for a flow.
    pub(crate) fn of(&self, family: Family, worker: usize, flow: u32) -> Option<BorrowedFd<'_>> {
        let all = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        let own = all.get(worker)?;
        Some(own.get(flow as usize % own.len().max(1))?.as_fd())
    }
}

/// How a datagram is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// To where.
    pub(crate) to: IpAddr,
    /// To which port.
    pub(crate) port: u16,
    /// Through which device; 0 leaves it to the routing table.
    pub(crate) device: u32,
    /// From which address; the routing table's choice unless given.
    pub(crate) source: Option<IpAddr>,
    /// Type of service.
    pub(crate) tos: u8,
    /// TTL or hop limit, not 0.
    pub(crate) ttl: u8,
}

impl Envelope {
    fn control(&self) -> Control {
        let mut control = Control::new();
        let (tos, ttl) = (i32::from(self.tos), i32::from(self.ttl));
        let pinned = self.device != 0 || self.source.is_some();
        match self.to {
            IpAddr::V4(_) => {
                control.put_i32(libc::SOL_IP, libc::IP_TOS, tos);
                control.put_i32(libc::SOL_IP, libc::IP_TTL, ttl);
                let source = match self.source {
                    Some(IpAddr::V4(source)) => source,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                if pinned {
                    // struct in_pktinfo: index, source, unused.
                    let mut info = [0; 12];
                    info[..4].copy_from_slice(&self.device.to_ne_bytes());
                    info[4..8].copy_from_slice(&source.octets());
                    control.put(libc::SOL_IP, libc::IP_PKTINFO, &info);
                }
            }
            IpAddr::V6(_) => {
                control.put_i32(libc::SOL_IPV6, libc::IPV6_TCLASS, tos);
                control.put_i32(libc::SOL_IPV6, libc::IPV6_HOPLIMIT, ttl);
                let source = match self.source {
                    Some(IpAddr::V6(source)) => source,
                    _ => Ipv6Addr::UNSPECIFIED,
                };
                if pinned {
                    // struct in6_pktinfo: source, index.
                    let mut info = [0; 20];
                    info[..16].copy_from_slice(&source.octets());
                    info[16..].copy_from_slice(&self.device.to_ne_bytes());
                    control.put(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info);
                }
            }
        }
        control
    }

    /// Address and control messages, for datagrams of `segment` bytes each if that is given.
    pub(crate) fn raw(&self, segment: Option<u16>) -> (RawAddress, Control) {
        let mut control = self.control();
        if let Some(segment) = segment {
            control.put(libc::SOL_UDP, UDP_SEGMENT, &segment.to_ne_bytes());
        }
        (RawAddress::new(self.destination()), control)
    }

    fn destination(&self) -> SocketAddr {
        match self.to {
            IpAddr::V6(to) => SocketAddrV6::new(to, self.port, 0, self.device).into(),
            to => SocketAddr::new(to, self.port),
        }
    }
}

/// How long is still waited for room in full sockets, which holds back the senders behind the TAP.
pub(crate) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Patience {
    /// Waits for room. False if there is no time left.
    fn wait(&mut self, fd: BorrowedFd<'_>) -> bool {
        let left = u16::try_from(self.0.as_millis()).unwrap_or(0);
        if left == 0 {
            return false;
        }
        let begin = Instant::now();
        let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
        let _ = poll(&mut fds, PollTimeout::from(left));
        // Room that is not enough costs time, too.
        let waited = begin.elapsed().max(Duration::from_millis(1));
        self.0 = self.0.saturating_sub(waited);
        true
    }
}

/// Sends a datagram of several pieces, or several datagrams of `segment` bytes each.
///
/// # Errors
///
/// EMSGSIZE if it is larger than the path and must not be fragmented; EAGAIN if the socket stays full.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    envelope: &Envelope,
    pieces: &[&[u8]],
    segment: Option<u16>,
    patience: &mut Patience,
) -> nix::Result<()> {
    let (to, control) = envelope.raw(segment);
    let mut tries = 0;
    loop {
        let error = match sys::send(fd, &to, pieces, &control) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match error {
            Errno::EINTR => {}
            Errno::EAGAIN if patience.wait(fd) => {}
            // Perhaps what the network reports of an earlier datagram: then once more.
            Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EPROTO
                if tries < 2 && sys::take_error(fd).is_some() =>
            {
                tries += 1;
            }
            error => return Err(error),
        }
    }
}

/// Whether routers may fragment what is sent.
pub(crate) fn set_fragment(fd: BorrowedFd<'_>, family: Family, may: bool) -> nix::Result<()> {
    let value = if may { PMTUDISC_DONT } else { PMTUDISC_DO };
    match family {
        Family::V4 => sys::set_option(fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, value),
        Family::V6 => sys::set_option(fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, value),
    }
}

/// What the kernel says of a datagram that came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// The address it was sent to.
    pub(crate) destination: Option<IpAddr>,
    /// Whether that stands for all hosts of a network.
    pub(crate) broadcast: bool,
    /// Type of service.
    pub(crate) tos: u8,
    /// Bytes of each, if several were put together.
    pub(crate) segment: usize,
}

impl Arrival {
    /// Reads it.
    pub(crate) fn of(datagram: &sys::Datagram<'_>) -> Self {
        let mut arrival = Self::default();
        for message in datagram.control() {
            let number = message.number().unwrap_or_default();
            match (message.level, message.kind) {
                (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                    // CAST: the field has eight bits.
                    arrival.tos = number as u8;
                }
                (libc::SOL_UDP, UDP_GRO) => {
                    arrival.segment = usize::try_from(number).unwrap_or_default();
                }
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    // struct in_pktinfo: index, our address, destination. The two differ where it is not ours alone.
                    if let [_, _, _, _, ours @ .., d0, d1, d2, d3] = message.value() {
                        let destination = Ipv4Addr::from([*d0, *d1, *d2, *d3]);
                        arrival.destination = Some(destination.into());
                        arrival.broadcast =
                            !destination.is_multicast() && *ours != destination.octets();
                    }
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    let octets = message.value().first_chunk::<16>();
                    arrival.destination = octets.map(|octets| Ipv6Addr::from(*octets).into());
                }
                _ => {}
            }
        }
        arrival
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::socketpair;

    use super::*;

    /// How often somebody waits for room, and finds none that is enough.
    fn waits(fd: BorrowedFd<'_>) -> u32 {
        let mut patience = Patience::default();
        let mut count = 0;
        while patience.wait(fd) {
            count += 1;
            assert!(count <= 20, "there is an end");
        }
        assert!(!patience.wait(fd), "it does not come back");
        count
    }

    #[test]
    fn patience_has_an_end() {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
        let (fd, _other) = pair.expect("a pair");
        // There is room at once, but never enough.
        assert!(waits(fd.as_fd()) > 1);
        while nix::unistd::write(&fd, &[0; 4096]).is_ok() {}
        let begin = Instant::now();
        assert!(waits(fd.as_fd()) >= 1);
        assert!(begin.elapsed() >= Duration::from_millis(20), "all of it");
    }
}
