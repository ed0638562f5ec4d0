// SPDX-License-Identifier: GPL-2.0-only

//! One vnet: the state of its network device.
//!
//! It belongs to the namespace that it was made in, its home, wherever the device is moved to: the home has the socket.
//!
//! Locking: made, changed and removed under RTNL; the data path (see `tx` and `rx`) finds it under RCU.

use core::net::IpAddr;

use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use vnet_core::abi::{self, NetCounter};
use vnet_core::wire::DATA_HEADER_LEN;
use vnet_core::{Mac, Setting, Settings, VnetId};

use crate::fdb::{Entry, Fdb, Heard};
use crate::hosts::{FloodLimits, Listed};
use crate::namespace::Namespace;
use crate::netlink;
use crate::seal::Seal;
use crate::settings::Live;
use crate::sys::net::Net;
use crate::sys::netdev::{self, Driver, DriverStatic, NewDevice, OwnDevice};
use crate::sys::percpu::Counters;
use crate::sys::rcu::{self, Guard};
use crate::sys::rtnl::{Rtnl, RtnlCell};
use crate::sys::skb::SkBuff;
use crate::sys::switchdev::{BridgePort, ListenerStatic};
use crate::sys::table::{ByMac, Walk};
use crate::sys::{Refusal, Result};
use crate::tx;
use crate::varp::{Event, Varp};

/// Room for the outer IPv6 and UDP headers and our own.
const HEADROOM: usize = 40 + 8 + DATA_HEADER_LEN;

/// A vnet.
pub(crate) struct Vnet {
    id: VnetId,
    /// Tells vnets apart that had the same id one after another.
    serial: u64,
    namespace: &'static Namespace,
    device: OwnDevice<Vnet>,
    settings: Arc<Live>,
    fdb: Pin<KBox<Fdb>>,
    varp: Pin<KBox<Varp>>,
    seal: Seal,
    listed: Listed,
    floods: Pin<KBox<FloodLimits>>,
    counters: Counters,
    /// Whether several changes are made that are told of together.
    quiet: RtnlCell<bool>,
}

/// What a vnet is made of.
pub(crate) struct Config {
    /// Its id.
    pub(crate) id: VnetId,
    /// MTU, unless it is to follow from the underlay.
    pub(crate) mtu: Option<u32>,
    /// Everything else that can be set.
    pub(crate) settings: Settings,
}

impl Config {
    /// A vnet with this id, and nothing else said.
    pub(crate) fn new(id: VnetId) -> Self {
        Self {
            id,
            mtu: None,
            settings: Settings::default(),
        }
    }
}

static REGISTRATION: DriverStatic<Vnet> = DriverStatic::new();

impl Driver for Vnet {
    const KIND: &'static CStr = c"vnet";
    const MTU: (u32, u32) = abi::MTU_RANGE;
    const HEADROOM: u16 = HEADROOM as u16;
    const ATTR_ID: u16 = 1;

    #[inline]
    fn transmit(&self, device: &OwnDevice<Self>, skb: SkBuff, guard: &Guard) {
        tx::transmit(self, device, skb, guard);
    }

    fn link(
        device: NewDevice<Self>,
        home: Net,
        id: [u8; 16],
        mtu: Option<u32>,
        rtnl: &mut Rtnl,
    ) -> Result {
        let namespace = Namespace::of(home)?;
        let id = VnetId::from_bytes(id);
        check_id(namespace, &id, rtnl)?;
        let config = Config {
            mtu,
            ..Config::new(id)
        };
        attach(namespace, device, &config, rtnl)?;
        Ok(())
    }

    fn removed(&self, rtnl: &mut Rtnl) {
        if !self.namespace.remove(&self.device, &self.id, rtnl) {
            return;
        }
        self.seal.end(self, rtnl);
        self.varp.end(self);
        self.fdb.end();
        netlink::notify_net(self, abi::cmd::NET_DEL_NTF, rtnl);
        self.namespace.close(rtnl);
    }

    fn mtu_changed(&self, rtnl: &mut Rtnl) {
        if !*self.quiet.get(rtnl) {
            netlink::notify_net(self, abi::cmd::NET_SET_NTF, rtnl);
        }
    }

    fn home(&self) -> Net {
        self.namespace.net()
    }

    fn id(&self) -> [u8; 16] {
        *self.id.as_bytes()
    }

    fn registration() -> &'static DriverStatic<Self> {
        &REGISTRATION
    }
}

static LISTENER: ListenerStatic<Vnet> = ListenerStatic::new();

impl BridgePort for Vnet {
    fn bridge_learned(&self, mac: Mac, gone: bool, guard: &Guard) {
        if !mac.is_valid_source() {
            return;
        }
        if !gone {
            self.hear_here(mac, guard);
        } else if self.fdb.gone(mac) {
            self.varp.disappeared(self, mac);
        }
    }

    fn listener() -> &'static ListenerStatic<Self> {
        &LISTENER
    }
}

impl Vnet {
    /// Its id.
    #[inline]
    pub(crate) fn vnet_id(&self) -> &VnetId {
        &self.id
    }

    /// Its serial number within the namespace.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The namespace that it belongs to.
    #[inline]
    pub(crate) fn namespace(&self) -> &'static Namespace {
        self.namespace
    }

    /// Its device.
    pub(crate) fn device(&self) -> &OwnDevice<Self> {
        &self.device
    }

    /// Its MAC addresses.
    #[inline]
    pub(crate) fn fdb(&self) -> &Fdb {
        &self.fdb
    }

    /// What it has to ask and to announce.
    #[inline]
    pub(crate) fn varp(&self) -> &Varp {
        &self.varp
    }

    /// How it is sealed.
    #[inline]
    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Its settings.
    #[inline]
    pub(crate) fn settings(&self) -> &Live {
        &self.settings
    }

    /// The hosts that are listed.
    pub(crate) fn listed(&self) -> &Listed {
        &self.listed
    }

    /// Whether the source port of data follows from the inner flow.
    #[inline]
    pub(crate) fn flow_port(&self) -> bool {
        self.settings.get(Setting::SourcePort) == abi::net::SOURCE_PORT_FLOW
    }

    /// Whether a message is accepted that is not sealed.
    ///
    /// # Errors
    ///
    /// As what it is counted that is not.
    #[inline]
    pub(crate) fn admits(&self, host: IpAddr, guard: &Guard) -> Result<(), NetCounter> {
        if self.settings.is_gated() {
            self.admits_by_gate(host, guard)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn admits_by_gate(&self, host: IpAddr, guard: &Guard) -> Result<(), NetCounter> {
        if self.seal.keys(guard).is_some() {
            Err(NetCounter::RxNotSealed)
        } else if !self.accepts(host, guard) {
            Err(NetCounter::RxNotListed)
        } else {
            Ok(())
        }
    }

    /// Whether anything is accepted from a host.
    #[inline]
    pub(crate) fn accepts(&self, host: IpAddr, guard: &Guard) -> bool {
        self.settings.get(Setting::Remotes) != abi::net::REMOTES_LISTED
            || self.listed.contains(host, guard)
    }

    /// Whether one more frame to a group is accepted from a host.
    #[inline]
    pub(crate) fn accepts_flood(&self, host: IpAddr) -> bool {
        match self.settings.get(Setting::RemoteFloods) {
            0 => true,
            rate => self.floods.allow(host, rate),
        }
    }

    /// What follows from having heard a MAC address at a host, or here.
    pub(crate) fn heard(&self, mac: Mac, from: Option<IpAddr>, heard: Heard, guard: &Guard) {
        if let Some(counter) = heard.counter() {
            self.count(counter);
        }
        match (heard, from) {
            (Heard::New | Heard::Moved, None) => {
                self.varp.appeared(self, mac);
                self.varp.abandon(self, mac);
            }
            (Heard::New | Heard::Moved, Some(_)) => {
                if heard == Heard::Moved {
                    self.varp.moved_away(mac);
                }
                self.varp.resolved(self, mac, guard);
            }
            // It is not in the table, but it has answered.
            (Heard::Full | Heard::RemoteFull, Some(_)) => {
                self.varp.heard_of(self, mac, guard);
            }
            (Heard::Damp, other) => self.varp.tell(Event::Damped { mac, other }),
            _ => {}
        }
    }

    /// Takes new settings over. Sleeps.
    pub(crate) fn configure(&self, new: &Settings, rtnl: &mut Rtnl) -> Result {
        let old = self.settings.now();
        let changed = |setting| old.get(setting) != new.get(setting);
        // What can fail comes before what is changed.
        let listed_now = changed(Setting::Remotes) && new.listed_only();
        let unlisted = listed_now.then(|| self.fdb.walk()).transpose()?;
        let damping = changed(Setting::Damp) || changed(Setting::MoveLimit);
        let damped = damping.then(|| self.fdb.walk()).transpose()?;
        // What was learned may be from who could not have sealed it.
        let resealed = changed(Setting::Seal)
            .then(|| self.fdb.walk())
            .transpose()?;
        let sealing = [Setting::Seal, Setting::Cipher, Setting::MaxSenders];
        if sealing.into_iter().any(changed) {
            Seal::check(new)?;
            self.seal.renew(self, new, rtnl)?;
            self.varp.greet();
        }
        self.settings.set(new);
        if changed(Setting::Ageing) {
            self.fdb.settings_changed();
        }
        if changed(Setting::HoldNet) || changed(Setting::MaxUnresolved) {
            self.varp.resize(self);
        }
        self.varp.settings_changed(self, new);
        if let Some(walk) = unlisted {
            self.forget_unlisted(walk);
        }
        if let Some(walk) = resealed {
            // Who has not seen yet that it is sealed learns nothing more after this.
            rcu::synchronize();
            self.fdb.forget_hosts(walk, |_| true);
        }
        if let Some(walk) = damped {
            self.fdb.damp_no_longer(walk, new);
        }
        Ok(())
    }

    /// Forgets what was learned from hosts that are not listed, on a walk that has just begun. Sleeps.
    fn forget_unlisted(&self, walk: Walk<ByMac, Entry>) {
        self.fdb
            .forget_hosts(walk, |host| !self.listed.contains(host, &rcu::read_lock()));
    }

    /// Takes a host off the list, and forgets what was learned from it if the list counts. False if it was not on it. Sleeps.
    pub(crate) fn unlist(&self, host: IpAddr, rtnl: &mut Rtnl) -> Result<bool> {
        let counts = self.settings.now().listed_only();
        let walk = counts.then(|| self.fdb.walk()).transpose()?;
        let was_listed = self.listed.remove(host, rtnl)?;
        if let Some(walk) = walk.filter(|_| was_listed) {
            self.forget_unlisted(walk);
        }
        Ok(was_listed)
    }

    /// Counts something.
    #[inline]
    pub(crate) fn count(&self, counter: NetCounter) {
        self.counters.inc(counter as usize);
    }

    /// A counter's value.
    pub(crate) fn counted(&self, counter: NetCounter) -> u64 {
        match counter {
            // The network stack counts these.
            NetCounter::TxUnderlay => self.device.lost_below(),
            _ => self.counters.sum(counter as usize),
        }
    }

    /// Makes changes that are told of with one notification.
    pub(crate) fn change(
        &self,
        rtnl: &mut Rtnl,
        change: impl FnOnce(&Self, &mut Rtnl) -> Result,
    ) -> Result {
        *self.quiet.get_mut(rtnl) = true;
        let done = change(self, rtnl);
        *self.quiet.get_mut(rtnl) = false;
        if done.is_ok() {
            netlink::notify_net(self, abi::cmd::NET_SET_NTF, rtnl);
        }
        done
    }
}

/// Refuses an id that no vnet may have, or that one has already.
fn check_id(namespace: &Namespace, id: &VnetId, rtnl: &Rtnl) -> Result {
    if id.is_zero() {
        return Err(Refusal::new(EINVAL, c"vnet id 0 is invalid"));
    }
    if id.is_reserved() {
        return Err(Refusal::new(
            EINVAL,
            c"vnet id 1 is reserved for the physical network",
        ));
    }
    if namespace.by_id(id, rtnl).is_some() {
        return Err(Refusal::new(EEXIST, c"the vnet exists"));
    }
    Ok(())
}

/// Makes a vnet and its device, named as wanted or after its id.
pub(crate) fn create(
    namespace: &'static Namespace,
    config: &Config,
    name: Option<[u8; 16]>,
    rtnl: &mut Rtnl,
) -> Result<OwnDevice<Vnet>> {
    check_id(namespace, &config.id, rtnl)?;
    let name = name.unwrap_or_else(|| netdev::padded(&config.id.default_ifname()));
    if netdev::by_name(namespace.net(), trimmed(&name), rtnl).is_some() {
        return Err(Refusal::new(EEXIST, c"a device with this name exists"));
    }
    let device = NewDevice::new(namespace.net(), &name, rtnl)
        .map_err(|error| Refusal::new(error, c"cannot make a device with this name"))?;
    attach(namespace, device, config, rtnl)
}

/// A name without its padding.
fn trimmed(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Makes a vnet of a device that is not registered yet.
fn attach(
    namespace: &'static Namespace,
    mut new: NewDevice<Vnet>,
    config: &Config,
    rtnl: &mut Rtnl,
) -> Result<OwnDevice<Vnet>> {
    let settings = Arc::new(Live::new(&config.settings), GFP_KERNEL)?;
    let notes = namespace.notes(rtnl)?;
    let fdb = Fdb::new(namespace.remotes().clone(), notes, settings.clone());
    let fdb = KBox::pin_init(fdb, GFP_KERNEL)?;
    let varp = KBox::pin_init(Varp::new(new.device()), GFP_KERNEL)?;
    let floods = KBox::pin_init(FloodLimits::new(), GFP_KERNEL)?;
    let counters = Counters::new(NetCounter::COUNT)?;
    Seal::check(&config.settings)?;
    let is_sealed = config.settings.sealed().is_some();
    namespace.open(rtnl)?;
    new.set_mtu(
        config
            .mtu
            .unwrap_or_else(|| namespace.default_mtu(is_sealed, rtnl)),
    );
    let state = Vnet {
        id: config.id,
        serial: namespace.next_serial(rtnl),
        namespace,
        device: new.device(),
        settings,
        fdb,
        varp,
        seal: Seal::new(),
        listed: Listed::empty(),
        floods,
        counters,
        quiet: RtnlCell::new(false),
    };
    let device = match new.register(state, rtnl) {
        Ok(device) => device,
        Err(error) => {
            namespace.close(rtnl);
            return Err(Refusal::new(error, c"cannot register the device"));
        }
    };
    // Sealed before anything can find it.
    let sealed = match device.state() {
        Some(vnet) if is_sealed => vnet.seal.renew(vnet, &config.settings, rtnl),
        _ => Ok(()),
    };
    if let Err(refusal) = sealed.and_then(|()| namespace.add(device, &config.id, rtnl)) {
        if let Some(vnet) = device.state() {
            vnet.seal.end(vnet, rtnl);
        }
        netdev::unregister(device, rtnl);
        namespace.close(rtnl);
        return Err(refusal);
    }
    if let Some(vnet) = device.state() {
        netlink::notify_net(vnet, abi::cmd::NET_NEW_NTF, rtnl);
    }
    Ok(device)
}
