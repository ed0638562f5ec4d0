// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The connection to `vnetd`: netlink messages over a Unix socket that keeps packets apart.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{PeerCredentials, ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, send,
    setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::Error;
use crate::socket::{BUFFER_LEN, Transport};

/// Type of a message that joins a multicast group; its payload is the group's number, u32 in host byte order.
pub const JOIN: u16 = 0x11;
/// Seconds within which the daemon must answer.
const PATIENCE: u32 = 30;

/// A connection.
pub(crate) struct DaemonSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl DaemonSocket {
    /// Connects; `None` if nobody listens there.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let connection = || -> nix::Result<OwnedFd> {
            let address = UnixAddr::new(path)?;
            let socket = socket(
                AddressFamily::Unix,
                SockType::SeqPacket,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            let limit = TimeVal::seconds(PATIENCE.into());
            setsockopt(&socket, ReceiveTimeout, &limit)?;
            setsockopt(&socket, SendTimeout, &limit)?;
            retry(|| connect(socket.as_raw_fd(), &address))?;
            Ok(socket)
        };
        match connection() {
            Ok(socket) => Ok(Some(Self::new(socket))),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED) => Ok(None),
            Err(errno) => Err(Error::Daemon {
                path: path.to_owned(),
                source: errno.into(),
            }),
        }
    }

    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: vec![0; BUFFER_LEN],
        }
    }

    /// Waits for ever from now on.
    pub(crate) fn be_patient(&self) -> Result<(), Error> {
        setsockopt(&self.socket, ReceiveTimeout, &TimeVal::seconds(0)).map_err(failed)
    }

    /// Whether the daemon is in another network namespace than this thread; false if that cannot be known.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let namespace = |path: &str| fs::metadata(path).map(|file| (file.dev(), file.ino()));
        let Ok(peer) = getsockopt(&self.socket, PeerCredentials) else {
            return false;
        };
        let theirs = namespace(&format!("/proc/{}/ns/net", peer.pid()));
        match (theirs, namespace("/proc/thread-self/ns/net")) {
            (Ok(theirs), Ok(ours)) => theirs != ours,
            _ => false,
        }
    }
}

fn failed(errno: Errno) -> Error {
    match errno {
        Errno::EAGAIN => Error::Silent(PATIENCE.into()),
        Errno::EPIPE | Errno::ECONNRESET => Error::Closed,
        errno => Error::Socket(io::Error::from(errno)),
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

impl Transport for DaemonSocket {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Error> {
        let flags = MsgFlags::MSG_NOSIGNAL;
        retry(|| send(self.socket.as_raw_fd(), datagram, flags))
            .map(drop)
            .map_err(failed)
    }

    fn receive(&mut self) -> Result<&[u8], Error> {
        let socket = self.socket.as_raw_fd();
        let length =
            retry(|| recv(socket, &mut self.buffer, MsgFlags::MSG_TRUNC)).map_err(failed)?;
        if length == 0 {
            return Err(Error::Closed);
        }
        self.buffer
            .get(..length)
            .ok_or(Error::Malformed("a packet is larger than the buffer"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::socket::tests::{ack, message};
    use crate::socket::{Mode, Requester};
    use neli::consts::nl::NlmF;
    use nix::sys::socket::socketpair;
    use std::thread;

    /// A connection to a daemon that waits for a request and then sends these packets; then it closes, or sends what
    /// comes next after the next request.
    fn daemon(answers: Vec<Vec<Vec<u8>>>) -> (Requester<DaemonSocket>, thread::JoinHandle<()>) {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .expect("sockets");
        let thread = thread::spawn(move || {
            let mut buffer = [0; 8192];
            for packets in answers {
                let length = recv(theirs.as_raw_fd(), &mut buffer, MsgFlags::empty());
                if length == Ok(0) {
                    return;
                }
                for packet in packets {
                    // Who is not content with what came so far closes.
                    let _ = send(theirs.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL);
                }
            }
        });
        (Requester::new(DaemonSocket::new(ours)), thread)
    }

    fn outcome(answers: Vec<Vec<u8>>, mode: Mode) -> Result<Vec<Vec<u8>>, Error> {
        let (mut requester, thread) = daemon(vec![answers]);
        let result = requester.request(30, mode, &[]);
        drop(requester);
        thread.join().expect("a daemon");
        result
    }

    const DONE: u16 = 3;

    #[test]
    fn an_answer_and_its_acknowledgement_are_two_packets() {
        let answers = vec![message(30, NlmF::empty(), 1, &[1; 4]), ack(1)];
        assert_eq!(outcome(answers, Mode::Do).expect("done"), [[1; 4]]);
    }

    #[test]
    fn wrong_sequence_numbers_are_skipped() {
        let answers = vec![
            message(30, NlmF::empty(), 0, &[9; 4]),
            ack(2),
            message(30, NlmF::empty(), 1, &[1; 4]),
            ack(1),
        ];
        assert_eq!(outcome(answers, Mode::Do).expect("done"), [[1; 4]]);
    }

    #[test]
    fn half_a_dump_is_no_dump() {
        let answers = vec![message(30, NlmF::MULTI, 1, &[1; 4])];
        assert!(matches!(outcome(answers, Mode::Dump), Err(Error::Closed)));
        assert!(matches!(
            outcome(Vec::new(), Mode::Dump),
            Err(Error::Closed)
        ));
    }

    #[test]
    fn a_packet_that_is_cut_off_is_refused() {
        let mut part = message(30, NlmF::MULTI, 1, &[1; 4]);
        part.truncate(18);
        let answers = vec![part, message(DONE, NlmF::MULTI, 1, &[0; 4])];
        assert!(matches!(
            outcome(answers, Mode::Dump),
            Err(Error::Malformed(_))
        ));
    }

    #[test]
    fn an_interrupted_dump_is_begun_anew() {
        let interrupted = NlmF::MULTI | NlmF::DUMP_INTR;
        let (mut requester, thread) = daemon(vec![
            vec![
                message(30, interrupted, 1, &[1; 4]),
                message(DONE, NlmF::MULTI, 1, &[0; 4]),
            ],
            vec![
                message(30, NlmF::MULTI, 2, &[2; 4]),
                message(DONE, NlmF::MULTI, 2, &[0; 4]),
            ],
        ]);
        assert_eq!(
            requester.request(30, Mode::Dump, &[]).expect("done"),
            [[2; 4]]
        );
        thread.join().expect("a daemon");
    }

    #[test]
    fn a_daemon_that_is_gone_is_told_from_one_that_is_silent() {
        let (mut requester, thread) = daemon(Vec::new());
        thread.join().expect("a daemon");
        assert!(matches!(
            requester.request(30, Mode::Do, &[]),
            Err(Error::Closed)
        ));
        let (mut requester, thread) = daemon(vec![Vec::new(), Vec::new()]);
        setsockopt(
            &requester.transport_mut().socket,
            ReceiveTimeout,
            &TimeVal::milliseconds(20),
        )
        .expect("a limit");
        assert!(matches!(
            requester.request(30, Mode::Do, &[]),
            Err(Error::Silent(_))
        ));
        drop(requester);
        thread.join().expect("a daemon");
    }

    #[test]
    fn nobody_listens() {
        let missing = Path::new("/no such directory/control");
        assert!(matches!(DaemonSocket::open(missing), Ok(None)));
        let long = "x".repeat(200);
        let path = Path::new(&long);
        assert!(matches!(
            DaemonSocket::open(path),
            Err(Error::Daemon { .. })
        ));
    }
}
