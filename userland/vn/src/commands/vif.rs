// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn vif`: MAC addresses that send from this host.

use clap::Subcommand;
use vnet_core::VnetId;
use vnet_netlink::{Client, Vif};

use super::Context;
use super::varp::of_nets;
use crate::output::{Table, seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the local MAC addresses of a vnet, or of all
    List {
        /// The vnet
        id: Option<VnetId>,
    },
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let Verb::List { id } = verb;
    let mut client = context.client()?;
    let vifs = of_nets(
        &mut client,
        id,
        "list the local MAC addresses of",
        Client::vifs,
    )?;
    context.list(&vifs, || table(&vifs))
}

fn table(vifs: &[Vif]) -> Table {
    let mut table = Table::new(["NET", "MAC", "AGE"]);
    for vif in vifs {
        table.row([
            vif.net.to_string(),
            vif.mac.to_string(),
            vif.age.map(seconds).unwrap_or_default(),
        ]);
    }
    table
}
