// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is configured in a network namespace, as far as notifications tell of its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::errno::Errno;
use vnet_core::{Mac, VnetId};
use vnet_netlink::{Client, Error, Event, Host, Key, KeySlot, Net, Peer, Remote, Varp, VarpState};

/// What is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    nets: BTreeMap<VnetId, Net>,
    host: Host,
    peers: BTreeSet<IpAddr>,
    /// Static entries of the VARP tables, and the hosts that they name.
    statics: BTreeMap<(VnetId, Mac), Option<IpAddr>>,
    /// Hosts that are listed.
    remotes: BTreeSet<(VnetId, IpAddr)>,
    /// Indexes of the keys, and where they are.
    keys: BTreeMap<VnetId, Slots>,
}

/// The index of the key in each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slots {
    current: Option<u32>,
    next: Option<u32>,
    previous: Option<u32>,
}

impl Slots {
    const ALL: [KeySlot; 3] = [KeySlot::Current, KeySlot::Next, KeySlot::Previous];

    fn of(&mut self, slot: Option<KeySlot>) -> Option<&mut Option<u32>> {
        match slot? {
            KeySlot::Current => Some(&mut self.current),
            KeySlot::Next => Some(&mut self.next),
            KeySlot::Previous => Some(&mut self.previous),
            KeySlot::Other(_) => None,
        }
    }

    fn put(&mut self, key: &Key) {
        if let Some(place) = self.of(key.slot) {
            *place = Some(key.index);
        }
    }

    fn take(&mut self, index: u32) {
        for place in [&mut self.current, &mut self.next, &mut self.previous] {
            if *place == Some(index) {
                *place = None;
            }
        }
    }

    fn rotate(&mut self) {
        if self.next.is_some() {
            self.previous = self.current;
            self.current = self.next.take();
        }
    }

    /// The keys that are there.
    fn iter(mut self, net: VnetId) -> impl Iterator<Item = Key> {
        Self::ALL.into_iter().filter_map(move |slot| {
            let index = (*self.of(Some(slot))?)?;
            Some(Key {
                slot: Some(slot),
                ..Key::new(net, index)
            })
        })
    }

    /// The events that make the other of this.
    fn changes_to(self, other: Self, net: VnetId) -> Vec<Event> {
        let (mut now, mut events) = (self, Vec::new());
        if now.next.is_some() && now.next == other.current {
            now.rotate();
            let rotated = now.iter(net).find(|key| key.slot == Some(KeySlot::Current));
            events.extend(rotated.map(Event::KeyRotated));
        }
        let gone: Vec<Key> = now.iter(net).filter(|key| !other.has(net, key)).collect();
        for key in gone {
            now.take(key.index);
            events.push(Event::KeyDel(key));
        }
        let new = other.iter(net).filter(|key| !now.has(net, key));
        events.extend(new.map(Event::KeyNew));
        events
    }

    fn has(self, net: VnetId, key: &Key) -> bool {
        self.iter(net).any(|known| known == *key)
    }
}

/// What there is of a vnet; nothing if it was deleted since it was listed, or if the module does not know such things.
fn of_net<T>(listed: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    match listed {
        Err(error) if error.is_absent() || error.errno() == Some(Errno::EOPNOTSUPP) => {
            Ok(Vec::new())
        }
        other => other,
    }
}

impl State {
    /// Asks for it.
    pub(crate) fn read(client: &mut Client) -> Result<Self, Error> {
        let mut state = Self {
            host: client.host()?.configuration(),
            peers: client.peers()?.iter().map(|peer| peer.addr).collect(),
            ..Self::default()
        };
        for net in client.nets()? {
            for varp in of_net(client.varps(net.id))? {
                if varp.state == Some(VarpState::Static) {
                    state.statics.insert((net.id, varp.mac), varp.addr);
                }
            }
            let remotes = of_net(client.remotes(net.id))?;
            let listed = remotes.iter().filter(|remote| remote.is_listed());
            state
                .remotes
                .extend(listed.map(|remote| (net.id, remote.addr)));
            for key in of_net(client.keys(net.id))? {
                state.keys.entry(net.id).or_default().put(&key);
            }
            state.nets.insert(net.id, net.configuration());
        }
        Ok(state)
    }

    /// A vnet.
    pub(crate) fn net(&self, id: VnetId) -> Option<&Net> {
        self.nets.get(&id)
    }

    /// Follows a change.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::NetNew(net) | Event::NetSet(net) => {
                self.nets.insert(net.id, net.configuration());
            }
            Event::NetDel(net) => {
                self.nets.remove(&net.id);
                self.statics.retain(|(id, _), _| *id != net.id);
                self.remotes.retain(|(id, _)| *id != net.id);
                self.keys.remove(&net.id);
            }
            Event::HostSet(host) => self.host = host.configuration(),
            Event::PeerNew(peer) => {
                self.peers.insert(peer.addr);
            }
            Event::PeerDel(peer) => {
                self.peers.remove(&peer.addr);
            }
            Event::VarpNew(varp) => {
                self.statics.insert((varp.net, varp.mac), varp.addr);
            }
            Event::VarpDel(varp) => {
                self.statics.remove(&(varp.net, varp.mac));
            }
            Event::RemoteNew(remote) => {
                self.remotes.insert((remote.net, remote.addr));
            }
            Event::RemoteDel(remote) => {
                self.remotes.remove(&(remote.net, remote.addr));
            }
            Event::KeyNew(key) => self.keys.entry(key.net).or_default().put(key),
            Event::KeyDel(key) => self.keys.entry(key.net).or_default().take(key.index),
            Event::KeyRotated(key) => self.keys.entry(key.net).or_default().rotate(),
            Event::VarpFlush(_)
            | Event::VarpDamped(_)
            | Event::Probe(_)
            | Event::KeyExpiring(_) => {}
        }
    }

    /// The events that make the other state of this one. Applied in their order they do.
    pub(crate) fn changes_to(&self, other: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, net) in &self.nets {
            if !other.nets.contains_key(id) {
                events.push(Event::NetDel(net.clone()));
            }
        }
        if self.host != other.host {
            events.push(Event::HostSet(other.host.clone()));
        }
        let gone = self.peers.difference(&other.peers);
        events.extend(gone.map(|addr| Event::PeerDel(Peer::new(*addr))));
        let new = other.peers.difference(&self.peers);
        events.extend(new.map(|addr| Event::PeerNew(Peer::new(*addr))));
        for (id, net) in &other.nets {
            match self.nets.get(id) {
                None => events.push(Event::NetNew(net.clone())),
                Some(before) if before != net => events.push(Event::NetSet(net.clone())),
                Some(_) => {}
            }
        }
        // What was in a vnet goes with it.
        let stays = |id: &VnetId| other.nets.contains_key(id);
        for (net, mac) in self.statics.keys().filter(|(net, _)| stays(net)) {
            if !other.statics.contains_key(&(*net, *mac)) {
                events.push(Event::VarpDel(Varp::new(*net, *mac)));
            }
        }
        for ((net, mac), addr) in &other.statics {
            if self.statics.get(&(*net, *mac)) != Some(addr) {
                events.push(Event::VarpNew(Varp {
                    addr: *addr,
                    state: Some(VarpState::Static),
                    ..Varp::new(*net, *mac)
                }));
            }
        }
        let gone = self.remotes.difference(&other.remotes);
        let gone = gone.filter(|(net, _)| stays(net));
        events.extend(gone.map(|(net, addr)| Event::RemoteDel(Remote::new(*net, *addr))));
        let new = other.remotes.difference(&self.remotes);
        events.extend(new.map(|(net, addr)| Event::RemoteNew(Remote::new(*net, *addr))));
        for id in other.nets.keys() {
            let slots = |state: &Self| state.keys.get(id).copied().unwrap_or_default();
            events.extend(slots(self).changes_to(slots(other), *id));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vnet_core::Setting;

    fn id(text: &str) -> VnetId {
        text.parse().expect("an id")
    }

    fn net(text: &str, mtu: u32) -> Net {
        Net {
            mtu: Some(mtu),
            ..Net::new(id(text))
        }
    }

    fn addr(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn mac(last: u8) -> Mac {
        Mac::from_bytes([2, 0, 0, 0, 0, last])
    }

    fn varp(text: &str, last: u8, host: u8) -> Varp {
        Varp {
            addr: Some(addr(host)),
            state: Some(VarpState::Static),
            ..Varp::new(id(text), mac(last))
        }
    }

    fn after(events: &[Event]) -> State {
        let mut state = State::default();
        events.iter().for_each(|event| state.apply(event));
        state
    }

    #[test]
    fn what_changed_is_told_and_leads_to_the_other_state() {
        let host = |ttl| {
            Event::HostSet(Host {
                port: 1798,
                ttl,
                ..Host::default()
            })
        };
        let before = after(&[
            host(64),
            Event::NetNew(net("5", 1436)),
            Event::NetNew(net("6", 1436)),
            Event::NetNew(net("7", 1436)),
            Event::PeerNew(Peer::new(addr(1))),
            Event::VarpNew(varp("5", 1, 1)),
            Event::VarpNew(varp("6", 1, 1)),
            Event::VarpNew(varp("6", 2, 1)),
            Event::RemoteNew(Remote::new(id("5"), addr(1))),
            Event::RemoteNew(Remote::new(id("6"), addr(1))),
        ]);
        let mut six = net("6", 1436);
        six.settings.set(Setting::Ageing, Some(5000));
        let now = after(&[
            host(9),
            Event::NetNew(six.clone()),
            Event::NetNew(net("7", 1436)),
            Event::NetNew(net("8", 1436)),
            Event::PeerNew(Peer::new(addr(2))),
            Event::VarpNew(varp("6", 1, 2)),
            Event::VarpNew(varp("8", 1, 2)),
            Event::RemoteNew(Remote::new(id("6"), addr(2))),
        ]);
        let changes = before.changes_to(&now);
        assert_eq!(
            changes,
            [
                Event::NetDel(net("5", 1436)),
                host(9),
                Event::PeerDel(Peer::new(addr(1))),
                Event::PeerNew(Peer::new(addr(2))),
                Event::NetSet(six),
                Event::NetNew(net("8", 1436)),
                Event::VarpDel(Varp::new(id("6"), mac(2))),
                Event::VarpNew(varp("6", 1, 2)),
                Event::VarpNew(varp("8", 1, 2)),
                Event::RemoteDel(Remote::new(id("6"), addr(1))),
                Event::RemoteNew(Remote::new(id("6"), addr(2))),
            ]
        );
        let mut led = before.clone();
        changes.iter().for_each(|event| led.apply(event));
        assert_eq!(led, now);
        assert_eq!(now.changes_to(&now), []);
    }

    #[test]
    fn what_changes_by_itself_is_no_change() {
        let mut busy = net("5", 1436);
        busy.macs = Some(7);
        busy.underlay_mtu = Some(1436);
        let before = after(&[Event::NetNew(net("5", 1436))]);
        let now = after(&[Event::NetNew(busy)]);
        assert_eq!(before.changes_to(&now), []);
    }

    fn key(index: u32, slot: KeySlot) -> Key {
        Key {
            slot: Some(slot),
            ..Key::new(id("5"), index)
        }
    }

    #[test]
    fn what_became_of_keys_is_told() {
        let net = || Event::NetNew(net("5", 1436));
        let before = after(&[
            net(),
            Event::KeyNew(key(1, KeySlot::Current)),
            Event::KeyNew(key(2, KeySlot::Next)),
        ]);
        let rotated = Event::KeyRotated(key(2, KeySlot::Current));
        let new = Event::KeyNew(key(3, KeySlot::Next));
        let now = after(&[
            net(),
            Event::KeyNew(key(2, KeySlot::Current)),
            Event::KeyNew(key(1, KeySlot::Previous)),
            Event::KeyNew(key(3, KeySlot::Next)),
        ]);
        assert_eq!(before.changes_to(&now), [rotated, new]);
        let other = after(&[net(), Event::KeyNew(key(1, KeySlot::Previous))]);
        for (from, to) in [
            (&before, &now),
            (&now, &before),
            (&before, &other),
            (&other, &now),
        ] {
            let mut led = from.clone();
            from.changes_to(to)
                .iter()
                .for_each(|event| led.apply(event));
            assert_eq!(&led, to);
        }
    }
}
