// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn monitor`: a line for every change, and for what happens on the wire. Where notifications were lost, what is
//! configured is read anew, and what differs is told.

use std::fmt;
use std::io::Write;

use serde::Serialize;
use vnet_netlink::{Error, Event, Host, Monitor, Net};

use super::Context;
use crate::output;
use crate::state::State;

/// What is printed where notifications were lost; what had changed meanwhile follows.
#[derive(Serialize)]
struct Resync {
    event: &'static str,
}

const RESYNC: Resync = Resync { event: "resync" };

pub(crate) fn run(context: &mut Context) -> anyhow::Result<()> {
    // It must listen before it looks, so that nothing is missed between.
    let mut monitor = Monitor::open(&context.endpoint)?;
    let mut state = State::read(&mut context.client()?)?;
    loop {
        match monitor.next_event() {
            Ok(event) => tell(context, &mut state, event)?,
            Err(Error::Overrun) => {
                // What still waits in the old socket is older than what is read now.
                monitor = Monitor::open(&context.endpoint)?;
                let now = State::read(&mut context.client()?)?;
                if context.json() {
                    json(context, &RESYNC)?;
                } else {
                    context.line(RESYNC.event)?;
                }
                for event in state.changes_to(&now) {
                    tell(context, &mut state, event)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn json(context: &mut Context, value: &impl Serialize) -> anyhow::Result<()> {
    output::json(&mut context.out, value, false)?;
    Ok(context.out.flush()?)
}

fn tell(context: &mut Context, state: &mut State, mut event: Event) -> anyhow::Result<()> {
    if !context.options.stats {
        match &mut event {
            Event::NetNew(net) | Event::NetSet(net) | Event::NetDel(net) => net.stats = None,
            Event::HostSet(host) => host.stats = None,
            _ => {}
        }
    }
    if context.json() {
        json(context, &event)?;
    } else {
        let line = Line {
            event: &event,
            state,
            details: context.options.details,
        };
        context.line(line)?;
    }
    state.apply(&event);
    Ok(())
}

/// An event on one line.
struct Line<'a> {
    event: &'a Event,
    /// What was there before.
    state: &'a State,
    details: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.event.name())?;
        for (name, value) in self.fields() {
            write!(f, " {name} {value}")?;
        }
        Ok(())
    }
}

impl Line<'_> {
    fn fields(&self) -> Vec<(String, String)> {
        match self.event {
            Event::NetNew(net) | Event::NetDel(net) => of_net(net, None, self.details),
            Event::NetSet(net) => of_net(net, self.state.net(net.id), self.details),
            Event::HostSet(host) => of_host(host),
            Event::PeerNew(record) | Event::PeerDel(record) => record.fields(),
            Event::VarpNew(record) | Event::VarpDel(record) => record.fields(),
            Event::VarpFlush(record) => record.fields(),
            Event::RemoteNew(record) | Event::RemoteDel(record) => record.fields(),
            Event::VarpDamped(record) => record.fields(),
            Event::Probe(record) => record.fields(),
            Event::KeyNew(record)
            | Event::KeyDel(record)
            | Event::KeyRotated(record)
            | Event::KeyExpiring(record) => record.fields(),
        }
    }
}

fn pair(name: &str, value: impl fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// Of the many settings those that are not the default, or, of a vnet that was there `before`, those that were changed.
fn of_net(net: &Net, before: Option<&Net>, all: bool) -> Vec<(String, String)> {
    let mut fields = vec![pair("id", net.id)];
    if !net.ifname.is_empty() {
        fields.push(pair("ifname", &net.ifname));
    }
    fields.extend(net.ifindex.map(|index| pair("ifindex", index)));
    fields.extend(net.netnsid.map(|number| pair("netnsid", number)));
    fields.extend(net.mtu.map(|mtu| pair("mtu", mtu)));
    let settings = net.settings.iter().filter(|shown| {
        let known = match before {
            Some(before) => before.settings.get(shown.setting),
            None => Some(shown.setting.default()),
        };
        all || known != Some(shown.value)
    });
    fields.extend(settings.map(|shown| pair(shown.setting.name(), shown)));
    fields
}

fn of_host(host: &Host) -> Vec<(String, String)> {
    let group = host.group.map(|group| group.to_string());
    let mut fields = vec![
        pair("port", host.port),
        pair("group", group.as_deref().unwrap_or("none")),
        pair("device", host.device),
        pair("ttl", host.ttl),
    ];
    fields.extend(host.flood.map(|flood| pair("flood", flood)));
    fields.extend(host.dscp.map(|dscp| pair("dscp", dscp)));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use vnet_core::{Setting, VnetId};
    use vnet_netlink::{Damped, Flushed, Key, KeySlot, Peer};

    fn line(event: &Event, state: &State, details: bool) -> String {
        Line {
            event,
            state,
            details,
        }
        .to_string()
    }

    fn id() -> VnetId {
        "5".parse().expect("an id")
    }

    #[test]
    fn lines() {
        let line = |event| line(&event, &State::default(), false);
        let host = Host {
            port: 1798,
            ttl: 64,
            ..Host::default()
        };
        assert_eq!(
            line(Event::HostSet(host)),
            "host-set port 1798 group none device 0 ttl 64"
        );
        let addr = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(
            line(Event::PeerNew(Peer::new(addr))),
            "peer-new addr 192.0.2.1"
        );
        assert_eq!(
            line(Event::VarpFlush(Flushed::new(id(), 3))),
            "varp-flush net 0005 count 3"
        );
        let damped = Damped {
            other: Some(addr),
            damped: Some(30_000),
            ..Damped::new(id(), "02:00:00:05:00:02".parse().expect("a MAC"))
        };
        assert_eq!(
            line(Event::VarpDamped(damped)),
            "varp-damped net 0005 mac 02:00:00:05:00:02 other 192.0.2.1 damped 30000"
        );
        let key = Key {
            slot: Some(KeySlot::Current),
            counter: Some(7),
            ..Key::new(id(), 2)
        };
        assert_eq!(
            line(Event::KeyRotated(key)),
            "key-rotated net 0005 index 2 slot current counter 7"
        );
    }

    #[test]
    fn of_settings_only_what_is_worth_telling() {
        let mut net = Net::new(id());
        net.ifname = "vnif0005".to_owned();
        net.mtu = Some(1436);
        for setting in Setting::ALL {
            net.settings.set(*setting, Some(setting.default()));
        }
        let mut state = State::default();
        let event = Event::NetNew(net.clone());
        let new = "net-new id 0005 ifname vnif0005 mtu 1436";
        assert_eq!(line(&event, &state, false), new);
        assert!(line(&event, &state, true).contains(" unknown hold "));
        net.settings.set(Setting::Damp, Some(5));
        let event = Event::NetNew(net.clone());
        assert_eq!(line(&event, &state, false), format!("{new} damp 5"));
        state.apply(&event);
        net.settings.set(Setting::Unknown, Some(2));
        net.settings
            .set(Setting::Damp, Some(Setting::Damp.default()));
        assert_eq!(
            line(&Event::NetSet(net), &state, false),
            "net-set id 0005 ifname vnif0005 mtu 1436 unknown drop damp 30000"
        );
    }
}
