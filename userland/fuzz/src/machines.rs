// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The small state machines, driven by bytes.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use vnet_core::settings::{Setting, Settings};
use vnet_core::varp::{Announcer, Appearance, Move, Moves, Recent, Sighting, Way};
use vnet_core::wire::Relay;
use vnet_core::{Instant, Mac};

/// Bytes that stand for operations; zeros when there are no more.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next one.
    pub fn take(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Whether there are no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Addresses come and go; none is announced more often than set, nor after it went.
pub fn announcer(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let room = usize::from(bytes.take() & 7);
    let mut announcer = Announcer::new(vec![Appearance::UNUSED; room].into_boxed_slice());
    let mut settings = Settings::default();
    let mut now = Instant::from_millis(0);
    // How often each may still be announced.
    let mut left = [0_u32; 8];
    while !bytes.is_empty() {
        let byte = bytes.take();
        let number = usize::from(byte & 7);
        let mac = Mac::from_bytes([2, 0, 0, 0, 0, byte & 7]);
        match byte >> 3 {
            0..8 => {
                let at_once = announcer.appeared(mac, now, &settings);
                let total = settings.get(Setting::Announces);
                assert!(total > 0 || !at_once);
                if total > 0 {
                    left[number] = total - u32::from(at_once);
                }
            }
            8..12 => {
                announcer.gone(mac);
                left[number] = 0;
            }
            12..16 => {
                let (setting, value) = [
                    (Setting::Announces, 3),
                    (Setting::Announces, 0),
                    (Setting::Announces, 10),
                    (Setting::AnnounceInterval, 10),
                    (Setting::AnnounceInterval, 10_000),
                    (Setting::VarpRate, 0),
                    (Setting::VarpRate, 1),
                    (Setting::VarpRate, 200),
                ][number];
                assert!(settings.set(setting, value));
            }
            wait => {
                now = now.plus(1 << (wait & 15));
                while let Some(mac) = announcer.poll(now, &settings) {
                    let left = &mut left[usize::from(mac.as_bytes()[5])];
                    *left = left.checked_sub(1).expect("announced too often");
                }
                assert!(announcer.next_due().is_none_or(|due| due > now));
                assert!(room > 0 || announcer.next_due().is_none());
            }
        }
    }
}

/// Packets by several ways: what [`Recent`] says is what a list says.
pub fn recent(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let room = usize::from(bytes.take() & 15);
    let mut recent = Recent::new(vec![Sighting::UNUSED; room].into_boxed_slice());
    let mut list: VecDeque<(u64, Way, Instant)> = VecDeque::new();
    let mut now = Instant::from_millis(0);
    while !bytes.is_empty() {
        let byte = bytes.take();
        now = now.plus(u64::from(byte >> 5) * 300);
        let host = IpAddr::V4(Ipv4Addr::new(192, 0, 2, byte & 3));
        let way = match (byte >> 2) & 7 {
            0 => Way::Sender,
            1..4 => Way::Relay(Relay::of(host)),
            _ => Way::Peer(host),
        };
        let packet = u64::from(bytes.take() & 31);
        let known = list
            .iter_mut()
            .find(|(other, _, at)| *other == packet && now.since(*at) <= 2_000);
        let expected = known.as_ref().is_none_or(|(_, first, _)| *first == way);
        match known {
            Some((_, first, at)) if *first == way => *at = now,
            Some(_) => {}
            None => list.push_back((packet, way, now)),
        }
        if list.len() > room {
            list.pop_front();
        }
        assert_eq!(recent.is_new(packet, way, now), expected);
    }
}

/// Moves: nothing is followed while damped, and no more than the limit between two dampings that are a window apart.
pub fn moves(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut settings = Settings::default();
    let mut moves = Moves::new();
    let mut now = Instant::from_millis(0);
    let mut followed: u32 = 0;
    while !bytes.is_empty() {
        let byte = bytes.take();
        if byte == 0 {
            let setting = [Setting::MoveLimit, Setting::MoveWindow, Setting::Damp];
            let value = 100 + u32::from(bytes.take());
            assert!(settings.set(setting[usize::from(bytes.take()) % 3], value));
            continue;
        }
        now = now.plus(u64::from(byte >> 2) * u64::from(byte & 3));
        let damped = moves.damped(now) > 0;
        match moves.moved(now, &settings) {
            Move::Follow => {
                assert!(!damped);
                followed += 1;
            }
            Move::Damp => {
                assert!(!damped && followed >= moves.count(now, &settings));
                assert!(moves.count(now, &settings) >= settings.get(Setting::MoveLimit));
                assert_eq!(moves.damped(now), settings.get(Setting::Damp));
                followed = 0;
            }
            Move::Damped => assert!(damped),
        }
    }
}
