// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Starting a routing domain: three interfaces, keys behind its initrd, and all that it is to know in its kernel's command line.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use vnet_core::VnetId;
use vnet_core::mac::Mac;
use vnet_netlink::Endpoint;

use super::config::{Config, Kind};
use super::image::{self, Boot};
use super::record::{Nic, Record, Role};
use super::remote::{self, Domr};
use super::vm::{Machine, Started};
use super::words::{self, Names};
use super::{dad, keys, net, refuse, vm};
use crate::failure::Attempt;
use crate::files;
use crate::undo::Undo;
use crate::until::until;

/// An interface of a routing domain.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
    pub(crate) mask: Ipv4Addr,
    pub(crate) bridge: String,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) image: PathBuf,
    pub(crate) name: String,
    pub(crate) vnet: VnetId,
    pub(crate) memory: u32,
    pub(crate) cpus: u32,
    /// On the vnet, the private and the public side.
    pub(crate) interfaces: [Interface; 3],
    pub(crate) gateway: Ipv4Addr,
    pub(crate) names: Names,
    pub(crate) kind: Option<Kind>,
    pub(crate) bounce: bool,
    /// How long it may take to answer; not at all if there is none.
    pub(crate) answer: Option<Duration>,
}

impl Request {
    fn check(&self) -> anyhow::Result<()> {
        let [guests, private, public] = &self.interfaces;
        if !words::one_network(public.address, self.gateway, public.mask)
            || public.address == self.gateway
        {
            return refuse(
                format!(
                    "the gateway {} is no other host in the public network, {} with mask {}",
                    self.gateway, public.address, public.mask
                ),
                "see addresses and mask of the public side",
            );
        }
        for (a, b) in [(guests, private), (guests, public), (private, public)] {
            if words::one_network(a.address, b.address, a.mask)
                || words::one_network(a.address, b.address, b.mask)
            {
                return refuse(
                    format!("{} and {} are in one network", a.address, b.address),
                    "the three interfaces are in three networks",
                );
            }
            if a.mac == b.mac {
                return refuse(
                    format!("{} is given to two interfaces", a.mac),
                    "each has an address of its own",
                );
            }
        }
        for interface in [private, public] {
            net::need_bridge(&interface.bridge)?;
        }
        Ok(())
    }

    /// The command line of its kernel.
    fn words(&self, mtu: Option<u32>) -> String {
        let mut text = Vec::new();
        for (number, interface) in self.interfaces.iter().enumerate() {
            let Interface {
                mac, address, mask, ..
            } = interface;
            text.push(format!(
                "eth{number}ip={address} eth{number}mask={mask} eth{number}mac={mac}"
            ));
        }
        // Else no more than half of the memory is there for what the initrd holds.
        text.push("rootfstype=ramfs".to_owned());
        text.push(format!("gateway={}", self.gateway));
        text.extend(mtu.map(|mtu| format!("eth0mtu={mtu}")));
        text.extend(self.names.dns1.map(|dns| format!("dns1={dns}")));
        text.extend(self.names.dns2.map(|dns| format!("dns2={dns}")));
        text.extend(
            self.names
                .domain
                .as_ref()
                .map(|domain| format!("domain={domain}")),
        );
        text.join(" ")
    }

    fn machine(&self) -> anyhow::Result<(Machine, PathBuf)> {
        self.check()?;
        let mut image = image::find(&self.image, &self.name)?;
        let Boot::Kernel {
            initrd: initrd @ Some(_),
            ..
        } = &mut image.boot
        else {
            return refuse(
                format!("{} has no vmlinuz* and initrd*", self.image.display()),
                "a routing domain's image is made with: make domr-image",
            );
        };
        let directory = remote::directory(&self.name);
        let shipped = initrd.replace(directory.join("initrd")).unwrap_or_default();
        let nics: Vec<_> = self
            .interfaces
            .iter()
            .map(|interface| Nic {
                mac: interface.mac.to_string(),
                bridge: interface.bridge.clone(),
            })
            .collect();
        let config = Config {
            name: self.name.clone(),
            kind: self.kind.unwrap_or(Kind::Pv),
            image,
            memory: self.memory,
            vcpus: self.cpus,
            cap: 0,
            nics: nics.clone(),
            rate: 0,
            screen: None,
            words: self.words(None),
        };
        let record = Record {
            name: self.name.clone(),
            role: Role::Domr,
            vnet: self.vnet.to_string(),
            image: self.image.clone(),
            memory: self.memory,
            nics,
            address: self.interfaces[1].address,
            lease: None,
            console: None,
            password: None,
            flood: 0,
            complete: false,
        };
        let machine = Machine {
            record,
            config,
            vnet: self.vnet,
            bounce: self.bounce,
        };
        Ok((machine, shipped))
    }
}

/// Starts it, and waits until it answers.
pub(crate) fn run(
    endpoint: &Endpoint,
    request: &Request,
    dry_run: bool,
) -> anyhow::Result<(Vec<String>, Option<Started>)> {
    let what = Attempt::new(format_args!("run {}", request.name));
    let run = || {
        let (machine, initrd) = request.machine()?;
        if dry_run {
            return Ok((vm::plan(endpoint, &machine)?, None));
        }
        let domain = vm::start(
            endpoint,
            machine,
            |machine, mtu, undo| {
                machine.config.words = request.words(mtu);
                prepare(request, &initrd, undo)
            },
            |machine, undo| wait(request, machine, undo),
        )?;
        let started = Started {
            name: domain.name,
            domid: domain.id,
            console: None,
            password: None,
        };
        Ok((Vec::new(), Some(started)))
    };
    run().map_err(|error: anyhow::Error| error.context(what))
}

/// Looks whether its addresses are free, and makes its keys and its initrd.
fn prepare(request: &Request, initrd: &PathBuf, undo: &mut Undo) -> anyhow::Result<()> {
    for interface in &request.interfaces {
        undo.check()?;
        dad::refuse_used(interface.address, &interface.bridge)?;
    }
    let name = request.name.clone();
    undo.push(format!("remove the keys of {name}"), move || {
        forget(&name)?;
        keys::forget(&name)
    })?;
    let mut bytes =
        fs::read(initrd).with_context(|| format!("cannot read {}", initrd.display()))?;
    // The kernel looks for the next archive at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(keys::archive(&request.name)?);
    files::replace(&remote::directory(&request.name).join("initrd"), &bytes)
}

fn wait(request: &Request, machine: &Machine, undo: &Undo) -> anyhow::Result<()> {
    let Some(limit) = request.answer else {
        return Ok(());
    };
    let domr = Domr::new(&request.name, machine.record.address);
    let mut last = None;
    let answered = until(limit, || {
        undo.check()?;
        match remote::call(&domr, &["status"]) {
            Ok(_) => Ok(true),
            Err(error) => {
                last = Some(error);
                Ok(false)
            }
        }
    })?;
    match last {
        Some(error) if !answered => Err(error.context(format!(
            "it runs, and does not answer within {} s",
            limit.as_secs()
        ))),
        _ => Ok(()),
    }
}

/// Removes what was made for a routing domain, but its keys.
pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    let directory = remote::directory(name);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let interface = |mac: &str, address: [u8; 4], mask: [u8; 4], bridge: &str| Interface {
            mac: mac.parse().expect("an address"),
            address: address.into(),
            mask: mask.into(),
            bridge: bridge.to_owned(),
        };
        Request {
            image: "/images/router".into(),
            name: "domR-vnet0008".to_owned(),
            vnet: "0008".parse().expect("an id"),
            memory: 128,
            cpus: 1,
            interfaces: [
                interface(
                    "aa:00:00:05:00:33",
                    [10, 1, 1, 1],
                    [255, 255, 255, 0],
                    "vnbr0008",
                ),
                interface(
                    "06:01:02:03:04:05",
                    [192, 168, 1, 33],
                    [255, 255, 255, 0],
                    "xenbr0",
                ),
                interface(
                    "02:01:02:03:04:05",
                    [65, 37, 141, 33],
                    [255, 255, 255, 128],
                    "xenbr1",
                ),
            ],
            gateway: Ipv4Addr::new(65, 37, 141, 1),
            names: words::names("dns1=192.168.1.254 domain=vmops.org").expect("names"),
            kind: None,
            bounce: false,
            answer: None,
        }
    }

    #[test]
    fn what_its_kernel_is_told() {
        assert_eq!(
            request().words(Some(1436)),
            "eth0ip=10.1.1.1 eth0mask=255.255.255.0 eth0mac=aa:00:00:05:00:33 \
             eth1ip=192.168.1.33 eth1mask=255.255.255.0 eth1mac=06:01:02:03:04:05 \
             eth2ip=65.37.141.33 eth2mask=255.255.255.128 eth2mac=02:01:02:03:04:05 \
             rootfstype=ramfs gateway=65.37.141.1 eth0mtu=1436 dns1=192.168.1.254 domain=vmops.org"
        );
    }

    fn refusal(change: impl FnOnce(&mut Request)) -> String {
        let mut request = request();
        change(&mut request);
        request.check().expect_err("refused").to_string()
    }

    #[test]
    fn what_cannot_be_routed_is_refused() {
        let error = refusal(|request| request.gateway = Ipv4Addr::new(65, 37, 141, 200));
        assert!(
            error.starts_with("the gateway 65.37.141.200 is no other host"),
            "{error}"
        );
        let error = refusal(|request| request.interfaces[1].address = Ipv4Addr::new(10, 1, 1, 7));
        assert_eq!(error, "10.1.1.1 and 10.1.1.7 are in one network");
        let error = refusal(|request| request.interfaces[1].mac = request.interfaces[0].mac);
        assert_eq!(error, "aa:00:00:05:00:33 is given to two interfaces");
        let error = refusal(|request| request.interfaces[1].bridge = "no-such-bridge".to_owned());
        assert_eq!(error, "there is no bridge no-such-bridge");
    }
}
