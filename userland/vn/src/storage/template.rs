// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Templates: a file system with a root volume `vmi-root-NAME` in it, complete when the volume has a snapshot.

pub(crate) mod kept;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};

use super::content::{self, Format};
use super::copy::{self, Target};
use super::zfs::{self, Name, property, zfs};
use super::{refuse, size};
use crate::exec::Program;
use crate::failure::Attempt;
use crate::lock::Lock;
use crate::undo::{Undo, all_or_nothing};

/// How long reading a whole image file for its checksum may take.
const CHECKSUM_LIMIT: Duration = Duration::from_secs(3600);
/// Names of files that say how an image boots.
const PYGRUB: &str = "pygrub";
const PROPERTIES: &str = "template.properties";
/// What the name of a root volume begins with.
const ROOT: &str = "vmi-root-";

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) system: Name,
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    /// At least so many bytes.
    pub(crate) size: u64,
    pub(crate) hvm: bool,
    pub(crate) checksum: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) any_content: bool,
    pub(crate) snapshot: Option<String>,
}

/// A name that can be part of the name of a volume.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a name has letters, digits, and _ . : -".to_owned())
    }
}

/// A checksum in hexadecimal; its length tells its kind.
pub(crate) fn checksum(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) && summer(&text).is_some() {
        Ok(text)
    } else {
        Err("a checksum is an MD5, SHA-1, SHA-256 or SHA-512 in hexadecimal".to_owned())
    }
}

fn summer(checksum: &str) -> Option<&'static str> {
    match checksum.len() {
        32 => Some("md5sum"),
        40 => Some("sha1sum"),
        64 => Some("sha256sum"),
        128 => Some("sha512sum"),
        _ => None,
    }
}

fn verify(file: &Path, checksum: &str) -> anyhow::Result<()> {
    let Some(summer) = summer(checksum) else {
        return refuse("this is no checksum", "give it in hexadecimal");
    };
    let text = Program::find(summer, CHECKSUM_LIMIT)?
        .arguments(["--"])
        .arguments([file])
        .bound()?
        .text()?;
    // A backslash in front tells of a name with odd characters.
    let found = text.split_whitespace().next().unwrap_or_default();
    if found.trim_start_matches('\\') == checksum {
        return Ok(());
    }
    refuse(
        format!(
            "{} has the checksum {found}, not {checksum}",
            file.display()
        ),
        "fetch the file again, or look the checksum up where the file comes from",
    )
}

/// What changes a template waits for this.
fn lock_name(system: &Name) -> String {
    format!("template {system}")
}

/// What of a template is there already.
enum There {
    Nothing,
    /// What a run that was killed has left.
    Half,
}

/// One file system holds one template: images are made from all volumes of its newest snapshot.
fn alone(request: &Request, volume: &Name) -> anyhow::Result<()> {
    if zfs::facts(&request.system)?.is_none() {
        return Ok(());
    }
    for (other, _) in zfs::tree(&request.system, "volume", Some(1))? {
        if other != *volume && other.last().starts_with(ROOT) {
            return refuse(
                format!("{} holds a template already: {other}", request.system),
                "give the new template another file system with -t; nothing was changed",
            );
        }
    }
    Ok(())
}

fn look(request: &Request, volume: &Name) -> anyhow::Result<There> {
    alone(request, volume)?;
    let Some(facts) = zfs::facts(volume)? else {
        return Ok(There::Nothing);
    };
    if let Some(snapshot) = zfs::newest_snapshot(volume)? {
        return refuse(
            format!("template {} is there already: {snapshot}", request.system),
            "give the new template another file system with -t; nothing was changed",
        );
    }
    if facts.is_volume() && facts.own(property::TEMPLATE).is_some() {
        return Ok(There::Half);
    }
    refuse(
        format!("{volume} is there, and vn did not make it"),
        "choose another name with -n, or remove it with zfs destroy",
    )
}

/// Makes a template; returns its snapshot.
pub(crate) fn create(request: &Request, dry_run: bool) -> anyhow::Result<Name> {
    let what = || Attempt::new(format_args!("create template {}", request.system));
    steps(request, dry_run).map_err(|error| annotate(request, error).context(what()))
}

/// A write that failed says seldom that it is the pool that is full.
fn annotate(request: &Request, error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    let io = ["No space left", "Input/output error", "out of space"];
    if !io.iter().any(|words| text.contains(words)) {
        return error;
    }
    let pool = request.system.pool();
    anyhow::Error::from(
        crate::failure::Refused::new(format!("{text} (is the pool {pool} full?)")).hint(format!(
            "zpool list {pool} and zfs list -o space -r {pool} show where the room is; what this run made is removed"
        )),
    )
}

fn steps(request: &Request, dry_run: bool) -> anyhow::Result<Name> {
    let snapshot = match &request.snapshot {
        Some(name) => name.clone(),
        None => now_as_name(SystemTime::now()),
    };
    let snapshot = request.system.at(&snapshot);
    let volume = request.system.child(&format!("{ROOT}{}", request.name));
    let volume = volume.map_err(|text| anyhow!(text))?;
    let head = content::head(&request.file)?;
    let format = content::format(&head);
    let length = fs::metadata(&request.file)
        .with_context(|| format!("cannot read {}", request.file.display()))?
        .len();
    if format == Format::Raw && !request.any_content {
        content::check(&head, length, &request.file)?;
    }
    for file in request.kernel.iter().chain(&request.initrd) {
        content::head(file)?;
    }
    let _lock = Lock::named(&lock_name(&request.system))?;
    let there = look(request, &volume)?;
    if let Some(checksum) = &request.checksum {
        verify(&request.file, checksum)?;
    }
    let known = match format {
        Format::Raw => length,
        Format::Qcow2 => virtual_size(&request.file)?,
        Format::Packed(_) => 0,
    };
    let size = size::round_up(request.size.max(known));
    if dry_run {
        return Ok(snapshot);
    }
    if let There::Half = there {
        zfs::destroy(&volume)?;
    }
    all_or_nothing(|undo| {
        let directory = file_system(&request.system, undo)?;
        let parts = [
            format!("{}={}", property::TEMPLATE, request.name),
            size.to_string(),
            volume.to_string(),
        ];
        // Before the call: it may fail after it has done its work.
        let back = volume.clone();
        undo.push(format!("remove volume {volume}"), move || {
            zfs::destroy(&back)
        })?;
        zfs(["create", "-s", "-o", &parts[0], "-V", &parts[1], &parts[2]])?.run()?;
        let device = zfs::wait_for_device(&volume)?;
        let size = fill(request, format, &head, &volume, &device, size, undo)?;
        files(request, &directory, &snapshot, size, undo)?;
        zfs::settle()?;
        undo.check()?;
        // With this the template is there, all of it at once.
        zfs(["snapshot", "-r", snapshot.as_str()])?.run()?;
        Ok(())
    })?;
    Ok(snapshot)
}

/// Makes the file system, unless it is there, and says where it is mounted.
fn file_system(system: &Name, undo: &mut Undo) -> anyhow::Result<PathBuf> {
    if zfs::facts(system)?.is_none() {
        let mut missing = zfs::missing_parents(system)?;
        missing.push(system.clone());
        for name in missing {
            let back = name.clone();
            undo.push(format!("remove file system {name}"), move || {
                zfs::destroy(&back)
            })?;
            zfs(["create", name.as_str()])?.run()?;
        }
    }
    let facts = zfs::need(system, "filesystem")?;
    if facts.own(property::TEMPLATE).is_some() {
        // What a removal that did not end has put there.
        zfs(["inherit", property::TEMPLATE, system.as_str()])?.run()?;
    }
    match facts.mountpoint() {
        Some(path) => Ok(path),
        None => refuse(
            format!("the file system {system} is not mounted"),
            format!("zfs mount {system}"),
        ),
    }
}

/// How large the disk in a qcow2 file is. Also finds those that are damaged, or cut off.
fn virtual_size(file: &Path) -> anyhow::Result<u64> {
    let hint = "fetch the file again: it is damaged or not whole";
    let qemu =
        || -> anyhow::Result<Program> { Ok(Program::find("qemu-img", CHECKSUM_LIMIT)?.hint(hint)) };
    let text = qemu()?
        .arguments(["info", "--output=json", "-f", "qcow2"])
        .arguments([file])
        .text()?;
    let value: serde_json::Value = serde_json::from_str(&text).context("qemu-img info")?;
    if value.get("backing-filename").is_some() {
        return refuse(
            format!("{} is only what differs from another image", file.display()),
            "qemu-img convert makes one of both",
        );
    }
    let check = qemu()?
        .arguments(["check", "-f", "qcow2"])
        .arguments([file]);
    let output = check.output()?;
    // 3 is clusters that nobody uses: no harm.
    if !matches!(output.status, Some(0 | 3)) {
        let words = [output.text.trim(), &output.words]
            .join("; ")
            .replace('\n', "; ");
        return refuse(
            format!("{} is damaged or truncated: {words}", file.display()),
            hint,
        );
    }
    let size = value
        .get("virtual-size")
        .and_then(serde_json::Value::as_u64);
    size.context("qemu-img info tells no size")
}

/// Copies the image onto the volume; returns the size of the volume then.
fn fill(
    request: &Request,
    format: Format,
    head: &[u8],
    volume: &Name,
    device: &Path,
    size: u64,
    undo: &Undo,
) -> anyhow::Result<u64> {
    let mut now = size;
    let mut grow = |least: u64| {
        // How much is in a packed file shows only at its end: some room at a time.
        let next = size::round_up(least.saturating_add(least / 8));
        let value = next.to_string();
        zfs::set(volume, &[("volsize", value)])?;
        now = next;
        Ok(next)
    };
    let mut target = Target::open(device, size, &mut grow, undo)?;
    let length = match format {
        Format::Raw => {
            let file = fs::File::open(&request.file)
                .with_context(|| format!("cannot read {}", request.file.display()))?;
            let length = file.metadata().context("cannot read the image")?.len();
            copy::raw(&file, length, &mut target)?
        }
        Format::Qcow2 => {
            copy::with_percents(&copy::convert(&request.file, device)?, size, undo)?;
            target.sync()?;
            size
        }
        Format::Packed(program) => {
            let (stream, file) = copy::unpack(program, &request.file)?;
            let first = |head: &[u8]| {
                if content::format(head) != Format::Raw {
                    return refuse(
                        format!("{} is packed twice", request.file.display()),
                        "unpack it first",
                    );
                }
                Ok(())
            };
            copy::unpacked(stream, || copy::part_read(&file), first, &mut target)?
        }
    };
    if !request.any_content {
        let found = target.head(head.len().max(content::HEAD))?;
        content::check(&found, length, &request.file)?;
    }
    Ok(now)
}

/// Writes the files of a template beside its volume.
fn files(
    request: &Request,
    directory: &Path,
    snapshot: &Name,
    size: u64,
    undo: &mut Undo,
) -> anyhow::Result<()> {
    for (prefix, file) in [("vmlinuz", &request.kernel), ("initrd", &request.initrd)] {
        let Some(file) = file else { continue };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = if name.starts_with(prefix) {
            name.into_owned()
        } else {
            format!("{prefix}-{name}")
        };
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        place(&directory.join(name), &bytes, undo)?;
    }
    if !request.hvm && !has_kernel(directory)? {
        place(&directory.join(PYGRUB), b"", undo)?;
    }
    let text = properties(request, snapshot, size);
    place(&directory.join(PROPERTIES), text.as_bytes(), undo)
}

fn has_kernel(directory: &Path) -> anyhow::Result<bool> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a file as a whole. What was there before comes back if a later step fails.
fn place(path: &Path, bytes: &[u8], undo: &mut Undo) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", path.display());
    let before = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.with_context(what)?),
    };
    if before.as_deref() == Some(bytes) {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let (new, back) = (PathBuf::from(new), path.to_owned());
    let left = new.clone();
    undo.push(format!("restore {}", path.display()), move || {
        // It is there only if writing failed.
        let _ = fs::remove_file(&left);
        match before {
            Some(bytes) => Ok(fs::write(&back, bytes)?),
            None => match fs::remove_file(&back) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                result => Ok(result?),
            },
        }
    })?;
    fs::write(&new, bytes).with_context(what)?;
    fs::rename(&new, path).with_context(what)
}

fn properties(request: &Request, snapshot: &Name, size: u64) -> String {
    let line = |text: &str| text.replace(['\n', '\r'], " ");
    format!(
        "snapshot.name={}\ndescription={}\nname={}\nchecksum={}\nhvm={}\nvolume.size={size}\n",
        snapshot.snapshot().unwrap_or_default(),
        line(request.description.as_deref().unwrap_or_default()),
        request.name,
        request.checksum.as_deref().unwrap_or_default(),
        request.hvm,
    )
}

/// A time as the name of a snapshot: UTC, so that names sort by time.
fn now_as_name(now: SystemTime) -> String {
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}_{hour:02}-{minute:02}-{second:02}")
}

/// Year, month and day of a day after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::Directory;

    #[test]
    fn names_of_snapshots() {
        let at = |seconds| now_as_name(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01_00-00-00");
        assert_eq!(at(951_827_696), "2000-02-29_12-34-56");
        assert_eq!(at(1_230_768_000), "2009-01-01_00-00-00");
        assert_eq!(at(4_107_542_399), "2100-02-28_23-59-59");
    }

    #[test]
    fn checksums() {
        let md5 = "D41D8CD98F00B204E9800998ECF8427E";
        assert_eq!(checksum(md5), Ok(md5.to_ascii_lowercase()));
        assert!(checksum("d41d").is_err());
        assert!(checksum(&"x".repeat(64)).is_err());
        assert_eq!(summer(&"0".repeat(64)), Some("sha256sum"));
    }

    #[test]
    fn names() {
        assert!(name("ubuntu8").is_ok());
        for text in ["", "a/b", "a b", "a@b"] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_come_back() {
        let directory = Directory::new();
        let directory = directory.path();
        let (old, new) = (directory.join("old"), directory.join("new"));
        fs::write(&old, "before").expect("a file");
        let failed: anyhow::Result<()> = all_or_nothing(|undo| {
            place(&old, b"after", undo)?;
            place(&new, b"new", undo)?;
            assert_eq!(fs::read(&old)?, b"after");
            assert!(new.exists() && !has_kernel(directory)?);
            Err(anyhow!("no"))
        });
        failed.expect_err("failure");
        assert_eq!(fs::read(&old).expect("a file"), b"before");
        assert_eq!(fs::read_dir(directory).expect("files").count(), 1);
    }
}
