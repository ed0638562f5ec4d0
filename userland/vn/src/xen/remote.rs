// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Asking `vn-domr` in a routing domain, by ssh to its private address. Its host key is known before; its answer is one line of JSON.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{self, Role};
use super::{keys, refuse};
use crate::exec::{Output, Program};
use crate::failure::Refused;
use crate::files;

/// What is made for a domR and goes with it, or with a boot.
const DIRECTORY: &str = "/run/vn/domr";
/// The TCP port of its sshd.
const PORT: &str = "3922";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(45);
/// The exit status by which ssh says that it has no connection.
const NO_CONNECTION: i32 = 255;

/// A routing domain, as it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Domr {
    pub(crate) name: String,
    /// Its address on the private side.
    pub(crate) address: Ipv4Addr,
    /// The file with the public half of its host key.
    pub(crate) host_key: PathBuf,
}

impl Domr {
    /// One that this dom0 has started.
    pub(crate) fn new(name: &str, address: Ipv4Addr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            host_key: keys::host_public(name),
        }
    }

    /// What is made for it.
    pub(crate) fn directory(&self) -> PathBuf {
        directory(&self.name)
    }
}

/// What is made for a domR.
pub(crate) fn directory(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// The routing domain of this dom0 that has this private address.
pub(crate) fn at(address: Ipv4Addr) -> anyhow::Result<Option<Domr>> {
    let records = record::all()?;
    let found = records
        .iter()
        .find(|record| record.role == Role::Domr && record.address == address);
    Ok(found.map(|record| Domr::new(&record.name, address)))
}

/// The same, or else a refusal with the next step.
pub(crate) fn find(address: Ipv4Addr) -> anyhow::Result<Domr> {
    match at(address)? {
        Some(domr) => Ok(domr),
        None => refuse(
            format!("no routing domain of this host has the private address {address}"),
            "vn vm list -d shows those of this host",
        ),
    }
}

/// Says these words to a domR, and returns its answer.
pub(crate) fn call(domr: &Domr, words: &[&str]) -> anyhow::Result<Value> {
    call_with(domr, words, None)
}

/// The same, with a file as standard input.
pub(crate) fn call_with(
    domr: &Domr,
    words: &[&str],
    input: Option<&Path>,
) -> anyhow::Result<Value> {
    let known = known_hosts(domr)?;
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        "ConnectTimeout=10".to_owned(),
        "ConnectionAttempts=1".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        // The key is known by the name of the domR: its address may have been another's before.
        format!("HostKeyAlias={}", domr.name),
        "HostKeyAlgorithms=ssh-ed25519".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "ServerAliveInterval=5".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
    ];
    options.push(format!("UserKnownHostsFile={}", known.display()));
    let mut program = Program::find("ssh", LIMIT)?
        .arguments(["-F", "none", "-T", "-p", PORT, "-i"])
        .arguments([keys::installation()])
        .arguments(options.iter().flat_map(|option| ["-o", option]))
        .arguments([format!("root@{}", domr.address), "--".to_owned()])
        .arguments(words.iter().copied());
    if let Some(input) = input {
        program = program.input(input);
    }
    answer(domr, words, &program.output()?)
}

/// Says which key the domR has.
fn known_hosts(domr: &Domr) -> anyhow::Result<PathBuf> {
    let path = &domr.host_key;
    let key = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the host key of {}, {}",
            domr.name,
            path.display()
        )
    })?;
    let mut words = key.split_whitespace();
    let (Some(kind), Some(bytes)) = (words.next(), words.next()) else {
        return refuse(
            format!("{} is not a public key of ssh", path.display()),
            "it is one line, which ssh-keygen has made",
        );
    };
    let known = domr.directory().join("known_hosts");
    files::replace(&known, format!("{} {kind} {bytes}\n", domr.name).as_bytes())?;
    Ok(known)
}

fn answer(domr: &Domr, words: &[&str], output: &Output) -> anyhow::Result<Value> {
    let Domr { name, address, .. } = domr;
    if output.status == Some(NO_CONNECTION) {
        return refuse(
            format!(
                "cannot reach the routing domain {name} at {address}: {}",
                output.words
            ),
            format!("does it run? vn vm list shows it, vn vm console {name} what it says"),
        );
    }
    let said: Option<Value> = serde_json::from_str(output.text.trim()).ok();
    let what = words.join(" ");
    match (said, output.status) {
        (Some(said), Some(0)) if said.is_object() => Ok(said),
        (Some(said), _) if said["error"].is_string() => {
            let reason = said["error"].as_str().unwrap_or_default();
            Err(Refused::new(format!(
                "the routing domain {name} refused {what}: {reason}"
            ))
            .into())
        }
        _ => {
            let text = output.text.trim().replace('\n', "; ");
            let status = output
                .status
                .map_or("a signal".to_owned(), |status| status.to_string());
            refuse(
                format!(
                    "the routing domain {name} did not answer {what} as it should (exit status {status}): {text}{}",
                    output.words
                ),
                "its image may be of another version than this vn",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: i32, text: &str, words: &str) -> Result<Value, String> {
        let domr = Domr::new("r-1", Ipv4Addr::new(192, 168, 1, 33));
        let output = Output {
            status: Some(status),
            text: text.to_owned(),
            words: words.to_owned(),
        };
        answer(&domr, &["lease", "list"], &output).map_err(|error| error.to_string())
    }

    #[test]
    fn answers() {
        let value = told(0, "{\"changed\":true}\n", "").expect("an answer");
        assert_eq!(value["changed"], true);
        let error = told(255, "", "ssh: connect to host: timed out").expect_err("no connection");
        assert!(error.starts_with("cannot reach the routing domain r-1 at 192.168.1.33: ssh:"));
        let error = told(1, "{\"error\":\"no such lease\"}", "").expect_err("refused");
        assert_eq!(
            error,
            "the routing domain r-1 refused lease list: no such lease"
        );
        for (status, text) in [
            (0, ""),
            (0, "[]"),
            (1, "{}"),
            (127, "sh: not found"),
            (2, "{\"changed\":true}"),
        ] {
            let error = told(status, text, "").expect_err("no answer");
            assert!(error.contains("did not answer lease list"), "{error}");
        }
    }
}
