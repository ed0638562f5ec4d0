// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn host`: the module, and the settings of the network namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Client, Endpoint, Error, Host, HostConfig, Links, Via, netns};

use super::{Context, counters, remarks, warn};
use crate::cli::ifname;
use crate::exec::Program;
use crate::failure::Refused;
use crate::output::{Table, some};

/// How long loading or unloading the module may take.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Load the module
    Load {
        /// Parameters of the module
        #[arg(value_name = "NAME=VALUE", value_parser = parameter)]
        parameters: Vec<String>,
    },
    /// Unload the module; refused while there are vnets
    Unload {
        /// Unload it even if that deletes vnets, in all network namespaces
        #[arg(long)]
        force: bool,
    },
    /// Show the settings of the network namespace; with -s the counters
    Status,
    /// Change the settings of the network namespace, also while vnets are up
    Set(SetArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct SetArgs {
    /// Multicast group to which frames are flooded, or none
    #[arg(long, value_name = "A|none", value_parser = group)]
    group: Option<IpAddr>,
    /// Underlay device, or none to leave it to the routing table
    #[arg(long, value_name = "IF|none", value_parser = ifname)]
    device: Option<String>,
    /// TTL of what is sent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    ttl: Option<u8>,
    /// UDP port, source and destination
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

const NONE: &str = "none";

/// A multicast address; unspecified for none.
fn group(text: &str) -> Result<IpAddr, String> {
    if text == NONE {
        return Ok(Ipv4Addr::UNSPECIFIED.into());
    }
    let address: IpAddr = text.parse().map_err(|_| "not an IP address".to_owned())?;
    if address.is_multicast() {
        Ok(address)
    } else {
        Err("not a multicast address".to_owned())
    }
}

/// A parameter of the module.
fn parameter(text: &str) -> Result<String, String> {
    let name = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    match text.split_once('=') {
        Some((left, _)) if !left.is_empty() && !left.starts_with('-') && left.chars().all(name) => {
            Ok(text.to_owned())
        }
        _ => Err("a parameter is NAME=VALUE".to_owned()),
    }
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Load { parameters } => load(context, parameters),
        Verb::Unload { force } => unload(context, force),
        Verb::Status => status(context),
        Verb::Set(arguments) => set(context, arguments),
    }
}

/// Whether the kernel has the module, if that can be known.
fn is_loaded() -> Option<bool> {
    let modules = Path::new("/sys/module");
    modules.is_dir().then(|| modules.join(abi::FAMILY).is_dir())
}

fn execute(context: &mut Context, program: &Program) -> anyhow::Result<()> {
    if context.options.dry_run {
        context.line(format_args!("run {program}"))
    } else {
        program.run()
    }
}

fn load(context: &mut Context, parameters: Vec<String>) -> anyhow::Result<()> {
    if is_loaded() == Some(true) {
        if !parameters.is_empty() {
            warn("the module is loaded already; the parameters have no effect");
        }
        return Ok(());
    }
    let modprobe = Program::find("modprobe", LIMIT)?
        .arguments(["--", abi::FAMILY])
        .arguments(parameters);
    execute(context, &modprobe)
}

fn unload(context: &mut Context, force: bool) -> anyhow::Result<()> {
    if is_loaded() == Some(false) {
        return Ok(());
    }
    if !force {
        let held = all_nets()?;
        if !held.is_empty() {
            return Err(Refused::new(format!(
                "vnets would be deleted with the module: {}",
                some_of(&held)
            ))
            .hint("delete them first, or unload it with: vn host unload --force")
            .into());
        }
    }
    let modprobe = Program::find("modprobe", LIMIT)?.arguments(["-r", "--", abi::FAMILY]);
    execute(context, &modprobe)
}

/// The vnets of this network namespace and of all that have a name.
fn all_nets() -> anyhow::Result<Vec<String>> {
    let mut held: Vec<String> = nets_here()?.iter().map(VnetId::to_string).collect();
    for name in netns::names()? {
        // A thread that has entered a namespace is of no further use.
        let found = thread::scope(|scope| {
            let found = scope.spawn(|| netns::enter(&name).and_then(|()| nets_here()));
            found.join()
        });
        let found = found.map_err(|_| anyhow!("the vnets of {name} could not be listed"))?;
        match found {
            Ok(ids) => {
                let shown = ids.iter().map(|id| format!("{id} in namespace {name}"));
                held.extend(shown);
            }
            // Removed since it was listed, or none of ours to enter.
            Err(Error::Netns { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(held)
}

/// The first few of a list that may be long.
fn some_of(all: &[String]) -> String {
    const SHOWN: usize = 8;
    let (shown, rest) = all.split_at(all.len().min(SHOWN));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn nets_here() -> Result<Vec<VnetId>, Error> {
    let nets = Client::open(&Endpoint::default().via(Via::Module))?.nets()?;
    Ok(nets.into_iter().map(|net| net.id).collect())
}

fn status(context: &mut Context) -> anyhow::Result<()> {
    let mut host = context.client()?.host()?;
    if !context.options.stats {
        host.stats = None;
    }
    let links = Links::open()?.list()?;
    let name = |index: u32| {
        let link = links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("index {index}"), |link| link.name.clone())
    };
    context.list(&host, || describe(&host, &name))
}

fn describe(host: &Host, name: &dyn Fn(u32) -> String) -> Table {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let mut table = Table::new([]);
    table.row(["version".to_owned(), host.version.clone()]);
    table.row(["nets".to_owned(), some(host.nets)]);
    table.row(["port".to_owned(), host.port.to_string()]);
    table.row([
        "group".to_owned(),
        or_none(host.group.map(|group| group.to_string())),
    ]);
    table.row(["joined".to_owned(), or_none(host.joined.map(name))]);
    let device = (host.device != 0).then(|| name(host.device));
    table.row(["device".to_owned(), or_none(device)]);
    table.row(["ttl".to_owned(), host.ttl.to_string()]);
    counters(&mut table, host.stats.as_ref());
    table
}

fn set(context: &mut Context, arguments: SetArgs) -> anyhow::Result<()> {
    let device = match arguments.device.as_deref() {
        None => None,
        Some(NONE) => Some(0),
        Some(name) => {
            let link = Links::open()?.by_name(name)?;
            let link = link.ok_or_else(|| {
                Refused::new(format!("there is no device {name}"))
                    .hint("ip link shows the network devices")
            })?;
            Some(link.index)
        }
    };
    let mut client = context.client()?;
    let config = HostConfig {
        port: arguments.port,
        group: arguments.group,
        device,
        ttl: arguments.ttl,
        ..HostConfig::default()
    };
    context.change("change the settings of the network namespace", || {
        client.host_set(&config)
    })?;
    remarks(&mut client);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        assert_eq!(group("none"), Ok(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(group("224.10.0.1"), Ok(IpAddr::from([224, 10, 0, 1])));
        for text in ["", "192.0.2.1", "224.10.0", "any"] {
            assert!(group(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn parameters() {
        assert!(parameter("port=1798").is_ok());
        assert!(parameter("name=").is_ok());
        for text in ["", "port", "=1", "-r=1", "a b=1"] {
            assert!(parameter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let all: Vec<_> = (1..=10).map(|number: u32| number.to_string()).collect();
        assert_eq!(some_of(&all[..2]), "1, 2");
        assert_eq!(some_of(&all), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
    }

    #[test]
    fn description() {
        let host = Host {
            port: 1798,
            group: Some(IpAddr::from([224, 10, 0, 1])),
            ttl: 64,
            nets: Some(1),
            joined: Some(2),
            version: "0.1.0".to_owned(),
            ..Host::default()
        };
        let mut out = Vec::new();
        describe(&host, &|index| format!("eth{index}"))
            .print(&mut out)
            .expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\
version  0.1.0
nets     1
port     1798
group    224.10.0.1
joined   eth2
device   none
ttl      64
"
        );
    }
}
