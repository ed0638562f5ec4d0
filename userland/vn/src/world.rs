// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the verbs of several steps change: the kernel, except in tests.

use vnet_core::VnetId;
use vnet_netlink::{Client, Endpoint, Error, Link, Links, Net, NetConfig};

use crate::interrupt::Held;

/// Vnets and network devices.
pub(crate) trait World {
    fn nets(&mut self) -> Result<Vec<Net>, Error>;
    fn find_net(&mut self, id: VnetId) -> Result<Option<Net>, Error>;
    fn net_new(&mut self, config: &NetConfig) -> Result<Net, Error>;
    fn net_del(&mut self, id: VnetId) -> Result<(), Error>;
    fn links(&mut self) -> Result<Vec<Link>, Error>;
    fn link(&mut self, name: &str) -> Result<Option<Link>, Error>;
    /// Returns false if there is a device of this name already.
    fn create_bridge(&mut self, name: &str) -> Result<bool, Error>;
    fn delete_link(&mut self, index: u32) -> Result<(), Error>;
    fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error>;
    /// Keeps the kernel from giving the device an address by itself.
    fn set_no_address(&mut self, index: u32) -> Result<(), Error>;
    fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error>;
    /// Fails if somebody wants this program to end.
    fn check_interrupt(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The vnets and devices of the network namespace of this thread.
pub(crate) struct Kernel {
    pub(crate) client: Client,
    pub(crate) links: Links,
    held: Option<Held>,
}

impl Kernel {
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        Ok(Self {
            client: Client::open(endpoint)?,
            links: Links::open()?,
            held: None,
        })
    }

    /// From now on, a signal that would end this program makes [`World::check_interrupt`] fail instead.
    pub(crate) fn hold_interrupts(&mut self) -> anyhow::Result<()> {
        self.held = Some(Held::new()?);
        Ok(())
    }
}

impl World for Kernel {
    fn nets(&mut self) -> Result<Vec<Net>, Error> {
        self.client.nets()
    }

    fn find_net(&mut self, id: VnetId) -> Result<Option<Net>, Error> {
        self.client.find_net(id)
    }

    fn net_new(&mut self, config: &NetConfig) -> Result<Net, Error> {
        self.client.net_new(config)
    }

    fn net_del(&mut self, id: VnetId) -> Result<(), Error> {
        self.client.net_del(id)
    }

    fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.links.list()
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.links.by_name(name)
    }

    fn create_bridge(&mut self, name: &str) -> Result<bool, Error> {
        self.links.create_bridge(name)
    }

    fn delete_link(&mut self, index: u32) -> Result<(), Error> {
        self.links.delete(index)
    }

    fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.links.set_master(index, master)
    }

    fn set_no_address(&mut self, index: u32) -> Result<(), Error> {
        self.links.set_no_address(index)
    }

    fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error> {
        self.links.set_up(index, up)
    }

    fn check_interrupt(&mut self) -> anyhow::Result<()> {
        self.held.as_ref().map_or(Ok(()), Held::check)
    }
}
