// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn monitor` where notifications are lost: against a daemon that drops them, as a real one does when nobody reads.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use serde_json::{Value, json};
use vnet_core::VnetId;
use vnet_core::abi::{self, cmd};
use vnet_netlink::attributes::Writer;
use vnet_netlink::{JOIN, Peer};

const FAMILY: u16 = 33;
const CONTROLLER: u16 = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
/// Bits of NLM_F_DUMP.
const DUMP: u16 = 0x300;
/// Attributes of the controller and of its groups.
const FAMILY_ID: u16 = 1;
const FAMILY_GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

fn packet(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(0u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn message(kind: u16, sequence: u32, command: u8, attributes: Writer) -> Vec<u8> {
    let mut payload = vec![command, 1, 0, 0];
    payload.extend(attributes.into_bytes());
    packet(kind, sequence, &payload)
}

fn group(name: &str, number: u32) -> Writer {
    let mut group = Writer::new();
    group
        .put_text(GROUP_NAME, name)
        .and_then(|w| w.put(GROUP_ID, &number.to_ne_bytes()))
        .expect("short");
    group
}

fn family() -> Writer {
    let mut groups = Writer::new();
    groups
        .put_nest(1, &group(abi::GROUP_CONFIG, 7))
        .and_then(|w| w.put_nest(2, &group(abi::GROUP_EVENTS, 8)))
        .expect("short");
    let mut family = Writer::new();
    family
        .put(FAMILY_ID, &FAMILY.to_ne_bytes())
        .and_then(|w| w.put_nest(FAMILY_GROUPS, &groups))
        .expect("short");
    family
}

fn net(id: &str, mtu: u32) -> Writer {
    let id: VnetId = id.parse().expect("an id");
    let mut net = Writer::new();
    net.put(abi::net::ID, id.as_bytes())
        .and_then(|w| w.put(abi::net::MTU, &mtu.to_ne_bytes()))
        .expect("short");
    net
}

/// What the daemon has, and who listens.
#[derive(Default)]
struct Daemon {
    /// Whether the first notifications were lost already.
    lost: bool,
    monitors: Vec<UnixStream>,
}

impl Daemon {
    /// The objects of a listing.
    fn listed(&self, command: u8) -> Vec<Writer> {
        match (command, self.lost) {
            (cmd::NET_GET, false) => vec![net("5", 1436)],
            (cmd::NET_GET, true) => vec![net("5", 1500), net("6", 1436)],
            (cmd::PEER_GET, true) => {
                let mut peer = Writer::new();
                Peer::new([192, 0, 2, 2].into())
                    .write(&mut peer)
                    .expect("short");
                vec![peer]
            }
            _ => Vec::new(),
        }
    }

    /// What happens once somebody has read everything.
    fn was_read(&mut self, of_last_net: bool) {
        let listener = self.monitors.last_mut().expect("somebody listens first");
        if !self.lost {
            self.lost = true;
            listener
                .write_all(&packet(OVERRUN, 0, &[]))
                .expect("somebody reads");
        } else if of_last_net {
            let gone = message(FAMILY, 0, cmd::NET_DEL_NTF, net("6", 1436));
            listener.write_all(&gone).expect("somebody reads");
            listener
                .shutdown(std::net::Shutdown::Both)
                .expect("a connection");
        }
    }
}

fn serve(daemon: &Mutex<Daemon>, mut connection: UnixStream) {
    let mut request = [0; 8192];
    // A packet is read as a whole.
    while let Ok(length @ 16..) = connection.read(&mut request) {
        let number = |at: usize| u16::from_ne_bytes([request[at], request[at + 1]]);
        let (kind, flags) = (number(4), number(6));
        let sequence = u32::from_ne_bytes([request[8], request[9], request[10], request[11]]);
        let command = request[16];
        let mut daemon = daemon.lock().expect("no panic elsewhere");
        let mut answers = Vec::new();
        if kind == CONTROLLER {
            answers.push(message(kind, sequence, command, family()));
        } else if kind == JOIN {
            if number(16) == 8 {
                let listener = connection.try_clone().expect("a descriptor");
                daemon.monitors.push(listener);
            }
        } else if command == cmd::HOST_GET {
            answers.push(message(kind, sequence, command, Writer::new()));
        } else {
            let listed = daemon.listed(command).into_iter();
            answers.extend(listed.map(|object| message(kind, sequence, command, object)));
        }
        let end = if flags & DUMP == DUMP { DONE } else { ERROR };
        answers.push(packet(end, sequence, &[0; 20]));
        for answer in answers {
            connection.write_all(&answer).expect("somebody reads");
        }
        if command == cmd::REMOTE_GET && kind == FAMILY {
            daemon.was_read(request[16..length].contains(&6));
        }
    }
}

/// A socket at a path of its own, removed at the end.
struct Socket {
    path: PathBuf,
}

impl Socket {
    fn listen() -> (Self, UnixListener) {
        let path = std::env::temp_dir().join(format!("vn-monitor-{}", std::process::id()));
        let socket = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        let address = UnixAddr::new(Path::new(&path)).expect("a short path");
        bind(socket.as_raw_fd(), &address).expect("a path of our own");
        listen(&socket, Backlog::new(8).expect("few")).expect("a socket");
        (Self { path }, UnixListener::from(socket))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Where it cannot be removed, nothing is worse for it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn what_was_lost_is_made_up_for() {
    let (socket, listener) = Socket::listen();
    thread::spawn(move || {
        let daemon = Arc::new(Mutex::new(Daemon::default()));
        for connection in listener.incoming() {
            let daemon = Arc::clone(&daemon);
            let connection = connection.expect("a connection");
            thread::spawn(move || serve(&daemon, connection));
        }
    });
    // It ends by itself, as the daemon closes.
    let output = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_vn")])
        .args(["-j", "--via", "vnetd", "--vnetd-socket"])
        .arg(&socket.path)
        .arg("monitor")
        .output()
        .expect("vn");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object on each line"))
        .collect();
    assert_eq!(
        lines,
        [
            json!({"event": "resync"}),
            json!({"event": "peer-new", "addr": "192.0.2.2"}),
            json!({"event": "net-set", "id": "0005", "mtu": 1500}),
            json!({"event": "net-new", "id": "0006", "mtu": 1436}),
            json!({"event": "net-del", "id": "0006", "mtu": 1436}),
        ]
    );
    assert_eq!(
        String::from_utf8(output.stderr).expect("text"),
        "vn: vnetd closed the connection\n\
         hint: if vnetd has ended, its vnets went with it: start it, and give the same command again\n"
    );
    assert_eq!(output.status.code(), Some(2));
}
