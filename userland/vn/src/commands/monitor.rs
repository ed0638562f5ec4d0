// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn monitor`: a line for every change.

use std::fmt;

use vnet_netlink::{Error, Event, Monitor, Subject};

use super::{Context, warn};
use crate::output;

pub(crate) fn run(context: &mut Context) -> anyhow::Result<()> {
    let mut monitor = Monitor::open()?;
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
        match &mut event.subject {
            Subject::Net(net) => net.stats = None,
            Subject::Host(host) => host.stats = None,
            _ => {}
        }
    }
    if context.json() {
        output::json(&mut context.out, &event, false)?;
    }
    if context.json() {
        return Ok(std::io::Write::flush(&mut context.out)?);
    }
    context.line(Line(&event))
}

/// An event on one line.
struct Line<'a>(&'a Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.event)?;
        let mut pair = |name: &str, value: Option<&dyn fmt::Display>| match value {
            Some(value) => write!(f, " {name} {value}"),
            None => Ok(()),
        };
        fn shown<T: fmt::Display>(value: &Option<T>) -> Option<&dyn fmt::Display> {
            value.as_ref().map(|value| value as &dyn fmt::Display)
        }
        match &self.0.subject {
            Subject::Net(net) => {
                pair("id", Some(&net.id))?;
                let ifname = (!net.ifname.is_empty()).then_some(&net.ifname);
                pair("ifname", shown(&ifname))?;
                pair("ifindex", shown(&net.ifindex))?;
                pair("mtu", shown(&net.mtu))?;
                pair("ageing", shown(&net.ageing))?;
                pair("max-macs", shown(&net.max_macs))
            }
            Subject::Host(host) => {
                pair("port", Some(&host.port))?;
                match &host.group {
                    Some(group) => pair("group", Some(group))?,
                    None => pair("group", Some(&"none"))?,
                }
                pair("device", Some(&host.device))?;
                pair("ttl", Some(&host.ttl))
            }
            Subject::Peer(peer) => pair("addr", Some(&peer.addr)),
            Subject::Varp(varp) => {
                pair("net", Some(&varp.net))?;
                pair("mac", Some(&varp.mac))?;
                pair("addr", shown(&varp.addr))?;
                pair("state", shown(&varp.state))
            }
            Subject::Flushed(flushed) => {
                pair("net", Some(&flushed.net))?;
                pair("count", Some(&flushed.count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use vnet_netlink::{Flushed, Host, Net, Peer};

    #[test]
    fn lines() {
        let line = |event, subject| Line(&Event { event, subject }).to_string();
        let id = "5".parse().expect("an id");
        let mut net = Net::new(id);
        net.ifname = "vnif0005".to_owned();
        net.mtu = Some(1436);
        assert_eq!(
            line("net-new", Subject::Net(net)),
            "net-new id 0005 ifname vnif0005 mtu 1436"
        );
        assert_eq!(
            line(
                "host-set",
                Subject::Host(Host {
                    port: 1798,
                    ttl: 64,
                    ..Host::default()
                })
            ),
            "host-set port 1798 group none device 0 ttl 64"
        );
        let addr = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(
            line("peer-new", Subject::Peer(Peer { addr })),
            "peer-new addr 192.0.2.1"
        );
        assert_eq!(
            line(
                "varp-flush",
                Subject::Flushed(Flushed { net: id, count: 3 })
            ),
            "varp-flush net 0005 count 3"
        );
    }
}
