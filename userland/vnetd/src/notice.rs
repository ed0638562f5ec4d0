// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What answers and notifications say of things.

use std::net::{IpAddr, Ipv4Addr};

use vnet_core::abi::{
    HostCounter, NetCounter, cmd, host, key, net, net_stats, peer, probe, remote, varp, vif,
};
use vnet_core::{Mac, Setting, VnetId};

use crate::host::Host;
use crate::message::Answer;
use crate::sealed::Listed;
use crate::shared::Event;
use crate::table::Shown;
use crate::vnet::Vnet;

/// Numbers of the multicast groups.
pub(crate) const CONFIG: u32 = 1;
pub(crate) const EVENTS: u32 = 2;

/// Something to tell who has joined a group.
pub(crate) struct Notice {
    /// The group.
    pub(crate) group: u32,
    /// The command.
    pub(crate) command: u8,
    /// What is said.
    pub(crate) answer: Answer,
}

impl Notice {
    fn config(command: u8, answer: Answer) -> Self {
        Self {
            group: CONFIG,
            command,
            answer,
        }
    }

    /// Of a vnet; none if it is not there.
    pub(crate) fn net(host: &mut Host, id: &VnetId, command: u8) -> Option<Self> {
        Some(Self::config(command, fill_net(host, id, false)?))
    }

    /// Of the host's settings.
    pub(crate) fn host(host: &Host) -> Self {
        Self::config(cmd::HOST_SET_NTF, fill_host(host, false))
    }

    /// Of a peer.
    pub(crate) fn peer(command: u8, address: IpAddr) -> Self {
        Self::config(command, fill_peer(address))
    }

    /// Of an entry.
    pub(crate) fn varp(command: u8, id: &VnetId, mac: Mac, host: Option<IpAddr>) -> Self {
        let mut answer = Answer::new();
        answer.put(varp::NET, id.as_bytes());
        answer.put(varp::MAC, mac.as_bytes());
        if let Some(host) = host {
            answer.address(varp::ADDR, host);
            answer.u32(varp::STATE, varp::STATE_STATIC);
        }
        Self::config(command, answer)
    }

    /// Of a listed host.
    pub(crate) fn remote(command: u8, id: &VnetId, of: (IpAddr, bool, u32)) -> Self {
        Self::config(command, fill_remote(id, of))
    }

    /// Of entries that were flushed.
    pub(crate) fn flush(id: &VnetId, count: u32) -> Self {
        Self::config(cmd::VARP_FLUSH_NTF, fill_flush(id, count))
    }

    /// Of a key; of one that was taken away, what it was.
    pub(crate) fn key(command: u8, id: &VnetId, listed: &Listed) -> Self {
        Self::config(command, fill_key(id, listed))
    }

    /// Of what a worker has seen.
    pub(crate) fn event(event: &Event) -> Self {
        let mut answer = Answer::new();
        let command = match event {
            Event::Damped {
                id,
                mac,
                stays,
                other,
                moves,
                damped,
            } => {
                answer.put(varp::NET, id.as_bytes());
                answer.put(varp::MAC, mac.as_bytes());
                if let Some(stays) = stays {
                    answer.address(varp::ADDR, *stays);
                }
                if let Some(other) = other {
                    answer.address(varp::OTHER, *other);
                }
                answer.u32(varp::MOVES, *moves);
                answer.u32(varp::DAMPED, *damped);
                cmd::VARP_DAMPED_NTF
            }
            Event::Answer {
                id,
                mac,
                from,
                care_of,
            } => {
                answer.put(probe::NET, id.as_bytes());
                answer.put(probe::MAC, mac.as_bytes());
                answer.address(probe::ADDR, *from);
                answer.address(probe::CARE_OF, *care_of);
                cmd::PROBE_NTF
            }
            Event::KeyExpiring { id, index, counter } => {
                answer.put(key::NET, id.as_bytes());
                answer.u32(key::INDEX, u32::from(*index));
                answer.u64(key::COUNTER, *counter);
                cmd::KEY_EXPIRING_NTF
            }
        };
        Self {
            group: EVENTS,
            command,
            answer,
        }
    }
}

/// A vnet; none if it is not there.
pub(crate) fn fill_net(host: &mut Host, id: &VnetId, with_stats: bool) -> Option<Answer> {
    let namespace = host.namespace_of(id);
    let underlay_mtu = host.underlay_mtu();
    let found = host.net(id)?;
    let vnet = &found.vnet;
    let (macs, vifs) = vnet.table.counts();
    let (held, unresolved) = vnet
        .resolving(|resolver| (resolver.held(), resolver.pending().len()))
        .unwrap_or_default();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut answer = Answer::new();
    answer.put(net::ID, id.as_bytes());
    answer.text(net::IFNAME, &found.name);
    answer.u32(net::IFINDEX, found.index);
    answer.u32(net::MTU, found.mtu);
    for setting in Setting::ALL {
        answer.u32(setting.attr(), found.settings.get(*setting));
    }
    answer.u32(net::MACS, macs);
    answer.u32(net::VIFS, vifs);
    answer.u32(net::HELD, number(held));
    answer.u32(net::UNRESOLVED, number(unresolved));
    answer.u32(net::SENDERS, number(found.seal.senders()));
    if let Some(namespace) = namespace {
        answer.put(net::NETNSID, &namespace.to_ne_bytes());
    }
    if let Some(mtu) = underlay_mtu {
        answer.u32(net::UNDERLAY_MTU, mtu.of(found.is_sealed()));
    }
    if with_stats {
        answer.nest(net::STATS, &stats(vnet));
    }
    Some(answer)
}

fn stats(vnet: &Vnet) -> Answer {
    use std::sync::atomic::Ordering::Relaxed;
    let traffic = &vnet.traffic;
    let mut nest = Answer::new();
    nest.u64(net_stats::RX_PACKETS, traffic.rx_packets.load(Relaxed));
    nest.u64(net_stats::RX_BYTES, traffic.rx_bytes.load(Relaxed));
    nest.u64(net_stats::TX_PACKETS, traffic.tx_packets.load(Relaxed));
    nest.u64(net_stats::TX_BYTES, traffic.tx_bytes.load(Relaxed));
    for counter in NetCounter::ALL {
        nest.u64(counter.attr(), vnet.counted(*counter));
    }
    nest
}

/// The host's settings.
pub(crate) fn fill_host(of: &Host, with_stats: bool) -> Answer {
    let settings = &of.settings;
    let mut answer = Answer::new();
    answer.u16(host::PORT, settings.port);
    let none = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    answer.address(host::GROUP, settings.group.unwrap_or(none));
    answer.u32(host::DEVICE, settings.device);
    answer.u8(host::TTL, settings.ttl);
    answer.u32(host::FLOOD, settings.flood);
    answer.u8(host::DSCP, settings.dscp);
    answer.u32(host::NETS, u32::try_from(of.nets.len()).unwrap_or(u32::MAX));
    if let Some(joined) = of.joined() {
        answer.u32(host::JOINED, joined);
    }
    answer.text(host::VERSION, env!("CARGO_PKG_VERSION"));
    if with_stats {
        let mut nest = Answer::new();
        for counter in HostCounter::ALL {
            nest.u64(counter.attr(), of.shared.counted(*counter));
        }
        answer.nest(host::STATS, &nest);
    }
    answer
}

/// A peer.
pub(crate) fn fill_peer(address: IpAddr) -> Answer {
    let mut answer = Answer::new();
    answer.address(peer::ADDR, address);
    answer
}

/// A remote MAC.
pub(crate) fn fill_varp(id: &VnetId, shown: &Shown) -> Answer {
    let mut answer = Answer::new();
    answer.put(varp::NET, id.as_bytes());
    answer.put(varp::MAC, shown.mac.as_bytes());
    if let Some(host) = shown.host {
        answer.address(varp::ADDR, host);
    }
    if shown.is_static {
        answer.u32(varp::STATE, varp::STATE_STATIC);
    } else {
        answer.u32(varp::STATE, varp::STATE_LEARNED);
        answer.u32(varp::AGE, shown.age);
        answer.u32(varp::MOVES, shown.moves);
        if shown.damped > 0 {
            answer.u32(varp::DAMPED, shown.damped);
        }
    }
    answer
}

/// A MAC of which it is not known where it is.
pub(crate) fn fill_pending(id: &VnetId, pending: &vnet_core::varp::Pending) -> Answer {
    let mut answer = Answer::new();
    answer.put(varp::NET, id.as_bytes());
    answer.put(varp::MAC, pending.mac().as_bytes());
    let state = match pending.state() {
        vnet_core::varp::PendingState::Probing(_) => varp::STATE_PROBING,
        vnet_core::varp::PendingState::Absent => varp::STATE_ABSENT,
    };
    answer.u32(varp::STATE, state);
    answer.u32(varp::HELD, u32::from(pending.frames()));
    answer
}

/// A local MAC.
pub(crate) fn fill_vif(id: &VnetId, shown: &Shown) -> Answer {
    let mut answer = Answer::new();
    answer.put(vif::NET, id.as_bytes());
    answer.put(vif::MAC, shown.mac.as_bytes());
    answer.u32(vif::AGE, shown.age);
    answer.u32(vif::MOVES, shown.moves);
    if shown.damped > 0 {
        answer.u32(vif::DAMPED, shown.damped);
    }
    answer
}

/// A host, as far as a vnet goes.
pub(crate) fn fill_remote(id: &VnetId, (address, listed, macs): (IpAddr, bool, u32)) -> Answer {
    let mut answer = Answer::new();
    answer.put(remote::NET, id.as_bytes());
    answer.address(remote::ADDR, address);
    answer.u8(remote::LISTED, u8::from(listed));
    answer.u32(remote::MACS, macs);
    answer
}

/// A key, without itself.
pub(crate) fn fill_key(id: &VnetId, listed: &Listed) -> Answer {
    let mut answer = Answer::new();
    answer.put(key::NET, id.as_bytes());
    answer.u32(key::INDEX, u32::from(listed.index));
    answer.u32(key::SLOT, listed.slot as u32);
    answer.u64(key::AGE, listed.age);
    if let Some(counter) = listed.counter {
        answer.u64(key::COUNTER, counter);
    }
    answer
}

/// How many entries were flushed.
pub(crate) fn fill_flush(id: &VnetId, count: u32) -> Answer {
    let mut answer = Answer::new();
    answer.put(varp::NET, id.as_bytes());
    answer.u32(varp::COUNT, count);
    answer
}
