// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn monitor`: a line for every change.

use std::fmt;

use vnet_netlink::{Error, Event, Host, Monitor, Net};

use super::{Context, warn};
use crate::output;

pub(crate) fn run(context: &mut Context) -> anyhow::Result<()> {
    let mut monitor = Monitor::open(&context.endpoint)?;
    loop {
        match monitor.next_event() {
            Ok(event) => print(context, event)?,
            Err(error @ Error::Overrun) => warn(error),
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(context: &mut Context, mut event: Event) -> anyhow::Result<()> {
    if !context.options.stats {
        match &mut event {
            Event::NetNew(net) | Event::NetSet(net) | Event::NetDel(net) => net.stats = None,
            Event::HostSet(host) => host.stats = None,
            _ => {}
        }
    }
    if context.json() {
        output::json(&mut context.out, &event, false)?;
        return Ok(std::io::Write::flush(&mut context.out)?);
    }
    context.line(Line(&event))
}

/// An event on one line.
struct Line<'a>(&'a Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())?;
        for (name, value) in fields(self.0) {
            write!(f, " {name} {value}")?;
        }
        Ok(())
    }
}

fn fields(event: &Event) -> Vec<(String, String)> {
    match event {
        Event::NetNew(net) | Event::NetSet(net) | Event::NetDel(net) => of_net(net),
        Event::HostSet(host) => of_host(host),
        Event::PeerNew(record) | Event::PeerDel(record) => record.fields(),
        Event::VarpNew(record) | Event::VarpDel(record) => record.fields(),
        Event::VarpFlush(record) => record.fields(),
        Event::RemoteNew(record) | Event::RemoteDel(record) => record.fields(),
        Event::VarpDamped(record) => record.fields(),
        Event::Probe(record) => record.fields(),
    }
}

fn pair(name: &str, value: impl fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn of_net(net: &Net) -> Vec<(String, String)> {
    let mut fields = vec![pair("id", net.id)];
    if !net.ifname.is_empty() {
        fields.push(pair("ifname", &net.ifname));
    }
    fields.extend(net.ifindex.map(|index| pair("ifindex", index)));
    fields.extend(net.mtu.map(|mtu| pair("mtu", mtu)));
    let settings = net.settings.iter();
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
    use vnet_netlink::{Flushed, Peer};

    #[test]
    fn lines() {
        let line = |event| Line(&event).to_string();
        let id = "5".parse().expect("an id");
        let mut net = Net::new(id);
        net.ifname = "vnif0005".to_owned();
        net.mtu = Some(1436);
        assert_eq!(
            line(Event::NetNew(net)),
            "net-new id 0005 ifname vnif0005 mtu 1436"
        );
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
            line(Event::VarpFlush(Flushed::new(id, 3))),
            "varp-flush net 0005 count 3"
        );
    }
}
