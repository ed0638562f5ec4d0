// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The vnet of a machine and its bridge: made unless they are there, as by `vn net create --bridge --may-exist`.

use vnet_core::VnetId;
use vnet_netlink::{Endpoint, Links, NetConfig};

use super::refuse;
use crate::lock::Lock;
use crate::plan::{self, Create, Delete, Step};
use crate::undo::Undo;
use crate::world::{Kernel, World};

/// What there was to make.
#[derive(Clone, Copy)]
struct Made {
    id: VnetId,
    net: bool,
    bridge: bool,
}

fn create(id: VnetId, bounce: bool) -> Create {
    Create {
        config: NetConfig {
            id,
            ifname: None,
            change: Default::default(),
        },
        bridge: Some(id.default_bridge().to_string()),
        may_exist: true,
        bounce,
    }
}

/// Makes what is missing. Returns the vnet's MTU.
pub(crate) fn ensure(
    endpoint: &Endpoint,
    id: VnetId,
    bounce: bool,
    undo: &mut Undo,
) -> anyhow::Result<Option<u32>> {
    let mut kernel = Kernel::open(endpoint)?;
    let lock = Lock::take()?;
    let steps = create(id, bounce).plan(&mut kernel)?;
    let made = Made {
        id,
        net: steps.iter().any(|step| matches!(step, Step::CreateNet(_))),
        bridge: steps
            .iter()
            .any(|step| matches!(step, Step::CreateBridge(_))),
    };
    if made.net || made.bridge {
        let endpoint = endpoint.clone();
        undo.push(format!("remove vnet {id} again"), move || {
            take_back(&endpoint, made)
        })?;
    }
    plan::all_or_nothing(&mut kernel, &steps)?;
    drop(lock);
    Ok(kernel.find_net(id)?.and_then(|net| net.mtu))
}

/// What would be done, in words.
pub(crate) fn steps(endpoint: &Endpoint, id: VnetId, bounce: bool) -> anyhow::Result<Vec<String>> {
    let steps = create(id, bounce).plan(&mut Kernel::open(endpoint)?)?;
    Ok(steps.iter().map(|step| format!("{step:#}")).collect())
}

/// Removes what was made here, unless somebody else uses it by now.
fn take_back(endpoint: &Endpoint, made: Made) -> anyhow::Result<()> {
    let mut kernel = Kernel::open(endpoint)?;
    let _lock = Lock::take()?;
    let id = made.id;
    let (bridge, device) = (
        id.default_bridge().to_string(),
        id.default_ifname().to_string(),
    );
    let links = kernel.links()?;
    let Some(link) = links.iter().find(|link| link.name == bridge) else {
        return match made.net {
            true => remove(&mut kernel, id, false),
            false => Ok(()),
        };
    };
    let port = |name: &str| {
        let found = links.iter().find(|port| port.name == name);
        found.is_some_and(|port| port.master == Some(link.index))
    };
    let used = links
        .iter()
        .any(|port| port.master == Some(link.index) && port.name != device);
    if used {
        return Ok(());
    }
    if made.net {
        return remove(&mut kernel, id, made.bridge);
    }
    let mut steps = Vec::new();
    if port(&device) {
        steps.push(Step::Detach {
            port: device,
            bridge: bridge.clone(),
        });
    }
    steps.push(Step::DeleteBridge(bridge));
    plan::as_many_as_possible(&mut kernel, &steps)
}

fn remove(kernel: &mut Kernel, id: VnetId, bridge: bool) -> anyhow::Result<()> {
    let delete = Delete {
        id,
        bridge,
        if_exists: true,
    };
    let steps = delete.plan(kernel)?;
    plan::as_many_as_possible(kernel, &steps)
}

/// Refuses a bridge that is not there, before anything is made.
pub(crate) fn need_bridge(name: &str) -> anyhow::Result<()> {
    match Links::open()?.by_name(name)? {
        Some(link) if link.is_bridge() => Ok(()),
        Some(_) => refuse(
            format!("{name} is not a bridge"),
            "name a bridge that leads to that network",
        ),
        None => refuse(
            format!("there is no bridge {name}"),
            format!("make it, with the network's device as a port: ip link add {name} type bridge"),
        ),
    }
}

/// Makes a device a port of a bridge, and takes it up: what QEMU wants for the devices that it makes.
pub(crate) fn port_up(device: &str, bridge: &str, bounce: bool) -> anyhow::Result<()> {
    let mut links = Links::open()?;
    need_bridge(bridge)?;
    let (Some(port), Some(master)) = (links.by_name(device)?, links.by_name(bridge)?) else {
        return refuse(
            format!("there is no device {device}"),
            "ip link shows the devices of this network namespace",
        );
    };
    if let Some(other) = port.master.filter(|other| *other != master.index) {
        let name = links
            .by_index(other)?
            .map_or_else(|| "another device".to_owned(), |link| link.name);
        return refuse(
            format!("{device} is a port of {name} already"),
            format!("first: ip link set {device} nomaster"),
        );
    }
    // The host is not to be on its customers' networks.
    links.set_no_address(port.index)?;
    links.set_master(port.index, Some(master.index))?;
    if bounce {
        links.set_up(port.index, false)?;
    }
    Ok(links.set_up(port.index, true)?)
}
