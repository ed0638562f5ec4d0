// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What a command line may say of a machine. Nothing else gets into a configuration, a kernel's command line, or a domR.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vnet_core::mac::Mac;

/// The address of every domR in its vnet, and the name by which guests know it.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
const GATEWAY_NAME: &str = "gateway";
/// Xen's own name for the domain that `vn` runs in.
const DOM0: &str = "domain-0";

/// The name of a machine, which is its host name: one label by RFC 1123. A name of digits alone would be a domain's number to `xl`.
pub(crate) fn name(text: &str) -> Result<String, String> {
    label(text)?;
    let lower = text.to_ascii_lowercase();
    if lower == GATEWAY_NAME {
        return Err("gateway is the name of the routing domain".to_owned());
    }
    if lower == DOM0 {
        return Err(format!("{text} is the domain that vn runs in"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a name of digits alone would be taken for the number of a domain".to_owned());
    }
    Ok(text.to_owned())
}

fn label(text: &str) -> Result<(), String> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=63).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
    {
        Ok(())
    } else {
        Err(
            "a host name has 1 to 63 letters, digits and hyphens, and no hyphen at its ends"
                .to_owned(),
        )
    }
}

/// A domain name: labels with dots between.
pub(crate) fn domain(text: &str) -> Result<String, String> {
    if text.len() > 253 {
        return Err("a domain name has at most 253 characters".to_owned());
    }
    for part in text.split('.') {
        label(part)?;
    }
    Ok(text.to_owned())
}

/// The Ethernet address of one machine.
pub(crate) fn mac(text: &str) -> Result<Mac, String> {
    let mac: Mac = text.parse().map_err(|error| format!("{error}"))?;
    if mac.is_valid_source() {
        Ok(mac)
    } else {
        Err(format!(
            "{mac} is not the address of one machine: it is zero, or of a group"
        ))
    }
}

/// The address of one host.
pub(crate) fn address(text: &str) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an IPv4 address"))?;
    if address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback()
    {
        return Err(format!("{address} is not the address of a host"));
    }
    Ok(address)
}

/// The address of a guest.
pub(crate) fn guest(text: &str) -> Result<Ipv4Addr, String> {
    match address(text)? {
        GATEWAY => Err(format!("{GATEWAY} is the address of the routing domain")),
        address => Ok(address),
    }
}

/// A netmask: ones, then zeros.
pub(crate) fn mask(text: &str) -> Result<Ipv4Addr, String> {
    let mask: Ipv4Addr = text
        .parse()
        .map_err(|_| format!("{text:?} is not a netmask"))?;
    let bits = u32::from(mask);
    if bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32 {
        Ok(mask)
    } else {
        Err(format!(
            "{text} is not a netmask: it has ones after zeros, or none"
        ))
    }
}

/// Whether two addresses are in one network.
pub(crate) fn one_network(a: Ipv4Addr, b: Ipv4Addr, mask: Ipv4Addr) -> bool {
    u32::from(a) & u32::from(mask) == u32::from(b) & u32::from(mask)
}

fn number<T: FromStr + PartialOrd + Display>(
    text: &str,
    range: RangeInclusive<T>,
    what: &str,
) -> Result<T, String> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{what} is {} to {}", range.start(), range.end())),
    }
}

/// Memory, MiB.
pub(crate) fn memory(text: &str) -> Result<u32, String> {
    number(text, 16..=16_777_216, "memory in MiB")
}

/// How many virtual CPUs.
pub(crate) fn cpus(text: &str) -> Result<u32, String> {
    number(text, 1..=512, "the number of virtual CPUs")
}

/// Per cent of one CPU; 0 is no limit.
pub(crate) fn cap(text: &str) -> Result<u32, String> {
    number(text, 0..=51_200, "the limit in per cent of one CPU")
}

/// A VNC display; its TCP port is 5900 more.
pub(crate) fn console(text: &str) -> Result<u16, String> {
    number(text, 0..=59_635, "the number of a VNC console")
}

/// Mbit/s; 0 is no limit.
pub(crate) fn rate(text: &str) -> Result<u32, String> {
    number(text, 0..=400_000, "a rate in Mbit/s")
}

/// Seconds to wait.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    number(text, 1..=3600, "the time in seconds")
}

/// A path that can stand in a configuration of `xl`, where quotes and control characters cannot.
pub(crate) fn plain_path(path: &Path) -> Result<&str, String> {
    match path.to_str() {
        Some(text) if plain(text) => Ok(text),
        _ => Err(format!(
            "{path:?} has a character that xl's configuration cannot hold"
        )),
    }
}

/// Whether a text can stand between quotes there.
pub(crate) fn plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || "\"'\\".contains(c))
}

/// An image directory.
pub(crate) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = crate::storage::mount::local(text)?;
    plain_path(&path)?;
    Ok(path)
}

/// Words for a guest kernel.
pub(crate) fn kernel_words(text: &str) -> Result<String, String> {
    if plain(text) && text.len() <= 1024 {
        Ok(text.to_owned())
    } else {
        Err("words for a kernel have no quotes, and at most 1024 characters".to_owned())
    }
}

/// The old script's `-d`: name servers and domain, as the kernel's command line has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) dns1: Option<Ipv4Addr>,
    pub(crate) dns2: Option<Ipv4Addr>,
    pub(crate) domain: Option<String>,
}

/// Reads `dns1=… dns2=… domain=…`.
pub(crate) fn names(text: &str) -> Result<Names, String> {
    let mut names = Names::default();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("dns1", value)) => names.dns1 = Some(address(value)?),
            Some(("dns2", value)) => names.dns2 = Some(address(value)?),
            Some(("domain", value)) => names.domain = Some(domain(value)?),
            _ => {
                return Err(format!(
                    "{word:?} is none of dns1=ADDR, dns2=ADDR, domain=NAME"
                ));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in [
            "centos5-2",
            "domR-vnet0008",
            "a",
            "i-2-3-VM",
            &"x".repeat(63),
        ] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a.b",
            "a_b",
            "a b",
            "ä",
            "12",
            "gateway",
            "Gateway",
            "Domain-0",
            "a/b",
            &"x".repeat(64),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert!(domain("vmops.org").is_ok() && domain("a..b").is_err() && domain("").is_err());
    }

    #[test]
    fn addresses() {
        assert!(guest("10.1.1.56").is_ok());
        for bad in [
            "10.1.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "10.1.1",
            "10.1.1.256",
            "::1",
            "",
        ] {
            assert!(guest(bad).is_err(), "{bad}");
        }
        assert!(address("10.1.1.1").is_ok());
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
        assert!(mask("255.255.255.128").is_ok() && mask("255.255.255.255").is_ok());
        for bad in ["0.0.0.0", "255.0.255.0", "65.37.141.128"] {
            assert!(mask(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(
            (memory("128"), cap("66"), cpus("2"), console("11")),
            (Ok(128), Ok(66), Ok(2), Ok(11))
        );
        assert!(
            memory("0").is_err()
                && memory("-1").is_err()
                && cpus("0").is_err()
                && console("60000").is_err()
        );
    }

    #[test]
    fn name_servers() {
        let names =
            names("dns1=192.168.1.254 dns2=207.69.188.186 domain=vmops.org").expect("names");
        assert_eq!(names.domain.as_deref(), Some("vmops.org"));
        assert_eq!(names.dns2, Some(Ipv4Addr::new(207, 69, 188, 186)));
        for bad in ["init=/bin/sh", "dns1=x", "domain=a;b", "dns1"] {
            assert!(super::names(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_xl_can_read() {
        assert!(directory("/images/chiradeep/i0007").is_ok());
        assert!(
            directory("/images/a'b").is_err()
                && directory("images").is_err()
                && directory("/a\nb").is_err()
        );
        assert!(kernel_words("quiet splash=x").is_ok() && kernel_words("a\"b").is_err());
    }
}
