// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One change of several steps at a time: another `vn` must not see, use or undo what is half done.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

use crate::commands::warn;

const PATH: &str = "/run/vn.lock";
/// Directory of the locks of images, templates and mounts.
const DIRECTORY: &str = "/run/lock/vn";

/// Held as long as it lives.
pub(crate) struct Lock {
    _file: Option<Flock<File>>,
}

impl Lock {
    /// Waits for it. Who may not write to its directory may not configure the host's networks either; in a container
    /// without that directory there is nobody to lock out.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let Ok(file) = open(Path::new(PATH)) else {
            return Ok(Self { _file: None });
        };
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(file) => Ok(Self { _file: Some(file) }),
            Err((_, errno)) => {
                Err(anyhow::Error::from(errno).context(format!("cannot lock {PATH}")))
            }
        }
    }

    /// Waits for the lock of this name, and says so. Programs that are started while it is held hold it, too: should this
    /// process be killed, the next one waits until they have ended.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let (file, path) = Self::open_named(name)?;
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Self::wait(name, file, &path)
    }

    /// The same, but not for programs that are started: those of Xen leave some of theirs behind, which would hold it for ever.
    pub(crate) fn alone(name: &str) -> anyhow::Result<Self> {
        let (file, path) = Self::open_named(name)?;
        Self::wait(name, file, &path)
    }

    fn open_named(name: &str) -> anyhow::Result<(File, PathBuf)> {
        std::fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
        let path = Path::new(DIRECTORY).join(file_name(name));
        let file = open(&path).with_context(|| format!("cannot lock {}", path.display()))?;
        Ok((file, path))
    }

    fn wait(name: &str, file: File, path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot lock {}", path.display());
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, Errno::EWOULDBLOCK)) => {
                warn(format_args!("another vn works on {name}: waiting for it"));
                Flock::lock(file, FlockArg::LockExclusive)
            }
            locked => locked,
        };
        let file = file.map_err(|(_, errno)| errno).with_context(what)?;
        Ok(Self { _file: Some(file) })
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// A name of limited length for a file, without slashes. Two long names may share one: then they wait for each other.
fn file_name(name: &str) -> String {
    let plain = name.replace('/', "%");
    plain.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_of_files() {
        assert_eq!(file_name("image tank/demo"), "image tank%demo");
        assert_eq!(file_name(&"x".repeat(500)).len(), 120);
    }
}
