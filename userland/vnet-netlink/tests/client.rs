// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The bytes of every request, seen by a daemon that carries none of them out.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use vnet_core::abi::{self, cmd};
use vnet_core::{Mac, Setting, VnetId};
use vnet_netlink::attributes::{Reader, Writer};
use vnet_netlink::{
    Client, Endpoint, Error, Flood, HostConfig, KeySlot, NetChange, NetConfig, Probe, SomeSettings,
    Via,
};

const FAMILY: u16 = 33;
const CONTROLLER: u16 = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flags: NLM_F_REQUEST with NLM_F_ACK, or NLM_F_DUMP.
const DO: u16 = 0x5;
const DUMP: u16 = 0x301;
/// Flags of an acknowledgement: NLM_F_CAPPED and NLM_F_ACK_TLVS.
const EXPLAINED: u16 = 0x300;
/// Attributes of an extended acknowledgement.
const EXT_MSG: u16 = 1;
const EXT_OFFSET: u16 = 2;
/// The vnet whose requests are refused.
const REFUSED: &str = "bad";

/// A request: flags, command and version, attributes.
type Request = (u16, [u8; 2], Vec<(u16, Vec<u8>)>);

fn packet(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn refusal() -> Vec<u8> {
    let mut payload = (-(Errno::EINVAL as i32)).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    let mut words = Writer::new();
    // The second attribute: behind the headers and the id.
    words
        .put_text(EXT_MSG, "Unknown attribute type")
        .and_then(|w| w.put(EXT_OFFSET, &40u32.to_ne_bytes()))
        .expect("short");
    payload.extend(words.into_bytes());
    payload
}

fn serve(mut connection: UnixStream, requests: &Sender<Request>) {
    let mut buffer = [0; 8192];
    // A packet is read as a whole.
    while let Ok(length @ 20..) = connection.read(&mut buffer) {
        let number = |at: usize| u16::from_ne_bytes([buffer[at], buffer[at + 1]]);
        let (kind, flags) = (number(4), number(6));
        let sequence = u32::from_ne_bytes([buffer[8], buffer[9], buffer[10], buffer[11]]);
        let said = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        assert_eq!(usize::try_from(said).expect("short"), length);
        let attributes: Vec<_> = Reader::new(&buffer[20..length])
            .map(|attribute| attribute.expect("whole"))
            .map(|attribute| (attribute.kind, attribute.value.to_vec()))
            .collect();
        let mut answers = Vec::new();
        let refused = REFUSED.parse::<VnetId>().expect("an id");
        if kind == CONTROLLER {
            let mut family = Writer::new();
            family.put(1, &FAMILY.to_ne_bytes()).expect("short");
            let mut payload = vec![1, 1, 0, 0];
            payload.extend(family.into_bytes());
            answers.push(packet(kind, 0, sequence, &payload));
            answers.push(packet(ERROR, 0, sequence, &[0; 20]));
        } else if flags == DUMP {
            answers.push(packet(DONE, 0, sequence, &[0; 4]));
        } else if attributes
            .iter()
            .any(|(_, value)| *value == refused.as_bytes())
        {
            answers.push(packet(ERROR, EXPLAINED, sequence, &refusal()));
        } else {
            answers.push(packet(ERROR, 0, sequence, &[0; 20]));
        }
        if kind == FAMILY {
            let request = (flags, [buffer[16], buffer[17]], attributes);
            requests.send(request).expect("the test");
        }
        for answer in answers {
            connection.write_all(&answer).expect("the client");
        }
    }
}

struct Daemon {
    path: PathBuf,
    requests: Receiver<Request>,
}

impl Daemon {
    fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vnet-{name}-{}", std::process::id()));
        let socket = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        let address = UnixAddr::new(&path).expect("a short path");
        bind(socket.as_raw_fd(), &address).expect("a path of our own");
        listen(&socket, Backlog::new(4).expect("few")).expect("a socket");
        let (sender, requests) = channel();
        thread::spawn(move || {
            for connection in UnixListener::from(socket).incoming() {
                serve(connection.expect("a connection"), &sender);
            }
        });
        Self { path, requests }
    }

    fn client(&self) -> Client {
        let endpoint = Endpoint::default().at(&self.path).via(Via::Vnetd);
        Client::open(&endpoint).expect("a client")
    }

    /// The request that has come.
    #[track_caller]
    fn saw(&self, flags: u16, command: u8, attributes: &[(u16, &[u8])]) {
        let attributes = attributes
            .iter()
            .map(|(kind, value)| (*kind, value.to_vec()))
            .collect();
        assert_eq!(
            self.requests.try_recv(),
            Ok((flags, [command, abi::VERSION], attributes))
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where it cannot be removed, nothing is worse for it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn vnet5() -> VnetId {
    "5".parse().expect("an id")
}

#[test]
fn every_request() {
    let daemon = Daemon::start("requests");
    let mut client = daemon.client();
    assert_eq!(client.via(), Via::Vnetd);
    let id = vnet5();
    let net = id.as_bytes();
    let mac = Mac::from_bytes([2, 0, 0, 5, 0, 2]);
    let v4 = IpAddr::from([192, 0, 2, 2]);
    let six = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    let v6 = IpAddr::from(six);
    let number = |value: u32| value.to_ne_bytes();

    let settings = SomeSettings::new()
        .with(Setting::Unknown, abi::net::UNKNOWN_DROP)
        .with(Setting::Damp, 5000);
    let change = NetChange {
        mtu: Some(1400),
        settings,
    };
    let config = NetConfig {
        id,
        ifname: Some("x0".to_owned()),
        change: change.clone(),
    };
    // Success without the vnet that was asked for is no answer.
    assert!(matches!(client.net_new(&config), Err(Error::Malformed(_))));
    let changed: [(u16, &[u8]); 3] = [
        (abi::net::MTU, &number(1400)),
        (abi::net::UNKNOWN, &number(2)),
        (abi::net::DAMP, &number(5000)),
    ];
    let mut made: Vec<(u16, &[u8])> = vec![(abi::net::ID, net), (abi::net::IFNAME, b"x0\0")];
    made.extend(changed);
    daemon.saw(DO, cmd::NET_NEW, &made);
    client.net_set(id, &change).expect("done");
    made.remove(1);
    daemon.saw(DO, cmd::NET_SET, &made);
    assert!(client.net(id).is_err());
    daemon.saw(DO, cmd::NET_GET, &[(abi::net::ID, net)]);
    assert_eq!(client.nets().expect("done"), []);
    daemon.saw(DUMP, cmd::NET_GET, &[]);
    client.net_del(id).expect("done");
    daemon.saw(DO, cmd::NET_DEL, &[(abi::net::ID, net)]);

    let config = HostConfig {
        group: Some(v6),
        ttl: Some(abi::TTL_INHERIT),
        flood: Some(Flood::Peers),
        dscp: Some(46),
        ..HostConfig::default()
    };
    client.host_set(&config).expect("done");
    daemon.saw(
        DO,
        cmd::HOST_SET,
        &[
            (abi::host::GROUP, &six.octets()),
            (abi::host::TTL, &[0]),
            (abi::host::FLOOD, &number(1)),
            (abi::host::DSCP, &[46]),
        ],
    );
    assert!(client.host().is_err());
    daemon.saw(DO, cmd::HOST_GET, &[]);

    client.peer_new(v6).expect("done");
    daemon.saw(DO, cmd::PEER_NEW, &[(abi::peer::ADDR, &six.octets())]);
    client.peer_del(v4).expect("done");
    daemon.saw(DO, cmd::PEER_DEL, &[(abi::peer::ADDR, &[192, 0, 2, 2])]);
    assert_eq!(client.peers().expect("done"), []);
    daemon.saw(DUMP, cmd::PEER_GET, &[]);

    let of_mac: [(u16, &[u8]); 2] = [(abi::varp::NET, net), (abi::varp::MAC, mac.as_bytes())];
    client.varp_new(id, mac, v6).expect("done");
    let octets = six.octets();
    daemon.saw(
        DO,
        cmd::VARP_NEW,
        &[of_mac[0], of_mac[1], (abi::varp::ADDR, &octets)],
    );
    assert!(client.varp(id, mac).is_err());
    daemon.saw(DO, cmd::VARP_GET, &of_mac);
    assert_eq!(client.varps(id).expect("done"), []);
    daemon.saw(DUMP, cmd::VARP_GET, &of_mac[..1]);
    client.varp_del(id, mac).expect("done");
    daemon.saw(DO, cmd::VARP_DEL, &of_mac);
    assert!(client.varp_flush(id).is_err());
    daemon.saw(DO, cmd::VARP_FLUSH, &of_mac[..1]);
    assert_eq!(client.vifs(id).expect("done"), []);
    daemon.saw(DUMP, cmd::VIF_GET, &[(abi::vif::NET, net)]);

    let of_host: [(u16, &[u8]); 2] = [(abi::remote::NET, net), (abi::remote::ADDR, &octets)];
    client.remote_new(id, v6).expect("done");
    daemon.saw(DO, cmd::REMOTE_NEW, &of_host);
    client.remote_del(id, v6).expect("done");
    daemon.saw(DO, cmd::REMOTE_DEL, &of_host);
    assert_eq!(client.remotes(id).expect("done"), []);
    daemon.saw(DUMP, cmd::REMOTE_GET, &of_host[..1]);

    let of_key: [(u16, &[u8]); 2] = [(abi::key::NET, net), (abi::key::INDEX, &number(7))];
    client.key_new(id, 7, None, &[9; 32]).expect("done");
    let key: (u16, &[u8]) = (abi::key::KEY, &[9; 32]);
    daemon.saw(DO, cmd::KEY_NEW, &[of_key[0], of_key[1], key]);
    client
        .key_new(id, 7, Some(KeySlot::Next), &[9; 32])
        .expect("done");
    let slot: (u16, &[u8]) = (abi::key::SLOT, &number(abi::key::SLOT_NEXT));
    daemon.saw(DO, cmd::KEY_NEW, &[of_key[0], of_key[1], slot, key]);
    client.key_del(id, 7).expect("done");
    daemon.saw(DO, cmd::KEY_DEL, &of_key);
    client.key_rotate(id, None).expect("done");
    daemon.saw(DO, cmd::KEY_ROTATE, &of_key[..1]);
    client.key_rotate(id, Some(7)).expect("done");
    daemon.saw(DO, cmd::KEY_ROTATE, &of_key);
    assert_eq!(client.keys(id).expect("done"), []);
    daemon.saw(DUMP, cmd::KEY_GET, &of_key[..1]);

    let probe = Probe {
        addr: Some(v4),
        size: Some(1472),
        ..Probe::new(id, mac)
    };
    client.probe(&probe).expect("done");
    daemon.saw(
        DO,
        cmd::PROBE,
        &[
            (abi::probe::NET, net),
            (abi::probe::MAC, mac.as_bytes()),
            (abi::probe::ADDR, &[192, 0, 2, 2]),
            (abi::probe::SIZE, &number(1472)),
        ],
    );
}

#[test]
fn a_refusal_names_the_attribute_at_fault() {
    let daemon = Daemon::start("refusal");
    let mut client = daemon.client();
    let change = NetChange {
        settings: SomeSettings::new().with(Setting::UnknownRate, 5),
        ..NetChange::default()
    };
    let id = REFUSED.parse().expect("an id");
    let Err(Error::Refused(refusal)) = client.net_set(id, &change) else {
        panic!("not refused");
    };
    assert_eq!(refusal.errno, Errno::EINVAL);
    assert_eq!(refusal.text.as_deref(), Some("Unknown attribute type"));
    assert_eq!(refusal.attribute, Some("unknown-rate"));
}
