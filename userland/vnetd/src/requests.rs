// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What can be asked, and what becomes of it: the commands of `module/uapi/vnet.yaml` and the family that `nlctrl` knows.

use std::net::IpAddr;

use nix::errno::Errno;
use vnet_core::abi::{self, cmd, host, key, net, peer, probe, remote, varp, vif};
use vnet_core::sealed::KEY_LEN;
use vnet_core::{Instant, Mac, Setting, Settings, VnetId};

use crate::dump::Cursor;
use crate::family;
use crate::host::{Config, Host};
use crate::key_requests;
use crate::message::{self, Answer, Attributes, Header, Policy, Refusal};
use crate::notice::{self, Notice};
use crate::shared::Job;
use crate::udp;

/// Number of the family.
pub(crate) const FAMILY: u16 = 0x20;
/// Milliseconds that a worker has for a probe.
const PROBE_PATIENCE: u64 = 2000;

/// Messages of the daemon's own: joining and leaving a multicast group.
pub(crate) const JOIN: u16 = 0x11;
pub(crate) const LEAVE: u16 = 0x12;

pub(crate) type Policies = &'static [(u16, Policy)];

const ID: Policy = Policy::Exact(16);
const MAC: Policy = Policy::Exact(6);
const ADDRESS: Policy = Policy::Bytes(4, 16);

/// A command.
pub(crate) struct Op {
    pub(crate) command: u8,
    /// Whether it changes anything.
    pub(crate) admin: bool,
    /// What a request of one thing may have, if there is such.
    pub(crate) one: Option<Policies>,
    /// What a listing may have.
    pub(crate) all: Option<Policies>,
}

const fn change(command: u8, policy: Policies) -> Op {
    Op {
        command,
        admin: true,
        one: Some(policy),
        all: None,
    }
}

const fn query(command: u8, one: Option<Policies>, all: Option<Policies>) -> Op {
    Op {
        command,
        admin: false,
        one,
        all,
    }
}

/// Beside these, net-new and net-set take every setting.
const NET_NEW: Policies = &[
    (net::ID, ID),
    (net::IFNAME, Policy::Text(15)),
    (net::MTU, Policy::U32),
];
const NET_SET: Policies = &[(net::ID, ID), (net::MTU, Policy::U32)];

pub(crate) static OPS: &[Op] = &[
    change(cmd::NET_NEW, NET_NEW),
    change(cmd::NET_SET, NET_SET),
    query(
        cmd::NET_GET,
        Some(&[(net::ID, ID), (net::IFNAME, Policy::Text(15))]),
        Some(&[]),
    ),
    change(cmd::NET_DEL, &[(net::ID, ID)]),
    change(
        cmd::HOST_SET,
        &[
            (host::PORT, Policy::U16),
            (host::GROUP, ADDRESS),
            (host::DEVICE, Policy::U32),
            (host::TTL, Policy::U8),
            (host::FLOOD, Policy::U32),
            (host::DSCP, Policy::U8),
        ],
    ),
    query(cmd::HOST_GET, Some(&[]), None),
    change(cmd::PEER_NEW, &[(peer::ADDR, ADDRESS)]),
    query(cmd::PEER_GET, None, Some(&[])),
    change(cmd::PEER_DEL, &[(peer::ADDR, ADDRESS)]),
    change(
        cmd::VARP_NEW,
        &[(varp::NET, ID), (varp::MAC, MAC), (varp::ADDR, ADDRESS)],
    ),
    query(
        cmd::VARP_GET,
        Some(&[(varp::NET, ID), (varp::MAC, MAC)]),
        Some(&[(varp::NET, ID)]),
    ),
    change(cmd::VARP_DEL, &[(varp::NET, ID), (varp::MAC, MAC)]),
    change(cmd::VARP_FLUSH, &[(varp::NET, ID)]),
    query(cmd::VIF_GET, None, Some(&[(vif::NET, ID)])),
    change(
        cmd::REMOTE_NEW,
        &[(remote::NET, ID), (remote::ADDR, ADDRESS)],
    ),
    query(cmd::REMOTE_GET, None, Some(&[(remote::NET, ID)])),
    change(
        cmd::REMOTE_DEL,
        &[(remote::NET, ID), (remote::ADDR, ADDRESS)],
    ),
    change(
        cmd::PROBE,
        &[
            (probe::NET, ID),
            (probe::MAC, MAC),
            (probe::ADDR, ADDRESS),
            (probe::SIZE, Policy::U32),
        ],
    ),
    change(
        cmd::KEY_NEW,
        &[
            (key::NET, ID),
            (key::INDEX, Policy::U32),
            (key::SLOT, Policy::U32),
            (key::KEY, Policy::Exact(KEY_LEN)),
        ],
    ),
    query(cmd::KEY_GET, None, Some(&[(key::NET, ID)])),
    change(cmd::KEY_DEL, &[(key::NET, ID), (key::INDEX, Policy::U32)]),
    change(
        cmd::KEY_ROTATE,
        &[(key::NET, ID), (key::INDEX, Policy::U32)],
    ),
];

/// What a command may have.
fn policies(op: &Op, dump: bool) -> Option<Vec<(u16, Policy)>> {
    let mut all = if dump { op.all } else { op.one }?.to_vec();
    if matches!(op.command, cmd::NET_NEW | cmd::NET_SET) {
        all.extend(
            Setting::ALL
                .iter()
                .map(|setting| (setting.attr(), Policy::U32)),
        );
    }
    Some(all)
}

/// What becomes of a request.
pub(crate) enum Outcome {
    /// It was carried out; what it is answered with before it is acknowledged.
    Done(Option<Vec<u8>>),
    /// A listing begins.
    Dump(Cursor),
    /// A worker was asked to do it, and will tell.
    Asked(Asked),
    /// A group is joined (true) or left.
    Membership(u32, bool),
    /// It was refused; the offset of the attribute at fault.
    Refused(Refusal, Option<u32>),
}

/// A request that a worker carries out.
pub(crate) struct Asked {
    /// By which the worker's answer is known.
    pub(crate) ticket: u64,
    /// Until when it has time.
    pub(crate) due: Instant,
    /// The offset of the attribute that may be at fault.
    offset: Option<u32>,
}

impl Asked {
    /// What is to be told if it could not be done, and the offset of the attribute at fault.
    pub(crate) fn refusal(&self, error: Errno) -> (Refusal, Option<u32>) {
        match error {
            Errno::EMSGSIZE => {
                let text = "larger than the path carries without fragments";
                (Refusal::new(error, text), self.offset)
            }
            Errno::ENOKEY => {
                let text = "the vnet is to be sealed and has no key, or its counter is used up";
                (Refusal::new(error, text), None)
            }
            // Who asks may well ask.
            Errno::EPERM => {
                let text = "a filter of this host drops the question";
                (Refusal::new(Errno::EHOSTUNREACH, text), None)
            }
            error => (Refusal::new(error, "cannot send the question"), None),
        }
    }
}

/// Carries a request out. `admin`: who asks may change things.
pub(crate) fn handle(host: &mut Host, header: &Header, payload: &[u8], admin: bool) -> Outcome {
    let outcome = match header.kind {
        FAMILY => vnet(host, header, payload, admin),
        family::NLCTRL => family::control(header, payload),
        JOIN | LEAVE => membership(header, payload),
        _ => Err((Errno::EOPNOTSUPP.into(), None)),
    };
    outcome.unwrap_or_else(|(refusal, offset)| Outcome::Refused(refusal, offset))
}

/// Checks a request without carrying it out: what is refused for its form is refused for the same reason.
pub(crate) fn check(header: &Header, payload: &[u8]) {
    if header.kind == family::NLCTRL {
        let _ = family::control(header, payload);
    }
    let _ = membership(header, payload);
    let Ok((command, rest)) = message::generic(payload) else {
        return;
    };
    for op in OPS.iter().filter(|op| op.command == command) {
        for dump in [false, true] {
            let policy = policies(op, dump).unwrap_or_default();
            if let Ok(attributes) = Attributes::parse(rest, &policy) {
                let mut settings = Settings::default();
                let _ = take_settings(&attributes, &mut settings);
                let _ = (
                    host_mac(&attributes, varp::MAC),
                    address(&attributes, varp::ADDR),
                );
            }
        }
    }
}

pub(crate) type Handled = Result<Outcome, (Refusal, Option<u32>)>;

fn membership(header: &Header, payload: &[u8]) -> Handled {
    let group: Result<[u8; 4], _> = payload.try_into();
    match group.map(u32::from_ne_bytes) {
        Ok(group @ (notice::CONFIG | notice::EVENTS)) => {
            Ok(Outcome::Membership(group, header.kind == JOIN))
        }
        Ok(_) => Err((Refusal::new(Errno::ENOENT, "there is no such group"), None)),
        Err(_) => Err((
            Refusal::new(Errno::EINVAL, "the number of a group is needed"),
            None,
        )),
    }
}

fn vnet(of: &mut Host, header: &Header, payload: &[u8], admin: bool) -> Handled {
    let (command, rest) = message::generic(payload).map_err(|refusal| (refusal, None))?;
    let op = OPS.iter().find(|op| op.command == command);
    let op = op.ok_or_else(|| (Errno::EOPNOTSUPP.into(), None))?;
    if op.admin && !admin {
        return Err((Errno::EPERM.into(), None));
    }
    let dump = header.is_dump() && op.all.is_some();
    let policy = policies(op, dump).ok_or_else(|| (Errno::EOPNOTSUPP.into(), None))?;
    let attributes = Attributes::parse(rest, &policy)?;
    let done = if dump {
        listing(of, command, &attributes).map(Outcome::Dump)
    } else if command == cmd::PROBE {
        ask(of, &attributes).map(Outcome::Asked)
    } else {
        one(of, command, &attributes).map(|answer| {
            let reply = |answer| message::reply(header, 0, command, abi::VERSION, &answer);
            Outcome::Done(answer.map(reply))
        })
    };
    done.map_err(|refusal| {
        let offset = refusal.blamed.and_then(|blamed| attributes.offset(blamed));
        (refusal, offset)
    })
}

fn listing(of: &Host, command: u8, attributes: &Attributes<'_>) -> Result<Cursor, Refusal> {
    Ok(match command {
        cmd::NET_GET => Cursor::nets(of),
        cmd::PEER_GET => Cursor::peers(of),
        cmd::VARP_GET => Cursor::table(of, &net_of(of, attributes, varp::NET)?, false),
        cmd::VIF_GET => Cursor::table(of, &net_of(of, attributes, vif::NET)?, true),
        cmd::REMOTE_GET => Cursor::remotes(of, &net_of(of, attributes, remote::NET)?),
        cmd::KEY_GET => Cursor::keys(of, &net_of(of, attributes, key::NET)?),
        _ => return Err(Errno::EOPNOTSUPP.into()),
    })
}

fn one(of: &mut Host, command: u8, attributes: &Attributes<'_>) -> Result<Option<Answer>, Refusal> {
    match command {
        cmd::NET_NEW => return net_new(of, attributes),
        cmd::NET_SET => net_set(of, attributes)?,
        cmd::NET_GET => return net_get(of, attributes),
        cmd::NET_DEL => {
            let id = net_of(of, attributes, net::ID)?;
            of.remove(&id)?;
        }
        cmd::HOST_SET => host_set(of, attributes)?,
        cmd::HOST_GET => return Ok(Some(notice::fill_host(of, true))),
        cmd::PEER_NEW => peer_new(of, attributes)?,
        cmd::PEER_DEL => peer_del(of, attributes)?,
        cmd::VARP_NEW => varp_new(of, attributes)?,
        cmd::VARP_GET => return varp_get(of, attributes),
        cmd::VARP_DEL => varp_del(of, attributes)?,
        cmd::VARP_FLUSH => return varp_flush(of, attributes),
        cmd::REMOTE_NEW => remote_new(of, attributes)?,
        cmd::REMOTE_DEL => remote_del(of, attributes)?,
        cmd::KEY_NEW => key_requests::new(of, attributes)?,
        cmd::KEY_DEL => key_requests::del(of, attributes)?,
        cmd::KEY_ROTATE => key_requests::rotate(of, attributes)?,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    Ok(None)
}

/// The vnet that a request is about.
pub(crate) fn net_of(
    of: &Host,
    attributes: &Attributes<'_>,
    attribute: u16,
) -> Result<VnetId, Refusal> {
    let id = VnetId::from_bytes(attributes.bytes(attribute)?);
    match of.net(&id) {
        Some(_) => Ok(id),
        None => {
            let text = "there is no such vnet here";
            Err(Refusal::new(Errno::ENOENT, text).blame(attribute))
        }
    }
}

/// An address that a request must have.
fn address(attributes: &Attributes<'_>, attribute: u16) -> Result<IpAddr, Refusal> {
    let bytes = attributes.required(attribute)?;
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(octets.into());
    }
    if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        if !udp::has_v6() {
            let text = "the kernel has no IPv6 here";
            return Err(Refusal::new(Errno::EAFNOSUPPORT, text).blame(attribute));
        }
        return Ok(octets.into());
    }
    Err(Refusal::new(Errno::EINVAL, "an address has 4 or 16 bytes").blame(attribute))
}

/// The address of another host.
fn host_address(of: &Host, attributes: &Attributes<'_>, attribute: u16) -> Result<IpAddr, Refusal> {
    let address = address(attributes, attribute)?;
    let text = if of.is_own(address) {
        "the address is one of this host's own"
    } else if !vnet_core::varp::is_host(address) || of.own.is_broadcast(&address) {
        "not the address of a host"
    } else {
        return Ok(address);
    };
    Err(Refusal::new(Errno::EINVAL, text).blame(attribute))
}

/// The MAC of a machine.
fn host_mac(attributes: &Attributes<'_>, attribute: u16) -> Result<Mac, Refusal> {
    let mac = Mac::from_bytes(attributes.bytes(attribute)?);
    if mac.is_valid_source() {
        return Ok(mac);
    }
    let text = "a MAC that is zero or a group is not the address of a machine";
    Err(Refusal::new(Errno::EINVAL, text).blame(attribute))
}

/// A number in a range, if it is given.
pub(crate) fn in_range(
    attributes: &Attributes<'_>,
    attribute: u16,
    (min, max): (u32, u32),
) -> Result<Option<u32>, Refusal> {
    match attributes.u32(attribute) {
        Some(value) if value < min || value > max => {
            let text = format!("{value} is not in the range {min} to {max}");
            Err(Refusal::new(Errno::ERANGE, text).blame(attribute))
        }
        value => Ok(value),
    }
}

/// Takes over the settings that are given. Whether any is.
fn take_settings(attributes: &Attributes<'_>, settings: &mut Settings) -> Result<bool, Refusal> {
    let mut any = false;
    for setting in Setting::ALL {
        if let Some(value) = in_range(attributes, setting.attr(), setting.range())? {
            any = true;
            if !settings.set(*setting, value) {
                return Err(Refusal::from(Errno::ERANGE).blame(setting.attr()));
            }
        }
    }
    Ok(any)
}

fn net_new(of: &mut Host, attributes: &Attributes<'_>) -> Result<Option<Answer>, Refusal> {
    let id = VnetId::from_bytes(attributes.bytes(net::ID)?);
    let mut settings = Settings::default();
    let mtu = in_range(attributes, net::MTU, abi::MTU_RANGE)?;
    take_settings(attributes, &mut settings)?;
    let name = match attributes.text(net::IFNAME) {
        None => None,
        Some([]) => {
            let text = "a device's name has 1 to 15 bytes";
            return Err(Refusal::new(Errno::EINVAL, text).blame(net::IFNAME));
        }
        Some(text) => {
            let name = std::str::from_utf8(text).map_err(|_| {
                let text = "cannot make a device with this name";
                Refusal::new(Errno::EINVAL, text).blame(net::IFNAME)
            })?;
            Some(name.to_owned())
        }
    };
    of.create(Config {
        id,
        name,
        mtu,
        settings,
    })?;
    Ok(notice::fill_net(of, &id, true))
}

fn net_set(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let id = net_of(of, attributes, net::ID)?;
    let mtu = in_range(attributes, net::MTU, abi::MTU_RANGE)?;
    let mut settings = of.net(&id).map(|net| net.settings).unwrap_or_default();
    let any = take_settings(attributes, &mut settings)?;
    if mtu.is_none() && !any {
        return Err(Refusal::new(Errno::EINVAL, "nothing to change"));
    }
    of.change(&id, mtu, settings)
}

fn net_get(of: &mut Host, attributes: &Attributes<'_>) -> Result<Option<Answer>, Refusal> {
    let id = match (attributes.get(net::ID), attributes.text(net::IFNAME)) {
        (Some(_), None) => net_of(of, attributes, net::ID)?,
        (None, Some(name)) => {
            let found = of.nets.iter().find(|net| net.name.as_bytes() == name);
            let none = || Refusal::new(Errno::ENOENT, "no vnet has a device of this name");
            found.map(|net| net.vnet.id).ok_or_else(none)?
        }
        _ => {
            return Err(Refusal {
                missing: Some(net::ID),
                ..Refusal::new(Errno::EINVAL, "either an id or a name is needed")
            });
        }
    };
    Ok(notice::fill_net(of, &id, true))
}

fn host_set(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let mut settings = of.settings.clone();
    if let Some(port) = attributes.u16(host::PORT) {
        settings.port = port;
    }
    if let Some(ttl) = attributes.u8(host::TTL) {
        settings.ttl = ttl;
    }
    if let Some(flood) = in_range(attributes, host::FLOOD, (0, host::FLOOD_PEERS))? {
        settings.flood = flood;
    }
    if let Some(dscp) = attributes.u8(host::DSCP) {
        if dscp > abi::DSCP_MAX && dscp != abi::DSCP_INHERIT {
            let text = format!("{dscp} is neither in the range 0 to 63 nor 255");
            return Err(Refusal::new(Errno::ERANGE, text).blame(host::DSCP));
        }
        settings.dscp = dscp;
    }
    if attributes.get(host::GROUP).is_some() {
        let group = address(attributes, host::GROUP)?;
        settings.group = if group.is_unspecified() {
            None
        } else if group.is_multicast() {
            Some(group)
        } else {
            let text = "not a multicast address";
            return Err(Refusal::new(Errno::EINVAL, text).blame(host::GROUP));
        };
    }
    if let Some(device) = attributes.u32(host::DEVICE) {
        if device != 0 && !of.links.contains_key(&device) {
            let text = "there is no such underlay device";
            return Err(Refusal::new(Errno::ENODEV, text).blame(host::DEVICE));
        }
        let own = of.nets.iter().any(|net| net.index == device && !net.away);
        if own {
            let text = "a vnet cannot be its own underlay";
            return Err(Refusal::new(Errno::EINVAL, text).blame(host::DEVICE));
        }
        settings.device = device;
        of.lost_device = None;
    }
    of.configure(settings, true)
}

fn peer_new(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let address = host_address(of, attributes, peer::ADDR)?;
    let mut settings = of.settings.clone();
    if settings.peers.contains(&address) {
        return Err(Refusal::new(Errno::EEXIST, "the peer exists").blame(peer::ADDR));
    }
    if settings.peers.len() >= abi::MAX_PEERS {
        let most = abi::MAX_PEERS;
        let text = format!("there are as many peers as there can be: {most}");
        return Err(Refusal::new(Errno::ENOSPC, text));
    }
    settings.peers.push(address);
    of.configure(settings, false)?;
    of.greet_all();
    of.notices.push(Notice::peer(cmd::PEER_NEW_NTF, address));
    Ok(())
}

fn peer_del(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let address = address(attributes, peer::ADDR)?;
    let mut settings = of.settings.clone();
    if !settings.peers.contains(&address) {
        return Err(Refusal::new(Errno::ENOENT, "there is no such peer").blame(peer::ADDR));
    }
    settings.peers.retain(|peer| *peer != address);
    of.configure(settings, false)?;
    of.notices.push(Notice::peer(cmd::PEER_DEL_NTF, address));
    Ok(())
}

fn varp_new(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let address = host_address(of, attributes, varp::ADDR)?;
    let mac = host_mac(attributes, varp::MAC)?;
    let id = net_of(of, attributes, varp::NET)?;
    let Some(net) = of.net(&id) else {
        return Err(Errno::ENOENT.into());
    };
    let now = of.shared.clock.now();
    match net.vnet.table.set_static(mac, address, now, &net.settings) {
        // It is so already: no change to tell of.
        None => return Ok(()),
        Some(true) => {}
        Some(false) => {
            let most = net.settings.get(Setting::MaxMacs);
            let text = format!("the vnet has max-macs entries: {most}");
            return Err(Refusal::new(Errno::ENOSPC, text));
        }
    }
    net.vnet.not_here(mac);
    of.give(Job::Known(id, mac));
    of.dirty = true;
    of.notices
        .push(Notice::varp(cmd::VARP_NEW_NTF, &id, mac, Some(address)));
    Ok(())
}

fn varp_get(of: &Host, attributes: &Attributes<'_>) -> Result<Option<Answer>, Refusal> {
    let mac = host_mac(attributes, varp::MAC)?;
    let id = net_of(of, attributes, varp::NET)?;
    let Some(net) = of.net(&id) else {
        return Err(Errno::ENOENT.into());
    };
    let now = of.shared.clock.now();
    let shown = net.vnet.table.get(mac, now, &net.settings);
    if let Some(shown) = shown.filter(|shown| shown.host.is_some()) {
        return Ok(Some(notice::fill_varp(&id, &shown)));
    }
    let pending = net.vnet.resolving(|resolver| {
        let found = resolver
            .pending()
            .iter()
            .find(|pending| pending.mac() == mac);
        found.map(|pending| notice::fill_pending(&id, pending))
    });
    match pending.flatten() {
        Some(answer) => Ok(Some(answer)),
        None => Err(not_elsewhere()),
    }
}

fn not_elsewhere() -> Refusal {
    Refusal::new(Errno::ENOENT, "the MAC is not known to be elsewhere").blame(varp::MAC)
}

fn varp_del(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let mac = host_mac(attributes, varp::MAC)?;
    let id = net_of(of, attributes, varp::NET)?;
    let elsewhere = |host: Option<IpAddr>, _| host.is_some();
    let removed = of
        .net(&id)
        .is_some_and(|net| net.vnet.table.remove_if(mac, elsewhere));
    if !removed {
        return Err(not_elsewhere());
    }
    of.dirty = true;
    of.notices
        .push(Notice::varp(cmd::VARP_DEL_NTF, &id, mac, None));
    Ok(())
}

fn varp_flush(of: &mut Host, attributes: &Attributes<'_>) -> Result<Option<Answer>, Refusal> {
    let id = net_of(of, attributes, varp::NET)?;
    let now = of.shared.clock.now();
    let count = of
        .net(&id)
        .map_or(0, |net| net.vnet.table.forget_learned(now));
    if count > 0 {
        of.notices.push(Notice::flush(&id, count));
    }
    Ok(Some(notice::fill_flush(&id, count)))
}

/// A host of a vnet, as it is now.
fn remote_now(of: &Host, id: &VnetId, address: IpAddr) -> (IpAddr, bool, u32) {
    let hosts = of.net(id).map(|net| net.vnet.table.hosts());
    let found = hosts.unwrap_or_default().into_iter();
    let mut found = found.filter(|(known, ..)| *known == address);
    found.next().unwrap_or((address, false, 0))
}

fn remote_new(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let address = host_address(of, attributes, remote::ADDR)?;
    let id = net_of(of, attributes, remote::NET)?;
    let Some(net) = of.net(&id) else {
        return Err(Errno::ENOENT.into());
    };
    let hosts = net.vnet.table.hosts();
    if hosts
        .iter()
        .any(|(known, listed, _)| *known == address && *listed)
    {
        return Err(Refusal::new(Errno::EEXIST, "the host is listed").blame(remote::ADDR));
    }
    if hosts.iter().filter(|(_, listed, _)| *listed).count() >= abi::MAX_LISTED {
        let most = abi::MAX_LISTED;
        let text = format!("there are as many listed hosts as there can be: {most}");
        return Err(Refusal::new(Errno::ENOSPC, text));
    }
    net.vnet.table.list(address, true);
    of.dirty = true;
    of.publish();
    let now = remote_now(of, &id, address);
    of.notices
        .push(Notice::remote(cmd::REMOTE_NEW_NTF, &id, now));
    Ok(())
}

fn remote_del(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let address = address(attributes, remote::ADDR)?;
    let id = net_of(of, attributes, remote::NET)?;
    let Some(net) = of.net(&id) else {
        return Err(Errno::ENOENT.into());
    };
    let vnet = net.vnet.clone();
    let only_listed = net.settings.listed_only();
    if !remote_now(of, &id, address).1 {
        return Err(Refusal::new(Errno::ENOENT, "the host is not listed").blame(remote::ADDR));
    }
    vnet.table.list(address, false);
    of.dirty = true;
    of.publish();
    if only_listed {
        let now = of.shared.clock.now();
        let from_it =
            |_, host: Option<IpAddr>, is_static: bool, _| host == Some(address) && !is_static;
        vnet.table.retain_not(now, from_it);
    }
    let now = remote_now(of, &id, address);
    of.notices
        .push(Notice::remote(cmd::REMOTE_DEL_NTF, &id, now));
    Ok(())
}

fn ask(of: &mut Host, attributes: &Attributes<'_>) -> Result<Asked, Refusal> {
    let id = net_of(of, attributes, probe::NET)?;
    let mac = match attributes.get(probe::MAC) {
        Some(_) => Mac::from_bytes(attributes.bytes(probe::MAC)?),
        None => Mac::from_bytes([0; 6]),
    };
    if mac.is_group() {
        let text = "a MAC that is a group is not the address of a machine";
        return Err(Refusal::new(Errno::EINVAL, text).blame(probe::MAC));
    }
    let size = in_range(attributes, probe::SIZE, abi::PROBE_SIZE_RANGE)?;
    let to = match attributes.get(probe::ADDR) {
        Some(_) => Some(host_address(of, attributes, probe::ADDR)?),
        None if size.is_some() => {
            let text = "a size is for one host only";
            return Err(Refusal::new(Errno::EINVAL, text).blame(probe::SIZE));
        }
        None => None,
    };
    let size = size.unwrap_or_default();
    // With the address by which that host knows us.
    let to = match to {
        Some(to) => {
            let Some(ours) = of.source_to(to) else {
                let text = "the underlay has no route to the host";
                return Err(Refusal::new(Errno::ENETUNREACH, text).blame(probe::ADDR));
            };
            Some((to, ours))
        }
        None => None,
    };
    let Some(net) = of.net(&id) else {
        return Err(Errno::ENOENT.into());
    };
    let now = of.shared.clock.now();
    net.vnet.watch(now);
    of.tickets += 1;
    let ticket = of.tickets;
    of.give(Job::Probe {
        id,
        mac,
        to,
        size: size as usize,
        ticket,
    });
    Ok(Asked {
        ticket,
        due: now.plus(PROBE_PATIENCE),
        offset: attributes.offset(probe::SIZE),
    })
}
