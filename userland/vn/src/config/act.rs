// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The steps of carrying a configuration out, each with what undoes it.

use std::fmt;
use std::net::IpAddr;

use vnet_core::{Mac, VnetId};
use vnet_netlink::{Error, HostConfig, NetChange};

use super::state::Store;
use crate::failure::{self, Attempt};
use crate::plan::Step;

/// One change, and what it needs to be undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Of a vnet's device or bridge.
    Step(Step),
    /// Of the settings of the network namespace.
    Host {
        set: HostConfig,
        was: HostConfig,
    },
    PeerNew(IpAddr),
    PeerDel(IpAddr),
    NetSet {
        id: VnetId,
        set: NetChange,
        was: NetChange,
    },
    NetDel {
        id: VnetId,
        restore: Vec<Act>,
    },
    List {
        net: VnetId,
        addr: IpAddr,
    },
    Unlist {
        net: VnetId,
        addr: IpAddr,
    },
    /// A static entry is made, in place of another if there was one.
    Static {
        net: VnetId,
        mac: Mac,
        addr: IpAddr,
        was: Option<IpAddr>,
    },
    Forget {
        net: VnetId,
        mac: Mac,
        was: IpAddr,
    },
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => step.fmt(f),
            Self::Host { .. } => f.write_str("change the settings of the network namespace"),
            Self::PeerNew(addr) => write!(f, "add peer {addr}"),
            Self::PeerDel(addr) => write!(f, "remove peer {addr}"),
            Self::NetSet { id, .. } => write!(f, "change vnet {id}"),
            Self::NetDel { id, .. } => write!(f, "delete vnet {id}"),
            Self::List { net, addr } => write!(f, "list {addr} in vnet {net}"),
            Self::Unlist { net, addr } => write!(f, "take {addr} off the list of vnet {net}"),
            Self::Static { net, mac, addr, .. } => {
                write!(f, "add {mac} of vnet {net} behind {addr}")
            }
            Self::Forget { net, mac, .. } => write!(f, "remove {mac} of vnet {net}"),
        }
    }
}

impl Act {
    /// Does it. Returns what undoes it, in the order in which that is to be done.
    fn perform(&self, store: &mut dyn Store) -> anyhow::Result<Vec<Self>> {
        if let Self::Step(step) = self {
            return perform_step(step, store);
        }
        self.request(store)
            .map_err(|error| anyhow::Error::from(error).context(Attempt::new(self)))
    }

    fn request(&self, store: &mut dyn Store) -> Result<Vec<Self>, Error> {
        Ok(match self {
            // Carried out by the caller, whose errors say more.
            Self::Step(_) => Vec::new(),
            Self::Host { set, was } => {
                store.host_set(set)?;
                vec![Self::Host {
                    set: was.clone(),
                    was: set.clone(),
                }]
            }
            Self::PeerNew(addr) => {
                store.peer_new(*addr)?;
                vec![Self::PeerDel(*addr)]
            }
            Self::PeerDel(addr) => {
                store.peer_del(*addr)?;
                vec![Self::PeerNew(*addr)]
            }
            Self::NetSet { id, set, was } => {
                store.net_set(*id, set)?;
                vec![Self::NetSet {
                    id: *id,
                    set: was.clone(),
                    was: set.clone(),
                }]
            }
            Self::NetDel { id, restore } => {
                store.net_del(*id)?;
                restore.clone()
            }
            Self::List { net, addr } => {
                store.remote_new(*net, *addr)?;
                vec![Self::Unlist {
                    net: *net,
                    addr: *addr,
                }]
            }
            Self::Unlist { net, addr } => {
                store.remote_del(*net, *addr)?;
                vec![Self::List {
                    net: *net,
                    addr: *addr,
                }]
            }
            Self::Static {
                net,
                mac,
                addr,
                was,
            } => {
                store.varp_new(*net, *mac, *addr)?;
                vec![match was {
                    Some(was) => Self::Static {
                        net: *net,
                        mac: *mac,
                        addr: *was,
                        was: Some(*addr),
                    },
                    None => Self::Forget {
                        net: *net,
                        mac: *mac,
                        was: *addr,
                    },
                }]
            }
            Self::Forget { net, mac, was } => {
                store.varp_del(*net, *mac)?;
                vec![Self::Static {
                    net: *net,
                    mac: *mac,
                    addr: *was,
                    was: None,
                }]
            }
        })
    }
}

fn perform_step(step: &Step, store: &mut dyn Store) -> anyhow::Result<Vec<Act>> {
    let undo = step.perform(store.world())?.undo;
    let steps = match step {
        Step::Detach { port, bridge } => vec![Step::Attach {
            port: port.clone(),
            bridge: bridge.clone(),
        }],
        Step::DeleteBridge(name) => vec![
            Step::CreateBridge(name.clone()),
            Step::NoAddress(name.clone()),
            Step::Up(name.clone()),
        ],
        _ => undo.into_iter().collect(),
    };
    Ok(steps.into_iter().map(Act::Step).collect())
}

/// Whether it is not known if what failed was done all the same.
fn is_unknown(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(Error::is_unanswered)
}

/// Does all or nothing: if one fails, those before it are undone, last first. Whatever goes wrong then is told, too.
pub(crate) fn all_or_nothing(store: &mut dyn Store, acts: &[Act]) -> anyhow::Result<()> {
    let mut undo: Vec<Vec<Act>> = Vec::new();
    for act in acts {
        let done = store.check_interrupt().and_then(|()| act.perform(store));
        match done {
            Ok(undoes) => undo.push(undoes),
            Err(error) => {
                let mut errors = vec![error];
                for act in undo.iter().rev().flatten() {
                    if let Err(error) = act.perform(store) {
                        errors.push(error.context("while undoing"));
                    }
                }
                if errors.len() == 1 && !errors.iter().any(is_unknown) {
                    let clean = |error: anyhow::Error| error.context("nothing was changed");
                    return failure::all(errors).map_err(clean);
                }
                return failure::all(errors);
            }
        }
    }
    Ok(())
}
