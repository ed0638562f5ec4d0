// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The numbers of `vnet_core::abi` are those of `module/uapi/vnet.yaml`, and none is missing.

use std::collections::BTreeMap;
use std::path::Path;

use vnet_core::abi::{self, HostCounter, NetCounter};
use vnet_core::{Setting, Settings};
use yaml_rust2::{Yaml, YamlLoader};

fn schema() -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../module/uapi/vnet.yaml");
    let text = std::fs::read_to_string(path).expect("vnet.yaml");
    YamlLoader::load_from_str(&text)
        .expect("well-formed YAML")
        .remove(0)
}

fn text<'a>(yaml: &'a Yaml, key: &str) -> &'a str {
    yaml[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is missing in {yaml:?}"))
}

fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().expect("a list")
}

/// The attribute set of this name.
fn set<'a>(schema: &'a Yaml, name: &str) -> &'a [Yaml] {
    let set = list(&schema["attribute-sets"])
        .iter()
        .find(|set| text(set, "name") == name)
        .unwrap_or_else(|| panic!("no attribute set {name}"));
    list(&set["attributes"])
}

/// Names and numbers of an attribute set; attributes count from 1 unless they have a value.
fn numbers(schema: &Yaml, name: &str) -> BTreeMap<String, u16> {
    let mut next = 1;
    set(schema, name)
        .iter()
        .map(|attribute| {
            let value = attribute["value"].as_i64().unwrap_or(next);
            next = value + 1;
            (
                text(attribute, "name").to_owned(),
                u16::try_from(value).expect("a number of 16 bits"),
            )
        })
        .collect()
}

/// The constants of a module of `abi.rs`, read from its source: a constant that the YAML does not have must be found, too.
fn constants(module: &str) -> BTreeMap<String, u16> {
    let source = include_str!("../../../module/core/abi.rs");
    let start = source
        .find(&format!("pub mod {module} {{"))
        .unwrap_or_else(|| panic!("abi.rs has no module {module}"));
    source[start..]
        .lines()
        .skip(1)
        .take_while(|line| *line != "}")
        .filter_map(|line| {
            let (name, rest) = line.trim().strip_prefix("pub const ")?.split_once(": u")?;
            // Values of enums have 32 bits.
            let (bits, value) = rest.split_once(" = ")?;
            if bits == "32" {
                return None;
            }
            let value = value.trim_end_matches(';').parse().ok()?;
            Some((name.to_lowercase().replace('_', "-"), value))
        })
        .collect()
}

#[test]
fn family() {
    let schema = schema();
    assert_eq!(text(&schema, "name"), abi::FAMILY);
    assert_eq!(text(&schema, "protocol"), "genetlink");
    assert_eq!(
        schema["version"].as_i64().unwrap_or(1),
        i64::from(abi::VERSION)
    );
    let groups = list(&schema["mcast-groups"]["list"]);
    let names: Vec<_> = groups.iter().map(|group| text(group, "name")).collect();
    assert_eq!(names, [abi::GROUP_CONFIG, abi::GROUP_EVENTS]);
}

#[test]
fn commands() {
    let schema = schema();
    let expected: BTreeMap<String, u16> = list(&schema["operations"]["list"])
        .iter()
        .map(|operation| {
            let value = operation["value"]
                .as_i64()
                .expect("every operation has its number");
            (
                text(operation, "name").to_owned(),
                u16::try_from(value).expect("a number of 16 bits"),
            )
        })
        .collect();
    assert_eq!(constants("cmd"), expected);
}

#[test]
fn attributes() {
    let schema = schema();
    for (name, max) in [
        ("net", abi::net::MAX),
        ("host", abi::host::MAX),
        ("peer", abi::peer::MAX),
        ("varp", abi::varp::MAX),
        ("vif", abi::vif::MAX),
        ("remote", abi::remote::MAX),
        ("probe", abi::probe::MAX),
        ("key", abi::key::MAX),
    ] {
        let expected = numbers(&schema, name);
        let mut ours = constants(name);
        assert_eq!(ours.remove("max"), Some(max));
        assert_eq!(expected.values().max(), Some(&max), "{name}");
        assert_eq!(ours, expected, "{name}");
    }
}

#[test]
fn every_set_is_known() {
    let schema = schema();
    let names: Vec<_> = list(&schema["attribute-sets"])
        .iter()
        .map(|set| text(set, "name"))
        .collect();
    assert_eq!(
        names,
        [
            "net",
            "net-stats",
            "host",
            "host-stats",
            "peer",
            "varp",
            "vif",
            "remote",
            "probe",
            "key"
        ]
    );
}

#[test]
fn counters() {
    let schema = schema();
    let first = [
        abi::net_stats::RX_PACKETS,
        abi::net_stats::RX_BYTES,
        abi::net_stats::TX_PACKETS,
        abi::net_stats::TX_BYTES,
    ];
    let net: BTreeMap<String, u16> = abi::net_stats::NAMES
        .into_iter()
        .zip(first)
        .chain(NetCounter::ALL.iter().map(|c| (c.name(), c.attr())))
        .map(|(name, number)| (name.to_owned(), number))
        .collect();
    assert_eq!(net, numbers(&schema, "net-stats"));
    assert_eq!(net.len(), 4 + NetCounter::COUNT);

    let host: BTreeMap<String, u16> = HostCounter::ALL
        .iter()
        .map(|c| (c.name().to_owned(), c.attr()))
        .collect();
    assert_eq!(host, numbers(&schema, "host-stats"));

    for name in ["net-stats", "host-stats"] {
        assert!(set(&schema, name).iter().all(|a| text(a, "type") == "u64"));
    }
}

/// The limits of an attribute, as in the schema; those of an enum are its first and its last value.
fn range(schema: &Yaml, name: &str, attribute: &str) -> (u32, u32) {
    let attribute = set(schema, name)
        .iter()
        .find(|candidate| text(candidate, "name") == attribute)
        .expect("the attribute");
    if let Some(named) = attribute["enum"].as_str() {
        let last = values(schema, named).len() - 1;
        return (0, u32::try_from(last).expect("few values"));
    }
    let limit = |key: &str| {
        attribute["checks"][key]
            .as_i64()
            .map(|limit| u32::try_from(limit).expect("a limit of 32 bits"))
    };
    (limit("min").unwrap_or(0), limit("max").expect("a limit"))
}

fn definition(schema: &Yaml, name: &str) -> Yaml {
    list(&schema["definitions"])
        .iter()
        .find(|definition| text(definition, "name") == name)
        .unwrap_or_else(|| panic!("no definition {name}"))
        .clone()
}

/// The values of an enum, in order.
fn values(schema: &Yaml, name: &str) -> Vec<String> {
    list(&definition(schema, name)["entries"])
        .iter()
        .map(|state| state.as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn settings() {
    let schema = schema();
    for setting in Setting::ALL {
        assert_eq!(
            range(&schema, "net", setting.name()),
            setting.range(),
            "{}",
            setting.name()
        );
        let (min, max) = setting.range();
        assert!((min..=max).contains(&setting.default()));
        assert_eq!(numbers(&schema, "net")[setting.name()], setting.attr());
        assert_eq!(Settings::default().get(*setting), setting.default());
    }
}

#[test]
fn limits() {
    let schema = schema();
    assert_eq!(range(&schema, "net", "mtu"), abi::MTU_RANGE);
    assert_eq!(range(&schema, "probe", "size"), abi::PROBE_SIZE_RANGE);
    assert_eq!(range(&schema, "key", "index"), abi::KEY_INDEX_RANGE);
    let constant = |name: &str| definition(&schema, name)["value"].as_i64();
    assert_eq!(constant("key-len"), Some(vnet_core::sealed::KEY_LEN as i64));
    assert_eq!(constant("id-len"), Some(vnet_core::id::ID_LEN as i64));
    assert_eq!(constant("mac-len"), Some(vnet_core::mac::MAC_LEN as i64));
    assert_eq!(
        constant("ifname-max"),
        Some(vnet_core::id::IFNAME_SIZE as i64 - 1)
    );
    for (name, expected) in [
        (
            "varp-state",
            &[
                (abi::varp::STATE_LEARNED, "learned"),
                (abi::varp::STATE_STATIC, "static"),
                (abi::varp::STATE_PROBING, "probing"),
                (abi::varp::STATE_ABSENT, "absent"),
            ][..],
        ),
        (
            "unknown",
            &[
                (abi::net::UNKNOWN_HOLD, "hold"),
                (abi::net::UNKNOWN_FLOOD, "flood"),
                (abi::net::UNKNOWN_DROP, "drop"),
            ],
        ),
        (
            "remotes",
            &[
                (abi::net::REMOTES_ANY, "any"),
                (abi::net::REMOTES_LISTED, "listed"),
            ],
        ),
        (
            "source-port",
            &[
                (abi::net::SOURCE_PORT_FIXED, "fixed"),
                (abi::net::SOURCE_PORT_FLOW, "flow"),
            ],
        ),
        (
            "seal",
            &[
                (abi::net::SEAL_NONE, "none"),
                (abi::net::SEAL_AUTH, "auth"),
                (abi::net::SEAL_CONF, "conf"),
            ],
        ),
        (
            "cipher",
            &[
                (abi::net::CIPHER_CHACHA, "chacha20-poly1305"),
                (abi::net::CIPHER_AES, "aes-256-gcm"),
            ],
        ),
        (
            "key-slot",
            &[
                (abi::key::SLOT_CURRENT, "current"),
                (abi::key::SLOT_NEXT, "next"),
                (abi::key::SLOT_PREVIOUS, "previous"),
            ],
        ),
        (
            "flood",
            &[
                (abi::host::FLOOD_GROUP, "group"),
                (abi::host::FLOOD_PEERS, "peers"),
            ],
        ),
    ] {
        let values = values(&schema, name);
        assert_eq!(values.len(), expected.len(), "{name}");
        for (number, value) in expected {
            assert_eq!(values[*number as usize], *value);
        }
    }
}
