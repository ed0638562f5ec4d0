// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The calls that nix lacks, or has only with an allocation for each packet. All `unsafe` of the daemon is here.

use std::ffi::c_void;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockFlag, accept4};

/// Bytes of the longest socket address in use (`struct sockaddr_in6`).
const ADDRESS_LEN: usize = 28;
/// Eight-byte words of room for control messages.
const CONTROL_WORDS: usize = 32;
/// Of these, words for what is sent.
const SEND_WORDS: usize = 16;
/// Bytes of `struct cmsghdr`, which is also their alignment's multiple.
const CONTROL_HEADER: usize = 16;

/// Sets a socket option that is a number.
pub(crate) fn set_option(fd: impl AsFd, level: i32, name: i32, value: i32) -> nix::Result<()> {
    set_option_bytes(fd, level, name, &value.to_ne_bytes())
}

/// Sets a socket option that is a structure, given by its bytes.
pub(crate) fn set_option_bytes(
    fd: impl AsFd,
    level: i32,
    name: i32,
    value: &[u8],
) -> nix::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: The pointer is to `length` bytes that live through the call, which only reads them.
    let done = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    Errno::result(done).map(drop)
}

/// Has a socket drop whatever arrives: a classic filter of the one instruction "return 0".
pub(crate) fn drop_everything(fd: impl AsFd) -> nix::Result<()> {
    let mut program = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let filter = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let length =
        libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: The kernel copies the structure and the one instruction that it points to, both of which live here.
    let done = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            length,
        )
    };
    Errno::result(done).map(drop)
}

mod request {
    use nix::libc::{c_int, c_uint, ifreq};

    nix::ioctl_write_ptr_bad!(tun_set_iff, 0x4004_54ca, ifreq);
    nix::ioctl_read_bad!(tun_get_iff, 0x8004_54d2u32, ifreq);
    nix::ioctl_write_int_bad!(tun_set_offload, 0x4004_54d0);
    nix::ioctl_write_ptr_bad!(tun_set_header_size, 0x4004_54d8, c_int);
    nix::ioctl_none_bad!(tun_get_netns, 0x54e3);
    pub(super) type Flags = c_uint;
}

fn interface(name: &str) -> nix::Result<libc::ifreq> {
    // SAFETY: All zero is a value of the structure, which is made of bytes, numbers and a pointer.
    let mut ifreq: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= ifreq.ifr_name.len() {
        return Err(Errno::EINVAL);
    }
    for (to, from) in ifreq.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(ifreq)
}

/// Attaches an open `/dev/net/tun` to a device as one of its queues; `exclusive` if there must be no device of that name.
pub(crate) fn tun_attach(fd: impl AsFd, name: &str, exclusive: bool) -> nix::Result<()> {
    const TUN_EXCL: i32 = 0x8000;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    let flags = flags | if exclusive { TUN_EXCL } else { 0 };
    let mut ifreq = interface(name)?;
    // CAST: the flags are 16 bits wide in the structure; these are below 65536.
    ifreq.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: The call reads and writes the structure, which lives here.
    unsafe { request::tun_set_iff(fd.as_fd().as_raw_fd(), &ifreq) }.map(drop)
}

/// Whether a queue still belongs to a device.
pub(crate) fn tun_is_attached(fd: impl AsFd) -> bool {
    // SAFETY: All zero is a value of the structure.
    let mut ifreq: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: The call writes the structure, which lives here.
    unsafe { request::tun_get_iff(fd.as_fd().as_raw_fd(), &mut ifreq) }.is_ok()
}

/// The network namespace in which a queue's device is.
pub(crate) fn tun_namespace(fd: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: The call has no argument.
    let fd = unsafe { request::tun_get_netns(fd.as_fd().as_raw_fd()) }?;
    // SAFETY: The kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a queue's reader can take off the kernel's hands (`TUN_F_*`).
pub(crate) fn tun_set_offload(fd: impl AsFd, flags: request::Flags) -> nix::Result<()> {
    let flags = libc::c_int::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: The argument is a number.
    unsafe { request::tun_set_offload(fd.as_fd().as_raw_fd(), flags) }.map(drop)
}

/// Bytes of the header before each frame.
pub(crate) fn tun_set_header_size(fd: impl AsFd, size: i32) -> nix::Result<()> {
    // SAFETY: The call reads the number, which lives here.
    unsafe { request::tun_set_header_size(fd.as_fd().as_raw_fd(), &size) }.map(drop)
}

/// Takes a connection in; it does not block.
pub(crate) fn accept(listener: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = accept4(listener.as_fd().as_raw_fd(), flags)?;
    // SAFETY: The kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket address as the kernel has it.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    bytes: [u8; ADDRESS_LEN],
    len: usize,
}

impl RawAddress {
    /// As bytes.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; ADDRESS_LEN];
        let (family, len) = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, 16)
            }
            SocketAddr::V6(v6) => {
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, ADDRESS_LEN)
            }
        };
        // CAST: address families are small numbers.
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        Self { bytes, len }
    }

    fn parse(bytes: &[u8; ADDRESS_LEN]) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, rest @ ..] = bytes;
        let port = u16::from_be_bytes([*p0, *p1]);
        match i32::from(u16::from_ne_bytes([*f0, *f1])) {
            libc::AF_INET => {
                let octets: [u8; 4] = *rest.first_chunk()?;
                Some((Ipv4Addr::from(octets), port).into())
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = *rest.get(4..)?.first_chunk()?;
                let scope = u32::from_ne_bytes(*rest.get(20..)?.first_chunk()?);
                Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

/// Control messages that go with a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Control {
    words: [u64; SEND_WORDS],
    len: usize,
}

impl Control {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self {
            words: [0; SEND_WORDS],
            len: 0,
        }
    }

    /// Adds one. What does not fit is left out; there is room for all that the daemon uses at once.
    pub(crate) fn put(&mut self, level: i32, kind: i32, value: &[u8]) {
        let total = CONTROL_HEADER + value.len();
        let mut message = [0_u8; 64];
        let Some(room) = message.get_mut(..total) else {
            return;
        };
        room[..8].copy_from_slice(&(total as u64).to_ne_bytes());
        room[8..12].copy_from_slice(&level.to_ne_bytes());
        room[12..16].copy_from_slice(&kind.to_ne_bytes());
        room[16..].copy_from_slice(value);
        let padded = total.next_multiple_of(8);
        let start = self.len / 8;
        let Some(to) = self.words.get_mut(start..start + padded / 8) else {
            return;
        };
        for (to, from) in to.iter_mut().zip(message.chunks_exact(8)) {
            *to = u64::from_ne_bytes(from.try_into().unwrap_or_default());
        }
        self.len += padded;
    }

    /// Adds one that is a number.
    pub(crate) fn put_i32(&mut self, level: i32, kind: i32, value: i32) {
        self.put(level, kind, &value.to_ne_bytes());
    }
}

/// One control message that came with a datagram.
pub(crate) struct ControlMessage {
    /// Protocol level.
    pub(crate) level: i32,
    /// Type within it.
    pub(crate) kind: i32,
    value: [u8; 32],
    len: usize,
}

impl ControlMessage {
    /// Its value, as much as is kept: 32 bytes.
    pub(crate) fn value(&self) -> &[u8] {
        self.value.get(..self.len).unwrap_or_default()
    }

    /// Its value as a number: an int, or the one byte of a TOS.
    pub(crate) fn number(&self) -> Option<i32> {
        match self.value() {
            [byte] => Some(i32::from(*byte)),
            value => Some(i32::from_ne_bytes(*value.first_chunk()?)),
        }
    }
}

/// The control messages in these words, of which `len` bytes are valid.
fn control_messages(words: &[u64], len: usize) -> impl Iterator<Item = ControlMessage> + '_ {
    let mut words = words.get(..len.div_ceil(8)).unwrap_or(words);
    std::iter::from_fn(move || {
        let [first, second, rest @ ..] = words else {
            return None;
        };
        let total = usize::try_from(*first).ok()?;
        let [l0, l1, l2, l3, k0, k1, k2, k3] = second.to_ne_bytes();
        let len = total.checked_sub(CONTROL_HEADER)?;
        let mut value = [0; 32];
        for (to, from) in value.chunks_exact_mut(8).zip(rest) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        words = words
            .get(total.checked_next_multiple_of(8)? / 8..)
            .unwrap_or_default();
        Some(ControlMessage {
            level: i32::from_ne_bytes([l0, l1, l2, l3]),
            kind: i32::from_ne_bytes([k0, k1, k2, k3]),
            value,
            len: len.min(32),
        })
    })
}

/// Most pieces that a datagram is sent from.
pub(crate) const PIECES: usize = 2;
/// Most datagrams that are sent together.
pub(crate) const SENDS: usize = 64;

const NO_PIECE: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// A header that points to what is sent. The kernel only reads what it points to.
fn header(to: &RawAddress, control: &Control, iov: &mut [libc::iovec; PIECES]) -> libc::msghdr {
    // SAFETY: All zero is a value of the structure.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = to.bytes.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len as libc::socklen_t;
    message.msg_iov = iov.as_mut_ptr();
    message.msg_iovlen = PIECES as _;
    if control.len > 0 {
        message.msg_control = control.words.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len as _;
    }
    message
}

fn set_pieces(iov: &mut [libc::iovec; PIECES], pieces: &[&[u8]]) {
    for (to, from) in iov.iter_mut().zip(pieces) {
        to.iov_base = from.as_ptr().cast_mut().cast();
        to.iov_len = from.len();
    }
}

/// Sends a datagram that is made of pieces; more than [`PIECES`] are refused with EINVAL.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    to: &RawAddress,
    pieces: &[&[u8]],
    control: &Control,
) -> nix::Result<usize> {
    if pieces.len() > PIECES {
        return Err(Errno::EINVAL);
    }
    let mut iov = [NO_PIECE; PIECES];
    set_pieces(&mut iov, pieces);
    let message = header(to, control, &mut iov);
    // SAFETY: All pointers are to memory of the lengths given, which lives through the call and is only read.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT) };
    Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or_default())
}

/// Sends up to [`SENDS`] datagrams, of [`PIECES`] pieces each. Tells how many were sent; an error is about the first.
pub(crate) fn send_many<'a>(
    fd: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = (&'a RawAddress, &'a Control, [&'a [u8]; PIECES])>,
) -> nix::Result<usize> {
    // SAFETY: All zero is a value of the structure.
    let mut messages: [libc::mmsghdr; SENDS] = unsafe { mem::zeroed() };
    let mut iov = [[NO_PIECE; PIECES]; SENDS];
    let mut count = 0;
    for ((message, iov), (to, control, pieces)) in messages.iter_mut().zip(&mut iov).zip(datagrams)
    {
        set_pieces(iov, &pieces);
        message.msg_hdr = header(to, control, iov);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: The first `count` headers point to memory of the lengths given, which lives through the call; of it, the
    // kernel writes only the headers, which are ours alone.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
        )
    };
    Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or_default())
}

/// A datagram that was received, or several of one length, if the control messages say so.
pub(crate) struct Datagram<'a> {
    bytes: &'a mut [u8],
    /// Who sent it.
    pub(crate) source: SocketAddr,
    control: &'a [u64],
    control_len: usize,
}

impl<'a> Datagram<'a> {
    /// Its bytes, which stay where they are until the next are received.
    pub(crate) fn into_bytes(self) -> &'a mut [u8] {
        self.bytes
    }

    /// What the kernel says of it.
    pub(crate) fn control(&self) -> impl Iterator<Item = ControlMessage> + '_ {
        control_messages(self.control, self.control_len)
    }
}

/// Datagrams in a batch.
pub(crate) const BATCH: usize = 32;
/// Room for each: the largest datagram, or as many as the kernel has put together.
const ROOM: usize = 65_536;

/// Room for datagrams that are received together.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    names: [[u8; ADDRESS_LEN]; BATCH],
    controls: [[u64; CONTROL_WORDS]; BATCH],
    lens: [(usize, usize); BATCH],
    count: usize,
}

impl Batch {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * ROOM],
            names: [[0; ADDRESS_LEN]; BATCH],
            controls: [[0; CONTROL_WORDS]; BATCH],
            lens: [(0, 0); BATCH],
            count: 0,
        }
    }

    /// Receives what is there, without waiting. Tells how many.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> nix::Result<usize> {
        self.count = 0;
        // SAFETY: All zero is a value of the structure.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut iov = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let rooms = self.bytes.chunks_exact_mut(ROOM);
        let rest = self.names.iter_mut().zip(self.controls.iter_mut());
        for (((message, iov), room), (name, control)) in
            messages.iter_mut().zip(iov.iter_mut()).zip(rooms).zip(rest)
        {
            iov.iov_base = room.as_mut_ptr().cast();
            iov.iov_len = room.len();
            message.msg_hdr.msg_iov = iov;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = name.as_mut_ptr().cast::<c_void>();
            message.msg_hdr.msg_namelen = ADDRESS_LEN as libc::socklen_t;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        // SAFETY: Each header points to memory of the lengths given, which is ours alone and lives through the call.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(Errno::result(received)?).unwrap_or_default();
        for (len, message) in self.lens.iter_mut().zip(&messages) {
            let control = message.msg_hdr.msg_controllen;
            *len = (message.msg_len as usize, control);
        }
        self.count = received.min(BATCH);
        Ok(self.count)
    }

    /// The datagrams that were received last.
    pub(crate) fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let rooms = self.bytes.chunks_exact_mut(ROOM);
        let each = rooms.zip(&self.names).zip(&self.controls).zip(&self.lens);
        each.take(self.count)
            .filter_map(|(((room, name), control), (len, control_len))| {
                Some(Datagram {
                    bytes: room.get_mut(..*len)?,
                    source: RawAddress::parse(name)?,
                    control,
                    control_len: *control_len,
                })
            })
    }
}

/// An error that the network reported of something that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    /// What it is.
    pub(crate) errno: Errno,
    /// For EMSGSIZE, the largest packet that passes, outer IP header included.
    pub(crate) mtu: u32,
    /// Where it was sent to.
    pub(crate) to: Option<IpAddr>,
}

/// Takes one error off a socket's error queue; none if there is none.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> Option<Reported> {
    let mut name = [0_u8; ADDRESS_LEN];
    let mut words = [0_u64; CONTROL_WORDS];
    let mut byte = [0_u8; 1];
    let mut iov = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    // SAFETY: All zero is a value of the structure.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = ADDRESS_LEN as libc::socklen_t;
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = words.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&words) as _;
    // SAFETY: All pointers are to memory of the lengths given, which is ours alone and lives through the call.
    let got = unsafe {
        libc::recvmsg(
            fd.as_raw_fd(),
            &mut message,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    Errno::result(got).ok()?;
    let len = message.msg_controllen;
    let found = control_messages(&words, len).find(|message| {
        (message.level, message.kind) == (libc::SOL_IP, libc::IP_RECVERR)
            || (message.level, message.kind) == (libc::SOL_IPV6, libc::IPV6_RECVERR)
    })?;
    // struct sock_extended_err: errno, origin, type, code, pad, info.
    let [e0, e1, e2, e3, _, _, _, _, i0, i1, i2, i3] = *found.value().first_chunk()?;
    Some(Reported {
        errno: Errno::from_raw(i32::from_ne_bytes([e0, e1, e2, e3])),
        mtu: u32::from_ne_bytes([i0, i1, i2, i3]),
        to: RawAddress::parse(&name).map(|address| address.ip()),
    })
}
