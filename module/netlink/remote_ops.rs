// SPDX-License-Identifier: GPL-2.0-only

//! Requests about the hosts of a vnet, and questions to them.

use core::net::IpAddr;

use kernel::prelude::*;
use vnet_core::abi::{cmd, probe, remote, NetCounter};
use vnet_core::wire::VarpOpcode;
use vnet_core::{abi, Mac, VnetId};

use super::{address_of, host_address, in_range, put_address, state_of, vnet_of, Req, VnetFamily};
use crate::device::Vnet;
use crate::namespace::Namespace;
use crate::sys::genl::{Dump, Handler, Message, Part};
use crate::sys::{errno, genl, rcu, rtnl, Refusal, Result, SoftirqsOff};
use crate::tx::Sender;

/// Fills a message with a host of a vnet.
fn fill_remote(
    message: &mut Message<'_>,
    id: &VnetId,
    address: IpAddr,
    listed: bool,
    macs: u32,
) -> Result<(), Error> {
    message.put(remote::NET, id.as_bytes())?;
    put_address(message, remote::ADDR, address)?;
    message.put_u8(remote::LISTED, listed.into())?;
    message.put_u32(remote::MACS, macs)
}

fn notify_remote(vnet: &Vnet, command: u8, address: IpAddr, listed: bool) {
    genl::notify::<VnetFamily>(vnet.namespace().net(), command, |message| {
        let macs = vnet.fdb().macs_of(address);
        fill_remote(message, vnet.vnet_id(), address, listed, macs)
    });
}

pub(super) struct RemoteNew;

impl Handler<VnetFamily> for RemoteNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = host_address(request, remote::ADDR)?;
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, remote::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if !vnet.listed().add(address, &mut rtnl)? {
            return Err(Refusal::new(EEXIST, c"the host is listed"));
        }
        notify_remote(vnet, cmd::REMOTE_NEW_NTF, address, true);
        Ok(())
    }
}

pub(super) struct RemoteDel;

impl Handler<VnetFamily> for RemoteDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = address_of(request, remote::ADDR)?;
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, remote::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if !vnet.unlist(address, &mut rtnl)? {
            return Err(Refusal::new(ENOENT, c"the host is not listed"));
        }
        notify_remote(vnet, cmd::REMOTE_DEL_NTF, address, false);
        Ok(())
    }
}

/// Hosts that one part of a dump looks at.
const REMOTE_BATCH: usize = 128;

/// The hosts of a vnet in order: those listed, and those behind which MAC addresses are.
pub(super) struct RemoteDump {
    id: VnetId,
    last: Option<IpAddr>,
}

impl Dump<VnetFamily> for RemoteDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, remote::NET, &rtnl)?;
        Ok(Self {
            id: *state_of(&device)?.vnet_id(),
            last: None,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(part.net())?;
        let Some(device) = namespace.by_id(&self.id, &rtnl) else {
            part.interrupted();
            return Ok(());
        };
        let vnet = state_of(&device)?;
        let listed = vnet.listed().copy(0, &rtnl)?;
        let start = listed.partition_point(|host| self.last.is_some_and(|last| *host <= last));
        let mut named = listed.iter().copied().skip(start).peekable();
        let mut hosts = KVec::with_capacity(REMOTE_BATCH, GFP_KERNEL)?;
        let mut next = 0_usize;
        loop {
            if next >= hosts.len() {
                hosts.clear();
                next = 0;
                vnet.fdb().hosts(self.last, &mut hosts);
            }
            // Both are in order: what comes first in either is next.
            let (address, macs, listed) = match (hosts.get(next).copied(), named.peek().copied()) {
                (Some((host, macs)), named) if named.is_none_or(|named| host <= named) => {
                    (host, macs, named == Some(host))
                }
                (_, Some(named)) => (named, 0, true),
                (_, None) => return Ok(()),
            };
            let id = &self.id;
            if !part.add(cmd::REMOTE_GET, |message| {
                fill_remote(message, id, address, listed, macs)
            }) {
                return Ok(());
            }
            self.last = Some(address);
            named.next_if_eq(&address);
            if hosts.get(next).is_some_and(|(host, _)| *host == address) {
                next = next.saturating_add(1);
            }
        }
    }
}

pub(super) struct Probe;

impl Handler<VnetFamily> for Probe {
    fn handle(request: &mut Req<'_>) -> Result {
        let mac = Mac::from_bytes(request.required_bytes(probe::MAC)?);
        if mac.is_group() {
            if let Some(attr) = request.attr(probe::MAC) {
                request.extack.blame(attr);
            }
            return Err(Refusal::new(EINVAL, c"a group is nowhere"));
        }
        let size = in_range(request, probe::SIZE, abi::PROBE_SIZE_RANGE)?;
        let target = match request.attr(probe::ADDR) {
            Some(_) => Some(host_address(request, probe::ADDR)?),
            None if size.is_some() => {
                request.extack.missing(probe::ADDR);
                return Err(Refusal::new(EINVAL, c"a size is for one host only"));
            }
            None => None,
        };
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, probe::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        vnet.varp().watch();
        let _softirqs = SoftirqsOff::new();
        let guard = rcu::read_lock();
        let Some(underlay) = namespace.underlay(&guard) else {
            return Err(ENODEV.into());
        };
        let sender = Sender::for_message(vnet, &device, underlay, &guard);
        match target {
            None => {
                sender.tell_all(VarpOpcode::Request, mac);
                Ok(())
            }
            Some(target) => {
                let size = size.unwrap_or(0) as usize;
                sender
                    .tell(VarpOpcode::Request, mac, target, size)
                    .map_err(|reason| match reason {
                        NetCounter::TxNoRoute => Refusal::new(
                            errno::network_unreachable(),
                            c"the underlay has no route to the host",
                        ),
                        _ => ENOMEM.into(),
                    })
            }
        }
    }
}
