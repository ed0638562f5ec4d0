// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// Carries virtual networks between hosts, in user space
///
/// vnetd does what the kernel module vnet does, over TAP devices, and speaks with the same hosts. It stays in the foreground and
/// logs to standard error. It is configured with vn, which finds it by its control socket. What was configured is there again
/// after a restart; when it ends, its devices go, and bridges stay.
#[derive(Debug, Parser)]
#[command(name = "vnetd", disable_version_flag = true, max_term_width = 100)]
pub struct Options {
    /// UDP port, source and destination
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Multicast group that frames are flooded to, IPv4 or IPv6, or none
    #[arg(long, value_name = "ADDR|none", value_parser = group, conflicts_with = "varp_mcaddr")]
    pub group: Option<Group>,

    /// Underlay device; the routing table chooses unless given
    #[arg(long, value_name = "IF")]
    pub device: Option<String>,

    /// TTL or hop limit of what is sent; 0 takes over that of the inner packet
    #[arg(long, value_name = "TTL")]
    pub ttl: Option<u8>,

    /// Threads, and queues of each device; as many as there are CPUs, up to 4, unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub queues: Option<u16>,

    /// Control socket
    #[arg(long, value_name = "PATH", default_value = "/run/vnetd/control")]
    pub socket: PathBuf,

    /// Where the configuration is kept over a restart
    #[arg(long, value_name = "FILE", default_value = "/run/vnetd/state")]
    pub state: PathBuf,

    /// Begin without what was configured before
    #[arg(long)]
    pub no_restore: bool,

    /// Multicast group, as the original daemon had it: --group
    #[arg(short = 'a', long = "varp_mcaddr", value_name = "ADDR", value_parser = multicast)]
    pub varp_mcaddr: Option<IpAddr>,

    /// Configuration of the original daemon: S-expressions vnet.add, peer.add and varp.mcaddr, carried out at the start
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Log each change of configuration
    #[arg(short = 'V', long)]
    pub verbose: bool,

    /// Print the version
    #[arg(short = 'v', long)]
    pub version: bool,
}

/// A group, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(pub Option<IpAddr>);

fn multicast(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_multicast() => Ok(address),
        _ => Err("not a multicast address".to_owned()),
    }
}

fn group(text: &str) -> Result<Group, String> {
    if text == "none" {
        return Ok(Group(None));
    }
    multicast(text).map(|address| Group(Some(address)))
}
