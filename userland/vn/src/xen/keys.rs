// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Keys between a dom0 and its routing domains. The installation has one, made when it is first needed; each domR has a host key,
//! made here before it starts. So neither side trusts on first use, and no image holds a secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::{DIRECTORY, refuse};
use crate::exec::Program;
use crate::files;
use crate::lock::Lock;

/// How long `ssh-keygen` may take.
const LIMIT: Duration = Duration::from_secs(30);

fn directory() -> PathBuf {
    Path::new(DIRECTORY).join("keys")
}

/// The installation's key; its public half has `.pub` behind it.
pub(crate) fn installation() -> PathBuf {
    directory().join("id_ed25519")
}

/// The host key of a domR.
fn host(name: &str) -> PathBuf {
    // No machine's name has an underscore, so it cannot be taken for the installation's.
    directory().join(name)
}

/// The public half of the host key of a domR.
pub(crate) fn host_public(name: &str) -> PathBuf {
    public(&host(name))
}

fn public(key: &Path) -> PathBuf {
    let mut path = key.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// Makes a key, unless it is there.
fn ensure(key: &Path, comment: &str) -> anyhow::Result<()> {
    files::private_directory(&directory())?;
    let _lock = Lock::alone("keys")?;
    let there = [key, &public(key)].map(Path::exists);
    match there {
        [true, true] => return Ok(()),
        [false, false] => {}
        _ => {
            let path = key.display();
            return refuse(
                format!("only one half of the key {path} is there"),
                format!("put the other half back, or remove this one: {path}*"),
            );
        }
    }
    let new = key.with_extension("new");
    files::remove(&new)?;
    files::remove(&public(&new))?;
    let made = Program::find("ssh-keygen", LIMIT)?
        .arguments(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arguments([&new])
        .run()
        .and_then(|()| {
            fs::rename(&new, key)
                .and_then(|()| fs::rename(public(&new), public(key)))
                .with_context(|| format!("cannot put the key {} in place", key.display()))
        });
    if made.is_err() {
        // The failure is what is told.
        for left in [&new, &public(&new)] {
            let _ = fs::remove_file(left);
        }
    }
    made
}

/// Removes the host key of a domR.
pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    files::remove(&host(name))?;
    files::remove(&host_public(name))
}

/// What a domR is given: an archive that follows its initrd. Makes the keys that are not there yet.
pub(crate) fn archive(name: &str) -> anyhow::Result<Vec<u8>> {
    ensure(&installation(), "vn")?;
    ensure(&host(name), name)?;
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let files = [
        ("authorized_keys", 0o600, read(&public(&installation()))?),
        ("ssh_host_ed25519_key", 0o600, read(&host(name))?),
        ("ssh_host_ed25519_key.pub", 0o644, read(&host_public(name))?),
    ];
    let mut archive = Archive::default();
    archive.add("etc", 0o40755, &[])?;
    archive.add("etc/vn-domr", 0o40755, &[])?;
    for (file, mode, bytes) in files {
        archive.add(&format!("etc/vn-domr/{file}"), 0o100_000 | mode, &bytes)?;
    }
    archive.finish()
}

/// An archive as the kernel unpacks it into its first file system: cpio's `newc`.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    count: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.count += 1;
        let size = u32::try_from(content.len()).context("a file of more than 4 GiB")?;
        // Inode, mode, owner, group, links, time, size, two devices of two numbers, length of the name, checksum.
        let fields = [
            self.count,
            usize::try_from(mode)?,
            0,
            0,
            1,
            0,
            usize::try_from(size)?,
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad(4);
        self.bytes.extend(content);
        self.pad(4);
        Ok(())
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn finish(mut self) -> anyhow::Result<Vec<u8>> {
        self.add("TRAILER!!!", 0, &[])?;
        self.pad(512);
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.add("etc", 0o40755, &[]).expect("added");
        archive.add("etc/key", 0o100_600, b"secret").expect("added");
        let bytes = archive.finish().expect("an archive");
        assert_eq!(bytes.len() % 512, 0);
        let (mut at, mut found) = (0, Vec::new());
        loop {
            let field = |number: usize| {
                let from = at + 6 + number * 8;
                let text = std::str::from_utf8(&bytes[from..from + 8]).expect("text");
                usize::from_str_radix(text, 16).expect("a number")
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, length) = (field(1), field(6), field(11));
            let name = &bytes[at + 110..at + 110 + length - 1];
            let name = std::str::from_utf8(name).expect("text");
            let content = (at + 110 + length).next_multiple_of(4);
            if name == "TRAILER!!!" {
                break;
            }
            found.push((
                name.to_owned(),
                mode,
                bytes[content..content + size].to_vec(),
            ));
            at = (content + size).next_multiple_of(4);
        }
        let expected = [
            ("etc".to_owned(), 0o40755, Vec::new()),
            ("etc/key".to_owned(), 0o100_600, b"secret".to_vec()),
        ];
        assert_eq!(found, expected);
    }
}
