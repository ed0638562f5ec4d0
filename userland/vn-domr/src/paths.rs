// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Where everything is.

use std::path::{Path, PathBuf};

/// The directories; below `/`, but in tests.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Those below this directory.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// That directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What dom0 has put here: keys.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.root.join("etc/vn-domr").join(name)
    }

    /// What is made at each start.
    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.root.join("run/vn-domr").join(name)
    }

    /// What is kept.
    pub(crate) fn kept(&self, name: &str) -> PathBuf {
        self.root.join("var/lib/vn-domr").join(name)
    }
}
