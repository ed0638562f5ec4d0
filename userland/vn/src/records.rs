// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is written down of things that have names: for each a file NAME.json. Who writes holds the lock of the name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files;

/// The directory that they are in; it is made for the first of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records<'a>(pub(crate) &'a Path);

impl Records<'_> {
    fn path(self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// What is written down of a name, if anything is.
    pub(crate) fn read<T: DeserializeOwned>(self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.path(name);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes);
                record
                    .map(Some)
                    .with_context(|| format!("cannot understand {}", path.display()))
            }
        }
    }

    /// All that is written down, sorted by name.
    pub(crate) fn all<T: DeserializeOwned>(self) -> anyhow::Result<Vec<T>> {
        let what = || format!("cannot read {}", self.0.display());
        let entries = match fs::read_dir(self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(what)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.with_context(what)?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
            names.extend(name.map(str::to_owned));
        }
        names.sort();
        let mut found = Vec::new();
        for name in names {
            // One that goes meanwhile is gone.
            found.extend(self.read(&name)?);
        }
        Ok(found)
    }

    /// Replaces what is written down of a name.
    pub(crate) fn write<T: Serialize>(self, name: &str, record: &T) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        files::replace(&self.path(name), &text)
    }

    /// Removes what is written down of a name.
    pub(crate) fn forget(self, name: &str) -> anyhow::Result<()> {
        files::remove(&self.path(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::Directory;

    #[test]
    fn written_read_and_forgotten() {
        let directory = Directory::new();
        let inner = directory.path().join("records");
        let records = Records(&inner);
        assert!(records.all::<u32>().expect("no directory").is_empty());
        records.write("two", &2_u32).expect("written");
        records.write("one", &1_u32).expect("written");
        fs::write(inner.join("three.cfg"), "no record").expect("a file");
        assert_eq!(records.read("one").expect("read"), Some(1_u32));
        assert_eq!(records.read::<u32>("none").expect("read"), None);
        assert_eq!(records.all::<u32>().expect("read"), [1, 2]);
        records.forget("one").expect("removed");
        records.forget("one").expect("gone already");
        assert_eq!(records.all::<u32>().expect("read"), [2]);
        fs::write(inner.join("two.json"), "half a rec").expect("a file");
        let error = records.read::<u32>("two").expect_err("not JSON");
        assert!(error.to_string().contains("cannot understand"), "{error}");
    }
}
