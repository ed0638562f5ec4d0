// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Bytes of answers and notifications become values, and these JSON.

use std::net::Ipv6Addr;

use serde_json::json;
use vnet_core::abi::{self, HostCounter, NetCounter, cmd};
use vnet_core::{Setting, VnetId};
use vnet_netlink::attributes::Writer;
use vnet_netlink::{
    Answer, Damped, Event, Flood, Flushed, Host, HostConfig, Key, Net, Peer, Probe, Remote, Varp,
    Vif, value_names,
};

fn vnet5() -> VnetId {
    "5".parse().expect("an id")
}

/// Attributes with these values.
fn attributes(values: &[(u16, &[u8])]) -> Writer {
    let mut writer = Writer::new();
    for (kind, value) in values {
        writer.put(*kind, value).expect("short");
    }
    writer
}

fn net() -> Vec<u8> {
    let stats = attributes(&[
        (abi::net_stats::RX_PACKETS, &3u64.to_ne_bytes()),
        (NetCounter::TxTooBig.attr(), &7u64.to_ne_bytes()),
        (999, &[0; 3]),
    ]);
    let mut writer = attributes(&[
        (abi::net::ID, vnet5().as_bytes()),
        (abi::net::IFNAME, b"vnif0005\0"),
        (abi::net::IFINDEX, &9u32.to_ne_bytes()),
        (abi::net::MTU, &1436u32.to_ne_bytes()),
        (abi::net::AGEING, &300_000u32.to_ne_bytes()),
        (abi::net::MAX_MACS, &65536u32.to_ne_bytes()),
        (abi::net::MACS, &2u32.to_ne_bytes()),
        (abi::net::VIFS, &1u32.to_ne_bytes()),
        (abi::net::NETNSID, &4i32.to_ne_bytes()),
        (abi::net::UNDERLAY_MTU, &1436u32.to_ne_bytes()),
        (999, b"later"),
    ]);
    writer.put_nest(abi::net::STATS, &stats).expect("short");
    writer.into_bytes()
}

#[test]
fn net_has_the_names_of_the_schema() {
    let net = Net::parse(&net()).expect("a vnet");
    assert_eq!(
        serde_json::to_value(&net).expect("JSON"),
        json!({
            "id": "0005", "ifname": "vnif0005", "ifindex": 9, "mtu": 1436, "ageing": 300000,
            "max-macs": 65536, "macs": 2, "vifs": 1, "netnsid": 4, "underlay-mtu": 1436,
            "stats": {"rx-packets": 3, "tx-too-big": 7},
        })
    );
    let stats = net.stats.expect("counters");
    assert_eq!((stats.get("tx-too-big"), stats.get("rx-down")), (7, 0));
}

#[test]
fn host_without_a_group() {
    let stats = attributes(&[(HostCounter::RxUnknownNet.attr(), &1u64.to_ne_bytes())]);
    let mut writer = attributes(&[
        (abi::host::PORT, &1798u16.to_ne_bytes()),
        (abi::host::GROUP, &[0; 4]),
        (abi::host::DEVICE, &0u32.to_ne_bytes()),
        (abi::host::TTL, &[64]),
        (abi::host::NETS, &2u32.to_ne_bytes()),
        (abi::host::VERSION, b"0.1.0\0"),
    ]);
    writer.put_nest(abi::host::STATS, &stats).expect("short");
    let host = Host::parse(&writer.into_bytes()).expect("settings");
    assert_eq!(
        serde_json::to_value(&host).expect("JSON"),
        json!({
            "port": 1798, "group": null, "device": 0, "ttl": 64, "nets": 2, "version": "0.1.0",
            "stats": {"rx-unknown-net": 1},
        })
    );
}

#[test]
fn host_with_everything() {
    let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x1798);
    let writer = attributes(&[
        (abi::host::PORT, &1798u16.to_ne_bytes()),
        (abi::host::GROUP, &group.octets()),
        (abi::host::DEVICE, &2u32.to_ne_bytes()),
        (abi::host::TTL, &[abi::TTL_INHERIT]),
        (abi::host::FLOOD, &abi::host::FLOOD_PEERS.to_ne_bytes()),
        (abi::host::DSCP, &[abi::DSCP_INHERIT]),
        (abi::host::JOINED, &2u32.to_ne_bytes()),
    ]);
    let host = Host::parse(&writer.into_bytes()).expect("settings");
    assert_eq!(
        serde_json::to_value(host.configuration()).expect("JSON"),
        json!({"port": 1798, "group": "ff05::1798", "device": 2, "ttl": 0, "flood": "peers", "dscp": 255})
    );
    assert_eq!((host.flood, host.joined), (Some(Flood::Peers), Some(2)));
}

#[test]
fn every_setting_of_a_net() {
    let mut writer = attributes(&[(abi::net::ID, vnet5().as_bytes())]);
    for setting in Setting::ALL {
        let value = setting.range().1.to_ne_bytes();
        writer.put(setting.attr(), &value).expect("short");
    }
    writer
        .put(abi::net::HELD, &7u32.to_ne_bytes())
        .and_then(|w| w.put(abi::net::UNRESOLVED, &8u32.to_ne_bytes()))
        .and_then(|w| w.put(abi::net::SENDERS, &9u32.to_ne_bytes()))
        .expect("short");
    let net = Net::parse(&writer.into_bytes()).expect("a vnet");
    let value = serde_json::to_value(&net).expect("JSON");
    for setting in Setting::ALL {
        assert_eq!(net.settings.get(*setting), Some(setting.range().1));
        let shown = match value_names(*setting).last() {
            Some(name) => json!(name),
            None => json!(setting.range().1),
        };
        assert_eq!(value[setting.name()], shown);
    }
    assert_eq!(
        [&value["held"], &value["unresolved"], &value["senders"]],
        [&json!(7), &json!(8), &json!(9)]
    );
    let value = serde_json::to_value(net.configuration()).expect("JSON");
    assert_eq!(value["held"], json!(null), "it changes by itself");
}

/// A record is these bytes and this JSON, and what is written is what was read.
macro_rules! same {
    ($record:ident, $attributes:expr, $json:expr) => {
        let bytes = attributes($attributes).into_bytes();
        let record = $record::parse(&bytes).expect(stringify!($record));
        let mut writer = Writer::new();
        record.write(&mut writer).expect("short");
        assert_eq!(writer.into_bytes(), bytes, stringify!($record));
        let value = serde_json::to_value(&record).expect("JSON");
        assert_eq!(value, $json);
        let object = value.as_object().expect("an object");
        assert_eq!(record.fields().len(), object.len());
        for (name, text) in record.fields() {
            let value = &object[&name];
            assert_eq!(
                text,
                value.as_str().map_or(value.to_string(), str::to_owned)
            );
        }
    };
}

#[test]
fn records() {
    let net = vnet5();
    let net = net.as_bytes();
    let mac = &[2, 0, 0, 5, 0, 2];
    let v6 = &Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets();
    let number = |value: u32| value.to_ne_bytes();
    same!(
        Varp,
        &[
            (abi::varp::NET, net),
            (abi::varp::MAC, mac),
            (abi::varp::ADDR, &[192, 0, 2, 2]),
            (abi::varp::STATE, &number(abi::varp::STATE_STATIC)),
        ],
        json!({"net": "0005", "mac": "02:00:00:05:00:02", "addr": "192.0.2.2", "state": "static"})
    );
    same!(
        Varp,
        &[
            (abi::varp::NET, net),
            (abi::varp::MAC, mac),
            (abi::varp::STATE, &number(abi::varp::STATE_PROBING)),
            (abi::varp::HELD, &number(3)),
        ],
        json!({"net": "0005", "mac": "02:00:00:05:00:02", "state": "probing", "held": 3})
    );
    same!(
        Varp,
        &[
            (abi::varp::NET, net),
            (abi::varp::MAC, mac),
            (abi::varp::ADDR, v6),
            (abi::varp::STATE, &number(77)),
            (abi::varp::AGE, &number(1250)),
            (abi::varp::MOVES, &number(6)),
            (abi::varp::DAMPED, &number(29_000)),
        ],
        json!({
            "net": "0005", "mac": "02:00:00:05:00:02", "addr": "2001:db8::2", "state": 77, "age": 1250, "moves": 6,
            "damped": 29000,
        })
    );
    same!(
        Vif,
        &[
            (abi::vif::NET, net),
            (abi::vif::MAC, mac),
            (abi::vif::AGE, &number(12)),
            (abi::vif::MOVES, &number(1)),
            (abi::vif::DAMPED, &number(5)),
        ],
        json!({"net": "0005", "mac": "02:00:00:05:00:02", "age": 12, "moves": 1, "damped": 5})
    );
    same!(
        Peer,
        &[(abi::peer::ADDR, v6)],
        json!({"addr": "2001:db8::2"})
    );
    same!(
        Flushed,
        &[(abi::varp::NET, net), (abi::varp::COUNT, &number(6))],
        json!({"net": "0005", "count": 6})
    );
    same!(
        Damped,
        &[
            (abi::varp::NET, net),
            (abi::varp::MAC, mac),
            (abi::varp::ADDR, v6),
            (abi::varp::OTHER, &[192, 0, 2, 2]),
            (abi::varp::MOVES, &number(6)),
            (abi::varp::DAMPED, &number(30_000)),
        ],
        json!({
            "net": "0005", "mac": "02:00:00:05:00:02", "addr": "2001:db8::2", "other": "192.0.2.2", "moves": 6,
            "damped": 30000,
        })
    );
    same!(
        Remote,
        &[
            (abi::remote::NET, net),
            (abi::remote::ADDR, v6),
            (abi::remote::LISTED, &[1]),
            (abi::remote::MACS, &number(4)),
        ],
        json!({"net": "0005", "addr": "2001:db8::2", "listed": 1, "macs": 4})
    );
    same!(
        Probe,
        &[
            (abi::probe::NET, net),
            (abi::probe::MAC, mac),
            (abi::probe::ADDR, &[192, 0, 2, 2]),
            (abi::probe::SIZE, &number(1472)),
        ],
        json!({"net": "0005", "mac": "02:00:00:05:00:02", "addr": "192.0.2.2", "size": 1472})
    );
    same!(
        Answer,
        &[
            (abi::probe::NET, net),
            (abi::probe::MAC, mac),
            (abi::probe::ADDR, &[192, 0, 2, 2]),
            (abi::probe::CARE_OF, &[198, 51, 100, 2]),
        ],
        json!({"net": "0005", "mac": "02:00:00:05:00:02", "addr": "192.0.2.2", "care-of": "198.51.100.2"})
    );
    same!(
        Key,
        &[
            (abi::key::NET, net),
            (abi::key::INDEX, &number(7)),
            (abi::key::SLOT, &number(abi::key::SLOT_CURRENT)),
            (abi::key::AGE, &61_000u64.to_ne_bytes()),
            (abi::key::COUNTER, &(1u64 << 59).to_ne_bytes()),
        ],
        json!({"net": "0005", "index": 7, "slot": "current", "age": 61000, "counter": 1u64 << 59})
    );
    same!(
        HostConfig,
        &[
            (abi::host::PORT, &1799u16.to_ne_bytes()),
            (abi::host::GROUP, v6),
            (abi::host::DEVICE, &number(0)),
            (abi::host::TTL, &[0]),
            (abi::host::FLOOD, &number(abi::host::FLOOD_GROUP)),
            (abi::host::DSCP, &[46]),
        ],
        json!({"port": 1799, "group": "2001:db8::2", "device": 0, "ttl": 0, "flood": "group", "dscp": 46})
    );
}

/// The JSON of a notification.
fn event(command: u8, attributes: &[u8]) -> serde_json::Value {
    let event = Event::parse(command, attributes)
        .expect("a notification")
        .expect("a known one");
    let value = serde_json::to_value(&event).expect("JSON");
    assert_eq!(value["event"], json!(event.name()));
    value
}

#[test]
fn every_notification_is_an_event_of_its_name() {
    let net5 = vnet5();
    let of_net = net();
    let of_host = attributes(&[(abi::host::PORT, &1798u16.to_ne_bytes())]).into_bytes();
    let of_peer = attributes(&[(abi::peer::ADDR, &[192, 0, 2, 2])]).into_bytes();
    let of_mac = attributes(&[
        (abi::varp::NET, net5.as_bytes()),
        (abi::varp::MAC, &[2, 0, 0, 5, 0, 2]),
    ])
    .into_bytes();
    let of_flush = attributes(&[
        (abi::varp::NET, net5.as_bytes()),
        (abi::varp::COUNT, &6u32.to_ne_bytes()),
    ])
    .into_bytes();
    let of_remote = attributes(&[
        (abi::remote::NET, net5.as_bytes()),
        (abi::remote::ADDR, &[192, 0, 2, 2]),
    ])
    .into_bytes();
    let of_key = attributes(&[
        (abi::key::NET, net5.as_bytes()),
        (abi::key::INDEX, &7u32.to_ne_bytes()),
    ])
    .into_bytes();
    for (command, attributes, name) in [
        (cmd::NET_NEW_NTF, &of_net, "net-new"),
        (cmd::NET_SET_NTF, &of_net, "net-set"),
        (cmd::NET_DEL_NTF, &of_net, "net-del"),
        (cmd::HOST_SET_NTF, &of_host, "host-set"),
        (cmd::PEER_NEW_NTF, &of_peer, "peer-new"),
        (cmd::PEER_DEL_NTF, &of_peer, "peer-del"),
        (cmd::VARP_NEW_NTF, &of_mac, "varp-new"),
        (cmd::VARP_DEL_NTF, &of_mac, "varp-del"),
        (cmd::VARP_FLUSH_NTF, &of_flush, "varp-flush"),
        (cmd::REMOTE_NEW_NTF, &of_remote, "remote-new"),
        (cmd::REMOTE_DEL_NTF, &of_remote, "remote-del"),
        (cmd::VARP_DAMPED_NTF, &of_mac, "varp-damped"),
        (cmd::PROBE_NTF, &of_mac, "probe"),
        (cmd::KEY_NEW_NTF, &of_key, "key-new"),
        (cmd::KEY_DEL_NTF, &of_key, "key-del"),
        (cmd::KEY_ROTATED_NTF, &of_key, "key-rotated"),
        (cmd::KEY_EXPIRING_NTF, &of_key, "key-expiring"),
    ] {
        assert_eq!(event(command, attributes)["event"], json!(name));
    }
    assert_eq!(event(cmd::NET_DEL_NTF, &of_net)["ageing"], json!(300_000));
    assert_eq!(
        event(cmd::VARP_FLUSH_NTF, &of_flush),
        json!({"event": "varp-flush", "net": "0005", "count": 6})
    );
    assert_eq!(Event::parse(200, &[]).expect("nothing to refuse"), None);
    assert!(Event::parse(cmd::PROBE_NTF, &of_peer).is_err());
}

#[test]
fn what_is_short_or_missing_is_refused() {
    assert!(Net::parse(&[]).is_err());
    assert!(Peer::parse(&attributes(&[(abi::peer::ADDR, &[1, 2, 3])]).into_bytes()).is_err());
    assert!(Net::parse(&attributes(&[(abi::net::ID, &[0; 15])]).into_bytes()).is_err());
    assert!(Flushed::parse(&attributes(&[(abi::varp::COUNT, &[0; 4])]).into_bytes()).is_err());
    let net = net();
    for length in (0..net.len()).step_by(4) {
        let _ = Net::parse(&net[..length]);
    }
}
