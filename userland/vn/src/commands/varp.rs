// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn varp`: which host each remote MAC address is behind.

use std::net::IpAddr;

use clap::Subcommand;
use vnet_core::{Mac, VnetId};
use vnet_netlink::{Client, Error, Varp};

use super::{Context, remarks};
use crate::failure::Attempt;
use crate::output::{Table, seconds, some};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the remote MAC addresses of a vnet, or of all
    List {
        /// The vnet
        id: Option<VnetId>,
    },
    /// Show what is known of one MAC address
    Get {
        /// The vnet
        id: VnetId,
        /// The MAC address
        mac: Mac,
    },
    /// Add a static entry, or replace what was known of the MAC address
    Add {
        /// The vnet
        id: VnetId,
        /// The MAC address
        mac: Mac,
        /// The host that it is behind
        addr: IpAddr,
    },
    /// Remove an entry, static or learned
    #[command(alias = "delete")]
    Del {
        /// The vnet
        id: VnetId,
        /// The MAC address
        mac: Mac,
    },
    /// Remove all learned entries of a vnet; print how many there were
    Flush {
        /// The vnet
        id: VnetId,
    },
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let mut client = context.client()?;
    match verb {
        Verb::List { id } => {
            let varps = of_nets(&mut client, id, "list the MAC addresses of", Client::varps)?;
            let details = context.options.details;
            context.list(&varps, || table(&varps, details))?;
        }
        Verb::Get { id, mac } => {
            let varp = client.varp(id, mac).map_err(|error| {
                let attempt = Attempt::new(format_args!("show {mac} of vnet {id}"));
                anyhow::Error::from(error).context(attempt)
            })?;
            context.list(&varp, || describe(&varp))?;
        }
        Verb::Add { id, mac, addr } => {
            context.change(format_args!("add {mac} of vnet {id} behind {addr}"), || {
                client.varp_new(id, mac, addr)
            })?;
        }
        Verb::Del { id, mac } => {
            context.change(format_args!("remove {mac} of vnet {id}"), || {
                client.varp_del(id, mac)
            })?;
        }
        Verb::Flush { id } => {
            let what = format!("flush the learned MAC addresses of vnet {id}");
            let flushed = context.change(what, || client.varp_flush(id).map(Some))?;
            if let Some(flushed) = flushed {
                context.list(&flushed, || {
                    let mut table = Table::new([]);
                    table.row(["flushed".to_owned(), flushed.count.to_string()]);
                    table
                })?;
            }
        }
    }
    remarks(&mut client);
    Ok(())
}

/// What `list` gives for one vnet, or for all of them one after the other.
pub(crate) fn of_nets<T>(
    client: &mut Client,
    id: Option<VnetId>,
    what: &str,
    list: impl Fn(&mut Client, VnetId) -> Result<Vec<T>, Error>,
) -> anyhow::Result<Vec<T>> {
    let ids = match id {
        Some(id) => vec![id],
        None => client.nets()?.into_iter().map(|net| net.id).collect(),
    };
    let mut all = Vec::new();
    for each in ids {
        match list(client, each) {
            Ok(entries) => all.extend(entries),
            // Deleted since it was listed.
            Err(error) if id.is_none() && error.is_absent() => {}
            Err(error) => {
                let attempt = Attempt::new(format_args!("{what} vnet {each}"));
                return Err(anyhow::Error::from(error).context(attempt));
            }
        }
    }
    Ok(all)
}

fn table(varps: &[Varp], details: bool) -> Table {
    let mut headings = vec!["NET", "MAC", "HOST", "STATE", "AGE", "HELD", "DAMPED"];
    if details {
        headings.push("MOVES");
    }
    let mut table = Table::new(headings);
    for varp in varps {
        let mut row = vec![
            varp.net.to_string(),
            varp.mac.to_string(),
            some(varp.addr),
            some(varp.state),
            some(varp.age.map(seconds)),
            some(varp.held),
            some(varp.damped.map(seconds)),
        ];
        if details {
            row.push(some(varp.moves));
        }
        table.row(row);
    }
    table
}

fn describe(varp: &Varp) -> Table {
    let mut table = Table::new([]);
    for (name, value) in varp.fields() {
        table.row([name, value]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use vnet_netlink::VarpState;

    #[test]
    fn listing() {
        let entry = |mac: &str, state| Varp {
            state: Some(state),
            ..Varp::new("5".parse().expect("an id"), mac.parse().expect("a MAC"))
        };
        let mut varps = [
            entry("02:00:00:05:00:02", VarpState::Learned),
            entry("02:00:00:05:00:03", VarpState::Static),
            entry("02:00:00:05:00:04", VarpState::Probing),
        ];
        varps[0].addr = Some(IpAddr::from([192, 0, 2, 2]));
        varps[0].age = Some(1250);
        varps[0].damped = Some(29_000);
        varps[0].moves = Some(6);
        varps[1].addr = Some("2001:db8::2".parse().expect("an address"));
        varps[2].held = Some(3);
        let mut out = Vec::new();
        table(&varps, false).print(&mut out).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\
NET   MAC                HOST         STATE    AGE     HELD  DAMPED
0005  02:00:00:05:00:02  192.0.2.2    learned  1.250s  -     29.000s
0005  02:00:00:05:00:03  2001:db8::2  static   -       -     -
0005  02:00:00:05:00:04  -            probing  -       3     -
"
        );
    }
}
