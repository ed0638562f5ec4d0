// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is given to the fuzzer: everything that reads bytes of others, without what it would be done to.

use std::cell::RefCell;
use std::sync::Arc;

use vnet_core::sealed::Key;
use vnet_core::wire::{
    Opened, SEALED_HEADER_LEN, SEALED_KIND_LEN, SEALED_TAG_LEN, SealedHeader, VarpMessage,
};
use vnet_core::{Instant, Setting, Settings, VnetId};

use crate::host::{Host, HostSettings};
use crate::merge::{Complete, Merger};
use crate::message;
use crate::offload::{self, VNET_HEADER_LEN, VnetHeader};
use crate::requests::Outcome;
use crate::sealed::Seal;
use crate::shared::Shared;
use crate::{expression, icmp, inner, requests, state};

/// A packet of the control socket, as who may change things sends it.
pub fn request(data: &[u8]) {
    if let Some((header, payload)) = message::split(data) {
        requests::check(&header, payload);
    }
    let _ = state::decode(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = expression::parse(text);
    }
}

/// What `carried_out` needs: a host in a network namespace of its thread's own.
fn apart() -> Option<Host> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
    Host::new(Arc::new(Shared::new(1).ok()?)).ok()
}

/// Packets of the control socket, one behind another, carried out by a daemon without workers, with sockets and devices, in a network
/// namespace that the calling thread moves to at the first call. What they have made is removed at the end.
///
/// # Panics
///
/// If no such namespace can be made: that takes root, and /dev/net/tun.
pub fn carried_out(mut data: &[u8]) {
    thread_local! {
        static HOST: RefCell<Host> = RefCell::new(apart().expect("a network namespace"));
    }
    HOST.with_borrow_mut(|host| {
        while let Some((length, _)) = data.split_first_chunk() {
            let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
            // As netlink aligns them; what is cut off is a packet, too.
            let length = length.clamp(4, data.len()).next_multiple_of(4);
            let (packet, rest) = data.split_at(length.min(data.len()));
            data = rest;
            let Some((header, payload)) = message::split(packet) else {
                continue;
            };
            if let Outcome::Dump(mut cursor) = requests::handle(host, &header, payload, true) {
                // Nothing changes meanwhile, so it has an end.
                while !cursor.next(host, &header).1 {}
            }
            host.notices.clear();
        }
        assert!(
            host.nets.len() <= 4096,
            "there are not more requests in an input"
        );
        host.end();
        let _ = host.configure(HostSettings::default(), false);
        host.tick();
    });
}

/// A frame from a device or from the network, behind the header that a device gives.
pub fn frame(data: &[u8]) {
    let Some((header, frame)) = data.split_first_chunk::<VNET_HEADER_LEN>() else {
        return;
    };
    let header = VnetHeader::parse(header);
    let mut copy = frame.to_vec();
    let _ = offload::complete(&mut copy, &header);
    let mut out = Vec::new();
    if let Some(segments) = offload::segment(frame, &header, (b"prefix", 0), &mut out) {
        assert_eq!(out.chunks(segments.size).count(), segments.count);
    }
    let _ = icmp::too_big(frame, 1400);
    let _ = inner::flow_hash(frame);
    if let inner::Mark::Taken(ip, tos) = inner::decapsulate_ecn(&copy, 3) {
        ip.set_tos(&mut copy, tos);
    }
    let owner = Arc::new(());
    let mut merger = Merger::new();
    let mut count = 0;
    let mut all = |complete: Complete<'_, ()>| count += complete.count;
    merger.offer(&owner, frame, true, &mut all);
    merger.offer(&owner, &copy, true, &mut all);
    merger.pass(&owner, frame, &mut all);
    merger.flush(&mut all);
    assert_eq!(count, 3, "no frame is lost, none is made");
}

thread_local! {
    /// The keys of a vnet that is sealed.
    static KEYS: Seal = sealed_with([7; 32]);
}

fn sealed_with(key: [u8; 32]) -> Seal {
    let mut seal = Seal::default();
    let mut settings = Settings::default();
    assert!(settings.set(Setting::Seal, 2));
    let key = Box::new(Key::from_bytes(key));
    let _ = seal.give(1, None, key, Instant::from_millis(0));
    let _ = seal.renew(VnetId::from_bytes([5; 16]), &settings);
    seal
}

/// A sealed message from the network, and what is done with it: as it came, and once more as somebody who has the key would have sealed
/// it. The first is refused, the other one says what was sealed.
pub fn sealed(data: &[u8]) {
    KEYS.with(|seal| {
        let Some(keys) = seal.keys() else { return };
        let mut message = data.to_vec();
        if let Ok(header) = SealedHeader::parse(data) {
            for key in &keys.uses {
                let aead = key.aead_of(header.sender);
                assert!(aead.open(key.mode(), &header, &mut message).is_none());
            }
        }
        let mut message = [&[0; SEALED_HEADER_LEN][..], data, &[0; SEALED_TAG_LEN]].concat();
        let size = message.len();
        assert_eq!(keys.seal(&mut message, size), Ok(None));
        let header = SealedHeader::parse(&message);
        let Ok(header) = header else {
            return assert!(data.len() < SEALED_KIND_LEN);
        };
        let key = keys.uses.iter().find(|key| key.tag == header.tag);
        let body = key.and_then(|key| {
            let aead = key.aead_of(header.sender);
            aead.open(key.mode(), &header, &mut message)
        });
        let body = body.map(|body| &*body);
        assert_eq!(body, Some(data), "it opens as it was");
        if let Ok(Opened::Varp(bytes)) = Opened::parse(data) {
            let _ = VarpMessage::parse(bytes);
        }
    });
}
