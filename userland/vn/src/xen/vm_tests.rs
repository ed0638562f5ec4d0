// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

use super::*;

fn record(name: &str, role: Role, vnet: &str, last: u8) -> Record {
    Record {
        name: name.to_owned(),
        role,
        vnet: vnet.to_owned(),
        image: "/images/x".into(),
        memory: 256,
        nics: vec![Nic {
            mac: format!("02:00:00:00:00:{last:02x}"),
            bridge: format!("vnbr{vnet}"),
        }],
        address: Ipv4Addr::new(10, 1, 1, last),
        lease: None,
        console: None,
        password: None,
        flood: 10,
        complete: true,
    }
}

#[test]
fn what_two_machines_cannot_have() {
    let one = record("one", Role::Guest, "0005", 56);
    assert_eq!(clash(&record("two", Role::Guest, "0005", 57), &one), None);
    // Another customer may have the same addresses.
    assert_eq!(clash(&record("two", Role::Guest, "0006", 56), &one), None);
    let clash_of = |change: &dyn Fn(&mut Record)| {
        let mut two = record("two", Role::Guest, "0005", 57);
        change(&mut two);
        clash(&two, &one)
    };
    let same_mac = clash_of(&|two| two.nics.clone_from(&one.nics)).expect("refused");
    assert_eq!(same_mac, "address 02:00:00:00:00:38 on vnbr0005");
    assert_eq!(
        clash_of(&|two| two.address = one.address).as_deref(),
        Some("address 10.1.1.56")
    );
    let with_console = |mut record: Record| {
        record.console = Some(Console {
            listen: Ipv4Addr::LOCALHOST,
            display: 11,
        });
        record
    };
    let two = with_console(record("two", Role::Guest, "0006", 57));
    assert_eq!(clash(&two, &one), None);
    assert_eq!(
        clash(&two, &with_console(one)).as_deref(),
        Some("console 11")
    );
    let domr = record("r-1", Role::Domr, "0005", 33);
    let other = record("r-2", Role::Domr, "0005", 34);
    assert_eq!(clash(&other, &domr).as_deref(), Some("vnet 0005"));
    let other = record("r-2", Role::Domr, "0006", 33);
    assert_eq!(clash(&other, &domr).as_deref(), Some("address 10.1.1.33"));
}

#[test]
fn what_does_not_run_is_listed_too() {
    let mut half = record("half", Role::Guest, "0005", 57);
    half.complete = false;
    let records = [record("gone", Role::Guest, "0005", 56), half];
    let views = views(&records, &[], &[]);
    let states: Vec<_> = views
        .iter()
        .map(|view| (view.name.as_str(), view.state.as_str()))
        .collect();
    assert_eq!(states, [("gone", "stopped"), ("half", "half-made")]);
    let text = serde_json::to_string(&views[0]).expect("text");
    assert_eq!(
        text,
        r#"{"name":"gone","state":"stopped","role":"guest","vnet":"0005","nics":[{"mac":"02:00:00:00:00:38","bridge":"vnbr0005"}],"address":"10.1.1.56","memory":256,"image":"/images/x"}"#
    );
}
