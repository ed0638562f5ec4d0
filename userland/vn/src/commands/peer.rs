// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn peer`: hosts to which floods are sent beside the multicast group.

use std::net::IpAddr;

use clap::Subcommand;
use vnet_netlink::Peer;

use super::{Context, remarks};
use crate::output::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add a host
    Add {
        /// Its address
        addr: IpAddr,
    },
    /// Remove a host
    Del {
        /// Its address
        addr: IpAddr,
    },
    /// List all hosts
    List,
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let mut client = context.client()?;
    match verb {
        Verb::Add { addr } => {
            context.change(format_args!("add peer {addr}"), || client.peer_new(addr))?;
        }
        Verb::Del { addr } => {
            context.change(format_args!("remove peer {addr}"), || client.peer_del(addr))?;
        }
        Verb::List => {
            let peers = client.peers()?;
            context.list(&peers, || table(&peers))?;
        }
    }
    remarks(&mut client);
    Ok(())
}

fn table(peers: &[Peer]) -> Table {
    let mut table = Table::new(["ADDR"]);
    for peer in peers {
        table.row([peer.addr.to_string()]);
    }
    table
}
