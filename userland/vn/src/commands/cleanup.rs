// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn net cleanup`: removes vnets with their bridges, and bridges that were left behind.

use clap::Args;
use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Error, Link, Links, Net, NetConfig};

use super::Context;
use crate::cleanup::{Scope, plan};
use crate::lock::Lock;
use crate::plan::as_many_as_possible;
use crate::world::{Kernel, World};

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct CleanupArgs {
    /// All vnets, and every bridge vnbrXXXX that was left behind
    #[arg(short, long, group = "scope")]
    all: bool,
    /// This vnet and its bridge, or the bridge alone if the vnet is gone
    #[arg(short, long, value_name = "ID", group = "scope")]
    vnet: Option<VnetId>,
    /// Cut off guests that are attached to a bridge
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(context: &mut Context, arguments: &CleanupArgs) -> anyhow::Result<()> {
    let scope = arguments.vnet.map_or(Scope::All, Scope::One);
    let mut world: Box<dyn World> = match Kernel::open(&context.endpoint) {
        Ok(kernel) => Box::new(kernel),
        Err(Error::NoFamily(_) | Error::Nobody { .. }) => Box::new(Leftovers(Links::open()?)),
        Err(error) => return Err(error.into()),
    };
    let _lock = Lock::take()?;
    let nets = world.nets()?;
    let steps = plan(scope, arguments.force, &nets, &world.links()?)?;
    if context.options.dry_run {
        for step in &steps {
            context.line(step)?;
        }
        return Ok(());
    }
    as_many_as_possible(world.as_mut(), &steps)
}

/// What can be changed where neither module nor daemon is: there are no vnets, but their bridges may have been left.
struct Leftovers(Links);

impl Leftovers {
    fn absent<T>() -> Result<T, Error> {
        Err(Error::NoFamily(abi::FAMILY))
    }
}

impl World for Leftovers {
    fn nets(&mut self) -> Result<Vec<Net>, Error> {
        Ok(Vec::new())
    }

    fn find_net(&mut self, _: VnetId) -> Result<Option<Net>, Error> {
        Ok(None)
    }

    fn net_new(&mut self, _: &NetConfig) -> Result<Net, Error> {
        Self::absent()
    }

    fn net_del(&mut self, _: VnetId) -> Result<(), Error> {
        Self::absent()
    }

    fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.0.list()
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        self.0.by_name(name)
    }

    fn create_bridge(&mut self, name: &str) -> Result<bool, Error> {
        self.0.create_bridge(name)
    }

    fn delete_link(&mut self, index: u32) -> Result<(), Error> {
        self.0.delete(index)
    }

    fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.0.set_master(index, master)
    }

    fn set_no_address(&mut self, index: u32) -> Result<(), Error> {
        self.0.set_no_address(index)
    }

    fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error> {
        self.0.set_up(index, up)
    }
}
