// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The three network devices: which is which, and their addresses.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use serde::Deserialize;
use vnet_core::mac::Mac;

use crate::cmdline::{Config, DEVICES, PUBLIC};
use crate::program;
use crate::say;
use crate::state::State;
use crate::words::Network;

/// How long devices may take to appear: a driver finds them while the system goes on.
const APPEAR: Duration = Duration::from_secs(60);
/// RTNLGRP_LINK, as the bit that it is in an address.
const LINK_GROUP: u32 = 1;

/// A device, as `ip -json link` has it.
#[derive(Clone, Debug, Deserialize)]
struct Link {
    ifindex: u32,
    ifname: String,
    #[serde(default)]
    link_type: String,
    #[serde(default)]
    address: String,
}

/// Which of these devices are the three. Those with an Ethernet address are found by it, others by name, or else they are the first
/// that are left. `None` if one is not there.
fn assign(links: &[Link], wanted: [Option<Mac>; 3]) -> Option<[String; 3]> {
    let mut left: Vec<_> = links
        .iter()
        .filter(|link| link.link_type == "ether")
        .collect();
    left.sort_by_key(|link| link.ifindex);
    let mut found: [Option<String>; 3] = Default::default();
    let mut take = |found: &mut Option<String>, which: &dyn Fn(&Link) -> bool| {
        if found.is_some() {
            return;
        }
        if let Some(place) = left.iter().position(|link| which(link)) {
            *found = Some(left.remove(place).ifname.clone());
        }
    };
    for (found, mac) in found.iter_mut().zip(wanted) {
        if let Some(mac) = mac {
            take(found, &|link| link.address.parse() == Ok(mac));
        }
    }
    for (found, (mac, name)) in found.iter_mut().zip(wanted.into_iter().zip(DEVICES)) {
        if mac.is_none() {
            take(found, &|link| link.ifname == name);
        }
    }
    for (found, mac) in found.iter_mut().zip(wanted) {
        if mac.is_none() {
            take(found, &|_| true);
        }
    }
    let [Some(a), Some(b), Some(c)] = found else {
        return None;
    };
    Some([a, b, c])
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    program::run("ip", arguments)
}

fn links() -> anyhow::Result<Vec<Link>> {
    let text = ip(&["-json", "link", "show"])?;
    serde_json::from_str(&text).context("cannot read what ip says of devices")
}

/// Waits until the three devices are there, and gives them their names.
fn name(config: &Config) -> anyhow::Result<()> {
    let wanted = config.interfaces.each_ref().map(|interface| interface.mac);
    let news = News::new()?;
    let deadline = Instant::now() + APPEAR;
    let found = loop {
        let links = links()?;
        if let Some(found) = assign(&links, wanted) {
            break found;
        }
        if !news.wait(deadline)? {
            let there: Vec<_> = links
                .iter()
                .map(|link| format!("{} {}", link.ifname, link.address))
                .collect();
            let wanted: Vec<_> = DEVICES
                .iter()
                .zip(wanted)
                .map(|(name, mac)| {
                    format!(
                        "{name} {}",
                        mac.map_or("any".to_owned(), |mac| mac.to_string())
                    )
                })
                .collect();
            bail!(
                "the network devices are not there: wanted {}; there are {}",
                wanted.join(", "),
                there.join(", ")
            );
        }
    };
    // By way of names that no other device has: two may have to swap theirs.
    let moved: Vec<_> = found
        .iter()
        .zip(DEVICES)
        .filter(|(old, new)| old != new)
        .collect();
    for (old, new) in &moved {
        ip(&["link", "set", old, "down"])?;
        ip(&["link", "set", old, "name", &format!("{new}.new")])?;
    }
    // What has one of their names and is none of them.
    for (_, new) in &moved {
        if links()?.iter().any(|link| link.ifname == *new) {
            ip(&["link", "set", new, "down"])?;
            ip(&["link", "set", new, "name", &format!("{new}.old")])?;
        }
    }
    for (_, new) in &moved {
        ip(&["link", "set", &format!("{new}.new"), "name", new])?;
    }
    Ok(())
}

/// Gives the devices their names and addresses, and turns on what is in between. All of it may be so already.
pub(crate) fn bring_up(config: &Config, state: &State) -> anyhow::Result<()> {
    name(config)?;
    set("net/ipv4/ip_forward", "0")?;
    for (device, interface) in DEVICES.iter().zip(&config.interfaces) {
        for (what, value) in [
            // Sources are believed only where answers to them go.
            ("rp_filter", "1"),
            // A device answers for its own address, not for those of the others.
            ("arp_ignore", "1"),
            ("arp_announce", "2"),
            // Others stay when the first address of a network goes.
            ("promote_secondaries", "1"),
            // A guest that reaches another by its public address is to go on doing so.
            ("send_redirects", "0"),
            ("accept_redirects", "0"),
            ("accept_source_route", "0"),
        ] {
            set(&format!("net/ipv4/conf/{device}/{what}"), value)?;
        }
        // A kernel without IPv6 does not have it.
        let _ = set(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1");
        ip(&[
            "addr",
            "replace",
            &interface.network.to_string(),
            "broadcast",
            "+",
            "dev",
            device,
        ])?;
    }
    // The stricter of this and a device's own holds.
    set("net/ipv4/conf/all/send_redirects", "0")?;
    if let Some(mtu) = config.mtu {
        ip(&["link", "set", DEVICES[0], "mtu", &mtu.to_string()])?;
    }
    ip(&["link", "set", "lo", "up"])?;
    for device in DEVICES {
        ip(&["link", "set", device, "up"])?;
    }
    let gateway = config.gateway.to_string();
    ip(&[
        "route", "replace", "default", "via", &gateway, "dev", PUBLIC,
    ])?;
    for address in &state.addresses {
        add(address.0)?;
    }
    set("net/ipv4/ip_forward", "1")
}

fn set(name: &str, value: &str) -> anyhow::Result<()> {
    fs::write(format!("/proc/sys/{name}"), value)
        .with_context(|| format!("cannot set {name} to {value}"))
}

/// Gives the public side an address.
pub(crate) fn add(address: Network) -> anyhow::Result<()> {
    ip(&["addr", "replace", &address.to_string(), "dev", PUBLIC]).map(drop)
}

/// Takes it away; it may be away.
pub(crate) fn del(address: Network) -> anyhow::Result<()> {
    let address = address.to_string();
    if has(&address)? {
        ip(&["addr", "del", &address, "dev", PUBLIC])?;
    }
    Ok(())
}

fn has(address: &str) -> anyhow::Result<bool> {
    let text = ip(&["-oneline", "addr", "show", "dev", PUBLIC])?;
    Ok(text
        .lines()
        .any(|line| line.split_whitespace().any(|word| word == address)))
}

/// Tells the neighbours on the public side where an address is now: they may remember another host.
pub(crate) fn announce(address: Network) {
    let address = address.address.to_string();
    if let Err(error) = program::detach(
        "arping",
        &["-q", "-U", "-c", "3", "-w", "3", "-I", PUBLIC, &address],
    ) {
        say(format_args!("cannot announce {address}: {error:#}"));
    }
}

/// Told when devices come.
struct News(OwnedFd);

impl News {
    fn new() -> anyhow::Result<Self> {
        let failed = "cannot listen for devices";
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )
        .context(failed)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP)).context(failed)?;
        Ok(Self(socket))
    }

    /// Waits until something has happened. False if the time is over.
    fn wait(&self, deadline: Instant) -> anyhow::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let woken = poll(&mut waiting, timeout).context("cannot wait for devices")?;
        let mut buffer = [0; 8192];
        // What it was does not matter, and neither does an overrun: everything is looked at again.
        while recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).is_ok() {}
        Ok(woken > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, ifname: &str, address: &str) -> Link {
        Link {
            ifindex,
            ifname: ifname.to_owned(),
            link_type: if ifname == "lo" { "loopback" } else { "ether" }.to_owned(),
            address: address.to_owned(),
        }
    }

    #[test]
    fn which_is_which() {
        let mac = |text: &str| Some(text.parse().expect("a MAC"));
        let (a, b, c) = (
            "02:00:00:00:00:0a",
            "02:00:00:00:00:0b",
            "02:00:00:00:00:0c",
        );
        let links = [
            link(1, "lo", "00:00:00:00:00:00"),
            link(4, "eth0", a),
            link(3, "eth1", b),
            link(2, "eth2", c),
        ];
        let names = |links: &[Link], wanted| assign(links, wanted).map(|names| names.join(" "));
        assert_eq!(names(&links, [None; 3]).as_deref(), Some("eth0 eth1 eth2"));
        assert_eq!(
            names(&links, [mac(c), mac(a), mac(b)]).as_deref(),
            Some("eth2 eth0 eth1")
        );
        assert_eq!(
            names(&links, [mac(b), None, None]).as_deref(),
            Some("eth1 eth0 eth2")
        );
        assert_eq!(
            names(&links, [None, None, mac(a)]).as_deref(),
            Some("eth2 eth1 eth0")
        );
        assert_eq!(names(&links[..3], [None; 3]), None);
        assert_eq!(names(&links, [mac("02:00:00:00:00:0d"), None, None]), None);
        let others = [link(7, "ens3", a), link(9, "ens5", b), link(8, "ens4", c)];
        assert_eq!(names(&others, [None; 3]).as_deref(), Some("ens3 ens4 ens5"));
    }
}
