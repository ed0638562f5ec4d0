// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Network namespaces by name, as `ip netns` keeps them.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};

use crate::Error;

/// Where the names are.
const DIRECTORY: &str = "/run/netns";

/// Moves the calling thread into the namespace. A name with a slash in it is a path.
pub fn enter(name: &str) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Netns {
        name: name.to_owned(),
        source,
    };
    let path = if name.contains('/') {
        PathBuf::from(name)
    } else {
        PathBuf::from(DIRECTORY).join(name)
    };
    let file = File::open(path).map_err(failed)?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))
}

/// The names, sorted. None if there is no directory of them.
pub fn names() -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
