// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The host: settings, peers, vnets, the network below. Owned by the control thread; the workers see what it publishes.
//!
//! What a change needs is made before anything is changed; what fails leaves everything as it was.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use vnet_core::abi::{self, cmd};
use vnet_core::wire::{GROUP_DEFAULT, PORT_DEFAULT};
use vnet_core::{Instant, Mac, Setting, Settings, VnetId};

use crate::log;
use crate::message::Refusal;
use crate::notice::Notice;
use crate::rtnl::{Addresses, Link, Requests};
use crate::sealed::Seal;
use crate::shared::{Job, Net, Shared, Underlay, World};
use crate::tap::Tap;
use crate::tx::overhead;
use crate::udp::{Flows, Sockets};
use crate::vnet::Vnet;

/// MTU that is assumed of an underlay of which nothing is known.
const MTU_ASSUMED: u32 = 1500;
/// Stands for all IPv4 hosts.
const NO_HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
/// Index of an underlay device of which only the name is known, as it is not there. No device gets so far.
pub(crate) const DEVICE_LOST: u32 = i32::MAX as u32;
/// Milliseconds between two tries to join the group anew, and between two looks at routes that keep changing.
const REJOIN: u64 = 1000;

/// What an administrator sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostSettings {
    pub(crate) port: u16,
    pub(crate) group: Option<IpAddr>,
    /// Index of the underlay device; 0 leaves it to the routing table.
    pub(crate) device: u32,
    pub(crate) ttl: u8,
    pub(crate) flood: u32,
    pub(crate) dscp: u8,
    /// In the order they were added.
    pub(crate) peers: Vec<IpAddr>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            port: PORT_DEFAULT,
            group: Some(GROUP_DEFAULT.into()),
            device: 0,
            ttl: abi::TTL_DEFAULT,
            flood: abi::host::FLOOD_GROUP,
            dscp: 0,
            peers: Vec::new(),
        }
    }
}

/// A vnet that is here.
pub(crate) struct Local {
    pub(crate) vnet: Arc<Vnet>,
    pub(crate) settings: Settings,
    /// Index of its device, in its namespace.
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) address: Mac,
    /// Index of the bridge that it is a port of, or 0.
    pub(crate) master: u32,
    /// Name of the bridge that it was a port of before a restart, and is to be as soon as that is there.
    pub(crate) wanted: Option<String>,
    /// Whether its device is in another namespace.
    pub(crate) away: bool,
    /// Its keys.
    pub(crate) seal: Seal,
}

impl Local {
    /// Whether it is to be sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.settings.sealed().is_some()
    }
}

/// The largest MTU of vnets that the underlay carries without fragments.
#[derive(Clone, Copy)]
pub(crate) struct UnderlayMtu {
    plain: u32,
    sealed: u32,
}

impl UnderlayMtu {
    /// What the underlay's MTU leaves for the inner packets.
    fn new(outer: u32, target: IpAddr) -> Self {
        let (min, max) = abi::MTU_RANGE;
        let inner = |sealed| {
            outer
                .saturating_sub(overhead(target, sealed))
                .clamp(min, max)
        };
        Self {
            plain: inner(false),
            sealed: inner(true),
        }
    }

    fn min(self, other: Self) -> Self {
        Self {
            plain: self.plain.min(other.plain),
            sealed: self.sealed.min(other.sealed),
        }
    }

    /// For a vnet that is sealed, or one that is not.
    pub(crate) fn of(self, sealed: bool) -> u32 {
        if sealed { self.sealed } else { self.plain }
    }
}

/// What a vnet is made of.
pub(crate) struct Config {
    pub(crate) id: VnetId,
    pub(crate) name: Option<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) settings: Settings,
}

/// The host.
pub(crate) struct Host {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: HostSettings,
    /// In the order they were made.
    pub(crate) nets: Vec<Local>,
    /// Counts what changes the list of vnets, for dumps.
    pub(crate) changes: u64,
    /// Counts what workers were asked and are to tell the outcome of.
    pub(crate) tickets: u64,
    /// What is to be told.
    pub(crate) notices: Vec<Notice>,
    /// Whether the state file is to be written.
    pub(crate) dirty: bool,
    pub(crate) links: HashMap<u32, Link>,
    pub(crate) own: Arc<Addresses>,
    /// Name of the underlay device that has gone, by which it is known when it is there again.
    pub(crate) lost_device: Option<String>,
    /// Whether vnets are made even if the group cannot be joined yet.
    pub(crate) may_lack_group: bool,
    sources: HashMap<IpAddr, IpAddr>,
    pub(crate) sockets: Option<Arc<Sockets>>,
    flows: Option<Arc<Flows>>,
    pub(crate) joined: Option<(IpAddr, u32)>,
    pub(crate) rtnl: Requests,
    last_serial: u64,
    /// Whether the kernel has told more than could be taken in, and when everything was looked at anew for that.
    pub(crate) lost: bool,
    pub(crate) resynced: Option<Instant>,
    /// When to look at the group and at routes again.
    again: Option<Instant>,
}

/// Whether the kernel would take it as the name of a device.
fn is_device_name(name: &str) -> bool {
    let strange =
        |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\u{b}' || c == '%';
    (1..=15).contains(&name.len()) && name != "." && name != ".." && !name.contains(strange)
}

/// Whether the source port of a vnet's data follows from the inner flow.
fn wants_flows(settings: &Settings) -> bool {
    settings.flow_port() || settings.sealed().is_some()
}

impl Host {
    /// A host without vnets.
    pub(crate) fn new(shared: Arc<Shared>) -> nix::Result<Self> {
        let mut host = Self {
            shared,
            settings: HostSettings::default(),
            nets: Vec::new(),
            changes: 0,
            tickets: 0,
            notices: Vec::new(),
            dirty: false,
            links: HashMap::new(),
            own: Arc::default(),
            lost_device: None,
            may_lack_group: false,
            sources: HashMap::new(),
            sockets: None,
            flows: None,
            joined: None,
            rtnl: Requests::route()?,
            last_serial: 0,
            lost: false,
            resynced: None,
            again: None,
        };
        host.look()?;
        Ok(host)
    }

    /// Looks at devices and addresses.
    pub(crate) fn look(&mut self) -> nix::Result<()> {
        self.links = self.rtnl.links()?;
        self.own = Arc::new(self.rtnl.addresses()?);
        Ok(())
    }

    /// The vnet with an id.
    pub(crate) fn net(&self, id: &VnetId) -> Option<&Local> {
        self.nets.iter().find(|net| net.vnet.id == *id)
    }

    pub(crate) fn net_mut(&mut self, id: &VnetId) -> Option<&mut Local> {
        self.nets.iter_mut().find(|net| net.vnet.id == *id)
    }

    /// Whether an address is one of this host's own.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || address.is_loopback()
    }

    /// Index of the device on which the group is joined.
    pub(crate) fn joined(&self) -> Option<u32> {
        self.joined.map(|(_, device)| device)
    }

    /// By which number the namespace of a vnet's device is known here, if it is another.
    pub(crate) fn namespace_of(&mut self, id: &VnetId) -> Option<i32> {
        let vnet = self.net(id).filter(|net| net.away)?.vnet.clone();
        match vnet.tap.namespace() {
            Ok(namespace) => Some(self.rtnl.namespace_id(namespace.as_fd())),
            Err(_) => Some(-1),
        }
    }

    /// Largest MTU of vnets that the underlay carries without fragments, if something is known of it.
    pub(crate) fn underlay_mtu(&mut self) -> Option<UnderlayMtu> {
        let settings = &self.settings;
        let group = settings
            .group
            .filter(|_| settings.flood == abi::host::FLOOD_GROUP);
        let (device, joined) = (settings.device, self.joined);
        let mut smallest = None;
        for target in group.iter().chain(&settings.peers) {
            let through = match joined {
                Some((_, joined)) if device == 0 && target.is_multicast() && target.is_ipv6() => {
                    Some(joined)
                }
                _ => self.rtnl.route_to(*target, device).map(|(out, _)| out),
            };
            if let Some(link) = through.and_then(|through| self.links.get(&through)) {
                let mtu = UnderlayMtu::new(link.mtu, *target);
                smallest = Some(smallest.map_or(mtu, |least: UnderlayMtu| least.min(mtu)));
            }
        }
        smallest.or_else(|| Some(UnderlayMtu::new(self.links.get(&device)?.mtu, NO_HOST)))
    }

    /// The MTU of a vnet unless it is set.
    fn default_mtu(&mut self, settings: &Settings) -> u32 {
        let assumed = || UnderlayMtu::new(MTU_ASSUMED, NO_HOST);
        let known = self.underlay_mtu().unwrap_or_else(assumed);
        known.of(settings.sealed().is_some())
    }

    /// Looks up by which of our addresses the group and the peers know us.
    pub(crate) fn find_sources(&mut self) {
        let mut sources = HashMap::new();
        let device = self.settings.device;
        let joined = self.joined().unwrap_or(device);
        let targets = self.settings.group.iter().chain(&self.settings.peers);
        for target in targets.copied().collect::<Vec<_>>() {
            let through = if target.is_multicast() {
                joined
            } else {
                device
            };
            if let Some((_, Some(source))) = self.rtnl.route_to(target, through) {
                sources.insert(target, source);
            }
        }
        self.sources = sources;
    }

    /// By which of our addresses a host knows us, if there is a way to it.
    pub(crate) fn source_to(&mut self, host: IpAddr) -> Option<IpAddr> {
        let (_, source) = self.rtnl.route_to(host, self.settings.device)?;
        source
    }

    /// Shows the workers how things are.
    pub(crate) fn publish(&mut self) {
        let underlay_mtu = self.underlay_mtu();
        let settings = &self.settings;
        let wants_flows = self.nets.iter().any(|net| wants_flows(&net.settings));
        if !wants_flows {
            self.flows = None;
        }
        let underlay = self.sockets.as_ref().map(|sockets| {
            Arc::new(Underlay {
                sockets: sockets.clone(),
                flows: self.flows.clone(),
                port: settings.port,
                device: settings.device,
                ttl: (settings.ttl != abi::TTL_INHERIT).then_some(settings.ttl),
                dscp: (settings.dscp != abi::DSCP_INHERIT).then_some(settings.dscp),
                group: settings.group,
                joined: self.joined().unwrap_or(0),
                flood_peers: settings.flood == abi::host::FLOOD_PEERS,
                peers: settings.peers.clone(),
                own: self.own.clone(),
                sources: self.sources.clone(),
            })
        });
        let nets = self.nets.iter().map(|net| {
            let listed = net.settings.listed_only().then(|| {
                let hosts = net.vnet.table.hosts().into_iter();
                hosts
                    .filter(|(_, listed, _)| *listed)
                    .map(|(address, ..)| address)
                    .collect()
            });
            let shown = Net {
                vnet: net.vnet.clone(),
                settings: net.settings,
                up: net.up || net.away,
                address: net.address,
                fragment: net.mtu > underlay_mtu.map_or(0, |mtu| mtu.of(net.is_sealed())),
                listed,
                sealed: net.seal.keys().cloned(),
            };
            (net.vnet.id, Arc::new(shown))
        });
        let nets: HashMap<_, _> = nets.collect();
        let mut tags = HashMap::new();
        for net in nets.values() {
            for key in net.sealed.iter().flat_map(|keys| &keys.uses) {
                tags.insert(key.tag, (net.clone(), key.clone()));
            }
        }
        let world = World {
            underlay,
            nets,
            tags,
        };
        self.shared.publish(world);
    }

    /// Has a worker do something.
    pub(crate) fn give(&self, job: Job) {
        if let Some(inbox) = self.shared.inboxes.first() {
            inbox.put(job);
        }
    }

    pub(crate) fn tell_net(&mut self, id: &VnetId, command: u8) {
        if let Some(notice) = Notice::net(self, id, command) {
            self.notices.push(notice);
        }
    }

    pub(crate) fn tell_host(&mut self) {
        let notice = Notice::host(self);
        self.notices.push(notice);
    }

    /// Opens the sockets that these settings need; the present ones if they have the right port.
    fn sockets_for(&self, port: u16) -> Result<Arc<Sockets>, Refusal> {
        if let Some(sockets) = self.sockets.as_ref().filter(|now| now.port == port) {
            return Ok(sockets.clone());
        }
        match Sockets::open(port, self.shared.inboxes.len()) {
            Ok(sockets) => Ok(Arc::new(sockets)),
            Err(Errno::EADDRINUSE) => Err(Refusal::new(
                Errno::EADDRINUSE,
                format!("another program has the UDP port: {port}"),
            )),
            Err(error) => Err(Refusal::new(error, "cannot open the UDP socket")),
        }
    }

    /// Joins the group, if there is one, on the underlay device, or on the one that the route to it leads to.
    fn join(
        &mut self,
        sockets: &Sockets,
        settings: &HostSettings,
    ) -> Result<Option<(IpAddr, u32)>, Refusal> {
        let Some(group) = settings.group else {
            return Ok(None);
        };
        if settings.device == 0 && vnet_core::varp::is_of_link(group) {
            return Err(Refusal::new(
                Errno::EINVAL,
                "this group is another one on each link; name the underlay device",
            ));
        }
        let device = match settings.device {
            0 => {
                let route = self.rtnl.route_to(group, 0);
                route.map(|(out, _)| out).ok_or_else(|| {
                    Refusal::new(
                        Errno::ENODEV,
                        "cannot join the group: no route to it; name the underlay device",
                    )
                })?
            }
            device => device,
        };
        // The socket may be a member already, if only something else has changed.
        match sockets.join(group, device) {
            Ok(()) => Ok(Some((group, device))),
            Err(Errno::EADDRINUSE) => Ok(Some((group, device))),
            Err(Errno::EAFNOSUPPORT) => Err(Refusal::new(
                Errno::EAFNOSUPPORT,
                "the kernel has no IPv6 here",
            )),
            Err(error) => Err(Refusal::new(
                error,
                "cannot join the group on the underlay device; is it up, and has it an address?",
            )),
        }
    }

    /// Opens the sockets for the first vnet.
    fn open(&mut self) -> Result<(), Refusal> {
        if self.sockets.is_some() {
            return Ok(());
        }
        let settings = self.settings.clone();
        let sockets = self.sockets_for(settings.port)?;
        self.joined = match self.join(&sockets, &settings) {
            Err(refusal) if self.may_lack_group => {
                log(&format!("{refusal}; it is tried again every second"));
                self.look_again();
                None
            }
            joined => joined?,
        };
        self.sockets = Some(sockets);
        self.find_sources();
        Ok(())
    }

    /// Closes the sockets if there is no vnet left.
    fn close(&mut self) {
        if self.nets.is_empty() {
            self.sockets = None;
            self.flows = None;
            self.joined = None;
        }
    }

    fn open_flows(&mut self, settings: &Settings) -> Result<(), Refusal> {
        if !wants_flows(settings) || self.flows.is_some() {
            return Ok(());
        }
        let v6 = self
            .sockets
            .as_ref()
            .is_some_and(|sockets| sockets.of(crate::udp::Family::V6, 0).is_some());
        let flows = Flows::open(self.shared.inboxes.len(), v6);
        let refuse = |error| Refusal::new(error, "cannot open the sockets for source-port flow");
        self.flows = Some(Arc::new(flows.map_err(refuse)?));
        Ok(())
    }

    /// Makes a vnet and its device.
    pub(crate) fn create(&mut self, config: Config) -> Result<(), Refusal> {
        let id = config.id;
        if id.is_zero() {
            return Err(Refusal::new(Errno::EINVAL, "vnet id 0 is invalid"));
        }
        if id.is_reserved() {
            return Err(Refusal::new(
                Errno::EINVAL,
                "vnet id 1 is reserved for the physical network",
            ));
        }
        if self.net(&id).is_some() {
            return Err(Refusal::new(Errno::EEXIST, "the vnet exists"));
        }
        let name = config
            .name
            .unwrap_or_else(|| id.default_ifname().as_str().to_owned());
        if !is_device_name(&name) {
            let text = "cannot make a device with this name";
            return Err(Refusal::new(Errno::EINVAL, text).blame(abi::net::IFNAME));
        }
        if self.links.values().any(|link| link.name == name) || self.rtnl.link(&name).is_ok() {
            return Err(Refusal::new(
                Errno::EEXIST,
                "a device with this name exists",
            ));
        }
        Seal::check(&config.settings)?;
        self.open()?;
        let made = self.make(id, &name, config.mtu, config.settings);
        if made.is_err() {
            self.close();
            self.publish();
            return made;
        }
        self.changes += 1;
        self.dirty = true;
        self.publish();
        self.tell_net(&id, cmd::NET_NEW_NTF);
        Ok(())
    }

    /// Has the others in a sealed vnet told that this host is there.
    pub(crate) fn greet(&self, id: &VnetId) {
        if self.net(id).is_some_and(|net| net.seal.is_ready()) {
            self.give(Job::Greet(*id));
        }
    }

    /// The same in all vnets.
    pub(crate) fn greet_all(&self) {
        for net in self.nets.iter().filter(|net| net.seal.is_ready()) {
            self.give(Job::Greet(net.vnet.id));
        }
    }

    /// The keys of a vnet were changed: what follows from that.
    pub(crate) fn renew_keys(&mut self, id: &VnetId) -> Result<(), Refusal> {
        let Some(net) = self.net_mut(id) else {
            return Err(Errno::ENOENT.into());
        };
        net.seal.renew(*id, &net.settings)?;
        self.publish();
        Ok(())
    }

    fn make(
        &mut self,
        id: VnetId,
        name: &str,
        mtu: Option<u32>,
        settings: Settings,
    ) -> Result<(), Refusal> {
        self.open_flows(&settings)?;
        let mut seal = Seal::default();
        seal.renew(id, &settings)?;
        let tap = Tap::create(name, self.shared.inboxes.len()).map_err(|error| match error {
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => Refusal::new(
                error,
                "cannot open /dev/net/tun; is the kernel's driver tun there?",
            ),
            error => Refusal::new(error, "cannot make a device with this name"),
        })?;
        let found = self.rtnl.link(name);
        let link = found.map_err(|error| Refusal::new(error, "cannot find the new device"))?;
        let default = self.default_mtu(&settings);
        let mtu = mtu.unwrap_or(default);
        self.rtnl
            .set_mtu(link.index, mtu)
            .map_err(|error| Refusal::new(error, "cannot set the MTU of the device"))?;
        self.last_serial += 1;
        let vnet = Vnet::new(id, self.last_serial, tap);
        self.nets.push(Local {
            vnet: Arc::new(vnet),
            settings,
            index: link.index,
            name: name.to_owned(),
            mtu,
            up: link.up,
            address: link.address,
            master: link.master,
            wanted: None,
            away: false,
            seal,
        });
        self.links.insert(link.index, Link { mtu, ..link });
        Ok(())
    }

    /// Changes a vnet. Both are as they are already if that is wanted.
    pub(crate) fn change(
        &mut self,
        id: &VnetId,
        mtu: Option<u32>,
        settings: Settings,
    ) -> Result<(), Refusal> {
        let Some(net) = self.net(id) else {
            return Err(Errno::ENOENT.into());
        };
        let (before, present) = (net.settings, net.mtu);
        let (index, away) = (net.index, net.away);
        if mtu.is_none_or(|mtu| mtu == present) && settings == before {
            // It is so already: no change to tell of.
            return Ok(());
        }
        // Who has left the MTU alone has the default, sealed or not.
        let is_default = mtu.is_none()
            && !away
            && settings.sealed().is_some() != before.sealed().is_some()
            && present == self.default_mtu(&before);
        let new_default = is_default.then(|| self.default_mtu(&settings));
        let mtu = mtu.or(new_default).filter(|mtu| *mtu != present);
        let sealing = [Setting::Seal, Setting::Cipher, Setting::MaxSenders];
        let reseals = sealing
            .into_iter()
            .any(|setting| settings.get(setting) != before.get(setting));
        // First what can fail.
        if reseals {
            Seal::check(&settings)?;
        }
        self.open_flows(&settings)?;
        if let Some(mtu) = mtu {
            if away {
                let text = "the device is in another network namespace: set its MTU there";
                return Err(Refusal::new(Errno::EXDEV, text).blame(abi::net::MTU));
            }
            self.rtnl
                .set_mtu(index, mtu)
                .map_err(|error| Refusal::new(error, "cannot set the MTU of the device"))?;
        }
        let mut unlisted = None;
        if let Some(net) = self.net_mut(id).filter(|_| reseals) {
            let evicted = net.seal.renew(*id, &settings)?;
            (0..evicted).for_each(|_| net.vnet.count(abi::NetCounter::Evicted));
        }
        if let Some(net) = self.net_mut(id) {
            let listed_now = settings.listed_only() && !net.settings.listed_only();
            net.settings = settings;
            net.mtu = mtu.unwrap_or(net.mtu);
            let vnet = net.vnet.clone();
            unlisted = listed_now.then(|| vnet.clone());
            // A shorter ageing time holds from now on.
            vnet.age(&self.shared, &settings);
            vnet.settings_changed(&self.shared, &settings);
        }
        self.dirty = true;
        self.publish();
        if let Some(vnet) = unlisted {
            vnet.table.forget_unlisted(self.shared.clock.now());
        }
        // What was learned may be from who could not have sealed it.
        if settings.get(Setting::Seal) != before.get(Setting::Seal) {
            if let Some(net) = self.net(id) {
                net.vnet.table.forget_learned(self.shared.clock.now());
            }
            // A worker that has not seen yet that it is sealed may still learn. Each does this as soon as it has.
            for inbox in &self.shared.inboxes {
                inbox.put(Job::Resealed(*id));
            }
        }
        if reseals {
            self.greet(id);
        }
        self.tell_net(id, cmd::NET_SET_NTF);
        Ok(())
    }

    /// Removes a vnet and its device.
    pub(crate) fn remove(&mut self, id: &VnetId) -> Result<(), Refusal> {
        let Some(net) = self.net(id) else {
            return Err(Errno::ENOENT.into());
        };
        if !net.away {
            let index = net.index;
            self.rtnl
                .delete(index)
                .map_err(|error| Refusal::new(error, "cannot remove the device"))?;
            self.links.remove(&index);
        }
        self.forget(id);
        Ok(())
    }

    /// Lets a vnet go, whose device is gone or goes with the last one who has it open.
    pub(crate) fn forget(&mut self, id: &VnetId) {
        self.tell_net(id, cmd::NET_DEL_NTF);
        self.nets.retain(|net| net.vnet.id != *id);
        self.changes += 1;
        self.dirty = true;
        self.close();
        self.publish();
    }

    /// Whether the group should be joined and is not.
    fn lacks_group(&self) -> bool {
        self.settings.group.is_some() && self.sockets.is_some() && self.joined.is_none()
    }

    /// Takes over new settings, live. `tell`: whether the settings proper are told of.
    pub(crate) fn configure(&mut self, new: HostSettings, tell: bool) -> Result<(), Refusal> {
        if new == self.settings && !self.lacks_group() {
            // The same again is no change, unless the group was lost meanwhile.
            return Ok(());
        }
        let asked = new.group != self.settings.group || new.device != self.settings.device;
        if self.sockets.is_some() {
            let sockets = self.sockets_for(new.port)?;
            let other_port = new.port != self.settings.port;
            let joined = if asked || other_port || self.joined.is_none() {
                match self.join(&sockets, &new) {
                    Ok(joined) => joined,
                    Err(refusal) if asked => return Err(refusal),
                    // Another change must be possible while the underlay is gone.
                    Err(_) => None,
                }
            } else {
                self.joined
            };
            if let (Some((group, device)), Some(old)) = (self.joined, &self.sockets) {
                if !other_port && joined != self.joined {
                    old.leave(group, device);
                }
            }
            self.joined = joined;
            self.sockets = Some(sockets);
        }
        self.settings = new;
        self.find_sources();
        self.dirty = true;
        self.publish();
        if tell {
            self.tell_host();
        }
        if self.lacks_group() {
            self.look_again();
        }
        Ok(())
    }

    pub(crate) fn look_again(&mut self) {
        let due = self.shared.clock.now().plus(REJOIN);
        self.again.get_or_insert(due);
    }

    /// When [`Host::tick`] is to be called.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.again.into_iter().chain(self.next_resync()).min()
    }

    /// Joins the group if it is not joined and should be, and looks at routes if they have changed.
    pub(crate) fn tick(&mut self) {
        self.resync_if_due();
        let now = self.shared.clock.now();
        if self.again.is_none_or(|due| due > now) {
            return;
        }
        self.again = None;
        self.try_join();
        if self.sockets.is_some() {
            self.find_sources();
            self.publish();
        }
    }

    pub(crate) fn try_join(&mut self) {
        // It may be up, but not so far yet that a group could be joined there.
        self.find_device();
        if !self.lacks_group() {
            return;
        }
        let settings = self.settings.clone();
        let Some(sockets) = self.sockets.clone() else {
            return;
        };
        match self.join(&sockets, &settings) {
            Ok(joined) => {
                self.joined = joined;
                self.find_sources();
                self.publish();
                self.tell_host();
            }
            Err(_) => self.look_again(),
        }
    }

    /// Removes all devices, at the end.
    pub(crate) fn end(&mut self) {
        for net in self.nets.drain(..) {
            if net.away {
                continue;
            }
            if let Err(error) = self.rtnl.delete(net.index) {
                log(&format!("cannot remove {}: {error}", net.name));
            }
        }
        self.sockets = None;
        self.flows = None;
        self.shared.publish(World::default());
    }
}
