// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Running `xl`. A domain is known by its exact name; it is destroyed by its number, which is never given twice.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::refuse;
use crate::exec::Program;
use crate::failure::Refused;

/// How long questions may take, and what changes a domain.
const QUESTION: Duration = Duration::from_secs(30);
const CHANGE: Duration = Duration::from_secs(180);

/// A domain as `xl list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// MiB.
    pub(crate) memory: u32,
    pub(crate) vcpus: u32,
    flags: String,
}

impl Domain {
    /// In one word. One that waits is running, too.
    pub(crate) fn state(&self) -> &'static str {
        let has = |flag: char| self.flags.contains(flag);
        if has('d') {
            "dying"
        } else if has('c') {
            "crashed"
        } else if has('s') {
            "shutdown"
        } else if has('p') {
            "paused"
        } else {
            "running"
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state() == "running"
    }
}

fn xl(limit: Duration) -> anyhow::Result<Program> {
    Ok(Program::find("xl", limit)?.hint("does Xen run here, with its daemons? xl info shows it"))
}

/// All domains, dom0 among them.
pub(crate) fn list() -> anyhow::Result<Vec<Domain>> {
    let text = xl(QUESTION)?.arguments(["list"]).text()?;
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Vec<Domain>> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    if head.split_whitespace().take(3).ne(["Name", "ID", "Mem"]) {
        return refuse(
            format!("xl list did not print what is known of it, but: {head:?}"),
            "this vn knows xl of Xen 4.17 to 4.20",
        );
    }
    let domain = |line: &str| -> Option<Domain> {
        // A name may have spaces, if another program has given it.
        let mut words = line.split_whitespace().rev();
        let (_time, flags, vcpus, memory, id) = (
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
        );
        let mut name: Vec<_> = words.collect();
        name.reverse();
        Some(Domain {
            id: id.parse().ok()?,
            name: name.join(" "),
            memory: memory.parse().ok()?,
            vcpus: vcpus.parse().ok()?,
            flags: flags.to_owned(),
        })
    };
    lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            domain(line).ok_or_else(|| Refused::new(format!("xl list printed {line:?}")).into())
        })
        .collect()
}

/// The domain of this name.
pub(crate) fn find(name: &str) -> anyhow::Result<Option<Domain>> {
    Ok(list()?.into_iter().find(|domain| domain.name == name))
}

/// What `xl list -l` says of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Details {
    pub(crate) domid: u32,
    config: DetailsConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct DetailsConfig {
    #[serde(default)]
    c_info: DetailsCreation,
    #[serde(default)]
    nics: Vec<DetailsNic>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct DetailsCreation {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// A network device in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct DetailsNic {
    pub(crate) mac: Option<String>,
    pub(crate) bridge: Option<String>,
}

impl Details {
    /// pv, pvh or hvm.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.config.c_info.kind.as_deref()
    }

    pub(crate) fn nics(&self) -> &[DetailsNic] {
        &self.config.nics
    }
}

/// More of all domains. One that comes or goes just now may not be among them.
pub(crate) fn details() -> anyhow::Result<Vec<Details>> {
    let text = xl(QUESTION)?.arguments(["list", "-l"]).text()?;
    parse_details(&text)
}

fn parse_details(text: &str) -> anyhow::Result<Vec<Details>> {
    serde_json::from_str(text)
        .map_err(|error| Refused::new(format!("cannot understand xl list -l: {error}")).into())
}

/// How many CPUs the host has; dom0 may have fewer.
pub(crate) fn cpus() -> anyhow::Result<u32> {
    let text = xl(QUESTION)?.arguments(["info"]).text()?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "nr_cpus").then(|| value.trim().parse().ok())?
    };
    match text.lines().find_map(value) {
        Some(count) => Ok(count),
        None => refuse(
            "xl info does not say how many CPUs there are",
            "name it with: --cpus N",
        ),
    }
}

/// Starts a machine; returns when its devices are connected.
pub(crate) fn create(config: &Path) -> anyhow::Result<()> {
    let created = Program::find("xl", CHANGE)?
        .arguments(["create"])
        .arguments([config])
        .hint("logs are in /var/log/xen; xl list shows what runs, free memory is in: xl info")
        .run();
    created.map_err(|error| {
        // libxl's words for a QEMU that ended by itself.
        if error.to_string().contains("QMP") {
            let hint = "QEMU, which is for consoles, ended by itself: why is in /var/log/xen/qemu-dm-NAME.log";
            return Refused::new(error.to_string()).hint(hint).into();
        }
        error
    })
}

/// Asks a machine to shut down, or to start anew.
pub(crate) fn ask(verb: &str, domain: &Domain) -> anyhow::Result<()> {
    xl(CHANGE)?
        .arguments([verb.to_owned(), domain.id.to_string()])
        .run()
}

/// Ends a domain; one that is gone already is no failure.
pub(crate) fn destroy(domain: &Domain) -> anyhow::Result<()> {
    let ended = xl(CHANGE)?
        .arguments(["destroy".to_owned(), domain.id.to_string()])
        .run();
    match ended {
        Err(_) if list()?.iter().all(|other| other.id != domain.id) => Ok(()),
        ended => ended,
    }
}

/// Becomes the console of a machine, on this terminal.
pub(crate) fn console(domain: &Domain) -> anyhow::Error {
    match xl(QUESTION) {
        Ok(program) => program
            .arguments(["console".to_owned(), domain.id.to_string()])
            .replace(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0  1024     2     r-----      33.9
centos5-2                                    7   256     2     -b----       1.0
a name                                       8   256     1     --p---       0.0
(null)                                       9     0     1     --ps-d       0.0
";

    #[test]
    fn domains() {
        let domains = parse(LIST).expect("domains");
        let of = |name: &str| domains.iter().find(|domain| domain.name == name);
        let centos = of("centos5-2").expect("a domain");
        assert_eq!((centos.id, centos.memory, centos.vcpus), (7, 256, 2));
        assert!(centos.is_running());
        assert_eq!(of("a name").map(Domain::state), Some("paused"));
        assert_eq!(of("(null)").map(Domain::state), Some("dying"));
        assert!(of("centos5").is_none());
        for bad in ["", "xl: command not known\n", "Name ID Mem\nx y z\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn more_of_them() {
        let text = r#"[{"domid":0,"config":{"c_info":{"type":"pv","name":"Domain-0"},"b_info":{}}},
            {"domid":7,"config":{"c_info":{"type":"pv","name":"centos5-2"},
            "nics":[{"devid":0,"mac":"02:00:00:05:00:56","bridge":"vnbr0005"}]}}]"#;
        let details = parse_details(text).expect("details");
        assert_eq!((details[1].domid, details[1].kind()), (7, Some("pv")));
        assert_eq!(details[1].nics()[0].bridge.as_deref(), Some("vnbr0005"));
        assert!(details[0].nics().is_empty());
        assert!(parse_details("{").is_err());
    }
}
