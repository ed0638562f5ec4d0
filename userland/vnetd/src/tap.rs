// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The network device of a vnet: a TAP device with one queue for each worker. It goes when its last queue is closed.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::offload::{VNET_HEADER_LEN, VnetHeader};
use crate::sys;

/// What the stack may leave to us (`TUN_F_*`): checksums, TCP segments of both families, ECN; and UDP segments.
const OFFLOADS: u32 = 1 | 2 | 4 | 8;
const UDP_OFFLOADS: u32 = 32 | 64;

/// A TAP device.
pub(crate) struct Tap {
    queues: Vec<OwnedFd>,
    datagrams: bool,
}

impl Tap {
    /// Makes a device of that name, which must not be there yet, with so many queues.
    pub(crate) fn create(name: &str, queues: usize) -> nix::Result<Self> {
        let mut tap = Self {
            queues: Vec::new(),
            datagrams: true,
        };
        for index in 0..queues.max(1) {
            let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let fd = open("/dev/net/tun", flags, Mode::empty())?;
            sys::tun_attach(&fd, name, index == 0)?;
            sys::tun_set_header_size(&fd, VNET_HEADER_LEN as i32)?;
            // Kernels before 6.2 know no UDP segments.
            if sys::tun_set_offload(&fd, OFFLOADS | UDP_OFFLOADS).is_err() {
                sys::tun_set_offload(&fd, OFFLOADS)?;
                tap.datagrams = false;
            }
            tap.queues.push(fd);
        }
        Ok(tap)
    }

    /// Without a device.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            queues: Vec::new(),
            datagrams: true,
        }
    }

    /// Of something else that can be read.
    #[cfg(test)]
    pub(crate) fn of(queue: OwnedFd) -> Self {
        Self {
            queues: vec![queue],
            datagrams: true,
        }
    }

    /// The queue of a worker.
    pub(crate) fn queue(&self, worker: usize) -> Option<BorrowedFd<'_>> {
        Some(self.queues.get(worker)?.as_fd())
    }

    /// Whether the kernel cuts UDP datagrams out of a frame that is handed to the device.
    pub(crate) fn takes_datagrams(&self) -> bool {
        self.datagrams
    }

    /// Whether the device is still there, here or in another network namespace.
    pub(crate) fn is_attached(&self) -> bool {
        self.queues.first().is_some_and(sys::tun_is_attached)
    }

    /// The network namespace in which it is.
    pub(crate) fn namespace(&self) -> nix::Result<OwnedFd> {
        sys::tun_namespace(self.queues.first().ok_or(Errno::EBADFD)?)
    }
}

/// Reads a frame and what stands before it. Tells the length of the frame.
pub(crate) fn read(queue: BorrowedFd<'_>, frame: &mut [u8]) -> nix::Result<(VnetHeader, usize)> {
    let mut header = [0; VNET_HEADER_LEN];
    let mut pieces = [IoSliceMut::new(&mut header), IoSliceMut::new(frame)];
    let length = nix::sys::uio::readv(queue, &mut pieces)?;
    let length = length.checked_sub(VNET_HEADER_LEN).ok_or(Errno::EIO)?;
    Ok((VnetHeader::parse(&header), length))
}

/// Most pieces of a frame behind the first.
pub(crate) const PIECES: usize = 64;

/// Hands a frame to the device, of which `first` is the beginning and `rest` what follows, at most [`PIECES`] pieces.
pub(crate) fn write(
    queue: BorrowedFd<'_>,
    header: &VnetHeader,
    first: &[u8],
    rest: &[&[u8]],
) -> nix::Result<()> {
    let header = header.emit();
    let start = [IoSlice::new(&header), IoSlice::new(first)];
    if rest.is_empty() {
        return nix::sys::uio::writev(queue, &start).map(drop);
    }
    let mut all = [IoSlice::new(&[]); PIECES + 2];
    let pieces = start
        .into_iter()
        .chain(rest.iter().map(|piece| IoSlice::new(piece)));
    for (to, from) in all.iter_mut().zip(pieces) {
        *to = from;
    }
    let all = all.get(..rest.len() + start.len()).ok_or(Errno::EMSGSIZE)?;
    nix::sys::uio::writev(queue, all).map(drop)
}
