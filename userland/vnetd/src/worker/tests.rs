// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Reading from devices.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use vnet_core::abi::NetCounter;

use super::*;
use crate::harness::Bench;
use crate::offload::VNET_HEADER_LEN;
use crate::tap::Tap;

/// A frame that is too short to go anywhere, but is counted.
const RUNT: [u8; VNET_HEADER_LEN + 4] = [0; VNET_HEADER_LEN + 4];

/// A worker that watches one device, whose frames are written to the other end.
fn watching(queue: OwnedFd) -> (Bench, u64) {
    let mut bench = Bench::with_tap(Tap::of(queue));
    bench.work(|worker, world, _, _| worker.watch(world));
    let token = bench.worker.taps.keys().copied().next().expect("watched");
    (bench, token)
}

fn drain(bench: &mut Bench, token: u64) {
    bench.work(|worker, world, _, _| worker.drain_tap(world, token, &mut [0; 2048]));
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair")
}

/// Whether the device still wakes the worker when there is something.
fn is_watched(bench: &Bench) -> bool {
    let mut events = [EpollEvent::empty(); 8];
    let count = bench.worker.epoll.wait(&mut events, EpollTimeout::ZERO);
    let events = events.get(..count.expect("events")).expect("as many");
    events.iter().any(|event| event.data() >= FIRST_TAP)
}

#[test]
fn a_busy_device_leaves_others_their_turn() {
    let (queue, device) = pair();
    let (mut bench, token) = watching(queue);
    for _ in 0..TAP_BUDGET + 6 {
        let sent = send(device.as_raw_fd(), &RUNT, MsgFlags::empty());
        assert_eq!(sent, Ok(RUNT.len()));
    }
    drain(&mut bench, token);
    assert_eq!(bench.counted(NetCounter::TxShort), TAP_BUDGET as u64);
    assert!(is_watched(&bench), "there is more");
    drain(&mut bench, token);
    assert_eq!(bench.counted(NetCounter::TxShort), TAP_BUDGET as u64 + 6);
    assert!(!is_watched(&bench), "there is no more");
    assert!(bench.worker.taps.contains_key(&token));
}

#[test]
fn a_device_that_is_gone_is_not_read_again() {
    let (queue, device) = pair();
    let (mut bench, token) = watching(queue);
    drop(device);
    assert!(is_watched(&bench), "its end wakes the worker");
    drain(&mut bench, token);
    assert!(!is_watched(&bench), "and does so once");
    assert!(bench.worker.taps.is_empty());
    // What was told before is about nothing now.
    drain(&mut bench, token);
}

#[test]
fn a_device_that_cannot_be_read_now_is_read_later() {
    // Reading a directory fails, with an error that does not mean that it is gone.
    let directory = std::fs::File::open("/").expect("open");
    let mut bench = Bench::with_tap(Tap::of(directory.into()));
    let (world, net) = bench.work(|_, world, _, net| (world.clone(), net.clone()));
    bench.worker.taps.insert(FIRST_TAP, net);
    bench.worker.drain_tap(&world, FIRST_TAP, &mut [0; 2048]);
    assert!(bench.worker.taps.contains_key(&FIRST_TAP));
}
