// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn net`: vnets.

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use vnet_core::abi;
use vnet_core::{Setting, VnetId};
use vnet_netlink::{Counters, Link, Links, Net, NetChange, NetConfig};

use super::cleanup::{self, CleanupArgs};
use super::settings::{Change, SomeChange};
use super::{Context, counters, remarks, warn};
use crate::cli::ifname;
use crate::failure::Attempt;
use crate::lock::Lock;
use crate::output::{Table, some};
use crate::plan::{self, Create, Delete, Step};
use crate::world::Kernel;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a vnet, and take its device up
    Create(CreateArgs),
    /// Remove a vnet and its device
    Delete {
        /// The vnet
        id: VnetId,
        /// Delete the bridge that the device is a port of, too; refused while it has other ports
        #[arg(long)]
        bridge: bool,
        /// Succeed if there is no such vnet
        #[arg(long)]
        if_exists: bool,
    },
    /// Remove vnets with their bridges, and bridges that were left behind; refused while guests are attached
    #[command(group = ArgGroup::new("scope").required(true))]
    Cleanup(CleanupArgs),
    /// Change a vnet; what is not named stays as it is
    Set {
        /// The vnet
        id: VnetId,
        #[command(flatten)]
        change: SomeChange,
    },
    /// List all vnets
    List,
    /// Show one vnet; with -s its counters
    Show {
        /// The vnet
        id: VnetId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The vnet
    id: VnetId,
    /// Name of its device [default: vnif and the last field of the id]
    #[arg(long, value_name = "IF", value_parser = ifname)]
    name: Option<String>,
    /// Make the device a port of this bridge, which is made if it is missing [default: vnbr and the last field of
    /// the id]
    #[arg(long, value_name = "BR", num_args = 0..=1, value_parser = ifname)]
    bridge: Option<Option<String>>,
    #[command(flatten)]
    change: Change,
    /// Succeed if the vnet is there already, and complete what is missing; refused if it differs
    #[arg(long)]
    may_exist: bool,
    /// Take the device down and up again once it is a port; old bridges need it
    #[arg(long, requires = "bridge")]
    bounce: bool,
}

impl CreateArgs {
    fn into_plan(self) -> Create {
        let default = || self.id.default_bridge().to_string();
        Create {
            bridge: self.bridge.map(|bridge| bridge.unwrap_or_else(default)),
            config: NetConfig {
                id: self.id,
                ifname: self.name,
                change: self.change.0,
            },
            may_exist: self.may_exist,
            bounce: self.bounce,
        }
    }
}

/// A vnet as it is listed.
#[derive(Debug, Serialize)]
struct View {
    #[serde(flatten)]
    net: Net,
    /// The bridge that its device is a port of.
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<String>,
}

impl View {
    fn new(mut net: Net, links: &[Link], stats: bool) -> Self {
        if !stats {
            net.stats = None;
        }
        // In another namespace the index means another device.
        let device = links
            .iter()
            .find(|link| net.netnsid.is_none() && Some(link.index) == net.ifindex);
        let master = device.and_then(|device| device.master);
        let bridge = links.iter().find(|link| Some(link.index) == master);
        Self {
            bridge: bridge.map(|bridge| bridge.name.clone()),
            net,
        }
    }
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Create(arguments) => create(context, arguments.into_plan()),
        Verb::Delete {
            id,
            bridge,
            if_exists,
        } => delete(
            context,
            &Delete {
                id,
                bridge,
                if_exists,
            },
        ),
        Verb::Cleanup(arguments) => cleanup::run(context, &arguments),
        Verb::Set { id, change } => set(context, id, &change.0),
        Verb::List => list(context),
        Verb::Show { id } => show(context, id),
    }
}

fn print(context: &mut Context, steps: &[Step]) -> anyhow::Result<()> {
    for step in steps {
        context.line(format_args!("{step:#}"))?;
    }
    Ok(())
}

fn create(context: &mut Context, create: Create) -> anyhow::Result<()> {
    let mut kernel = Kernel::open(&context.endpoint)?;
    let _lock = Lock::take()?;
    let steps = create.plan(&mut kernel)?;
    if context.options.dry_run {
        return print(context, &steps);
    }
    kernel.hold_interrupts()?;
    let net = plan::all_or_nothing(&mut kernel, &steps)?;
    remarks(&mut kernel.client);
    if let Some(net) = net {
        warn_of_fragments(&net);
    }
    Ok(())
}

fn delete(context: &mut Context, delete: &Delete) -> anyhow::Result<()> {
    let mut kernel = Kernel::open(&context.endpoint)?;
    let _lock = Lock::take()?;
    let steps = delete.plan(&mut kernel)?;
    if context.options.dry_run {
        return print(context, &steps);
    }
    plan::as_many_as_possible(&mut kernel, &steps)
}

fn set(context: &mut Context, id: VnetId, change: &NetChange) -> anyhow::Result<()> {
    let mut client = context.client()?;
    context.change(format_args!("change vnet {id}"), || {
        client.net_set(id, change)
    })?;
    remarks(&mut client);
    if change.mtu.is_some() && !context.options.dry_run {
        warn_of_fragments(&client.net(id)?);
    }
    Ok(())
}

/// Warns if the vnet's packets do not fit the underlay.
fn warn_of_fragments(net: &Net) {
    if let (Some(mtu), Some(underlay)) = (net.mtu, net.underlay_mtu) {
        if mtu > underlay {
            warn(format_args!(
                "mtu {mtu} of vnet {} is larger than the {underlay} that the underlay carries: outer packets \
                 will be fragmented",
                net.id
            ));
        }
    }
}

fn list(context: &mut Context) -> anyhow::Result<()> {
    let nets = context.client()?.nets()?;
    let links = Links::open()?.list()?;
    let views: Vec<_> = nets
        .into_iter()
        .map(|net| View::new(net, &links, context.options.stats))
        .collect();
    let (stats, details) = (context.options.stats, context.options.details);
    context.list(&views, || table(&views, stats, details))
}

fn table(views: &[View], stats: bool, details: bool) -> Table {
    let mut headings = vec!["ID", "DEVICE", "BRIDGE", "MTU", "MACS", "VIFS"];
    if details {
        headings.extend(["IFINDEX", "AGEING", "MAX-MACS", "UNDERLAY-MTU", "NETNSID"]);
    }
    if stats {
        headings.extend(["RX-PACKETS", "RX-BYTES", "TX-PACKETS", "TX-BYTES", "LOST"]);
    }
    let mut table = Table::new(headings);
    for View { net, bridge } in views {
        let mut row = vec![
            net.id.to_string(),
            net.ifname.clone(),
            some(bridge.as_ref()),
            some(net.mtu),
            some(net.macs),
            some(net.vifs),
        ];
        if details {
            row.extend([
                some(net.ifindex),
                some(net.settings.get(Setting::Ageing)),
                some(net.settings.get(Setting::MaxMacs)),
                some(net.underlay_mtu),
                some(net.netnsid),
            ]);
        }
        if let Some(stats) = net.stats.as_ref().filter(|_| stats) {
            let counted = abi::net_stats::NAMES.map(|name| stats.get(name).to_string());
            row.extend(counted);
            row.push(lost(stats).to_string());
        }
        table.row(row);
    }
    table
}

/// How many frames were lost, for whatever reason.
fn lost(stats: &Counters) -> u64 {
    let reason = |name: &str| {
        (name.starts_with("rx-") || name.starts_with("tx-"))
            && !abi::net_stats::NAMES.contains(&name)
    };
    let counters = stats.0.iter().filter(|(name, _)| reason(name));
    counters.fold(0, |sum, (_, value)| sum.saturating_add(*value))
}

fn show(context: &mut Context, id: VnetId) -> anyhow::Result<()> {
    let net = context.client()?.net(id).map_err(|error| {
        anyhow::Error::from(error).context(Attempt::new(format_args!("show vnet {id}")))
    })?;
    let links = Links::open()?.list()?;
    let view = View::new(net, &links, context.options.stats);
    context.list(&view, || describe(&view))
}

fn describe(view: &View) -> Table {
    let net = &view.net;
    let mut table = Table::new([]);
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    };
    row("id", net.id.to_string());
    row("ifname", net.ifname.clone());
    row("ifindex", some(net.ifindex));
    row("netnsid", some(net.netnsid));
    row("bridge", some(view.bridge.as_ref()));
    row("mtu", some(net.mtu));
    row("underlay-mtu", some(net.underlay_mtu));
    for shown in net.settings.iter() {
        row(shown.setting.name(), shown.to_string());
    }
    row("macs", some(net.macs));
    row("vifs", some(net.vifs));
    row("held", some(net.held));
    row("unresolved", some(net.unresolved));
    row("senders", some(net.senders));
    counters(&mut table, net.stats.as_ref());
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output;
    use vnet_netlink::SomeSettings;

    fn views() -> Vec<View> {
        let mut net = Net::new("5".parse().expect("an id"));
        net.ifname = "vnif0005".to_owned();
        net.ifindex = Some(9);
        net.mtu = Some(1436);
        net.settings = SomeSettings::new()
            .with(Setting::Ageing, 300_000)
            .with(Setting::MaxMacs, 65536)
            .with(Setting::Unknown, abi::net::UNKNOWN_DROP);
        net.held = Some(3);
        net.macs = Some(2);
        net.vifs = Some(1);
        net.underlay_mtu = Some(1436);
        net.stats = Some(Counters(vec![
            ("rx-packets", 10),
            ("rx-bytes", 840),
            ("tx-packets", 11),
            ("tx-bytes", 900),
            ("rx-short", 1),
            ("tx-no-route", 2),
            ("flooded", 7),
        ]));
        let mut moved = Net::new("1:6".parse().expect("an id"));
        moved.ifname = "vnif0006".to_owned();
        moved.ifindex = Some(9);
        moved.netnsid = Some(3);
        let link = |index, name: &str, master| Link {
            index,
            name: name.to_owned(),
            master,
            ..Link::default()
        };
        let links = [link(4, "vnbr0005", None), link(9, "vnif0005", Some(4))];
        vec![View::new(net, &links, true), View::new(moved, &links, true)]
    }

    fn printed(table: &Table) -> String {
        let mut out = Vec::new();
        table.print(&mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn listing() {
        assert_eq!(
            printed(&table(&views(), false, false)),
            "\
ID                                       DEVICE    BRIDGE    MTU   MACS  VIFS
0005                                     vnif0005  vnbr0005  1436  2     1
0000:0000:0000:0000:0000:0000:0001:0006  vnif0006  -         -     -     -
"
        );
        let all = printed(&table(&views()[..1], true, true));
        assert_eq!(
            all.lines()
                .nth(1)
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")),
            Some(
                "0005 vnif0005 vnbr0005 1436 2 1 9 300000 65536 1436 - 10 840 11 900 3".to_owned()
            )
        );
    }

    #[test]
    fn one_vnet() {
        let views = views();
        assert_eq!(
            printed(&describe(&views[0])),
            "\
id            0005
ifname        vnif0005
ifindex       9
bridge        vnbr0005
mtu           1436
underlay-mtu  1436
ageing        300000
max-macs      65536
unknown       drop
macs          2
vifs          1
held          3
rx-packets    10
rx-bytes      840
tx-packets    11
tx-bytes      900
rx-short      1
tx-no-route   2
flooded       7
"
        );
    }

    #[test]
    fn json() {
        let mut out = Vec::new();
        output::json(&mut out, &views(), false).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            concat!(
                r#"[{"id":"0005","ifname":"vnif0005","ifindex":9,"mtu":1436,"ageing":300000,"max-macs":65536,"#,
                r#""unknown":"drop","macs":2,"vifs":1,"held":3,"underlay-mtu":1436,"stats":{"rx-packets":10,"rx-bytes":840,"tx-packets":11,"#,
                r#""tx-bytes":900,"rx-short":1,"tx-no-route":2,"flooded":7},"bridge":"vnbr0005"},"#,
                r#"{"id":"0000:0000:0000:0000:0000:0000:0001:0006","ifname":"vnif0006","ifindex":9,"netnsid":3}]"#,
                "\n"
            )
        );
    }
}
