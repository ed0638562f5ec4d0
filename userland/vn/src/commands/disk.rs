// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn disk`: the volumes of images, and `vn iscsi`: what a dom0 is logged in to.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Context;
use crate::output::Table;
use crate::storage::disk::{self, Which};
use crate::storage::iscsi;
use crate::storage::zfs::Name;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print the disks of an image, or one of them, as VOLUME,IQN
    Show(ShowArgs),
    /// Print the size of a volume in bytes
    Size(SizeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The file system of the image
    #[arg(value_name = "FS")]
    image: Name,
    /// Only the root disk
    #[arg(long, conflicts_with_all = ["swap", "data"])]
    root: bool,
    /// Only the swap disk
    #[arg(long, conflicts_with = "data")]
    swap: bool,
    /// Only data disk N; 0 is the root disk
    #[arg(long, value_name = "N")]
    data: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct SizeArgs {
    /// The volume
    #[arg(value_name = "VOLUME")]
    volume: Name,
    /// The size of the disk
    #[arg(long, conflicts_with = "actual")]
    total: bool,
    /// The bytes that it takes, beside what it has from its template
    #[arg(long, required_unless_present = "total")]
    actual: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IscsiVerb {
    /// Print the targets that this host is logged in to: IQN, and the name of the disk if it has one
    Map,
}

#[derive(Debug, Serialize)]
struct Bytes {
    volume: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Mapped {
    iqn: String,
    name: Option<String>,
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show(arguments) => {
            let which = match (arguments.root, arguments.swap, arguments.data) {
                (true, _, _) => Some(Which::Root),
                (_, true, _) => Some(Which::Swap),
                (_, _, Some(number)) => Some(Which::Data(number)),
                _ => None,
            };
            show(context, &arguments.image, which)
        }
        Verb::Size(arguments) => size(context, &arguments.volume, arguments.actual),
    }
}

pub(crate) fn show(
    context: &mut Context,
    image: &Name,
    which: Option<Which>,
) -> anyhow::Result<()> {
    let disks = disk::show(image, which)?;
    if context.json() {
        return context.list(&disks, || Table::new([]));
    }
    for disk in disks {
        context.line(format_args!("{},{}", disk.volume, disk.iqn))?;
    }
    Ok(())
}

pub(crate) fn size(context: &mut Context, volume: &Name, actual: bool) -> anyhow::Result<()> {
    let (total, used) = disk::size(volume)?;
    let bytes = if actual { used } else { total };
    if context.json() {
        let volume = volume.to_string();
        return context.list(&Bytes { volume, bytes }, || Table::new([]));
    }
    context.line(bytes)
}

pub(crate) fn iscsi(context: &mut Context, verb: IscsiVerb) -> anyhow::Result<()> {
    let IscsiVerb::Map = verb;
    let map: Vec<_> = iscsi::map()
        .into_iter()
        .map(|(iqn, name)| Mapped { iqn, name })
        .collect();
    if context.json() {
        return context.list(&map, || Table::new([]));
    }
    for Mapped { iqn, name } in map {
        context.line(format!("{iqn} {}", name.unwrap_or_default()).trim_end())?;
    }
    Ok(())
}
