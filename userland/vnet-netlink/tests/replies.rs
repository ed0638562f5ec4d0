// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Bytes of answers and notifications become values, and these JSON.

use serde_json::json;
use vnet_core::VnetId;
use vnet_core::abi::{self, HostCounter, NetCounter, cmd};
use vnet_netlink::attributes::Writer;
use vnet_netlink::{Event, Flushed, Host, Net, Peer, Varp, Vif};

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
fn tables() {
    let varp = attributes(&[
        (abi::varp::NET, vnet5().as_bytes()),
        (abi::varp::MAC, &[2, 0, 0, 5, 0, 2]),
        (abi::varp::ADDR, &[192, 0, 2, 2]),
        (abi::varp::STATE, &abi::varp::STATE_STATIC.to_ne_bytes()),
    ]);
    let varp = Varp::parse(&varp.into_bytes()).expect("an entry");
    assert_eq!(
        serde_json::to_value(varp).expect("JSON"),
        json!({"net": "0005", "mac": "02:00:00:05:00:02", "addr": "192.0.2.2", "state": "static"})
    );

    let vif = attributes(&[
        (abi::vif::NET, vnet5().as_bytes()),
        (abi::vif::MAC, &[2, 0, 0, 5, 0, 1]),
        (abi::vif::AGE, &12u32.to_ne_bytes()),
    ]);
    let vif = Vif::parse(&vif.into_bytes()).expect("an entry");
    assert_eq!(
        serde_json::to_value(vif).expect("JSON"),
        json!({"net": "0005", "mac": "02:00:00:05:00:01", "age": 12})
    );

    let peer = Peer::parse(&attributes(&[(abi::peer::ADDR, &[198, 51, 100, 3])]).into_bytes());
    assert_eq!(
        serde_json::to_value(peer.expect("a peer")).expect("JSON"),
        json!({"addr": "198.51.100.3"})
    );
}

#[test]
fn notifications() {
    let event = Event::parse(cmd::NET_DEL_NTF, &net())
        .expect("a notification")
        .expect("a known one");
    let value = serde_json::to_value(&event).expect("JSON");
    assert_eq!(
        (&value["event"], &value["id"]),
        (&json!("net-del"), &json!("0005"))
    );

    let flushed = attributes(&[
        (abi::varp::NET, vnet5().as_bytes()),
        (abi::varp::COUNT, &6u32.to_ne_bytes()),
    ])
    .into_bytes();
    let event = Event::parse(cmd::VARP_FLUSH_NTF, &flushed)
        .expect("a notification")
        .expect("a known one");
    assert_eq!(
        serde_json::to_value(&event).expect("JSON"),
        json!({"event": "varp-flush", "net": "0005", "count": 6})
    );
    assert_eq!(Event::parse(200, &[]).expect("nothing to refuse"), None);
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
