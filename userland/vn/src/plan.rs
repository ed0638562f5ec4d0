// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Making and removing a vnet with its bridge: what is to be done is decided first, from what is there; then it is
//! done step by step. If a step of making fails, those before it are undone, last first. Removing goes on after a
//! failure, and tells all of them.

mod step;

use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Link, Net, NetConfig, Shown};

use crate::failure::Refused;
use crate::world::World;

pub(crate) use step::{Step, all_or_nothing, as_many_as_possible};
use step::{device_of, refuse_ports};

/// What is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) config: NetConfig,
    /// The bridge that the device is to be a port of.
    pub(crate) bridge: Option<String>,
    pub(crate) may_exist: bool,
    pub(crate) bounce: bool,
}

impl Create {
    /// Decides what is to be done.
    pub(crate) fn plan(&self, world: &mut dyn World) -> anyhow::Result<Vec<Step>> {
        let id = self.config.id;
        let mut steps = Vec::new();
        let net = world.find_net(id)?;
        let device = match &net {
            Some(net) => {
                self.check_existing(net)?;
                net.ifname.clone()
            }
            None => {
                let device = device_of(&self.config);
                steps.push(Step::CreateNet(self.config.clone()));
                steps.push(Step::NoAddress(device.clone()));
                device
            }
        };
        // A device that was moved to another namespace is out of reach; nor may one of the same name here be touched.
        if net.as_ref().is_some_and(|net| net.netnsid.is_some()) {
            return match self.bridge {
                None => Ok(steps),
                Some(_) => Err(Refused::new(format!(
                    "{device} of vnet {id} was moved to another network namespace"
                ))
                .into()),
            };
        }
        let link = match &net {
            Some(_) => world.link(&device)?,
            None => None,
        };
        if let Some(bridge) = &self.bridge {
            self.plan_bridge(world, &mut steps, &device, link.as_ref(), bridge)?;
        }
        if !link.is_some_and(|link| link.up) {
            steps.push(Step::Up(device.clone()));
        }
        let attached = |step: &Step| matches!(step, Step::Attach { .. });
        if self.bounce && steps.iter().any(attached) {
            steps.push(Step::Bounce(device));
        }
        Ok(steps)
    }

    fn plan_bridge(
        &self,
        world: &mut dyn World,
        steps: &mut Vec<Step>,
        device: &str,
        link: Option<&Link>,
        name: &str,
    ) -> anyhow::Result<()> {
        let attach = Step::Attach {
            port: device.to_owned(),
            bridge: name.to_owned(),
        };
        let master = link.and_then(|link| link.master);
        let Some(bridge) = world.link(name)? else {
            if let Some(master) = master {
                return Err(self.attached_elsewhere(world, device, master)?.into());
            }
            steps.extend([
                Step::CreateBridge(name.to_owned()),
                Step::NoAddress(name.to_owned()),
                attach,
                Step::Up(name.to_owned()),
            ]);
            return Ok(());
        };
        if !bridge.is_bridge() {
            return Err(Refused::new(format!("{name} exists and is not a bridge")).into());
        }
        match master {
            Some(master) if master == bridge.index => {}
            Some(master) => return Err(self.attached_elsewhere(world, device, master)?.into()),
            None => {
                // Two vnets on one bridge would be one network.
                let other = world
                    .links()?
                    .into_iter()
                    .find(|port| port.master == Some(bridge.index) && port.kind == abi::FAMILY);
                if let Some(other) = other {
                    return Err(Refused::new(format!(
                        "bridge {name} has {} of another vnet as a port; the two would be joined",
                        other.name
                    ))
                    .hint("name another bridge with: --bridge BR")
                    .into());
                }
                steps.push(attach);
            }
        }
        if !bridge.up {
            steps.push(Step::Up(name.to_owned()));
        }
        Ok(())
    }

    fn attached_elsewhere(
        &self,
        world: &mut dyn World,
        device: &str,
        master: u32,
    ) -> anyhow::Result<Refused> {
        let master = world.links()?.into_iter().find(|link| link.index == master);
        let name = master.map_or_else(|| "another device".to_owned(), |link| link.name);
        Ok(Refused::new(format!(
            "vnet {} exists and its {device} is attached to {name}",
            self.config.id
        )))
    }

    /// Refuses a vnet that exists, unless that is allowed and it is as it is wanted.
    fn check_existing(&self, net: &Net) -> anyhow::Result<()> {
        let id = net.id;
        if !self.may_exist {
            return Err(Refused::new(format!("vnet {id} exists already"))
                .hint("complete what is missing with: --may-exist")
                .into());
        }
        if let Some(ifname) = self
            .config
            .ifname
            .as_ref()
            .filter(|name| **name != net.ifname)
        {
            return Err(Refused::new(format!(
                "vnet {id} exists with device {}, not {ifname}",
                net.ifname
            ))
            .into());
        }
        let mut differences = Vec::new();
        if let (Some(wanted), Some(found)) = (self.config.change.mtu, net.mtu) {
            if wanted != found {
                differences.push(("mtu", found.to_string(), wanted.to_string()));
            }
        }
        for wanted in self.config.change.settings.iter() {
            let setting = wanted.setting;
            // An older module, which does not have the setting, would have refused to make such a vnet.
            let Some(value) = net.settings.get(setting) else {
                return Err(Refused::new(format!(
                    "vnet {id} exists and has no setting {}",
                    setting.name()
                ))
                .into());
            };
            if value != wanted.value {
                let found = Shown { setting, value }.to_string();
                differences.push((setting.name(), found, wanted.to_string()));
            }
        }
        match differences.first() {
            None => Ok(()),
            Some((name, found, wanted)) => {
                let options = differences
                    .iter()
                    .map(|(name, _, wanted)| format!(" --{name} {wanted}"));
                Err(Refused::new(format!(
                    "vnet {id} exists with {name} {found}, not {wanted}"
                ))
                .hint(format!(
                    "change it with: vn net set {id}{}",
                    options.collect::<String>()
                ))
                .into())
            }
        }
    }
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) id: VnetId,
    pub(crate) bridge: bool,
    pub(crate) if_exists: bool,
}

impl Delete {
    /// Decides what is to be done.
    pub(crate) fn plan(&self, world: &mut dyn World) -> anyhow::Result<Vec<Step>> {
        let id = self.id;
        let Some(net) = world.find_net(id)? else {
            if !self.if_exists {
                return Err(Refused::new(format!("vnet {id} does not exist"))
                    .hint("vn net list shows the vnets")
                    .into());
            }
            return self.plan_leftover(world);
        };
        let mut steps = Vec::new();
        if self.bridge && net.netnsid.is_none() {
            let links = world.links()?;
            let device = links.iter().find(|link| link.name == net.ifname);
            let master = device.and_then(|link| link.master);
            let bridge = links
                .iter()
                .find(|link| Some(link.index) == master && link.is_bridge());
            if let Some(bridge) = bridge {
                refuse_ports(&links, bridge, &net.ifname)?;
                steps.push(Step::Detach {
                    port: net.ifname,
                    bridge: bridge.name.clone(),
                });
                steps.push(Step::DeleteBridge(bridge.name.clone()));
            }
        }
        steps.push(Step::DeleteNet(id));
        Ok(steps)
    }

    /// The default bridge of a vnet that is gone, if an earlier run could not delete it, and nothing uses it.
    fn plan_leftover(&self, world: &mut dyn World) -> anyhow::Result<Vec<Step>> {
        let name = self.id.default_bridge().to_string();
        let links = world.links()?;
        let bridge = links
            .iter()
            .find(|link| link.name == name && link.is_bridge());
        let unused = |bridge: &&Link| !links.iter().any(|link| link.master == Some(bridge.index));
        match bridge.filter(unused) {
            Some(_) if self.bridge => Ok(vec![Step::DeleteBridge(name)]),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests;
