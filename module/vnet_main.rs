// SPDX-License-Identifier: GPL-2.0-only
#![crate_name = "vnet_main"]

//! `vnet.ko`: private Ethernets of virtual machines, carried between hosts in UDP.
//!
//! How the parts hang together, who owns what and which locks there are stands in `docs/design.md`.

mod device;
mod fdb;
mod hosts;
mod namespace;
mod netlink;
mod remote;
mod rx;
mod seal;
mod settings;
mod sys;
mod tx;
mod varp;

use kernel::prelude::*;

use crate::device::Vnet;
use crate::namespace::Namespace;
use crate::netlink::VnetFamily;
use crate::sys::genl::FamilyRegistration;
use crate::sys::net::{PerNet, PerNetRegistration};
use crate::sys::netdev::{Driver, DriverRegistration};
use crate::sys::rcu;
use crate::sys::switchdev::{BridgePort, Listener};

/// Version of the module.
pub(crate) const VERSION: &str = "0.1.0";

module! {
    type: VnetModule,
    name: "vnet",
    authors: ["The vnet authors"],
    description: "Virtual networks: private Ethernets carried between hosts in UDP",
    license: "GPL v2",
}

/// Everything that is registered, in the order in which it goes: nobody can ask any more before devices go, and devices
/// before what they hang on.
struct VnetModule {
    _listener: Listener<Vnet>,
    _family: FamilyRegistration<VnetFamily>,
    _driver: DriverRegistration<Vnet>,
    _namespaces: PerNetRegistration<Namespace>,
    _freed: Freed,
}

/// Waits, as the last thing, for everything that was handed to RCU: its code goes with the module.
struct Freed;

impl Drop for Freed {
    fn drop(&mut self) {
        // What is freed may hand more to RCU, such as the remote of an entry.
        rcu::barrier();
        rcu::barrier();
    }
}

impl kernel::Module for VnetModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if let Err(reason) = namespace::check_params() {
            pr_err!("{reason}\n");
            return Err(EINVAL);
        }
        let freed = Freed;
        let namespaces = Namespace::registration().register()?;
        let driver = Vnet::registration().register()?;
        let family = netlink::register()?;
        let listener = Vnet::listener().register()?;
        Ok(Self {
            _listener: listener,
            _family: family,
            _driver: driver,
            _namespaces: namespaces,
            _freed: freed,
        })
    }
}
