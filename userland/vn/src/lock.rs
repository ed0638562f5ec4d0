// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One change of several steps at a time: another `vn` must not see, use or undo what is half done.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{Flock, FlockArg};

const PATH: &str = "/run/vn.lock";

/// Held as long as it lives.
pub(crate) struct Lock {
    _file: Option<Flock<File>>,
}

impl Lock {
    /// Waits for it. Who may not write to its directory may not configure the host's networks either; in a container
    /// without that directory there is nobody to lock out.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(PATH);
        let Ok(file) = file else {
            return Ok(Self { _file: None });
        };
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(file) => Ok(Self { _file: Some(file) }),
            Err((_, errno)) => {
                Err(anyhow::Error::from(errno).context(format!("cannot lock {PATH}")))
            }
        }
    }
}
