// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The command line: its help, completions and manual pages are made from what is here and in the `commands`.

use std::env;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use vnet_netlink::{Endpoint, Via};

use crate::commands::{
    check, config, disk, domr, host, image, key, meta, net, peer, ping, port, remote, template,
    varp, vif, vm,
};

const AFTER_HELP: &str = "\
IDs are hexadecimal: up to eight fields of up to four digits, missing ones in front are zero. 5, 0005 and \
0000:0000:0000:0000:0000:0000:0000:0005 are the same vnet. 0 is invalid, 1 is reserved.

A noun without a verb lists, or shows the status.

Exit status: 0 done, 1 usage, 2 refused by the kernel or the world, 4 vn check \
has found a fault, or nobody answered vn ping.";

/// Environment variable that names the socket of vnetd.
const SOCKET_VARIABLE: &str = "VNETD_SOCKET";

/// Virtual networks: a private Ethernet for each customer, spread over all hosts.
#[derive(Debug, Parser)]
#[command(
    name = "vn",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Options {
    /// Print JSON
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Print JSON for people to read
    #[arg(short, long, global = true)]
    pub(crate) pretty: bool,
    /// Print counters, too
    #[arg(short, long, global = true)]
    pub(crate) stats: bool,
    /// Print more
    #[arg(short, long, global = true)]
    pub(crate) details: bool,
    /// Work in this network namespace
    #[arg(short, long, global = true, value_name = "NETNS")]
    pub(crate) netns: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Who carries the vnets [default: whichever is there]
    #[arg(long, global = true, value_name = "module|vnetd", hide_possible_values = true, value_parser = via())]
    pub(crate) via: Option<Via>,
    /// Socket of vnetd [default: $VNETD_SOCKET, /run/vnetd/control, or /run/vnetd/NETNS/control with -n]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) vnetd_socket: Option<PathBuf>,
}

impl Options {
    /// Where requests go.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let mut endpoint = match &self.netns {
            Some(name) if !name.contains('/') => Endpoint::of_namespace(name),
            _ => Endpoint::default(),
        };
        let named = self.vnetd_socket.clone();
        let variable = || env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
        if let Some(path) = named.or_else(|| variable().map(PathBuf::from)) {
            endpoint = endpoint.at(path);
        }
        match self.via {
            Some(via) => endpoint.via(via),
            None => endpoint,
        }
    }
}

fn via() -> impl TypedValueParser<Value = Via> {
    PossibleValuesParser::new(["module", "vnetd"]).map(|name| match name.as_str() {
        "vnetd" => Via::Vnetd,
        _ => Via::Module,
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Vnets: create, delete, change and show them
    Net {
        #[command(subcommand)]
        verb: Option<net::Verb>,
    },
    /// Hosts to which floods are sent beside the multicast group
    Peer {
        #[command(subcommand)]
        verb: Option<peer::Verb>,
    },
    /// Which host each remote MAC address is behind
    Varp {
        #[command(subcommand)]
        verb: Option<varp::Verb>,
    },
    /// MAC addresses that send from this host
    Vif {
        #[command(subcommand)]
        verb: Option<vif::Verb>,
    },
    /// Hosts that vnets accept from, and have learned from
    Remote {
        #[command(subcommand)]
        verb: Option<remote::Verb>,
    },
    /// Keys of sealed vnets
    Key {
        #[command(subcommand)]
        verb: Option<key::Verb>,
    },
    /// The module and the settings of the network namespace
    Host {
        #[command(subcommand)]
        verb: Option<host::Verb>,
    },
    /// Ask who has a MAC address, or whether a host has a vnet
    Ping(ping::PingArgs),
    /// Find out by test what is wrong, and what to do next
    Check(check::CheckArgs),
    /// Templates, from which images are made: on a storage host
    Template {
        #[command(subcommand)]
        verb: Option<template::Verb>,
    },
    /// Images, the disks of virtual machines: on a storage host, and mounted on a dom0
    Image {
        #[command(subcommand)]
        verb: Option<image::Verb>,
    },
    /// The disks of an image: on a storage host
    Disk {
        #[command(subcommand)]
        verb: disk::Verb,
    },
    /// The iSCSI targets that a dom0 uses
    Iscsi {
        #[command(subcommand)]
        verb: Option<disk::IscsiVerb>,
    },
    /// Virtual machines on this dom0
    Vm {
        #[command(subcommand)]
        verb: Option<vm::Verb>,
    },
    /// Routing domains: gateway, DHCP and firewall of a vnet, on this dom0
    Domr {
        #[command(subcommand)]
        verb: domr::Verb,
    },
    /// Ports of bridges
    Port {
        #[command(subcommand)]
        verb: port::Verb,
    },
    /// Print the whole configuration as a file for vn apply
    Export,
    /// Make everything as a file says: add and change, and with --prune remove; all or nothing
    Apply(config::ApplyArgs),
    /// Print a line for every change and event, until interrupted
    Monitor,
    /// Print a completion script for a shell
    Completions(meta::Completions),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(meta::Man),
}

/// A name that a network device can have.
pub(crate) fn ifname(text: &str) -> Result<String, String> {
    let invalid = |character: char| character.is_whitespace() || "/:\0".contains(character);
    if text.is_empty() || text.len() > 15 {
        Err("the name of a network device has 1 to 15 bytes".to_owned())
    } else if text == "." || text == ".." || text.contains(invalid) {
        Err("the name of a network device has no spaces, colons or slashes".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn device_names() {
        assert_eq!(ifname("vnif0005"), Ok("vnif0005".to_owned()));
        for name in ["", "a b", "a/b", "a:b", ".", "..", "sixteen-bytes-ab"] {
            assert!(ifname(name).is_err(), "{name:?}");
        }
    }
}
