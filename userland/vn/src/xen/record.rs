// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is written down of machines: for each what was asked for, and what `xl` was told.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::remote::Domr;
use super::vnc::Password;
use super::{DIRECTORY, words};

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Guest,
    Domr,
}

/// A VNC display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Console {
    pub(crate) listen: Ipv4Addr,
    /// Its TCP port is 5900 more.
    pub(crate) display: u16,
}

impl Console {
    /// Its TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.display.saturating_add(5900)
    }
}

/// A network device of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nic {
    pub(crate) mac: String,
    pub(crate) bridge: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) vnet: String,
    pub(crate) image: PathBuf,
    /// MiB.
    pub(crate) memory: u32,
    pub(crate) nics: Vec<Nic>,
    /// Of a guest its address in the vnet; of a domR that on the private side, where it is managed.
    pub(crate) address: Ipv4Addr,
    /// Who has been told of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Domr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<Console>,
    /// Of its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Password>,
    /// Mbit/s of broadcast and multicast; 0 is no limit.
    pub(crate) flood: u32,
    /// Whether all of it was done.
    pub(crate) complete: bool,
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.json"))
}

/// What `xl` is told of a machine.
pub(crate) fn config_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.cfg"))
}

/// What is written down of a machine.
pub(crate) fn read(name: &str) -> anyhow::Result<Option<Record>> {
    let path = path(name);
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

/// All that is written down, by name.
pub(crate) fn all() -> anyhow::Result<Vec<Record>> {
    let what = || format!("cannot read {DIRECTORY}");
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(what)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.with_context(what)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        if let Some(name) = name.filter(|name| words::name(name).is_ok()) {
            found.extend(read(name)?);
        }
    }
    found.sort_by(|a: &Record, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Replaces what is written down of a machine.
pub(crate) fn write(record: &Record) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    replace(&path(&record.name), &text)
}

/// Replaces what `xl` is told.
pub(crate) fn write_config(name: &str, text: &str) -> anyhow::Result<()> {
    replace(&config_path(name), text.as_bytes())
}

/// Removes both.
pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    remove(&config_path(name))?;
    remove(&path(name))
}

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

    #[test]
    fn records() {
        let record = Record {
            name: "centos5-2".to_owned(),
            role: Role::Guest,
            vnet: "0005".to_owned(),
            image: "/images/i0007".into(),
            memory: 256,
            nics: vec![Nic {
                mac: "02:00:00:05:00:56".to_owned(),
                bridge: "vnbr0005".to_owned(),
            }],
            address: Ipv4Addr::new(10, 1, 1, 56),
            lease: None,
            console: None,
            password: None,
            flood: 10,
            complete: true,
        };
        let text = serde_json::to_string(&record).expect("text");
        let back: Record = serde_json::from_str(&text).expect("a record");
        assert_eq!(back, record);
        assert!(text.contains(r#""role":"guest""#), "{text}");
    }
}
