// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Public addresses and openings of a routing domain: what is asked for on a command line, and the words that say it to `vn-domr`.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::Context;
use serde::Deserialize;

use super::remote::Domr;
use super::{record, refuse, remote};
use crate::failure::Refused;

/// Which routing domain is meant: by its name, by its private address, or by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Which {
    pub(crate) name: Option<String>,
    pub(crate) address: Option<Ipv4Addr>,
}

impl Which {
    /// Looks for it among those of this host.
    pub(crate) fn find(&self) -> anyhow::Result<Domr> {
        let Some(name) = &self.name else {
            let address = self.address.context("no routing domain is named")?;
            return remote::find(address);
        };
        let hint = "vn vm list -d shows those of this host";
        let record = match record::read(name)? {
            Some(record) if record.role == record::Role::Domr => record,
            Some(_) => return refuse(format!("{name} is no routing domain"), hint),
            None => return refuse(format!("this host has no routing domain {name}"), hint),
        };
        match self.address {
            Some(address) if address != record.address => refuse(
                format!(
                    "the routing domain {name} has the private address {}, not {address}",
                    record.address
                ),
                hint,
            ),
            _ => Ok(Domr::new(name, record.address)),
        }
    }
}

/// A port, or a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    fn count(self) -> u32 {
        u32::from(self.last.saturating_sub(self.first)) + 1
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last > self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

/// Reads `A`, `A-B`, or as the old script had it, `A:B`.
pub(crate) fn ports(text: &str) -> Result<Ports, String> {
    let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
    let port = |text: &str| match text.parse() {
        Ok(port @ 1..=u16::MAX) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err("a port is 1 to 65535, and a range of them A-B".to_owned()),
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("the range {text} ends before it begins"));
    }
    Ok(Ports { first, last })
}

/// A type of ICMP, by name or number; the routing domain knows which can be opened.
pub(crate) fn icmp_type(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=40).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a type of ICMP is a name such as echo-request, or a number".to_owned())
    }
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// Something that is opened or closed, as a command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) public: Ipv4Addr,
    pub(crate) guest: Ipv4Addr,
    pub(crate) ports: Option<Ports>,
    pub(crate) to: Option<Ports>,
    pub(crate) icmp_type: Option<String>,
}

impl Opening {
    /// The words that say it, each `KEY=VALUE`. Refuses what does not belong together.
    pub(crate) fn words(&self) -> anyhow::Result<Vec<String>> {
        let mut words = vec![
            format!("proto={}", self.protocol.name()),
            format!("public={}", self.public),
            format!("guest={}", self.guest),
        ];
        let wrong = |reason: &str| Err(Refused::new(reason).into());
        match (self.protocol, self.ports, self.to, &self.icmp_type) {
            (Protocol::Icmp, None, None, Some(kind)) => words.push(format!("icmp-type={kind}")),
            (Protocol::Icmp, None, None, None) => {
                return wrong("icmp needs the type that is meant, such as echo-request");
            }
            (Protocol::Icmp, ..) => return wrong("icmp has no ports"),
            (_, _, _, Some(_)) => return wrong("only icmp has a type"),
            (_, None, ..) => return wrong("tcp and udp need a port, or a range of ports"),
            (_, Some(ports), to, None) => {
                let to = to.unwrap_or(ports);
                if to.count() != ports.count() {
                    return refuse(
                        format!(
                            "{ports} are {} ports and {to} are {}: they are mapped one to one",
                            ports.count(),
                            to.count()
                        ),
                        "give as many of the guest's ports as of the public address",
                    );
                }
                words.push(format!("ports={ports}"));
                words.push(format!("to={to}"));
            }
        }
        Ok(words)
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.name(), self.public)?;
        if let Some(ports) = self.ports {
            write!(f, " port {ports}")?;
        }
        if let Some(kind) = &self.icmp_type {
            write!(f, " {kind}")?;
        }
        write!(f, " to {}", self.guest)?;
        match self.to.or(self.ports) {
            Some(to) => write!(f, " port {to}"),
            None => Ok(()),
        }
    }
}

/// What `vn-domr` says of one opening.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listed {
    pub(crate) proto: String,
    pub(crate) public: String,
    pub(crate) ports: Option<String>,
    pub(crate) guest: String,
    pub(crate) to: Option<String>,
    pub(crate) icmp_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(
        protocol: Protocol,
        port: Option<&str>,
        to: Option<&str>,
        kind: Option<&str>,
    ) -> Opening {
        let read = |text: Option<&str>| text.map(|text| ports(text).expect(text));
        Opening {
            protocol,
            public: Ipv4Addr::new(65, 37, 141, 33),
            guest: Ipv4Addr::new(10, 1, 1, 155),
            ports: read(port),
            to: read(to),
            icmp_type: kind.map(str::to_owned),
        }
    }

    #[test]
    fn words() {
        let said = |opening: Opening| opening.words().map(|words| words.join(" ")).ok();
        let base = "public=65.37.141.33 guest=10.1.1.155";
        for (asked, words) in [
            (
                opening(Protocol::Tcp, Some("22"), Some("22"), None),
                Some("proto=tcp B ports=22 to=22"),
            ),
            (
                opening(Protocol::Udp, Some("5000:5010"), None, None),
                Some("proto=udp B ports=5000-5010 to=5000-5010"),
            ),
            (
                opening(Protocol::Tcp, Some("80-81"), Some("8080:8081"), None),
                Some("proto=tcp B ports=80-81 to=8080-8081"),
            ),
            (
                opening(Protocol::Icmp, None, None, Some("echo-request")),
                Some("proto=icmp B icmp-type=echo-request"),
            ),
            (opening(Protocol::Icmp, None, None, None), None),
            (opening(Protocol::Icmp, Some("22"), None, Some("8")), None),
            (opening(Protocol::Tcp, None, None, None), None),
            (opening(Protocol::Tcp, Some("22"), None, Some("8")), None),
            (
                opening(Protocol::Tcp, Some("22-23"), Some("22"), None),
                None,
            ),
        ] {
            let expected = words.map(|words| words.replace('B', base));
            assert_eq!(said(asked), expected);
        }
        let one = opening(Protocol::Tcp, Some("80"), Some("8080"), None);
        assert_eq!(
            one.to_string(),
            "tcp 65.37.141.33 port 80 to 10.1.1.155 port 8080"
        );
    }

    #[test]
    fn what_can_be_said() {
        assert_eq!(
            ports("1:65535").map(|ports| ports.to_string()).as_deref(),
            Ok("1-65535")
        );
        for bad in [
            "", "0", "65536", "22-", "-22", "1-2-3", "23:22", "+1", "a", "22 23",
        ] {
            assert!(ports(bad).is_err(), "{bad}");
        }
        assert!(icmp_type("echo-request").is_ok() && icmp_type("8").is_ok());
        for bad in ["", "echo request", "a;b", "a=b", "ECHO", "$(id)"] {
            assert!(icmp_type(bad).is_err(), "{bad}");
        }
    }
}
