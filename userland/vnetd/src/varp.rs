// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! VARP: what the state machines of the core decide is carried out here.

use std::net::IpAddr;
use std::sync::Arc;

use nix::errno::Errno;
use vnet_core::abi::NetCounter;
use vnet_core::varp::{Due, Fate, Judged, is_of_link, judge};
use vnet_core::wire::{VarpMessage, VarpOpcode};
use vnet_core::{Mac, Setting};

use crate::rx::Origin;
use crate::shared::{Event, Net, Underlay, World, locked};
use crate::table::Heard;
use crate::tx::{reason, unspecified};
use crate::udp::Family;
use crate::worker::Worker;

const NO_MAC: Mac = Mac::from_bytes([0; 6]);

/// The counter of messages of a kind that are sent.
fn sent(opcode: VarpOpcode) -> NetCounter {
    match opcode {
        VarpOpcode::Announce => NetCounter::TxAnnounce,
        VarpOpcode::Withdraw => NetCounter::TxWithdraw,
        VarpOpcode::Request | VarpOpcode::Unknown(_) => NetCounter::TxRequest,
    }
}

impl Worker {
    /// Sends a message about a MAC to a host, with the address that it knows us by.
    fn say_to(
        &mut self,
        underlay: &Underlay,
        net: &Arc<Net>,
        opcode: VarpOpcode,
        mac: Mac,
        to: IpAddr,
        ours: IpAddr,
    ) {
        let message = VarpMessage {
            opcode,
            id: net.vnet.id,
            mac,
            addr: ours.into(),
        };
        let mut envelope = underlay.envelope(to);
        envelope.source = (!to.is_multicast()).then_some(ours);
        let packed = net.pack_message(&self.shared, &message.emit(), 0);
        let done = packed.and_then(|bytes| {
            self.send(underlay, &envelope, false, &[&bytes])
                .map_err(reason)
        });
        net.vnet.count(done.err().unwrap_or(sent(opcode)));
    }

    /// Sends a message about a MAC to the group and the peers.
    fn say(&mut self, underlay: &Underlay, net: &Arc<Net>, opcode: VarpOpcode, mac: Mac) {
        let everyone = underlay.everyone();
        for to in everyone.plain {
            match underlay.sources.get(to) {
                Some(ours) => self.say_to(underlay, net, opcode, mac, *to, *ours),
                None => net.vnet.count(NetCounter::TxNoRoute),
            }
        }
        let nobody = unspecified(everyone.group);
        for peer in everyone.wrapped {
            // The address by which the peer's network reaches us.
            let Some(ours) = underlay.sources.get(peer) else {
                net.vnet.count(NetCounter::TxNoRoute);
                continue;
            };
            let message = VarpMessage {
                opcode,
                id: net.vnet.id,
                mac,
                addr: (*ours).into(),
            };
            let packed = net.pack_message(&self.shared, &message.emit(), 0);
            let done = packed.and_then(|bytes| {
                self.forward(underlay, nobody, everyone.group, *peer, &bytes)
                    .map_err(reason)
            });
            net.vnet.count(done.err().unwrap_or(sent(opcode)));
        }
    }

    /// Asks everyone for a MAC.
    pub(crate) fn ask(&mut self, underlay: &Underlay, net: &Arc<Net>, mac: Mac) {
        self.say(underlay, net, VarpOpcode::Request, mac);
    }

    /// A MAC has appeared here, or moved here.
    pub(crate) fn appeared(&mut self, world: &World, net: &Arc<Net>, mac: Mac) {
        self.known(world, net, mac);
        let Some(underlay) = world.underlay.as_deref() else {
            return;
        };
        let now = self.shared.clock.now();
        let at_once = net.vnet.with_announcer(&self.shared, |announcer| {
            announcer.appeared(mac, now, &net.settings)
        });
        if at_once {
            self.say(underlay, net, VarpOpcode::Announce, mac);
        } else if net.settings.get(Setting::Announces) > 0 {
            net.vnet.count(NetCounter::VarpLimited);
        }
    }

    /// A MAC that was here is not any more: everyone is told.
    fn withdraw(&mut self, world: &World, net: &Arc<Net>, mac: Mac) {
        net.vnet.not_here(mac);
        let Some(underlay) = world.underlay.as_deref() else {
            return;
        };
        let now = self.shared.clock.now();
        let rate = net.settings.get(Setting::VarpRate);
        if locked(&net.vnet.limits).withdrawals.allow(now, rate) {
            self.say(underlay, net, VarpOpcode::Withdraw, mac);
        } else {
            net.vnet.count(NetCounter::VarpLimited);
        }
    }

    /// The bridge has learned a MAC behind another of its ports.
    pub(crate) fn bridged(&mut self, world: &World, net: &Arc<Net>, mac: Mac) {
        if matches!(net.hear(self, mac, None), Heard::New | Heard::Moved) {
            self.appeared(world, net, mac);
        }
    }

    /// The bridge has forgotten a MAC, or its port is gone.
    pub(crate) fn gone(&mut self, world: &World, net: &Arc<Net>, mac: Mac) {
        let now = self.shared.clock.now();
        if net.vnet.table.withdrawn(mac, None, now) {
            self.withdraw(world, net, mac);
        }
    }

    /// A MAC is behind another host from now on: what is held for it is sent there.
    pub(crate) fn known(&mut self, world: &World, net: &Arc<Net>, mac: Mac) {
        if !net.vnet.is_asking() {
            return;
        }
        let Some(underlay) = world.underlay.as_deref() else {
            return;
        };
        let was_unknown = net
            .vnet
            .with_resolver(&self.shared, |resolver| resolver.knows(mac));
        if was_unknown {
            net.vnet.count(NetCounter::Resolved);
        }
        let mut is_unlearned = false;
        while let Some(mut frame) = net
            .vnet
            .with_resolver(&self.shared, |resolver| resolver.take(mac))
        {
            match net.vnet.table.find(mac) {
                Some(host) => {
                    self.send_frame(underlay, net, &frame.header, &mut frame.bytes, host);
                }
                // It has appeared here, where the bridge has reached it.
                None if net.vnet.table.is_here(mac) => net.vnet.count(NetCounter::HoldDropped),
                // The table has no room for it.
                None => {
                    is_unlearned = true;
                    let now = self.shared.clock.now();
                    let fate = net.vnet.with_resolver(&self.shared, |resolver| {
                        resolver.flood(frame, now, &net.settings)
                    });
                    match fate {
                        Fate::Flood(mut frame) => self.flood_held(underlay, net, &mut frame),
                        Fate::Drop(_) | Fate::Held => net.vnet.count(NetCounter::UnknownDropped),
                    }
                }
            }
        }
        if is_unlearned {
            let now = self.shared.clock.now();
            net.vnet.with_resolver(&self.shared, |resolver| {
                resolver.unlearned(mac, now, &net.settings);
            });
        }
    }

    /// Takes note of what a host has, and sends what waited for it.
    pub(crate) fn learn(&mut self, world: &World, net: &Arc<Net>, mac: Mac, host: IpAddr) {
        if matches!(net.hear(self, mac, Some(host)), Heard::New | Heard::Moved) {
            net.vnet.not_here(mac);
            self.known(world, net, mac);
        }
    }

    /// A frame came for a MAC that is behind another host: who sent it is told, as often as is allowed.
    pub(crate) fn correct(
        &mut self,
        underlay: &Underlay,
        net: &Arc<Net>,
        mac: Mac,
        origin: &Origin,
    ) {
        net.vnet.count(NetCounter::RxElsewhere);
        let now = self.shared.clock.now();
        let rate = net.settings.get(Setting::VarpRate);
        if !locked(&net.vnet.limits).corrections.allow(now, rate) {
            return net.vnet.count(NetCounter::VarpLimited);
        }
        let Some(ours) = origin.ours else {
            return net.vnet.count(NetCounter::TxNoRoute);
        };
        self.say_to(
            underlay,
            net,
            VarpOpcode::Withdraw,
            mac,
            origin.source,
            ours,
        );
    }

    /// A VARP message for a vnet that is here.
    pub(crate) fn varp(
        &mut self,
        world: &World,
        underlay: &Underlay,
        net: &Arc<Net>,
        message: &VarpMessage,
        origin: &Origin,
    ) {
        let vnet = &net.vnet;
        match message.opcode {
            VarpOpcode::Request => vnet.count(NetCounter::RxRequest),
            VarpOpcode::Announce => vnet.count(NetCounter::RxAnnounce),
            VarpOpcode::Withdraw => vnet.count(NetCounter::RxWithdraw),
            VarpOpcode::Unknown(_) => return vnet.count(NetCounter::RxVarpRefused),
        }
        if !net.accepts(origin.source) {
            return vnet.count(NetCounter::RxVarpRefused);
        }
        let is_ours = |address: IpAddr| underlay.own.contains(&address);
        match judge(message, origin.source, is_ours) {
            Judged::Asked(mac) => {
                if vnet.table.is_here(mac) {
                    self.answer(underlay, net, mac, origin);
                }
            }
            Judged::AskedPresence => self.answer(underlay, net, NO_MAC, origin),
            Judged::Announced(mac, host) => {
                let reachable = underlay.sockets.of(Family::of(host), 0).is_some();
                // Where an address of the link is, only the device says.
                let is_somewhere = underlay.device != 0 || !is_of_link(host);
                let is_host = is_somewhere && !underlay.own.is_broadcast(&host);
                if mac == net.address || !net.accepts(host) || !reachable || !is_host {
                    return vnet.count(NetCounter::RxVarpRefused);
                }
                self.learn(world, net, mac, host);
                // It may be known from data already, which came while frames were being held.
                self.known(world, net, mac);
                self.tell_answer(net, mac, origin.source, host);
            }
            Judged::Present(host) => self.tell_answer(net, NO_MAC, origin.source, host),
            Judged::Withdrawn(mac) => {
                vnet.table
                    .withdrawn(mac, Some(origin.source), self.shared.clock.now());
            }
            Judged::Refused => vnet.count(NetCounter::RxVarpRefused),
        }
    }

    fn answer(&mut self, underlay: &Underlay, net: &Arc<Net>, mac: Mac, origin: &Origin) {
        let now = self.shared.clock.now();
        let rate = net.settings.get(Setting::VarpRate);
        if !locked(&net.vnet.limits).answers.allow(now, rate) {
            return net.vnet.count(NetCounter::VarpLimited);
        }
        let Some(ours) = origin.ours else {
            return net.vnet.count(NetCounter::TxNoRoute);
        };
        self.say_to(
            underlay,
            net,
            VarpOpcode::Announce,
            mac,
            origin.source,
            ours,
        );
    }

    fn tell_answer(&self, net: &Arc<Net>, mac: Mac, from: IpAddr, care_of: IpAddr) {
        if net.vnet.is_watched(self.shared.clock.now()) {
            self.shared.tell(Event::Answer {
                id: net.vnet.id,
                mac,
                from,
                care_of,
            });
        }
    }

    /// Sends the question of the command `probe`: to everyone, or to one host, that knows us by the second address, padded to
    /// so many bytes.
    pub(crate) fn probe(
        &mut self,
        world: &World,
        net: &Arc<Net>,
        mac: Mac,
        to: Option<(IpAddr, IpAddr)>,
        size: usize,
    ) -> nix::Result<()> {
        let underlay = world.underlay.as_deref().ok_or(Errno::ENODEV)?;
        let message = VarpMessage {
            opcode: VarpOpcode::Request,
            id: net.vnet.id,
            mac,
            addr: to.map_or(IpAddr::from([0; 4]), |(_, ours)| ours).into(),
        };
        let packed = net.pack_message(&self.shared, &message.emit(), size);
        let bytes = packed.map_err(|reason| {
            net.vnet.count(reason);
            Errno::ENOKEY
        })?;
        let Some((to, _)) = to else {
            self.ask(underlay, net, mac);
            return Ok(());
        };
        // Who asks for a size wants to know whether it gets through.
        let strict = size > 0;
        self.send(underlay, &underlay.envelope(to), strict, &[&bytes])
            .inspect_err(|error| net.vnet.count(reason(*error)))?;
        net.vnet.count(NetCounter::TxRequest);
        Ok(())
    }

    /// Does what is due of a vnet.
    pub(crate) fn poll(&mut self, world: &World, net: &Arc<Net>) {
        let vnet = &net.vnet;
        vnet.begin_poll();
        if let Some(underlay) = world.underlay.as_deref() {
            self.poll_resolver(underlay, net);
            self.poll_announcer(underlay, net);
        }
        let now = self.shared.clock.now();
        if vnet.begin_sweep(now) {
            self.sweep(net);
        }
        vnet.end_poll(&self.shared);
    }

    fn poll_resolver(&mut self, underlay: &Underlay, net: &Arc<Net>) {
        // Here, where the settings are those that frames are submitted with from now on.
        while net.vnet.is_asking() {
            let excess = net
                .vnet
                .with_resolver(&self.shared, |resolver| resolver.excess(&net.settings));
            match excess {
                Some(_) => net.vnet.count(NetCounter::HoldDropped),
                None => break,
            }
        }
        while net.vnet.is_asking() {
            let now = self.shared.clock.now();
            let due = net
                .vnet
                .with_resolver(&self.shared, |resolver| resolver.poll(now, &net.settings));
            match due {
                None => break,
                Some(Due::Ask(mac)) => self.ask(underlay, net, mac),
                Some(Due::Flood(mut frame)) => self.flood_held(underlay, net, &mut frame),
                Some(Due::Drop(_)) => net.vnet.count(NetCounter::UnknownDropped),
                Some(Due::Unresolved(_)) => net.vnet.count(NetCounter::Unresolved),
                Some(Due::Limited) => net.vnet.count(NetCounter::VarpLimited),
            }
        }
    }

    fn poll_announcer(&mut self, underlay: &Underlay, net: &Arc<Net>) {
        loop {
            let now = self.shared.clock.now();
            let due = net
                .vnet
                .with_announcer(&self.shared, |announcer| announcer.poll(now, &net.settings));
            match due {
                Some(mac) => self.say(underlay, net, VarpOpcode::Announce, mac),
                None => break,
            }
        }
    }

    /// Forgets what was not heard for the ageing time.
    fn sweep(&mut self, net: &Net) {
        let ageing = u64::from(net.settings.get(Setting::Ageing));
        let mut gone = Vec::new();
        net.vnet
            .table
            .retain_not(self.shared.clock.now(), |mac, host, is_static, idle| {
                let goes = !is_static && idle > ageing;
                if goes && host.is_none() {
                    gone.push(mac);
                }
                goes
            });
        // Not withdrawn: it may be silent, and nobody else can tell where it is.
        for mac in gone {
            net.vnet.not_here(mac);
        }
        net.vnet.table.forget_flooders();
        if net.vnet.table.counts() != (0, 0) {
            net.vnet.age(&self.shared, &net.settings);
        }
    }
}

#[cfg(test)]
mod tests;
