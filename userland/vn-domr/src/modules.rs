// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The kernel modules of the image, which are listed in the order in which they need each other.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::say;

/// One path for each line.
const LIST: &str = "/usr/lib/vn-domr/modules";

/// Loads them. One that finds nothing to drive here (a Xen device, where there is no Xen) is none to worry about; others are told,
/// and missed by what needs them.
pub(crate) fn load() -> anyhow::Result<()> {
    let list = fs::read_to_string(LIST).with_context(|| format!("cannot read {LIST}"))?;
    for path in list.lines() {
        if let Err(error) = load_one(Path::new(path)) {
            say(format_args!("{error:#}"));
        }
    }
    Ok(())
}

fn load_one(path: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot load {}", path.display());
    let file = File::open(path).with_context(what)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno).with_context(what),
    }
}
