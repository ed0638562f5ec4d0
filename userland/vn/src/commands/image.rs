// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn image`: the disks of virtual machines, as a whole. On the storage host, but for mount and unmount.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Context;
use crate::failure;
use crate::output::{Table, some};
use crate::storage::export::{self, Access};
use crate::storage::image::{self, Data};
use crate::storage::mount::Mount;
use crate::storage::zfs::Name;
use crate::storage::{delete, lio, mount, nfs, size, unmount};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make an image from a template, and export it
    Create(CreateArgs),
    /// Remove an image, or a user's file system; refused while somebody uses it
    Delete(DeleteArgs),
    /// List images, or all file systems below one that are clones
    List {
        /// The clones at and below this file system, also those that are no images [default: all images]
        #[arg(value_name = "FS")]
        parent: Option<Name>,
    },
    /// Export all images again, as their ZFS properties say; done at every boot
    Restore,
    /// Mount an image on this dom0: its file system by NFS, its disks by iSCSI
    Mount(MountArgs),
    /// Unmount an image from this dom0
    Unmount(UnmountArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The file system of the image
    #[arg(value_name = "FS")]
    image: Name,
    /// The template: its newest snapshot, or the snapshot that is named
    #[arg(long, value_name = "FS[@SNAPSHOT]")]
    template: Name,
    /// The user's file system, which holds the image [default: the one above the image]; it is made unless it is there
    #[arg(long, value_name = "FS")]
    user: Option<Name>,
    /// A volume of which a clone becomes the data disk
    #[arg(long, value_name = "VOLUME[@SNAPSHOT]", conflicts_with = "data_size")]
    data: Option<Name>,
    /// Make an empty data disk of this size
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    data_size: Option<u64>,
    /// An initiator that may use the volumes; again for more [default: vnet:initiators, inherited]
    #[arg(long = "initiator", value_name = "IQN", value_parser = lio::iqn)]
    initiators: Vec<String>,
    /// A host or network that may mount the file system; again for more [default: vnet:hosts, inherited]
    #[arg(long = "host", value_name = "HOST", value_parser = nfs::host)]
    hosts: Vec<String>,
    /// A file with the user name and the password that initiators must give (CHAP)
    #[arg(long, value_name = "FILE")]
    chap_file: Option<PathBuf>,
    /// An image from the same template that is there is no failure
    #[arg(long)]
    may_exist: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The file system of the image
    #[arg(value_name = "FS", required_unless_present = "user")]
    image: Option<Name>,
    /// The user's file system, which goes, too; refused while it holds anything else
    #[arg(long, value_name = "FS")]
    user: Option<Name>,
    /// Remove also what is in use, or holds other things: says what it destroys, and wants a confirmation
    #[arg(long)]
    force: bool,
    /// The confirmation
    #[arg(long, requires = "force")]
    yes: bool,
    /// What is not there is no failure
    #[arg(long)]
    if_exists: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// The storage host
    #[arg(long, value_parser = mount::host)]
    host: String,
    /// The directory of the image on the storage host
    #[arg(long, value_name = "DIR", value_parser = mount::remote)]
    remote: String,
    /// The directory of this host to mount it on
    #[arg(long, value_name = "DIR", value_parser = mount::local)]
    local: PathBuf,
    /// The virtual machine: its disks are /dev/disk/by-vm/NAME-root, NAME-swap, NAME-datadisk-1
    #[arg(long, value_parser = mount::name)]
    name: String,
    /// The target of the root disk
    #[arg(long, value_name = "IQN", value_parser = lio::iqn)]
    root: String,
    /// The target of the swap disk
    #[arg(long, value_name = "IQN", value_parser = lio::iqn)]
    swap: Option<String>,
    /// The target of the data disk
    #[arg(long, value_name = "IQN", value_parser = lio::iqn)]
    data: Option<String>,
    /// A file with user name and password for the targets (CHAP)
    #[arg(long, value_name = "FILE")]
    chap_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// The directory that it is mounted on
    #[arg(long, value_name = "DIR", value_parser = mount::local)]
    local: PathBuf,
    /// The virtual machine, for what vn has no record of
    #[arg(long, value_parser = mount::name)]
    name: Option<String>,
    /// A target to log out of, for what vn has no record of; again for more
    #[arg(long = "target", value_name = "IQN", value_parser = lio::iqn)]
    targets: Vec<String>,
}

pub(crate) fn run(context: &mut Context, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Create(arguments) => create(context, &request(arguments)?),
        Verb::Delete(arguments) => delete(
            context,
            &delete::Request {
                image: arguments.image,
                user: arguments.user,
                force: arguments.force,
                yes: arguments.yes,
                if_exists: arguments.if_exists,
            },
        ),
        Verb::List { parent } => list(context, parent.as_ref()),
        Verb::Restore => restore(context),
        Verb::Mount(arguments) => {
            let wanted = Mount {
                name: arguments.name,
                host: arguments.host,
                remote: arguments.remote,
                local: arguments.local,
                targets: [Some(arguments.root), arguments.swap, arguments.data],
            };
            mount(context, &wanted, arguments.chap_file)
        }
        Verb::Unmount(arguments) => unmount(
            context,
            &unmount::Request {
                local: arguments.local,
                name: arguments.name,
                targets: arguments.targets,
            },
        ),
    }
}

fn request(arguments: CreateArgs) -> anyhow::Result<image::Request> {
    let data = match (arguments.data, arguments.data_size) {
        (Some(volume), _) => Data::Clone(volume),
        (None, Some(size)) => Data::Blank(size),
        (None, None) => Data::None,
    };
    let above = || arguments.image.parent();
    let Some(user) = arguments.user.or_else(above) else {
        return Err(
            failure::Refused::new(format!("{} is a pool", arguments.image))
                .hint("name an image POOL/USER/NAME")
                .into(),
        );
    };
    Ok(image::Request {
        template: arguments.template,
        image: arguments.image,
        user,
        data,
        access: Access {
            initiators: arguments.initiators,
            hosts: arguments.hosts,
            chap_file: arguments.chap_file,
        },
        may_exist: arguments.may_exist,
    })
}

pub(crate) fn create(context: &mut Context, request: &image::Request) -> anyhow::Result<()> {
    let dry_run = context.options.dry_run;
    let template = image::create(request, dry_run)?;
    if dry_run {
        context.line(format_args!(
            "create image {} from {template}",
            request.image
        ))?;
    }
    Ok(())
}

pub(crate) fn delete(context: &mut Context, request: &delete::Request) -> anyhow::Result<()> {
    let dry_run = context.options.dry_run;
    for name in delete::delete(request, dry_run)? {
        if dry_run {
            context.line(format_args!("destroy {name}"))?;
        }
    }
    Ok(())
}

fn list(context: &mut Context, parent: Option<&Name>) -> anyhow::Result<()> {
    let images = image::list(parent)?;
    context.list(&images, || {
        let mut table = Table::new(["NAME", "STATE", "USED", "ORIGIN"]);
        for image in &images {
            let state = some(image.state.as_ref());
            table.row([
                image.name.clone(),
                state,
                image.used.to_string(),
                image.origin.clone(),
            ]);
        }
        table
    })
}

/// As the old script lists: names only.
pub(crate) fn list_names(context: &mut Context, parent: &Name) -> anyhow::Result<()> {
    for image in image::list(Some(parent))? {
        context.line(image.name)?;
    }
    Ok(())
}

fn restore(context: &mut Context) -> anyhow::Result<()> {
    if context.options.dry_run {
        return context.line("export all images again");
    }
    let (done, failed) = export::restore()?;
    for image in done {
        context.line(image)?;
    }
    failure::all(failed)
}

pub(crate) fn mount(
    context: &mut Context,
    wanted: &Mount,
    chap_file: Option<PathBuf>,
) -> anyhow::Result<()> {
    let dry_run = context.options.dry_run;
    let links = mount::mount(wanted, chap_file.as_deref(), dry_run)?;
    for link in links {
        if dry_run {
            context.line(format_args!("make {}", link.display()))?;
        }
    }
    Ok(())
}

pub(crate) fn unmount(context: &mut Context, request: &unmount::Request) -> anyhow::Result<()> {
    let dry_run = context.options.dry_run;
    unmount::unmount(request, dry_run)?;
    if dry_run {
        context.line(format_args!("unmount {}", request.local.display()))?;
    }
    Ok(())
}
