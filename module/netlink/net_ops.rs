// SPDX-License-Identifier: GPL-2.0-only

//! Requests about vnets.

use kernel::prelude::*;
use vnet_core::abi::{cmd, net, net_stats, NetCounter};
use vnet_core::{abi, Setting, VnetId};

use super::{in_range, settings_of, state_of, vnet_of, Req, VnetFamily};
use crate::device;
use crate::device::{Config, Vnet};
use crate::namespace::Namespace;
use crate::sys::genl::{Dump, Handler, Message, Part};
use crate::sys::netdev::OwnDevice;
use crate::sys::rtnl::Rtnl;
use crate::sys::{genl, netdev, rtnl, Refusal, Result};

/// Fills a message with a vnet.
fn fill_net(
    message: &mut Message<'_>,
    vnet: &Vnet,
    rtnl: &Rtnl,
    with_stats: bool,
) -> Result<(), Error> {
    let device = vnet.device();
    let (macs, vifs) = vnet.fdb().counts();
    message.put(net::ID, vnet.vnet_id().as_bytes())?;
    message.put_text(net::IFNAME, &device.name(rtnl))?;
    message.put_u32(net::IFINDEX, device.index())?;
    message.put_u32(net::MTU, device.mtu())?;
    for setting in Setting::ALL {
        message.put_u32(setting.attr(), vnet.settings().get(*setting))?;
    }
    message.put_u32(net::MACS, macs)?;
    message.put_u32(net::VIFS, vifs)?;
    message.put_u32(net::SENDERS, vnet.seal().senders(rtnl) as u32)?;
    let (held, unresolved) = vnet.varp().counts();
    message.put_u32(net::HELD, held)?;
    message.put_u32(net::UNRESOLVED, unresolved)?;
    let (home, now) = (vnet.namespace().net(), device.net());
    if home != now {
        let id = home.id_of(now);
        message.put(net::NETNSID, &id.to_ne_bytes())?;
    }
    if let Some(mtu) = vnet
        .namespace()
        .underlay_mtu(vnet.settings().now().sealed().is_some(), rtnl)
    {
        message.put_u32(net::UNDERLAY_MTU, mtu)?;
    }
    if !with_stats {
        return Ok(());
    }
    message.nest(net::STATS, |nest| {
        let kinds = [
            net_stats::RX_PACKETS,
            net_stats::RX_BYTES,
            net_stats::TX_PACKETS,
            net_stats::TX_BYTES,
        ];
        for (kind, value) in kinds.into_iter().zip(device.traffic()) {
            nest.put_u64(kind, value)?;
        }
        for counter in NetCounter::ALL {
            nest.put_u64(counter.attr(), vnet.counted(*counter))?;
        }
        Ok(())
    })
}

/// Tells of a vnet.
pub(crate) fn notify_net(vnet: &Vnet, command: u8, rtnl: &Rtnl) {
    genl::notify::<VnetFamily>(vnet.namespace().net(), command, |message| {
        fill_net(message, vnet, rtnl, false)
    });
}

pub(super) struct NetNew;

impl Handler<VnetFamily> for NetNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let id = VnetId::from_bytes(request.required_bytes(net::ID)?);
        let mut config = Config::new(id);
        config.mtu = in_range(request, net::MTU, abi::MTU_RANGE)?;
        settings_of(request, &mut config.settings)?;
        let name = match request.attr(net::IFNAME) {
            Some(attr) => Some(name_of(attr.text())?),
            None => None,
        };
        let device = device::create(namespace, &config, name, &mut rtnl)?;
        let vnet = state_of(&device)?;
        // The vnet is made, whether who asked can take the answer or not.
        let _ = request.reply(cmd::NET_NEW, |message| fill_net(message, vnet, &rtnl, true));
        Ok(())
    }
}

/// A name with its padding.
fn name_of(text: &[u8]) -> Result<[u8; 16]> {
    let mut name = [0; 16];
    if text.is_empty() || text.len() > 15 {
        return Err(Refusal::new(EINVAL, c"a device's name has 1 to 15 bytes"));
    }
    for (to, from) in name.iter_mut().zip(text) {
        *to = *from;
    }
    Ok(name)
}

pub(super) struct NetSet;

impl Handler<VnetFamily> for NetSet {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, net::ID, &rtnl)?;
        let mtu = in_range(request, net::MTU, abi::MTU_RANGE)?;
        let vnet = state_of(&device)?;
        let old = vnet.settings().now();
        let mut settings = old;
        let any = settings_of(request, &mut settings)?;
        if mtu.is_none() && !any {
            return Err(Refusal::new(EINVAL, c"nothing to change"));
        }
        // Who did not choose an MTU need not know that sealed frames are longer.
        let (was, is) = (old.sealed().is_some(), settings.sealed().is_some());
        let follows = was != is && device.mtu() == namespace.default_mtu(was, &rtnl);
        let mtu = mtu.or_else(|| follows.then(|| namespace.default_mtu(is, &rtnl)));
        let mtu = mtu.filter(|mtu| *mtu != device.mtu());
        if mtu.is_none() && settings == old {
            // It is so already: no change to tell of.
            return Ok(());
        }
        vnet.change(&mut rtnl, |vnet, rtnl| {
            let before = device.mtu();
            if let Some(mtu) = mtu {
                device.change_mtu(mtu, rtnl)?;
            }
            let configured = vnet.configure(&settings, rtnl);
            if configured.is_err() && mtu.is_some() {
                // All or nothing. It was that before, so that it can be.
                let _ = device.change_mtu(before, rtnl);
            }
            configured
        })
    }
}

pub(super) struct NetGet;

impl Handler<VnetFamily> for NetGet {
    fn handle(request: &mut Req<'_>) -> Result {
        let rtnl = rtnl::lock();
        let device = match (request.attr(net::ID), request.attr(net::IFNAME)) {
            (Some(_), None) => vnet_of(request, net::ID, &rtnl)?.1,
            (None, Some(name)) => {
                let namespace = Namespace::of(request.net())?;
                let named = |device: &&OwnDevice<Vnet>| {
                    device.name(&rtnl).split(|byte| *byte == 0).next() == Some(name.text())
                };
                let found = namespace.nets(&rtnl).iter().find(named).copied();
                found.ok_or(Refusal::new(ENOENT, c"no vnet has a device of this name"))?
            }
            _ => {
                request.extack.missing(net::ID);
                return Err(Refusal::new(EINVAL, c"either an id or a name is needed"));
            }
        };
        let vnet = state_of(&device)?;
        request.reply(cmd::NET_GET, |message| fill_net(message, vnet, &rtnl, true))?;
        Ok(())
    }
}

/// All vnets of a namespace. Goes on after the last one that was sent, whatever became of it.
pub(super) struct NetDump {
    last: u64,
}

impl Dump<VnetFamily> for NetDump {
    fn start(_: &mut Req<'_>) -> Result<Self> {
        Ok(Self { last: 0 })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(part.net())?;
        let nets = namespace.nets(&rtnl);
        let serial = |device: &OwnDevice<Vnet>| device.state().map_or(0, Vnet::serial);
        let start = nets.partition_point(|device| serial(device) <= self.last);
        for device in nets.get(start..).unwrap_or_default() {
            let Some(vnet) = device.state() else { continue };
            if !part.add(cmd::NET_GET, |message| fill_net(message, vnet, &rtnl, true)) {
                break;
            }
            self.last = vnet.serial();
        }
        Ok(())
    }
}

pub(super) struct NetDel;

impl Handler<VnetFamily> for NetDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, net::ID, &rtnl)?;
        netdev::unregister(device, &mut rtnl);
        Ok(())
    }
}
