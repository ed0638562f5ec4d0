// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Mounting an image on a dom0: its file system by NFS, its volumes by iSCSI, names for the disks.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use serde::{Deserialize, Serialize};

use super::{export, iscsi, refuse};
use crate::exec::Program;
use crate::failure::Attempt;
use crate::lock::Lock;
use crate::records::Records;
use crate::undo::{Undo, all_or_nothing};

/// What is mounted, or was to be: gone after a boot, as the mounts are.
const RECORDS: &str = "/run/vn/mounts";
/// How long `mount` and `umount` may take.
const LIMIT: Duration = Duration::from_secs(90);
/// NFSv3, whose server knows who has mounted what; `hard`, so that an absent server delays and does not lose.
const OPTIONS: &str = "rw,hard,vers=3,nolock,retry=0";

/// The disks of an image: what the names of their links end in.
pub(crate) const SUFFIXES: [&str; 3] = ["root", "swap", "datadisk-1"];

/// What is asked for, and what is written down of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) remote: String,
    pub(crate) local: PathBuf,
    /// Targets: of root, swap and data disk.
    pub(crate) targets: [Option<String>; 3],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) mount: Mount,
    /// Whether all of it was done.
    pub(crate) complete: bool,
}

/// A name of a virtual machine, as it can stand in names of links.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-+".contains(&byte);
    if !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(['.', '-'])
        && text.bytes().all(good)
    {
        Ok(text.to_owned())
    } else {
        Err("the name of a virtual machine has letters, digits, and _ . - +".to_owned())
    }
}

/// An address or name of a host.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    if !text.is_empty() && text.len() < 256 && !text.starts_with('-') && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an address or a name of a host"))
    }
}

/// A directory of this host.
pub(crate) fn local(text: &str) -> Result<PathBuf, String> {
    let path: PathBuf = Path::new(text).components().collect();
    let plain = !path.components().any(|part| part.as_os_str() == "..");
    if path.is_absolute() && plain && path.parent().is_some() {
        Ok(path)
    } else {
        Err(format!("{text:?} is not an absolute path of a directory"))
    }
}

/// A directory of the storage host; the slash in front may be left out.
pub(crate) fn remote(text: &str) -> Result<String, String> {
    let path = local(&format!("/{}", text.trim_start_matches('/')))?;
    match path.to_str() {
        Some(text) if !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a path without spaces")),
    }
}

impl Mount {
    /// What is mounted, as mount tells it.
    fn source(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.remote)
        } else {
            format!("{}:{}", self.host, self.remote)
        }
    }

    /// Options of the NFS mount. To mount.nfs `tcp` is TCP over IPv4.
    fn options(&self) -> String {
        let protocol = if self.host.contains(':') {
            "tcp6"
        } else {
            "tcp"
        };
        format!("{OPTIONS},proto={protocol}")
    }

    /// The disks: name of the link, name of the target.
    pub(crate) fn disks(&self) -> Vec<(String, String)> {
        let named = |(suffix, iqn): (&str, &Option<String>)| {
            Some((format!("{}-{suffix}", self.name), iqn.clone()?))
        };
        SUFFIXES
            .into_iter()
            .zip(&self.targets)
            .filter_map(named)
            .collect()
    }
}

fn written() -> Records<'static> {
    Records(Path::new(RECORDS))
}

/// What is written down of a virtual machine.
pub(crate) fn record(name: &str) -> anyhow::Result<Option<Record>> {
    written().read(name)
}

/// All that is written down.
pub(crate) fn records() -> anyhow::Result<Vec<Record>> {
    written().all()
}

fn write(record: &Record) -> anyhow::Result<()> {
    written().write(&record.mount.name, record)
}

pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    written().forget(name)
}

/// What is mounted on a directory: source and type. The last one hides those before.
pub(crate) fn mounted(directory: &Path) -> anyhow::Result<Option<(String, String)>> {
    let table = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(mounted_in(&table, directory))
}

fn mounted_in(table: &str, directory: &Path) -> Option<(String, String)> {
    let found = |line: &str| {
        let mut words = line.split(' ');
        let (source, at, kind) = (words.next()?, words.next()?, words.next()?);
        (Path::new(&unescape(at)) == directory).then(|| (unescape(source), kind.to_owned()))
    };
    table.lines().filter_map(found).next_back()
}

/// Spaces and such are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (code, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(code, character);
    }
    plain
}

pub(crate) fn umount(directory: &Path) -> anyhow::Result<()> {
    if mounted(directory)?.is_none() {
        return Ok(());
    }
    let path = directory.display();
    // umount tells the server first that nobody has it mounted any more, and then may find that it is in use. Asking the
    // kernel whether it could go changes nothing, but a mark that nobody has used the mount since: whoever asks a second time has
    // unmounted it. A walk to it, which asks the server nothing, takes away the mark of a vn that was killed after this question.
    // One that leads nowhere is umount's to explain.
    let _ = File::options()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
        .open(directory);
    match umount2(directory, MntFlags::MNT_EXPIRE) {
        Err(Errno::EBUSY) => {
            return refuse(
                format!("{path} is in use"),
                format!("fuser -vm {path} shows who uses it; nothing was changed"),
            );
        }
        // Somebody else asks the same.
        Ok(()) => return Ok(()),
        // EAGAIN: it could go. What else there is, umount says in its words.
        Err(_) => {}
    }
    Program::find("umount", LIMIT)?
        .arguments([directory])
        .hint(format!(
            "fuser -vm {path} shows who uses it; nothing in it was removed"
        ))
        .run()
}

/// Removes an empty directory. What is in it is never removed.
pub(crate) fn rmdir(directory: &Path) -> anyhow::Result<()> {
    if mounted(directory)?.is_some() {
        return refuse(
            format!("{} is still mounted", directory.display()),
            "unmount it first",
        );
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            crate::commands::warn(format_args!(
                "{} is not empty, and stays",
                directory.display()
            ));
            Ok(())
        }
        result => result.with_context(|| format!("cannot remove {}", directory.display())),
    }
}

/// Mounts an image; returns the links to its disks.
pub(crate) fn mount(
    mount: &Mount,
    chap_file: Option<&Path>,
    dry_run: bool,
) -> anyhow::Result<Vec<PathBuf>> {
    let what = Attempt::new(format_args!(
        "mount image {} of {}",
        mount.remote, mount.host
    ));
    steps(mount, chap_file, dry_run).map_err(|error| error.context(what))
}

fn steps(mount: &Mount, chap_file: Option<&Path>, dry_run: bool) -> anyhow::Result<Vec<PathBuf>> {
    let secret = chap_file.map(export::secret).transpose()?;
    let _lock = Lock::named(&format!("machine {}", mount.name))?;
    let before = record(&mount.name)?;
    if let Some(record) = &before {
        if record.mount != *mount {
            let there = &record.mount;
            return refuse(
                format!(
                    "{} has an image: {} at {}",
                    mount.name,
                    there.source(),
                    there.local.display()
                ),
                format!("first: vn image unmount --local {}", there.local.display()),
            );
        }
    }
    for other in records()? {
        if other.mount.name != mount.name && other.mount.local == mount.local {
            return refuse(
                format!(
                    "{} is where {} has its image",
                    mount.local.display(),
                    other.mount.name
                ),
                "choose another directory",
            );
        }
    }
    // What a run that was killed has done is undone with the rest.
    let half = before.as_ref().is_some_and(|record| !record.complete);
    if before.is_none() {
        unused(mount)?;
    }
    let links = mount
        .disks()
        .into_iter()
        .map(|(name, _)| Path::new(iscsi::LINKS).join(name))
        .collect();
    if dry_run {
        return Ok(links);
    }
    all_or_nothing(|undo| {
        if before.is_none() || half {
            let name = mount.name.clone();
            undo.push("forget it", move || forget(&name))?;
        }
        if before.is_none() {
            write(&Record {
                mount: mount.clone(),
                complete: false,
            })?;
        }
        file_system(mount, half, undo)?;
        disks(mount, secret.as_ref(), half, undo)?;
        write(&Record {
            mount: mount.clone(),
            complete: true,
        })
    })?;
    Ok(links)
}

/// Refuses what is in somebody else's hands.
fn unused(mount: &Mount) -> anyhow::Result<()> {
    let names = iscsi::map();
    for (link, iqn) in mount.disks() {
        if let Some((_, name)) = names.iter().find(|(logged_in, _)| *logged_in == iqn) {
            return refuse(
                format!(
                    "this host is logged in to {iqn} already, {}",
                    name.as_ref()
                        .map_or("under no name".to_owned(), |name| format!("as {name}"))
                ),
                format!(
                    "a disk in two hands is lost; if nobody uses it: iscsiadm -m node -T {iqn} -u"
                ),
            );
        }
        if iscsi::links()
            .iter()
            .any(|(name, disk)| *name == link && Path::new("/dev").join(disk).exists())
        {
            return refuse(
                format!("{}/{link} is there already", iscsi::LINKS),
                format!(
                    "vn image unmount --name {} --local {}",
                    mount.name,
                    mount.local.display()
                ),
            );
        }
    }
    Ok(())
}

fn file_system(mount: &Mount, half: bool, undo: &mut Undo) -> anyhow::Result<()> {
    let local = &mount.local;
    let source = mount.source();
    let there = mounted(local)?;
    if let Some((other, _)) = there.as_ref().filter(|(there, _)| *there != source) {
        return refuse(
            format!("{} is mounted on {}", other, local.display()),
            "choose another directory, or unmount it first",
        );
    }
    if there.is_none() {
        let what = || format!("cannot use {}", local.display());
        // Those above it stay.
        if let Some(parent) = local.parent() {
            fs::create_dir_all(parent).with_context(what)?;
        }
        let new = match fs::create_dir(local) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            result => result.with_context(what).map(|()| true)?,
        };
        if !new && fs::read_dir(local).with_context(what)?.next().is_some() {
            return refuse(
                format!("{} is not empty", local.display()),
                "a mount would hide what is in it: choose another directory",
            );
        }
        if new || half {
            let back = local.clone();
            undo.push(format!("remove {}", local.display()), move || rmdir(&back))?;
        }
    }
    if there.is_none() || half {
        let back = local.clone();
        undo.push(format!("unmount {}", local.display()), move || {
            umount(&back)
        })?;
    }
    if there.is_none() {
        Program::find("mount.nfs", LIMIT)?;
        Program::find("mount", LIMIT)?
            .arguments(["-t", "nfs", "-o", &mount.options(), "--", &source])
            .arguments([local])
            .hint(format!(
                "does the storage host {} run, and does it export {} to this host? There: exportfs -v",
                mount.host, mount.remote
            ))
            .run()?;
    }
    Ok(())
}

fn disks(
    mount: &Mount,
    secret: Option<&super::lio::Secret>,
    half: bool,
    undo: &mut Undo,
) -> anyhow::Result<()> {
    let mut offered = None;
    for (link, iqn) in mount.disks() {
        let there = iscsi::session(&iqn).is_some();
        if !there || half {
            let back = iqn.clone();
            undo.push(format!("log out of {iqn}"), move || iscsi::logout(&back))?;
        }
        if !there {
            let offered = match &offered {
                Some(names) => names,
                None => offered.insert(iscsi::discover(&mount.host)?),
            };
            iscsi::need_offered(&mount.host, &iqn, offered)?;
            iscsi::login(&mount.host, &iqn, secret)?;
        }
        let disk = iscsi::wait_for_disk(&iqn)?;
        if !iscsi::links().contains(&(link.clone(), disk.clone())) || half {
            let back = link.clone();
            undo.push(format!("remove link {link}"), move || iscsi::unlink(&back))?;
            iscsi::link(&link, &disk)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line() {
        assert!(name("r-870-TEST-0186").is_ok());
        for text in ["", "a/b", ".x", "-x", "a b", "ä"] {
            assert!(name(text).is_err(), "{text}");
        }
        assert_eq!(remote("tank/demo/vm/i1"), remote("/tank/demo/vm/i1"));
        assert_eq!(remote("//tank/i1/").as_deref(), Ok("/tank/i1"));
        assert!(remote("").is_err() && remote("a/../b").is_err() && remote("a b").is_err());
        assert_eq!(local("/images/u1/"), Ok(PathBuf::from("/images/u1")));
        assert!(local("images").is_err() && local("/").is_err() && local("/a/..").is_err());
        assert!(host("2001:db8::1").is_ok() && host("a b").is_err() && host("-a").is_err());
    }

    #[test]
    fn what_is_mounted() {
        let table = "proc /proc proc rw 0 0\n192.0.2.1:/t/a /images/a nfs rw 0 0\nx /images/a\\040b ext4 rw 0 0\n\
            tmpfs /images/a tmpfs rw 0 0\n";
        let at = |path: &str| mounted_in(table, Path::new(path));
        assert_eq!(
            at("/images/a"),
            Some(("tmpfs".to_owned(), "tmpfs".to_owned()))
        );
        assert_eq!(at("/images/a b"), Some(("x".to_owned(), "ext4".to_owned())));
        assert_eq!(at("/images"), None);
    }

    #[test]
    fn records_are_read_as_written() {
        let mount = Mount {
            name: "vm".to_owned(),
            host: "2001:db8::1".to_owned(),
            remote: "/tank/i1".to_owned(),
            local: PathBuf::from("/images/i1"),
            targets: [Some("iqn.a".to_owned()), None, Some("iqn.b".to_owned())],
        };
        assert_eq!(mount.source(), "[2001:db8::1]:/tank/i1");
        assert!(mount.options().ends_with(",proto=tcp6"));
        let pair = |link: &str, iqn: &str| (link.to_owned(), iqn.to_owned());
        assert_eq!(
            mount.disks(),
            [pair("vm-root", "iqn.a"), pair("vm-datadisk-1", "iqn.b")]
        );
        let record = Record {
            mount,
            complete: true,
        };
        let text = serde_json::to_vec(&record).expect("JSON");
        let read: Record = serde_json::from_slice(&text).expect("a record");
        assert!(read.mount == record.mount && read.complete);
    }
}
