// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The whole configuration as one TOML file. What a file does not say of the host stays as it is; what it does not say
//! of a vnet is the default, but for its MTU, which stays, too.

pub(crate) mod act;
pub(crate) mod diff;
#[cfg(test)]
mod fake;
pub(crate) mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, de};
use toml::Spanned;
use vnet_core::{Mac, Setting, VnetId, abi};
use vnet_netlink::{Flood, SomeSettings, value_names};

use crate::cli::ifname;
use crate::failure::Refused;

/// The word for no group and no device.
const NONE: &str = "none";
/// The word for the inner packet's TTL and DSCP.
const INHERIT: &str = "inherit";

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) host: HostSection,
    #[serde(default, rename = "net")]
    pub(crate) nets: Vec<NetSection>,
}

/// The settings of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostSection {
    pub(crate) port: Option<Port>,
    /// Unspecified for none.
    #[serde(default, deserialize_with = "group")]
    pub(crate) group: Option<IpAddr>,
    /// Name of the underlay device, or `none`.
    #[serde(default, deserialize_with = "device")]
    pub(crate) device: Option<String>,
    #[serde(default, deserialize_with = "ttl")]
    pub(crate) ttl: Option<u8>,
    #[serde(default, deserialize_with = "flood")]
    pub(crate) flood: Option<Flood>,
    #[serde(default, deserialize_with = "dscp")]
    pub(crate) dscp: Option<u8>,
    #[serde(default)]
    pub(crate) peers: BTreeSet<IpAddr>,
}

/// A UDP port; not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) u16);

/// A vnet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetSection {
    pub(crate) id: VnetId,
    /// Unless it is the default.
    pub(crate) ifname: Option<String>,
    /// The bridge that its device is a port of.
    pub(crate) bridge: Option<String>,
    /// Unless it is what the underlay carries.
    pub(crate) mtu: Option<u32>,
    /// Those that are not the default.
    pub(crate) settings: SomeSettings,
    /// Hosts from which it accepts, for `remotes = "listed"`.
    pub(crate) listed: BTreeSet<IpAddr>,
    /// Static entries of the VARP table.
    pub(crate) statics: BTreeMap<Mac, IpAddr>,
    /// Where the id is in the file.
    place: usize,
}

impl NetSection {
    /// A vnet with nothing but its id.
    pub(crate) fn new(id: VnetId) -> Self {
        Self {
            id,
            ifname: None,
            bridge: None,
            mtu: None,
            settings: SomeSettings::new(),
            listed: BTreeSet::new(),
            statics: BTreeMap::new(),
            place: 0,
        }
    }

    /// The name of its device.
    pub(crate) fn device(&self) -> String {
        let default = || self.id.default_ifname().to_string();
        self.ifname.clone().unwrap_or_else(default)
    }

    /// The value of a setting.
    pub(crate) fn setting(&self, setting: Setting) -> u32 {
        self.settings.get(setting).unwrap_or(setting.default())
    }
}

impl Config {
    /// Reads a file. Errors begin with the line.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        let at = |place: usize, what: &str| {
            let before = text.as_bytes().iter().take(place);
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            Refused::new(format!("line {line}: {}", what.trim().replace('\n', ", ")))
        };
        let config: Self = toml::from_str(text).map_err(|error| {
            let place = error.span().map_or(text.len(), |span| span.start);
            at(place, error.message())
        })?;
        let mut ids = BTreeSet::new();
        let mut devices = BTreeSet::new();
        let mut bridges = BTreeSet::new();
        for net in &config.nets {
            let (id, place) = (net.id, net.place);
            if !ids.insert(id) {
                return Err(at(place, &format!("vnet {id} is there twice")));
            }
            if !devices.insert(net.device()) {
                let device = net.device();
                return Err(at(place, &format!("another vnet has device {device}")));
            }
            if let Some(bridge) = net.bridge.as_ref() {
                if !bridges.insert(bridge) {
                    let what =
                        format!("another vnet is on bridge {bridge}; the two would be joined");
                    return Err(at(place, &what));
                }
            }
        }
        Ok(config)
    }

    /// The text of a file that says this.
    pub(crate) fn render(&self) -> String {
        let mut text = Text::default();
        let host = &self.host;
        text.line("[host]");
        text.pair("port", host.port.map(|port| port.0));
        let group = host.group.map(|group| match group {
            group if group.is_unspecified() => NONE.to_owned(),
            group => group.to_string(),
        });
        text.pair("group", group.map(quoted));
        text.pair("device", host.device.as_ref().map(quoted));
        let or_inherit = |value: u8, inherit: u8| match value {
            value if value == inherit => quoted(INHERIT),
            value => value.to_string(),
        };
        text.pair("ttl", host.ttl.map(|ttl| or_inherit(ttl, abi::TTL_INHERIT)));
        text.pair("flood", host.flood.map(quoted));
        text.pair(
            "dscp",
            host.dscp.map(|dscp| or_inherit(dscp, abi::DSCP_INHERIT)),
        );
        text.list("peers", &host.peers);
        for net in &self.nets {
            text.line("\n[[net]]");
            text.pair("id", Some(quoted(net.id)));
            text.pair("ifname", net.ifname.as_ref().map(quoted));
            text.pair("bridge", net.bridge.as_ref().map(quoted));
            text.pair("mtu", net.mtu);
            for shown in net.settings.iter() {
                let value = match value_names(shown.setting) {
                    [] => shown.to_string(),
                    _ => quoted(shown),
                };
                text.pair(shown.setting.name(), Some(value));
            }
            text.list("listed", &net.listed);
            if !net.statics.is_empty() {
                text.line("\n[net.static]");
                for (mac, addr) in &net.statics {
                    text.pair(&quoted(mac), Some(quoted(addr)));
                }
            }
        }
        text.0
    }
}

/// A TOML string.
fn quoted(value: impl fmt::Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: impl fmt::Display) {
        // Memory takes whatever is written.
        let _ = writeln!(self.0, "{line}");
    }

    fn pair(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.line(format_args!("{name} = {value}"));
        }
    }

    fn list(&mut self, name: &str, values: &BTreeSet<IpAddr>) {
        let values: Vec<_> = values.iter().map(quoted).collect();
        let list = format!("[{}]", values.join(", "));
        self.pair(name, Some(list).filter(|_| !values.is_empty()));
    }
}

/// A number within a range, or a word for a number outside of it.
struct Choice<'a> {
    what: &'a str,
    range: (u32, u32),
    words: &'a [(&'a str, u32)],
}

impl Visitor<'_> for Choice<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(|(word, _)| quoted(word)).collect();
        let (least, most) = self.range;
        match (least <= most, words.is_empty()) {
            (true, true) => write!(f, "{least} to {most} for {}", self.what),
            (true, false) => {
                write!(
                    f,
                    "{least} to {most} or {} for {}",
                    words.join(" or "),
                    self.what
                )
            }
            _ => write!(f, "{} for {}", words.join(" or "), self.what),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u32, E> {
        let (least, most) = self.range;
        match u32::try_from(value) {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<u32, E> {
        let found = self.words.iter().find(|(word, _)| *word == value);
        match found {
            Some((_, number)) => Ok(*number),
            None => Err(E::invalid_value(Unexpected::Str(value), &self)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Choice<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What is written as a text, and read by its own rules.
struct Textual<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Textual<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parsed<T>(PhantomData<T>);
        impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Parsed<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Parsed(PhantomData)).map(Self)
    }
}

/// A name that a network device can have.
struct Device(String);

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ifname(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choice = Choice {
            what: "port",
            range: (1, u32::from(u16::MAX)),
            words: &[],
        };
        let number = choice.deserialize(deserializer)?;
        u16::try_from(number).map(Self).map_err(D::Error::custom)
    }
}

fn group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == NONE {
        return Ok(Some(Ipv4Addr::UNSPECIFIED.into()));
    }
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_multicast() => Ok(Some(address)),
        _ => {
            let expected = "a multicast address, or \"none\", for group";
            Err(D::Error::invalid_value(Unexpected::Str(&text), &expected))
        }
    }
}

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Textual::<Device>::deserialize(deserializer).map(|device| Some(device.0.0))
}

fn ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    byte(
        "ttl",
        (1, u32::from(u8::MAX)),
        abi::TTL_INHERIT,
        deserializer,
    )
}

fn dscp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    byte(
        "dscp",
        (0, u32::from(abi::DSCP_MAX)),
        abi::DSCP_INHERIT,
        deserializer,
    )
}

fn byte<'de, D: Deserializer<'de>>(
    what: &str,
    range: (u32, u32),
    inherit: u8,
    deserializer: D,
) -> Result<Option<u8>, D::Error> {
    let choice = Choice {
        what,
        range,
        words: &[(INHERIT, u32::from(inherit))],
    };
    let number = choice.deserialize(deserializer)?;
    u8::try_from(number).map(Some).map_err(D::Error::custom)
}

fn flood<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Flood>, D::Error> {
    let words = [Flood::Group, Flood::Peers].map(|flood| (flood.to_string(), flood));
    let text = String::deserialize(deserializer)?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, flood)) => Ok(Some(*flood)),
        None => {
            let expected = "\"group\" or \"peers\" for flood";
            Err(D::Error::invalid_value(Unexpected::Str(&text), &expected))
        }
    }
}

/// A key of a vnet.
enum Key {
    Id,
    Ifname,
    Bridge,
    Mtu,
    Listed,
    Static,
    Setting(Setting),
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "id" => Self::Id,
            "ifname" => Self::Ifname,
            "bridge" => Self::Bridge,
            "mtu" => Self::Mtu,
            "listed" => Self::Listed,
            "static" => Self::Static,
            name => {
                let setting = Setting::ALL.iter().find(|setting| setting.name() == name);
                Self::Setting(*setting.ok_or_else(|| format!("a vnet has no {name}"))?)
            }
        })
    }
}

impl<'de> Deserialize<'de> for NetSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Section;
        impl<'de> Visitor<'de> for Section {
            type Value = NetSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table [[net]]")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NetSection, A::Error> {
                net(map)
            }
        }
        deserializer.deserialize_map(Section)
    }
}

fn net<'de, A: MapAccess<'de>>(mut map: A) -> Result<NetSection, A::Error> {
    let mut id = None;
    let mut net = NetSection::new(VnetId::ZERO);
    while let Some(Textual(key)) = map.next_key::<Textual<Key>>()? {
        match key {
            Key::Id => id = Some(map.next_value::<Spanned<Textual<VnetId>>>()?),
            Key::Ifname => net.ifname = Some(map.next_value::<Textual<Device>>()?.0.0),
            Key::Bridge => net.bridge = Some(map.next_value::<Textual<Device>>()?.0.0),
            Key::Mtu => {
                net.mtu = Some(map.next_value_seed(Choice {
                    what: "mtu",
                    range: abi::MTU_RANGE,
                    words: &[],
                })?);
            }
            Key::Listed => net.listed = map.next_value()?,
            Key::Static => {
                let entries: BTreeMap<String, IpAddr> = map.next_value()?;
                for (mac, addr) in entries {
                    let mac: Mac = mac.parse().map_err(A::Error::custom)?;
                    if net.statics.insert(mac, addr).is_some() {
                        return Err(A::Error::custom(format!("{mac} is there twice")));
                    }
                }
            }
            Key::Setting(setting) => {
                let names = value_names(setting);
                let words: Vec<(&str, u32)> = names.iter().copied().zip(0..).collect();
                let choice = Choice {
                    what: setting.name(),
                    range: if names.is_empty() {
                        setting.range()
                    } else {
                        (1, 0)
                    },
                    words: &words,
                };
                let value = map.next_value_seed(choice)?;
                net.settings.set(setting, Some(value));
            }
        }
    }
    let id = id.ok_or_else(|| A::Error::missing_field("id"))?;
    net.place = id.span().start;
    net.id = id.into_inner().0;
    // The default need not be said.
    if net.ifname.as_deref() == Some(net.id.default_ifname().as_str()) {
        net.ifname = None;
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"[host]
port = 1798
group = "224.10.0.1"
device = "eth0"
ttl = "inherit"
flood = "peers"
dscp = 46
peers = ["192.0.2.2", "2001:db8::3"]

[[net]]
id = "0005"
bridge = "vnbr0005"
mtu = 1500
ageing = 60000
unknown = "drop"
remotes = "listed"
listed = ["192.0.2.2"]

[net.static]
"02:00:00:05:00:01" = "192.0.2.3"

[[net]]
id = "0000:0000:0000:0000:0000:0000:0001:0005"
ifname = 'cust"15'
"#;

    #[test]
    fn a_file_is_read_and_written_as_it_was() {
        let config = Config::parse(WHOLE).expect("a file");
        assert_eq!(config.render(), WHOLE);
        assert_eq!(config.host.ttl, Some(abi::TTL_INHERIT));
        assert_eq!(config.nets[0].setting(Setting::Unknown), 2);
        assert_eq!(
            config.nets[0].setting(Setting::Damp),
            Setting::Damp.default()
        );
        assert_eq!(config.nets[1].device(), "cust\"15");
        assert_eq!(Config::parse("").expect("empty"), Config::default());
        let none = Config::parse("[host]\ngroup = \"none\"\ndevice = \"none\"").expect("none");
        assert_eq!(none.host.group, Some(Ipv4Addr::UNSPECIFIED.into()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, words) in [
            (
                "[host]\nport = 0",
                "line 2: invalid value: integer `0`, expected 1 to 65535 for port",
            ),
            ("[host]\n\nprot = 1", "line 3: unknown field `prot`"),
            ("[hots]", "line 1: unknown field `hots`"),
            ("[host]\ngroup = \"192.0.2.1\"", "line 2: invalid value"),
            (
                "[host]\nttl = 0",
                "expected 1 to 255 or \"inherit\" for ttl",
            ),
            ("[host]\nflood = \"all\"", "expected \"group\" or \"peers\""),
            ("[host]\npeers = [\"x\"]", "line 2: invalid IP address"),
            ("[[net]]\nmtu = 1500", "missing field `id`"),
            (
                "[[net]]\nid = 5",
                "line 2: invalid type: integer `5`, expected a string",
            ),
            ("[[net]]\nid = \"1\"", "line 2: id 1 is reserved"),
            ("[[net]]\nid = \"5\"\nmut = 3", "line 3: a vnet has no mut"),
            (
                "[[net]]\nid = \"5\"\nmtu = 3",
                "expected 68 to 65471 for mtu",
            ),
            (
                "[[net]]\nid = \"5\"\nprobes = 99",
                "line 3: invalid value: integer `99`, expected 1 to 16",
            ),
            (
                "[[net]]\nid = \"5\"\nunknown = 1",
                "expected \"hold\" or \"flood\" or \"drop\" for unknown",
            ),
            (
                "[[net]]\nid = \"5\"\nbridge = \"a b\"",
                "line 3: the name of a network device",
            ),
            (
                "[[net]]\nid = \"5\"\n[net.static]\nx = \"192.0.2.1\"",
                "an Ethernet address",
            ),
            (
                "[[net]]\nid = \"5\"\n\n[[net]]\nid = \"0005\"",
                "line 5: vnet 0005 is there twice",
            ),
            (
                "[[net]]\nid = \"5\"\n[[net]]\nid = \"1:5\"",
                "line 4: another vnet has device vnif0005",
            ),
            (
                "[[net]]\nid = \"5\"\nbridge = \"b\"\n[[net]]\nid = \"6\"\nbridge = \"b\"",
                "line 5: another vnet is on bridge b",
            ),
            ("[host", "line 1: "),
            ("x", "line 1: "),
        ] {
            let error = Config::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text:?}: {error}");
            assert!(error.starts_with("line "), "{text:?}: {error}");
        }
    }
}
