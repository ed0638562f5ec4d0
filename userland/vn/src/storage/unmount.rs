// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Unmounting an image from a dom0. Nothing in the image is ever removed: not before the unmount, and not after it.

use std::path::{Path, PathBuf};

use super::iscsi;
use super::mount::{self, SUFFIXES};
use super::refuse;
use crate::commands::warn;
use crate::failure::Attempt;
use crate::lock::Lock;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) local: PathBuf,
    /// The virtual machine, if `local` alone does not tell.
    pub(crate) name: Option<String>,
    /// More targets to log out of.
    pub(crate) targets: Vec<String>,
}

/// What goes with an image: targets, and the names of links.
struct Parts {
    targets: Vec<String>,
    links: Vec<String>,
}

/// The machine that has its image at a directory.
fn machine(local: &Path) -> anyhow::Result<Option<String>> {
    let records = mount::records()?;
    let found = records
        .into_iter()
        .find(|record| record.mount.local == local);
    Ok(found.map(|record| record.mount.name))
}

/// Unmounts an image.
pub(crate) fn unmount(request: &Request, dry_run: bool) -> anyhow::Result<()> {
    let what = Attempt::new(format_args!(
        "unmount the image at {}",
        request.local.display()
    ));
    steps(request, dry_run).map_err(|error| error.context(what))
}

fn steps(request: &Request, dry_run: bool) -> anyhow::Result<()> {
    let local = &request.local;
    let name = match &request.name {
        Some(name) => Some(name.clone()),
        None => machine(local)?,
    };
    let _lock = match &name {
        Some(name) => Some(Lock::named(&format!("machine {name}"))?),
        None => None,
    };
    let parts = parts(request, name.as_deref())?;
    let there = mount::mounted(local)?;
    if let Some((source, kind)) = there.as_ref().filter(|(_, kind)| !kind.starts_with("nfs")) {
        return refuse(
            format!("{source} on {} is {kind}, no image", local.display()),
            "umount unmounts other things",
        );
    }
    if there.is_none() && parts.targets.is_empty() && parts.links.is_empty() {
        warn(format_args!("no image is mounted at {}", local.display()));
    }
    // Before anything is changed: a disk must not be taken away from a machine that runs.
    for session in iscsi::sessions() {
        if !parts.targets.contains(&session.iqn) {
            continue;
        }
        for disk in &session.disks {
            if iscsi::is_used(disk)? {
                return refuse(
                    format!(
                        "/dev/{disk} of {} is in use: mounted, or a disk of a machine that runs",
                        session.iqn
                    ),
                    "stop the machine, or unmount what is on the disk: lsblk shows it. Nothing was changed",
                );
            }
        }
    }
    if dry_run {
        return Ok(());
    }
    mount::umount(local)?;
    for link in &parts.links {
        iscsi::unlink(link)?;
    }
    for iqn in &parts.targets {
        iscsi::logout(iqn)?;
    }
    if there.is_some() || name.is_some() {
        mount::rmdir(local)?;
    }
    match name {
        Some(name) => mount::forget(&name),
        None => Ok(()),
    }
}

fn parts(request: &Request, name: Option<&str>) -> anyhow::Result<Parts> {
    let mut targets = request.targets.clone();
    let mut links = Vec::new();
    if let Some(name) = name {
        if let Some(record) = mount::record(name)? {
            let there = &record.mount.local;
            if *there != request.local {
                return refuse(
                    format!("{name} has its image at {}", there.display()),
                    format!("vn image unmount --local {}", there.display()),
                );
            }
            targets.extend(record.mount.disks().into_iter().map(|(_, iqn)| iqn));
        }
        let sessions = iscsi::sessions();
        for (link, disk) in iscsi::links() {
            if !SUFFIXES
                .iter()
                .any(|suffix| link == format!("{name}-{suffix}"))
            {
                continue;
            }
            let of = sessions
                .iter()
                .find(|session| session.disks.contains(&disk));
            targets.extend(of.map(|session| session.iqn.clone()));
            links.push(link);
        }
    }
    targets.sort();
    targets.dedup();
    Ok(Parts { targets, links })
}
