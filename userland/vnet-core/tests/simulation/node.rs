// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What a host is to the simulated network.

use std::net::IpAddr;

use vnet_core::settings::Settings;
use vnet_core::wire::{DataHeader, EthernetHeader};
use vnet_core::{Instant, Mac, VnetId};

/// The vnet.
pub(crate) fn vnet() -> VnetId {
    VnetId::from_bytes([5; 16])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Group,
    Host(IpAddr),
}

/// A UDP packet; the source address may be another host's.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: To,
    pub(crate) bytes: Vec<u8>,
}

/// What a host did.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) packets: Vec<Packet>,
    /// Frames given to the bridge.
    pub(crate) delivered: Vec<Vec<u8>>,
}

pub(crate) trait Node {
    fn address(&self) -> IpAddr;
    /// Whether it is one of the originals.
    fn is_original(&self) -> bool;
    /// A frame comes from the bridge.
    fn frame(&mut self, now: Instant, frame: &[u8], out: &mut Output);
    /// A packet comes from the network.
    fn packet(&mut self, now: Instant, packet: &Packet, out: &mut Output);
    /// The bridge says that a machine has gone.
    fn gone(&mut self, now: Instant, mac: Mac, out: &mut Output);
    fn poll(&mut self, now: Instant, out: &mut Output);
    fn next_due(&self) -> Option<Instant>;
    /// Frames that are held.
    fn held(&self) -> usize;
    /// How many peers it forwards to.
    fn peers(&self) -> usize;
    /// Where it believes an address to be: none if nowhere, its own address if here.
    fn place(&self, mac: Mac) -> Option<IpAddr>;
    /// Moves that were followed.
    fn moves(&self) -> u32;
    /// What is never to be exceeded is not.
    fn check(&self, settings: &Settings);
}

pub(crate) fn frame(source: Mac, destination: Mac, number: u32) -> Vec<u8> {
    let header = EthernetHeader {
        destination,
        source,
        ethertype: 0x88b5,
    };
    [&header.emit()[..], &number.to_be_bytes()].concat()
}

pub(crate) fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().expect("four bytes"))
}

pub(crate) fn data(frame: &[u8]) -> Vec<u8> {
    [&DataHeader::emit(vnet())[..], frame].concat()
}
