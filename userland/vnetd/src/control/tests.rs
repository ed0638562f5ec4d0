// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Clients that read, do not read, come and go.

use std::sync::Arc;

use nix::sys::socket::MsgFlags;

use super::*;
use crate::message::{Answer, FLAG_REQUEST};
use crate::shared::Shared;

const GET: [u8; 4] = [vnet_core::abi::cmd::HOST_GET, VERSION, 0, 0];

fn packet(sequence: u32) -> Vec<u8> {
    message::message(requests::FAMILY, FLAG_REQUEST, sequence, 0, &GET)
}

/// A control socket with one client, what the client has of it, and the number of its events.
fn connected(name: &str) -> (Control, Host, Epoll, OwnedFd, u64) {
    let directory = std::env::temp_dir().join(format!("vnetd-{name}-{}", std::process::id()));
    let mut control = Control::open(&directory.join("control")).expect("a socket");
    let shared = Arc::new(Shared::new(0).expect("no workers"));
    let host = Host::new(shared).expect("the kernel's devices");
    let epoll = Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
    let address = UnixAddr::new(&control.path).expect("an address");
    connect(fd.as_raw_fd(), &address).expect("connected");
    control.accept(host.shared.clock.now(), &epoll);
    // Connected is connected: the socket's name is not needed any more.
    std::fs::remove_dir_all(&directory).expect("removed");
    (control, host, epoll, fd, FIRST_CLIENT)
}

#[test]
fn without_a_file_descriptor_who_comes_is_turned_away() {
    let (mut control, host, epoll, _fd, _token) = connected("away");
    let directory = std::env::temp_dir().join(format!("vnetd-away-new-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("made");
    let path = directory.join("control");
    control.listener = listen_at(&path).expect("a socket");
    assert!(!control.turn_away(), "nobody is there");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
    let address = UnixAddr::new(&path).expect("an address");
    connect(fd.as_raw_fd(), &address).expect("connected");
    assert!(control.turn_away());
    assert!(control.spare.is_some(), "for the next one");
    let mut byte = [0];
    assert_eq!(
        recv(fd.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT),
        Ok(0)
    );
    control.accept(host.shared.clock.now(), &epoll);
    assert_eq!(control.clients.len(), 1, "who was there before");
    std::fs::remove_dir_all(&directory).expect("removed");
}

/// Whether the control socket wakes us.
fn wakes(epoll: &Epoll) -> bool {
    let mut events = [EpollEvent::empty(); 8];
    let timeout = nix::sys::epoll::EpollTimeout::ZERO;
    let count = epoll.wait(&mut events, timeout).expect("events");
    events[..count].iter().any(|event| event.data() == LISTENER)
}

#[test]
fn who_cannot_be_taken_in_does_not_wake_us_for_ever() {
    // With a table of file descriptors of its own, which can be filled.
    let filled = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).expect("a table");
        let (mut control, mut host, epoll, client, token) = connected("pause");
        let directory =
            std::env::temp_dir().join(format!("vnetd-pause-new-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("made");
        let path = directory.join("control");
        control.listener = listen_at(&path).expect("a socket");
        let interest = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        epoll.add(&control.listener, interest).expect("watched");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("it");
        let address = UnixAddr::new(&path).expect("an address");
        connect(fd.as_raw_fd(), &address).expect("connected");
        std::fs::remove_dir_all(&directory).expect("removed");
        control.spare = None;
        let mut others = Vec::new();
        while let Ok(other) = fd.try_clone() {
            others.push(other);
        }
        assert!(wakes(&epoll), "somebody waits");
        let now = host.shared.clock.now();
        control.accept(now, &epoll);
        assert!(!wakes(&epoll), "for want of a descriptor");
        let due = now.plus(PAUSE);
        assert_eq!(control.resume(now, &epoll), Some(due));
        assert!(!wakes(&epoll));
        assert_eq!(control.resume(due, &epoll), Some(due.plus(PAUSE)));
        assert!(!wakes(&epoll), "still");
        assert_eq!(control.clients.len(), 1);
        // The one that is there goes, and makes room.
        drop(client);
        control.ready(token, &mut host, &epoll);
        drop(others.pop());
        assert_eq!(control.resume(due, &epoll), None);
        assert_eq!(control.clients.len(), 1, "the other one");
        assert!(!control.clients.contains_key(&token));
        drop(others);
    });
    filled.join().expect("done");
}

/// Asks without reading until nothing more is answered. How many answers wait in the socket.
fn fill(control: &mut Control, host: &mut Host, epoll: &Epoll, fd: &OwnedFd, token: u64) {
    for sequence in 1..100_000 {
        let _ = send(fd.as_raw_fd(), &packet(sequence), MsgFlags::MSG_DONTWAIT);
        control.ready(token, host, epoll);
        if control.clients[&token].stuck.is_some() {
            return;
        }
    }
    panic!("answers are taken without end");
}

fn read_all(fd: &OwnedFd) -> nix::Result<usize> {
    let mut bytes = vec![0; 65_536];
    let mut count = 0;
    loop {
        match recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(count),
            Ok(_) => count += 1,
            Err(error) => return if count > 0 { Ok(count) } else { Err(error) },
        }
    }
}

const ID: [u8; 16] = [5; 16];

fn with_net(host: &mut Host) {
    let id = vnet_core::VnetId::from_bytes(ID);
    host.nets.push(crate::host::Local {
        vnet: Arc::new(crate::vnet::Vnet::new(id, 1, crate::tap::Tap::none())),
        settings: vnet_core::Settings::default(),
        index: 1,
        name: "none".to_owned(),
        mtu: 1400,
        up: false,
        address: vnet_core::Mac::from_bytes([2; 6]),
        master: 0,
        wanted: None,
        away: false,
        seal: Default::default(),
    });
}

fn probe(sequence: u32) -> Vec<u8> {
    let mut attributes = Answer::new();
    attributes.put(vnet_core::abi::probe::NET, &ID);
    let mut payload = vec![vnet_core::abi::cmd::PROBE, VERSION, 0, 0];
    payload.extend(attributes.bytes());
    let flags = FLAG_REQUEST | message::FLAG_ACK;
    message::message(requests::FAMILY, flags, sequence, 0, &payload)
}

/// The errno of the next answer, if there is one.
fn errno(fd: &OwnedFd) -> Option<i32> {
    let mut bytes = vec![0; 65_536];
    recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).ok()?;
    Some(i32::from_ne_bytes(*bytes[16..].first_chunk()?))
}

#[test]
fn who_waits_for_a_worker_waits_alone() {
    let (mut control, mut host, epoll, fd, token) = connected("asked");
    with_net(&mut host);
    control.clients.get_mut(&token).expect("there").admin = true;
    let now = host.shared.clock.now();
    for sequence in 1..=3 {
        send(fd.as_raw_fd(), &probe(sequence), MsgFlags::empty()).expect("sent");
    }
    // Comes back although no worker is there to do it.
    control.ready(token, &mut host, &epoll);
    assert_eq!((errno(&fd), host.tickets), (None, 1), "one after another");
    control.answered(7, Ok(()), &mut host, &epoll);
    assert_eq!(errno(&fd), None, "that is somebody else's");
    control.answered(1, Ok(()), &mut host, &epoll);
    assert_eq!((errno(&fd), host.tickets), (Some(0), 2));
    control.answered(2, Err(Errno::EMSGSIZE), &mut host, &epoll);
    assert_eq!(errno(&fd), Some(-(Errno::EMSGSIZE as i32)));
    let due = control.late(now, &mut host, &epoll).expect("there is one");
    assert_eq!(errno(&fd), None);
    assert_eq!(control.late(due, &mut host, &epoll), None);
    assert_eq!(errno(&fd), Some(-(Errno::ETIMEDOUT as i32)));
    control.answered(3, Ok(()), &mut host, &epoll);
    assert_eq!(errno(&fd), None, "it was told already");
}

#[test]
fn who_goes_while_a_worker_is_busy_is_forgotten() {
    let (mut control, mut host, epoll, fd, token) = connected("goes");
    with_net(&mut host);
    control.clients.get_mut(&token).expect("there").admin = true;
    send(fd.as_raw_fd(), &probe(1), MsgFlags::empty()).expect("sent");
    control.ready(token, &mut host, &epoll);
    drop(fd);
    let mut events = [EpollEvent::empty(); 2];
    let timeout = nix::sys::epoll::EpollTimeout::ZERO;
    assert_eq!(epoll.wait(&mut events, timeout), Ok(1), "it is told");
    control.ready(events[0].data(), &mut host, &epoll);
    assert!(control.clients.is_empty());
    control.answered(1, Ok(()), &mut host, &epoll);
}

#[test]
fn of_two_daemons_that_start_at_once_one_goes_on() {
    let directory = std::env::temp_dir().join(format!("vnetd-two-{}", std::process::id()));
    let path = directory.join("control");
    let first = Control::open(&path).expect("a socket");
    // The other one has found no socket yet, or has just removed an old one.
    std::fs::remove_file(&path).expect("removed");
    let refused = Control::open(&path).err().expect("refused").to_string();
    assert!(refused.starts_with("another vnetd has"), "{refused}");
    first.close();
    assert!(!lock_path(&path).exists(), "nothing is left behind");
    Control::open(&path).expect("free again").close();
    // Left behind by one that was killed.
    std::fs::write(lock_path(&path), "").expect("written");
    Control::open(&path).expect("not locked").close();
    std::fs::remove_dir(&directory).expect("empty");
}

#[test]
fn who_does_not_read_is_cut_off_in_time_and_not_before() {
    let (mut control, mut host, epoll, fd, token) = connected("cut-off");
    assert_eq!(control.cut_off(host.shared.clock.now()), None);
    fill(&mut control, &mut host, &epoll, &fd, token);
    let since = control.clients[&token].stuck.expect("it is stuck");
    assert_eq!(control.cut_off(since), Some(since.plus(PATIENCE)));
    let last = since.plus(PATIENCE - 1);
    assert_eq!(control.cut_off(last), Some(since.plus(PATIENCE)));
    assert_eq!(control.clients.len(), 1, "there is time left");
    assert_eq!(control.cut_off(since.plus(PATIENCE)), None);
    assert!(control.clients.is_empty());
    assert!(read_all(&fd).expect("what was answered") > 0);
    assert_eq!(read_all(&fd), Ok(0), "then comes the end");
}

#[test]
fn who_reads_again_has_all_its_time_again() {
    let (mut control, mut host, epoll, fd, token) = connected("reads");
    fill(&mut control, &mut host, &epoll, &fd, token);
    let since = control.clients[&token].stuck.expect("it is stuck");
    assert!(read_all(&fd).expect("answers") > 0);
    control.ready(token, &mut host, &epoll);
    assert_eq!(control.clients[&token].stuck, None);
    assert_eq!(control.cut_off(since.plus(10 * PATIENCE)), None);
    assert_eq!(control.clients.len(), 1);
}

#[test]
fn who_listens_and_does_not_read_loses_notifications_and_is_told() {
    let (mut control, mut host, epoll, fd, token) = connected("lost");
    let client = control.clients.get_mut(&token).expect("the client");
    client.groups = 1 << crate::notice::CONFIG;
    let mut answer = Answer::new();
    answer.put(1, &[0; 1024]);
    for _ in 0..100_000 {
        let notice = Notice {
            group: crate::notice::CONFIG,
            command: 1,
            answer: answer.clone(),
        };
        control.tell(&notice, &mut host, &epoll);
        if control.clients[&token].lost {
            break;
        }
    }
    let client = &control.clients[&token];
    assert!(client.lost && client.waiting.len() <= WAITING);
    let since = client.stuck.expect("it is stuck");
    let mut last = Vec::new();
    let mut bytes = vec![0; 65_536];
    // It reads all of it before its time is up.
    while control.clients[&token].lost || !control.clients[&token].waiting.is_empty() {
        while let Ok(length) = recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            last = bytes[..length].to_vec();
        }
        control.ready(token, &mut host, &epoll);
    }
    while let Ok(length) = recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        last = bytes[..length].to_vec();
    }
    assert_eq!(last, message::overrun());
    assert_eq!(control.cut_off(since.plus(PATIENCE)), None);
    assert_eq!(control.clients.len(), 1);
}
