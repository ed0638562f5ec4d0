// SPDX-License-Identifier: GPL-2.0-only

//! What one network namespace has of the module: its settings, socket, peers and vnets.
//!
//! Locking: settings and the list of vnets are under RTNL. The data path reads the table of vnets and the [`Underlay`]
//! under RCU; an underlay is never changed but replaced whole. Lock order: RTNL, then the locks of `fdb` and `remote`.

use core::net::IpAddr;

use kernel::prelude::*;
use kernel::sync::Arc;
use vnet_core::abi::{self, HostCounter};
use vnet_core::varp::{is_of_link, Recent, Sighting};
use vnet_core::wire::{OVERHEAD_V4, OVERHEAD_V6, SEALED_OVERHEAD_V4, SEALED_OVERHEAD_V6};
use vnet_core::VnetId;

use crate::device::Vnet;
use crate::netlink;
use crate::remote::{Remote, Remotes};
use crate::seal::Seals;
use crate::sys::net::{DeviceEvent, Net, PerNet, PerNetStatic};
use crate::sys::netdev::{self, Device, KillList, OwnDevice};
use crate::sys::percpu::{Counters, Notes};
use crate::sys::rcu::{self, Guard, RcuArc, RcuBoxCell};
use crate::sys::route;
use crate::sys::rtnl::{self, Rtnl, RtnlCell};
use crate::sys::sync::{BhLock, LockKind};
use crate::sys::table::{ById, Table};
use crate::sys::udp::{IpFamily, Membership, UdpSocket};
use crate::sys::work::{Delayed, Task};
use crate::sys::{self, errno, params, Refusal, Result};

/// MTU that is assumed of an underlay of which nothing is known.
const MTU_ASSUMED: u32 = 1500;

/// Where floods go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flood {
    /// To the group, and wrapped (VFWD) to each peer.
    Group,
    /// Straight to each peer.
    Peers,
}

impl Flood {
    /// Its number in the ABI.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Group => abi::host::FLOOD_GROUP,
            Self::Peers => abi::host::FLOOD_PEERS,
        }
    }

    /// The one with a number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Group, Self::Peers]
            .into_iter()
            .find(|flood| flood.number() == number)
    }
}

/// What an administrator sets for a namespace.
#[derive(PartialEq)]
pub(crate) struct Settings {
    /// UDP port, source and destination.
    pub(crate) port: u16,
    /// Group that frames are flooded to.
    pub(crate) group: Option<IpAddr>,
    /// Index of the underlay device; 0 leaves it to the routing table.
    pub(crate) device: u32,
    /// Time to live of what is sent, or 0 for that of the inner packet.
    pub(crate) ttl: u8,
    /// DSCP of what is sent, or [`abi::DSCP_INHERIT`].
    pub(crate) dscp: u8,
    /// Where floods go.
    pub(crate) flood: Flood,
    /// Hosts that floods are sent to, in the order they were added.
    pub(crate) peers: KVec<IpAddr>,
}

impl Settings {
    /// What the module was loaded with.
    fn initial() -> Result<Self, Error> {
        Ok(Self {
            port: params::port(),
            group: parse_group(params::group())?,
            device: 0,
            ttl: params::ttl(),
            dscp: 0,
            flood: Flood::Group,
            peers: KVec::new(),
        })
    }

    /// A copy.
    pub(crate) fn copy(&self) -> Result<Self> {
        let mut peers = KVec::with_capacity(self.peers.len(), GFP_KERNEL)?;
        peers.extend_from_slice(&self.peers, GFP_KERNEL)?;
        Ok(Self { peers, ..*self })
    }
}

/// The group of a module parameter.
fn parse_group(text: &[u8]) -> Result<Option<IpAddr>, Error> {
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    if text == "none" {
        return Ok(None);
    }
    match text.parse::<IpAddr>() {
        Ok(group) if group.is_multicast() => Ok(Some(group)),
        _ => Err(EINVAL),
    }
}

/// Refuses parameters that no namespace could use; words for the log.
pub(crate) fn check_params() -> core::result::Result<(), &'static str> {
    if parse_group(params::group()).is_err() {
        return Err("varp_mcaddr is neither a multicast address nor none");
    }
    if params::port() == 0 {
        return Err("varp_port is 0");
    }
    Ok(())
}

/// The forwarded packets of the last moments.
pub(crate) type RecentPackets = BhLock<Recent<KVec<Sighting>>>;

/// How many of them are remembered.
const RECENT: usize = 512;

/// What the data path needs to know of the network below, while there are vnets.
pub(crate) struct Underlay {
    socket: Arc<UdpSocket>,
    /// None if the kernel has no IPv6.
    socket6: Option<Arc<UdpSocket>>,
    /// UDP port, source and destination.
    pub(crate) port: u16,
    /// Index of the device that everything must leave through, or 0.
    pub(crate) device: u32,
    /// Time to live of what is sent, or 0 for that of the inner packet.
    pub(crate) ttl: u8,
    /// DSCP of what is sent, or [`abi::DSCP_INHERIT`].
    pub(crate) dscp: u8,
    flood: Flood,
    group: Option<RcuArc<Remote>>,
    peers: KVec<RcuArc<Remote>>,
    /// There if there is a group, or packets are forwarded.
    recent: Option<Arc<RecentPackets>>,
}

impl Underlay {
    /// The socket for a destination; none if the kernel does not have its family.
    #[inline]
    pub(crate) fn socket(&self, destination: IpAddr) -> Option<&UdpSocket> {
        match destination {
            IpAddr::V4(_) => Some(&self.socket),
            IpAddr::V6(_) => self.socket6.as_deref(),
        }
    }

    /// The group.
    #[inline]
    pub(crate) fn group(&self) -> Option<&Remote> {
        self.group.as_deref()
    }

    /// Whom floods are sent to as they are: the group, or the peers.
    #[inline]
    pub(crate) fn flood_targets(&self) -> impl Iterator<Item = &Remote> {
        let (group, peers) = match self.flood {
            Flood::Group => (self.group.as_ref(), None),
            Flood::Peers => (None, Some(&self.peers)),
        };
        Iterator::chain(group.into_iter(), peers.into_iter().flatten()).map(|remote| &**remote)
    }

    /// Whom floods are sent to wrapped (VFWD).
    #[inline]
    pub(crate) fn forward_targets(&self) -> &[RcuArc<Remote>] {
        match self.flood {
            Flood::Group => &self.peers,
            Flood::Peers => &[],
        }
    }

    /// To how many hosts and groups a packet to everyone goes.
    pub(crate) fn targets(&self) -> usize {
        let forwards = self.forward_targets().len();
        self.flood_targets().count().saturating_add(forwards)
    }

    /// Whether this is one of the peers.
    pub(crate) fn is_peer(&self, address: IpAddr) -> bool {
        self.peers.iter().any(|peer| peer.address() == address)
    }

    /// The packets of the last moments that were forwarded, by us or others.
    #[inline]
    pub(crate) fn recent(&self) -> Option<&RecentPackets> {
        self.recent.as_deref()
    }

    /// Gives the remotes back.
    fn dissolve(self, remotes: &Remotes) {
        for remote in Iterator::chain(self.group.into_iter(), self.peers) {
            remotes.put(remote);
        }
    }
}

/// A network namespace, as far as vnets go.
pub(crate) struct Namespace {
    net: Net,
    settings: RtnlCell<Settings>,
    /// In the order they were made; their serial numbers rise.
    nets: RtnlCell<Nets>,
    table: Table<ById, OwnDevice<Vnet>>,
    seals: Seals,
    remotes: Arc<Remotes>,
    /// Made with the first vnet.
    notes: RtnlCell<Option<Arc<Notes>>>,
    underlay: RcuBoxCell<Underlay>,
    membership: RtnlCell<Option<Membership>>,
    rejoin: Pin<KBox<Delayed<Rejoin>>>,
    /// Whether the underlay device was chosen by command. Until then it is that of the module's parameter.
    device_chosen: RtnlCell<bool>,
    /// Name of the underlay device that has gone, by which it is known when it is there again.
    lost_device: RtnlCell<Option<[u8; 16]>>,
    counters: Counters,
}

/// The vnets of a namespace.
pub(crate) struct Nets {
    list: KVec<OwnDevice<Vnet>>,
    last_serial: u64,
}

static REGISTRATION: PerNetStatic<Namespace> = PerNetStatic::new();

impl PerNet for Namespace {
    fn new(net: Net) -> Result<Self, Error> {
        Ok(Self {
            net,
            settings: RtnlCell::new(Settings::initial()?),
            nets: RtnlCell::new(Nets {
                list: KVec::new(),
                last_serial: 0,
            }),
            table: Table::new()?,
            seals: Seals::new()?,
            remotes: Arc::pin_init(Remotes::new(), GFP_KERNEL)?,
            notes: RtnlCell::new(None),
            underlay: RcuBoxCell::empty(),
            membership: RtnlCell::new(None),
            device_chosen: RtnlCell::new(false),
            lost_device: RtnlCell::new(None),
            rejoin: KBox::pin_init(Delayed::new(Ok::<_, Error>(Rejoin { net })), GFP_KERNEL)?,
            counters: Counters::new(HostCounter::COUNT)?,
        })
    }

    fn kill_devices(&self, list: &mut KillList, rtnl: &mut Rtnl) {
        while let Some(device) = self.nets.get(rtnl).list.last().copied() {
            list.add(device, rtnl);
        }
    }

    fn device_event(&self, event: DeviceEvent, device: &Device, rtnl: &mut Rtnl) {
        match event {
            DeviceEvent::Unregister if self.settings.get(rtnl).device == device.index() => {
                *self.lost_device.get_mut(rtnl) = Some(device.name(rtnl));
            }
            DeviceEvent::Up if *self.lost_device.get(rtnl) == Some(device.name(rtnl)) => {
                self.find_device(device, rtnl);
            }
            DeviceEvent::Up | DeviceEvent::Unregister => {}
        }
        match event {
            DeviceEvent::Unregister if self.joined(rtnl) == Some(device.index()) => {
                self.leave(rtnl);
                netlink::notify_host(self, abi::cmd::HOST_SET_NTF, rtnl);
                self.rejoin.queue(sys::msecs_to_jiffies(REJOIN_INTERVAL));
            }
            DeviceEvent::Up => {
                self.try_join(rtnl);
            }
            DeviceEvent::Unregister => {}
        }
    }

    fn end(&self) {
        self.rejoin.end();
    }

    fn registration() -> &'static PerNetStatic<Self> {
        &REGISTRATION
    }
}

/// Milliseconds between two tries to join the group anew after the device on which it was joined has gone.
const REJOIN_INTERVAL: u32 = 1000;

/// Joins the group of a namespace anew. A route to it may appear without any device coming up.
struct Rejoin {
    net: Net,
}

impl Task for Rejoin {
    fn run(&self) -> Option<usize> {
        let Some(mut rtnl) = rtnl::try_lock() else {
            return Some(1);
        };
        let namespace = Namespace::of(self.net).ok()?;
        let settled = namespace.try_join(&mut rtnl);
        (!settled).then(|| sys::msecs_to_jiffies(REJOIN_INTERVAL))
    }
}

impl Namespace {
    /// The state of a namespace.
    pub(crate) fn of(net: Net) -> Result<&'static Self> {
        // There is none while the namespace is being made or unmade.
        REGISTRATION.get(net).ok_or_else(|| ENODEV.into())
    }

    /// The namespace itself.
    pub(crate) fn net(&self) -> Net {
        self.net
    }

    /// Where sealed messages are looked up.
    #[inline]
    pub(crate) fn seals(&self) -> &Seals {
        &self.seals
    }

    /// The remotes that its vnets share.
    pub(crate) fn remotes(&self) -> &Arc<Remotes> {
        &self.remotes
    }

    /// What the CPUs note of the tables of its vnets. Sleeps.
    pub(crate) fn notes(&self, rtnl: &mut Rtnl) -> Result<Arc<Notes>> {
        if let Some(notes) = self.notes.get(rtnl) {
            return Ok(notes.clone());
        }
        let notes = Arc::new(Notes::new()?, GFP_KERNEL)?;
        *self.notes.get_mut(rtnl) = Some(notes.clone());
        Ok(notes)
    }

    /// Its settings.
    pub(crate) fn settings<'a>(&'a self, rtnl: &'a Rtnl) -> &'a Settings {
        self.settings.get(rtnl)
    }

    /// Its vnets, in the order of their serial numbers.
    pub(crate) fn nets<'a>(&'a self, rtnl: &'a Rtnl) -> &'a [OwnDevice<Vnet>] {
        &self.nets.get(rtnl).list
    }

    /// The vnet with an id, for the data path.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        id: &[u8; 16],
        guard: &'g Guard,
    ) -> Option<&'g OwnDevice<Vnet>> {
        Some(self.table.get(id, guard)?.value())
    }

    /// The vnet with an id.
    pub(crate) fn by_id(&self, id: &VnetId, rtnl: &Rtnl) -> Option<OwnDevice<Vnet>> {
        let _ = rtnl;
        let guard = rcu::read_lock();
        self.find(id.as_bytes(), &guard).copied()
    }

    /// The network below; none if there are no vnets.
    #[inline]
    pub(crate) fn underlay<'g>(&'g self, guard: &'g Guard) -> Option<&'g Underlay> {
        self.underlay.load(guard)
    }

    /// Index of the device on which the group is joined.
    pub(crate) fn joined(&self, rtnl: &Rtnl) -> Option<u32> {
        Some(self.membership.get(rtnl).as_ref()?.device())
    }

    /// Counts something.
    #[inline]
    pub(crate) fn count(&self, counter: HostCounter) {
        self.counters.inc(counter as usize);
    }

    /// A counter's value.
    pub(crate) fn counted(&self, counter: HostCounter) -> u64 {
        self.counters.sum(counter as usize)
    }

    /// Largest MTU of a vnet, sealed or not, that the underlay carries without fragments, if something is known of the underlay.
    pub(crate) fn underlay_mtu(&self, is_sealed: bool, rtnl: &Rtnl) -> Option<u32> {
        let settings = self.settings.get(rtnl);
        let group = settings.group.filter(|_| settings.flood == Flood::Group);
        let targets = Iterator::chain(group.iter(), &settings.peers);
        let mtu_to = |target: &IpAddr| {
            let (_, mtu) = route::egress(self.net, *target, settings.device)?;
            Some(inner_mtu(mtu, target.is_ipv6(), is_sealed))
        };
        targets.filter_map(mtu_to).min().or_else(|| {
            let device = netdev::by_index(self.net, settings.device, rtnl)?;
            Some(inner_mtu(device.mtu(), false, is_sealed))
        })
    }

    /// MTU of a vnet unless another is wanted.
    pub(crate) fn default_mtu(&self, is_sealed: bool, rtnl: &Rtnl) -> u32 {
        self.underlay_mtu(is_sealed, rtnl)
            .unwrap_or_else(|| inner_mtu(MTU_ASSUMED, false, is_sealed))
    }

    /// Opens the socket for the first vnet.
    pub(crate) fn open(&self, rtnl: &mut Rtnl) -> Result {
        if !self.nets.get(rtnl).list.is_empty() {
            return Ok(());
        }
        let named = params::device();
        if self.net.is_initial() && !named.is_empty() && !*self.device_chosen.get(rtnl) {
            // Each time anew, until one is chosen by command: it may have got another index.
            let device = netdev::by_name(self.net, named, rtnl).map(|device| device.index());
            self.settings.get_mut(rtnl).device = device.ok_or(Refusal::new(
                ENODEV,
                c"the underlay device that the module was loaded with is not there",
            ))?;
        }
        let settings = self.settings.get(rtnl);
        let membership = self.join(settings.group, settings.device, rtnl)?;
        match self.build(settings) {
            Ok(new) => self.replace(Some(new)),
            Err(refusal) => {
                if let Some(membership) = membership {
                    membership.leave(rtnl);
                }
                return Err(refusal);
            }
        }
        *self.membership.get_mut(rtnl) = membership;
        Ok(())
    }

    /// Closes the socket if there is no vnet left.
    pub(crate) fn close(&self, rtnl: &mut Rtnl) {
        if self.nets.get(rtnl).list.is_empty() {
            self.replace(None);
            self.leave(rtnl);
        }
    }

    /// Takes a vnet in that is registered.
    pub(crate) fn add(&self, device: OwnDevice<Vnet>, id: &VnetId, rtnl: &mut Rtnl) -> Result {
        let nets = self.nets.get_mut(rtnl);
        nets.list.push(device, GFP_KERNEL)?;
        let done = self.table.insert(*id.as_bytes(), device);
        if done.is_err() {
            nets.list.pop();
        }
        Ok(done?)
    }

    /// The serial number of the next vnet.
    pub(crate) fn next_serial(&self, rtnl: &mut Rtnl) -> u64 {
        let nets = self.nets.get_mut(rtnl);
        nets.last_serial = nets.last_serial.wrapping_add(1);
        nets.last_serial
    }

    /// Lets a vnet go. True if it was there.
    pub(crate) fn remove(&self, device: &Device, id: &VnetId, rtnl: &mut Rtnl) -> bool {
        let guard = rcu::read_lock();
        let gone = match self.table.get(id.as_bytes(), &guard) {
            Some(item) if **item.value() == *device => self.table.remove(item, &guard),
            _ => false,
        };
        drop(guard);
        if gone {
            self.nets
                .get_mut(rtnl)
                .list
                .retain(|other| **other != *device);
        }
        gone
    }

    /// The underlay device is there again, with another index.
    fn find_device(&self, device: &Device, rtnl: &mut Rtnl) {
        *self.lost_device.get_mut(rtnl) = None;
        let found = self.settings.get(rtnl).copy().and_then(|mut settings| {
            settings.device = device.index();
            self.configure(settings, rtnl)
        });
        // Else the group is joined, and the device found, when it comes up the next time.
        match found {
            Ok(()) => netlink::notify_host(self, abi::cmd::HOST_SET_NTF, rtnl),
            Err(_) => *self.lost_device.get_mut(rtnl) = Some(device.name(rtnl)),
        }
    }

    /// The underlay device is chosen by command from now on, not by the module's parameter.
    pub(crate) fn choose_device(&self, rtnl: &mut Rtnl) {
        *self.lost_device.get_mut(rtnl) = None;
        *self.device_chosen.get_mut(rtnl) = true;
    }

    /// Takes over new settings, live. What they need is made before anything is changed.
    pub(crate) fn configure(&self, settings: Settings, rtnl: &mut Rtnl) -> Result {
        let now = self.settings.get(rtnl);
        let device_changed = now.device != settings.device;
        let asked = now.group != settings.group || device_changed;
        let join = asked || self.joined(rtnl).is_none();
        if !self.nets.get(rtnl).list.is_empty() {
            let membership = if join {
                match self.join(settings.group, settings.device, rtnl) {
                    Ok(membership) => membership,
                    Err(refusal) if asked => return Err(refusal),
                    // Another change must be possible while the underlay is gone.
                    Err(_) => None,
                }
            } else {
                None
            };
            match self.build(&settings) {
                Ok(new) => self.replace(Some(new)),
                Err(refusal) => {
                    if let Some(membership) = membership {
                        membership.leave(rtnl);
                    }
                    return Err(refusal);
                }
            }
            if join {
                self.leave(rtnl);
                *self.membership.get_mut(rtnl) = membership;
            }
        }
        *self.settings.get_mut(rtnl) = settings;
        if device_changed {
            self.remotes.reset_routes();
        }
        self.greet(rtnl);
        Ok(())
    }

    /// Others may not have heard yet that our sealed vnets are here.
    fn greet(&self, rtnl: &Rtnl) {
        for device in self.nets(rtnl) {
            if let Some(vnet) = device.state() {
                vnet.varp().greet();
            }
        }
    }

    /// Whether the group should be joined and is not.
    pub(crate) fn lacks_group(&self, rtnl: &Rtnl) -> bool {
        let wanted =
            self.settings.get(rtnl).group.is_some() && !self.nets.get(rtnl).list.is_empty();
        wanted && self.joined(rtnl).is_none()
    }

    /// Joins the group if it is not joined and should be. False if it still should be.
    fn try_join(&self, rtnl: &mut Rtnl) -> bool {
        if !self.lacks_group(rtnl) {
            return true;
        }
        let settings = self.settings.get(rtnl);
        match self.join(settings.group, settings.device, rtnl) {
            Ok(membership) => {
                *self.membership.get_mut(rtnl) = membership;
                netlink::notify_host(self, abi::cmd::HOST_SET_NTF, rtnl);
                self.greet(rtnl);
                true
            }
            Err(_) => false,
        }
    }

    /// Leaves the group, if it was joined.
    fn leave(&self, rtnl: &mut Rtnl) {
        if let Some(membership) = self.membership.get_mut(rtnl).take() {
            membership.leave(rtnl);
        }
    }

    /// Makes what the data path needs. The present socket is kept if it has the right port.
    fn build(&self, settings: &Settings) -> Result<KBox<Underlay>> {
        let space = KBox::<Underlay>::new_uninit(GFP_KERNEL)?;
        let (sockets, recent) = {
            let guard = rcu::read_lock();
            let now = self.underlay(&guard);
            let same_port = now.filter(|now| now.port == settings.port);
            (
                same_port.map(|now| (now.socket.clone(), now.socket6.clone())),
                now.and_then(|now| now.recent.clone()),
            )
        };
        let (socket, socket6) = match sockets {
            Some(sockets) => sockets,
            None => {
                let socket6 = match self.open_socket(IpFamily::V6, settings.port) {
                    Ok(socket) => Some(socket),
                    Err(refusal) if refusal.error() == errno::family_not_supported() => None,
                    Err(refusal) => return Err(refusal),
                };
                (self.open_socket(IpFamily::V4, settings.port)?, socket6)
            }
        };
        let forwards = settings.flood == Flood::Group && !settings.peers.is_empty();
        let recent = match recent {
            None if forwards || settings.group.is_some() => Some(new_recent()?),
            recent => recent,
        };
        let mut underlay = Underlay {
            socket,
            socket6,
            port: settings.port,
            device: settings.device,
            ttl: settings.ttl,
            dscp: settings.dscp,
            flood: settings.flood,
            group: None,
            peers: KVec::with_capacity(settings.peers.len(), GFP_KERNEL)?,
            recent,
        };
        match self.find_remotes(&mut underlay, settings) {
            Ok(()) => Ok(KBox::write(space, underlay)),
            Err(refusal) => {
                underlay.dissolve(&self.remotes);
                Err(refusal)
            }
        }
    }

    fn find_remotes(&self, underlay: &mut Underlay, settings: &Settings) -> Result {
        if let Some(address) = settings.group {
            underlay.group = Some(self.remotes.get(address)?);
        }
        for address in &settings.peers {
            underlay
                .peers
                .push(self.remotes.get(*address)?, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn open_socket(&self, family: IpFamily, port: u16) -> Result<Arc<UdpSocket>> {
        let this = Self::of(self.net)?;
        UdpSocket::open(self.net, family, port, this).map_err(|error| {
            if error == errno::address_in_use() {
                Refusal::new(error, c"another program has the UDP port").with(u32::from(port))
            } else {
                Refusal::new(error, c"cannot open the UDP socket")
            }
        })
    }

    /// Joins the group, if there is one, on the underlay device, or on the one that the route to it leads to.
    fn join(&self, group: Option<IpAddr>, device: u32, rtnl: &Rtnl) -> Result<Option<Membership>> {
        const NO_ROUTE: Refusal = Refusal::new(
            ENODEV,
            c"cannot join the group: no route to it; name the underlay device",
        );
        let Some(group) = group else { return Ok(None) };
        if device == 0 && is_of_link(group) {
            return Err(Refusal::new(
                EINVAL,
                c"this group is another one on each link; name the underlay device",
            ));
        }
        let device = match device {
            0 => route::egress(self.net, group, 0).ok_or(NO_ROUTE)?.0,
            device => device,
        };
        match Membership::join(self.net, group, device, rtnl) {
            Ok(membership) => Ok(Some(membership)),
            Err(error) => Err(Refusal::new(
                error,
                c"cannot join the group on the underlay device; is it up, and has it an address?",
            )),
        }
    }

    fn replace(&self, new: Option<KBox<Underlay>>) {
        if let Some(old) = self.underlay.replace(new) {
            KBox::into_inner(old).dissolve(&self.remotes);
        }
    }
}

/// No forwarded packets yet.
fn new_recent() -> Result<Arc<RecentPackets>> {
    let mut sightings = KVec::with_capacity(RECENT, GFP_KERNEL)?;
    sightings.resize(RECENT, Sighting::UNUSED, GFP_KERNEL)?;
    let recent = BhLock::new(Recent::new(sightings), LockKind::Recent);
    Ok(Arc::pin_init(recent, GFP_KERNEL)?)
}

/// The MTU of a vnet over an underlay with this MTU, in the range that is allowed.
fn inner_mtu(outer: u32, is_ipv6: bool, is_sealed: bool) -> u32 {
    let overhead = match (is_ipv6, is_sealed) {
        (false, false) => OVERHEAD_V4,
        (true, false) => OVERHEAD_V6,
        (false, true) => SEALED_OVERHEAD_V4,
        (true, true) => SEALED_OVERHEAD_V6,
    };
    outer
        .saturating_sub(overhead as u32)
        .clamp(abi::MTU_RANGE.0, abi::MTU_RANGE.1)
}
