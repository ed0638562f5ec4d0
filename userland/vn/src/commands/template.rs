// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn template`: what images are made from. On the storage host.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Context;
use crate::output::{Table, some};
use crate::storage::template::kept;
use crate::storage::zfs::Name;
use crate::storage::{size, template};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a template from an image file: raw or qcow2, or raw packed with gzip, bzip2, xz or zstd
    Create(CreateArgs),
    /// Remove a template; refused while there are images of it
    Delete {
        /// The file system of the template, which goes with all that it holds
        #[arg(value_name = "FS")]
        system: Name,
        /// One that is not there is no failure
        #[arg(long)]
        if_exists: bool,
    },
    /// List templates
    List {
        /// At and below this file system [default: all]
        #[arg(value_name = "FS")]
        parent: Option<Name>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The file system of the template; it is made unless it is there
    #[arg(value_name = "FS")]
    system: Name,
    /// The image of the root disk
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The name of the template: its volume is vmi-root-NAME
    #[arg(long, value_parser = template::name)]
    name: String,
    /// At least so large: 12G, 512M, 12 (GiB); never smaller than the image
    #[arg(long, value_parser = size::parse)]
    size: u64,
    /// The image boots by itself: it needs neither kernel nor pygrub
    #[arg(long)]
    hvm: bool,
    /// Refuse the file unless it has this MD5, SHA-1, SHA-256 or SHA-512
    #[arg(long, value_name = "HEX", value_parser = template::checksum)]
    checksum: Option<String>,
    /// Words for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A kernel to put into the template; without one it boots by pygrub
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initial file system of that kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The name of the snapshot [default: the time]
    #[arg(long, value_name = "NAME", value_parser = template::name)]
    snapshot: Option<String>,
    /// Take what is neither a known file system nor has partitions
    #[arg(long)]
    any_content: bool,
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Create(arguments) => create(context, &request(arguments)),
        Verb::Delete { system, if_exists } => delete(context, &system, if_exists),
        Verb::List { parent } => list(context, parent.as_ref()),
    }
}

fn request(arguments: CreateArgs) -> template::Request {
    template::Request {
        system: arguments.system,
        file: arguments.file,
        name: arguments.name,
        size: arguments.size,
        hvm: arguments.hvm,
        checksum: arguments.checksum,
        description: arguments.description,
        kernel: arguments.kernel,
        initrd: arguments.initrd,
        any_content: arguments.any_content,
        snapshot: arguments.snapshot,
    }
}

pub(crate) fn create(context: &mut Context, request: &template::Request) -> anyhow::Result<()> {
    let dry_run = context.options.dry_run;
    let snapshot = template::create(request, dry_run)?;
    if dry_run {
        context.line(format_args!("create template {snapshot}"))?;
    }
    Ok(())
}

fn delete(context: &mut Context, system: &Name, if_exists: bool) -> anyhow::Result<()> {
    let dry_run = context.options.dry_run;
    for name in kept::delete(system, if_exists, dry_run)? {
        if dry_run {
            context.line(format_args!("destroy {name}"))?;
        }
    }
    Ok(())
}

fn list(context: &mut Context, parent: Option<&Name>) -> anyhow::Result<()> {
    let templates = kept::list(parent)?;
    context.list(&templates, || {
        let mut table = Table::new(["NAME", "STATE", "SIZE", "USED", "IMAGES", "SNAPSHOT"]);
        for template in &templates {
            table.row([
                template.name.clone(),
                template.state.to_owned(),
                template.size.to_string(),
                template.used.to_string(),
                template.images.len().to_string(),
                some(template.snapshots.last()),
            ]);
        }
        table
    })
}
