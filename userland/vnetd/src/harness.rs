// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! For tests: a worker without a thread, whose hosts are addresses of the loopback device. What it sends is there as soon as
//! it is sent.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;

use vnet_core::abi::NetCounter;
use vnet_core::wire::VarpMessage;
use vnet_core::{Mac, Settings, VnetId};

use crate::offload::VnetHeader;
use crate::rx::Origin;
use crate::shared::{Net, Shared, Underlay, World};
use crate::tap::Tap;
use crate::udp::Sockets;
use crate::vnet::Vnet;
use crate::worker::Worker;

/// The two peers, and the addresses by which they know us.
pub(crate) const PEERS: [IpAddr; 2] = [local(2), local(3)];
pub(crate) const OURS: [IpAddr; 2] = [local(4), local(5)];
/// Hosts of which messages came; nothing can be sent there.
pub(crate) const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

const fn local(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

pub(crate) fn id() -> VnetId {
    VnetId::from_bytes([5; 16])
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, last])
}

/// A frame from one machine to another.
pub(crate) fn frame(to: Mac, from: Mac) -> Vec<u8> {
    let mut bytes = to.as_bytes().to_vec();
    bytes.extend(from.as_bytes());
    bytes.extend([0x88, 0xb5]);
    bytes.resize(60, 0);
    bytes
}

/// As a message that came to this host alone has it.
pub(crate) fn from(source: IpAddr) -> Origin {
    Origin {
        source,
        ours: Some(OURS[0]),
        tos: 0,
        unicast: true,
    }
}

/// The worker and what it works on.
pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) underlay: Underlay,
    pub(crate) settings: Settings,
    vnet: Arc<Vnet>,
    peers: Vec<UdpSocket>,
}

impl Bench {
    /// One vnet, without entries and without a group.
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared::new(1).expect("made"));
        let first = UdpSocket::bind((PEERS[0], 0)).expect("a port");
        let port = first.local_addr().expect("an address").port();
        let second = UdpSocket::bind((PEERS[1], port)).expect("the same port");
        let peers = vec![first, second];
        for peer in &peers {
            peer.set_nonblocking(true).expect("set");
        }
        let underlay = Underlay {
            sockets: Arc::new(Sockets::unbound()),
            flows: None,
            port,
            device: 0,
            ttl: Some(64),
            dscp: Some(0),
            group: None,
            joined: 0,
            flood_peers: true,
            peers: PEERS.to_vec(),
            own: Arc::default(),
            sources: HashMap::from([(PEERS[0], OURS[0]), (PEERS[1], OURS[1])]),
        };
        Self {
            worker: Worker::new(0, shared).expect("made"),
            underlay,
            settings: Settings::default(),
            vnet: Arc::new(Vnet::new(id(), 1, Tap::none())),
            peers,
        }
    }

    /// With another device.
    pub(crate) fn with_tap(tap: Tap) -> Self {
        Self {
            vnet: Arc::new(Vnet::new(id(), 1, tap)),
            ..Self::new()
        }
    }

    /// Has the worker do something with the underlay and the vnet as they are now, and sends what it has posted.
    pub(crate) fn work<T>(
        &mut self,
        work: impl FnOnce(&mut Worker, &World, &Underlay, &Arc<Net>) -> T,
    ) -> T {
        let underlay = Arc::new(Underlay {
            sockets: self.underlay.sockets.clone(),
            flows: None,
            peers: self.underlay.peers.clone(),
            own: self.underlay.own.clone(),
            sources: self.underlay.sources.clone(),
            ..self.underlay
        });
        let net = Arc::new(Net {
            vnet: self.vnet.clone(),
            settings: self.settings,
            up: true,
            address: mac(99),
            fragment: false,
            listed: None,
            sealed: None,
        });
        let world = World {
            underlay: Some(underlay.clone()),
            nets: HashMap::from([(id(), net.clone())]),
            tags: HashMap::new(),
        };
        let done = work(&mut self.worker, &world, &underlay, &net);
        self.worker.dispatch(&underlay);
        done
    }

    /// A frame comes from the device.
    pub(crate) fn transmit(&mut self, mut frame: Vec<u8>) {
        self.work(|worker, world, _, net| {
            worker.transmit(world, net, &VnetHeader::default(), &mut frame);
        });
    }

    /// A VARP message comes.
    pub(crate) fn varp(&mut self, message: &VarpMessage, origin: &Origin) {
        self.work(|worker, world, underlay, net| {
            worker.varp(world, underlay, net, message, origin);
        });
    }

    pub(crate) fn vnet(&self) -> &Vnet {
        &self.vnet
    }

    pub(crate) fn counted(&self, counter: NetCounter) -> u64 {
        self.vnet.counted(counter)
    }

    /// What has come to the peers since the last time: to which, from where, what.
    pub(crate) fn heard(&self) -> Vec<(IpAddr, IpAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let mut bytes = [0; 2048];
        for (peer, address) in self.peers.iter().zip(PEERS) {
            while let Ok((length, source)) = peer.recv_from(&mut bytes) {
                all.push((address, source.ip(), bytes[..length].to_vec()));
            }
        }
        all
    }
}
