// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Machines: run, stop, reboot, list. Each step of a start has its way back; a stop goes on after a failure, and tells it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use vnet_core::VnetId;
use vnet_core::mac::Mac;
use vnet_netlink::Endpoint;

use super::config::{Config, Kind};
use super::image::{self, Boot, Image};
use super::record::{self, Console, Nic, Record, Role};
use super::remote::{self, Domr};
use super::vnc::Password;
use super::xl::{self, Domain};
use super::{console, keys, limit, net, refuse, sent};
use crate::commands::warn;
use crate::failure::{self, Attempt, Refused};
use crate::lock::Lock;
use crate::undo::{Undo, all_or_nothing};
use crate::until::until;

/// How long a new domain may take to run, and one that was destroyed to be gone.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(60);
/// How long the program that has started a domain may take to remove what has shut down.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) image: PathBuf,
    pub(crate) name: String,
    pub(crate) vnet: VnetId,
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
    /// The private address of the vnet's routing domain.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// The file with the public half of its host key, if it runs elsewhere.
    pub(crate) gateway_key: Option<PathBuf>,
    pub(crate) memory: u32,
    /// All of the host's if it is not given.
    pub(crate) cpus: Option<u32>,
    pub(crate) cap: u32,
    pub(crate) console: Option<Console>,
    pub(crate) password: Option<Password>,
    pub(crate) rate: u32,
    pub(crate) flood: u32,
    pub(crate) kind: Option<Kind>,
    pub(crate) words: Option<String>,
    pub(crate) bounce: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Started {
    pub(crate) name: String,
    pub(crate) domid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<Console>,
    /// Only if it was made here: it is told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
}

/// A machine, ready to be started.
pub(crate) struct Machine {
    pub(crate) record: Record,
    pub(crate) config: Config,
    pub(crate) vnet: VnetId,
    pub(crate) bounce: bool,
}

impl Request {
    /// Everything that can be known before something is changed.
    pub(crate) fn machine(&self) -> anyhow::Result<Machine> {
        let image = image::find(&self.image, &self.name)?;
        let kind = self.kind.unwrap_or(Kind::of(&image.boot));
        check_image(&self.image, &image, kind)?;
        let nics = vec![Nic {
            mac: self.mac.to_string(),
            bridge: self.vnet.default_bridge().to_string(),
        }];
        let console = self.console.clone();
        let config = Config {
            name: self.name.clone(),
            kind,
            memory: self.memory,
            vcpus: self.cpus.map_or_else(xl::cpus, Ok)?,
            cap: self.cap,
            nics: nics.clone(),
            rate: self.rate,
            screen: console.as_ref().map(|_| console::screen(&self.name)),
            words: self.kernel_words(&image.boot),
            image,
        };
        let record = Record {
            name: self.name.clone(),
            role: Role::Guest,
            vnet: self.vnet.to_string(),
            image: self.image.clone(),
            memory: self.memory,
            nics,
            address: self.address,
            lease: self.domr()?,
            password: self.password.clone().filter(|_| console.is_some()),
            console,
            flood: self.flood,
            complete: false,
        };
        Ok(Machine {
            record,
            config,
            vnet: self.vnet,
            bounce: self.bounce,
        })
    }

    /// A kernel that takes its address itself, as the old ones did, asks for it by DHCP.
    fn kernel_words(&self, boot: &Boot) -> String {
        let own = match boot {
            Boot::Kernel { .. } => {
                format!("fastboot ip={}::::{}:eth0:dhcp", self.address, self.name)
            }
            Boot::Pygrub => "fastboot".to_owned(),
            Boot::Disk => String::new(),
        };
        match &self.words {
            Some(words) if own.is_empty() => words.clone(),
            Some(words) => format!("{own} {words}"),
            None => own,
        }
    }

    /// Who is to be told of its address.
    fn domr(&self) -> anyhow::Result<Option<Domr>> {
        let Some(address) = self.gateway else {
            return Ok(None);
        };
        if let Some(key) = &self.gateway_key {
            return Ok(Some(Domr {
                name: format!("gateway-{}", address.to_string().replace('.', "-")),
                address,
                host_key: key.clone(),
            }));
        }
        let domr = remote::at(address)?;
        if domr.is_none() {
            warn(format_args!(
                "no routing domain of this host has the address {address}: none is told of {}. If it runs on another host, name the \
                 public half of its host key with: --gateway-key FILE",
                self.name
            ));
        }
        Ok(domr)
    }
}

pub(crate) fn check_image(
    directory: &std::path::Path,
    image: &Image,
    kind: Kind,
) -> anyhow::Result<()> {
    let path = directory.display();
    match (&image.boot, &image.root, kind) {
        (Boot::Pygrub | Boot::Disk, None, _) => refuse(
            format!("there is nothing to boot in {path}: no vmlinuz* and no vmi-root*"),
            "mount the image with: vn image mount",
        ),
        (Boot::Disk, _, Kind::Pv | Kind::Pvh) => refuse(
            format!("{path} has no kernel: neither vmlinuz* nor a file pygrub"),
            "an empty file pygrub says that the kernel is in the root disk",
        ),
        (Boot::Pygrub, _, Kind::Hvm) => refuse(
            format!("{path} has a file pygrub, which is not for hvm"),
            "remove it, or choose another type",
        ),
        _ => Ok(()),
    }
}

/// Runs a guest.
pub(crate) fn run(
    endpoint: &Endpoint,
    request: &Request,
    dry_run: bool,
) -> anyhow::Result<(Vec<String>, Option<Started>)> {
    let what = Attempt::new(format_args!("run {}", request.name));
    let run = || {
        let mut request = request.clone();
        let made = request.console.is_some() && request.password.is_none();
        if made {
            request.password = Some(Password::generate()?);
        }
        let machine = request.machine()?;
        if dry_run {
            return Ok((plan(endpoint, &machine)?, None));
        }
        let password = request.password.filter(|_| made);
        let console = machine.record.console.clone();
        let domain = start(endpoint, machine, tell_domr, |_, _| Ok(()))?;
        let started = Started {
            name: domain.name,
            domid: domain.id,
            console,
            password: password.map(|password| password.text().to_owned()),
        };
        Ok((Vec::new(), Some(started)))
    };
    run().map_err(|error: anyhow::Error| error.context(what))
}

/// What would be done.
pub(crate) fn plan(endpoint: &Endpoint, machine: &Machine) -> anyhow::Result<Vec<String>> {
    let mut lines = net::steps(endpoint, machine.vnet, machine.bounce)?;
    let path = record::config_path(&machine.record.name);
    lines.push(format!("write {}:", path.display()));
    lines.extend(
        machine
            .config
            .text()
            .lines()
            .map(|line| format!("  {line}")),
    );
    lines.push(format!("xl create {}", path.display()));
    Ok(lines)
}

/// Adds its address to the DHCP of the vnet.
fn tell_domr(machine: &mut Machine, _mtu: Option<u32>, undo: &mut Undo) -> anyhow::Result<()> {
    let record = &machine.record;
    let Some(domr) = &record.lease else {
        return Ok(());
    };
    let mac = record
        .nics
        .first()
        .map(|nic| nic.mac.clone())
        .unwrap_or_default();
    let (back, gone) = (domr.clone(), mac.clone());
    // One that was there before is the same, or it is refused; and nobody else uses it, as the name and the address are this machine's.
    undo.push(
        format!("take {mac} out of the DHCP of {}", domr.name),
        move || remote::call(&back, &["lease", "del", &gone]).map(drop),
    )?;
    let address = record.address.to_string();
    let answer = remote::call(domr, &["lease", "add", &mac, &address, &record.name])?;
    match answer["changed"] {
        Value::Bool(_) => Ok(()),
        _ => Err(Refused::new(format!(
            "{} did not say whether it changed anything",
            domr.name
        ))
        .into()),
    }
}

/// Starts a machine. `before` is done when its vnet is there and it is written down; `after`, when it runs.
pub(crate) fn start(
    endpoint: &Endpoint,
    mut machine: Machine,
    before: impl FnOnce(&mut Machine, Option<u32>, &mut Undo) -> anyhow::Result<()>,
    after: impl FnOnce(&Machine, &Undo) -> anyhow::Result<()>,
) -> anyhow::Result<Domain> {
    let name = machine.record.name.clone();
    let _lock = Lock::alone(&format!("domain {name}"))?;
    // Else one that fails could remove the vnet that another has found there.
    let _vnet = Lock::alone(&format!("vnet {}", machine.vnet))?;
    unused(&machine.record)?;
    all_or_nothing(|undo| {
        let mtu = net::ensure(endpoint, machine.vnet, machine.bounce, undo)?;
        let forgotten = name.clone();
        undo.push(format!("forget {name}"), move || record::forget(&forgotten))?;
        record::write(&machine.record)?;
        before(&mut machine, mtu, undo)?;
        record::write_config(&name, &machine.config.text())?;
        let reserved = match &machine.record.console {
            None => None,
            Some(console) => {
                let ended = name.clone();
                undo.push(format!("end the console of {name}"), move || {
                    console::end(&ended)
                })?;
                Some(console::reserve(&name, console)?)
            }
        };
        let ended = name.clone();
        undo.push(format!("end the domain {name}"), move || {
            xl::find(&ended)?.map_or(Ok(()), |domain| xl::destroy(&domain))
        })?;
        xl::create(&record::config_path(&name))?;
        undo.check()?;
        let domain = running(&name, None, START)?;
        limit::apply(domain.id, machine.record.flood)?;
        if let Some(console) = reserved {
            console.serve(&name)?;
        }
        after(&machine, undo)?;
        undo.check()?;
        machine.record.complete = true;
        record::write(&machine.record)?;
        Ok(domain)
    })
}

/// Refuses what is there already. What a run that was killed has left is removed.
fn unused(new: &Record) -> anyhow::Result<()> {
    let name = &new.name;
    let domains = xl::list()?;
    let is_there = |name: &str| domains.iter().any(|domain| domain.name == name);
    match record::read(name)? {
        Some(record) if !record.complete => {
            warn(format_args!(
                "an earlier start of {name} was cut off: removing what it has left"
            ));
            if let Some(domain) = domains.iter().find(|domain| domain.name == *name) {
                remove(domain)?;
            }
            clean_up(name, Some(&record), true)?;
        }
        _ if is_there(name) => {
            return refuse(
                format!("there is a domain {name} already"),
                format!("stop it first: vn vm stop {name}"),
            );
        }
        _ => {}
    }
    for other in record::all()? {
        if other.name == *name || !is_there(&other.name) {
            continue;
        }
        if let Some(what) = clash(new, &other) {
            return refuse(
                format!("{} has the {what} already", other.name),
                format!(
                    "choose another, or stop it first: vn vm stop {}",
                    other.name
                ),
            );
        }
    }
    Ok(())
}

/// What two machines cannot both have.
fn clash(new: &Record, other: &Record) -> Option<String> {
    let display = |record: &Record| record.console.as_ref().map(|console| console.display);
    if let Some(number) = display(new).filter(|_| display(new) == display(other)) {
        return Some(format!("console {number}"));
    }
    for nic in &new.nics {
        if other.nics.contains(nic) {
            return Some(format!("address {} on {}", nic.mac, nic.bridge));
        }
    }
    let same_network = match new.role {
        Role::Guest => new.vnet == other.vnet,
        Role::Domr => true,
    };
    if new.role == other.role && same_network && new.address == other.address {
        return Some(format!("address {}", new.address));
    }
    // Each would answer the guests as their gateway.
    (new.role == Role::Domr && other.role == Role::Domr && new.vnet == other.vnet)
        .then(|| format!("vnet {}", new.vnet))
}

/// Waits until a domain of this name runs, other than the one before.
fn running(name: &str, before: Option<u32>, limit: Duration) -> anyhow::Result<Domain> {
    let mut found = None;
    let so = until(limit, || {
        found = xl::find(name)?.filter(|domain| Some(domain.id) != before);
        Ok(found.as_ref().is_some_and(Domain::is_running))
    })?;
    match found {
        Some(domain) if so => Ok(domain),
        Some(domain) => refuse(
            format!(
                "{name} does not run after {} s: it is {}",
                limit.as_secs(),
                domain.state()
            ),
            "logs are in /var/log/xen",
        ),
        None => refuse(
            format!(
                "{name} does not run after {} s: there is no such domain",
                limit.as_secs()
            ),
            format!(
                "what it said last is in /var/log/xen, as it is for what ends at once: xl-{name}.log"
            ),
        ),
    }
}

/// Stops a machine. Returns false if there was none.
pub(crate) fn stop(name: &str, force: bool, timeout: Duration) -> anyhow::Result<bool> {
    let stop = || {
        let _lock = Lock::alone(&format!("domain {name}"))?;
        let record = record::read(name)?;
        let Some(domain) = xl::find(name)? else {
            let known = record.is_some();
            clean_up(name, record.as_ref(), force)?;
            return Ok(known);
        };
        if domain.id == 0 {
            return refuse("that is the domain that vn runs in", "shut the host down");
        }
        if !force {
            shut_down(&domain, timeout)?;
        }
        remove(&domain)?;
        clean_up(name, record.as_ref(), force)?;
        Ok(true)
    };
    let what = Attempt::new(format_args!("stop {name}"));
    stop().map_err(|error: anyhow::Error| error.context(what))
}

/// Asks it to end by itself; one that does not is destroyed by who calls.
fn shut_down(domain: &Domain, timeout: Duration) -> anyhow::Result<()> {
    let name = &domain.name;
    if let Err(error) = xl::ask("shutdown", domain) {
        // It may have ended just now.
        if gone(domain)? {
            return Ok(());
        }
        warn(format_args!(
            "{name} cannot be asked to shut down, and is destroyed: {error:#}"
        ));
        return Ok(());
    }
    if !until(timeout, || ended(domain))? {
        warn(format_args!(
            "{name} has not shut down within {} s, and is destroyed",
            timeout.as_secs()
        ));
        return Ok(());
    }
    // The program that has started it takes its devices away, and its name; two that do so would get in each other's way.
    until(AFTERWARDS, || {
        sent::free();
        Ok(xl::find(name)?.is_none())
    })?;
    Ok(())
}

/// Whether a domain runs no more: then it is gone, or Xen is about to remove it.
fn ended(domain: &Domain) -> anyhow::Result<bool> {
    let ended = |other: &Domain| ["shutdown", "crashed", "dying"].contains(&other.state());
    Ok(xl::list()?
        .iter()
        .all(|other| other.id != domain.id || ended(other)))
}

fn gone(domain: &Domain) -> anyhow::Result<bool> {
    sent::free();
    Ok(xl::list()?.iter().all(|other| other.id != domain.id))
}

/// Ends a domain. One that runs no more stays, without its name, as long as dom0 uses its memory for data that it has not sent yet.
fn remove(domain: &Domain) -> anyhow::Result<()> {
    if let Some(domain) = xl::find(&domain.name)? {
        xl::destroy(&domain)?;
    }
    if until(END, || gone(domain))? {
        return Ok(());
    }
    refuse(
        format!(
            "{} runs no more, but Xen has not freed its memory after {} s",
            domain.name,
            END.as_secs()
        ),
        "dom0 still has data of it on the way to a disk or a network that does not answer; the same command again does the rest",
    )
}

/// Removes what there is of a machine that runs no more. The record goes last, so that the same command again does the rest.
fn clean_up(name: &str, record: Option<&Record>, force: bool) -> anyhow::Result<()> {
    let Some(record) = record else {
        return Ok(());
    };
    let mut errors = Vec::new();
    if record.console.is_some() {
        errors.extend(console::end(name).err());
    }
    if let Some(domr) = &record.lease {
        let mac = record.nics.first().map_or("", |nic| &nic.mac);
        if is_there(domr)? {
            if let Err(error) = remote::call(domr, &["lease", "del", mac]) {
                if force {
                    warn(format_args!(
                        "{mac} may still be in the DHCP of {}: {error:#}",
                        domr.name
                    ));
                } else {
                    let hint = format!(
                        "the machine is stopped; for the rest again, or: vn vm stop {name} --force"
                    );
                    errors.push(
                        error.context(
                            Refused::new(format!("{mac} is still in the DHCP of {}", domr.name))
                                .hint(hint),
                        ),
                    );
                }
            }
        }
    }
    if let Some(domr) = record
        .lease
        .as_ref()
        .filter(|domr| domr.host_key != keys::host_public(&domr.name))
    {
        errors.extend(super::domr::forget(&domr.name).err());
    }
    if record.role == Role::Domr {
        errors.extend(super::domr::forget(name).err());
        errors.extend(keys::forget(name).err());
    }
    if errors.is_empty() {
        errors.extend(record::forget(name).err());
    }
    failure::all(errors)
}

/// Whether a domR is still to be told: one of this host that has gone remembers nothing.
fn is_there(domr: &Domr) -> anyhow::Result<bool> {
    if domr.host_key != keys::host_public(&domr.name) {
        return Ok(true);
    }
    Ok(record::read(&domr.name)?.is_some() && xl::find(&domr.name)?.is_some())
}

/// Starts a machine anew.
pub(crate) fn reboot(name: &str, force: bool, timeout: Duration) -> anyhow::Result<u32> {
    let reboot = || {
        let _lock = Lock::alone(&format!("domain {name}"))?;
        let record = record::read(name)?;
        let Some(domain) = xl::find(name)? else {
            return refuse(format!("{name} does not run"), "start it with: vn vm run");
        };
        if force {
            if record.is_none() {
                return refuse(
                    format!("vn has not started {name}, and cannot start it anew by force"),
                    "without --force it is asked to",
                );
            }
            xl::destroy(&domain)?;
            until(END, || gone(&domain))?;
            xl::create(&record::config_path(name))?;
        } else {
            xl::ask("reboot", &domain)?;
        }
        let new = running(name, Some(domain.id), timeout)?;
        // The limit went with the old domain's device, and clients of the console with its QEMU.
        limit::apply(new.id, record.as_ref().map_or(0, |record| record.flood))?;
        if let Some(console) = record.and_then(|record| record.console) {
            console::reserve(name, &console)?.serve(name)?;
        }
        Ok(new.id)
    };
    let what = Attempt::new(format_args!("reboot {name}"));
    reboot().map_err(|error: anyhow::Error| error.context(what))
}

/// A machine as it is listed.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    pub(crate) name: String,
    /// As xl says; `stopped` if it does not run, `half-made` if its start was cut off.
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domid: Option<u32>,
    /// guest or domr; nothing if vn has not started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vnet: Option<String>,
    pub(crate) nics: Vec<Nic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) memory: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vcpus: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<Console>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<PathBuf>,
}

/// What runs beside dom0, and what is written down.
pub(crate) fn list() -> anyhow::Result<Vec<View>> {
    let domains = xl::list()?;
    let details = match domains.len() {
        0 | 1 => Vec::new(),
        _ => xl::details()?,
    };
    Ok(views(&record::all()?, &domains, &details))
}

fn views(records: &[Record], domains: &[Domain], details: &[xl::Details]) -> Vec<View> {
    let mut views: Vec<View> = records
        .iter()
        .map(|record| {
            let domain = domains.iter().find(|domain| domain.name == record.name);
            let state = match domain {
                _ if !record.complete => "half-made",
                Some(domain) => domain.state(),
                None => "stopped",
            };
            View {
                name: record.name.clone(),
                state: state.to_owned(),
                domid: domain.map(|domain| domain.id),
                role: Some(record.role),
                kind: None,
                vnet: Some(record.vnet.clone()),
                nics: record.nics.clone(),
                address: Some(record.address),
                memory: record.memory,
                vcpus: domain.map(|domain| domain.vcpus),
                console: record.console.clone(),
                image: Some(record.image.clone()),
            }
        })
        .collect();
    let others = domains
        .iter()
        .filter(|domain| domain.id != 0 && records.iter().all(|record| record.name != domain.name));
    views.extend(others.map(|domain| View {
        name: domain.name.clone(),
        state: domain.state().to_owned(),
        domid: Some(domain.id),
        role: None,
        kind: None,
        vnet: None,
        nics: Vec::new(),
        address: None,
        memory: domain.memory,
        vcpus: Some(domain.vcpus),
        console: None,
        image: None,
    }));
    for view in &mut views {
        let Some(more) = details.iter().find(|more| Some(more.domid) == view.domid) else {
            continue;
        };
        view.kind = more.kind().map(str::to_owned);
        if view.role.is_none() {
            view.nics = more
                .nics()
                .iter()
                .map(|nic| Nic {
                    mac: nic.mac.clone().unwrap_or_default(),
                    bridge: nic.bridge.clone().unwrap_or_default(),
                })
                .collect();
        }
    }
    views.sort_by(|a, b| a.name.cmp(&b.name));
    views
}

/// Becomes the console of a machine.
pub(crate) fn console(name: &str) -> anyhow::Error {
    let found = xl::find(name).and_then(|domain| match domain {
        Some(domain) => Ok(domain),
        None => refuse(format!("{name} does not run"), "vn vm list shows what does"),
    });
    match found {
        Ok(domain) => xl::console(&domain),
        Err(error) => error,
    }
}

#[cfg(test)]
#[path = "vm_tests.rs"]
mod tests;
