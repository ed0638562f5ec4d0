// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn vif`: MAC addresses that send from this host.

use clap::Subcommand;
use vnet_core::VnetId;
use vnet_netlink::{Client, Vif};

use super::Context;
use super::varp::of_nets;
use crate::output::{Table, seconds, some};

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
    let details = context.options.details;
    context.list(&vifs, || table(&vifs, details))
}

fn table(vifs: &[Vif], details: bool) -> Table {
    let mut headings = vec!["NET", "MAC", "AGE", "DAMPED"];
    if details {
        headings.push("MOVES");
    }
    let mut table = Table::new(headings);
    for vif in vifs {
        let mut row = vec![
            vif.net.to_string(),
            vif.mac.to_string(),
            some(vif.age.map(seconds)),
            some(vif.damped.map(seconds)),
        ];
        if details {
            row.push(some(vif.moves));
        }
        table.row(row);
    }
    table
}
