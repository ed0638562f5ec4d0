// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the kernel tells: devices, addresses, routes, bridges.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use vnet_core::abi::cmd;
use vnet_core::{Instant, VnetId};

use crate::host::{Host, Local};
use crate::log;
use crate::rtnl::{Change, Link};
use crate::shared::Job;

/// Milliseconds from one look at everything to the next.
const RESYNC: u64 = 1000;

impl Host {
    /// Takes in what has changed in the kernel.
    pub(crate) fn changed(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Link(link) => self.link_changed(link),
                Change::Gone(index) => self.link_gone(index),
                Change::Addresses => {
                    match self.rtnl.addresses() {
                        Ok(own) => self.own = Arc::new(own),
                        Err(error) => log(&format!("cannot list the host's addresses: {error}")),
                    }
                    if self.sockets.is_some() {
                        self.find_sources();
                        self.publish();
                    }
                    self.try_join();
                }
                // There may be many: looked at together.
                Change::Routes => self.look_again(),
                Change::Learned(bridge, port, mac) => {
                    let of_bridge = |net: &&Local| net.master == bridge && net.index != port;
                    for net in self.nets.iter().filter(of_bridge) {
                        self.give(Job::Bridged(net.vnet.id, mac));
                    }
                }
                Change::Forgotten(bridge, mac) => {
                    for net in self.nets.iter().filter(|net| net.master == bridge) {
                        if net.vnet.table.is_here(mac) {
                            self.give(Job::Gone(net.vnet.id, mac));
                        }
                    }
                }
                Change::Lost => self.lost = true,
            }
        }
        self.resync_if_due();
    }

    /// Looks at everything anew if changes were lost, but not all the time while they are.
    pub(crate) fn resync_if_due(&mut self) {
        let now = self.shared.clock.now();
        if self.next_resync().is_some_and(|due| due <= now) {
            self.lost = false;
            self.resynced = Some(now);
            self.resync();
        }
    }

    /// When everything is to be looked at anew, if it is.
    pub(crate) fn next_resync(&self) -> Option<Instant> {
        let next = self.resynced.map(|last| last.plus(RESYNC));
        self.lost.then(|| next.unwrap_or_default())
    }

    /// After changes were lost: looks at everything anew.
    fn resync(&mut self) {
        let before: Vec<u32> = self.links.keys().copied().collect();
        if let Err(error) = self.look() {
            log(&format!("cannot list devices and addresses: {error}"));
            self.lost = true;
            return;
        }
        let now = self.links.clone();
        for index in before {
            if !now.contains_key(&index) {
                self.link_gone(index);
            }
        }
        for link in now.into_values() {
            self.link_changed(link);
        }
        // Addresses, routes and other devices may be different, too.
        if self.sockets.is_some() {
            self.find_sources();
            self.publish();
        }
        self.try_join();
    }

    fn link_changed(&mut self, link: Link) {
        self.return_home(&link);
        // What is told may be older than what we have done since.
        let is_own = self
            .nets
            .iter()
            .any(|net| net.index == link.index && !net.away);
        let link = match is_own.then(|| self.rtnl.link_at(link.index)) {
            Some(Ok(now)) => now,
            // That it has gone will be told.
            Some(Err(_)) => return,
            None => link,
        };
        let before = self.links.insert(link.index, link.clone());
        let own = |net: &&mut Local| net.index == link.index && !net.away;
        if let Some(net) = self.nets.iter_mut().find(own) {
            let id = net.vnet.id;
            let now = (link.mtu, link.up, link.address, link.master, &link.name);
            if (net.mtu, net.up, net.address, net.master, &net.name) == now {
                return;
            }
            let other_mtu = net.mtu != link.mtu;
            let comes_up = link.up && !net.up;
            net.mtu = link.mtu;
            net.up = link.up;
            net.address = link.address;
            net.master = link.master;
            net.name = link.name;
            if net.master != 0 {
                // Whoever did it decided for another one.
                net.wanted = None;
            }
            self.dirty = true;
            self.publish();
            if comes_up {
                self.greet(&id);
            }
            if other_mtu {
                self.tell_net(&id, cmd::NET_SET_NTF);
            }
            return;
        }
        self.bridge_appeared(&link.name);
        self.find_device();
        let differs = before.is_none_or(|before| before.mtu != link.mtu || before.up != link.up);
        if differs && self.sockets.is_some() {
            self.publish();
            if link.up {
                self.try_join();
            }
        }
    }

    /// The device of a vnet that was in another namespace may be back, perhaps with another index.
    fn return_home(&mut self, link: &Link) {
        let Some(net) = self
            .nets
            .iter_mut()
            .find(|net| net.away && net.name == link.name)
        else {
            return;
        };
        let here = std::fs::File::open("/proc/self/ns/net");
        let stat = |fd: &dyn AsFd| {
            nix::sys::stat::fstat(fd.as_fd())
                .map(|stat| stat.st_ino)
                .ok()
        };
        let here = here.ok().and_then(|file| stat(&file));
        let there = net.vnet.tap.namespace().ok().and_then(|fd| stat(&fd));
        if here.is_some() && here == there {
            net.away = false;
            net.index = link.index;
        }
    }

    /// The underlay device may be there again, with another index.
    pub(crate) fn find_device(&mut self) {
        let Some(name) = &self.lost_device else {
            return;
        };
        let found = |link: &&Link| link.up && link.name == *name;
        let Some(index) = self.links.values().find(found).map(|link| link.index) else {
            return;
        };
        let mut settings = self.settings.clone();
        settings.device = index;
        // Else it is tried again, with the group.
        if self.configure(settings, true).is_ok() {
            self.lost_device = None;
        }
    }

    fn link_gone(&mut self, index: u32) {
        let gone = self.links.remove(&index);
        if let Some(gone) = gone.filter(|_| self.settings.device == index) {
            self.lost_device = Some(gone.name);
            self.dirty = true;
        }
        let own = |net: &&mut Local| net.index == index && !net.away;
        if let Some(net) = self.nets.iter_mut().find(own) {
            if net.vnet.tap.is_attached() {
                net.away = true;
                net.master = 0;
                net.wanted = None;
                self.dirty = true;
                self.publish();
            } else {
                let id = net.vnet.id;
                self.forget(&id);
            }
        }
        if let Some((group, _)) = self.joined.filter(|(_, device)| *device == index) {
            // The kernel has left the group by itself, but the socket may remember it.
            if let Some(sockets) = &self.sockets {
                sockets.leave(group, index);
            }
            self.joined = None;
            self.publish();
            self.tell_host();
            self.look_again();
        }
    }

    /// Makes the vnet's device a port of a bridge again, and takes it up, as it was before a restart.
    pub(crate) fn reattach(&mut self, id: &VnetId, bridge: Option<&str>, up: bool) {
        let Some((index, name)) = self.net(id).map(|net| (net.index, net.name.clone())) else {
            return;
        };
        let joined = bridge.map(|wanted| self.rejoin(id, wanted));
        let missing = bridge.filter(|_| joined == Some(false));
        if let (Some(wanted), Some(net)) = (missing, self.net_mut(id)) {
            net.wanted = Some(wanted.to_owned());
            log(&format!(
                "{name} is made a port of {wanted} when that is there"
            ));
        }
        if up {
            match self.rtnl.set_up(index) {
                // Not only when the kernel tells: what is saved until then must be true.
                Ok(()) => {
                    if let Some(net) = self.net_mut(id) {
                        net.up = true;
                    }
                }
                Err(error) => log(&format!("cannot take {name} up again: {error}")),
            }
        }
        self.publish();
    }

    /// Makes the vnet's device a port of a bridge. False if that could not be done, and was told unless the bridge is missing.
    fn rejoin(&mut self, id: &VnetId, bridge: &str) -> bool {
        let Some((index, name)) = self.net(id).map(|net| (net.index, net.name.clone())) else {
            return false;
        };
        let done = self.rtnl.link(bridge).and_then(|bridge| {
            self.rtnl.set_master(index, bridge.index)?;
            Ok(bridge)
        });
        match done {
            Ok(bridge) => {
                if let Some(net) = self.net_mut(id) {
                    net.master = bridge.index;
                    net.wanted = None;
                }
                self.links.insert(bridge.index, bridge);
                self.dirty = true;
                true
            }
            Err(Errno::ENODEV) => false,
            Err(error) => {
                log(&format!(
                    "cannot make {name} a port of {bridge} again: {error}"
                ));
                false
            }
        }
    }

    /// Makes those devices ports of a bridge that were before a restart.
    fn bridge_appeared(&mut self, bridge: &str) {
        let waits = |net: &&Local| !net.away && net.wanted.as_deref() == Some(bridge);
        let waiting: Vec<VnetId> = self
            .nets
            .iter()
            .filter(waits)
            .map(|net| net.vnet.id)
            .collect();
        for id in waiting {
            self.rejoin(&id, bridge);
        }
    }
}
