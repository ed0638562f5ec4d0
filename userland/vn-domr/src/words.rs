// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What names and addresses may be. Nothing else gets into a rule, or into a file that another program reads.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context, bail, ensure};
use vnet_core::mac::Mac;

/// The name of the routing domain among guests.
pub(crate) const GATEWAY_NAME: &str = "gateway";

/// An address and the length of its network's prefix, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) address: Ipv4Addr,
    pub(crate) length: u8,
}

impl Network {
    /// Of a netmask.
    pub(crate) fn masked(address: Ipv4Addr, mask: Ipv4Addr) -> anyhow::Result<Self> {
        let bits = u32::from(mask);
        let length = bits.leading_ones();
        ensure!(
            length > 0 && length + bits.trailing_zeros() == 32,
            "{mask} is not a netmask: it has ones after zeros, or none"
        );
        Ok(Self {
            address,
            length: u8::try_from(length)?,
        })
    }

    fn mask(self) -> u32 {
        let shift = 32_u32.saturating_sub(u32::from(self.length));
        u32::MAX.checked_shl(shift).unwrap_or(0)
    }

    /// Its first address, which is none of a host.
    pub(crate) fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// Its mask.
    pub(crate) fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(self.mask())
    }

    /// Whether an address belongs to it.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.address) & self.mask()
    }

    /// Whether an address can be a host's in it: its first and its last one cannot.
    pub(crate) fn has_host(self, address: Ipv4Addr) -> bool {
        let host = u32::from(address) & !self.mask();
        self.contains(address) && (self.length >= 31 || (host != 0 && host != !self.mask()))
    }

    /// Whether an address is in both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The address of one host.
pub(crate) fn address(text: &str) -> anyhow::Result<Ipv4Addr> {
    let address: Ipv4Addr = text
        .parse()
        .with_context(|| format!("{text:?} is not an IPv4 address"))?;
    let first = address.octets()[0];
    ensure!(
        first != 0 && first < 224 && !address.is_loopback(),
        "{address} is not the address of a host"
    );
    Ok(address)
}

/// An address, and how long its prefix is: 32 unless it is said.
pub(crate) fn network(text: &str) -> anyhow::Result<Network> {
    let (first, length) = text.split_once('/').unwrap_or((text, "32"));
    let length = match length.parse() {
        Ok(length @ 1..=32) => length,
        _ => bail!("{length:?} is not the length of a prefix, which is 1 to 32"),
    };
    let network = Network {
        address: address(first)?,
        length,
    };
    ensure!(
        network.has_host(network.address),
        "{network} is not an address of a host in its network"
    );
    Ok(network)
}

/// The Ethernet address of one machine.
pub(crate) fn mac(text: &str) -> anyhow::Result<Mac> {
    let mac: Mac = text
        .parse()
        .map_err(|error| anyhow::anyhow!("{text:?}: {error}"))?;
    ensure!(
        mac.is_valid_source(),
        "{mac} is not the address of one machine: it is zero, or of a group"
    );
    Ok(mac)
}

fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The name of a guest: one label by RFC 1123.
pub(crate) fn name(text: &str) -> anyhow::Result<String> {
    ensure!(
        is_label(text),
        "{text:?} is not a host name: 1 to 63 letters, digits and hyphens, and no hyphen at the ends"
    );
    ensure!(
        !text.eq_ignore_ascii_case(GATEWAY_NAME),
        "{GATEWAY_NAME} is the name of the routing domain"
    );
    Ok(text.to_owned())
}

/// A domain name: labels with dots between.
pub(crate) fn domain(text: &str) -> anyhow::Result<String> {
    ensure!(
        text.len() <= 253 && text.split('.').all(is_label),
        "{text:?} is not a domain name"
    );
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let mask = |text: &str| text.parse().expect("a mask");
        let ip = |text: &str| address(text).expect("an address");
        let net = Network::masked(ip("65.37.141.33"), mask("255.255.255.128")).expect("a network");
        assert_eq!(net.to_string(), "65.37.141.33/25");
        assert_eq!(net.first(), Ipv4Addr::new(65, 37, 141, 0));
        assert_eq!(net.netmask(), Ipv4Addr::new(255, 255, 255, 128));
        assert!(net.contains(ip("65.37.141.1")) && !net.contains(ip("65.37.141.129")));
        assert!(net.has_host(ip("65.37.141.126")));
        for none in ["65.37.141.0", "65.37.141.127", "65.37.142.1"] {
            assert!(!net.has_host(ip(none)), "{none}");
        }
        let all = Network::masked(ip("10.0.0.1"), mask("255.0.0.0")).expect("a network");
        let part = Network::masked(ip("10.1.1.1"), mask("255.255.255.0")).expect("a network");
        assert!(all.overlaps(part) && part.overlaps(all) && !part.overlaps(net));
        for bad in ["0.0.0.0", "255.0.255.0", "65.37.141.128"] {
            assert!(Network::masked(ip("10.0.0.1"), mask(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_with_a_length() {
        let text = |text| network(text).map(|network| network.to_string()).ok();
        assert_eq!(text("65.37.141.40").as_deref(), Some("65.37.141.40/32"));
        assert_eq!(text("65.37.141.40/25").as_deref(), Some("65.37.141.40/25"));
        for bad in [
            "",
            "/",
            "1.2.3.4/",
            "1.2.3.4/0",
            "1.2.3.4/33",
            "1.2.3.0/24",
            "1.2.3.255/24",
            "1.2.3.4/24/24",
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "1.2.3",
            "::1",
            "1.2.3.4/-1",
            " 1.2.3.4",
        ] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        for good in ["centos5-2", "a", "7", &"x".repeat(63)] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a.b",
            "a b",
            "a,b",
            "a\nb",
            "gateway",
            "Gateway",
            &"x".repeat(64),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert!(domain("vmops.org").is_ok());
        for bad in ["", ".", "a..b", "a/b", "a\nb", &"a.".repeat(200)] {
            assert!(domain(bad).is_err(), "{bad}");
        }
        assert!(mac("02:00:00:05:00:56").is_ok());
        for bad in [
            "01:00:00:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:00",
            "",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }
}
