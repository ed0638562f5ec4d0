// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn peer`: hosts to which floods are sent beside the multicast group.

use std::net::IpAddr;

use clap::Subcommand;
use nix::errno::Errno;
use vnet_netlink::Peer;

use super::{Context, remarks, tolerate};
use crate::output::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add a host
    Add {
        /// Its address
        addr: IpAddr,
        /// Succeed if it is a peer already
        #[arg(long)]
        may_exist: bool,
    },
    /// Remove a host
    #[command(alias = "delete")]
    Del {
        /// Its address
        addr: IpAddr,
        /// Succeed if it is no peer
        #[arg(long)]
        if_exists: bool,
    },
    /// List all hosts
    List,
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let mut client = context.client()?;
    match verb {
        Verb::Add { addr, may_exist } => {
            context.change(format_args!("add peer {addr}"), || {
                tolerate(client.peer_new(addr), may_exist, Errno::EEXIST)
            })?;
        }
        Verb::Del { addr, if_exists } => {
            context.change(format_args!("remove peer {addr}"), || {
                tolerate(client.peer_del(addr), if_exists, Errno::ENOENT)
            })?;
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
