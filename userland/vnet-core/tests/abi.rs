// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The numbers of `vnet_core::abi` are those of `module/uapi/vnet.yaml`, and none is missing.

use std::collections::BTreeMap;
use std::path::Path;

use vnet_core::abi::{self, HostCounter, NetCounter};
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
            let (_, value) = rest.split_once(" = ")?;
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
    assert_eq!(groups.len(), 1);
    assert_eq!(text(&groups[0], "name"), abi::GROUP_CONFIG);
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
    ] {
        let expected = numbers(&schema, name);
        let mut ours = constants(name);
        assert_eq!(ours.remove("max"), Some(max));
        assert_eq!(expected.values().max(), Some(&max), "{name}");
        ours.retain(|constant, _| !constant.starts_with("state-"));
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
            "vif"
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

/// The limits of an attribute, as in the schema.
fn range(schema: &Yaml, name: &str, attribute: &str) -> (u32, u32) {
    let attribute = set(schema, name)
        .iter()
        .find(|candidate| text(candidate, "name") == attribute)
        .expect("the attribute");
    let limit = |key: &str| {
        let limit = attribute["checks"][key].as_i64().expect("a limit");
        u32::try_from(limit).expect("a limit of 32 bits")
    };
    (limit("min"), limit("max"))
}

#[test]
fn limits() {
    let schema = schema();
    assert_eq!(range(&schema, "net", "mtu"), abi::MTU_RANGE);
    assert_eq!(range(&schema, "net", "ageing"), abi::AGEING_RANGE);
    assert_eq!(range(&schema, "net", "max-macs"), abi::MAX_MACS_RANGE);
    for (range, default) in [
        (abi::AGEING_RANGE, abi::AGEING_DEFAULT),
        (abi::MAX_MACS_RANGE, abi::MAX_MACS_DEFAULT),
    ] {
        assert!((range.0..=range.1).contains(&default));
    }
    let definition = |name: &str| {
        list(&schema["definitions"])
            .iter()
            .find(|definition| text(definition, "name") == name)
            .unwrap_or_else(|| panic!("no definition {name}"))
            .clone()
    };
    let constant = |name: &str| definition(name)["value"].as_i64();
    assert_eq!(constant("id-len"), Some(vnet_core::id::ID_LEN as i64));
    assert_eq!(constant("mac-len"), Some(vnet_core::mac::MAC_LEN as i64));
    assert_eq!(
        constant("ifname-max"),
        Some(vnet_core::id::IFNAME_SIZE as i64 - 1)
    );
    let states: Vec<_> = list(&definition("varp-state")["entries"])
        .iter()
        .map(|state| state.as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(states[abi::varp::STATE_LEARNED as usize], "learned");
    assert_eq!(states[abi::varp::STATE_STATIC as usize], "static");
    assert_eq!(states.len(), 2);
}
