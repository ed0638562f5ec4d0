// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is written down of machines: for each what was asked for, and what `xl` was told.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DIRECTORY;
use super::remote::Domr;
use super::vnc::Password;
use crate::files;
use crate::records::Records;

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

fn records() -> Records<'static> {
    Records(Path::new(DIRECTORY))
}

/// What `xl` is told of a machine.
pub(crate) fn config_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.cfg"))
}

/// What is written down of a machine.
pub(crate) fn read(name: &str) -> anyhow::Result<Option<Record>> {
    records().read(name)
}

/// All that is written down, by name.
pub(crate) fn all() -> anyhow::Result<Vec<Record>> {
    records().all()
}

/// Replaces what is written down of a machine.
pub(crate) fn write(record: &Record) -> anyhow::Result<()> {
    records().write(&record.name, record)
}

/// Replaces what `xl` is told.
pub(crate) fn write_config(name: &str, text: &str) -> anyhow::Result<()> {
    files::replace(&config_path(name), text.as_bytes())
}

/// Removes both.
pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    files::remove(&config_path(name))?;
    records().forget(name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
