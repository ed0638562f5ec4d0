// SPDX-License-Identifier: GPL-2.0-only

//! Requests about a namespace's settings and peers.

use core::net::{IpAddr, Ipv4Addr};

use kernel::prelude::*;
use vnet_core::abi;
use vnet_core::abi::{cmd, host, peer, HostCounter};

use super::{address_of, check_family, host_address, put_address, Req, VnetFamily};
use crate::device::Vnet;
use crate::namespace::{Flood, Namespace};
use crate::sys::genl::{Dump, Handler, Message, Part};
use crate::sys::netdev::OwnDevice;
use crate::sys::rtnl::Rtnl;
use crate::sys::{genl, netdev, rtnl, Refusal, Result};

/// Fills a message with the settings of a namespace.
fn fill_host(
    message: &mut Message<'_>,
    namespace: &Namespace,
    rtnl: &Rtnl,
    with_stats: bool,
) -> Result<(), Error> {
    let settings = namespace.settings(rtnl);
    let group = settings.group.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let nets = u32::try_from(namespace.nets(rtnl).len()).unwrap_or(u32::MAX);
    message.put_u16(host::PORT, settings.port)?;
    put_address(message, host::GROUP, group)?;
    message.put_u32(host::DEVICE, settings.device)?;
    message.put_u8(host::TTL, settings.ttl)?;
    message.put_u32(host::FLOOD, settings.flood.number())?;
    message.put_u8(host::DSCP, settings.dscp)?;
    message.put_u32(host::NETS, nets)?;
    if let Some(joined) = namespace.joined(rtnl) {
        message.put_u32(host::JOINED, joined)?;
    }
    message.put_text(host::VERSION, crate::VERSION.as_bytes())?;
    if !with_stats {
        return Ok(());
    }
    message.nest(host::STATS, |nest| {
        for counter in HostCounter::ALL {
            nest.put_u64(counter.attr(), namespace.counted(*counter))?;
        }
        Ok(())
    })
}

/// Tells of a namespace's settings.
pub(crate) fn notify_host(namespace: &Namespace, command: u8, rtnl: &Rtnl) {
    genl::notify::<VnetFamily>(namespace.net(), command, |message| {
        fill_host(message, namespace, rtnl, false)
    });
}

pub(super) struct HostSet;

impl Handler<VnetFamily> for HostSet {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let device_chosen = request.attr(host::DEVICE).is_some();
        let mut settings = namespace.settings(&rtnl).copy()?;
        if let Some(port) = request.u16(host::PORT) {
            settings.port = port;
        }
        if let Some(ttl) = request.u8(host::TTL) {
            settings.ttl = ttl;
        }
        if let Some(dscp) = request.u8(host::DSCP) {
            if dscp > abi::DSCP_MAX && dscp != abi::DSCP_INHERIT {
                if let Some(attr) = request.attr(host::DSCP) {
                    request.extack.blame(attr);
                }
                return Err(Refusal::new(
                    ERANGE,
                    c"a DSCP is 0 to 63, or 255 for that of the inner packet",
                ));
            }
            settings.dscp = dscp;
        }
        if let Some(number) = request.u32(host::FLOOD) {
            let Some(flood) = Flood::from_number(number) else {
                if let Some(attr) = request.attr(host::FLOOD) {
                    request.extack.blame(attr);
                }
                return Err(Refusal::new(
                    ERANGE,
                    c"floods go to the group (0) or to the peers (1)",
                ));
            };
            settings.flood = flood;
        }
        if let Some(attr) = request.attr(host::GROUP) {
            let group = address_of(request, host::GROUP)?;
            check_family(request, host::GROUP, group)?;
            settings.group = if group.is_unspecified() {
                None
            } else if group.is_multicast() {
                Some(group)
            } else {
                request.extack.blame(attr);
                return Err(Refusal::new(EINVAL, c"not a multicast address"));
            };
        }
        if let Some(device) = request.u32(host::DEVICE) {
            if device != 0 && netdev::by_index(namespace.net(), device, &rtnl).is_none() {
                return Err(Refusal::new(ENODEV, c"there is no such underlay device"));
            }
            let own = |net: &OwnDevice<Vnet>| net.index() == device && net.net() == namespace.net();
            if namespace.nets(&rtnl).iter().any(own) {
                return Err(Refusal::new(EINVAL, c"a vnet cannot be its own underlay"));
            }
            settings.device = device;
        }
        // The same again is no change, unless the group was lost meanwhile.
        let same = settings == *namespace.settings(&rtnl) && !namespace.lacks_group(&rtnl);
        if !same {
            namespace.configure(settings, &mut rtnl)?;
        }
        if device_chosen {
            namespace.choose_device(&mut rtnl);
        }
        if same {
            return Ok(());
        }
        notify_host(namespace, cmd::HOST_SET_NTF, &rtnl);
        Ok(())
    }
}

pub(super) struct HostGet;

impl Handler<VnetFamily> for HostGet {
    fn handle(request: &mut Req<'_>) -> Result {
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        request.reply(cmd::HOST_GET, |message| {
            fill_host(message, namespace, &rtnl, true)
        })?;
        Ok(())
    }
}

fn fill_peer(message: &mut Message<'_>, address: IpAddr) -> Result<(), Error> {
    put_address(message, peer::ADDR, address)
}

pub(super) struct PeerNew;

impl Handler<VnetFamily> for PeerNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = host_address(request, peer::ADDR)?;
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let mut settings = namespace.settings(&rtnl).copy()?;
        if settings.peers.contains(&address) {
            return Err(Refusal::new(EEXIST, c"the peer exists"));
        }
        if settings.peers.len() >= abi::MAX_PEERS {
            return Err(
                Refusal::new(ENOSPC, c"there are as many peers as there can be")
                    .with(abi::MAX_PEERS as u32),
            );
        }
        settings.peers.push(address, GFP_KERNEL)?;
        namespace.configure(settings, &mut rtnl)?;
        genl::notify::<VnetFamily>(namespace.net(), cmd::PEER_NEW_NTF, |message| {
            fill_peer(message, address)
        });
        Ok(())
    }
}

pub(super) struct PeerDel;

impl Handler<VnetFamily> for PeerDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = address_of(request, peer::ADDR)?;
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let mut settings = namespace.settings(&rtnl).copy()?;
        if !settings.peers.contains(&address) {
            return Err(Refusal::new(ENOENT, c"there is no such peer"));
        }
        settings.peers.retain(|other| *other != address);
        namespace.configure(settings, &mut rtnl)?;
        genl::notify::<VnetFamily>(namespace.net(), cmd::PEER_DEL_NTF, |message| {
            fill_peer(message, address)
        });
        Ok(())
    }
}

/// All peers. Goes on by position; a change meanwhile is shown to who asks.
pub(super) struct PeerDump {
    next: usize,
    count: Option<usize>,
}

impl Dump<VnetFamily> for PeerDump {
    fn start(_: &mut Req<'_>) -> Result<Self> {
        Ok(Self {
            next: 0,
            count: None,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        let rtnl = rtnl::lock();
        let peers = &Namespace::of(part.net())?.settings(&rtnl).peers;
        if self
            .count
            .replace(peers.len())
            .is_some_and(|count| count != peers.len())
        {
            part.interrupted();
        }
        for address in peers.iter().skip(self.next) {
            if !part.add(cmd::PEER_GET, |message| fill_peer(message, *address)) {
                break;
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }
}
