// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! rtnetlink against the running kernel, in a network namespace of the test's own.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use vnet_netlink::{Error, Links};

/// Moves this thread into a new network namespace. Where that is not allowed the test is skipped, except in CI.
fn isolate() -> bool {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => {
            panic!("CI must run this test: no network namespace: {error}")
        }
        Err(error) => {
            eprintln!("SKIPPED: no network namespace: {error}");
            false
        }
    }
}

/// Makes a pair of devices.
fn veth(one: &str, other: &str) -> bool {
    let made = std::process::Command::new("ip")
        .args(["link", "add", one, "type", "veth", "peer", "name", other])
        .status()
        .is_ok_and(|status| status.success());
    if !made {
        eprintln!("SKIPPED: no veth on this kernel");
    }
    made
}

#[test]
fn bridge_life() {
    if !isolate() {
        return;
    }
    let mut links = Links::open().expect("a socket");
    assert_eq!(links.by_name("vnbr0005").expect("an answer"), None);
    assert!(links.create_bridge("vnbr0005").expect("made"));
    assert!(!links.create_bridge("vnbr0005").expect("there already"));

    let bridge = links
        .by_name("vnbr0005")
        .expect("an answer")
        .expect("a bridge");
    assert!(bridge.is_bridge() && !bridge.up, "{bridge:?}");
    assert_eq!(bridge.mtu, 1500);
    assert_eq!(
        links.by_index(bridge.index).expect("an answer"),
        Some(bridge.clone())
    );
    for (file, value) in [("stp_state", "0"), ("forward_delay", "0")] {
        // sysfs shows the namespace in which it was mounted.
        if let Ok(text) = std::fs::read_to_string(format!("/sys/class/net/vnbr0005/bridge/{file}"))
        {
            assert_eq!(text.trim(), value, "{file}");
        }
    }

    // A bridge cannot be a port of a bridge, and the kernel's own words say so.
    assert!(links.create_bridge("other").expect("made"));
    let other = links
        .by_name("other")
        .expect("an answer")
        .expect("a bridge");
    let error = links
        .set_master(other.index, Some(bridge.index))
        .expect_err("refused");
    assert_eq!(error.errno(), Some(Errno::ELOOP));
    let Error::Refused(refusal) = &error else {
        panic!("{error:?}");
    };
    assert!(
        refusal
            .text
            .as_deref()
            .is_some_and(|text| text.contains("bridge")),
        "{error}"
    );

    links.set_up(bridge.index, true).expect("up");
    links.set_up(bridge.index, false).expect("down");
    assert!(
        !links
            .by_index(bridge.index)
            .expect("an answer")
            .expect("a bridge")
            .up
    );
    links.set_up(bridge.index, true).expect("up");

    let names: Vec<_> = links
        .list()
        .expect("a list")
        .into_iter()
        .map(|link| link.name)
        .collect();
    assert!(
        ["lo", "vnbr0005", "other"]
            .iter()
            .all(|name| names.contains(&(*name).to_owned()))
    );

    links.delete(bridge.index).expect("deleted");
    assert_eq!(links.by_index(bridge.index).expect("an answer"), None);
    assert!(links.delete(bridge.index).expect_err("gone").is_absent());
}

#[test]
fn ports_come_and_go() {
    if !isolate() {
        return;
    }
    let mut links = Links::open().expect("a socket");
    // One end stands for a vnif.
    if !veth("vnif0005", "other") {
        return;
    }
    assert!(links.create_bridge("vnbr0005").expect("made"));
    let find =
        |links: &mut Links, name: &str| links.by_name(name).expect("an answer").expect("a device");
    let (port, bridge) = (find(&mut links, "vnif0005"), find(&mut links, "vnbr0005"));
    assert_eq!((port.kind.as_str(), port.master), ("veth", None));

    links
        .set_master(port.index, Some(bridge.index))
        .expect("a port");
    assert_eq!(find(&mut links, "vnif0005").master, Some(bridge.index));
    links.set_master(port.index, None).expect("released");
    assert_eq!(find(&mut links, "vnif0005").master, None);
}

#[test]
fn names_that_cannot_be() {
    if !isolate() {
        return;
    }
    let mut links = Links::open().expect("a socket");
    for name in ["a\0b", "a name that is longer than fifteen bytes", ""] {
        assert!(links.create_bridge(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_device_gets_no_address_by_itself() {
    if !isolate() || !veth("silent", "talks") {
        return;
    }
    let mut links = Links::open().expect("a socket");
    let index = |links: &mut Links, name: &str| {
        let link = links.by_name(name).expect("an answer");
        link.expect("a device").index
    };
    let (silent, talks) = (index(&mut links, "silent"), index(&mut links, "talks"));
    links.set_no_address(silent).expect("silent");
    links.set_up(silent, true).expect("up");
    links.set_up(talks, true).expect("up");
    // Of this thread's namespace.
    let addresses =
        || std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    for _ in 0..100 {
        if addresses().contains("talks") {
            assert!(!addresses().contains("silent"), "{}", addresses());
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    eprintln!("SKIPPED: no IPv6 on this kernel");
}
