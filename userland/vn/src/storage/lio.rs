// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The kernel's iSCSI target, through its configfs: one target for each volume, one ACL for each initiator.
//!
//! Everything here can be done again, also after it was left half done: what is there stays, what is missing is made.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::refuse;
use crate::exec::Program;
use crate::failure::Refused;

const TARGET: &str = "/sys/kernel/config/target";
/// The adapter whose block devices are ours; targetcli counts its own from 0.
const ADAPTER: &str = "iblock_1798";
/// Where initiators connect to, unless a property says more.
const PORTAL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The port of iSCSI.
const PORT: u16 = 3260;
const MODULES: [&str; 3] = ["target_core_mod", "target_core_iblock", "iscsi_target_mod"];

/// User name and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A volume that is to be exported.
pub(crate) struct Export {
    pub(crate) iqn: String,
    /// Names the block device in the kernel's configuration, and is its serial number.
    pub(crate) guid: u64,
    pub(crate) device: PathBuf,
    pub(crate) initiators: Vec<String>,
    pub(crate) secret: Option<Secret>,
}

/// The name of an iSCSI node, as RFC 3720 has it.
pub(crate) fn iqn(text: &str) -> Result<String, String> {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
    let long = text.len() <= 223 && text.len() > 4;
    let kind = ["iqn.", "eui.", "naa."]
        .iter()
        .any(|kind| text.starts_with(kind));
    if long && kind && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not an iSCSI name, such as iqn.1993-08.org.debian:01:0123456789ab"
        ))
    }
}

/// An address of this host, as a portal of the kernel is named.
pub(crate) fn portal(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(address) => Ok(portal_at(address)),
        Err(_) => Err(format!("{text:?} is not an IP address")),
    }
}

fn portal_at(address: IpAddr) -> String {
    SocketAddr::new(address, PORT).to_string()
}

fn backstore(guid: u64) -> PathBuf {
    Path::new(TARGET).join(format!("core/{ADAPTER}/vn-{guid:016x}"))
}

fn target(iqn: &str) -> PathBuf {
    Path::new(TARGET).join("iscsi").join(iqn)
}

/// Loads what is needed.
fn prepare() -> anyhow::Result<()> {
    Program::find("modprobe", Duration::from_secs(60))?
        .arguments(["-a"])
        .arguments(MODULES)
        .run()?;
    if !Path::new(TARGET).is_dir() {
        return refuse(
            format!("{TARGET} is not there"),
            "mount -t configfs configfs /sys/kernel/config",
        );
    }
    make(&Path::new(TARGET).join("iscsi"))
}

fn make(path: &Path) -> anyhow::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.with_context(|| format!("cannot make {}", path.display())),
    }
}

fn link(to: &Path, path: &Path) -> anyhow::Result<()> {
    match symlink(to, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => {
            result.with_context(|| format!("cannot link {} to {}", path.display(), to.display()))
        }
    }
}

/// Writes a value, in one write as configfs wants it. The text is not told: it may be secret.
fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot set {}", path.display()))
}

fn get(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

/// Exports a volume.
pub(crate) fn export(export: &Export) -> anyhow::Result<()> {
    prepare()?;
    let backstore = backstore(export.guid);
    if let Some(adapter) = backstore.parent() {
        make(adapter)?;
    }
    make(&backstore)?;
    if get(&backstore.join("enable")) != "1" {
        let device = export.device.display();
        put(&backstore.join("control"), &format!("udev_path={device}\n"))?;
        put(&backstore.join("udev_path"), &format!("{device}\n"))?;
        let serial = format!("{:016x}\n", export.guid);
        put(&backstore.join("wwn/vpd_unit_serial"), &serial)?;
        put(&backstore.join("enable"), "1\n")
            .with_context(|| format!("LIO does not take {device}"))?;
        // What the guest discards, the pool has again.
        put(&backstore.join("attrib/emulate_tpu"), "1\n")?;
    }
    let target = target(&export.iqn);
    make(&target)?;
    let group = target.join("tpgt_1");
    make(&group)?;
    // Who is in no ACL neither sees the target nor gets in.
    for attribute in ["generate_node_acls", "demo_mode_discovery"] {
        put(&group.join("attrib").join(attribute), "0\n")?;
    }
    let chap = if export.secret.is_some() {
        "1\n"
    } else {
        "0\n"
    };
    put(&group.join("attrib/authentication"), chap)?;
    let lun = group.join("lun/lun_0");
    make(&lun)?;
    link(&backstore, &lun.join("volume"))?;
    acls(export, &group, &lun)?;
    put(&group.join("enable"), "1\n")
}

fn portals(iqn: &str) -> PathBuf {
    target(iqn).join("tpgt_1/np")
}

/// Closes the portals of a target that are none of these; sessions stay.
pub(crate) fn close_portals(iqn: &str, wanted: &[String]) -> anyhow::Result<()> {
    for there in children(&portals(iqn))? {
        let wanted = match wanted {
            [] => file_name(&there) == portal_at(PORTAL),
            wanted => wanted.contains(&file_name(&there)),
        };
        if !wanted {
            remove(&there)?;
        }
    }
    Ok(())
}

/// Lets initiators in. After a boot this comes when all targets are there: one that asks for a target which is not there
/// does not ask again.
pub(crate) fn open_portals(iqn: &str, wanted: &[String]) -> anyhow::Result<()> {
    let default = [portal_at(PORTAL)];
    let wanted = if wanted.is_empty() { &default } else { wanted };
    for name in wanted {
        let path = portals(iqn).join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(not_opened(name, &path, error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Why a portal cannot be opened. The kernel says EINVAL to whatever is wrong with one: a socket is told more.
fn not_opened(name: &str, path: &Path, error: std::io::Error) -> anyhow::Error {
    let reason = TcpListener::bind(name).err();
    match reason.as_ref().map(std::io::Error::kind) {
        Some(ErrorKind::AddrInUse) => Refused::new(format!(
            "another program, or a target with other portals, has {name}"
        ))
        .hint(
            "a host listens either on all of its addresses or on some, and once on each: ss -ltnp shows who does; set \
             vnet:portals on the pool, for all images alike, then: vn image restore",
        )
        .into(),
        Some(ErrorKind::AddrNotAvailable) => Refused::new(format!("this host has no address for {name}"))
            .hint("ip address shows those it has; set vnet:portals to some of them, then: vn image restore")
            .into(),
        _ => anyhow::Error::new(error).context(format!("cannot make {}", path.display())),
    }
}

fn acls(export: &Export, group: &Path, lun: &Path) -> anyhow::Result<()> {
    for initiator in &export.initiators {
        let acl = group.join("acls").join(initiator);
        make(&acl)?;
        if let Some(Secret { user, password }) = &export.secret {
            // Without an end of line: it would be part of the secret.
            put(&acl.join("auth/userid"), user)?;
            put(&acl.join("auth/password"), password)?;
        }
        let mapped = acl.join("lun_0");
        make(&mapped)?;
        link(lun, &mapped.join("volume"))?;
    }
    for acl in children(&group.join("acls"))? {
        let name = file_name(&acl);
        if !export.initiators.contains(&name) {
            remove_acl(&acl)?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The directories in a directory; none if it is not there.
fn children(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    entries(path, |kind| kind.is_dir())
}

fn entries(path: &Path, wanted: fn(fs::FileType) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let what = || format!("cannot read {}", path.display());
    let mut found = Vec::new();
    match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(what),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.with_context(what)?;
                if wanted(entry.file_type().with_context(what)?) {
                    found.push(entry.path());
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

fn unlink_all(path: &Path) -> anyhow::Result<()> {
    for link in entries(path, |kind| kind.is_symlink())? {
        fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn remove_acl(acl: &Path) -> anyhow::Result<()> {
    for lun in children(acl)? {
        if file_name(&lun).starts_with("lun_") {
            unlink_all(&lun)?;
            remove(&lun)?;
        }
    }
    remove(acl)
}

/// Takes the export of a volume back, with the sessions that there are.
pub(crate) fn unexport(iqn: &str, guid: u64) -> anyhow::Result<()> {
    let target = target(iqn);
    let group = target.join("tpgt_1");
    if group.is_dir() {
        put(&group.join("enable"), "0\n")?;
        for acl in children(&group.join("acls"))? {
            remove_acl(&acl)?;
        }
        for lun in children(&group.join("lun"))? {
            unlink_all(&lun)?;
            remove(&lun)?;
        }
        for portal in children(&group.join("np"))? {
            remove(&portal)?;
        }
        remove(&group)?;
    }
    remove(&target)?;
    let backstore = backstore(guid);
    remove(&backstore)?;
    // The adapter goes with its last device; until then it cannot be removed.
    if let Some(adapter) = backstore.parent() {
        if children(adapter)?.is_empty() {
            remove(adapter)?;
        }
    }
    Ok(())
}

/// The initiators that are logged in to a target.
pub(crate) fn sessions(iqn: &str) -> anyhow::Result<Vec<String>> {
    let acls = target(iqn).join("tpgt_1/acls");
    let mut names = Vec::new();
    for acl in children(&acls)? {
        let info = fs::read_to_string(acl.join("info"))
            .with_context(|| format!("cannot read {}/info", acl.display()))?;
        if !info.contains("No active iSCSI Session") {
            names.push(file_name(&acl));
        }
    }
    Ok(names)
}

/// Whether a target is there and enabled.
pub(crate) fn is_exported(iqn: &str) -> bool {
    get(&target(iqn).join("tpgt_1/enable")) == "1"
}

/// The targets that use our adapter's devices: name and guid.
pub(crate) fn ours() -> anyhow::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for target in children(&Path::new(TARGET).join("iscsi"))? {
        let volume = target.join("tpgt_1/lun/lun_0/volume");
        let Ok(device) = fs::read_link(volume) else {
            continue;
        };
        let guid = guid_of(&file_name(&device));
        if let (Some(guid), true) = (guid, device.to_string_lossy().contains(ADAPTER)) {
            found.push((file_name(&target), guid));
        }
    }
    Ok(found)
}

fn guid_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("vn-")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes() {
        let name = "iqn.1986-03.com.sun:02:0b6c18c9-7a13-e7c9-ce78-91af20023bb3";
        assert_eq!(iqn(name), Ok(name.to_owned()));
        let long = format!("iqn.{}", "a".repeat(220));
        for text in [
            "", "iqn.", "iqn.a/b", "iqn.A", "iqn.a b", "../iqn.a", "x.y", &long,
        ] {
            assert!(iqn(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_portals() {
        assert_eq!(portal("192.0.2.1").as_deref(), Ok("192.0.2.1:3260"));
        assert_eq!(portal("2001:DB8::1").as_deref(), Ok("[2001:db8::1]:3260"));
        for text in ["", "storage", "192.0.2.1:3260", "[::]", "192.0.2.0/24"] {
            assert!(portal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn guids() {
        assert_eq!(guid_of("vn-00000000000000ff"), Some(255));
        assert_eq!(guid_of("vn-x"), None);
        assert_eq!(guid_of("disk"), None);
    }
}
