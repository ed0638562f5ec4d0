// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The templates of a storage host: which there are, and removing one.

use serde::Serialize;

use crate::commands::some_of;
use crate::failure::Attempt;
use crate::lock::Lock;
use crate::storage::delete::dependents;
use crate::storage::zfs::{self, Facts, Name, property};
use crate::storage::{export, iscsi, refuse};

/// A template, or what is left of one.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Kept {
    /// Its file system.
    pub(crate) name: String,
    /// `ready`, or what was interrupted: `creating` or `deleting`.
    pub(crate) state: &'static str,
    /// Those that images can be made from, oldest first.
    pub(crate) snapshots: Vec<String>,
    /// Bytes of its root disk.
    pub(crate) size: u64,
    /// Bytes that the root disk takes.
    pub(crate) used: u64,
    /// Made from it.
    pub(crate) images: Vec<String>,
}

/// The templates at and below a file system, or all.
pub(crate) fn list(parent: Option<&Name>) -> anyhow::Result<Vec<Kept>> {
    if let Some(parent) = parent {
        zfs::need(parent, "filesystem")?;
    }
    let mut found: Vec<Kept> = Vec::new();
    for name in zfs::all_with(property::TEMPLATE)? {
        let Some(facts) = zfs::facts(&name)? else {
            continue;
        };
        let Some(system) = system_of(&name, &facts) else {
            continue;
        };
        if parent.is_some_and(|parent| system != *parent && !system.is_below(parent)) {
            continue;
        }
        // The mark of a template that is being removed comes before its volume.
        let marked = found
            .last()
            .is_some_and(|last| last.name == system.as_str());
        if marked {
            found.pop();
        }
        let snapshots = match facts.is_volume() {
            true => zfs::tree(&name, "snapshot", Some(1))?,
            false => Vec::new(),
        };
        found.push(kept(&system, marked, &facts, &snapshots));
    }
    Ok(found)
}

/// The file system of the template that a dataset with its property belongs to.
fn system_of(name: &Name, facts: &Facts) -> Option<Name> {
    if facts.is_volume() {
        name.parent()
    } else {
        Some(name.clone())
    }
}

fn kept(system: &Name, marked: bool, facts: &Facts, snapshots: &[(Name, Facts)]) -> Kept {
    let state = match (snapshots, marked || facts.is_file_system()) {
        ([_, ..], _) => "ready",
        ([], true) => "deleting",
        ([], false) => "creating",
    };
    let clones = snapshots.iter().flat_map(|(_, facts)| facts.list("clones"));
    let image = |clone: String| match clone.rsplit_once('/') {
        Some((image, _)) => image.to_owned(),
        None => clone,
    };
    Kept {
        name: system.to_string(),
        state,
        snapshots: snapshots
            .iter()
            .filter_map(|(name, _)| name.snapshot().map(str::to_owned))
            .collect(),
        size: facts.number("volsize").unwrap_or_default(),
        used: facts
            .number("used")
            .filter(|_| facts.is_volume())
            .unwrap_or_default(),
        images: clones.map(image).collect(),
    }
}

/// Removes a template, with its snapshots and all volumes; returns what was destroyed, or would be. Refused while there are images of
/// it. The same command goes on where another ended.
pub(crate) fn delete(system: &Name, if_exists: bool, dry_run: bool) -> anyhow::Result<Vec<Name>> {
    let what = Attempt::new(format_args!("delete template {system}"));
    steps(system, if_exists, dry_run).map_err(|error| error.context(what))
}

fn steps(system: &Name, if_exists: bool, dry_run: bool) -> anyhow::Result<Vec<Name>> {
    let _lock = Lock::named(&super::lock_name(system))?;
    // No image is made from it meanwhile.
    let _images = Lock::named(export::LOCK)?;
    if zfs::facts(system)?.is_none() {
        if if_exists {
            return Ok(Vec::new());
        }
        return refuse(
            format!("there is no {system}"),
            "with --if-exists that is no failure; vn template list shows those that there are",
        );
    }
    let tree = zfs::tree(system, "filesystem,volume,snapshot", None)?;
    let name = may_go(system, &tree)?;
    dependents(&tree)?;
    for (volume, _) in tree.iter().filter(|(_, facts)| facts.is_volume()) {
        if iscsi::is_held(&volume.device())? {
            return refuse(
                format!("{} is in use", volume.device().display()),
                "lsblk and fuser -v show who uses it; nothing was changed",
            );
        }
    }
    let going: Vec<Name> = tree.into_iter().map(|(name, _)| name).collect();
    if dry_run {
        return Ok(going);
    }
    zfs::set(system, &[(property::TEMPLATE, name)])?;
    for part in going.iter().rev() {
        zfs::destroy(part)?;
    }
    Ok(going)
}

/// The name of the template, if the file system holds one and nothing else.
fn may_go(system: &Name, tree: &[(Name, Facts)]) -> anyhow::Result<String> {
    let marked = |(_, facts): &(Name, Facts)| facts.own(property::TEMPLATE).map(str::to_owned);
    let Some(name) = tree.iter().find_map(marked) else {
        return refuse(
            format!("{system} is no template that vn made"),
            "vn template list shows those that there are; zfs destroy removes other things",
        );
    };
    let others: Vec<_> = tree
        .iter()
        .filter(|(name, facts)| facts.is_file_system() && name != system)
        .map(|(name, _)| name.to_string())
        .collect();
    if others.is_empty() {
        return Ok(name);
    }
    refuse(
        format!("{system} holds other file systems: {}", some_of(&others)),
        "remove or rename those first; nothing was changed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::zfs::tests::facts;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn states() {
        let system = name("tank/os/a");
        let volume = facts(
            "v\ttype\tvolume\t-\nv\tvolsize\t4096\tlocal\nv\tused\t7\t-\nv\tvnet:template\ta\tlocal\n",
        );
        let snapshot = (
            name("tank/os/a/vmi-root-a@one"),
            facts(
                "s\ttype\tsnapshot\t-\ns\tclones\ttank/u/i1/vmi-root-a,tank/u/i2/vmi-root-a\t-\n",
            ),
        );
        let ready = kept(&system, true, &volume, &[snapshot]);
        assert_eq!(ready.state, "ready");
        assert_eq!((ready.size, ready.used), (4096, 7));
        assert_eq!(ready.images, ["tank/u/i1", "tank/u/i2"]);
        assert_eq!(ready.snapshots, ["one"]);
        assert_eq!(kept(&system, false, &volume, &[]).state, "creating");
        assert_eq!(kept(&system, true, &volume, &[]).state, "deleting");
        let left = facts("a\ttype\tfilesystem\t-\na\tused\t9\t-\na\tvnet:template\ta\tlocal\n");
        let left = kept(&system, false, &left, &[]);
        assert_eq!((left.state, left.used), ("deleting", 0));
    }

    #[test]
    fn only_templates_go() {
        let system = name("tank/os/a");
        let of = |name: &str, text: &str| (self::name(name), facts(text));
        let plain = of("tank/os/a", "a\ttype\tfilesystem\t-\n");
        let volume = of(
            "tank/os/a/vmi-root-a",
            "v\ttype\tvolume\t-\nv\tvnet:template\ta\tlocal\n",
        );
        let child = of("tank/os/a/b", "b\ttype\tfilesystem\t-\n");
        let inherited = of(
            "tank/os/a/swap",
            "s\ttype\tvolume\t-\ns\tvnet:template\ta\tinherited from tank/os/a\n",
        );
        let tree = [plain.clone(), inherited.clone()];
        assert!(may_go(&system, &tree).is_err());
        let tree = [plain.clone(), volume.clone(), inherited];
        assert_eq!(may_go(&system, &tree).expect("a template"), "a");
        let error = may_go(&system, &[plain, volume, child]).expect_err("more");
        assert!(error.to_string().contains("tank/os/a/b"), "{error}");
    }
}
