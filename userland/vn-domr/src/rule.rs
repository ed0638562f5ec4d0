// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One opening in the firewall, as people say it, as the state file has it and as it is.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::words;

/// A port, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Ports {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| match text.parse() {
            Ok(port @ 1..=u16::MAX) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => bail!("{text:?} is not a port, which is 1 to 65535"),
        };
        let ports = Self {
            first: port(first)?,
            last: port(last)?,
        };
        ensure!(
            ports.first <= ports.last,
            "the range {text} ends before it begins"
        );
        Ok(ports)
    }

    /// How many there are, less one.
    pub(crate) fn span(self) -> u16 {
        self.last.saturating_sub(self.first)
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.span() > 0 {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Types of ICMP with which something begins: their numbers, and their names to nftables. Every other one is an answer to something,
/// and comes through with it or not at all.
const ICMP_TYPES: [(u8, &str); 4] = [
    (8, "echo-request"),
    (13, "timestamp-request"),
    (15, "info-request"),
    (17, "address-mask-request"),
];
/// iptables' other name for the first.
const PING: &str = "ping";

/// A type of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpType {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
}

impl IcmpType {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let known = ICMP_TYPES
            .iter()
            .find(|(number, name)| text == *name || text == number.to_string());
        match known {
            Some(&(number, name)) => Ok(Self { number, name }),
            None if text == PING => Self::parse(ICMP_TYPES[0].1),
            None => bail!(
                "ICMP type {text:?} cannot be opened: {} can; errors and answers come through with the connection that they belong to",
                ICMP_TYPES.map(|(_, name)| name).join(", ")
            ),
        }
    }
}

/// What is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Ports of the public address, and as many of the guest.
    Ports {
        transport: Transport,
        ports: Ports,
        to: Ports,
    },
    /// A type of ICMP.
    Icmp(IcmpType),
}

/// One opening: what comes to the public address goes to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub(crate) struct Rule {
    pub(crate) public: Ipv4Addr,
    pub(crate) guest: Ipv4Addr,
    pub(crate) what: What,
}

impl Rule {
    /// Reads `KEY=VALUE` words, in any order.
    pub(crate) fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let mut text = Text::default();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("{word:?} is not KEY=VALUE"))?;
            let place = match key {
                "proto" => &mut text.proto,
                "public" => &mut text.public,
                "guest" => &mut text.guest,
                "ports" => &mut text.ports,
                "to" => &mut text.to,
                "icmp-type" => &mut text.icmp_type,
                _ => bail!("{key:?} is none of proto, public, ports, guest, to, icmp-type"),
            };
            ensure!(place.is_none(), "{key} is given twice");
            *place = Some(value.to_owned());
        }
        text.try_into()
    }

    /// Whether something that comes could be meant by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.public == other.public
            && match (self.what, other.what) {
                (
                    What::Ports {
                        transport: a,
                        ports: x,
                        ..
                    },
                    What::Ports {
                        transport: b,
                        ports: y,
                        ..
                    },
                ) => a == b && x.overlaps(y),
                (What::Icmp(a), What::Icmp(b)) => a == b,
                _ => false,
            }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (public, guest) = (self.public, self.guest);
        match self.what {
            What::Ports {
                transport,
                ports,
                to,
            } => {
                write!(f, "{transport} {public} port {ports} to {guest} port {to}")
            }
            What::Icmp(IcmpType { name, .. }) => write!(f, "icmp {public} {name} to {guest}"),
        }
    }
}

/// The same as text: what JSON has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Text {
    proto: Option<String>,
    public: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<String>,
    guest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    icmp_type: Option<String>,
}

impl TryFrom<Text> for Rule {
    type Error = anyhow::Error;

    fn try_from(text: Text) -> anyhow::Result<Self> {
        let needed =
            |value: Option<String>, key: &str| value.with_context(|| format!("{key} is missing"));
        let proto = needed(text.proto, "proto")?;
        let public = words::address(&needed(text.public, "public")?).context("public")?;
        let guest = words::address(&needed(text.guest, "guest")?).context("guest")?;
        let transport = match proto.as_str() {
            "tcp" => Some(Transport::Tcp),
            "udp" => Some(Transport::Udp),
            "icmp" => None,
            _ => bail!("protocol {proto:?} is none of tcp, udp, icmp"),
        };
        let what = if let Some(transport) = transport {
            ensure!(text.icmp_type.is_none(), "icmp-type is for proto=icmp");
            let ports = Ports::parse(&needed(text.ports, "ports")?)?;
            let to = text.to.as_deref().map_or(Ok(ports), Ports::parse)?;
            ensure!(
                ports.span() == to.span(),
                "ports {ports} are not as many as {to}: they are mapped one to one"
            );
            What::Ports {
                transport,
                ports,
                to,
            }
        } else {
            ensure!(
                text.ports.is_none() && text.to.is_none(),
                "icmp has no ports"
            );
            What::Icmp(IcmpType::parse(&needed(text.icmp_type, "icmp-type")?)?)
        };
        Ok(Self {
            public,
            guest,
            what,
        })
    }
}

impl From<Rule> for Text {
    fn from(rule: Rule) -> Self {
        let mut text = Self {
            public: Some(rule.public.to_string()),
            guest: Some(rule.guest.to_string()),
            ..Self::default()
        };
        match rule.what {
            What::Ports {
                transport,
                ports,
                to,
            } => {
                text.proto = Some(transport.to_string());
                text.ports = Some(ports.to_string());
                text.to = Some(to.to_string());
            }
            What::Icmp(kind) => {
                text.proto = Some("icmp".to_owned());
                text.icmp_type = Some(kind.name.to_owned());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn rule(text: &str) -> Result<Rule, String> {
        let words: Vec<_> = text.split(' ').collect();
        Rule::parse(&words).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn words_and_json() {
        for (words, json) in [
            (
                "proto=tcp public=65.37.141.33 ports=22 guest=10.1.1.155 to=22",
                r#"{"proto":"tcp","public":"65.37.141.33","ports":"22","guest":"10.1.1.155","to":"22"}"#,
            ),
            (
                "guest=10.1.1.155 public=65.37.141.33 proto=udp ports=8000-8010",
                r#"{"proto":"udp","public":"65.37.141.33","ports":"8000-8010","guest":"10.1.1.155","to":"8000-8010"}"#,
            ),
            (
                "proto=icmp public=65.37.141.33 guest=10.1.1.155 icmp-type=8",
                r#"{"proto":"icmp","public":"65.37.141.33","guest":"10.1.1.155","icmp-type":"echo-request"}"#,
            ),
        ] {
            let rule = rule(words).expect(words);
            assert_eq!(serde_json::to_string(&rule).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Rule>(json).expect("a rule"), rule);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        const BASE: &str = "public=65.37.141.33 guest=10.1.1.155";
        for (words, says) in [
            ("proto=tcp", "ports is missing"),
            ("ports=22", "proto is missing"),
            ("proto=sctp ports=22", "none of tcp, udp, icmp"),
            ("proto=tcp ports=0", "\"0\" is not a port"),
            ("proto=tcp ports=65536", "is not a port"),
            ("proto=tcp ports=+22", "is not a port"),
            ("proto=tcp ports=22-", "is not a port"),
            ("proto=tcp ports=22:23", "is not a port"),
            ("proto=tcp ports=23-22", "ends before it begins"),
            ("proto=tcp ports=22-30 to=22", "mapped one to one"),
            ("proto=tcp ports=22 icmp-type=8", "icmp-type is for"),
            ("proto=icmp ports=22", "icmp has no ports"),
            ("proto=icmp", "icmp-type is missing"),
            ("proto=icmp icmp-type=0", "cannot be opened"),
            ("proto=icmp icmp-type=redirect", "cannot be opened"),
            ("proto=tcp ports=22 proto=udp", "proto is given twice"),
            ("proto=tcp ports=22 port=23", "\"port\" is none of"),
            ("proto=tcp ports=22 x", "not KEY=VALUE"),
        ] {
            let error = rule(&format!("{BASE} {words}")).expect_err(words);
            assert!(error.contains(says), "{words}: {error}");
        }
        assert!(rule("proto=tcp ports=22 public=65.37.141.33").is_err());
        assert!(rule("proto=tcp ports=22 public=x guest=10.1.1.155").is_err());
        assert!(serde_json::from_str::<Rule>(r#"{"proto":"tcp","x":"y"}"#).is_err());
    }

    #[test]
    fn which_are_of_one_thing() {
        let of = |text: &str| rule(text).expect(text);
        let ssh = of("proto=tcp public=65.37.141.33 ports=22 guest=10.1.1.155");
        let ping = of("proto=icmp public=65.37.141.33 guest=10.1.1.155 icmp-type=ping");
        for (other, overlaps) in [
            (
                "proto=tcp public=65.37.141.33 ports=20-30 guest=10.1.1.7",
                true,
            ),
            (
                "proto=tcp public=65.37.141.33 ports=1-22 guest=10.1.1.7",
                true,
            ),
            (
                "proto=tcp public=65.37.141.33 ports=23-30 guest=10.1.1.7",
                false,
            ),
            (
                "proto=udp public=65.37.141.33 ports=22 guest=10.1.1.7",
                false,
            ),
            (
                "proto=tcp public=65.37.141.34 ports=22 guest=10.1.1.7",
                false,
            ),
            (
                "proto=icmp public=65.37.141.33 guest=10.1.1.7 icmp-type=8",
                false,
            ),
        ] {
            assert_eq!(ssh.overlaps(&of(other)), overlaps, "{other}");
            assert_eq!(of(other).overlaps(&ssh), overlaps, "{other}");
        }
        assert!(ping.overlaps(&of(
            "proto=icmp public=65.37.141.33 guest=10.1.1.7 icmp-type=8"
        )));
        assert!(!ping.overlaps(&of(
            "proto=icmp public=65.37.141.33 guest=10.1.1.7 icmp-type=13"
        )));
        assert_eq!(
            ssh.to_string(),
            "tcp 65.37.141.33 port 22 to 10.1.1.155 port 22"
        );
    }
}
