// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn remote`: hosts that a vnet accepts from, if it does not accept from any, and hosts that it has learned from.

use std::net::IpAddr;

use clap::Subcommand;
use nix::errno::Errno;
use vnet_core::VnetId;
use vnet_netlink::{Client, Remote};

use super::varp::of_nets;
use super::{Context, remarks, tolerate};
use crate::output::{Table, some};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List a host: vnets with --remotes listed accept from such hosts only
    Add {
        /// The vnet
        id: VnetId,
        /// Address of the host
        addr: IpAddr,
        /// Succeed if it is listed already
        #[arg(long)]
        may_exist: bool,
    },
    /// Take a host off the list
    #[command(alias = "del")]
    Delete {
        /// The vnet
        id: VnetId,
        /// Address of the host
        addr: IpAddr,
        /// Succeed if it is not listed, or there is no such vnet
        #[arg(long)]
        if_exists: bool,
    },
    /// Show the hosts of a vnet, or of all: those that are listed, and those that MAC addresses were learned from
    List {
        /// The vnet
        id: Option<VnetId>,
        /// This host only
        #[arg(requires = "id")]
        addr: Option<IpAddr>,
    },
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let mut client = context.client()?;
    match verb {
        Verb::Add {
            id,
            addr,
            may_exist,
        } => {
            context.change(format_args!("list host {addr} of vnet {id}"), || {
                tolerate(client.remote_new(id, addr), may_exist, Errno::EEXIST)
            })?;
        }
        Verb::Delete {
            id,
            addr,
            if_exists,
        } => {
            context.change(
                format_args!("take host {addr} of vnet {id} off the list"),
                || tolerate(client.remote_del(id, addr), if_exists, Errno::ENOENT),
            )?;
        }
        Verb::List { id, addr } => {
            let mut remotes = of_nets(&mut client, id, "list the hosts of", Client::remotes)?;
            remotes.retain(|remote| addr.is_none_or(|addr| addr == remote.addr));
            context.list(&remotes, || table(&remotes))?;
        }
    }
    remarks(&mut client);
    Ok(())
}

fn table(remotes: &[Remote]) -> Table {
    let mut table = Table::new(["NET", "HOST", "LISTED", "MACS"]);
    for remote in remotes {
        let listed = if remote.is_listed() { "yes" } else { "no" };
        table.row([
            remote.net.to_string(),
            remote.addr.to_string(),
            listed.to_owned(),
            some(remote.macs),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing() {
        let remote = |addr: &str, listed, macs| Remote {
            listed: Some(listed),
            macs: Some(macs),
            ..Remote::new(
                "5".parse().expect("an id"),
                addr.parse().expect("an address"),
            )
        };
        let remotes = [remote("192.0.2.2", 1, 0), remote("2001:db8::2", 0, 3)];
        let mut out = Vec::new();
        table(&remotes).print(&mut out).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\
NET   HOST         LISTED  MACS
0005  192.0.2.2    yes     0
0005  2001:db8::2  no      3
"
        );
    }
}
