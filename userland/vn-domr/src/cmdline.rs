// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The kernel's command line: what the routing domain is told at its start. Words that are not listed here are the kernel's.
//!
//! `eth0ip=` `eth0mask=`, the same for eth1 and eth2, `gateway=`; and, if wanted, `eth0mac=` …, `eth0mtu=`, `dns1=` `dns2=` `domain=`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, bail, ensure};
use vnet_core::mac::Mac;

use crate::words::{self, Network};

/// The devices, by what they are for.
pub(crate) const DEVICES: [&str; 3] = [GUESTS, PRIVATE, PUBLIC];
/// The device on the vnet.
pub(crate) const GUESTS: &str = "eth0";
/// The device on the private network, from which the domR is managed.
pub(crate) const PRIVATE: &str = "eth1";
/// The device on the public network.
pub(crate) const PUBLIC: &str = "eth2";

/// What one device is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) network: Network,
    /// Which device it is; else it is the one that has its name.
    pub(crate) mac: Option<Mac>,
}

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// In the order of `DEVICES`.
    pub(crate) interfaces: [Interface; 3],
    /// The next hop on the public side.
    pub(crate) gateway: Ipv4Addr,
    /// The largest packet on the vnet, bytes.
    pub(crate) mtu: Option<u16>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) domain: Option<String>,
}

impl Config {
    /// Reads it.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        // As in the kernel, what is said last holds.
        let words: BTreeMap<_, _> = text
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .collect();
        let missing: Vec<_> = DEVICES
            .iter()
            .flat_map(|device| [format!("{device}ip"), format!("{device}mask")])
            .chain(["gateway".to_owned()])
            .filter(|key| !words.contains_key(key.as_str()))
            .collect();
        ensure!(
            missing.is_empty(),
            "the kernel's command line lacks {}",
            missing.join(", ")
        );
        let value = |key: &str| words.get(key).copied();
        let dns = ["dns1", "dns2"]
            .iter()
            .filter_map(|key| Some((*key, value(key)?)));
        let config = Self {
            interfaces: [
                interface(&words, GUESTS)?,
                interface(&words, PRIVATE)?,
                interface(&words, PUBLIC)?,
            ],
            gateway: words::address(value("gateway").unwrap_or_default()).context("gateway")?,
            mtu: value("eth0mtu").map(mtu).transpose().context("eth0mtu")?,
            dns: dns
                .map(|(key, text)| words::address(text).context(key))
                .collect::<anyhow::Result<_>>()?,
            domain: value("domain").map(words::domain).transpose()?,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let [guests, private, public] = self.interfaces.each_ref().map(|i| i.network);
        for (a, b, names) in [
            (guests, private, "eth0 and eth1"),
            (guests, public, "eth0 and eth2"),
            (private, public, "eth1 and eth2"),
        ] {
            ensure!(!a.overlaps(b), "{names} are in one network: {a} and {b}");
        }
        ensure!(
            public.has_host(self.gateway) && self.gateway != public.address,
            "the gateway {} is no other host in eth2's network, {public}",
            self.gateway
        );
        let macs: Vec<_> = self.interfaces.iter().filter_map(|i| i.mac).collect();
        for (index, mac) in macs.iter().enumerate() {
            ensure!(
                !macs[..index].contains(mac),
                "{mac} is given for two devices"
            );
        }
        Ok(())
    }

    /// Address and network on the vnet.
    pub(crate) fn guests(&self) -> Network {
        self.interfaces[0].network
    }

    /// Address and network on the private side.
    pub(crate) fn private(&self) -> Network {
        self.interfaces[1].network
    }

    /// Address and network on the public side.
    pub(crate) fn public(&self) -> Network {
        self.interfaces[2].network
    }

    /// The words again, for those who come later.
    pub(crate) fn text(&self) -> String {
        let mut words = Vec::new();
        for (device, interface) in DEVICES.iter().zip(&self.interfaces) {
            let network = interface.network;
            words.push(format!(
                "{device}ip={} {device}mask={}",
                network.address,
                network.netmask()
            ));
            words.extend(interface.mac.map(|mac| format!("{device}mac={mac}")));
        }
        words.push(format!("gateway={}", self.gateway));
        words.extend(self.mtu.map(|mtu| format!("eth0mtu={mtu}")));
        for (number, server) in self.dns.iter().enumerate() {
            words.push(format!("dns{}={server}", number + 1));
        }
        words.extend(self.domain.iter().map(|domain| format!("domain={domain}")));
        words.join(" ")
    }
}

fn interface(words: &BTreeMap<&str, &str>, device: &str) -> anyhow::Result<Interface> {
    let key = |what: &str| format!("{device}{what}");
    let value = |key: &str| words.get(key).copied();
    let address =
        words::address(value(&key("ip")).unwrap_or_default()).with_context(|| key("ip"))?;
    let mask = value(&key("mask")).unwrap_or_default();
    let Ok(mask) = mask.parse() else {
        bail!("{device}mask: {mask:?} is not a netmask");
    };
    let network = Network::masked(address, mask).with_context(|| key("mask"))?;
    ensure!(
        network.has_host(address),
        "{device}ip: {network} is not an address of a host in its network"
    );
    let mac = value(&key("mac"))
        .map(words::mac)
        .transpose()
        .with_context(|| key("mac"))?;
    Ok(Interface { network, mac })
}

fn mtu(text: &str) -> anyhow::Result<u16> {
    match text.parse() {
        Ok(mtu @ 576..=9216) => Ok(mtu),
        _ => bail!("{text:?} is not the size of a packet, which is 576 to 9216"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What `vn domr run` says for the example of the old README.
    pub(crate) const EXAMPLE: &str = "console=hvc0 quiet eth0ip=10.1.1.1 eth0mask=255.255.255.0 eth0mac=aa:00:00:05:00:33 \
         eth1ip=192.168.1.33 eth1mask=255.255.255.0 eth1mac=06:01:02:03:04:05 eth2ip=65.37.141.33 eth2mask=255.255.255.128 \
         eth2mac=02:01:02:03:04:05 gateway=65.37.141.1 dns1=192.168.1.254 dns2=207.69.188.186 domain=vmops.org";

    pub(crate) fn example() -> Config {
        Config::parse(EXAMPLE).expect("the example")
    }

    fn with(from: &str, to: &str) -> Result<Config, String> {
        assert!(EXAMPLE.contains(from), "{from}");
        Config::parse(&EXAMPLE.replace(from, to)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_example() {
        let config = example();
        assert_eq!(config.guests().to_string(), "10.1.1.1/24");
        assert_eq!(config.private().to_string(), "192.168.1.33/24");
        assert_eq!(config.public().to_string(), "65.37.141.33/25");
        assert_eq!(config.dns.len(), 2);
        assert_eq!(config.domain.as_deref(), Some("vmops.org"));
        assert_eq!(config.mtu, None);
        let more = format!("{EXAMPLE} eth0mtu=1436");
        assert_eq!(Config::parse(&more).expect("an MTU").mtu, Some(1436));
        for text in [EXAMPLE.to_owned(), more] {
            let config = Config::parse(&text).expect("a configuration");
            assert_eq!(Config::parse(&config.text()).ok(), Some(config));
        }
    }

    #[test]
    fn what_need_not_be_said() {
        let config = with(" domain=vmops.org", "").expect("no domain");
        assert_eq!(config.domain, None);
        assert_eq!(
            with("dns1=192.168.1.254", "")
                .expect("one server")
                .dns
                .len(),
            1
        );
        let config = with("eth1mac=06:01:02:03:04:05", "").expect("no address");
        assert_eq!(config.interfaces[1].mac, None);
        let last = with("quiet", "quiet eth0ip=10.1.1.7").expect("twice");
        assert_eq!(last.guests().address, Ipv4Addr::new(10, 1, 1, 1));
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let error = Config::parse("quiet eth0ip=10.1.1.1").expect_err("nothing");
        assert_eq!(
            error.to_string(),
            "the kernel's command line lacks eth0mask, eth1ip, eth1mask, eth2ip, eth2mask, gateway"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, says) in [
            ("eth0ip=10.1.1.1", "eth0ip=10.1.1.0", "eth0ip"),
            ("eth0ip=10.1.1.1", "eth0ip=", "eth0ip"),
            ("eth1ip=192.168.1.33", "eth1ip=10.1.1.33", "eth0 and eth1"),
            (
                "eth2mask=255.255.255.128",
                "eth2mask=65.37.141.128",
                "eth2mask",
            ),
            ("eth2mask=255.255.255.128", "eth2mask=x", "eth2mask"),
            ("gateway=65.37.141.1", "gateway=65.37.141.129", "gateway"),
            ("gateway=65.37.141.1", "gateway=65.37.141.33", "gateway"),
            ("gateway=65.37.141.1", "gateway=gateway", "gateway"),
            ("dns2=207.69.188.186", "dns2=x", "dns2"),
            ("domain=vmops.org", "domain=a=b", "domain name"),
            ("domain=vmops.org", "domain=", "domain name"),
            (
                "eth0mac=aa:00:00:05:00:33",
                "eth0mac=ab:00:00:05:00:33",
                "eth0mac",
            ),
            (
                "eth0mac=aa:00:00:05:00:33",
                "eth0mac=06:01:02:03:04:05",
                "two devices",
            ),
            ("quiet", "eth0mtu=99999", "eth0mtu"),
        ] {
            let error = with(from, to).expect_err(to);
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
