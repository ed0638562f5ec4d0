// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The initiator: open-iscsi's `iscsiadm` makes and ends sessions; which device belongs to which session is in sysfs.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::libc;

use super::lio::Secret;
use super::refuse;
use super::zfs::settle;
use crate::exec::Program;
use crate::failure::Refused;

const SESSIONS: &str = "/sys/class/iscsi_session";
const BLOCK: &str = "/sys/class/block";
/// Devices that this host gives to virtual machines of Xen.
const BACKENDS: &str = "/sys/bus/xen-backend/devices";
/// Links with names that people gave: NAME-root, NAME-swap, NAME-datadisk-1.
pub(crate) const LINKS: &str = "/dev/disk/by-vm";
/// Where open-iscsi keeps what it knows of targets: in Debian, and elsewhere.
const NODES: [&str; 2] = ["/etc/iscsi/nodes", "/var/lib/iscsi/nodes"];
/// How long a request to a target may take. Less is tried within `iscsiadm`.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a disk may take to appear after its login.
const DEVICE_LIMIT: Duration = Duration::from_secs(60);

/// A session, and its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) iqn: String,
    /// Its number in sysfs.
    pub(crate) number: u32,
    /// The names of its disks in /dev.
    pub(crate) disks: Vec<String>,
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The sessions of this host, in the order in which they were made.
pub(crate) fn sessions() -> Vec<Session> {
    sessions_in(Path::new(SESSIONS))
}

fn sessions_in(root: &Path) -> Vec<Session> {
    let mut found = Vec::new();
    for name in names(root) {
        let Some(number) = name
            .strip_prefix("session")
            .and_then(|text| text.parse().ok())
        else {
            continue;
        };
        let session = root.join(&name);
        // One that ends just now has no name any more.
        let Ok(iqn) = fs::read_to_string(session.join("targetname")) else {
            continue;
        };
        let mut disks = Vec::new();
        let device = session.join("device");
        for target in names(&device)
            .iter()
            .filter(|name| name.starts_with("target"))
        {
            for unit in names(&device.join(target)) {
                disks.extend(names(&device.join(target).join(unit).join("block")));
            }
        }
        found.push(Session {
            iqn: iqn.trim().to_owned(),
            number,
            disks,
        });
    }
    found.sort_by_key(|session| session.number);
    found
}

pub(crate) fn session(iqn: &str) -> Option<Session> {
    sessions().into_iter().find(|session| session.iqn == iqn)
}

/// The names that were given to disks: name of the link, name of the disk.
pub(crate) fn links() -> Vec<(String, String)> {
    links_in(Path::new(LINKS))
}

fn links_in(directory: &Path) -> Vec<(String, String)> {
    let of = |name: String| {
        let target = fs::read_link(directory.join(&name)).ok()?;
        let disk = target.file_name()?.to_string_lossy().into_owned();
        Some((name, disk))
    };
    names(directory).into_iter().filter_map(of).collect()
}

/// The targets that this host is logged in to, with the name that their disk was given, if it has one.
pub(crate) fn map() -> Vec<(String, Option<String>)> {
    mapped(sessions(), &links())
}

fn mapped(sessions: Vec<Session>, links: &[(String, String)]) -> Vec<(String, Option<String>)> {
    let name = |session: &Session| {
        let of = |(_, disk): &&(String, String)| session.disks.contains(disk);
        links.iter().find(of).map(|(name, _)| name.clone())
    };
    sessions
        .into_iter()
        .map(|session| {
            let name = name(&session);
            (session.iqn, name)
        })
        .collect()
}

/// Gives a disk a name; what had it before has it no more.
pub(crate) fn link(name: &str, disk: &str) -> anyhow::Result<()> {
    let path = Path::new(LINKS).join(name);
    let what = || format!("cannot link {}", path.display());
    fs::create_dir_all(LINKS).with_context(what)?;
    let new = Path::new(LINKS).join(format!(".{name}.new"));
    remove_file(&new)?;
    symlink(Path::new("../..").join(disk), &new).with_context(what)?;
    fs::rename(&new, &path).with_context(what)
}

pub(crate) fn unlink(name: &str) -> anyhow::Result<()> {
    remove_file(&Path::new(LINKS).join(name))?;
    // It goes with the last one.
    let _ = fs::remove_dir(LINKS);
    Ok(())
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Whether somebody has a disk: it is mounted, part of something, or given to a virtual machine.
pub(crate) fn is_used(disk: &str) -> anyhow::Result<bool> {
    // Xen's backend has it open, but not for itself: `O_EXCL` does not see that.
    if given(Path::new(BLOCK), Path::new(BACKENDS), disk) {
        return Ok(true);
    }
    is_held(&Path::new("/dev").join(disk))
}

/// Whether a block device is mounted, part of something, or somebody's who wants it alone.
pub(crate) fn is_held(device: &Path) -> anyhow::Result<bool> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
        .open(device);
    match opened {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(true),
        // Its target is away, or it is: nobody can use it.
        Err(error)
            if [Some(libc::ENXIO), Some(libc::ENOENT), Some(libc::ENODEV)]
                .contains(&error.raw_os_error()) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", device.display())),
    }
}

/// Whether a disk, or a part of it, is a virtual machine's. Backends tell their device as `MAJOR:MINOR` in hexadecimal, the kernel
/// elsewhere in decimal.
fn given(block: &Path, backends: &Path, disk: &str) -> bool {
    let number = |path: &Path, file: &str, radix| {
        let text = fs::read_to_string(path.join(file)).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        let number = |digits| u32::from_str_radix(digits, radix).ok();
        Some((number(major)?, number(minor)?))
    };
    let entries = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let disk = block.join(disk);
    let mut numbers: Vec<_> = number(&disk, "dev", 10).into_iter().collect();
    numbers.extend(
        entries(&disk)
            .iter()
            .filter(|part| part.join("partition").exists())
            .filter_map(|part| number(part, "dev", 10)),
    );
    entries(backends)
        .iter()
        .filter_map(|backend| number(backend, "physical_device", 16))
        .any(|number| numbers.contains(&number))
}

fn iscsiadm(arguments: &[&str]) -> anyhow::Result<Program> {
    Ok(Program::find("iscsiadm", LIMIT)?.arguments(arguments))
}

/// An address as iscsiadm takes it.
fn portal(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The targets that a host offers to us.
pub(crate) fn discover(host: &str) -> anyhow::Result<Vec<String>> {
    let program = iscsiadm(&[
        "-m",
        "discovery",
        "-t",
        "sendtargets",
        "-p",
        &portal(host),
        "-o",
        "nonpersistent",
    ])?;
    let output = program.output()?;
    match output.status {
        Some(0) => Ok(offered(&output.text)),
        // No objects found: it answered, and offers nothing.
        Some(21) => Ok(Vec::new()),
        _ => refuse(
            format!(
                "{host} does not say what targets it has: {program} failed: {}",
                output.words
            ),
            format!("does the storage host run, and can TCP port 3260 of {host} be reached?"),
        ),
    }
}

/// Lines of `address:port,group name`.
fn offered(text: &str) -> Vec<String> {
    let name = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    text.lines().filter_map(name).collect()
}

fn initiator() -> String {
    let text = fs::read_to_string("/etc/iscsi/initiatorname.iscsi").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("InitiatorName="));
    line.unwrap_or("of this host").trim().to_owned()
}

/// Refuses a target that the host does not offer to us.
pub(crate) fn need_offered(host: &str, iqn: &str, offered: &[String]) -> anyhow::Result<()> {
    if offered.iter().any(|name| name == iqn) {
        return Ok(());
    }
    refuse(
        format!("{host} does not offer target {iqn} to this host"),
        format!(
            "on the storage host, vn disk show tells the names of targets; the image must allow initiator {}",
            initiator()
        ),
    )
}

/// Logs in to a target. Nothing of it is done again at the next boot.
pub(crate) fn login(host: &str, iqn: &str, secret: Option<&Secret>) -> anyhow::Result<()> {
    let portal = portal(host);
    let node = ["-m", "node", "-T", iqn, "-p", &portal];
    let node = |more: &[&str]| iscsiadm(&[&node[..], more].concat());
    node(&["-o", "new"])?.run()?;
    // An answer that does not come within seconds does not come.
    for (name, value) in [
        ("node.startup", "manual"),
        ("node.session.initial_login_retry_max", "2"),
        ("node.conn[0].timeo.login_timeout", "15"),
        // A storage host that boots again keeps machines waiting, as NFS does: their writes do not fail for an hour.
        ("node.session.timeo.replacement_timeout", "3600"),
    ] {
        node(&["-o", "update", "-n", name, "-v", value])?.run()?;
    }
    if let Some(secret) = secret {
        authenticate(iqn, secret)?;
    }
    let login = node(&["--login"])?;
    let output = login.output()?;
    match output.status {
        // 15: there is such a session.
        Some(0 | 15) => Ok(()),
        status => {
            let refused = Refused::new(format!(
                "cannot log in to {iqn} at {host}: {}",
                output.words
            ));
            Err(match status {
                Some(24) => {
                    refused.hint("the target wants another user name or password: see --chap-file")
                }
                Some(8) => refused.hint(format!(
                    "it did not answer: can TCP port 3260 of {host} be reached?"
                )),
                _ => refused.hint("journalctl -u iscsid tells more"),
            }
            .into())
        }
    }
}

/// Writes user name and password into open-iscsi's record of the target: its program takes them as arguments only, which
/// everybody can read.
fn authenticate(iqn: &str, secret: &Secret) -> anyhow::Result<()> {
    let mut found = false;
    for path in NODES
        .iter()
        .flat_map(|nodes| records(&Path::new(nodes).join(iqn)))
    {
        found = true;
        let what = || format!("cannot write {}", path.display());
        let text = fs::read_to_string(&path).with_context(what)?;
        let new = path.with_extension("vn");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new);
        let written = file.and_then(|mut file| {
            std::io::Write::write_all(&mut file, with_secret(&text, secret).as_bytes())
        });
        written.with_context(what)?;
        fs::rename(&new, &path).with_context(what)?;
    }
    if found {
        return Ok(());
    }
    refuse(
        format!(
            "open-iscsi has no record of {iqn} in {}",
            NODES.join(" or ")
        ),
        "log in with iscsiadm once to see where it keeps them",
    )
}

/// The files of a target: one for each portal, or a directory with files.
fn records(target: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for name in names(target) {
        let path = target.join(name);
        if path.is_dir() {
            files.extend(names(&path).into_iter().map(|name| path.join(name)));
        } else {
            files.push(path);
        }
    }
    files
}

fn with_secret(record: &str, secret: &Secret) -> String {
    const NAME: &str = "node.session.auth.";
    let values = [
        ("authmethod", "CHAP"),
        ("username", &secret.user),
        ("password", &secret.password),
    ];
    let replaced = |line: &str| {
        let name = line.split('=').next().unwrap_or_default().trim();
        values
            .iter()
            .any(|(value, _)| name.strip_prefix(NAME) == Some(value))
    };
    let mut text = String::new();
    for line in record.lines().filter(|line| !replaced(line)) {
        if line.starts_with("# END RECORD") {
            for (name, value) in values {
                text.push_str(&format!("{NAME}{name} = {value}\n"));
            }
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Logs out, and forgets the target.
pub(crate) fn logout(iqn: &str) -> anyhow::Result<()> {
    if session(iqn).is_some() {
        let program = iscsiadm(&["-m", "node", "-T", iqn, "--logout"])?;
        let output = program.output()?;
        // 21: there is no such session any more.
        if !matches!(output.status, Some(0 | 21)) {
            return refuse(
                format!("cannot log out of {iqn}: {}", output.words),
                "do the same again; journalctl -u iscsid tells more",
            );
        }
    }
    let output = iscsiadm(&["-m", "node", "-T", iqn, "-o", "delete"])?.output()?;
    match output.status {
        Some(0 | 21) => Ok(()),
        _ => refuse(
            format!("cannot forget {iqn}: {}", output.words),
            "do the same again",
        ),
    }
}

/// Waits for the disk of a session; returns its name in /dev.
pub(crate) fn wait_for_disk(iqn: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + DEVICE_LIMIT;
    loop {
        settle()?;
        let disks = session(iqn)
            .map(|session| session.disks)
            .unwrap_or_default();
        match disks.as_slice() {
            [disk] if Path::new("/dev").join(disk).exists() => return Ok(disk.clone()),
            [] | [_] => {}
            _ => {
                return refuse(
                    format!("target {iqn} has several disks: {}", disks.join(", ")),
                    "a target of vn has one; this one is of somebody else",
                );
            }
        }
        if Instant::now() >= deadline {
            return refuse(
                format!(
                    "no disk of {iqn} has appeared within {} s",
                    DEVICE_LIMIT.as_secs()
                ),
                "has the target a disk? On the storage host: vn image restore, then vn disk show",
            );
        }
        // The scan of a session tells nobody when it has found nothing yet.
        thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::Directory;

    #[test]
    fn disks_of_machines() {
        let directory = Directory::new();
        let root = directory.path();
        let (block, backends) = (root.join("block"), root.join("backends"));
        for (path, file, text) in [
            ("block/sdb", "dev", "8:16"),
            ("block/sdc", "dev", "8:32"),
            ("block/sdc/sdc1", "dev", "8:33"),
            ("block/sdc/sdc1", "partition", "1"),
            ("block/sdd", "dev", "8:10"),
            ("backends/vif-1-0", "state", "4"),
            ("backends/vbd-1-51713", "physical_device", "8:10"),
            ("backends/vbd-2-51713", "physical_device", "8:21"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(&path).expect("directories");
            fs::write(path.join(file), format!("{text}\n")).expect("a file");
        }
        let found = ["sdb", "sdc", "sdd", "sde"].map(|disk| given(&block, &backends, disk));
        let without = given(&block, &root.join("none"), "sdb");
        assert_eq!(found, [true, true, false, false]);
        assert!(!without);
    }

    #[test]
    fn sessions_and_names() {
        let directory = Directory::new();
        let root = directory.path();
        for (number, iqn, disk) in [
            (2, "iqn.b", Some("sdba")),
            (10, "iqn.c", None),
            (1, "iqn.a", Some("sdb")),
        ] {
            let session = root.join(format!("session{number}"));
            let unit = session.join("device/target3:0:0/3:0:0:0/block");
            fs::create_dir_all(disk.map_or(session.clone(), |disk| unit.join(disk)))
                .expect("directories");
            fs::write(session.join("targetname"), format!("{iqn}\n")).expect("a file");
        }
        let found = sessions_in(root);
        let links = [
            ("vm-root".to_owned(), "sdba".to_owned()),
            ("old".to_owned(), "sd".to_owned()),
        ];
        let map = mapped(found, &links);
        let none = |iqn: &str| (iqn.to_owned(), None);
        assert_eq!(
            map,
            [
                none("iqn.a"),
                ("iqn.b".to_owned(), Some("vm-root".to_owned())),
                none("iqn.c")
            ]
        );
    }

    #[test]
    fn what_is_offered() {
        let text = "192.0.2.1:3260,1 iqn.a:1\n[2001:db8::1]:3260,1 iqn.b\n\n";
        assert_eq!(offered(text), ["iqn.a:1", "iqn.b"]);
        let error = need_offered("192.0.2.1", "iqn.a", &offered(text)).expect_err("another");
        assert!(
            error.to_string().contains("does not offer target iqn.a"),
            "{error}"
        );
        assert_eq!(portal("2001:db8::1"), "[2001:db8::1]");
    }

    #[test]
    fn secrets_in_records() {
        let secret = Secret {
            user: "u".to_owned(),
            password: "p".to_owned(),
        };
        let record = "# BEGIN RECORD 2.1\nnode.name = iqn.a\nnode.session.auth.authmethod = None\n\
            node.session.auth.username = old\n# END RECORD\n";
        let expected = "# BEGIN RECORD 2.1\nnode.name = iqn.a\nnode.session.auth.authmethod = CHAP\n\
            node.session.auth.username = u\nnode.session.auth.password = p\n# END RECORD\n";
        assert_eq!(with_secret(record, &secret), expected);
        assert_eq!(with_secret(expected, &secret), expected);
    }
}
