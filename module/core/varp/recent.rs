// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Packets to the group have no serial numbers. Where several hosts forward them between two networks (VFWD), a packet comes
//! by several ways; it is used once, by the way it came first.

use core::net::IpAddr;
use core::ops::DerefMut;

use crate::time::Instant;
use crate::wire::{MessageId, Relay, VARP_LEN};

/// Milliseconds for which a packet is remembered.
const WINDOW: u64 = 2_000;

/// The way a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the group, sent there by the host that made it (or by one of the originals, which do not mark what they relay).
    Sender,
    /// From the group, sent there by a host that had it from a peer. Such a packet is never forwarded again.
    Relay(Relay),
    /// From a peer, wrapped.
    Peer(IpAddr),
}

impl Way {
    /// The way of a message that came from the group.
    pub fn from_group(message: &[u8]) -> Self {
        Relay::read(message).map_or(Self::Sender, Self::Relay)
    }
}

/// A packet, and the way it came.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    digest: u64,
    way: Way,
    at: Instant,
    used: bool,
}

impl Sighting {
    /// An unused place.
    pub const UNUSED: Self = Self {
        digest: 0,
        way: Way::Sender,
        at: Instant::from_millis(0),
        used: false,
    };

    fn is(&self, digest: u64, now: Instant) -> bool {
        self.used && self.digest == digest && now.since(self.at) <= WINDOW
    }
}

/// The packets of the last moments, in the storage of the driver, which may hold any number of them.
#[derive(Debug)]
pub struct Recent<S> {
    sightings: S,
    next: usize,
}

impl<S: DerefMut<Target = [Sighting]>> Recent<S> {
    /// Nothing was there yet.
    pub const fn new(sightings: S) -> Self {
        Self { sightings, next: 0 }
    }

    /// Takes note of a packet (see [`digest`]) that came from the group or by a peer. False if the same was there a moment
    /// ago by another way: it is a duplicate. The same packet by the same way was sent twice.
    #[must_use]
    pub fn is_new(&mut self, digest: u64, way: Way, now: Instant) -> bool {
        if let Some(known) = self
            .sightings
            .iter_mut()
            .find(|known| known.is(digest, now))
        {
            let same = known.way == way;
            if same {
                known.at = now;
            }
            return same;
        }
        if let Some(place) = self.sightings.get_mut(self.next) {
            *place = Sighting {
                digest,
                way,
                at: now,
                used: true,
            };
        }
        self.next = self.next.saturating_add(1);
        if self.next >= self.sightings.len() {
            self.next = 0;
        }
        true
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// FNV-1a. Nobody gains by collisions: who can make them can send, or suppress, as well without.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// A number for a message to the group and the host that sent it first. It is the same whoever relayed the message.
pub fn digest(source: IpAddr, message: &[u8]) -> u64 {
    let source = hash(0, &octets(source));
    match (MessageId::parse(message), message) {
        (Ok(MessageId::Vudp | MessageId::Sealed), [m0, m1, _, _, rest @ ..]) => {
            hash(hash(source, &[*m0, *m1]), rest)
        }
        (Ok(MessageId::Varp), _) => hash(source, message.get(..VARP_LEN).unwrap_or(message)),
        _ => hash(source, message),
    }
}
