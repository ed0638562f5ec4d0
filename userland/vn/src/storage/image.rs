// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Images: clones of a template, exported.

use serde::Serialize;

use anyhow::anyhow;

use super::export::{self, Access, state};
use super::refuse;
use super::zfs::{self, Facts, Name, property, zfs};
use crate::failure::Attempt;
use crate::lock::Lock;
use crate::undo::{Undo, all_or_nothing};

/// What becomes the data disk.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    None,
    /// A clone of this volume, or of this snapshot of it.
    Clone(Name),
    /// A new one of so many bytes.
    Blank(u64),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// A file system, or a snapshot of one.
    pub(crate) template: Name,
    pub(crate) image: Name,
    pub(crate) user: Name,
    pub(crate) data: Data,
    pub(crate) access: Access,
    /// An image from the same template that is there is no failure.
    pub(crate) may_exist: bool,
}

/// The snapshot that is meant: the one that is named, or the newest.
fn snapshot_of(name: &Name, kind: &str) -> anyhow::Result<Name> {
    zfs::need(&name.dataset(), kind)?;
    if name.snapshot().is_some() {
        zfs::need(name, "snapshot")?;
        return Ok(name.clone());
    }
    match zfs::newest_snapshot(name)? {
        Some(snapshot) => Ok(snapshot),
        None => refuse(
            format!("{name} has no snapshot"),
            format!("it is complete with its first one: zfs snapshot -r {name}@NAME"),
        ),
    }
}

/// What is cloned: from which snapshot, to which name.
type Clones = Vec<(Name, Name)>;

/// For volumes: what a target has acknowledged is on the disks. An initiator does not write again what a storage host lost when it
/// failed, and its next flush would succeed all the same.
const SYNC: (&str, &str) = ("sync", "always");

fn volumes_of(template: &Name, image: &Name) -> anyhow::Result<Clones> {
    let snapshot = template.snapshot().unwrap_or_default();
    let mut clones = Vec::new();
    for (volume, _) in zfs::tree(&template.dataset(), "volume", Some(1))? {
        let from = volume.at(snapshot);
        zfs::need(&from, "snapshot")?;
        let to = image.child(volume.last()).map_err(|text| anyhow!(text))?;
        clones.push((from, to));
    }
    if clones.is_empty() {
        return refuse(
            format!("{} has no volumes: it is no template", template.dataset()),
            "vn template create makes one",
        );
    }
    Ok(clones)
}

/// What is there under the name of the image.
enum There {
    Nothing,
    /// What a run that was killed has left.
    Half,
    /// The very image.
    Same,
}

fn look(request: &Request, template: &Name) -> anyhow::Result<There> {
    let Some(facts) = zfs::facts(&request.image)? else {
        return Ok(There::Nothing);
    };
    match facts.own(property::STATE) {
        Some(state::CREATING) => Ok(There::Half),
        Some(state::READY) => {
            let origin = facts.get("origin").unwrap_or_default();
            let same = origin.split('@').next() == Some(template.dataset().as_str());
            if request.may_exist && same {
                return Ok(There::Same);
            }
            refuse(
                format!(
                    "image {} is there already, made from {origin}",
                    request.image
                ),
                "with --may-exist one from the same template will do; nothing was changed",
            )
        }
        Some(other) => refuse(
            format!("image {} is being removed ({other})", request.image),
            format!("finish that first: vn image delete {}", request.image),
        ),
        None => refuse(
            format!("{} is there, and is no image that vn made", request.image),
            "choose another name; nothing was changed",
        ),
    }
}

/// Makes an image; returns the snapshot that it comes from.
pub(crate) fn create(request: &Request, dry_run: bool) -> anyhow::Result<Name> {
    let what = Attempt::new(format_args!("create image {}", request.image));
    steps(request, dry_run).map_err(|error| error.context(what))
}

fn steps(request: &Request, dry_run: bool) -> anyhow::Result<Name> {
    let Request { image, user, .. } = request;
    if !image.is_below(user) {
        return refuse(
            format!("{image} is not below the user's file system {user}"),
            format!("name the image {user}/NAME"),
        );
    }
    let _lock = Lock::named(export::LOCK)?;
    let template = snapshot_of(&request.template, "filesystem")?;
    let mut clones = volumes_of(&template, image)?;
    if let Data::Clone(disk) = &request.data {
        let snapshot = snapshot_of(disk, "volume")?;
        let to = image.child(&format!("datadisk1-{}", disk.last()));
        clones.push((snapshot, to.map_err(|text| anyhow!(text))?));
    }
    let access = request.access.properties()?;
    let there = look(request, &template)?;
    if let There::Same = there {
        return Ok(template);
    }
    let missing = zfs::missing_parents(image)?;
    if dry_run {
        return Ok(template);
    }
    if let There::Half = there {
        tear_down(image)?;
    }
    all_or_nothing(|undo| {
        parents(missing, undo)?;
        let mut properties = vec![(property::STATE, state::CREATING.to_owned())];
        properties.extend(access);
        let back = image.clone();
        undo.push(format!("remove image {image}"), move || tear_down(&back))?;
        clone(&template, image, &properties)?;
        for (from, to) in &clones {
            undo.check()?;
            clone(from, to, &[(SYNC.0, SYNC.1.to_owned())])?;
        }
        if let Data::Blank(size) = request.data {
            let to = image.child("datadisk1").map_err(|text| anyhow!(text))?;
            let sync = format!("{}={}", SYNC.0, SYNC.1);
            zfs([
                "create",
                "-s",
                "-o",
                &sync,
                "-V",
                &size.to_string(),
                to.as_str(),
            ])?
            .run()?;
        }
        undo.check()?;
        export::name_targets(image)?;
        export::export(image)?;
        undo.check()?;
        // From here on it is an image.
        zfs::set(image, &[(property::STATE, state::READY.to_owned())])
    })?;
    if let Some(facts) = zfs::facts(image)? {
        export::warn_if_nobody(image, &facts);
    }
    Ok(template)
}

fn parents(missing: Vec<Name>, undo: &mut Undo) -> anyhow::Result<()> {
    for name in missing {
        let back = name.clone();
        undo.push(format!("remove file system {name}"), move || {
            zfs::destroy(&back)
        })?;
        zfs(["create", name.as_str()])?.run()?;
    }
    Ok(())
}

fn clone(from: &Name, to: &Name, properties: &[(&str, String)]) -> anyhow::Result<()> {
    let mut arguments = vec!["clone".to_owned()];
    for (property, value) in properties {
        arguments.extend(["-o".to_owned(), format!("{property}={value}")]);
    }
    zfs(arguments)?
        .arguments([from.as_str(), to.as_str()])
        .run()
}

/// Removes an image that was never complete.
fn tear_down(image: &Name) -> anyhow::Result<()> {
    if zfs::facts(image)?.is_none() {
        return Ok(());
    }
    export::unexport(image)?;
    export::destroy(image)
}

/// A line of the list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) origin: String,
    /// `creating`, `ready` or `deleting`; nothing for a clone that is no image.
    pub(crate) state: Option<String>,
    /// Bytes of its own, with its disks.
    pub(crate) used: u64,
}

/// The file systems at and below `parent` that are clones; all images, if no parent is given.
pub(crate) fn list(parent: Option<&Name>) -> anyhow::Result<Vec<Listed>> {
    let Some(parent) = parent else {
        let mut found = Vec::new();
        for name in zfs::all_with(property::STATE)? {
            let facts = zfs::facts(&name)?;
            found.extend(facts.and_then(|facts| listed(&(name, facts))));
        }
        return Ok(found);
    };
    zfs::need(parent, "filesystem")?;
    let all = zfs::tree(parent, "filesystem", None)?;
    Ok(all.iter().filter_map(listed).collect())
}

fn listed((name, facts): &(Name, Facts)) -> Option<Listed> {
    Some(Listed {
        name: name.to_string(),
        origin: facts.get("origin")?.to_owned(),
        state: facts.own(property::STATE).map(str::to_owned),
        used: facts.number("used").unwrap_or_default(),
    })
}
