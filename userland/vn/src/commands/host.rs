// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn host`: the module, and the settings of the network namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use vnet_core::VnetId;
use vnet_core::abi;
use vnet_netlink::{Client, Endpoint, Error, Flood, Host, HostConfig, Links, Net, Via, netns};

use super::{Context, counters, remarks, some_of, warn};
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
    /// Multicast group to which frames are flooded, IPv4 or IPv6, or none
    #[arg(long, value_name = "ADDR|none", value_parser = group)]
    group: Option<IpAddr>,
    /// Underlay device, or none to leave it to the routing table
    #[arg(long, value_name = "IF|none", value_parser = ifname)]
    device: Option<String>,
    /// Where floods go: to the group, and to each peer as a forwarded packet; or as data to each peer, and not to the
    /// group
    #[arg(long, value_name = "group|peers", hide_possible_values = true, value_parser = flood())]
    flood: Option<Flood>,
    /// TTL or hop limit of what is sent; inherit takes that of the inner packet
    #[arg(long, value_name = "1..255|inherit", value_parser = ttl)]
    ttl: Option<u8>,
    /// DSCP of what is sent; inherit takes that of the inner packet
    #[arg(long, value_name = "0..63|inherit", value_parser = dscp)]
    dscp: Option<u8>,
    /// UDP port, source and destination
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

const NONE: &str = "none";
const INHERIT: &str = "inherit";

fn flood() -> impl TypedValueParser<Value = Flood> {
    PossibleValuesParser::new(Flood::NAMES).map(|name| match name.as_str() {
        "peers" => Flood::Peers,
        _ => Flood::Group,
    })
}

fn ttl(text: &str) -> Result<u8, String> {
    inherit_or(text, abi::TTL_INHERIT, 1..=u8::MAX)
}

fn dscp(text: &str) -> Result<u8, String> {
    inherit_or(text, abi::DSCP_INHERIT, 0..=abi::DSCP_MAX)
}

/// A number in the range, or the word for the value that takes over what the inner packet has.
fn inherit_or(text: &str, inherit: u8, range: RangeInclusive<u8>) -> Result<u8, String> {
    if text == INHERIT {
        return Ok(inherit);
    }
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = range.into_inner();
        format!("not a number from {least} to {most}, nor {INHERIT}")
    })
}

/// A value that may be the one that takes over what the inner packet has.
fn or_inherit(value: u8, inherit: u8) -> String {
    if value == inherit {
        INHERIT.to_owned()
    } else {
        value.to_string()
    }
}

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
    if let Some(flood) = host.flood {
        table.row(["flood".to_owned(), flood.to_string()]);
    }
    let device = (host.device != 0).then(|| name(host.device));
    table.row(["device".to_owned(), or_none(device)]);
    table.row(["ttl".to_owned(), or_inherit(host.ttl, abi::TTL_INHERIT)]);
    if let Some(dscp) = host.dscp {
        table.row(["dscp".to_owned(), or_inherit(dscp, abi::DSCP_INHERIT)]);
    }
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
        flood: arguments.flood,
        dscp: arguments.dscp,
    };
    // Both may change what the underlay carries.
    let other_underlay = config.group.is_some() || config.device.is_some();
    context.change("change the settings of the network namespace", || {
        client.host_set(&config)
    })?;
    remarks(&mut client);
    if other_underlay && !context.options.dry_run {
        warn_of_fragments(&client.nets()?);
    }
    Ok(())
}

/// Warns if packets of vnets do not fit the underlay.
fn warn_of_fragments(nets: &[Net]) {
    let too_large: Vec<_> = nets
        .iter()
        .filter(|net| matches!((net.mtu, net.underlay_mtu), (Some(mtu), Some(most)) if mtu > most))
        .map(|net| net.id.to_string())
        .collect();
    if !too_large.is_empty() {
        warn(format_args!(
            "the mtu of these vnets is larger than what the underlay carries now, outer packets will be fragmented: {}",
            some_of(&too_large)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        assert_eq!(group("none"), Ok(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(group("224.10.0.1"), Ok(IpAddr::from([224, 10, 0, 1])));
        let v6 = "ff05::1798";
        assert_eq!(group(v6), Ok(v6.parse().expect("an address")));
        for text in ["", "192.0.2.1", "224.10.0", "any", "2001:db8::1"] {
            assert!(group(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_or_inherit() {
        assert_eq!(ttl("inherit"), Ok(abi::TTL_INHERIT));
        assert_eq!((ttl("1"), ttl("255")), (Ok(1), Ok(255)));
        assert_eq!(dscp("inherit"), Ok(abi::DSCP_INHERIT));
        assert_eq!((dscp("0"), dscp("63")), (Ok(0), Ok(63)));
        for text in ["0", "256", "", "-1", "none"] {
            assert!(ttl(text).is_err(), "{text:?}");
        }
        for text in ["64", "255", "", "ef"] {
            assert!(dscp(text).is_err(), "{text:?}");
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
    fn description() {
        let host = Host {
            port: 1798,
            group: Some(IpAddr::from([224, 10, 0, 1])),
            ttl: 64,
            nets: Some(1),
            joined: Some(2),
            version: "0.1.0".to_owned(),
            flood: Some(Flood::Peers),
            dscp: Some(abi::DSCP_INHERIT),
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
flood    peers
device   none
ttl      64
dscp     inherit
"
        );
    }
}
