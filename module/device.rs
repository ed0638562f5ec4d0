// SPDX-License-Identifier: GPL-2.0-only

//! One vnet: the state of its network device.
//!
//! It belongs to the namespace that it was made in, its home, wherever the device is moved to: the home has the socket.
//!
//! Locking: made, changed and removed under RTNL; the data path (see `tx` and `rx`) finds it under RCU.

use kernel::prelude::*;
use kernel::str::CStr;
use vnet_core::abi::{self, NetCounter};
use vnet_core::wire::{DATA_HEADER_LEN, OVERHEAD_V4};
use vnet_core::{Setting, VnetId};

use crate::fdb::Fdb;
use crate::namespace::Namespace;
use crate::netlink;
use crate::sys::net::Net;
use crate::sys::netdev::{self, Driver, DriverStatic, NewDevice, OwnDevice};
use crate::sys::percpu::Counters;
use crate::sys::rcu::Guard;
use crate::sys::rtnl::{Rtnl, RtnlCell};
use crate::sys::skb::SkBuff;
use crate::sys::{Refusal, Result};
use crate::tx;

/// Room for the outer IPv4 and UDP headers and our own.
const HEADROOM: usize = 20 + 8 + DATA_HEADER_LEN;

/// A vnet.
pub(crate) struct Vnet {
    id: VnetId,
    /// Tells vnets apart that had the same id one after another.
    serial: u64,
    namespace: &'static Namespace,
    device: OwnDevice<Vnet>,
    fdb: Pin<KBox<Fdb>>,
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
    /// Ageing time in milliseconds.
    pub(crate) ageing: u32,
    /// Most MAC addresses that are learned.
    pub(crate) max_macs: u32,
}

impl Config {
    /// A vnet with this id, and nothing else said.
    pub(crate) fn new(id: VnetId) -> Self {
        Self {
            id,
            mtu: None,
            ageing: Setting::Ageing.default(),
            max_macs: Setting::MaxMacs.default(),
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
    let fdb = Fdb::new(namespace.remotes().clone(), config.ageing, config.max_macs);
    let fdb = KBox::pin_init(fdb, GFP_KERNEL)?;
    let counters = Counters::new(NetCounter::COUNT)?;
    namespace.open(rtnl)?;
    new.set_mtu(config.mtu.unwrap_or_else(|| namespace.default_mtu(rtnl)));
    let state = Vnet {
        id: config.id,
        serial: namespace.next_serial(rtnl),
        namespace,
        device: new.device(),
        fdb,
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
    if let Err(refusal) = namespace.add(device, &config.id, rtnl) {
        netdev::unregister(device, rtnl);
        namespace.close(rtnl);
        return Err(refusal);
    }
    if let Some(vnet) = device.state() {
        netlink::notify_net(vnet, abi::cmd::NET_NEW_NTF, rtnl);
    }
    Ok(device)
}

/// Bytes that encapsulation adds to an inner packet.
pub(crate) const OVERHEAD: u32 = OVERHEAD_V4 as u32;
