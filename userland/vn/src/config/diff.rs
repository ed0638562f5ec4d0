// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is to be done so that all is as a file says: lines for people, and steps.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use vnet_core::{Setting, abi};
use vnet_netlink::{HostConfig, Link, NetChange, NetConfig, Shown, SomeSettings};

use super::act::Act;
use super::state::{NetState, State};
use super::{Config, INHERIT, NONE, NetSection};
use crate::cleanup::is_vnet_bridge;
use crate::failure::Refused;
use crate::plan::Step;

/// What may be done beside adding and changing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permission {
    /// Remove what the file does not have.
    pub(crate) prune: bool,
    /// Cut off guests.
    pub(crate) force: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Diff {
    /// A line for each difference, beginning with `+`, `-` or `~`.
    pub(crate) lines: Vec<String>,
    /// The steps, in their order.
    pub(crate) acts: Vec<Act>,
}

/// The steps, by when they are done.
#[derive(Default)]
struct Plan {
    lines: Vec<String>,
    /// The settings of the namespace, and what must be out of the way.
    first: Vec<Act>,
    then: Vec<Act>,
    /// What is not in the way goes when all else has succeeded.
    last: Vec<Act>,
    /// Bridges go at the very end: one that is made again, as something else failed, has lost what others had set.
    bridges: Vec<Act>,
}

impl Plan {
    fn line(&mut self, line: impl fmt::Display) {
        self.lines.push(line.to_string());
    }
}

/// Compares what is wanted with what is there.
pub(crate) fn diff(
    wanted: &Config,
    state: &State,
    permission: Permission,
) -> Result<Diff, Refused> {
    let mut plan = Plan::default();
    host(wanted, state, &mut plan)?;
    peers(wanted, state, permission, &mut plan);
    if permission.prune {
        for net in &state.nets {
            if !wanted.nets.iter().any(|section| section.id == net.net.id) {
                remove(wanted, state, net, permission, &mut plan)?;
            }
        }
    }
    for section in &wanted.nets {
        match state.nets.iter().find(|net| net.net.id == section.id) {
            None => create(wanted, state, section, permission, &mut plan)?,
            Some(net) => change(wanted, state, section, net, permission, &mut plan)?,
        }
    }
    let mut acts = plan.first;
    acts.extend(plan.then);
    acts.extend(plan.last);
    acts.extend(plan.bridges);
    Ok(Diff {
        lines: plan.lines,
        acts,
    })
}

fn host(wanted: &Config, state: &State, plan: &mut Plan) -> Result<(), Refused> {
    let (file, host) = (&wanted.host, &state.host);
    let (mut set, mut was) = (HostConfig::default(), HostConfig::default());
    let mut changed = |name: &str, old: String, new: String| {
        plan.line(format_args!("~ host {name} {old} -> {new}"));
    };
    if let Some(port) = file.port.filter(|port| port.0 != host.port) {
        changed("port", host.port.to_string(), port.0.to_string());
        (set.port, was.port) = (Some(port.0), Some(host.port));
    }
    let group = host.group.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if let Some(new) = file.group.filter(|new| *new != group) {
        let shown = |group: IpAddr| match group {
            group if group.is_unspecified() => NONE.to_owned(),
            group => group.to_string(),
        };
        changed("group", shown(group), shown(new));
        (set.group, was.group) = (Some(new), Some(group));
    }
    if let Some(name) = &file.device {
        let index = match name.as_str() {
            NONE => 0,
            name => {
                let link = state.link(name).ok_or_else(|| {
                    Refused::new(format!("there is no device {name}"))
                        .hint("ip link shows the network devices")
                })?;
                link.index
            }
        };
        if index != host.device {
            let gone = || format!("index {}, which is gone", host.device);
            let old = state.underlay().unwrap_or_else(gone);
            changed("device", old, name.clone());
            (set.device, was.device) = (Some(index), Some(host.device));
        }
    }
    let or_inherit = |value: u8, inherit: u8| match value {
        value if value == inherit => INHERIT.to_owned(),
        value => value.to_string(),
    };
    if let Some(ttl) = file.ttl.filter(|ttl| *ttl != host.ttl) {
        let shown = |ttl| or_inherit(ttl, abi::TTL_INHERIT);
        changed("ttl", shown(host.ttl), shown(ttl));
        (set.ttl, was.ttl) = (Some(ttl), Some(host.ttl));
    }
    if let Some(flood) = file.flood.filter(|flood| Some(*flood) != host.flood) {
        let old = host
            .flood
            .map_or_else(|| "unknown".to_owned(), |f| f.to_string());
        changed("flood", old, flood.to_string());
        (set.flood, was.flood) = (Some(flood), host.flood);
    }
    if let Some(dscp) = file.dscp.filter(|dscp| Some(*dscp) != host.dscp) {
        let shown = |dscp| or_inherit(dscp, abi::DSCP_INHERIT);
        let old = host.dscp.map_or_else(|| "unknown".to_owned(), shown);
        changed("dscp", old, shown(dscp));
        (set.dscp, was.dscp) = (Some(dscp), host.dscp);
    }
    if set != HostConfig::default() {
        plan.first.push(Act::Host { set, was });
    }
    Ok(())
}

fn peers(wanted: &Config, state: &State, permission: Permission, plan: &mut Plan) {
    // Those that go make room for those that come.
    for addr in state.peers.difference(&wanted.host.peers) {
        if permission.prune {
            plan.line(format_args!("- peer {addr}"));
            plan.first.push(Act::PeerDel(*addr));
        }
    }
    for addr in wanted.host.peers.difference(&state.peers) {
        plan.line(format_args!("+ peer {addr}"));
        plan.first.push(Act::PeerNew(*addr));
    }
}

/// Refuses to take a vnet's device off a bridge that has guests.
fn refuse_guests(
    state: &State,
    net: &NetState,
    bridge: &Link,
    permission: Permission,
) -> Result<(), Refused> {
    let guests: Vec<_> = guests(state, net, bridge)
        .iter()
        .map(|link| link.name.clone())
        .collect();
    if permission.force || guests.is_empty() {
        return Ok(());
    }
    Err(Refused::new(format!(
        "vnet {} would be taken off bridge {}, to which {} {} attached",
        net.net.id,
        bridge.name,
        guests.join(", "),
        if guests.len() == 1 { "is" } else { "are" }
    ))
    .hint("stop the guests or detach them first, or cut them off with: --force"))
}

fn guests(state: &State, net: &NetState, bridge: &Link) -> Vec<Link> {
    let ports = state.links.iter();
    ports
        .filter(|link| link.master == Some(bridge.index) && link.name != net.net.ifname)
        .cloned()
        .collect()
}

/// The bridge that the vnet's device is a port of.
fn bridge<'a>(state: &'a State, net: &NetState) -> Option<&'a Link> {
    let link = net.link.as_ref()?;
    state.link(state.bridge_of(link)?)
}

fn detach(port: &str, bridge: &str) -> Act {
    Act::Step(Step::Detach {
        port: port.to_owned(),
        bridge: bridge.to_owned(),
    })
}

/// Refuses to delete a bridge that has addresses: made again after a failure, it would be without them.
fn refuse_addresses(state: &State, bridge: &Link) -> Result<(), Refused> {
    let addresses: Vec<_> = state
        .addresses
        .iter()
        .filter(|(index, _)| *index == bridge.index)
        .map(|(_, addr)| addr.to_string())
        .collect();
    if addresses.is_empty() {
        return Ok(());
    }
    Err(Refused::new(format!(
        "bridge {} would be deleted, and has {}, which could not be restored if something fails",
        bridge.name,
        addresses.join(", ")
    ))
    .hint(format!(
        "if they are not needed, remove them first with: ip address flush dev {}",
        bridge.name
    )))
}

/// The steps that take the vnet's device off its bridge, which is deleted at the end if it was made for a vnet and is not wanted.
fn leave(
    wanted: &Config,
    state: &State,
    net: &NetState,
    bridge: &Link,
    permission: Permission,
    plan: &mut Plan,
) -> Result<Vec<Act>, Refused> {
    refuse_guests(state, net, bridge, permission)?;
    let mut acts = vec![detach(&net.net.ifname, &bridge.name)];
    let is_wanted = wanted
        .nets
        .iter()
        .any(|section| section.bridge.as_deref() == Some(bridge.name.as_str()));
    if permission.prune && is_vnet_bridge(&bridge.name) && !is_wanted {
        refuse_addresses(state, bridge)?;
        plan.line(format_args!("- bridge {}", bridge.name));
        let guests = guests(state, net, bridge);
        acts.extend(guests.iter().map(|guest| detach(&guest.name, &bridge.name)));
        let delete = Step::DeleteBridge(bridge.name.clone());
        plan.bridges.push(Act::Step(delete));
    }
    Ok(acts)
}

fn remove(
    wanted: &Config,
    state: &State,
    net: &NetState,
    permission: Permission,
    plan: &mut Plan,
) -> Result<(), Refused> {
    let id = net.net.id;
    if net.net.netnsid.is_some() {
        return Err(Refused::new(format!(
            "{} of vnet {id} was moved to another network namespace, where it could not be made again if something fails",
            net.net.ifname
        ))
        .hint(format!("delete it by itself with: vn net delete {id}")));
    }
    plan.line(format_args!("- net {id}"));
    let mut acts = Vec::new();
    let bridge = bridge(state, net);
    if let Some(bridge) = bridge {
        acts = leave(wanted, state, net, bridge, permission, plan)?;
    }
    acts.push(Act::NetDel {
        id,
        restore: restore(net),
    });
    let device = net.net.ifname.as_str();
    let in_the_way = wanted.nets.iter().any(|section| {
        section.device() == device
            || bridge.is_some_and(|bridge| section.bridge.as_deref() == Some(bridge.name.as_str()))
    });
    if in_the_way {
        plan.first.extend(acts);
    } else {
        plan.last.extend(acts);
    }
    Ok(())
}

/// The steps that make a vnet again as it was, but for its bridge.
fn restore(net: &NetState) -> Vec<Act> {
    let id = net.net.id;
    let config = NetConfig {
        id,
        ifname: Some(net.net.ifname.clone()),
        change: NetChange {
            mtu: net.net.mtu,
            settings: net.section.settings,
        },
    };
    let mut acts = vec![
        Act::Step(Step::CreateNet(config)),
        Act::Step(Step::NoAddress(net.net.ifname.clone())),
    ];
    acts.extend(contents(&net.section));
    if net.link.as_ref().is_some_and(|link| link.up) {
        acts.push(Act::Step(Step::Up(net.net.ifname.clone())));
    }
    acts
}

/// The steps that fill a new vnet.
fn contents(section: &NetSection) -> Vec<Act> {
    let net = section.id;
    let listed = section
        .listed
        .iter()
        .map(|addr| Act::List { net, addr: *addr });
    let statics = section.statics.iter().map(|(mac, addr)| Act::Static {
        net,
        mac: *mac,
        addr: *addr,
        was: None,
    });
    listed.chain(statics).collect()
}

fn create(
    wanted: &Config,
    state: &State,
    section: &NetSection,
    permission: Permission,
    plan: &mut Plan,
) -> Result<(), Refused> {
    let id = section.id;
    let device = section.device();
    plan.line(format_args!("+ net {id}"));
    // A setting that is said to be the default is that, whatever the default is.
    let config = NetConfig {
        id,
        ifname: section.ifname.clone(),
        change: NetChange {
            mtu: section.mtu,
            settings: section.settings,
        },
    };
    plan.then.push(Act::Step(Step::CreateNet(config)));
    plan.then.push(Act::Step(Step::NoAddress(device.clone())));
    plan.then.extend(contents(section));
    if let Some(name) = &section.bridge {
        attach(wanted, state, section, name, permission, plan)?;
    }
    plan.then.push(Act::Step(Step::Up(device)));
    Ok(())
}

/// The steps that make the vnet's device a port of a bridge, which is made if it is missing.
fn attach(
    wanted: &Config,
    state: &State,
    section: &NetSection,
    name: &str,
    permission: Permission,
    plan: &mut Plan,
) -> Result<(), Refused> {
    let step = |step| Act::Step(step);
    let bridge = match state.link(name) {
        Some(link) if !link.is_bridge() => {
            return Err(Refused::new(format!("{name} exists and is not a bridge")));
        }
        other => other,
    };
    if let Some(bridge) = bridge {
        refuse_other(wanted, state, section, bridge, permission)?;
    } else {
        plan.line(format_args!("+ bridge {name}"));
        plan.then.push(step(Step::CreateBridge(name.to_owned())));
        plan.then.push(step(Step::NoAddress(name.to_owned())));
    }
    plan.then.push(step(Step::Attach {
        port: section.device(),
        bridge: name.to_owned(),
    }));
    if !bridge.is_some_and(|bridge| bridge.up) {
        plan.then.push(step(Step::Up(name.to_owned())));
    }
    Ok(())
}

/// Refuses a bridge that carries another vnet, unless that one leaves it.
fn refuse_other(
    wanted: &Config,
    state: &State,
    section: &NetSection,
    bridge: &Link,
    permission: Permission,
) -> Result<(), Refused> {
    let stays = |net: &&NetState| {
        let here = net.link.as_ref().and_then(|link| link.master) == Some(bridge.index);
        let sections = &mut wanted.nets.iter();
        let leaves = match sections.find(|section| section.id == net.net.id) {
            Some(NetSection {
                bridge: Some(other),
                ..
            }) => *other != bridge.name,
            _ => permission.prune,
        };
        here && net.net.id != section.id && !leaves
    };
    match state.nets.iter().find(stays) {
        None => Ok(()),
        Some(net) => Err(Refused::new(format!(
            "bridge {} has {} of vnet {} as a port; the two would be joined",
            bridge.name, net.net.ifname, net.net.id
        ))
        .hint("name another bridge in the file, or take the other vnet off it with: --prune")),
    }
}

fn change(
    wanted: &Config,
    state: &State,
    section: &NetSection,
    net: &NetState,
    permission: Permission,
    plan: &mut Plan,
) -> Result<(), Refused> {
    let id = section.id;
    if section.device() != net.net.ifname {
        return Err(Refused::new(format!(
            "vnet {id} has device {}, which cannot be renamed to {}",
            net.net.ifname,
            section.device()
        ))
        .hint(format!(
            "delete it first with: vn net delete {id}; or write ifname = \"{}\"",
            net.net.ifname
        )));
    }
    // A host is listed before none but those listed is accepted from, and taken off the list after all are.
    let unlist = lists(section, net, permission, plan);
    settings(section, net, plan);
    plan.then.extend(unlist);

    let now = bridge(state, net);
    match (&section.bridge, now) {
        (Some(name), Some(bridge)) if *name == bridge.name => {
            // Who made it was ended before it was done.
            if !bridge.up {
                plan.line(format_args!("~ bridge {name} up"));
                plan.then.push(Act::Step(Step::Up(name.clone())));
            }
        }
        (None, None) => {}
        (None, Some(bridge)) => {
            if permission.prune {
                plan.line(format_args!("- net {id} bridge {}", bridge.name));
                let acts = leave(wanted, state, net, bridge, permission, plan)?;
                plan.first.extend(acts);
            }
        }
        (Some(name), now) => {
            if net.link.is_none() {
                return Err(Refused::new(format!(
                    "{} of vnet {id} was moved to another network namespace",
                    net.net.ifname
                )));
            }
            match now {
                Some(bridge) => {
                    plan.line(format_args!("~ net {id} bridge {} -> {name}", bridge.name));
                    let acts = leave(wanted, state, net, bridge, permission, plan)?;
                    plan.first.extend(acts);
                }
                None => plan.line(format_args!("+ net {id} bridge {name}")),
            }
            attach(wanted, state, section, name, permission, plan)?;
        }
    }
    if net.link.as_ref().is_some_and(|link| !link.up) {
        plan.line(format_args!("~ net {id} up"));
        plan.then.push(Act::Step(Step::Up(net.net.ifname.clone())));
    }
    Ok(())
}

fn settings(section: &NetSection, net: &NetState, plan: &mut Plan) {
    let id = section.id;
    let (mut set, mut was) = (NetChange::default(), NetChange::default());
    if section.mtu.is_some() && section.mtu != net.net.mtu {
        let (old, new) = (
            net.net.mtu.unwrap_or_default(),
            section.mtu.unwrap_or_default(),
        );
        plan.line(format_args!("~ net {id} mtu {old} -> {new}"));
        (set.mtu, was.mtu) = (section.mtu, net.net.mtu);
    }
    let (mut new, mut old) = (SomeSettings::new(), SomeSettings::new());
    for setting in Setting::ALL {
        let wanted = section.setting(*setting);
        // One that is not told of is not there; that is told where it is set.
        let found = State::setting(&net.net, *setting).unwrap_or(setting.default());
        if wanted != found {
            let shown = |value| Shown {
                setting: *setting,
                value,
            };
            plan.line(format_args!(
                "~ net {id} {} {} -> {}",
                setting.name(),
                shown(found),
                shown(wanted)
            ));
            new.set(*setting, Some(wanted));
            old.set(*setting, Some(found));
        }
    }
    (set.settings, was.settings) = (new, old);
    if !set.is_empty() {
        plan.then.push(Act::NetSet { id, set, was });
    }
}

/// Lists hosts and makes static entries. Returns the steps that take hosts off the list.
fn lists(
    section: &NetSection,
    net: &NetState,
    permission: Permission,
    plan: &mut Plan,
) -> Vec<Act> {
    let id = section.id;
    let mut unlist = Vec::new();
    let (listed, found): (&BTreeSet<IpAddr>, _) = (&section.listed, &net.section.listed);
    for addr in found.difference(listed).filter(|_| permission.prune) {
        plan.line(format_args!("- net {id} listed {addr}"));
        unlist.push(Act::Unlist {
            net: id,
            addr: *addr,
        });
    }
    for addr in listed.difference(found) {
        plan.line(format_args!("+ net {id} listed {addr}"));
        plan.then.push(Act::List {
            net: id,
            addr: *addr,
        });
    }
    let (statics, found) = (&section.statics, &net.section.statics);
    for (mac, was) in found {
        if permission.prune && !statics.contains_key(mac) {
            plan.line(format_args!("- net {id} static {mac} {was}"));
            plan.then.push(Act::Forget {
                net: id,
                mac: *mac,
                was: *was,
            });
        }
    }
    for (mac, addr) in statics {
        let was = found.get(mac).copied();
        match was {
            Some(was) if was == *addr => continue,
            Some(was) => plan.line(format_args!("~ net {id} static {mac} {was} -> {addr}")),
            None => plan.line(format_args!("+ net {id} static {mac} {addr}")),
        }
        plan.then.push(Act::Static {
            net: id,
            mac: *mac,
            addr: *addr,
            was,
        });
    }
    unlist
}
