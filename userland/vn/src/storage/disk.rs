// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The disks of an image.

use std::fmt;

use anyhow::Context;
use serde::Serialize;

use super::lio;
use super::refuse;
use super::zfs::{self, Name, property};

/// Which disk of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Root,
    Swap,
    /// Number 0 is the root disk.
    Data(u32),
}

impl Which {
    /// Whether a volume of this name is it. Names are compared as a whole: disk 1 is not disk 10.
    fn is(self, name: &str) -> bool {
        match self {
            Self::Root | Self::Data(0) => name.starts_with("vmi-root-"),
            Self::Swap => {
                name.contains("swap")
                    && !name.starts_with("vmi-root-")
                    && !name.starts_with("datadisk")
            }
            Self::Data(number) => {
                let number = number.to_string();
                let Some(rest) = name.strip_prefix("datadisk") else {
                    return false;
                };
                let rest = rest.strip_prefix('-').unwrap_or(rest);
                rest.strip_prefix(&number)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root | Self::Data(0) => f.write_str("root disk"),
            Self::Swap => f.write_str("swap disk"),
            Self::Data(number) => write!(f, "data disk {number}"),
        }
    }
}

/// A disk, as it is listed.
#[derive(Debug, Serialize)]
pub(crate) struct Disk {
    pub(crate) volume: String,
    pub(crate) iqn: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Bytes of its own.
    pub(crate) used: u64,
    pub(crate) exported: bool,
    /// Who is logged in.
    pub(crate) initiators: Vec<String>,
}

/// The disks of an image, or one of them.
pub(crate) fn show(image: &Name, which: Option<Which>) -> anyhow::Result<Vec<Disk>> {
    zfs::need(image, "filesystem")?;
    let mut found = Vec::new();
    for (name, facts) in zfs::tree(image, "volume", Some(1))? {
        if which.is_some_and(|which| !which.is(name.last())) {
            continue;
        }
        let iqn = facts.own(property::IQN).unwrap_or_default();
        found.push(Disk {
            volume: name.to_string(),
            iqn: iqn.to_owned(),
            size: facts.number("volsize").context("a volume without a size")?,
            used: facts.number("used").unwrap_or_default(),
            exported: !iqn.is_empty() && lio::is_exported(iqn),
            initiators: lio::sessions(iqn)?,
        });
    }
    match which {
        Some(which) if found.is_empty() => refuse(
            format!("image {image} has no {which}"),
            format!("vn disk show {image} lists what it has"),
        ),
        _ => Ok(found),
    }
}

/// Size in bytes of a volume: of the disk, and of what it takes.
pub(crate) fn size(volume: &Name) -> anyhow::Result<(u64, u64)> {
    let facts = zfs::need(volume, "volume")?;
    let number = |name| {
        facts
            .number(name)
            .with_context(|| format!("zfs tells no {name} of {volume}"))
    };
    Ok((number("volsize")?, number("used")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_by_name() {
        assert!(Which::Root.is("vmi-root-ubuntu8"));
        assert!(Which::Data(0).is("vmi-root-swap"));
        assert!(!Which::Swap.is("vmi-root-swap"));
        assert!(Which::Swap.is("vmi-swap-ubuntu8"));
        assert!(Which::Swap.is("fedora-swap"));
        for name in ["datadisk1", "datadisk1-ext3-8g", "datadisk-1"] {
            assert!(Which::Data(1).is(name), "{name}");
        }
        for name in [
            "datadisk10",
            "datadisk11-ext3",
            "datadisk",
            "vmi-root-1",
            "xdatadisk1",
        ] {
            assert!(!Which::Data(1).is(name), "{name}");
        }
        assert!(Which::Data(10).is("datadisk10"));
    }
}
