// SPDX-License-Identifier: GPL-2.0-only

//! Requests about addresses, remote and local, and what is told of them.

use core::net::IpAddr;
use core::ops::ControlFlow;

use kernel::prelude::*;
use vnet_core::abi::{cmd, key, probe, varp, vif};
use vnet_core::varp::PendingState;
use vnet_core::{Mac, Setting, Settings, VnetId};

use super::{host_address, host_mac, put_address, state_of, vnet_of, Req, VnetFamily};
use crate::device::Vnet;
use crate::fdb::{mac_of, Entry};
use crate::remote::Remote;
use crate::sys;
use crate::sys::genl::{Dump, Handler, Message, Part};
use crate::sys::rcu::Guard;
use crate::sys::rtnl::Rtnl;
use crate::sys::table::{ByMac, Walk};
use crate::sys::{genl, rcu, rtnl, Refusal, Result, SoftirqsOff};
use crate::varp::{Event, Unresolved};

fn fill_varp(
    message: &mut Message<'_>,
    id: &VnetId,
    mac: Mac,
    remote: Option<(IpAddr, bool, u32)>,
) -> Result<(), Error> {
    message.put(varp::NET, id.as_bytes())?;
    message.put(varp::MAC, mac.as_bytes())?;
    let Some((address, is_static, age)) = remote else {
        return Ok(());
    };
    put_address(message, varp::ADDR, address)?;
    if is_static {
        message.put_u32(varp::STATE, varp::STATE_STATIC)
    } else {
        message.put_u32(varp::STATE, varp::STATE_LEARNED)?;
        message.put_u32(varp::AGE, age)
    }
}

/// Fills in how often an address moved; `window` is the attribute of moves, `damped` that of the time it is damped.
fn fill_moves(
    message: &mut Message<'_>,
    entry: &Entry,
    settings: &Settings,
    (moves, damped): (u16, u16),
) -> Result<(), Error> {
    let (history, now) = (entry.moves(), sys::now());
    match history.count(now, settings) {
        0 => {}
        count => message.put_u32(moves, count)?,
    }
    match history.damped(now) {
        0 => Ok(()),
        left => message.put_u32(damped, left),
    }
}

/// Fills a message with an entry; nothing if it is here.
fn fill_entry(
    message: &mut Message<'_>,
    id: &VnetId,
    mac: Mac,
    entry: &Entry,
    settings: &Settings,
    guard: &Guard,
) -> Result<(), Error> {
    let address = entry.remote(guard).map(Remote::address);
    let known = address.map(|address| (address, entry.is_static(), entry.age()));
    fill_varp(message, id, mac, known)?;
    fill_moves(message, entry, settings, (varp::MOVES, varp::DAMPED))
}

/// Fills a message with an unknown address.
fn fill_unresolved(
    message: &mut Message<'_>,
    id: &VnetId,
    unresolved: &Unresolved,
) -> Result<(), Error> {
    message.put(varp::NET, id.as_bytes())?;
    message.put(varp::MAC, unresolved.mac.as_bytes())?;
    let state = match unresolved.state {
        PendingState::Probing(_) => varp::STATE_PROBING,
        PendingState::Absent => varp::STATE_ABSENT,
    };
    message.put_u32(varp::STATE, state)?;
    message.put_u32(varp::HELD, unresolved.frames.into())
}

/// Tells of what happened on the wire.
pub(crate) fn notify_event(vnet: &Vnet, event: &Event, _rtnl: &Rtnl) {
    let (command, net) = match event {
        Event::Damped { .. } => (cmd::VARP_DAMPED_NTF, vnet.namespace().net()),
        Event::Answer { .. } => (cmd::PROBE_NTF, vnet.namespace().net()),
        Event::KeyExpiring { .. } => (cmd::KEY_EXPIRING_NTF, vnet.namespace().net()),
    };
    genl::notify_to::<VnetFamily>(net, EVENTS, command, |message| match event {
        Event::Damped { mac, other } => {
            message.put(varp::NET, vnet.vnet_id().as_bytes())?;
            message.put(varp::MAC, mac.as_bytes())?;
            let guard = rcu::read_lock();
            if let Some(entry) = vnet.fdb().get(*mac, &guard) {
                if let Some(address) = entry.remote(&guard).map(Remote::address) {
                    put_address(message, varp::ADDR, address)?;
                }
                let settings = vnet.settings().now();
                fill_moves(message, entry, &settings, (varp::MOVES, varp::DAMPED))?;
            }
            match other {
                Some(other) => put_address(message, varp::OTHER, *other),
                None => Ok(()),
            }
        }
        Event::Answer { mac, host, care_of } => {
            message.put(probe::NET, vnet.vnet_id().as_bytes())?;
            message.put(probe::MAC, mac.as_bytes())?;
            put_address(message, probe::ADDR, *host)?;
            put_address(message, probe::CARE_OF, *care_of)
        }
        Event::KeyExpiring { index, counter } => {
            message.put(key::NET, vnet.vnet_id().as_bytes())?;
            message.put_u32(key::INDEX, u32::from(*index))?;
            message.put_u64(key::COUNTER, *counter)
        }
    });
}

/// Position of the group `events` among those that were registered.
const EVENTS: u32 = 1;

pub(super) struct VarpGet;

impl Handler<VnetFamily> for VarpGet {
    fn handle(request: &mut Req<'_>) -> Result {
        let mac = host_mac(request, varp::MAC)?;
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        let unresolved = vnet.varp().unresolved()?;
        let unresolved = unresolved.iter().find(|entry| entry.mac == mac);
        let id = vnet.vnet_id();
        let settings = vnet.settings().now();
        let mut found = true;
        request
            .reply(cmd::VARP_GET, |message| {
                let guard = rcu::read_lock();
                let entry = vnet.fdb().get(mac, &guard);
                match (
                    entry.filter(|entry| entry.remote(&guard).is_some()),
                    unresolved,
                ) {
                    (Some(entry), _) => fill_entry(message, id, mac, entry, &settings, &guard),
                    (None, Some(unresolved)) => fill_unresolved(message, id, unresolved),
                    (None, None) => {
                        found = false;
                        Err(ENOENT)
                    }
                }
            })
            .map_err(|error| {
                if found {
                    error.into()
                } else {
                    Refusal::new(ENOENT, c"the MAC is not known to be elsewhere")
                }
            })
    }
}

pub(super) struct VarpNew;

impl Handler<VnetFamily> for VarpNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = host_address(request, varp::ADDR)?;
        let mac = host_mac(request, varp::MAC)?;
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        match vnet.fdb().set_static(mac, address) {
            Ok(true) => {
                let _softirqs = SoftirqsOff::new();
                vnet.varp().resolved(vnet, mac, &rcu::read_lock());
            }
            // It is so already: no change to tell of.
            Ok(false) => return Ok(()),
            Err(error) if error == ENOSPC => {
                return Err(Refusal::new(error, c"the vnet has max-macs entries")
                    .with(vnet.settings().get(Setting::MaxMacs)));
            }
            Err(error) => return Err(error.into()),
        }
        genl::notify::<VnetFamily>(namespace.net(), cmd::VARP_NEW_NTF, |message| {
            fill_varp(message, vnet.vnet_id(), mac, Some((address, true, 0)))
        });
        Ok(())
    }
}

pub(super) struct VarpDel;

impl Handler<VnetFamily> for VarpDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let mac = host_mac(request, varp::MAC)?;
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if !vnet.fdb().remove(mac) {
            return Err(Refusal::new(
                ENOENT,
                c"the MAC is not known to be elsewhere",
            ));
        }
        genl::notify::<VnetFamily>(namespace.net(), cmd::VARP_DEL_NTF, |message| {
            fill_varp(message, vnet.vnet_id(), mac, None)
        });
        Ok(())
    }
}

pub(super) struct VarpFlush;

impl Handler<VnetFamily> for VarpFlush {
    fn handle(request: &mut Req<'_>) -> Result {
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        let count = vnet.fdb().flush()?;
        let fill = |message: &mut Message<'_>| {
            message.put(varp::NET, vnet.vnet_id().as_bytes())?;
            message.put_u32(varp::COUNT, count)
        };
        if count > 0 {
            genl::notify::<VnetFamily>(namespace.net(), cmd::VARP_FLUSH_NTF, fill);
        }
        // What is flushed is flushed, whether who asked can take the answer or not.
        let _ = request.reply(cmd::VARP_FLUSH, fill);
        Ok(())
    }
}

/// Entries that a dump looks at before it lets others run.
const DUMP_BATCH: usize = 4096;

/// The entries of a vnet. The walk keeps the table, not the vnet: a dump that nobody reads does not keep a device.
struct Entries {
    id: VnetId,
    settings: Settings,
    walk: Walk<ByMac, Entry>,
}

impl Entries {
    fn start(request: &mut Req<'_>, attr: u16) -> Result<Self> {
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, attr, &rtnl)?;
        let vnet = state_of(&device)?;
        Ok(Self {
            id: *vnet.vnet_id(),
            settings: vnet.settings().now(),
            walk: vnet.fdb().walk()?,
        })
    }
}

impl Entries {
    /// Adds messages for entries until the part is full or there are no more: true. `add` is false if the part is full.
    fn fill(
        &mut self,
        part: &mut Part<'_, VnetFamily>,
        mut add: impl FnMut(&mut Part<'_, VnetFamily>, &VnetId, &Settings, Mac, &Entry, &Guard) -> bool,
    ) -> bool {
        let Self { id, settings, walk } = self;
        let mut full = false;
        loop {
            let mut budget = DUMP_BATCH;
            let walked = walk.visit(|item, guard| {
                if budget == 0 {
                    return ControlFlow::Break(());
                }
                budget -= 1;
                full = !item.value().is_gone()
                    && !add(part, id, settings, mac_of(item), item.value(), guard);
                if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if walked.resized {
                part.interrupted();
            }
            if walked.done || full {
                return walked.done;
            }
            sys::work::yield_cpu();
        }
    }
}

/// The entries of a vnet, and then the addresses that are unknown, as they were when it began.
pub(super) struct VarpDump {
    entries: Entries,
    done: bool,
    unresolved: KVec<Unresolved>,
    next: usize,
}

impl Dump<VnetFamily> for VarpDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        let entries = Entries::start(request, varp::NET)?;
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, varp::NET, &rtnl)?;
        Ok(Self {
            entries,
            done: false,
            unresolved: state_of(&device)?.varp().unresolved()?,
            next: 0,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        if !self.done {
            self.done = self
                .entries
                .fill(part, |part, id, settings, mac, entry, guard| {
                    if entry.remote(guard).is_none() {
                        return true;
                    }
                    part.add(cmd::VARP_GET, |message| {
                        fill_entry(message, id, mac, entry, settings, guard)
                    })
                });
        }
        if self.done {
            for unresolved in self.unresolved.iter().skip(self.next) {
                let id = &self.entries.id;
                if !part.add(cmd::VARP_GET, |message| {
                    fill_unresolved(message, id, unresolved)
                }) {
                    break;
                }
                self.next = self.next.saturating_add(1);
            }
        }
        Ok(())
    }
}

pub(super) struct VifDump(Entries);

impl Dump<VnetFamily> for VifDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        Ok(Self(Entries::start(request, vif::NET)?))
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        self.0.fill(part, |part, id, settings, mac, entry, guard| {
            if entry.remote(guard).is_some() || entry.is_gone() {
                return true;
            }
            part.add(cmd::VIF_GET, |message| {
                message.put(vif::NET, id.as_bytes())?;
                message.put(vif::MAC, mac.as_bytes())?;
                message.put_u32(vif::AGE, entry.age())?;
                fill_moves(message, entry, settings, (vif::MOVES, vif::DAMPED))
            })
        });
        Ok(())
    }
}
