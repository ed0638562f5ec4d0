// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn domr`: routing domains on this dom0.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use vnet_core::VnetId;
use vnet_core::mac::Mac;

use super::{Context, opening, vm};
use crate::cli::ifname;
use crate::xen::config::Kind;
use crate::xen::domr::{self, Interface, Request};
use crate::xen::words::{self, Names};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start the routing domain of a vnet, and wait until it answers; it is stopped with: vn vm stop
    Run(RunArgs),
    /// Public addresses of a routing domain; its guests' connections come from the last one
    Ip {
        #[command(subcommand)]
        verb: opening::IpVerb,
    },
    /// What is open from outside; everything else is closed
    Firewall {
        #[command(subcommand)]
        verb: opening::FirewallVerb,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The image directory: vmlinuz* and initrd*
    #[arg(value_name = "DIR", value_parser = words::directory)]
    image: PathBuf,
    /// The vnet
    #[arg(long, value_name = "ID")]
    net: VnetId,
    /// The name of the routing domain
    #[arg(long, value_parser = words::name)]
    name: String,
    /// Its memory, MiB
    #[arg(long, value_name = "MB", default_value = "192", value_parser = words::memory)]
    memory: u32,
    /// How many virtual CPUs it has
    #[arg(long, value_name = "N", default_value = "1", value_parser = words::cpus)]
    cpus: u32,
    /// Its Ethernet address on the vnet
    #[arg(long, value_name = "MAC", value_parser = words::mac)]
    mac: Mac,
    /// Its address on the vnet
    #[arg(long, value_name = "ADDR", default_value = "10.1.1.1", value_parser = words::address)]
    ip: Ipv4Addr,
    /// The netmask of the vnet
    #[arg(long, value_name = "MASK", default_value = "255.255.255.0", value_parser = words::mask)]
    mask: Ipv4Addr,
    /// Its Ethernet address on the private side
    #[arg(long, value_name = "MAC", value_parser = words::mac)]
    private_mac: Mac,
    /// Its address on the private side, where it is managed
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    private_ip: Ipv4Addr,
    /// The netmask of the private side
    #[arg(long, value_name = "MASK", value_parser = words::mask)]
    private_mask: Ipv4Addr,
    /// The bridge of the private side
    #[arg(long, value_name = "BR", default_value = "xenbr0", value_parser = ifname)]
    private_bridge: String,
    /// Its Ethernet address on the public side
    #[arg(long, value_name = "MAC", value_parser = words::mac)]
    public_mac: Mac,
    /// Its address on the public side
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    public_ip: Ipv4Addr,
    /// The netmask of the public side
    #[arg(long, value_name = "MASK", value_parser = words::mask)]
    public_mask: Ipv4Addr,
    /// The bridge of the public side
    #[arg(long, value_name = "BR", default_value = "xenbr1", value_parser = ifname)]
    public_bridge: String,
    /// The next hop on the public side
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    gateway: Ipv4Addr,
    /// Name servers and domain: dns1=ADDR dns2=ADDR domain=NAME
    #[arg(long, value_name = "TEXT", value_parser = words::names)]
    names: Option<Names>,
    /// How it is virtualised [default: pv]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Kind>,
    /// Take the vnet's device down and up again once it is a port of a new bridge; old bridges need it
    #[arg(long)]
    bounce: bool,
    /// How long it may take to answer, seconds
    #[arg(long, value_name = "S", default_value = "180", value_parser = words::seconds)]
    timeout: u32,
    /// Do not wait for an answer
    #[arg(long)]
    no_wait: bool,
}

impl RunArgs {
    fn into_request(self) -> Request {
        let timeout = Duration::from_secs(self.timeout.into());
        Request {
            interfaces: [
                Interface {
                    mac: self.mac,
                    address: self.ip,
                    mask: self.mask,
                    bridge: self.net.default_bridge().to_string(),
                },
                Interface {
                    mac: self.private_mac,
                    address: self.private_ip,
                    mask: self.private_mask,
                    bridge: self.private_bridge,
                },
                Interface {
                    mac: self.public_mac,
                    address: self.public_ip,
                    mask: self.public_mask,
                    bridge: self.public_bridge,
                },
            ],
            image: self.image,
            name: self.name,
            vnet: self.net,
            memory: self.memory,
            cpus: self.cpus,
            gateway: self.gateway,
            names: self.names.unwrap_or_default(),
            kind: self.kind,
            bounce: self.bounce,
            answer: (!self.no_wait).then_some(timeout),
        }
    }
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Run(arguments) => start(context, &arguments.into_request()),
        Verb::Ip { verb } => opening::ip(context, verb),
        Verb::Firewall { verb } => opening::firewall(context, verb),
    }
}

pub(crate) fn start(context: &mut Context, request: &Request) -> anyhow::Result<()> {
    let done = domr::run(&context.endpoint, request, context.options.dry_run)?;
    vm::tell(context, done)
}
