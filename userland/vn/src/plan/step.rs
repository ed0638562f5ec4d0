// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One change, how it is made and how it is undone.

use std::fmt;

use nix::errno::Errno;
use vnet_core::VnetId;
use vnet_netlink::{Error, Link, Net, NetConfig};

use crate::failure::{self, Attempt, Refused};
use crate::world::World;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CreateNet(NetConfig),
    CreateBridge(String),
    /// The host must not be on its customers' networks, where IPv6 would put it by itself.
    NoAddress(String),
    Attach {
        port: String,
        bridge: String,
    },
    Up(String),
    Down(String),
    /// Down and up again.
    Bounce(String),
    Detach {
        port: String,
        bridge: String,
    },
    DeleteBridge(String),
    DeleteNet(VnetId),
}

impl fmt::Display for Step {
    /// In the alternate form with all details.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNet(config) => {
                write!(f, "create vnet {}", config.id)?;
                if f.alternate() {
                    write!(f, " with device {}", device_of(config))?;
                    if let Some(mtu) = config.change.mtu {
                        write!(f, ", mtu {mtu}")?;
                    }
                    for shown in config.change.settings.iter() {
                        write!(f, ", {} {shown}", shown.setting.name())?;
                    }
                }
                Ok(())
            }
            Self::CreateBridge(name) => write!(f, "create bridge {name}"),
            Self::NoAddress(name) => write!(f, "keep IPv6 addresses off {name}"),
            Self::Attach { port, bridge } => write!(f, "attach {port} to bridge {bridge}"),
            Self::Up(name) => write!(f, "take {name} up"),
            Self::Down(name) => write!(f, "take {name} down"),
            Self::Bounce(name) => write!(f, "take {name} down and up again"),
            Self::Detach { port, bridge } => write!(f, "detach {port} from bridge {bridge}"),
            Self::DeleteBridge(name) => write!(f, "delete bridge {name}"),
            Self::DeleteNet(id) => write!(f, "delete vnet {id}"),
        }
    }
}

/// The device that a vnet will have.
pub(super) fn device_of(config: &NetConfig) -> String {
    let default = || config.id.default_ifname().to_string();
    config.ifname.clone().unwrap_or_else(default)
}

/// Refuses to delete a bridge that has ports beside `device`.
pub(super) fn refuse_ports(links: &[Link], bridge: &Link, device: &str) -> Result<(), Refused> {
    let ports: Vec<_> = links
        .iter()
        .filter(|link| link.master == Some(bridge.index) && link.name != device)
        .map(|link| link.name.as_str())
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    Err(Refused::new(format!(
        "bridge {} is in use: {} {} attached to it",
        bridge.name,
        ports.join(", "),
        if ports.len() == 1 { "is" } else { "are" }
    ))
    .hint("detach them first, or leave the bridge: without --bridge"))
}

/// The network device of this name.
fn find(world: &mut dyn World, name: &str) -> anyhow::Result<Link> {
    let link = world.link(name)?;
    link.ok_or_else(|| Refused::new(format!("there is no device {name}")).into())
}

/// What a step did.
pub(crate) struct Done {
    /// How to undo it.
    pub(crate) undo: Option<Step>,
    /// The vnet that it made.
    net: Option<Net>,
}

impl Step {
    pub(crate) fn perform(&self, world: &mut dyn World) -> anyhow::Result<Done> {
        let result = self.try_perform(world);
        result.map_err(|error| {
            let hint = self.hint(&error);
            error.context(Attempt::new(self).hint(hint))
        })
    }

    /// The next step after a refusal.
    pub(super) fn hint(&self, error: &anyhow::Error) -> Option<&'static str> {
        let Self::CreateNet(_) = self else {
            return None;
        };
        match error.downcast_ref().and_then(Error::errno)? {
            Errno::EADDRINUSE => {
                Some("take another port, on all hosts, with: vn host set --port N")
            }
            Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH => Some(
                "name the underlay device with: vn host set --device IF; to do without a group: vn host set \
                 --group none",
            ),
            _ => None,
        }
    }

    fn try_perform(&self, world: &mut dyn World) -> anyhow::Result<Done> {
        let mut net = None;
        let undo = match self {
            Self::CreateNet(config) => {
                net = Some(world.net_new(config)?);
                Some(Self::DeleteNet(config.id))
            }
            Self::CreateBridge(name) => {
                if world.create_bridge(name)? {
                    Some(Self::DeleteBridge(name.clone()))
                } else if find(world, name)?.is_bridge() {
                    // Somebody else made it meanwhile; it is theirs.
                    None
                } else {
                    return Err(Refused::new(format!("{name} exists and is not a bridge")).into());
                }
            }
            Self::NoAddress(name) => {
                let index = find(world, name)?.index;
                world.set_no_address(index)?;
                None
            }
            Self::Attach { port, bridge } => {
                let master = find(world, bridge)?.index;
                let index = find(world, port)?.index;
                world.set_master(index, Some(master))?;
                Some(Self::Detach {
                    port: port.clone(),
                    bridge: bridge.clone(),
                })
            }
            Self::Detach { port, .. } => {
                let index = find(world, port)?.index;
                world.set_master(index, None)?;
                None
            }
            Self::Up(name) => {
                let link = find(world, name)?;
                world.set_up(link.index, true)?;
                (!link.up).then(|| Self::Down(name.clone()))
            }
            Self::Down(name) => {
                let index = find(world, name)?.index;
                world.set_up(index, false)?;
                None
            }
            Self::Bounce(name) => {
                let index = find(world, name)?.index;
                world.set_up(index, false)?;
                world.set_up(index, true)?;
                None
            }
            Self::DeleteBridge(name) => {
                let bridge = find(world, name)?;
                // A guest may have come since it was decided.
                refuse_ports(&world.links()?, &bridge, "")?;
                world.delete_link(bridge.index)?;
                None
            }
            Self::DeleteNet(id) => {
                world.net_del(*id)?;
                None
            }
        };
        Ok(Done { undo, net })
    }
}

/// Does all steps or none. Returns the vnet that was made.
pub(crate) fn all_or_nothing(world: &mut dyn World, steps: &[Step]) -> anyhow::Result<Option<Net>> {
    let mut undo = Vec::new();
    let mut net = None;
    for step in steps {
        let done = world.check_interrupt().and_then(|()| step.perform(world));
        match done {
            Ok(done) => {
                undo.extend(done.undo);
                net = net.or(done.net);
            }
            Err(error) => {
                let mut errors = vec![error];
                for step in undo.iter().rev() {
                    if let Err(error) = step.perform(world) {
                        errors.push(error.context("while undoing"));
                    }
                }
                failure::all(errors)?;
            }
        }
    }
    Ok(net)
}

/// Does all steps that can be done.
pub(crate) fn as_many_as_possible(world: &mut dyn World, steps: &[Step]) -> anyhow::Result<()> {
    let failed = steps.iter().filter_map(|step| step.perform(world).err());
    failure::all(failed.collect())
}
