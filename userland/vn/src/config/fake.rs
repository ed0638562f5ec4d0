// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Configuring a world in memory: files are carried out against it, and any of its changes can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::errno::Errno;
use vnet_core::{Mac, Setting, VnetId};
use vnet_netlink::{
    Error, Host, HostConfig, Link, Net, NetChange, NetConfig, Peer, Refusal, Remote, Varp,
    VarpState,
};

use super::Config;
use super::act::{Act, all_or_nothing};
use super::diff::{Permission, diff};
use super::state::{State, Store};
use crate::failure::{Refused, Report};
use crate::plan::Step;
use crate::world::World;

/// A kernel; the `fail`th change is refused.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fake {
    host: Host,
    peers: BTreeSet<IpAddr>,
    nets: BTreeMap<VnetId, Net>,
    listed: BTreeMap<VnetId, BTreeSet<IpAddr>>,
    statics: BTreeMap<VnetId, BTreeMap<Mac, IpAddr>>,
    links: BTreeMap<String, Link>,
    addresses: Vec<(u32, IpAddr)>,
    index: u32,
    changes: usize,
    fail: Option<usize>,
    /// With the how many-th change vnetd ends.
    end: Option<usize>,
    /// From the how many-th change on vnetd does not answer; what it had is there when it does again.
    silent: Option<usize>,
    /// Before the how many-th step somebody wants the program to end.
    interrupt: Option<usize>,
    steps: usize,
}

fn refusal(errno: Errno) -> Error {
    Error::Refused(Refusal {
        errno,
        text: None,
        missing: None,
        offset: None,
        attribute: None,
    })
}

impl Fake {
    fn new() -> Self {
        let mut fake = Self {
            host: Host {
                port: 1798,
                group: "224.10.0.1".parse().ok(),
                ttl: 64,
                flood: Some(vnet_netlink::Flood::Group),
                dscp: Some(0),
                ..Host::default()
            },
            ..Self::default()
        };
        fake.add("eth0", "");
        fake
    }

    fn add(&mut self, name: &str, kind: &str) {
        self.index += 1;
        let link = Link {
            index: self.index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Link::default()
        };
        self.links.insert(name.to_owned(), link);
    }

    /// A guest's interface on a bridge.
    fn guest(&mut self, name: &str, bridge: &str) {
        self.add(name, "");
        let master = self.links[bridge].index;
        self.at(self.links[name].index).expect("it").master = Some(master);
    }

    fn at(&mut self, index: u32) -> Result<&mut Link, Error> {
        let mut links = self.links.values_mut();
        links
            .find(|link| link.index == index)
            .ok_or_else(|| refusal(Errno::ENODEV))
    }

    fn change(&mut self) -> Result<(), Error> {
        self.changes += 1;
        if Some(self.changes) == self.fail {
            return Err(refusal(Errno::EINVAL));
        }
        Ok(())
    }

    /// A change that vnetd makes. When it ends, all that it had goes with it.
    fn request(&mut self) -> Result<(), Error> {
        self.change()?;
        if self.silent.is_some_and(|silent| self.changes >= silent) {
            return Err(Error::Closed);
        }
        if self.end.is_none_or(|end| self.changes < end) {
            return Ok(());
        }
        let links = self.links.clone();
        *self = Self {
            links,
            index: self.index,
            changes: self.changes,
            end: self.end,
            ..Self::new()
        };
        self.links.retain(|_, link| link.kind != "vnet");
        Err(Error::Closed)
    }

    fn get(&mut self, id: VnetId) -> Result<&mut Net, Error> {
        self.nets.get_mut(&id).ok_or_else(|| refusal(Errno::ENOENT))
    }

    /// What is there, in names: what was made again has another index.
    fn state(&self) -> (String, Vec<(String, Option<String>, bool)>) {
        let mut copy = self.clone();
        let state = State::gather(&mut copy).expect("a state");
        let name = |index: u32| {
            let mut links = self.links.values();
            links
                .find(|link| link.index == index)
                .map(|link| link.name.clone())
        };
        let links = self.links.values();
        let links = links.map(|link| (link.name.clone(), link.master.and_then(name), link.up));
        (state.config().render(), links.collect())
    }

    /// Carries a file out; returns the lines.
    fn apply(&mut self, text: &str, permission: Permission) -> Result<Vec<String>, String> {
        let wanted = Config::parse(text).map_err(|error| error.to_string())?;
        let state = State::gather(self).expect("a state");
        let diff = diff(&wanted, &state, permission).map_err(|error| error.to_string())?;
        all_or_nothing(self, &diff.acts).map_err(|error| Report(&error).to_string())?;
        Ok(diff.lines)
    }
}

impl World for Fake {
    fn nets(&mut self) -> Result<Vec<Net>, Error> {
        Ok(self.nets.values().cloned().collect())
    }

    fn find_net(&mut self, id: VnetId) -> Result<Option<Net>, Error> {
        Ok(self.nets.get(&id).cloned())
    }

    fn net_new(&mut self, config: &NetConfig) -> Result<Net, Error> {
        self.request()?;
        let mut net = Net::new(config.id);
        let default = || config.id.default_ifname().to_string();
        net.ifname = config.ifname.clone().unwrap_or_else(default);
        if self.nets.contains_key(&config.id) || self.links.contains_key(&net.ifname) {
            return Err(refusal(Errno::EEXIST));
        }
        net.mtu = Some(config.change.mtu.unwrap_or(1436));
        net.underlay_mtu = Some(1436);
        for setting in Setting::ALL {
            let value = config.change.settings.get(*setting);
            net.settings
                .set(*setting, Some(value.unwrap_or(setting.default())));
        }
        self.add(&net.ifname, "vnet");
        self.nets.insert(config.id, net.clone());
        Ok(net)
    }

    fn net_del(&mut self, id: VnetId) -> Result<(), Error> {
        self.request()?;
        let net = self
            .nets
            .remove(&id)
            .ok_or_else(|| refusal(Errno::ENOENT))?;
        self.links.remove(&net.ifname);
        self.listed.remove(&id);
        self.statics.remove(&id);
        Ok(())
    }

    fn links(&mut self) -> Result<Vec<Link>, Error> {
        Ok(self.links.values().cloned().collect())
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        Ok(self.links.get(name).cloned())
    }

    fn create_bridge(&mut self, name: &str) -> Result<bool, Error> {
        self.change()?;
        if self.links.contains_key(name) {
            return Ok(false);
        }
        self.add(name, "bridge");
        Ok(true)
    }

    fn delete_link(&mut self, index: u32) -> Result<(), Error> {
        self.change()?;
        self.links.retain(|_, link| link.index != index);
        for link in self.links.values_mut() {
            link.master = link.master.filter(|master| *master != index);
        }
        Ok(())
    }

    fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.change()?;
        self.at(index)?.master = master;
        Ok(())
    }

    fn set_no_address(&mut self, index: u32) -> Result<(), Error> {
        self.change()?;
        self.at(index).map(drop)
    }

    fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error> {
        self.change()?;
        self.at(index)?.up = up;
        Ok(())
    }

    fn check_interrupt(&mut self) -> anyhow::Result<()> {
        self.steps += 1;
        if Some(self.steps) == self.interrupt {
            return Err(Refused::new("interrupted by SIGTERM").into());
        }
        Ok(())
    }
}

impl Store for Fake {
    fn host(&mut self) -> Result<Host, Error> {
        Ok(self.host.clone())
    }

    fn host_set(&mut self, config: &HostConfig) -> Result<(), Error> {
        self.request()?;
        let host = &mut self.host;
        host.port = config.port.unwrap_or(host.port);
        if let Some(group) = config.group {
            host.group = Some(group).filter(|group| !group.is_unspecified());
        }
        host.device = config.device.unwrap_or(host.device);
        host.ttl = config.ttl.unwrap_or(host.ttl);
        host.flood = config.flood.or(host.flood);
        host.dscp = config.dscp.or(host.dscp);
        Ok(())
    }

    fn net_set(&mut self, id: VnetId, change: &NetChange) -> Result<(), Error> {
        self.request()?;
        let net = self.get(id)?;
        net.mtu = change.mtu.or(net.mtu);
        for shown in change.settings.iter() {
            net.settings.set(shown.setting, Some(shown.value));
        }
        Ok(())
    }

    fn peers(&mut self) -> Result<Vec<Peer>, Error> {
        Ok(self.peers.iter().map(|addr| Peer::new(*addr)).collect())
    }

    fn peer_new(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.request()?;
        let new = self.peers.insert(addr);
        new.then_some(()).ok_or_else(|| refusal(Errno::EEXIST))
    }

    fn peer_del(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.request()?;
        let was = self.peers.remove(&addr);
        was.then_some(()).ok_or_else(|| refusal(Errno::ENOENT))
    }

    fn remotes(&mut self, net: VnetId) -> Result<Vec<Remote>, Error> {
        self.get(net)?;
        // One that is not listed, but from which was learned.
        let mut remotes = vec![Remote::new(net, IpAddr::from([192, 0, 2, 77]))];
        for addr in self.listed.get(&net).into_iter().flatten() {
            remotes.push(Remote {
                listed: Some(1),
                ..Remote::new(net, *addr)
            });
        }
        Ok(remotes)
    }

    fn remote_new(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error> {
        self.request()?;
        self.get(net)?;
        let new = self.listed.entry(net).or_default().insert(addr);
        new.then_some(()).ok_or_else(|| refusal(Errno::EEXIST))
    }

    fn remote_del(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error> {
        self.request()?;
        self.get(net)?;
        let was = self.listed.entry(net).or_default().remove(&addr);
        was.then_some(()).ok_or_else(|| refusal(Errno::ENOENT))
    }

    fn varps(&mut self, net: VnetId) -> Result<Vec<Varp>, Error> {
        self.get(net)?;
        let varp = |mac, addr, state| Varp {
            addr: Some(addr),
            state: Some(state),
            ..Varp::new(net, mac)
        };
        let learned = Mac::from_bytes([2, 0, 0, 0, 0, 0x77]);
        let host = IpAddr::from([192, 0, 2, 77]);
        let mut varps = vec![varp(learned, host, VarpState::Learned)];
        for (mac, addr) in self.statics.get(&net).into_iter().flatten() {
            varps.push(varp(*mac, *addr, VarpState::Static));
        }
        Ok(varps)
    }

    fn varp_new(&mut self, net: VnetId, mac: Mac, addr: IpAddr) -> Result<(), Error> {
        self.request()?;
        self.get(net)?;
        self.statics.entry(net).or_default().insert(mac, addr);
        Ok(())
    }

    fn varp_del(&mut self, net: VnetId, mac: Mac) -> Result<(), Error> {
        self.request()?;
        self.get(net)?;
        let was = self.statics.entry(net).or_default().remove(&mac);
        was.map(drop).ok_or_else(|| refusal(Errno::ENOENT))
    }

    fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, Error> {
        Ok(self.addresses.clone())
    }

    fn world(&mut self) -> &mut dyn World {
        self
    }
}

const NONE: Permission = Permission {
    prune: false,
    force: false,
};
const PRUNE: Permission = Permission {
    prune: true,
    force: false,
};
const FORCE: Permission = Permission {
    prune: true,
    force: true,
};

const FIRST: &str = r#"
[host]
device = "eth0"
dscp = 46
peers = ["192.0.2.2", "192.0.2.3"]

[[net]]
id = "5"
bridge = "vnbr0005"
mtu = 1400
unknown = "drop"
remotes = "listed"
listed = ["192.0.2.2"]
[net.static]
"02:00:00:05:00:01" = "192.0.2.3"

[[net]]
id = "6"
ifname = "six"
bridge = "br6"
"#;

const SECOND: &str = r#"
[host]
port = 1799
group = "none"
ttl = "inherit"
flood = "peers"
peers = ["192.0.2.3", "192.0.2.4"]

[[net]]
id = "5"
bridge = "br6"
mtu = 1500
remotes = "listed"
listed = ["192.0.2.4"]
[net.static]
"02:00:00:05:00:01" = "192.0.2.4"

[[net]]
id = "7"
bridge = "vnbr0007"
"#;

fn first() -> Fake {
    let mut fake = Fake::new();
    fake.apply(FIRST, NONE).expect("the first");
    fake
}

#[test]
fn everything_is_made_and_twice_is_no_change() {
    let mut fake = Fake::new();
    assert_eq!(
        fake.apply(FIRST, NONE).expect("done"),
        [
            "~ host device none -> eth0",
            "~ host dscp 0 -> 46",
            "+ peer 192.0.2.2",
            "+ peer 192.0.2.3",
            "+ net 0005",
            "+ bridge vnbr0005",
            "+ net 0006",
            "+ bridge br6",
        ]
    );
    let bridge = fake.links["vnbr0005"].clone();
    let device = &fake.links["vnif0005"];
    assert!(bridge.up && device.up && device.master == Some(bridge.index));
    let before = fake.clone();
    for permission in [NONE, PRUNE] {
        assert_eq!(fake.apply(FIRST, permission), Ok(Vec::new()));
    }
    assert_eq!(fake, before);
}

#[test]
fn what_is_exported_and_applied_is_no_change() {
    let mut gone = first();
    gone.host.device = 99;
    for mut fake in [Fake::new(), first(), gone] {
        // Nobody's business: a device that is down, a guest.
        fake.add("x", "bridge");
        let text = State::gather(&mut fake).expect("a state").config().render();
        let before = fake.clone();
        assert_eq!(fake.apply(&text, PRUNE), Ok(Vec::new()), "{text}");
        assert_eq!(fake, before);
        // And makes the same elsewhere, unless it says nothing of a device that is gone.
        let mut other = Fake::new();
        other.apply(&text, NONE).expect("done");
        if fake.host.device != 99 {
            assert_eq!(other.state().0, text);
        }
    }
}

#[test]
fn without_prune_nothing_is_removed() {
    let mut fake = first();
    assert_eq!(
        fake.apply("", NONE),
        Ok(Vec::new()),
        "an empty file says nothing"
    );
    let text = "[[net]]\nid = \"5\"";
    assert_eq!(
        fake.apply(text, NONE).expect("done"),
        [
            "~ net 0005 unknown drop -> hold",
            "~ net 0005 remotes listed -> any",
        ]
    );
    let error = fake
        .apply(SECOND, NONE)
        .expect_err("a bridge that is taken");
    assert!(
        error.contains("bridge br6 has six of vnet 0006 as a port"),
        "{error}"
    );
}

#[test]
fn with_prune_all_is_as_the_file_says() {
    let mut fake = first();
    assert_eq!(
        fake.apply(SECOND, PRUNE).expect("done"),
        [
            "~ host port 1798 -> 1799",
            "~ host group 224.10.0.1 -> none",
            "~ host ttl 64 -> inherit",
            "~ host flood group -> peers",
            "- peer 192.0.2.2",
            "+ peer 192.0.2.4",
            "- net 0006",
            "- net 0005 listed 192.0.2.2",
            "+ net 0005 listed 192.0.2.4",
            "~ net 0005 static 02:00:00:05:00:01 192.0.2.3 -> 192.0.2.4",
            "~ net 0005 mtu 1400 -> 1500",
            "~ net 0005 unknown drop -> hold",
            "~ net 0005 bridge vnbr0005 -> br6",
            "- bridge vnbr0005",
            "+ net 0007",
            "+ bridge vnbr0007",
        ]
    );
    assert!(!fake.links.contains_key("vnbr0005") && !fake.links.contains_key("six"));
    assert_eq!(fake.links["vnif0005"].master, Some(fake.links["br6"].index));
    assert_eq!(fake.apply(SECOND, PRUNE), Ok(Vec::new()));
    fake.apply("", PRUNE).expect("done");
    let left: Vec<_> = fake.links.keys().map(String::as_str).collect();
    // The bridge of another name is left.
    assert_eq!(left, ["br6", "eth0"]);
    assert!(fake.nets.is_empty() && fake.peers.is_empty());
}

#[test]
fn whatever_fails_all_is_as_it_was() {
    for (from, to) in [("", FIRST), (FIRST, SECOND), (FIRST, ""), (SECOND, FIRST)] {
        let mut before = Fake::new();
        before.apply(from, PRUNE).expect("the beginning");
        before.guest(
            "vif1.0",
            if before.links.contains_key("br6") {
                "br6"
            } else {
                "eth0"
            },
        );
        before.changes = 0;
        let mut done = before.clone();
        done.apply(to, FORCE).expect("done");
        assert_ne!(done.state(), before.state());
        for fail in 1..=done.changes {
            let mut fake = before.clone();
            fake.fail = Some(fail);
            let error = fake.apply(to, FORCE).expect_err("a failure");
            assert!(
                error.starts_with("vn: nothing was changed: cannot "),
                "{error}"
            );
            assert!(!error.contains("while undoing"), "{error}");
            assert_eq!(
                fake.state(),
                before.state(),
                "failure of change {fail}: {error}"
            );
        }
    }
}

#[test]
fn whenever_it_is_interrupted_all_is_as_it_was() {
    for (from, to) in [("", FIRST), (FIRST, SECOND), (FIRST, "")] {
        let mut before = Fake::new();
        before.apply(from, PRUNE).expect("the beginning");
        before.steps = 0;
        let mut done = before.clone();
        done.apply(to, FORCE).expect("done");
        for step in 1..=done.steps {
            let mut fake = before.clone();
            fake.interrupt = Some(step);
            let error = fake.apply(to, FORCE).expect_err("an interruption");
            assert!(
                error.starts_with("vn: nothing was changed: interrupted by SIGTERM"),
                "{error}"
            );
            assert_eq!(fake.state(), before.state(), "before step {step}: {error}");
        }
        let mut fake = before.clone();
        fake.interrupt = Some(done.steps + 1);
        fake.apply(to, FORCE).expect("it comes too late");
        assert_eq!(fake.state(), done.state());
    }
}

#[test]
fn when_vnetd_ends_that_is_told_and_the_same_again_does_all() {
    let mut done = Fake::new();
    done.apply(FIRST, NONE).expect("done");
    for end in 1..=done.changes {
        let mut fake = Fake::new();
        fake.end = Some(end);
        // It may end before a step that is not its own, and after its last.
        match fake.apply(FIRST, NONE) {
            Ok(_) => assert_eq!(fake.state(), done.state()),
            Err(error) => {
                assert!(error.contains("vnetd closed the connection"), "{error}");
                assert!(error.contains("start it, and give the same"), "{error}");
                assert!(!error.contains("nothing was changed"), "{error}");
                let undone = error.matches("while undoing").count();
                assert_eq!(error.matches("vn: ").count(), 1 + undone, "{error}");
            }
        }
        fake.end = None;
        let links: Vec<_> = fake.links.keys().map(String::as_str).collect();
        assert!(fake.nets.len() == 2 || links == ["eth0"], "{links:?}");
        fake.apply(FIRST, NONE).expect("the same again");
        assert_eq!(fake.state(), done.state(), "end with change {end}");
    }
}

#[test]
fn when_vnetd_comes_back_with_what_it_had_the_same_again_does_the_rest() {
    for (from, to) in [("", FIRST), (FIRST, SECOND), (FIRST, "")] {
        let mut before = Fake::new();
        before.apply(from, PRUNE).expect("the beginning");
        before.changes = 0;
        let mut done = before.clone();
        done.apply(to, FORCE).expect("done");
        for silent in 1..=done.changes {
            let mut fake = before.clone();
            fake.silent = Some(silent);
            if let Err(error) = fake.apply(to, FORCE) {
                assert!(error.contains("vnetd closed the connection"), "{error}");
                assert!(!error.contains("nothing was changed"), "{error}");
            }
            fake.silent = None;
            fake.apply(to, FORCE).expect("the same again");
            // Whose vnet had gone already: that is what cleanup is for.
            let links = fake.links.clone();
            let is_port = |bridge: &Link| links.values().any(|l| l.master == Some(bridge.index));
            let is_left = |link: &Link| link.name == "vnbr0005" && !is_port(link);
            fake.links.retain(|_, link| !is_left(link));
            assert_eq!(fake.state(), done.state(), "no answer to change {silent}");
        }
    }
}

/// The steps from one file to another.
fn acts(from: &str, to: &str) -> Vec<Act> {
    let mut fake = Fake::new();
    fake.apply(from, PRUNE).expect("the beginning");
    let state = State::gather(&mut fake).expect("a state");
    let wanted = Config::parse(to).expect("a file");
    diff(&wanted, &state, FORCE).expect("a difference").acts
}

#[test]
fn who_may_send_before_and_after_may_in_between() {
    let any = "[[net]]\nid = \"0005\"\n";
    let listed = "[[net]]\nid = \"0005\"\nremotes = \"listed\"\nlisted = [\"192.0.2.2\"]\n";
    assert!(matches!(
        acts(listed, any)[..],
        [Act::NetSet { .. }, Act::Unlist { .. }]
    ));
    assert!(matches!(
        acts(any, listed)[..],
        [Act::List { .. }, Act::NetSet { .. }]
    ));
}

#[test]
fn bridges_are_deleted_when_nothing_else_can_fail() {
    for (from, to) in [(FIRST, SECOND), (FIRST, "")] {
        let acts = acts(from, to);
        let is_deletion = |act: &Act| matches!(act, Act::Step(Step::DeleteBridge(_)));
        let first = acts.iter().position(is_deletion).expect("a deletion");
        assert!(acts[first..].iter().all(is_deletion), "{acts:?}");
    }
}

#[test]
fn a_vnet_that_cannot_be_made_again_is_not_removed() {
    let mut fake = first();
    let id = "0006".parse().expect("an id");
    fake.nets.get_mut(&id).expect("it").netnsid = Some(1);
    let before = fake.state();
    let error = fake.apply("", FORCE).expect_err("refused");
    assert!(
        error.contains("was moved to another network namespace"),
        "{error}"
    );
    assert_eq!(fake.state(), before);
}

#[test]
fn a_bridge_with_addresses_is_not_deleted() {
    let mut fake = first();
    let (bridge, other) = (fake.links["vnbr0005"].index, fake.links["eth0"].index);
    for addr in ["192.0.2.9", "2001:db8::9"] {
        fake.addresses.push((bridge, addr.parse().expect("one")));
    }
    fake.addresses
        .push((other, "192.0.2.1".parse().expect("one")));
    let before = fake.clone();
    for text in ["", SECOND, "[[net]]\nid = \"5\""] {
        let error = fake.apply(text, FORCE).expect_err("addresses");
        assert!(
            error.contains("bridge vnbr0005 would be deleted, and has 192.0.2.9, 2001:db8::9"),
            "{error}"
        );
        assert_eq!(fake, before);
    }
    // It may stay as it is, and so may a vnet's place on it.
    assert_eq!(fake.apply(FIRST, FORCE), Ok(Vec::new()));
    fake.addresses.retain(|(index, _)| *index != bridge);
    fake.apply("", FORCE).expect("done");
    assert!(!fake.links.contains_key("vnbr0005"));
}

#[test]
fn guests_are_not_cut_off_unless_forced() {
    let mut fake = first();
    fake.guest("vif1.0", "vnbr0005");
    let before = fake.clone();
    for text in ["", SECOND, "[[net]]\nid = \"5\""] {
        let error = fake.apply(text, PRUNE).expect_err("a guest");
        assert!(
            error.contains(
                "vnet 0005 would be taken off bridge vnbr0005, to which vif1.0 is attached"
            ),
            "{error}"
        );
        assert_eq!(fake, before);
    }
    fake.apply("", FORCE).expect("done");
    assert_eq!(fake.links["vif1.0"].master, None);
    assert!(!fake.links.contains_key("vnbr0005"));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let mut fake = first();
    fake.add("dummy", "dummy");
    let before = fake.clone();
    for (text, words) in [
        ("[host]\ndevice = \"eth9\"", "there is no device eth9"),
        (
            "[[net]]\nid = \"5\"\nifname = \"x\"",
            "cannot be renamed to x",
        ),
        (
            "[[net]]\nid = \"8\"\nbridge = \"dummy\"",
            "dummy exists and is not a bridge",
        ),
        (
            "[[net]]\nid = \"8\"\nbridge = \"br6\"",
            "the two would be joined",
        ),
    ] {
        let error = fake.apply(text, NONE).expect_err(text);
        assert!(error.contains(words), "{error}");
        assert_eq!(fake, before);
    }
    fake.nets.values_mut().next().expect("a vnet").netnsid = Some(1);
    let error = fake.apply(FIRST, NONE).expect_err("moved");
    assert!(
        error.contains("was moved to another network namespace"),
        "{error}"
    );
}

#[test]
fn two_vnets_change_places() {
    let mut fake = first();
    let text =
        "[[net]]\nid=\"5\"\nbridge=\"br6\"\n[[net]]\nid=\"6\"\nifname=\"six\"\nbridge=\"vnbr0005\"";
    fake.apply(text, NONE).expect("done");
    assert_eq!(fake.links["vnif0005"].master, Some(fake.links["br6"].index));
    assert_eq!(fake.links["six"].master, Some(fake.links["vnbr0005"].index));
}
