// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Removing images and users' file systems: refused while somebody uses them.

use std::io::{IsTerminal, Write, stderr, stdin};

use super::export::{self, state};
use super::zfs::{self, Facts, Name, property};
use super::{lio, nfs, refuse};
use crate::commands::warn;
use crate::failure::{Attempt, Refused};
use crate::lock::Lock;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) image: Option<Name>,
    pub(crate) user: Option<Name>,
    /// Also what is used, or what vn did not make.
    pub(crate) force: bool,
    /// What is destroyed by force need not be named again.
    pub(crate) yes: bool,
    /// What is not there is no failure.
    pub(crate) if_exists: bool,
}

type Tree = Vec<(Name, Facts)>;

/// Removes; returns what was destroyed, or would be.
pub(crate) fn delete(request: &Request, dry_run: bool) -> anyhow::Result<Vec<Name>> {
    let _lock = Lock::named(export::LOCK)?;
    let mut gone = Vec::new();
    if let (Some(image), Some(user)) = (&request.image, &request.user) {
        if !image.is_below(user) {
            return refuse(
                format!("{image} is not below the user's file system {user}"),
                "nothing was changed: give the right one, or only one of both",
            );
        }
        // Before anything goes: both or nothing, as far as can be known.
        if let Some(facts) = zfs::facts(image)? {
            need_file_system(image, &facts)?;
        }
        check_user(request, user, Some(image))?;
    }
    for (name, is_user) in [(&request.image, false), (&request.user, true)] {
        let Some(name) = name else { continue };
        let noun = if is_user {
            "user's file system"
        } else {
            "image"
        };
        let what = Attempt::new(format_args!("delete {noun} {name}"));
        // In a rehearsal the image is still there.
        let within = request.image.as_ref().filter(|_| dry_run);
        gone.extend(
            one(request, name, is_user, within, dry_run).map_err(|error| error.context(what))?,
        );
    }
    Ok(gone)
}

fn need_file_system(name: &Name, facts: &Facts) -> anyhow::Result<()> {
    if facts.is_file_system() {
        return Ok(());
    }
    refuse(
        format!("{name} is not a file system"),
        "name the image, not one of its volumes",
    )
}

fn check_user(request: &Request, user: &Name, but: Option<&Name>) -> anyhow::Result<()> {
    if request.force {
        return Ok(());
    }
    let all = zfs::tree(user, "filesystem,volume,snapshot", None)?;
    let goes =
        |name: &Name| but.is_some_and(|image| name.dataset() == *image || name.is_below(image));
    let others: Vec<_> = all
        .iter()
        .map(|(name, _)| name)
        .filter(|name| *name != user && !goes(name))
        .map(Name::to_string)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    refuse(
        format!("{user} still holds {}", crate::commands::some_of(&others)),
        "nothing was changed; delete those first, or all of them with --force",
    )
}

fn one(
    request: &Request,
    name: &Name,
    is_user: bool,
    but: Option<&Name>,
    dry_run: bool,
) -> anyhow::Result<Vec<Name>> {
    let Some(facts) = zfs::facts(name)? else {
        if request.if_exists {
            return Ok(Vec::new());
        }
        return refuse(
            format!("there is no {name}"),
            "with --if-exists that is no failure",
        );
    };
    need_file_system(name, &facts)?;
    if name.parent().is_none() {
        return refuse(format!("{name} is a pool"), "zpool destroy is for that");
    }
    if is_user {
        check_user(request, name, but)?;
    }
    let tree = zfs::tree(name, "filesystem,volume,snapshot", None)?;
    dependents(&tree)?;
    let reasons = reasons(name, &facts, &tree, is_user)?;
    let going: Vec<Name> = tree.iter().map(|(name, _)| name.clone()).collect();
    if !reasons.is_empty() && !request.force {
        return Err(Refused::new(reasons.join("; "))
            .hint("vn image unmount on that host; or --force, which first says what it destroys")
            .into());
    }
    if dry_run {
        return Ok(going);
    }
    if request.force {
        confirm(request, name, &going, &reasons)?;
    }
    if !is_user || request.force {
        zfs::set(name, &[(property::STATE, state::DELETING.to_owned())])?;
    }
    for (part, facts) in &tree {
        // A user's tree may hold several images.
        if facts.is_file_system() && (part == name || facts.own(property::STATE).is_some()) {
            export::unexport(part)?;
        }
    }
    for (part, _) in tree.iter().rev() {
        zfs::destroy(part)?;
    }
    Ok(going)
}

/// What was cloned from it would be lost: that is refused, also with force.
pub(super) fn dependents(tree: &Tree) -> anyhow::Result<()> {
    for (name, facts) in tree {
        if let Some(clones) = facts.get("clones") {
            return refuse(
                format!("{clones} was made from {name}"),
                "delete that first, or make it independent with zfs promote",
            );
        }
    }
    Ok(())
}

/// Why it should not go.
fn reasons(name: &Name, facts: &Facts, tree: &Tree, is_user: bool) -> anyhow::Result<Vec<String>> {
    let mut reasons = Vec::new();
    if !is_user && facts.own(property::STATE).is_none() {
        reasons.push(format!("{name} is no image that vn made"));
    }
    for (part, facts) in tree {
        if let Some(iqn) = facts.own(property::IQN).filter(|_| facts.is_volume()) {
            for initiator in lio::sessions(iqn)? {
                reasons.push(format!("initiator {initiator} is logged in to {part}"));
            }
        }
        if let Some(directory) = facts.mountpoint() {
            let guid = facts.number("guid").unwrap_or_default();
            // Who had it mounted before a crash is in the table for ever: only who may mount it counts.
            if !nfs::exported(guid)?.is_empty() {
                for host in nfs::mounted_by(&directory)? {
                    reasons.push(format!("host {host} has mounted {part}"));
                }
            }
        }
        if !is_user && part.snapshot().is_some() {
            reasons.push(format!("there is a snapshot {part}"));
        }
    }
    reasons.dedup();
    Ok(reasons)
}

fn confirm(
    request: &Request,
    name: &Name,
    going: &[Name],
    reasons: &[String],
) -> anyhow::Result<()> {
    for reason in reasons {
        warn(reason);
    }
    let names: Vec<_> = going.iter().map(|name| format!("  {name}\n")).collect();
    let text = format!("vn: this destroys, for good:\n{}", names.concat());
    // Where it cannot be written, there is nobody to tell.
    let _ = stderr().lock().write_all(text.as_bytes());
    if request.yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return refuse(
            "--force wants a confirmation, and there is no terminal to ask on",
            "if that is what you want, add --yes",
        );
    }
    let _ = write!(stderr().lock(), "To confirm, type {name}: ");
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    if line.trim() == name.as_str() {
        return Ok(());
    }
    refuse("that is another name", "nothing was changed")
}
