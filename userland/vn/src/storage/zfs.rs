// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `zfs`, and what it says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::refuse;
use crate::exec::{Output, Program};
use crate::failure::Refused;

/// How long one call may take; destroying much takes long.
const LIMIT: Duration = Duration::from_secs(300);
/// How long udev may take to make the device of a volume.
const DEVICE_LIMIT: Duration = Duration::from_secs(60);

/// What `vn` writes down is in these properties of the datasets: nowhere else.
pub(crate) mod property {
    /// Of a template's volume: the template's name. It is there as long as the volume.
    pub(crate) const TEMPLATE: &str = "vnet:template";
    /// Of an image: `creating`, `ready` or `deleting`.
    pub(crate) const STATE: &str = "vnet:state";
    /// Of a volume of an image: the name of its iSCSI target.
    pub(crate) const IQN: &str = "vnet:iqn";
    /// Initiators that may use the volumes, with commas between; inherited.
    pub(crate) const INITIATORS: &str = "vnet:initiators";
    /// Hosts that may mount the file system, with commas between; inherited.
    pub(crate) const HOSTS: &str = "vnet:hosts";
    /// Addresses of this host at which targets are reached, with commas between; inherited. All of IPv4, if there is none.
    pub(crate) const PORTALS: &str = "vnet:portals";
    /// File with the CHAP secrets of the targets; inherited.
    pub(crate) const CHAP: &str = "vnet:chap-file";
}

/// The name of a file system or volume, or of a snapshot of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = String;

    /// Takes what the old scripts took: one slash in front does not matter.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let name = name.strip_suffix('/').unwrap_or(name);
        let (path, snapshot) = match name.split_once('@') {
            Some((path, snapshot)) => (path, Some(snapshot)),
            None => (name, None),
        };
        let good = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty()
                && part != "."
                && part != ".."
                && !part.starts_with('-')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
        };
        if name.len() > 200 || !path.split('/').all(good) || !snapshot.is_none_or(good) {
            return Err(format!(
                "{text:?} is not the name of a ZFS dataset, such as tank/demo/vm"
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the snapshot.
    pub(crate) fn dataset(&self) -> Self {
        Self(self.0.split('@').next().unwrap_or_default().to_owned())
    }

    pub(crate) fn snapshot(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, snapshot)| snapshot)
    }

    /// This dataset's snapshot of that name.
    pub(crate) fn at(&self, snapshot: &str) -> Self {
        Self(format!("{}@{snapshot}", self.dataset().0))
    }

    /// The last part.
    pub(crate) fn last(&self) -> &str {
        let name = self.0.split('@').next().unwrap_or_default();
        name.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    pub(crate) fn pool(&self) -> &str {
        self.0.split(['/', '@']).next().unwrap_or_default()
    }

    pub(crate) fn child(&self, name: &str) -> Result<Self, String> {
        format!("{}/{name}", self.0).parse()
    }

    /// Whether it is below the other: tank/u1 is not above tank/u10/i1.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(&other.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The device of a volume.
    pub(crate) fn device(&self) -> PathBuf {
        PathBuf::from("/dev/zvol").join(&self.0)
    }
}

/// Properties of a dataset: name to value and source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(BTreeMap<String, (String, String)>);

impl Facts {
    /// A value, if it is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (value, _) = self.0.get(name)?;
        Some(value.as_str()).filter(|value| !["-", "none", ""].contains(value))
    }

    /// A value that is set on the dataset itself.
    pub(crate) fn own(&self, name: &str) -> Option<&str> {
        let (_, source) = self.0.get(name)?;
        self.get(name).filter(|_| source == "local")
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// A list with commas between.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let words = self.get(name).unwrap_or_default().split(',');
        let words = words.map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    pub(crate) fn is_volume(&self) -> bool {
        self.get("type") == Some("volume")
    }

    pub(crate) fn is_file_system(&self) -> bool {
        self.get("type") == Some("filesystem")
    }

    /// Where a file system is mounted.
    pub(crate) fn mountpoint(&self) -> Option<PathBuf> {
        self.get("mountpoint")
            .filter(|path| path.starts_with('/') && self.get("mounted") == Some("yes"))
            .map(PathBuf::from)
    }
}

/// The lines of `zfs get -Hp -o name,property,value,source`.
fn parse_facts(text: &str) -> Vec<(String, Facts)> {
    let mut all: Vec<(String, Facts)> = Vec::new();
    for line in text.lines() {
        let mut cells = line.split('\t');
        let (Some(name), Some(property), Some(value), source) =
            (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        if all.last().is_none_or(|(last, _)| last != name) {
            all.push((name.to_owned(), Facts::default()));
        }
        if let Some((_, facts)) = all.last_mut() {
            let source = source.unwrap_or_default().to_owned();
            facts
                .0
                .insert(property.to_owned(), (value.to_owned(), source));
        }
    }
    all
}

/// What is asked for of a dataset.
const PROPERTIES: &str = "type,guid,createtxg,origin,mountpoint,mounted,volsize,used,available,clones,vnet:template,vnet:state,\
    vnet:iqn,vnet:initiators,vnet:hosts,vnet:portals,vnet:chap-file";

/// `zfs` with these arguments.
pub(crate) fn zfs<T: Into<OsString>>(
    arguments: impl IntoIterator<Item = T>,
) -> anyhow::Result<Program> {
    Ok(Program::find("zfs", LIMIT)?.arguments(arguments))
}

/// What it said, unless the dataset is not there.
fn unless_missing(program: &Program) -> anyhow::Result<Option<String>> {
    let Output {
        status,
        text,
        words,
    } = program.output()?;
    match status {
        Some(0) => Ok(Some(text)),
        _ if words.contains("does not exist") => Ok(None),
        _ => refuse(
            format!("{program} failed: {words}"),
            "zpool status shows whether the pools are well; the module is loaded with: modprobe zfs",
        ),
    }
}

/// A dataset, if it is there.
pub(crate) fn facts(name: &Name) -> anyhow::Result<Option<Facts>> {
    let get = ["get", "-Hp", "-o", "name,property,value,source", PROPERTIES];
    let text = unless_missing(&zfs(get)?.arguments([name.as_str()]))?;
    Ok(text.and_then(|text| {
        parse_facts(&text)
            .into_iter()
            .next()
            .map(|(_, facts)| facts)
    }))
}

/// A dataset of this type; a refusal if there is none.
pub(crate) fn need(name: &Name, what: &str) -> anyhow::Result<Facts> {
    match facts(name)? {
        Some(facts) if facts.get("type") == Some(what) => Ok(facts),
        Some(facts) => refuse(
            format!(
                "{name} is a {}, not a {what}",
                facts.get("type").unwrap_or("dataset")
            ),
            format!("zfs list -r {} shows what is there", name.pool()),
        ),
        None => refuse(
            format!("there is no {what} {name}"),
            format!("zfs list -r {} shows what is there", name.pool()),
        ),
    }
}

/// Datasets of these types below and with `name`, parents first: `types` as for `zfs list -t`.
pub(crate) fn tree(
    name: &Name,
    types: &str,
    depth: Option<u32>,
) -> anyhow::Result<Vec<(Name, Facts)>> {
    let depth = match depth {
        Some(depth) => vec!["-d".to_owned(), depth.to_string()],
        None => vec!["-r".to_owned()],
    };
    let get = [
        "get",
        "-Hp",
        "-o",
        "name,property,value,source",
        "-t",
        types,
    ];
    let program = zfs(get)?
        .arguments(depth)
        .arguments([PROPERTIES, name.as_str()]);
    let text = unless_missing(&program)?.unwrap_or_default();
    // The names are ZFS's own: those that are not of our alphabet keep what they are called.
    Ok(parse_facts(&text)
        .into_iter()
        .map(|(name, facts)| (Name(name), facts))
        .collect())
}

/// All file systems and volumes with an own property of this name.
pub(crate) fn all_with(property: &str) -> anyhow::Result<Vec<Name>> {
    let get = ["get", "-Hp", "-o", "name", "-s", "local", "-t"];
    let text = zfs(get)?
        .arguments(["filesystem,volume", property])
        .text()?;
    Ok(text.lines().map(|name| Name(name.to_owned())).collect())
}

/// The newest snapshot of a dataset, by the transaction that made it.
pub(crate) fn newest_snapshot(name: &Name) -> anyhow::Result<Option<Name>> {
    let all = tree(name, "snapshot", Some(1))?;
    let newest = all
        .into_iter()
        .max_by_key(|(_, facts)| facts.number("createtxg"));
    Ok(newest.map(|(name, _)| name))
}

/// Those above a dataset that are not there, outermost first.
pub(crate) fn missing_parents(name: &Name) -> anyhow::Result<Vec<Name>> {
    let mut missing = Vec::new();
    let mut parent = name.parent();
    while let Some(name) = parent {
        if facts(&name)?.is_some() {
            missing.reverse();
            return Ok(missing);
        }
        parent = name.parent();
        missing.push(name);
    }
    refuse(
        format!("there is no pool {}", name.pool()),
        "zpool list shows the pools, zpool import those that could be",
    )
}

/// Sets properties, all at once.
pub(crate) fn set(name: &Name, values: &[(&str, String)]) -> anyhow::Result<()> {
    let values = values
        .iter()
        .map(|(property, value)| format!("{property}={value}"));
    zfs(["set"])?
        .arguments(values)
        .arguments([name.as_str()])
        .run()
}

/// Destroys exactly this dataset, if it is there: what is below it or comes from it makes this fail.
pub(crate) fn destroy(name: &Name) -> anyhow::Result<()> {
    if facts(name)?.is_none() {
        return Ok(());
    }
    settle()?;
    // udev looks into a device whenever it was written to, and it is busy meanwhile.
    let mut last = None;
    for _ in 0..10 {
        let output = zfs(["destroy", name.as_str()])?.output()?;
        if output.status == Some(0) || output.words.contains("does not exist") {
            return Ok(());
        }
        let busy = output.words.contains("busy");
        last = Some(output.words);
        if !busy {
            break;
        }
        settle()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let words = last.unwrap_or_default();
    Err(Refused::new(format!("zfs destroy {name} failed: {words}"))
        .hint(format!(
            "zfs list -r -t all {name} shows what depends on it, fuser -vm what uses it"
        ))
        .into())
}

/// Waits until udev has nothing to do.
pub(crate) fn settle() -> anyhow::Result<()> {
    Program::find("udevadm", DEVICE_LIMIT + DEVICE_LIMIT)?
        .arguments(["settle", "--timeout=60"])
        .run()
}

/// Waits for the device of a volume.
pub(crate) fn wait_for_device(name: &Name) -> anyhow::Result<PathBuf> {
    let device = name.device();
    Program::find("udevadm", DEVICE_LIMIT + DEVICE_LIMIT)?
        .arguments(["wait", "--timeout=60"])
        .arguments([&device])
        .hint("zvols get their devices by zvol_wait and udev: is systemd-udevd running?")
        .run()?;
    Ok(device)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The properties of one dataset, as `zfs get` tells them.
    pub(crate) fn facts(text: &str) -> Facts {
        let mut all = parse_facts(text).into_iter();
        all.next().expect("a dataset").1
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn names() {
        assert_eq!(
            name("/tank/demo/vm").to_string(),
            name("tank/demo/vm/").to_string()
        );
        let snapshot = name("tank/t@12_16_2008");
        assert_eq!(snapshot.snapshot(), Some("12_16_2008"));
        assert_eq!(snapshot.dataset(), name("tank/t"));
        assert_eq!(snapshot.last(), "t");
        assert_eq!(name("tank/a/b").parent(), Some(name("tank/a")));
        assert_eq!(name("tank").parent(), None);
        let long = "a".repeat(201);
        for text in [
            "", "/", "//a", "a//b", "a/../b", "-r", "a/-f", "a b", "a@", "@b", "a@b@c", "a@b/c",
            "a\n", "ä", &long,
        ] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn below_is_by_parts() {
        assert!(name("vm/u1/i1").is_below(&name("vm/u1")));
        assert!(!name("vm/u10/i1").is_below(&name("vm/u1")));
        assert!(!name("vm/u1").is_below(&name("vm/u1")));
    }

    #[test]
    fn what_zfs_get_says() {
        let text = "tank/a\ttype\tfilesystem\t-\ntank/a\tmountpoint\t/tank/a\tdefault\ntank/a\tmounted\tyes\t-\n\
            tank/a\tvnet:state\tready\tlocal\ntank/a\tvnet:hosts\ta, b,,c\tinherited from tank\n\
            tank/a/v\ttype\tvolume\t-\ntank/a/v\tvolsize\t8589934592\tlocal\ntank/a/v\tvnet:state\tready\tinherited from tank/a\n\
            short\tline\n\n";
        let all = parse_facts(text);
        assert_eq!(all.len(), 2);
        let (_, system) = &all[0];
        assert!(system.is_file_system() && !system.is_volume());
        assert_eq!(system.own(property::STATE), Some("ready"));
        assert_eq!(system.own(property::HOSTS), None);
        assert_eq!(system.list(property::HOSTS), ["a", "b", "c"]);
        assert_eq!(system.mountpoint(), Some(PathBuf::from("/tank/a")));
        let (name, volume) = &all[1];
        assert_eq!(name, "tank/a/v");
        assert_eq!(volume.number("volsize"), Some(8_589_934_592));
        assert_eq!(volume.own(property::STATE), None);
        assert_eq!(volume.get("absent"), None);
    }
}
