// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Files that are root's alone, which others find whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A directory that is root's alone; those above it as usual.
pub(crate) fn private_directory(path: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot make {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(what)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.with_context(what),
    }
}

/// Puts a file that is root's alone in place of what is there, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        private_directory(parent)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    remove(&new)?;
    let written = create(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The failure to write is what is told.
        let _ = fs::remove_file(&new);
    }
    written.with_context(what)
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    // Where nothing can be written, what is not there cannot be removed either.
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::Directory;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_roots_alone_and_replaced_whole() {
        let directory = Directory::new();
        let path = directory.path().join("sub/x.json");
        for text in ["a long text", "short"] {
            replace(&path, text.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("text"), text);
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let left = fs::read_dir(directory.path().join("sub")).expect("a directory");
        assert_eq!(left.count(), 1);
        remove(&path).expect("removed");
        remove(&path).expect("gone already");
    }
}
