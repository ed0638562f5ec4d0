// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn vm`: virtual machines on this dom0.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use vnet_core::VnetId;
use vnet_core::mac::Mac;

use super::{Context, warn};
use crate::output::{Table, some};
use crate::xen::config::Kind;
use crate::xen::record::{Console, Role};
use crate::xen::vm::{self, Request, Started, View};
use crate::xen::vnc::Password;
use crate::xen::{console, words};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a machine from an image directory; its vnet and bridge are made unless they are there
    Run(RunArgs),
    /// Stop a machine, and remove what was made for it; the vnet stays
    Stop {
        /// The machine
        #[arg(value_parser = words::name)]
        name: String,
        /// End it without asking it
        #[arg(long)]
        force: bool,
        /// How long it may take to shut down, seconds; then it is ended
        #[arg(long, value_name = "S", default_value = "60", value_parser = words::seconds)]
        timeout: u32,
    },
    /// Start a machine anew
    Reboot {
        /// The machine
        #[arg(value_parser = words::name)]
        name: String,
        /// End it without asking it
        #[arg(long)]
        force: bool,
        /// How long it may take, seconds
        #[arg(long, value_name = "S", default_value = "120", value_parser = words::seconds)]
        timeout: u32,
    },
    /// List what runs, and what is configured and does not
    List,
    /// Connect this terminal to the console of a machine; ^] ends that
    Console {
        /// The machine
        #[arg(value_parser = words::name)]
        name: String,
    },
    /// What vn leaves behind for each machine with a VNC console
    #[command(hide = true)]
    ServeConsole {
        /// The machine
        #[arg(value_parser = words::name)]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The image directory: vmlinuz*, initrd*, vmi-root*, datadisk1*, *swap*, or an empty file pygrub; disks that vn image mount has
    /// named come first
    #[arg(value_name = "DIR", value_parser = words::directory)]
    image: PathBuf,
    /// The vnet
    #[arg(long, value_name = "ID")]
    net: VnetId,
    /// The name of the machine, which is its host name
    #[arg(long, value_parser = words::name)]
    name: String,
    /// Its Ethernet address
    #[arg(long, value_parser = words::mac)]
    mac: Mac,
    /// Its address in the vnet
    #[arg(long, value_name = "ADDR", value_parser = words::guest)]
    ip: Ipv4Addr,
    /// The private address of the vnet's routing domain, whose DHCP is told of the machine
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    gateway: Option<Ipv4Addr>,
    /// The public half of the routing domain's host key, if it runs on another host
    #[arg(long, value_name = "FILE", requires = "gateway")]
    gateway_key: Option<PathBuf>,
    /// Its memory, MiB
    #[arg(long, value_name = "MB", value_parser = words::memory)]
    memory: u32,
    /// How many virtual CPUs it has [default: as many as the host has CPUs]
    #[arg(long, value_name = "N", value_parser = words::cpus)]
    cpus: Option<u32>,
    /// How much of a CPU it may use, per cent of one; 0 is no limit
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = words::cap)]
    cap: u32,
    /// The number of its VNC console, whose TCP port is 5900 more [default: no console]
    #[arg(long, value_name = "N", value_parser = words::console)]
    console: Option<u16>,
    /// The address of this host at which the console is
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1",
        requires = "console"
    )]
    console_listen: Ipv4Addr,
    /// A file whose first line is the password of the console [default: one is made, and told once]
    #[arg(long, value_name = "FILE", requires = "console")]
    password_file: Option<PathBuf>,
    /// What it may send, Mbit/s; 0 is no limit
    #[arg(long, value_name = "MBITS", default_value = "200", value_parser = words::rate)]
    rate: u32,
    /// What it may send to groups and everybody, Mbit/s; 0 is no limit
    #[arg(long, value_name = "MBITS", default_value = "10", value_parser = words::rate)]
    flood: u32,
    /// How it is virtualised [default: pv with a kernel or pygrub, else hvm]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Kind>,
    /// More words for its kernel
    #[arg(long, value_name = "TEXT", value_parser = words::kernel_words)]
    kernel_words: Option<String>,
    /// Take the vnet's device down and up again once it is a port of a new bridge; old bridges need it
    #[arg(long)]
    bounce: bool,
}

impl RunArgs {
    fn into_request(self) -> anyhow::Result<Request> {
        let listen = self.console_listen;
        let password = self.password_file.as_deref().map(Password::read);
        Ok(Request {
            image: self.image,
            name: self.name,
            vnet: self.net,
            mac: self.mac,
            address: self.ip,
            gateway: self.gateway,
            gateway_key: self.gateway_key,
            memory: self.memory,
            cpus: self.cpus,
            cap: self.cap,
            console: self.console.map(|display| Console { listen, display }),
            password: password.transpose()?,
            rate: self.rate,
            flood: self.flood,
            kind: self.kind,
            words: self.kernel_words,
            bounce: self.bounce,
        })
    }
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let seconds = |count: u32| Duration::from_secs(count.into());
    match verb {
        Verb::Run(arguments) => start(context, &arguments.into_request()?),
        Verb::Stop {
            name,
            force,
            timeout,
        } => stop(context, &name, force, seconds(timeout)),
        Verb::Reboot {
            name,
            force,
            timeout,
        } => {
            if context.options.dry_run {
                return context.line(format_args!("reboot {name}"));
            }
            vm::reboot(&name, force, seconds(timeout)).map(drop)
        }
        Verb::List => list(context),
        Verb::Console { name } => Err(vm::console(&name)),
        Verb::ServeConsole { name } => console::serve(&name),
    }
}

pub(crate) fn start(context: &mut Context, request: &Request) -> anyhow::Result<()> {
    let done = vm::run(&context.endpoint, request, context.options.dry_run)?;
    tell(context, done)
}

/// Prints what would be done, or what came of it.
pub(super) fn tell(
    context: &mut Context,
    (lines, started): (Vec<String>, Option<Started>),
) -> anyhow::Result<()> {
    for line in lines {
        context.line(line)?;
    }
    let Some(started) = started else {
        return Ok(());
    };
    let password = started.password.is_some();
    if context.json() || password {
        context.list(&started, || {
            let mut table = Table::new(["NAME", "CONSOLE", "PASSWORD"]);
            let console = started.console.as_ref().map(shown);
            table.row([
                started.name.clone(),
                some(console),
                some(started.password.as_ref()),
            ]);
            table
        })?;
    }
    Ok(())
}

pub(crate) fn stop(
    context: &mut Context,
    name: &str,
    force: bool,
    timeout: Duration,
) -> anyhow::Result<()> {
    if context.options.dry_run {
        return context.line(format_args!("stop {name}"));
    }
    if !vm::stop(name, force, timeout)? {
        warn(format_args!("{name} does not exist: nothing to stop"));
    }
    Ok(())
}

fn shown(console: &Console) -> String {
    format!("{}:{}", console.listen, console.display)
}

fn list(context: &mut Context) -> anyhow::Result<()> {
    let views = vm::list()?;
    let details = context.options.details;
    context.list(&views, || table(&views, details))
}

fn table(views: &[View], details: bool) -> Table {
    let mut headings = vec![
        "NAME", "STATE", "DOMID", "NET", "ADDRESS", "MEMORY", "CONSOLE",
    ];
    if details {
        headings.extend(["ROLE", "TYPE", "CPUS", "MACS", "BRIDGES", "IMAGE"]);
    }
    let mut table = Table::new(headings);
    for view in views {
        let mut row = vec![
            view.name.clone(),
            view.state.clone(),
            some(view.domid),
            some(view.vnet.as_ref()),
            some(view.address),
            view.memory.to_string(),
            some(view.console.as_ref().map(shown)),
        ];
        if details {
            let role = view.role.map(|role| match role {
                Role::Guest => "guest",
                Role::Domr => "domr",
            });
            let macs: Vec<_> = view.nics.iter().map(|nic| nic.mac.as_str()).collect();
            let bridges: Vec<_> = view.nics.iter().map(|nic| nic.bridge.as_str()).collect();
            row.extend([
                some(role),
                some(view.kind.as_ref()),
                some(view.vcpus),
                macs.join(","),
                bridges.join(","),
                some(view.image.as_ref().map(|path| path.display())),
            ]);
        }
        table.row(row);
    }
    table
}
