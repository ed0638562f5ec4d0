// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the routing domain is to do beside its command line: addresses, openings, leases. One JSON file, replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use vnet_core::mac::Mac;

use crate::cmdline::Config;
use crate::rule::Rule;
use crate::words::{self, Network};

/// What the file's format is called.
const VERSION: u32 = 1;
/// At most so many of each.
const MAX_ADDRESSES: usize = 256;
const MAX_RULES: usize = 1024;
const MAX_LEASES: usize = 4096;

/// A lease that does not end: the guest with this Ethernet address has this address and this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LeaseText", into = "LeaseText")]
pub(crate) struct Lease {
    pub(crate) mac: Mac,
    pub(crate) ip: Ipv4Addr,
    pub(crate) name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseText {
    mac: String,
    ip: String,
    name: String,
}

impl TryFrom<LeaseText> for Lease {
    type Error = anyhow::Error;

    fn try_from(text: LeaseText) -> anyhow::Result<Self> {
        Ok(Self {
            mac: words::mac(&text.mac)?,
            ip: words::address(&text.ip)?,
            name: words::name(&text.name)?,
        })
    }
}

impl From<Lease> for LeaseText {
    fn from(lease: Lease) -> Self {
        Self {
            mac: lease.mac.to_string(),
            ip: lease.ip.to_string(),
            name: lease.name,
        }
    }
}

/// A further address on the public side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Public(pub(crate) Network);

impl TryFrom<String> for Public {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        words::network(&text).map(Self)
    }
}

impl From<Public> for String {
    fn from(public: Public) -> Self {
        public.0.to_string()
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    /// In the order in which they were given.
    pub(crate) addresses: Vec<Public>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) leases: Vec<Lease>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            addresses: Vec::new(),
            rules: Vec::new(),
            leases: Vec::new(),
        }
    }
}

impl State {
    /// Reads it; empty if there is none.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot read {}", path.display());
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(what)?,
        };
        let state: Self = serde_json::from_str(&text).with_context(what)?;
        ensure!(
            state.version == VERSION,
            "{} has version {}, and this program knows {VERSION}",
            path.display(),
            state.version
        );
        Ok(state)
    }

    /// Replaces the file.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        replace(path, &text, 0o600)
    }

    /// Where guests' connections seem to come from: the address that was given last.
    pub(crate) fn source(&self, config: &Config) -> Ipv4Addr {
        let last = self.addresses.last();
        last.map_or(config.public().address, |last| last.0.address)
    }

    /// Gives a lease. Returns whether anything is changed.
    pub(crate) fn add_lease(&mut self, config: &Config, lease: Lease) -> anyhow::Result<bool> {
        let guests = config.guests();
        ensure!(
            guests.has_host(lease.ip),
            "{} is no address of a guest in {guests}",
            lease.ip
        );
        ensure!(
            lease.ip != guests.address,
            "{} is the routing domain's own address",
            lease.ip
        );
        if self.leases.contains(&lease) {
            return Ok(false);
        }
        let others = || self.leases.iter().filter(|other| other.mac != lease.mac);
        if let Some(other) = others().find(|other| other.ip == lease.ip) {
            bail!(
                "{} is leased to {} ({}); take it away first with: lease del {}",
                lease.ip,
                other.mac,
                other.name,
                other.mac
            );
        }
        if let Some(other) = others().find(|other| other.name.eq_ignore_ascii_case(&lease.name)) {
            bail!(
                "the name {} is that of {} ({}); take it away first with: lease del {}",
                lease.name,
                other.mac,
                other.ip,
                other.mac
            );
        }
        self.leases.retain(|other| other.mac != lease.mac);
        ensure!(
            self.leases.len() < MAX_LEASES,
            "there are {MAX_LEASES} leases"
        );
        self.leases.push(lease);
        Ok(true)
    }

    /// Takes a lease away.
    pub(crate) fn del_lease(&mut self, mac: Mac) -> bool {
        let before = self.leases.len();
        self.leases.retain(|lease| lease.mac != mac);
        self.leases.len() != before
    }

    /// Gives a public address.
    pub(crate) fn add_address(&mut self, config: &Config, new: Network) -> anyhow::Result<bool> {
        for (device, other) in [("eth0", config.guests()), ("eth1", config.private())] {
            ensure!(
                !other.contains(new.address),
                "{} is in {device}'s network, {other}, and not on the public side",
                new.address
            );
        }
        ensure!(
            new.address != config.gateway,
            "{} is the gateway's address",
            new.address
        );
        if let Some(old) = self
            .addresses
            .iter()
            .find(|old| old.0.address == new.address)
        {
            ensure!(
                old.0 == new,
                "{} is there as {}; take it away first with: ip del {}",
                new.address,
                old.0,
                new.address
            );
            return Ok(false);
        }
        // The one that it was started with.
        if new.address == config.public().address {
            return Ok(false);
        }
        ensure!(
            self.addresses.len() < MAX_ADDRESSES,
            "there are {MAX_ADDRESSES} addresses"
        );
        self.addresses.push(Public(new));
        Ok(true)
    }

    /// Takes a public address away.
    pub(crate) fn del_address(
        &mut self,
        config: &Config,
        address: Ipv4Addr,
    ) -> anyhow::Result<bool> {
        ensure!(
            address != config.public().address,
            "{address} is the address that the routing domain was started with"
        );
        if let Some(rule) = self.rules.iter().find(|rule| rule.public == address) {
            bail!("{address} is in use: {rule}; close that first with: firewall del");
        }
        let before = self.addresses.len();
        self.addresses.retain(|old| old.0.address != address);
        Ok(self.addresses.len() != before)
    }

    /// Opens something.
    pub(crate) fn add_rule(&mut self, config: &Config, rule: Rule) -> anyhow::Result<bool> {
        let guests = config.guests();
        ensure!(
            guests.has_host(rule.guest) && rule.guest != guests.address,
            "{} is no address of a guest in {guests}",
            rule.guest
        );
        let has = rule.public == config.public().address
            || self
                .addresses
                .iter()
                .any(|public| public.0.address == rule.public);
        ensure!(
            has,
            "{} is no public address of this routing domain; give it first with: ip add {}",
            rule.public,
            rule.public
        );
        if self.rules.contains(&rule) {
            return Ok(false);
        }
        if let Some(other) = self.rules.iter().find(|other| other.overlaps(&rule)) {
            bail!("that is taken: {other}; close it first with: firewall del");
        }
        ensure!(self.rules.len() < MAX_RULES, "there are {MAX_RULES} rules");
        self.rules.push(rule);
        Ok(true)
    }

    /// Closes something. It is an error if another rule keeps it open.
    pub(crate) fn del_rule(&mut self, rule: &Rule) -> anyhow::Result<bool> {
        let before = self.rules.len();
        self.rules.retain(|other| other != rule);
        if self.rules.len() != before {
            return Ok(true);
        }
        if let Some(other) = self.rules.iter().find(|other| other.overlaps(rule)) {
            bail!("there is no such rule, but it is open by another: {other}");
        }
        Ok(false)
    }

    /// Opens these and closes all others.
    pub(crate) fn set_rules(&mut self, config: &Config, rules: Vec<Rule>) -> anyhow::Result<bool> {
        let before = std::mem::take(&mut self.rules);
        for rule in rules {
            ensure!(self.add_rule(config, rule)?, "twice the same: {rule}");
        }
        Ok(self.rules != before)
    }
}

/// Replaces a file with this text: who reads it sees the old one or the new one, also after a power failure.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let what = || format!("cannot write {}", path.display());
    let new = path.with_extension("new");
    let directory = path.parent().with_context(what)?;
    // Left from one that was killed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(what),
        _ => {}
    }
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)?;
        // Whatever the mask is of who calls: dnsmasq reads some of them without being root.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(directory)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&new);
    }
    written.with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::tests::example;

    fn lease(mac: &str, ip: &str, name: &str) -> Lease {
        let text = LeaseText {
            mac: mac.to_owned(),
            ip: ip.to_owned(),
            name: name.to_owned(),
        };
        text.try_into().expect("a lease")
    }

    fn rule(text: &str) -> Rule {
        let words: Vec<_> = text.split(' ').collect();
        Rule::parse(&words).expect(text)
    }

    fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>, says: &str) {
        let error = result.expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }

    const A: &str = "02:00:00:05:00:56";
    const B: &str = "02:00:00:05:00:57";

    #[test]
    fn leases() {
        let (config, mut state) = (example(), State::default());
        let add = |state: &mut State, mac, ip, name| state.add_lease(&config, lease(mac, ip, name));
        assert!(add(&mut state, A, "10.1.1.56", "centos5-2").expect("new"));
        assert!(!add(&mut state, A, "10.1.1.56", "centos5-2").expect("the same"));
        refusal(
            add(&mut state, B, "10.1.1.56", "other"),
            "is leased to 02:00:00:05:00:56",
        );
        refusal(
            add(&mut state, B, "10.1.1.57", "CentOS5-2"),
            "the name CentOS5-2 is that of",
        );
        assert!(add(&mut state, A, "10.1.1.58", "centos5-2").expect("another address"));
        assert_eq!(state.leases.len(), 1);
        for ip in ["10.1.1.1", "10.1.1.0", "10.1.1.255", "10.1.2.1"] {
            assert!(add(&mut state, B, ip, "b").is_err(), "{ip}");
        }
        assert!(state.del_lease(words::mac(A).expect("a MAC")));
        assert!(!state.del_lease(words::mac(A).expect("a MAC")));
    }

    #[test]
    fn addresses() {
        let (config, mut state) = (example(), State::default());
        let net = |text| words::network(text).expect(text);
        let own = Ipv4Addr::new(65, 37, 141, 33);
        assert_eq!(state.source(&config), own);
        assert!(
            !state
                .add_address(&config, net("65.37.141.33"))
                .expect("its own")
        );
        assert!(
            state
                .add_address(&config, net("65.37.141.40"))
                .expect("new")
        );
        assert!(
            !state
                .add_address(&config, net("65.37.141.40/32"))
                .expect("the same")
        );
        refusal(
            state.add_address(&config, net("65.37.141.40/25")),
            "is there as 65.37.141.40/32",
        );
        assert!(
            state
                .add_address(&config, net("65.37.141.41"))
                .expect("new")
        );
        assert_eq!(state.source(&config), Ipv4Addr::new(65, 37, 141, 41));
        refusal(
            state.add_address(&config, net("10.1.1.7")),
            "eth0's network",
        );
        refusal(
            state.add_address(&config, net("192.168.1.7")),
            "eth1's network",
        );
        refusal(state.add_address(&config, net("65.37.141.1")), "gateway");
        refusal(state.del_address(&config, own), "started with");
        let open = rule("proto=tcp public=65.37.141.41 ports=22 guest=10.1.1.155");
        assert!(state.add_rule(&config, open).expect("a rule"));
        refusal(
            state.del_address(&config, open.public),
            "is in use: tcp 65.37.141.41 port 22",
        );
        assert!(state.del_rule(&open).expect("closed"));
        assert!(state.del_address(&config, open.public).expect("gone"));
        assert!(
            !state
                .del_address(&config, open.public)
                .expect("gone already")
        );
        assert_eq!(state.source(&config), Ipv4Addr::new(65, 37, 141, 40));
    }

    #[test]
    fn rules() {
        let (config, mut state) = (example(), State::default());
        let ssh = rule("proto=tcp public=65.37.141.33 ports=22 guest=10.1.1.155");
        let other = rule("proto=tcp public=65.37.141.33 ports=22 guest=10.1.1.156");
        assert!(state.add_rule(&config, ssh).expect("new"));
        assert!(!state.add_rule(&config, ssh).expect("the same"));
        refusal(
            state.add_rule(&config, other),
            "that is taken: tcp 65.37.141.33 port 22 to 10.1.1.155",
        );
        refusal(state.del_rule(&other), "it is open by another");
        let foreign = rule("proto=tcp public=65.37.141.34 ports=22 guest=10.1.1.155");
        refusal(state.add_rule(&config, foreign), "ip add 65.37.141.34");
        let outside = rule("proto=tcp public=65.37.141.33 ports=23 guest=10.1.2.155");
        refusal(state.add_rule(&config, outside), "no address of a guest");
        let itself = rule("proto=tcp public=65.37.141.33 ports=23 guest=10.1.1.1");
        refusal(state.add_rule(&config, itself), "no address of a guest");
        assert!(!state.set_rules(&config, vec![ssh]).expect("the same"));
        refusal(state.set_rules(&config, vec![ssh, ssh]), "twice the same");
        assert!(state.set_rules(&config, vec![other]).expect("another"));
        assert!(state.del_rule(&other).expect("closed"));
        assert!(!state.del_rule(&other).expect("closed already"));
    }

    #[test]
    fn the_file() {
        let directory = std::env::temp_dir().join(format!("vn-domr-state-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("state.json");
        assert_eq!(State::load(&path).expect("none"), State::default());
        let (config, mut state) = (example(), State::default());
        state
            .add_lease(&config, lease(A, "10.1.1.56", "a"))
            .expect("a lease");
        let net = words::network("65.37.141.40").expect("an address");
        state.add_address(&config, net).expect("an address");
        let ssh = rule("proto=tcp public=65.37.141.33 ports=22-23 guest=10.1.1.155 to=1022-1023");
        state.add_rule(&config, ssh).expect("a rule");
        state.save(&path).expect("written");
        assert_eq!(State::load(&path).expect("read"), state);
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"addresses":[],"rules":[],"leases":[]}"#,
            r#"{"version":1,"addresses":["x"],"rules":[],"leases":[]}"#,
            r#"{"version":1,"addresses":[],"rules":[],"leases":[{"mac":"02:00:00:05:00:56","ip":"10.1.1.56","name":"a\nb"}]}"#,
        ] {
            fs::write(&path, bad).expect("written");
            assert!(State::load(&path).is_err(), "{bad}");
        }
        fs::remove_dir_all(&directory).expect("removed");
        assert!(state.save(&path).is_err());
    }
}
