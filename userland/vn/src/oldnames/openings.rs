// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The scripts for what a routing domain lets through.

use std::net::Ipv4Addr;

use clap::Args;
use vnet_core::mac::Mac;

use super::Help;
use crate::commands::opening::Change;
use crate::commands::{Context, opening as asked};
use crate::xen::opening::{self, Opening, Ports, Protocol, Which};
use crate::xen::words;

/// What both have: whether something is added or removed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct AddOrDelete {
    /// Add
    #[arg(short = 'A')]
    add: bool,
    /// Remove
    #[arg(short = 'D')]
    delete: bool,
}

impl AddOrDelete {
    fn change(&self) -> Change {
        if self.add { Change::Add } else { Change::Del }
    }
}

#[derive(Debug, Args)]
pub(crate) struct IpAssoc {
    #[command(flatten)]
    what: AddOrDelete,
    /// The name of the routing domain
    #[arg(short = 'r', value_name = "NAME", value_parser = words::name)]
    name: String,
    /// Its private address, that of eth1
    #[arg(short = 'i', value_name = "ADDRESS", value_parser = words::address)]
    address: Ipv4Addr,
    /// The public address
    #[arg(short = 'l', value_name = "ADDRESS", value_parser = words::address)]
    public: Ipv4Addr,
    /// The Ethernet address of eth2; the routing domain knows it
    #[arg(short = 'a', value_name = "MAC", value_parser = words::mac)]
    _mac: Option<Mac>,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct Firewall {
    #[command(flatten)]
    what: AddOrDelete,
    /// The private address of the routing domain, that of eth1
    #[arg(short = 'i', value_name = "ADDRESS", value_parser = words::address)]
    address: Ipv4Addr,
    /// The address of the guest
    #[arg(short = 'r', value_name = "ADDRESS", value_parser = words::guest)]
    guest: Ipv4Addr,
    /// The public address
    #[arg(short = 'l', value_name = "ADDRESS", value_parser = words::address)]
    public: Ipv4Addr,
    /// The protocol
    #[arg(short = 'P', value_enum)]
    protocol: Protocol,
    /// The type of ICMP
    #[arg(short = 't', value_name = "TYPE", value_parser = opening::icmp_type)]
    icmp_type: Option<String>,
    /// The port, or a range of them
    #[arg(short = 'p', value_name = "A[:B]", value_parser = opening::ports)]
    port: Option<Ports>,
    /// The port of the guest, or as many of them
    #[arg(short = 'd', value_name = "A[:B]", value_parser = opening::ports)]
    to: Option<Ports>,
    #[command(flatten)]
    help: Help,
}

pub(super) fn address(context: &mut Context, of: IpAssoc) -> anyhow::Result<()> {
    let which = Which {
        name: Some(of.name),
        address: Some(of.address),
    };
    asked::address(context, &which, of.what.change(), of.public)
}

pub(super) fn firewall(context: &mut Context, of: Firewall) -> anyhow::Result<()> {
    let which = Which {
        name: None,
        address: Some(of.address),
    };
    let opening = Opening {
        protocol: of.protocol,
        public: of.public,
        guest: of.guest,
        ports: of.port,
        to: of.to,
        icmp_type: of.icmp_type,
    };
    asked::open(context, &which, of.what.change(), &opening)
}
