// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The kernel's NFS server: one file in `/etc/exports.d` for each image, and `exportfs` for exactly its lines, so that the
//! exports of others are left alone.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::refuse;
use crate::exec::Program;
use crate::until::until;

const DIRECTORY: &str = "/etc/exports.d";
/// What is exported, as exportfs keeps it.
const TABLE: &str = "/var/lib/nfs/etab";
/// Who has mounted what, as mountd keeps it for NFSv3.
const MOUNTED: &str = "/var/lib/nfs/rmtab";
/// A file system that is not mounted is not exported in its mount point's place.
const OPTIONS: &str = "rw,sync,no_root_squash,no_subtree_check,mountpoint";
const LIMIT: Duration = Duration::from_secs(60);
/// The kernel's caches, below /proc/net/rpc, that hold directories.
const CACHES: [&str; 2] = ["nfsd.fh", "nfsd.export"];

/// A host, network or name with wildcards, as exports(5) has it; no spaces, no options.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/*?@[]".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.len() < 256 && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a host or network, such as 192.0.2.0/24"
        ))
    }
}

fn file(guid: u64) -> PathBuf {
    Path::new(DIRECTORY).join(format!("vn-{guid:016x}.exports"))
}

fn exportfs(arguments: &[&str]) -> anyhow::Result<Program> {
    Ok(Program::find("exportfs", LIMIT)?
        .arguments(arguments)
        .hint("the NFS server must run: systemctl start nfs-server"))
}

/// exportfs takes IPv6 addresses in brackets.
fn client(host: &str, path: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{path}")
    } else {
        format!("{host}:{path}")
    }
}

fn text_of(path: &Path) -> anyhow::Result<&str> {
    let text = path.to_str().unwrap_or_default();
    let bad = |character: char| character.is_whitespace() || "\"\\#:".contains(character);
    if text.is_empty() || text.contains(bad) {
        return refuse(
            format!("{} cannot be exported by NFS", path.display()),
            "choose a mount point without spaces, quotes, colons, number signs and backslashes",
        );
    }
    Ok(text)
}

/// Exports a directory to these hosts, and to no others.
pub(crate) fn export(guid: u64, directory: &Path, hosts: &[String]) -> anyhow::Result<()> {
    if hosts.is_empty() {
        return unexport(guid);
    }
    let path = text_of(directory)?;
    for host in exported(guid)? {
        if !hosts.contains(&host.0) || host.1 != path {
            exportfs(&["-u", &client(&host.0, &host.1)])?.output()?;
        }
    }
    write(guid, path, hosts)?;
    for host in hosts {
        exportfs(&["-o", OPTIONS, &client(host, path)])?.run()?;
    }
    // exportfs has ended with success on lines that it did not take.
    let table = fs::read_to_string(TABLE).with_context(|| format!("cannot read {TABLE}"))?;
    if count(&table, path) < hosts.len() {
        return refuse(
            format!(
                "exportfs has not exported {path} to all of {}",
                hosts.join(", ")
            ),
            "exportfs -v shows what it has; can all the names be resolved?",
        );
    }
    Ok(())
}

fn write(guid: u64, path: &str, hosts: &[String]) -> anyhow::Result<()> {
    let mut line =
        format!("# Made by vn; what is exported is in the ZFS properties vnet:hosts.\n{path}");
    for host in hosts {
        line.push_str(&format!(" {host}({OPTIONS})"));
    }
    line.push('\n');
    let name = file(guid);
    // exportfs reads the names that end in .exports only.
    let new = name.with_extension("new");
    let what = || format!("cannot write {}", name.display());
    fs::create_dir_all(DIRECTORY).with_context(what)?;
    let mut file = File::create(&new).with_context(what)?;
    file.write_all(line.as_bytes()).with_context(what)?;
    file.sync_all().with_context(what)?;
    fs::rename(&new, &name).with_context(what)?;
    sync_directory()
}

/// After a power failure the server reads the files of this directory: what was said to be done must be in it then.
fn sync_directory() -> anyhow::Result<()> {
    File::open(DIRECTORY)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot write {DIRECTORY} to its disk"))
}

/// The lines of a table that are about this directory.
fn count(table: &str, path: &str) -> usize {
    let ours = |line: &&str| line.split_whitespace().next() == Some(path);
    table.lines().filter(ours).count()
}

fn forget(guid: u64) -> anyhow::Result<()> {
    let mut gone = false;
    for path in [file(guid).with_extension("new"), file(guid)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => {
                result.with_context(|| format!("cannot remove {}", path.display()))?;
                gone = true;
            }
        }
    }
    if gone { sync_directory() } else { Ok(()) }
}

/// The images that have a file here, also those that are gone with their pool.
pub(crate) fn ours() -> anyhow::Result<Vec<u64>> {
    let what = || format!("cannot read {DIRECTORY}");
    let mut found = Vec::new();
    match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(what),
        Ok(entries) => {
            for entry in entries {
                let name = entry.with_context(what)?.file_name();
                found.extend(guid_of(&name.to_string_lossy()));
            }
        }
    }
    Ok(found)
}

fn guid_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("vn-")?.strip_suffix(".exports")?;
    u64::from_str_radix(digits, 16).ok()
}

/// To whom an image is exported, and which directory, as its file says.
pub(crate) fn exported(guid: u64) -> anyhow::Result<Vec<(String, String)>> {
    let path = file(guid);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(text) => Ok(parse(&text)),
    }
}

fn parse(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let Some(path) = words.next() else { continue };
        for word in words {
            let host = word.split('(').next().unwrap_or_default();
            found.push((host.to_owned(), path.to_owned()));
        }
    }
    found
}

/// Takes the exports of an image back.
pub(crate) fn unexport(guid: u64) -> anyhow::Result<()> {
    let all = exported(guid)?;
    for (host, path) in &all {
        let table = fs::read_to_string(TABLE).unwrap_or_default();
        if count(&table, path) > 0 {
            let program = exportfs(&["-u", &client(host, path)])?;
            let output = program.output()?;
            if output.status != Some(0) && !output.words.contains("Could not find") {
                return refuse(
                    format!("{program} failed: {}", output.words),
                    "exportfs -v shows what is exported",
                );
            }
        }
    }
    let mut paths: Vec<_> = all.into_iter().map(|(_, path)| path).collect();
    paths.dedup();
    for path in paths {
        release(&path)?;
    }
    forget(guid)
}

/// Has the kernel forget a directory that is exported no more: until then its file system cannot be unmounted.
///
/// A cache of the kernel that is emptied twice in one second is marked to be so at the next one, and nothing is removed: see
/// write_flush() in its net/sunrpc/cache.c. exportfs empties them whenever it has done something, so that is not rare.
fn release(path: &str) -> anyhow::Result<()> {
    exportfs(&["-f"])?.run()?;
    let released = until(LIMIT, || {
        if !CACHES
            .iter()
            .any(|cache| holds(&read(cache, "content"), path))
        {
            return Ok(true);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let marked = CACHES.map(|cache| read(cache, "flush").trim().parse().unwrap_or(0));
        if marked.iter().all(|mark| *mark < now) {
            exportfs(&["-f"])?.run()?;
        }
        Ok(false)
    })?;
    if released {
        return Ok(());
    }
    refuse(
        format!("the NFS server does not let go of {path}"),
        "exportfs -v shows what is exported; the same command again goes on",
    )
}

/// What is not there is empty: without an NFS server there is no cache.
fn read(cache: &str, file: &str) -> String {
    fs::read_to_string(format!("/proc/net/rpc/{cache}/{file}")).unwrap_or_default()
}

/// Whether a cache has a directory. What counts no more has a number sign before it, and is held all the same.
fn holds(content: &str, path: &str) -> bool {
    content.split_whitespace().any(|word| word == path)
}

/// The hosts that have mounted a directory or something below it, as far as the server knows.
pub(crate) fn mounted_by(directory: &Path) -> anyhow::Result<Vec<String>> {
    match fs::read_to_string(MOUNTED) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {MOUNTED}")),
        Ok(table) => Ok(mounters(&table, directory)),
    }
}

/// Lines are `host:directory:count`; in an IPv6 address mountd writes a semicolon for each colon.
fn mounters(table: &str, directory: &Path) -> Vec<String> {
    let mut hosts = Vec::new();
    for line in table.lines() {
        let Some((host, rest)) = line.split_once(":/") else {
            continue;
        };
        let Some((path, _)) = rest.rsplit_once(':') else {
            continue;
        };
        if Path::new("/").join(path).starts_with(directory) {
            hosts.push(host.replace(';', ":"));
        }
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for text in [
            "192.0.2.1",
            "192.0.2.0/24",
            "2001:db8::/64",
            "*.example.org",
            "@dom0s",
            "*",
        ] {
            assert_eq!(host(text), Ok(text.to_owned()));
        }
        for text in ["", "a b", "a(rw)", "-o", "a,b", "a\nb"] {
            assert!(host(text).is_err(), "{text:?}");
        }
        assert_eq!(client("192.0.2.1", "/a"), "192.0.2.1:/a");
        assert_eq!(client("2001:db8::1", "/a"), "[2001:db8::1]:/a");
    }

    #[test]
    fn names_of_files() {
        let name = file(0xab);
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        assert_eq!(guid_of(&name), Some(0xab));
        for name in ["vn-ab.new", "vn-x.exports", "ab.exports", ""] {
            assert_eq!(guid_of(name), None, "{name}");
        }
    }

    #[test]
    fn directories() {
        assert!(text_of(Path::new("/tank/a")).is_ok());
        for path in ["/a b", "/a\"", "/a#", "", "/a:b"] {
            assert!(text_of(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn the_file_and_the_tables() {
        let text = "# words\n/tank/i1 192.0.2.1(rw,sync) 2001:db8::1(rw)\n\n";
        let pair = |host: &str| (host.to_owned(), "/tank/i1".to_owned());
        assert_eq!(parse(text), [pair("192.0.2.1"), pair("2001:db8::1")]);
        let table = "/tank/i1\t192.0.2.1(rw)\n/tank/i10\t192.0.2.1(rw)\n/tank/i1\t192.0.2.2(rw)\n";
        assert_eq!(count(table, "/tank/i1"), 2);
        let content =
            "#path domain(flags)\n# /tank/i1\t192.0.2.1(rw,uuid=0:1)\n* 6 0x0000 /tank/i2\n";
        assert!(holds(content, "/tank/i1") && holds(content, "/tank/i2"));
        assert!(!holds(content, "/tank/i") && !holds(content, "/tank/i10"));
        let table = "192.0.2.1:/tank/i1:0x00000001\n192.0.2.2:/tank/i10:0x00000001\n\
            2001;db8;;1:/tank/i1/sub:0x00000002\nbroken\nx:/y\n";
        assert_eq!(
            mounters(table, Path::new("/tank/i1")),
            ["192.0.2.1", "2001:db8::1"]
        );
    }
}
