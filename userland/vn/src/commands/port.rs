// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn port`: ports of bridges.

use clap::Subcommand;

use super::Context;
use crate::cli::ifname;
use crate::failure::Attempt;
use crate::xen::net;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a device a port of a bridge, and take it up: what QEMU calls for the devices that it makes
    Up {
        /// The device
        #[arg(value_name = "TAP", value_parser = ifname)]
        device: String,
        /// The bridge
        #[arg(value_parser = ifname)]
        bridge: String,
        /// Take the device down and up again once it is a port; old bridges need it
        #[arg(long)]
        bounce: bool,
    },
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    let Verb::Up {
        device,
        bridge,
        bounce,
    } = verb;
    up(context, &device, &bridge, bounce)
}

pub(crate) fn up(
    context: &mut Context,
    device: &str,
    bridge: &str,
    bounce: bool,
) -> anyhow::Result<()> {
    let what = format!("make {device} a port of {bridge}");
    if context.options.dry_run {
        return context.line(what);
    }
    net::port_up(device, bridge, bounce).map_err(|error| error.context(Attempt::new(what)))
}
