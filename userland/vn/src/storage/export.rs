// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! How images are offered to dom0s. What is to be exported, and to whom, is in ZFS properties; target and exports are made
//! from them, when an image is created and again at every boot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::lio::{self, Export, Secret};
use super::zfs::{self, Facts, Name, property};
use super::{nfs, refuse};
use crate::commands::warn;
use crate::lock::Lock;

/// What stands in `vnet:state`.
pub(crate) mod state {
    pub(crate) const CREATING: &str = "creating";
    pub(crate) const READY: &str = "ready";
    pub(crate) const DELETING: &str = "deleting";
}

/// All that changes images waits for this: they are quick, and look at each other.
pub(crate) const LOCK: &str = "images";

/// Who may use an image; none of an item leaves it to what the dataset inherits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) initiators: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) chap_file: Option<PathBuf>,
}

impl Access {
    /// As properties of an image.
    pub(crate) fn properties(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut values = Vec::new();
        if !self.initiators.is_empty() {
            values.push((property::INITIATORS, self.initiators.join(",")));
        }
        if !self.hosts.is_empty() {
            values.push((property::HOSTS, self.hosts.join(",")));
        }
        if let Some(path) = &self.chap_file {
            secret(path)?;
            let path = path.to_str().context("the name of the file is no text")?;
            values.push((property::CHAP, path.to_owned()));
        }
        Ok(values)
    }
}

/// User name and password from a file that only its owner can read: two words.
pub(crate) fn secret(path: &Path) -> anyhow::Result<Secret> {
    let what = || format!("cannot read {}", path.display());
    let mode = fs::metadata(path).with_context(what)?.permissions().mode();
    if !path.is_absolute() || mode & 0o077 != 0 {
        return refuse(
            format!(
                "{} is no file for secrets: others may read it, or its path is relative",
                path.display()
            ),
            format!("chmod 600 {}", path.display()),
        );
    }
    let text = fs::read_to_string(path).with_context(what)?;
    match parse_secret(&text) {
        Some(secret) => Ok(secret),
        None => refuse(
            format!(
                "{} does not hold a user name and a password",
                path.display()
            ),
            "write both on one line, with a space between; at most 255 bytes each",
        ),
    }
}

fn parse_secret(text: &str) -> Option<Secret> {
    let mut words = text.split_whitespace();
    let (user, password) = (words.next()?, words.next()?);
    if words.next().is_some() || user.len() > 255 || password.len() > 255 {
        return None;
    }
    Some(Secret {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// The name of the target of a volume: what its guid makes unique, under the name of this host.
fn new_iqn(guid: u64) -> anyhow::Result<String> {
    let host =
        fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host's name")?;
    Ok(iqn_of(&host, guid))
}

fn iqn_of(host: &str, guid: u64) -> String {
    let host = host.trim().to_ascii_lowercase();
    let good = |character: &char| character.is_ascii_alphanumeric() || "-.".contains(*character);
    let host: String = host.chars().filter(good).take(64).collect();
    format!("iqn.2003-01.org.linux-iscsi.{host}.x8664:sn.{guid:016x}")
}

/// Gives each volume of an image the name of its target.
pub(crate) fn name_targets(image: &Name) -> anyhow::Result<()> {
    for (name, facts) in zfs::tree(image, "volume", None)? {
        if facts.own(property::IQN).is_none() {
            let guid = facts.number("guid").context("a volume without a guid")?;
            zfs::set(&name, &[(property::IQN, new_iqn(guid)?)])?;
        }
    }
    Ok(())
}

/// Exports an image, or makes its exports what its properties say.
pub(crate) fn export(image: &Name) -> anyhow::Result<()> {
    targets_and_exports(image)?;
    portals(image, lio::close_portals)?;
    portals(image, lio::open_portals)
}

/// Does something to the portals that the targets of an image want.
fn portals(image: &Name, step: fn(&str, &[String]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for (name, facts) in zfs::tree(image, "volume", None)? {
        if let Some(iqn) = facts.own(property::IQN) {
            let wanted = facts.list(property::PORTALS);
            let wanted = wanted.iter().map(|address| lio::portal(address));
            step(iqn, &of_property(&name, property::PORTALS, wanted)?)?;
        }
    }
    Ok(())
}

fn targets_and_exports(image: &Name) -> anyhow::Result<()> {
    for (name, facts) in zfs::tree(image, "filesystem,volume", None)? {
        let guid = facts.number("guid").context("a dataset without a guid")?;
        if facts.is_volume() {
            let Some(iqn) = facts.own(property::IQN) else {
                continue;
            };
            let initiators = facts.list(property::INITIATORS);
            let checked = initiators.iter().map(|name| lio::iqn(name));
            let secret = facts
                .get(property::CHAP)
                .map(|path| secret(Path::new(path)));
            lio::export(&Export {
                iqn: iqn.to_owned(),
                guid,
                device: zfs::wait_for_device(&name)?,
                initiators: of_property(&name, property::INITIATORS, checked)?,
                secret: secret.transpose()?,
            })
            .with_context(|| format!("cannot export {name} as {iqn}"))?;
        } else if name == *image {
            let hosts = facts.list(property::HOSTS);
            let hosts = of_property(
                &name,
                property::HOSTS,
                hosts.iter().map(|host| nfs::host(host)),
            )?;
            let directory = facts.mountpoint();
            let directory =
                directory.with_context(|| format!("{name} is not mounted: zfs mount {name}"))?;
            nfs::export(guid, &directory, &hosts)
                .with_context(|| format!("cannot export {name}"))?;
        }
    }
    Ok(())
}

fn of_property(
    name: &Name,
    property: &str,
    values: impl Iterator<Item = Result<String, String>>,
) -> anyhow::Result<Vec<String>> {
    let values: Result<_, _> = values.collect();
    values.map_err(|text| anyhow!("property {property} of {name}: {text}"))
}

/// Takes the exports of an image back; those that are not there are no failure.
pub(crate) fn unexport(image: &Name) -> anyhow::Result<()> {
    for (_, facts) in zfs::tree(image, "filesystem,volume", None)? {
        let guid = facts.number("guid").context("a dataset without a guid")?;
        match facts.own(property::IQN) {
            Some(iqn) if facts.is_volume() => lio::unexport(iqn, guid)?,
            _ => nfs::unexport(guid)?,
        }
    }
    Ok(())
}

/// Destroys all of an image, innermost first. Nothing is destroyed that has snapshots or clones of its own.
pub(crate) fn destroy(image: &Name) -> anyhow::Result<()> {
    let all = zfs::tree(image, "filesystem,volume", None)?;
    for (name, _) in all.iter().rev() {
        zfs::destroy(name)?;
    }
    Ok(())
}

/// What one image says about who may use it; for a warning that nobody may.
pub(crate) fn warn_if_nobody(image: &Name, facts: &Facts) {
    for (property, whom, how) in [
        (
            property::INITIATORS,
            "no initiator may use its volumes",
            "--initiator",
        ),
        (
            property::HOSTS,
            "no host may mount its file system",
            "--host",
        ),
    ] {
        if facts.list(property).is_empty() {
            warn(format_args!(
                "{image}: {whom}: give {how}, or set {property} on it or above it with zfs set, then: vn image restore"
            ));
        }
    }
}

/// Makes target and exports of all images again, as at boot. Returns those that were exported, and what failed.
pub(crate) fn restore() -> anyhow::Result<(Vec<Name>, Vec<anyhow::Error>)> {
    let _lock = Lock::named(LOCK)?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let mut known = Vec::new();
    for image in zfs::all_with(property::STATE)? {
        let Some(facts) = zfs::facts(&image)? else {
            continue;
        };
        known.extend(facts.number("guid"));
        for (_, volume) in zfs::tree(&image, "volume", None)? {
            known.extend(volume.number("guid"));
        }
        match facts.own(property::STATE) {
            Some(state::READY) => match targets_and_exports(&image) {
                Ok(()) => done.push(image),
                Err(error) => failed.push(error.context(format!("image {image}"))),
            },
            Some(state) => warn(format_args!(
                "image {image} is half done ({state}): do again what was interrupted"
            )),
            None => {}
        }
    }
    // Those that are to close may have what others want to open.
    for step in [lio::close_portals, lio::open_portals] {
        done.retain(|image| match portals(image, step) {
            Ok(()) => true,
            Err(error) => {
                failed.push(error.context(format!("image {image}")));
                false
            }
        });
    }
    for (iqn, guid) in lio::ours()? {
        if !known.contains(&guid) {
            lio::unexport(&iqn, guid)?;
        }
    }
    for guid in nfs::ours()? {
        if !known.contains(&guid) {
            nfs::unexport(guid)?;
        }
    }
    Ok((done, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let secret = parse_secret("dom0 twelve-bytes\n").expect("a secret");
        assert_eq!((&*secret.user, &*secret.password), ("dom0", "twelve-bytes"));
        for text in [
            "",
            "one",
            "one two three",
            &format!("a {}", "b".repeat(256)),
        ] {
            assert!(parse_secret(text).is_none(), "{text}");
        }
    }

    #[test]
    fn names_of_targets() {
        let name = iqn_of("Storage_1.example.org\n", 0xab);
        assert_eq!(
            name,
            "iqn.2003-01.org.linux-iscsi.storage1.example.org.x8664:sn.00000000000000ab"
        );
        assert_eq!(lio::iqn(&name), Ok(name.clone()));
    }
}
