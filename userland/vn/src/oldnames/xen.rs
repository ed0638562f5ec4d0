// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The scripts of a dom0 with Xen.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use vnet_core::VnetId;
use vnet_core::mac::Mac;

use super::Help;
use crate::cli::ifname;
use crate::commands::cleanup::{self, CleanupArgs};
use crate::commands::{Context, domr, port, vm, warn};
use crate::xen::config::Kind;
use crate::xen::domr::{Interface, Request as DomrRequest};
use crate::xen::record::Console;
use crate::xen::vm::Request;
use crate::xen::vnc::Password;
use crate::xen::words::{self, Names};

/// The address at which the old consoles were: every one of the host.
const EVERYWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// How long a machine may take to shut down.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// How long a routing domain may take to answer.
const ANSWER: Duration = Duration::from_secs(180);

/// How a machine is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bootloader {
    #[value(name = "PyGrub")]
    PyGrub,
    #[value(name = "external")]
    External,
    #[value(name = "HVM")]
    Hvm,
}

#[derive(Debug, Args)]
pub(crate) struct RunVm {
    /// The vnet
    #[arg(short = 'v', value_name = "ID")]
    net: VnetId,
    /// The address of the machine in the vnet
    #[arg(short = 'i', value_name = "ADDR", value_parser = words::guest)]
    address: Ipv4Addr,
    /// Its memory, MiB
    #[arg(short = 'm', value_name = "MB", value_parser = words::memory)]
    memory: u32,
    /// The private address of the vnet's routing domain
    #[arg(short = 'g', value_name = "ADDR", value_parser = words::address)]
    gateway: Ipv4Addr,
    /// Its Ethernet address
    #[arg(short = 'a', value_name = "MAC", value_parser = words::mac)]
    mac: Mac,
    /// Its name
    #[arg(short = 'l', value_name = "NAME", value_parser = words::name)]
    name: String,
    /// The number of its VNC console
    #[arg(short = 'c', value_name = "N", value_parser = words::console)]
    console: u16,
    /// The password of the console
    #[arg(short = 'w', value_name = "PASSWORD")]
    password: Option<Password>,
    /// How many virtual CPUs it has; 0 for all
    #[arg(short = 'n', value_name = "N", value_parser = cpus_or_all)]
    cpus: Option<u32>,
    /// How much of a CPU it may use, per cent of one
    #[arg(short = 'u', value_name = "PERCENT", default_value = "0", value_parser = words::cap)]
    cap: u32,
    /// What it may send, Mbit/s
    #[arg(short = 'r', value_name = "MBITS", default_value = "200", value_parser = words::rate)]
    rate: u32,
    /// What it may send to groups and everybody, Mbit/s
    #[arg(short = 'R', value_name = "MBITS", default_value = "10", value_parser = words::rate)]
    flood: u32,
    /// How it is started; the files of the image directory say so without it
    #[arg(short = 'b', value_name = "BOOTLOADER", ignore_case = true)]
    bootloader: Option<Bootloader>,
    /// The image directory
    #[arg(value_name = "DIR", value_parser = words::directory)]
    image: PathBuf,
    #[command(flatten)]
    help: Help,
}

fn cpus_or_all(text: &str) -> Result<u32, String> {
    if text == "0" {
        return Ok(0);
    }
    words::cpus(text)
}

#[derive(Debug, Args)]
pub(crate) struct StopVm {
    /// The machine
    #[arg(short = 'l', value_name = "NAME", value_parser = words::name)]
    name: String,
    /// End it without asking it
    #[arg(short = 'f')]
    force: bool,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct RunDomr {
    /// The vnet
    #[arg(short = 'v', value_name = "ID")]
    net: VnetId,
    /// Its memory, MiB
    #[arg(short = 'm', value_name = "MB", value_parser = words::memory)]
    memory: u32,
    /// Its name
    #[arg(short = 'l', value_name = "NAME", value_parser = words::name)]
    name: String,
    /// The Ethernet address of eth0, on the vnet
    #[arg(short = 'a', value_name = "MAC", value_parser = words::mac)]
    mac: Mac,
    /// The address of eth0
    #[arg(short = 'e', value_name = "ADDR", default_value = "10.1.1.1", value_parser = words::address)]
    address: Ipv4Addr,
    /// The netmask of eth0
    #[arg(short = 'E', value_name = "MASK", default_value = "255.255.255.0", value_parser = words::mask)]
    mask: Ipv4Addr,
    /// The Ethernet address of eth1, on the private side
    #[arg(short = 'A', value_name = "MAC", value_parser = words::mac)]
    private_mac: Mac,
    /// The address of eth1
    #[arg(short = 'i', value_name = "ADDR", value_parser = words::address)]
    private_address: Ipv4Addr,
    /// The netmask of eth1
    #[arg(short = 'n', value_name = "MASK", value_parser = words::mask)]
    private_mask: Ipv4Addr,
    /// The bridge of eth1
    #[arg(short = 'B', value_name = "BR", default_value = "xenbr0", value_parser = ifname)]
    private_bridge: String,
    /// The Ethernet address of eth2, on the public side
    #[arg(short = 'p', value_name = "MAC", value_parser = words::mac)]
    public_mac: Mac,
    /// The address of eth2
    #[arg(short = 'I', value_name = "ADDR", value_parser = words::address)]
    public_address: Ipv4Addr,
    /// The netmask of eth2
    #[arg(short = 'N', value_name = "MASK", value_parser = words::mask)]
    public_mask: Ipv4Addr,
    /// The bridge of eth2
    #[arg(short = 'b', value_name = "BR", default_value = "xenbr1", value_parser = ifname)]
    public_bridge: String,
    /// The next hop on the public side
    #[arg(short = 'g', value_name = "ADDR", value_parser = words::address)]
    gateway: Ipv4Addr,
    /// Name servers and domain: dns1=ADDR dns2=ADDR domain=NAME
    #[arg(short = 'd', value_name = "TEXT", value_parser = words::names)]
    names: Option<Names>,
    /// The image directory
    #[arg(value_name = "DIR", value_parser = words::directory)]
    image: PathBuf,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct PortUp {
    /// The device
    #[arg(value_name = "TAP", value_parser = ifname)]
    device: String,
    /// The bridge
    #[arg(value_parser = ifname)]
    bridge: String,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true))]
pub(crate) struct CleanVnets {
    #[command(flatten)]
    arguments: CleanupArgs,
    #[command(flatten)]
    help: Help,
}

pub(super) fn run_vm(context: &mut Context, of: RunVm) -> anyhow::Result<()> {
    let password = of.password.unwrap_or_else(|| {
        warn("the console has the old password, which everybody knows: name another with -w, or run: vn vm run");
        Password::old_default()
    });
    let request = Request {
        image: of.image,
        name: of.name,
        vnet: of.net,
        mac: of.mac,
        address: of.address,
        gateway: Some(of.gateway),
        gateway_key: None,
        memory: of.memory,
        cpus: of.cpus.filter(|count| *count != 0),
        cap: of.cap,
        console: Some(Console {
            listen: EVERYWHERE,
            display: of.console,
        }),
        password: Some(password),
        rate: of.rate,
        flood: of.flood,
        kind: of.bootloader.map(|bootloader| match bootloader {
            Bootloader::Hvm => Kind::Hvm,
            Bootloader::PyGrub | Bootloader::External => Kind::Pv,
        }),
        words: None,
        bounce: false,
    };
    vm::start(context, &request)
}

pub(super) fn stop_vm(context: &mut Context, of: &StopVm) -> anyhow::Result<()> {
    vm::stop(context, &of.name, of.force, SHUTDOWN)
}

pub(super) fn run_domr(context: &mut Context, of: RunDomr) -> anyhow::Result<()> {
    let request = DomrRequest {
        interfaces: [
            Interface {
                mac: of.mac,
                address: of.address,
                mask: of.mask,
                bridge: of.net.default_bridge().to_string(),
            },
            Interface {
                mac: of.private_mac,
                address: of.private_address,
                mask: of.private_mask,
                bridge: of.private_bridge,
            },
            Interface {
                mac: of.public_mac,
                address: of.public_address,
                mask: of.public_mask,
                bridge: of.public_bridge,
            },
        ],
        image: of.image,
        name: of.name,
        vnet: of.net,
        memory: of.memory,
        cpus: 1,
        gateway: of.gateway,
        names: of.names.unwrap_or_default(),
        kind: None,
        bounce: false,
        answer: Some(ANSWER),
    };
    domr::start(context, &request)
}

pub(super) fn port_up(context: &mut Context, of: &PortUp) -> anyhow::Result<()> {
    port::up(context, &of.device, &of.bridge, false)
}

pub(super) fn clean_vnets(context: &mut Context, of: &CleanVnets) -> anyhow::Result<()> {
    cleanup::run(context, &of.arguments)
}
