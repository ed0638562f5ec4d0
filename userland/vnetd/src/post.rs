// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Datagrams that wait to be sent. What one turn of the event loop makes goes to the kernel together: frames of one length
//! to one host as one datagram that the kernel cuts, all others side by side in one call.

use std::borrow::Cow;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nix::errno::Errno;
use vnet_core::abi::HostCounter;
use vnet_core::wire::{DATA_HEADER_LEN, ForwardHeader};

use crate::sealed;

use crate::shared::{Net, Shared, Underlay};
use crate::sys::{self, Control, RawAddress};
use crate::tx::reason;
use crate::udp::{self, DATAGRAM_MAX, Envelope, Family, Patience, SEGMENTS_MAX};
use crate::worker::Worker;

/// Letters, and bytes, that wait at most.
const LETTERS: usize = sys::SENDS;
const BYTES: usize = 1 << 18;

/// What is counted when a letter is sent, or is not.
pub(crate) enum Tally {
    /// Frames of a vnet.
    Frames(Arc<Net>),
    /// A frame of a vnet, or what others sent to the group, wrapped for a peer.
    Wrapped(Option<Arc<Net>>),
    /// What a peer has sent, for the group.
    Relayed,
}

impl Tally {
    fn net(&self) -> Option<&Arc<Net>> {
        match self {
            Self::Frames(net) | Self::Wrapped(Some(net)) => Some(net),
            Self::Wrapped(None) | Self::Relayed => None,
        }
    }

    /// Counts a datagram that could not be sent. What belongs to no vnet is counted nowhere.
    pub(crate) fn lost(&self, error: Errno) {
        if let Some(net) = self.net() {
            net.vnet.count(reason(error));
        }
    }
}

/// A datagram, or several of one length to one place.
pub(crate) struct Letter {
    pub(crate) envelope: Envelope,
    /// Of the flow, where its source port follows it.
    pub(crate) flow: Option<u32>,
    /// Whether it must not be fragmented.
    pub(crate) strict: bool,
    /// What stands before the bytes.
    pub(crate) wrap: Option<ForwardHeader>,
    /// Where the bytes are.
    pub(crate) range: Range<usize>,
    /// Bytes of each datagram but the last, which may be shorter.
    pub(crate) size: usize,
    pub(crate) tally: Tally,
}

impl Letter {
    fn family(&self) -> Family {
        Family::of(self.envelope.to)
    }

    fn address(&self) -> (RawAddress, Control) {
        let segment = self.is_several().then_some(self.size);
        self.envelope
            .raw(segment.and_then(|size| u16::try_from(size).ok()))
    }

    /// Counts so many bytes that were sent.
    fn sent(&self, shared: &Shared, length: usize) {
        if let Some(net) = self.tally.net() {
            let count = length.div_ceil(self.size.max(1));
            let around = match net.sealed {
                Some(_) => sealed::AROUND,
                None => DATA_HEADER_LEN,
            };
            let bytes = length.saturating_sub(count * around);
            net.vnet.traffic.tx_packets.fetch_add(count as u64, Relaxed);
            net.vnet.traffic.tx_bytes.fetch_add(bytes as u64, Relaxed);
        }
        match self.tally {
            Tally::Frames(_) => {}
            Tally::Wrapped(_) => shared.count(HostCounter::TxForward),
            Tally::Relayed => shared.count(HostCounter::Relayed),
        }
    }

    /// Whether it is to be cut.
    fn is_several(&self) -> bool {
        self.range.len() > self.size
    }

    /// Takes the datagrams of another one to the same place, if the kernel can cut both out of one.
    fn absorb(&mut self, other: &Self) -> bool {
        let (Tally::Frames(net), Tally::Frames(others)) = (&self.tally, &other.tally) else {
            return false;
        };
        let fits = self.range.end == other.range.start
            && self.range.len() % self.size.max(1) == 0
            && (other.size == self.size || other.range.len() < self.size)
            && self.range.len() + other.range.len() <= most(self.size)
            && self.envelope == other.envelope
            && (self.flow, self.strict) == (other.flow, other.strict)
            && !net.fragment
            && Arc::ptr_eq(net, others);
        if fits {
            self.range.end = other.range.end;
        }
        fits
    }
}

/// Most bytes of datagrams of so many bytes that the kernel cuts out of one.
fn most(size: usize) -> usize {
    (DATAGRAM_MAX / size.max(1)).clamp(1, SEGMENTS_MAX) * size
}

impl Default for Post {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            letters: Vec::new(),
            envelopes: Vec::new(),
            whole: true,
        }
    }
}

/// What waits.
pub(crate) struct Post {
    /// Datagrams, one after another.
    pub(crate) bytes: Vec<u8>,
    letters: Vec<Letter>,
    /// Addresses and control messages for the kernel, kept for their room.
    envelopes: Vec<(RawAddress, Control)>,
    /// Whether the kernel cuts what is sent into datagrams.
    whole: bool,
}

impl Post {
    /// Most bytes of datagrams of so many bytes that one letter can have.
    pub(crate) fn most(&self, size: usize) -> usize {
        if self.whole { most(size) } else { size }
    }

    fn is_full(&self) -> bool {
        self.letters.len() >= LETTERS || self.bytes.len() >= BYTES
    }

    /// Puts a letter to the others.
    pub(crate) fn put(&mut self, letter: Letter) {
        let absorbed = self.whole
            && self
                .letters
                .last_mut()
                .is_some_and(|last| last.absorb(&letter));
        if !absorbed {
            self.letters.push(letter);
        }
    }
}

impl Worker {
    /// Before more is posted: sends what waits, if that is much.
    pub(crate) fn make_room(&mut self, underlay: &Underlay) {
        if self.post.is_full() {
            self.dispatch(underlay);
        }
    }

    /// Puts the bytes of a message into the post.
    pub(crate) fn post_bytes(&mut self, underlay: &Underlay, pieces: &[&[u8]]) -> Range<usize> {
        self.make_room(underlay);
        let bytes = &mut self.post.bytes;
        let start = bytes.len();
        for piece in pieces {
            bytes.extend_from_slice(piece);
        }
        start..bytes.len()
    }

    /// Sends all that waits.
    pub(crate) fn dispatch(&mut self, underlay: &Underlay) {
        if self.post.letters.is_empty() {
            return self.post.bytes.clear();
        }
        let mut post = std::mem::take(&mut self.post);
        // What is put in another order is never of one flow: that has one destination, and one socket.
        let place = |letter: &Letter| {
            let socket = self.socket(underlay, letter.family(), letter.flow);
            (socket.map(|fd| fd.as_raw_fd()), letter.strict)
        };
        if !post.letters.is_sorted_by_key(place) {
            post.letters.sort_by_key(place);
        }
        let runs = post.letters.chunk_by(|one, next| place(one) == place(next));
        let ends: Vec<usize> = runs
            .scan(0, |end, run| {
                *end += run.len();
                Some(*end)
            })
            .collect();
        let mut start = 0;
        // One for all: a full socket holds everything up once, not once for each letter.
        let mut patience = Patience::default();
        for end in ends {
            self.dispatch_run(underlay, &mut post, start..end, &mut patience);
            start = end;
        }
        post.letters.clear();
        post.bytes.clear();
        self.post = post;
    }

    /// Sends letters that go out of one socket and may all be fragmented, or none.
    fn dispatch_run(
        &mut self,
        underlay: &Underlay,
        post: &mut Post,
        range: Range<usize>,
        patience: &mut Patience,
    ) {
        let Some(run @ [first, ..]) = post.letters.get(range) else {
            return;
        };
        let fd = self
            .socket(underlay, first.family(), first.flow)
            .ok_or(Errno::EAFNOSUPPORT)
            .and_then(|fd| {
                self.set_strict(fd, first.family(), first.strict)
                    .map(|()| fd)
            });
        let fd = match fd {
            Ok(fd) => fd,
            Err(error) => return run.iter().for_each(|letter| letter.tally.lost(error)),
        };
        post.envelopes.clear();
        if run.len() > 1 {
            post.envelopes.extend(run.iter().map(Letter::address));
        }
        let mut done = 0;
        while let Some(rest @ [next, ..]) = run.get(done..) {
            let outgoing = rest.iter().zip(post.envelopes.iter().skip(done));
            let outgoing = outgoing.map(|(letter, (to, control))| {
                let wrap = letter
                    .wrap
                    .as_ref()
                    .map_or(&[][..], ForwardHeader::as_bytes);
                let bytes = post.bytes.get(letter.range.clone()).unwrap_or_default();
                (to, control, [wrap, bytes])
            });
            match sys::send_many(fd, outgoing) {
                Ok(count @ 1..) => {
                    rest.iter().take(count).for_each(|letter| {
                        letter.sent(&self.shared, letter.range.len());
                    });
                    done += count;
                }
                // What is wrong is wrong with the next one, or it is the only one.
                _ => {
                    let bytes = post.bytes.get(next.range.clone()).unwrap_or_default();
                    self.dispatch_alone(fd, next, bytes, &mut post.whole, patience);
                    done += 1;
                }
            }
        }
    }

    /// Sends one letter, with patience, and in pieces if it cannot be sent whole.
    fn dispatch_alone(
        &mut self,
        fd: BorrowedFd<'_>,
        letter: &Letter,
        bytes: &[u8],
        whole: &mut bool,
        patience: &mut Patience,
    ) {
        if letter.is_several() && *whole {
            let size = u16::try_from(letter.size).ok();
            match udp::send(fd, &letter.envelope, &[bytes], size, patience) {
                Ok(()) => return letter.sent(&self.shared, bytes.len()),
                // This kernel, or this device, cannot.
                Err(Errno::EOPNOTSUPP | Errno::ENOPROTOOPT | Errno::EIO) => *whole = false,
                // Too large for the path, each of them.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => {}
                Err(error) => {
                    let count = bytes.len().div_ceil(letter.size.max(1));
                    return (0..count).for_each(|_| letter.tally.lost(error));
                }
            }
        }
        let wrap = letter
            .wrap
            .as_ref()
            .map_or(&[][..], ForwardHeader::as_bytes);
        let mut told = false;
        for piece in bytes.chunks(letter.size.max(1)) {
            match udp::send(fd, &letter.envelope, &[wrap, piece], None, patience) {
                Ok(()) => letter.sent(&self.shared, piece.len()),
                Err(error) => {
                    letter.tally.lost(error);
                    if let (Errno::EMSGSIZE, Tally::Frames(net), false) =
                        (error, &letter.tally, told)
                    {
                        let frame = match &net.sealed {
                            Some(keys) => keys.reopen(piece).unwrap_or_default().into(),
                            None => Cow::from(piece.get(DATA_HEADER_LEN..).unwrap_or_default()),
                        };
                        self.turn_back(net, fd, &frame, letter.envelope.to);
                        // The others are of the same sender.
                        told = true;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vnet_core::{Mac, Settings, VnetId};

    use super::*;
    use crate::tap::Tap;
    use crate::vnet::Vnet;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn net(fragment: bool) -> Arc<Net> {
        let id = VnetId::from_bytes([5; 16]);
        Arc::new(Net {
            vnet: Arc::new(Vnet::new(id, 1, Tap::none())),
            settings: Settings::default(),
            up: true,
            address: Mac::from_bytes([2, 0, 0, 0, 0, 1]),
            fragment,
            listed: None,
            sealed: None,
        })
    }

    fn letter(net: &Arc<Net>, to: IpAddr, range: Range<usize>, size: usize) -> Letter {
        Letter {
            envelope: Envelope {
                to,
                port: 1798,
                device: 0,
                source: None,
                tos: 0,
                ttl: 64,
            },
            flow: None,
            strict: true,
            wrap: None,
            range,
            size,
            tally: Tally::Frames(net.clone()),
        }
    }

    /// What letters of these lengths, one after another, are put together to.
    fn put(net: &Arc<Net>, all: &[(IpAddr, usize)]) -> Vec<(usize, usize)> {
        let mut post = Post::default();
        let mut at = 0;
        for (to, length) in all {
            post.put(letter(net, *to, at..at + length, *length));
            at += length;
        }
        let shown = post.letters.iter();
        shown
            .map(|letter| (letter.range.len(), letter.size))
            .collect()
    }

    #[test]
    fn datagrams_of_one_length_to_one_place_are_one_letter() {
        let net = net(false);
        assert_eq!(put(&net, &[(A, 86); 5]), [(430, 86)]);
        // A shorter one is the last.
        let all = [(A, 86), (A, 86), (A, 50), (A, 50), (A, 86)];
        assert_eq!(put(&net, &all), [(222, 86), (50, 50), (86, 86)]);
        let all = [(A, 86), (B, 86), (A, 86)];
        assert_eq!(put(&net, &all), [(86, 86); 3], "they stay in order");
        let many = vec![(A, 86); SEGMENTS_MAX + 1];
        assert_eq!(put(&net, &many), [(86 * SEGMENTS_MAX, 86), (86, 86)]);
        let large = vec![(A, 1472); 60];
        assert!(
            put(&net, &large)
                .iter()
                .all(|(all, _)| *all <= DATAGRAM_MAX)
        );
    }

    #[test]
    fn what_differs_is_a_letter_of_its_own() {
        let (one, other) = (net(false), net(false));
        let first = || letter(&one, A, 0..86, 86);
        let next = |change: &dyn Fn(&mut Letter)| {
            let mut next = letter(&one, A, 86..172, 86);
            change(&mut next);
            next
        };
        assert!(first().absorb(&next(&|_| {})));
        for change in [
            &(|next: &mut Letter| next.envelope.tos = 2) as &dyn Fn(&mut Letter),
            &|next| next.envelope.ttl = 1,
            &|next| next.flow = Some(1),
            &|next| next.strict = false,
            &|next| next.range = 100..186,
            &|next| next.tally = Tally::Wrapped(None),
            &|next| next.tally = Tally::Frames(other.clone()),
        ] {
            assert!(!first().absorb(&next(change)));
        }
        let net = net(true);
        assert_eq!(put(&net, &[(A, 86); 2]), [(86, 86); 2], "fragments");
    }
}
