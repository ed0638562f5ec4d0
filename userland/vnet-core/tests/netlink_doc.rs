// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The tables of `docs/netlink.md` are those of `module/uapi/vnet.yaml`. After a change of the schema:
//! `VNET_UPDATE=1 cargo test -p vnet-core --test netlink_doc`

use std::fmt::Write;
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

const BEGIN: &str = "<!-- begin: made from module/uapi/vnet.yaml, do not edit -->\n";
const END: &str = "<!-- end -->\n";

fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map(Vec::as_slice).unwrap_or_default()
}

fn text(yaml: &Yaml) -> String {
    let words = yaml.as_str().unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The names of a list of attributes.
fn names(yaml: &Yaml) -> String {
    let names: Vec<_> = list(&yaml["attributes"])
        .iter()
        .map(|name| format!("`{}`", text(name)))
        .collect();
    if names.is_empty() {
        "–".to_owned()
    } else {
        names.join(" ")
    }
}

fn operations(schema: &Yaml, out: &mut String) {
    out.push_str("| number | command | how | needs | request | answer | what |\n|---|---|---|---|---|---|---|\n");
    let all = list(&schema["operations"]["list"]);
    for operation in all {
        for how in ["do", "dump"] {
            let mode = &operation[how];
            if mode.is_badvalue() {
                continue;
            }
            let admin = list(&operation["flags"])
                .iter()
                .any(|flag| text(flag) == "uns-admin-perm");
            let _ = writeln!(
                out,
                "| {} | `{}` | {how} | {} | {} | {} | {} |",
                operation["value"].as_i64().unwrap_or_default(),
                text(&operation["name"]),
                if admin { "CAP_NET_ADMIN" } else { "–" },
                names(&mode["request"]),
                names(&mode["reply"]),
                text(&operation["doc"]),
            );
        }
    }
    out.push_str(
        "\n| number | notification | group | attributes | what |\n|---|---|---|---|---|\n",
    );
    for operation in all {
        let like = text(&operation["notify"]);
        let attributes = if like.is_empty() {
            let event = &operation["event"];
            if event.is_badvalue() {
                continue;
            }
            names(event)
        } else {
            format!("as the answer of `{like}`")
        };
        let _ = writeln!(
            out,
            "| {} | `{}` | `{}` | {attributes} | {} |",
            operation["value"].as_i64().unwrap_or_default(),
            text(&operation["name"]),
            text(&operation["mcgrp"]),
            text(&operation["doc"]),
        );
    }
}

/// The value of a limit, which may be the name of a constant.
fn limit(schema: &Yaml, value: &Yaml) -> String {
    if let Some(number) = value.as_i64() {
        return number.to_string();
    }
    let name = text(value);
    let constant = list(&schema["definitions"])
        .iter()
        .find(|definition| text(&definition["name"]) == name)
        .and_then(|definition| definition["value"].as_i64());
    constant.map_or(name, |number| number.to_string())
}

fn sets(schema: &Yaml, out: &mut String) {
    for set in list(&schema["attribute-sets"]) {
        let _ = writeln!(out, "\n### `{}`\n", text(&set["name"]));
        let doc = text(&set["doc"]);
        if !doc.is_empty() {
            let _ = writeln!(out, "{doc}\n");
        }
        out.push_str("| number | attribute | type | limits | what |\n|---|---|---|---|---|\n");
        for (number, attribute) in (1..).zip(list(&set["attributes"])) {
            let mut limits = Vec::new();
            for (key, words) in [
                ("exact-len", "bytes"),
                ("min-len", "bytes at least"),
                ("max-len", "bytes at most"),
                ("min", "at least"),
                ("max", "at most"),
            ] {
                let value = &attribute["checks"][key];
                if !value.is_badvalue() {
                    limits.push(format!("{words}: {}", limit(schema, value)));
                }
            }
            let kind = match text(&attribute["nested-attributes"]) {
                nested if nested.is_empty() => text(&attribute["type"]),
                nested => format!("nest of `{nested}`"),
            };
            let kind = match text(&attribute["enum"]) {
                name if name.is_empty() => kind,
                name => {
                    let entries = list(&schema["definitions"])
                        .iter()
                        .find(|definition| text(&definition["name"]) == name)
                        .map(|definition| list(&definition["entries"]))
                        .unwrap_or_default();
                    let entries: Vec<_> = (0..)
                        .zip(entries)
                        .map(|(value, entry)| format!("{value} {}", text(entry)))
                        .collect();
                    format!("{kind}: {}", entries.join(", "))
                }
            };
            let _ = writeln!(
                out,
                "| {number} | `{}` | {kind} | {} | {} |",
                text(&attribute["name"]),
                limits.join(", "),
                text(&attribute["doc"]),
            );
        }
    }
}

#[test]
fn tables_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let schema = std::fs::read_to_string(root.join("module/uapi/vnet.yaml")).expect("vnet.yaml");
    let schema = YamlLoader::load_from_str(&schema)
        .expect("well-formed YAML")
        .remove(0);
    let mut tables = String::from("\n## Commands\n\n");
    operations(&schema, &mut tables);
    tables.push_str("\n## Attributes\n");
    sets(&schema, &mut tables);
    tables.push('\n');

    let path = root.join("docs/netlink.md");
    let found = std::fs::read_to_string(&path).expect("docs/netlink.md");
    let (before, rest) = found.split_once(BEGIN).expect("where the tables begin");
    let (between, after) = rest.split_once(END).expect("where the tables end");
    if between == tables {
        return;
    }
    if std::env::var_os("VNET_UPDATE").is_some() {
        std::fs::write(&path, [before, BEGIN, &tables, END, after].concat()).expect("written");
        return;
    }
    panic!("the tables of docs/netlink.md are not current; run this test with VNET_UPDATE=1");
}

/// Every counter is explained to those who operate a host.
#[test]
fn every_counter_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_to_string(root.join("docs/operating.md")).expect("docs/operating.md");
    let (net, host) = guide
        .split_once("### Of the namespace")
        .expect("the counters of the namespace");
    let explained = |text: &str, name: &str| text.contains(&format!("| `{name}` |"));
    for name in vnet_core::abi::net_stats::NAMES {
        assert!(explained(net, name), "{name}");
    }
    for counter in vnet_core::abi::NetCounter::ALL {
        assert!(explained(net, counter.name()), "{}", counter.name());
    }
    for counter in vnet_core::abi::HostCounter::ALL {
        assert!(explained(host, counter.name()), "{}", counter.name());
    }
}
