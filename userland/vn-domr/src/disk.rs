// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The disk on which the state is kept, if there is one: an ext4 file system that is labelled for it. Without one, the state is in
//! memory, and gone with the machine.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MsFlags, umount};
use nix::unistd::sync;

use crate::say;

/// The label.
const LABEL: &str = "vn-domr";
/// Where the superblock begins on a disk, how much of it is looked at, and where in it are the magic number and the label.
const SUPERBLOCK: u64 = 1024;
const LENGTH: usize = 136;
const MAGIC: (usize, [u8; 2]) = (56, [0x53, 0xef]);
const LABEL_PLACE: std::ops::Range<usize> = 120..136;

/// Whether this is the beginning of a file system that has the label.
fn is_ours(superblock: &[u8; LENGTH]) -> bool {
    let (place, magic) = MAGIC;
    let label = superblock.get(LABEL_PLACE).unwrap_or_default();
    let label = label.split(|byte| *byte == 0).next();
    superblock.get(place..place + magic.len()) == Some(&magic[..])
        && label == Some(LABEL.as_bytes())
}

fn look(device: &Path) -> io::Result<bool> {
    let mut superblock = [0; LENGTH];
    File::open(device)?.read_exact_at(&mut superblock, SUPERBLOCK)?;
    Ok(is_ours(&superblock))
}

/// Mounts it. False if there is none.
pub(crate) fn mount(place: &Path) -> anyhow::Result<bool> {
    // The drivers have found their disks before their modules are said to be loaded.
    let disks = match fs::read_dir("/sys/block") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        disks => disks.context("cannot look for disks")?,
    };
    for disk in disks {
        let name = disk.context("cannot look for disks")?.file_name();
        let device = Path::new("/dev").join(name);
        match look(&device) {
            Ok(true) => {}
            // One that is empty, or too small.
            Ok(false) | Err(_) => continue,
        }
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
        let flags =
            MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
        nix::mount::mount(Some(&device), place, Some("ext4"), flags, None::<&str>).with_context(
            || {
                format!(
                    "cannot mount {}, which is to keep the state",
                    device.display()
                )
            },
        )?;
        say(format_args!("the state is on {}", device.display()));
        return Ok(true);
    }
    say("there is no disk for the state: it is kept as long as this runs");
    Ok(false)
}

/// Unmounts it. Who still writes there keeps it busy; what was answered is on the disk all the same.
pub(crate) fn unmount(place: &Path) {
    sync();
    match umount(place) {
        Ok(()) | Err(Errno::EBUSY) => {}
        Err(errno) => say(format_args!("cannot unmount {}: {errno}", place.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label() {
        let mut superblock = [0; LENGTH];
        assert!(!is_ours(&superblock));
        superblock[56..58].copy_from_slice(&[0x53, 0xef]);
        assert!(!is_ours(&superblock));
        superblock[120..127].copy_from_slice(b"vn-domr");
        assert!(is_ours(&superblock));
        superblock[127] = b'2';
        assert!(!is_ours(&superblock));
    }
}
