// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Requests and their answers, over any netlink protocol.

use std::io;

use neli::consts::nl::NlmF;
use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use zeroize::Zeroizing;

use crate::Error;
use crate::message::{Content, Messages};

/// Larger than any datagram that the kernel or the daemon makes (32 KiB).
pub(crate) const BUFFER_LEN: usize = 64 * 1024;
/// Bytes of the header of a message.
const HEADER_LEN: usize = 16;
/// How often a dump is begun anew because what it lists changed.
const DUMP_TRIES: usize = 16;

/// Where requests go and answers come from.
pub(crate) trait Transport {
    /// Sends a datagram.
    fn send(&mut self, datagram: &[u8]) -> Result<(), Error>;
    /// Waits for a datagram.
    fn receive(&mut self) -> Result<&[u8], Error>;
}

/// A netlink socket of the kernel.
pub(crate) struct KernelSocket {
    socket: NlSocket,
    buffer: Vec<u8>,
}

impl KernelSocket {
    pub(crate) fn open(protocol: NlFamily) -> Result<Self, Error> {
        let socket = NlSocket::connect(protocol, None, Groups::empty()).map_err(Error::Socket)?;
        socket.enable_ext_ack(true).map_err(Error::Socket)?;
        // Refuses what the kernel does not understand instead of listing everything. Only rtnetlink knows it.
        if protocol == NlFamily::Route {
            socket.enable_strict_checking(true).map_err(Error::Socket)?;
        }
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER_LEN],
        })
    }

    /// Joins a multicast group.
    pub(crate) fn join(&self, group: u32) -> Result<(), Error> {
        self.socket
            .add_mcast_membership(Groups::new_groups(&[group]))
            .map_err(Error::Socket)
    }

    /// Asks for room for many notifications.
    pub(crate) fn set_receive_buffer(&self, bytes: usize) -> Result<(), Error> {
        self.socket
            .set_recv_buffer_size(bytes)
            .map_err(Error::Socket)
    }
}

impl Transport for KernelSocket {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Error> {
        retry(|| self.socket.send(datagram, Msg::empty()))
            .map(drop)
            .map_err(Error::Socket)
    }

    fn receive(&mut self) -> Result<&[u8], Error> {
        let (length, _) = retry(|| self.socket.recv(&mut self.buffer, Msg::TRUNC)).map_err(
            |error| match error.raw_os_error() {
                Some(code) if code == nix::libc::ENOBUFS => Error::Overrun,
                _ => Error::Socket(error),
            },
        )?;
        self.buffer
            .get(..length)
            .ok_or(Error::Malformed("a datagram is larger than the buffer"))
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One object, or a change.
    Do,
    /// A change that makes something new.
    Create,
    /// A listing.
    Dump,
}

/// Requests, one at a time.
pub(crate) struct Requester<T> {
    transport: T,
    sequence: u32,
    warnings: Vec<String>,
}

impl<T: Transport> Requester<T> {
    pub(crate) fn new(transport: T) -> Self {
        Self {
            transport,
            sequence: 0,
            warnings: Vec::new(),
        }
    }

    /// What the kernel said about requests that it carried out, since the last call.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub(crate) fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Sends a request and waits for the end of the answer. Returns the payloads of all messages of the answer.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        mode: Mode,
        payload: &[u8],
    ) -> Result<Vec<Vec<u8>>, Error> {
        for _ in 0..DUMP_TRIES {
            if let Some(answer) = self.attempt(kind, mode, payload)? {
                return Ok(answer);
            }
        }
        Err(Error::Changing)
    }

    /// As [`Requester::request`]; `None` if a dump was interrupted.
    fn attempt(
        &mut self,
        kind: u16,
        mode: Mode,
        payload: &[u8],
    ) -> Result<Option<Vec<Vec<u8>>>, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = match mode {
            Mode::Do => NlmF::ACK,
            Mode::Create => NlmF::ACK | NlmF::CREATE | NlmF::EXCL,
            Mode::Dump => NlmF::DUMP,
        };
        // There may be a key in it.
        let datagram = Zeroizing::new(encode(kind, NlmF::REQUEST | flags, self.sequence, payload)?);
        self.transport.send(&datagram)?;

        let mut answer = Vec::new();
        let mut interrupted = false;
        loop {
            for message in Messages::new(self.transport.receive()?) {
                let message = message?;
                if message.sequence != self.sequence {
                    // Left over from a request that was given up.
                    continue;
                }
                interrupted |= message.interrupted();
                match message.content()? {
                    Content::Data(data) => answer.push(data.to_vec()),
                    Content::Nothing => {}
                    Content::Refused(refusal) => return Err(refusal.into()),
                    Content::Done(warning) => {
                        self.warnings.extend(warning);
                        return Ok((!interrupted).then_some(answer));
                    }
                }
            }
        }
    }
}

/// The bytes of a message, made in one place: `struct nlmsghdr` (length, type, flags, number, port id) and the payload.
fn encode(kind: u16, flags: NlmF, sequence: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u32::try_from(HEADER_LEN + payload.len())
        .map_err(|_| Error::Malformed("a request would be longer than 4 GiB"))?;
    let mut bytes = Vec::with_capacity((HEADER_LEN + payload.len()).next_multiple_of(4));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.bits().to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Answers from a list of datagrams.
    #[derive(Default)]
    pub(crate) struct Recorded {
        pub(crate) sent: Vec<Vec<u8>>,
        pub(crate) answers: VecDeque<Vec<u8>>,
        current: Vec<u8>,
    }

    impl Transport for Recorded {
        fn send(&mut self, datagram: &[u8]) -> Result<(), Error> {
            self.sent.push(datagram.to_vec());
            Ok(())
        }

        fn receive(&mut self) -> Result<&[u8], Error> {
            self.current = self.answers.pop_front().ok_or(Error::Overrun)?;
            Ok(&self.current)
        }
    }

    pub(crate) fn message(kind: u16, flags: NlmF, sequence: u32, payload: &[u8]) -> Vec<u8> {
        encode(kind, flags, sequence, payload).expect("a message")
    }

    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    const KIND: u16 = 30;

    fn requester(answers: Vec<Vec<u8>>) -> Requester<Recorded> {
        Requester::new(Recorded {
            answers: answers.into(),
            ..Recorded::default()
        })
    }

    pub(crate) fn ack(sequence: u32) -> Vec<u8> {
        message(ERROR, NlmF::CAPPED, sequence, &[0; 20])
    }

    #[test]
    fn a_do_ends_with_its_acknowledgement() {
        let mut requester = requester(vec![message(KIND, NlmF::empty(), 1, &[1; 4]), ack(1)]);
        let answer = requester.request(KIND, Mode::Do, &[9; 4]).expect("done");
        assert_eq!(answer, [[1; 4]]);
        let sent = &requester.transport.sent[0];
        assert_eq!(sent[..4], 20u32.to_ne_bytes());
        assert_eq!(sent[4..6], KIND.to_ne_bytes());
        assert_eq!(sent[6..8], 5u16.to_ne_bytes(), "REQUEST and ACK");
        assert_eq!(sent[16..], [9; 4]);
    }

    #[test]
    fn a_dump_may_take_several_datagrams() {
        let mut first = message(KIND, NlmF::MULTI, 1, &[1; 4]);
        first.extend(message(KIND, NlmF::MULTI, 1, &[2; 4]));
        let mut second = message(KIND, NlmF::MULTI, 1, &[3; 4]);
        second.extend(message(DONE, NlmF::MULTI, 1, &[0; 4]));
        let mut requester = requester(vec![first, second]);
        let answer = requester.request(KIND, Mode::Dump, &[]).expect("done");
        assert_eq!(answer, [[1; 4], [2; 4], [3; 4]]);
    }

    #[test]
    fn an_interrupted_dump_is_begun_anew() {
        let interrupted = NlmF::MULTI | NlmF::DUMP_INTR;
        let mut requester = requester(vec![
            message(KIND, interrupted, 1, &[1; 4]),
            message(DONE, NlmF::MULTI, 1, &[0; 4]),
            message(KIND, NlmF::MULTI, 2, &[2; 4]),
            message(DONE, NlmF::MULTI, 2, &[0; 4]),
        ]);
        let answer = requester.request(KIND, Mode::Dump, &[]).expect("done");
        assert_eq!(answer, [[2; 4]]);
    }

    #[test]
    fn a_dump_that_is_always_interrupted_is_given_up() {
        let answers = (1..=16)
            .map(|sequence| message(DONE, NlmF::MULTI | NlmF::DUMP_INTR, sequence, &[0; 4]))
            .collect();
        let result = requester(answers).request(KIND, Mode::Dump, &[]);
        assert!(matches!(result, Err(Error::Changing)));
    }

    #[test]
    fn answers_to_other_requests_are_skipped() {
        let mut requester = requester(vec![
            ack(77),
            message(KIND, NlmF::empty(), 1, &[5; 4]),
            ack(1),
        ]);
        let answer = requester.request(KIND, Mode::Do, &[]).expect("done");
        assert_eq!(answer, [[5; 4]]);
    }

    #[test]
    fn a_cut_datagram_is_an_error() {
        let mut bytes = ack(1);
        bytes.truncate(18);
        let result = requester(vec![bytes]).request(KIND, Mode::Do, &[]);
        assert!(matches!(result, Err(Error::Malformed(_))));
    }
}
