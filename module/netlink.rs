// SPDX-License-Identifier: GPL-2.0-only

//! Generic netlink family `vnet`, as `uapi/vnet.yaml` has it.
//!
//! The policies check shapes, the handlers meaning. Handlers run in process context and take RTNL themselves.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::ControlFlow;

use kernel::prelude::*;
use vnet_core::abi::{
    self, cmd, host, net, net_stats, peer, probe, remote, varp, vif, HostCounter, NetCounter,
};
use vnet_core::varp::{is_host, PendingState};
use vnet_core::wire::VarpOpcode;
use vnet_core::{Mac, Setting, Settings, VnetId};

use crate::device::{self, Config, Vnet};
use crate::fdb::{mac_of, Entry};
use crate::namespace::{Flood, Namespace};
use crate::remote::Remote;
use crate::sys::genl::{
    self, Dump, Family, FamilyRegistration, FamilyStatic, Handler, Message, Op, Part, Policy,
    Request,
};
use crate::sys::netdev::{self, OwnDevice};
use crate::sys::rcu::{self, Guard};
use crate::sys::route;
use crate::sys::rtnl::{self, Rtnl};
use crate::sys::table::{ByMac, Walk};
use crate::sys::{self, errno, Refusal, Result, SoftirqsOff};
use crate::tx::Sender;
use crate::varp::{Event, Unresolved};

/// The family.
pub(crate) struct VnetFamily;

/// Attributes that every policy counts.
const MAX_ATTRS: u16 = net::MAX + 1;

/// Entries that a dump looks at before it lets others run.
const DUMP_BATCH: usize = 4096;

static REGISTRATION: FamilyStatic<VnetFamily> = FamilyStatic::new();

impl Family for VnetFamily {
    const MAX_ATTRS: u16 = MAX_ATTRS;

    fn registration() -> &'static FamilyStatic<Self> {
        &REGISTRATION
    }
}

type Req<'a> = Request<'a, VnetFamily>;

const ID: Policy = Policy::exact(16);
const MAC: Policy = Policy::exact(6);
const ADDRESS: Policy = Policy::binary(4, 16);

type F = VnetFamily;

/// What can be asked, in the order of the numbers, and the attributes that each question may have.
static OPS: &[Op] = &[
    Op::change::<F, NetNew>(
        cmd::NET_NEW,
        &[
            (net::ID, ID),
            (net::IFNAME, Policy::text(15)),
            (net::MTU, Policy::U32),
            (net::AGEING, Policy::U32),
            (net::MAX_MACS, Policy::U32),
            (net::UNKNOWN, Policy::U32),
            (net::HOLD_MAC, Policy::U32),
            (net::HOLD_NET, Policy::U32),
            (net::MAX_UNRESOLVED, Policy::U32),
            (net::PROBES, Policy::U32),
            (net::PROBE_INTERVAL, Policy::U32),
            (net::NEGATIVE, Policy::U32),
            (net::UNKNOWN_RATE, Policy::U32),
            (net::ANNOUNCES, Policy::U32),
            (net::ANNOUNCE_INTERVAL, Policy::U32),
            (net::VARP_RATE, Policy::U32),
            (net::MOVE_LIMIT, Policy::U32),
            (net::MOVE_WINDOW, Policy::U32),
            (net::DAMP, Policy::U32),
            (net::REMOTES, Policy::U32),
            (net::REMOTE_MACS, Policy::U32),
            (net::REMOTE_FLOODS, Policy::U32),
            (net::SOURCE_PORT, Policy::U32),
        ],
    ),
    Op::change::<F, NetSet>(
        cmd::NET_SET,
        &[
            (net::ID, ID),
            (net::MTU, Policy::U32),
            (net::AGEING, Policy::U32),
            (net::MAX_MACS, Policy::U32),
            (net::UNKNOWN, Policy::U32),
            (net::HOLD_MAC, Policy::U32),
            (net::HOLD_NET, Policy::U32),
            (net::MAX_UNRESOLVED, Policy::U32),
            (net::PROBES, Policy::U32),
            (net::PROBE_INTERVAL, Policy::U32),
            (net::NEGATIVE, Policy::U32),
            (net::UNKNOWN_RATE, Policy::U32),
            (net::ANNOUNCES, Policy::U32),
            (net::ANNOUNCE_INTERVAL, Policy::U32),
            (net::VARP_RATE, Policy::U32),
            (net::MOVE_LIMIT, Policy::U32),
            (net::MOVE_WINDOW, Policy::U32),
            (net::DAMP, Policy::U32),
            (net::REMOTES, Policy::U32),
            (net::REMOTE_MACS, Policy::U32),
            (net::REMOTE_FLOODS, Policy::U32),
            (net::SOURCE_PORT, Policy::U32),
        ],
    ),
    Op::query::<F, NetGet>(
        cmd::NET_GET,
        &[(net::ID, ID), (net::IFNAME, Policy::text(15))],
    ),
    Op::dump::<F, NetDump>(cmd::NET_GET, &[]),
    Op::change::<F, NetDel>(cmd::NET_DEL, &[(net::ID, ID)]),
    Op::change::<F, HostSet>(
        cmd::HOST_SET,
        &[
            (host::PORT, Policy::u16_min(1)),
            (host::GROUP, ADDRESS),
            (host::DEVICE, Policy::U32),
            (host::TTL, Policy::u8(0, 255)),
            (host::FLOOD, Policy::U32),
            (host::DSCP, Policy::u8(0, 255)),
        ],
    ),
    Op::query::<F, HostGet>(cmd::HOST_GET, &[]),
    Op::change::<F, PeerNew>(cmd::PEER_NEW, &[(peer::ADDR, ADDRESS)]),
    Op::dump::<F, PeerDump>(cmd::PEER_GET, &[]),
    Op::change::<F, PeerDel>(cmd::PEER_DEL, &[(peer::ADDR, ADDRESS)]),
    Op::change::<F, VarpNew>(
        cmd::VARP_NEW,
        &[(varp::NET, ID), (varp::MAC, MAC), (varp::ADDR, ADDRESS)],
    ),
    Op::query::<F, VarpGet>(cmd::VARP_GET, &[(varp::NET, ID), (varp::MAC, MAC)]),
    Op::dump::<F, VarpDump>(cmd::VARP_GET, &[(varp::NET, ID)]),
    Op::change::<F, VarpDel>(cmd::VARP_DEL, &[(varp::NET, ID), (varp::MAC, MAC)]),
    Op::change::<F, VarpFlush>(cmd::VARP_FLUSH, &[(varp::NET, ID)]),
    Op::dump::<F, VifDump>(cmd::VIF_GET, &[(vif::NET, ID)]),
    Op::change::<F, RemoteNew>(
        cmd::REMOTE_NEW,
        &[(remote::NET, ID), (remote::ADDR, ADDRESS)],
    ),
    Op::dump::<F, RemoteDump>(cmd::REMOTE_GET, &[(remote::NET, ID)]),
    Op::change::<F, RemoteDel>(
        cmd::REMOTE_DEL,
        &[(remote::NET, ID), (remote::ADDR, ADDRESS)],
    ),
    Op::change::<F, Probe>(
        cmd::PROBE,
        &[
            (probe::NET, ID),
            (probe::MAC, MAC),
            (probe::ADDR, ADDRESS),
            (probe::SIZE, Policy::U32),
        ],
    ),
];

/// Registers the family.
pub(crate) fn register() -> Result<FamilyRegistration<VnetFamily>, Error> {
    REGISTRATION.register(
        abi::FAMILY,
        abi::VERSION,
        &[abi::GROUP_CONFIG, abi::GROUP_EVENTS],
        OPS,
    )
}

/// The vnet that a request is about.
fn vnet_of(
    request: &mut Req<'_>,
    attr: u16,
    rtnl: &Rtnl,
) -> Result<(&'static Namespace, OwnDevice<Vnet>)> {
    let id = VnetId::from_bytes(request.required_bytes(attr)?);
    let namespace = Namespace::of(request.net())?;
    match namespace.by_id(&id, rtnl) {
        Some(device) => Ok((namespace, device)),
        None => {
            if let Some(attr) = request.attr(attr) {
                request.extack.blame(attr);
            }
            Err(Refusal::new(ENOENT, c"there is no such vnet here"))
        }
    }
}

/// The state of a vnet that was just found.
fn state_of(device: &OwnDevice<Vnet>) -> Result<&Vnet> {
    device.state().ok_or_else(|| ENODEV.into())
}

/// An address that a request must have.
fn address_of(request: &mut Req<'_>, attr: u16) -> Result<IpAddr> {
    let given = request.required(attr)?;
    if let Some(bytes) = given.bytes::<4>() {
        return Ok(Ipv4Addr::from(bytes).into());
    }
    let Some(bytes) = given.bytes::<16>() else {
        request.extack.blame(given);
        return Err(Refusal::new(EINVAL, c"an address has 4 or 16 bytes"));
    };
    Ok(Ipv6Addr::from(bytes).into())
}

/// Refuses an address of a family that the kernel does not have.
fn check_family(request: &mut Req<'_>, attr: u16, address: IpAddr) -> Result {
    if address.is_ipv4() || sys::has_ipv6() {
        return Ok(());
    }
    if let Some(attr) = request.attr(attr) {
        request.extack.blame(attr);
    }
    Err(Refusal::new(
        errno::family_not_supported(),
        c"IPv6 is not there, or was disabled when the kernel was started",
    ))
}

/// The address of another host.
fn host_address(request: &mut Req<'_>, attr: u16) -> Result<IpAddr> {
    let address = address_of(request, attr)?;
    check_family(request, attr, address)?;
    let wrong = if route::is_local(request.net(), address) || address.is_loopback() {
        Some(c"the address is one of this host's own")
    } else if !is_host(address) {
        Some(c"not the address of a host")
    } else {
        None
    };
    match wrong {
        None => Ok(address),
        Some(text) => {
            if let Some(attr) = request.attr(attr) {
                request.extack.blame(attr);
            }
            Err(Refusal::new(EINVAL, text))
        }
    }
}

/// Writes an address.
fn put_address(message: &mut Message<'_>, attr: u16, address: IpAddr) -> Result<(), Error> {
    match address {
        IpAddr::V4(address) => message.put(attr, &address.octets()),
        IpAddr::V6(address) => message.put(attr, &address.octets()),
    }
}

/// The MAC address of a machine.
fn host_mac(request: &mut Req<'_>, attr: u16) -> Result<Mac> {
    let mac = Mac::from_bytes(request.required_bytes(attr)?);
    if mac.is_valid_source() {
        return Ok(mac);
    }
    if let Some(attr) = request.attr(attr) {
        request.extack.blame(attr);
    }
    Err(Refusal::new(
        EINVAL,
        c"a MAC that is zero or a group is not the address of a machine",
    ))
}

/// A number in a range, if it is given.
fn in_range(request: &mut Req<'_>, attr: u16, range: (u32, u32)) -> Result<Option<u32>> {
    match request.u32(attr) {
        Some(value) if value < range.0 || value > range.1 => {
            if let Some(attr) = request.attr(attr) {
                request.extack.blame(attr);
            }
            request.extack.format(fmt!(
                "{} is not in the range {} to {}",
                value,
                range.0,
                range.1
            ));
            Err(ERANGE.into())
        }
        value => Ok(value),
    }
}

/// The settings that are given, on top of those there are. Whether any was given.
fn settings_of(request: &mut Req<'_>, settings: &mut Settings) -> Result<bool> {
    let mut any = false;
    for setting in Setting::ALL {
        if let Some(value) = in_range(request, setting.attr(), setting.range())? {
            any = true;
            // In the range, as was just seen.
            let _ = settings.set(*setting, value);
        }
    }
    Ok(any)
}

/// Fills a message with a vnet.
fn fill_net(
    message: &mut Message<'_>,
    vnet: &Vnet,
    rtnl: &Rtnl,
    with_stats: bool,
) -> Result<(), Error> {
    let device = vnet.device();
    let (macs, vifs) = vnet.fdb().counts();
    message.put(net::ID, vnet.vnet_id().as_bytes())?;
    message.put_text(net::IFNAME, &device.name(rtnl))?;
    message.put_u32(net::IFINDEX, device.index())?;
    message.put_u32(net::MTU, device.mtu())?;
    for setting in Setting::ALL {
        message.put_u32(setting.attr(), vnet.settings().get(*setting))?;
    }
    message.put_u32(net::MACS, macs)?;
    message.put_u32(net::VIFS, vifs)?;
    let (held, unresolved) = vnet.varp().counts();
    message.put_u32(net::HELD, held)?;
    message.put_u32(net::UNRESOLVED, unresolved)?;
    let (home, now) = (vnet.namespace().net(), device.net());
    if home != now {
        let id = home.id_of(now);
        message.put(net::NETNSID, &id.to_ne_bytes())?;
    }
    if let Some(mtu) = vnet.namespace().underlay_mtu(rtnl) {
        message.put_u32(net::UNDERLAY_MTU, mtu)?;
    }
    if !with_stats {
        return Ok(());
    }
    message.nest(net::STATS, |nest| {
        let kinds = [
            net_stats::RX_PACKETS,
            net_stats::RX_BYTES,
            net_stats::TX_PACKETS,
            net_stats::TX_BYTES,
        ];
        for (kind, value) in kinds.into_iter().zip(device.traffic()) {
            nest.put_u64(kind, value)?;
        }
        for counter in NetCounter::ALL {
            nest.put_u64(counter.attr(), vnet.counted(*counter))?;
        }
        Ok(())
    })
}

/// Fills a message with the settings of a namespace.
fn fill_host(
    message: &mut Message<'_>,
    namespace: &Namespace,
    rtnl: &Rtnl,
    with_stats: bool,
) -> Result<(), Error> {
    let settings = namespace.settings(rtnl);
    let group = settings.group.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let nets = u32::try_from(namespace.nets(rtnl).len()).unwrap_or(u32::MAX);
    message.put_u16(host::PORT, settings.port)?;
    put_address(message, host::GROUP, group)?;
    message.put_u32(host::DEVICE, settings.device)?;
    message.put_u8(host::TTL, settings.ttl)?;
    message.put_u32(host::FLOOD, settings.flood.number())?;
    message.put_u8(host::DSCP, settings.dscp)?;
    message.put_u32(host::NETS, nets)?;
    if let Some(joined) = namespace.joined(rtnl) {
        message.put_u32(host::JOINED, joined)?;
    }
    message.put_text(host::VERSION, crate::VERSION.as_bytes())?;
    if !with_stats {
        return Ok(());
    }
    message.nest(host::STATS, |nest| {
        for counter in HostCounter::ALL {
            nest.put_u64(counter.attr(), namespace.counted(*counter))?;
        }
        Ok(())
    })
}

/// Tells of a vnet.
pub(crate) fn notify_net(vnet: &Vnet, command: u8, rtnl: &Rtnl) {
    genl::notify::<VnetFamily>(vnet.namespace().net(), command, |message| {
        fill_net(message, vnet, rtnl, false)
    });
}

/// Tells of a namespace's settings.
pub(crate) fn notify_host(namespace: &Namespace, command: u8, rtnl: &Rtnl) {
    genl::notify::<VnetFamily>(namespace.net(), command, |message| {
        fill_host(message, namespace, rtnl, false)
    });
}

struct NetNew;

impl Handler<VnetFamily> for NetNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let id = VnetId::from_bytes(request.required_bytes(net::ID)?);
        let mut config = Config::new(id);
        config.mtu = in_range(request, net::MTU, abi::MTU_RANGE)?;
        settings_of(request, &mut config.settings)?;
        let name = match request.attr(net::IFNAME) {
            Some(attr) => Some(name_of(attr.text())?),
            None => None,
        };
        let device = device::create(namespace, &config, name, &mut rtnl)?;
        let vnet = state_of(&device)?;
        // The vnet is made, whether who asked can take the answer or not.
        let _ = request.reply(cmd::NET_NEW, |message| fill_net(message, vnet, &rtnl, true));
        Ok(())
    }
}

/// A name with its padding.
fn name_of(text: &[u8]) -> Result<[u8; 16]> {
    let mut name = [0; 16];
    if text.is_empty() || text.len() > 15 {
        return Err(Refusal::new(EINVAL, c"a device's name has 1 to 15 bytes"));
    }
    for (to, from) in name.iter_mut().zip(text) {
        *to = *from;
    }
    Ok(name)
}

struct NetSet;

impl Handler<VnetFamily> for NetSet {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, net::ID, &rtnl)?;
        let mtu = in_range(request, net::MTU, abi::MTU_RANGE)?;
        let vnet = state_of(&device)?;
        let old = vnet.settings().now();
        let mut settings = old;
        let any = settings_of(request, &mut settings)?;
        if mtu.is_none() && !any {
            return Err(Refusal::new(EINVAL, c"nothing to change"));
        }
        let mtu = mtu.filter(|mtu| *mtu != device.mtu());
        if mtu.is_none() && settings == old {
            // It is so already: no change to tell of.
            return Ok(());
        }
        vnet.change(&mut rtnl, |vnet, rtnl| {
            // First what can fail.
            if let Some(mtu) = mtu {
                device.change_mtu(mtu, rtnl)?;
            }
            vnet.configure(&settings, rtnl)
        })
    }
}

struct NetGet;

impl Handler<VnetFamily> for NetGet {
    fn handle(request: &mut Req<'_>) -> Result {
        let rtnl = rtnl::lock();
        let device = match (request.attr(net::ID), request.attr(net::IFNAME)) {
            (Some(_), None) => vnet_of(request, net::ID, &rtnl)?.1,
            (None, Some(name)) => {
                let namespace = Namespace::of(request.net())?;
                let named = |device: &&OwnDevice<Vnet>| {
                    device.name(&rtnl).split(|byte| *byte == 0).next() == Some(name.text())
                };
                let found = namespace.nets(&rtnl).iter().find(named).copied();
                found.ok_or(Refusal::new(ENOENT, c"no vnet has a device of this name"))?
            }
            _ => {
                request.extack.missing(net::ID);
                return Err(Refusal::new(EINVAL, c"either an id or a name is needed"));
            }
        };
        let vnet = state_of(&device)?;
        request.reply(cmd::NET_GET, |message| fill_net(message, vnet, &rtnl, true))?;
        Ok(())
    }
}

/// All vnets of a namespace. Goes on after the last one that was sent, whatever became of it.
struct NetDump {
    last: u64,
}

impl Dump<VnetFamily> for NetDump {
    fn start(_: &mut Req<'_>) -> Result<Self> {
        Ok(Self { last: 0 })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(part.net())?;
        let nets = namespace.nets(&rtnl);
        let serial = |device: &OwnDevice<Vnet>| device.state().map_or(0, Vnet::serial);
        let start = nets.partition_point(|device| serial(device) <= self.last);
        for device in nets.get(start..).unwrap_or_default() {
            let Some(vnet) = device.state() else { continue };
            if !part.add(cmd::NET_GET, |message| fill_net(message, vnet, &rtnl, true)) {
                break;
            }
            self.last = vnet.serial();
        }
        Ok(())
    }
}

struct NetDel;

impl Handler<VnetFamily> for NetDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, net::ID, &rtnl)?;
        netdev::unregister(device, &mut rtnl);
        Ok(())
    }
}

struct HostSet;

impl Handler<VnetFamily> for HostSet {
    fn handle(request: &mut Req<'_>) -> Result {
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        if request.attr(host::DEVICE).is_some() {
            namespace.choose_device(&mut rtnl);
        }
        let mut settings = namespace.settings(&rtnl).copy()?;
        if let Some(port) = request.u16(host::PORT) {
            settings.port = port;
        }
        if let Some(ttl) = request.u8(host::TTL) {
            settings.ttl = ttl;
        }
        if let Some(dscp) = request.u8(host::DSCP) {
            if dscp > abi::DSCP_MAX && dscp != abi::DSCP_INHERIT {
                if let Some(attr) = request.attr(host::DSCP) {
                    request.extack.blame(attr);
                }
                return Err(Refusal::new(
                    ERANGE,
                    c"a DSCP is 0 to 63, or 255 for that of the inner packet",
                ));
            }
            settings.dscp = dscp;
        }
        if let Some(number) = request.u32(host::FLOOD) {
            let Some(flood) = Flood::from_number(number) else {
                if let Some(attr) = request.attr(host::FLOOD) {
                    request.extack.blame(attr);
                }
                return Err(Refusal::new(
                    ERANGE,
                    c"floods go to the group (0) or to the peers (1)",
                ));
            };
            settings.flood = flood;
        }
        if let Some(attr) = request.attr(host::GROUP) {
            let group = address_of(request, host::GROUP)?;
            check_family(request, host::GROUP, group)?;
            settings.group = if group.is_unspecified() {
                None
            } else if group.is_multicast() {
                Some(group)
            } else {
                request.extack.blame(attr);
                return Err(Refusal::new(EINVAL, c"not a multicast address"));
            };
        }
        if let Some(device) = request.u32(host::DEVICE) {
            if device != 0 && netdev::by_index(namespace.net(), device, &rtnl).is_none() {
                return Err(Refusal::new(ENODEV, c"there is no such underlay device"));
            }
            let own = |net: &OwnDevice<Vnet>| net.index() == device && net.net() == namespace.net();
            if namespace.nets(&rtnl).iter().any(own) {
                return Err(Refusal::new(EINVAL, c"a vnet cannot be its own underlay"));
            }
            settings.device = device;
        }
        // The same again is no change, unless the group was lost meanwhile.
        if settings == *namespace.settings(&rtnl) && !namespace.lacks_group(&rtnl) {
            return Ok(());
        }
        namespace.configure(settings, &mut rtnl)?;
        notify_host(namespace, cmd::HOST_SET_NTF, &rtnl);
        Ok(())
    }
}

struct HostGet;

impl Handler<VnetFamily> for HostGet {
    fn handle(request: &mut Req<'_>) -> Result {
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        request.reply(cmd::HOST_GET, |message| {
            fill_host(message, namespace, &rtnl, true)
        })?;
        Ok(())
    }
}

fn fill_peer(message: &mut Message<'_>, address: IpAddr) -> Result<(), Error> {
    put_address(message, peer::ADDR, address)
}

struct PeerNew;

impl Handler<VnetFamily> for PeerNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = host_address(request, peer::ADDR)?;
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let mut settings = namespace.settings(&rtnl).copy()?;
        if settings.peers.contains(&address) {
            return Err(Refusal::new(EEXIST, c"the peer exists"));
        }
        if settings.peers.len() >= abi::MAX_PEERS {
            return Err(
                Refusal::new(ENOSPC, c"there are as many peers as there can be")
                    .with(abi::MAX_PEERS as u32),
            );
        }
        settings.peers.push(address, GFP_KERNEL)?;
        namespace.configure(settings, &mut rtnl)?;
        genl::notify::<VnetFamily>(namespace.net(), cmd::PEER_NEW_NTF, |message| {
            fill_peer(message, address)
        });
        Ok(())
    }
}

struct PeerDel;

impl Handler<VnetFamily> for PeerDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = address_of(request, peer::ADDR)?;
        let mut rtnl = rtnl::lock();
        let namespace = Namespace::of(request.net())?;
        let mut settings = namespace.settings(&rtnl).copy()?;
        if !settings.peers.contains(&address) {
            return Err(Refusal::new(ENOENT, c"there is no such peer"));
        }
        settings.peers.retain(|other| *other != address);
        namespace.configure(settings, &mut rtnl)?;
        genl::notify::<VnetFamily>(namespace.net(), cmd::PEER_DEL_NTF, |message| {
            fill_peer(message, address)
        });
        Ok(())
    }
}

/// All peers. Goes on by position; a change meanwhile is shown to who asks.
struct PeerDump {
    next: usize,
    count: Option<usize>,
}

impl Dump<VnetFamily> for PeerDump {
    fn start(_: &mut Req<'_>) -> Result<Self> {
        Ok(Self {
            next: 0,
            count: None,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        let rtnl = rtnl::lock();
        let peers = &Namespace::of(part.net())?.settings(&rtnl).peers;
        if self
            .count
            .replace(peers.len())
            .is_some_and(|count| count != peers.len())
        {
            part.interrupted();
        }
        for address in peers.iter().skip(self.next) {
            if !part.add(cmd::PEER_GET, |message| fill_peer(message, *address)) {
                break;
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }
}

fn fill_varp(
    message: &mut Message<'_>,
    id: &VnetId,
    mac: Mac,
    remote: Option<(IpAddr, bool, u32)>,
) -> Result<(), Error> {
    message.put(varp::NET, id.as_bytes())?;
    message.put(varp::MAC, mac.as_bytes())?;
    let Some((address, is_static, age)) = remote else {
        return Ok(());
    };
    put_address(message, varp::ADDR, address)?;
    if is_static {
        message.put_u32(varp::STATE, varp::STATE_STATIC)
    } else {
        message.put_u32(varp::STATE, varp::STATE_LEARNED)?;
        message.put_u32(varp::AGE, age)
    }
}

/// Fills in how often an address moved; `window` is the attribute of moves, `damped` that of the time it is damped.
fn fill_moves(
    message: &mut Message<'_>,
    entry: &Entry,
    settings: &Settings,
    (moves, damped): (u16, u16),
) -> Result<(), Error> {
    let (history, now) = (entry.moves(), sys::now());
    match history.count(now, settings) {
        0 => {}
        count => message.put_u32(moves, count)?,
    }
    match history.damped(now) {
        0 => Ok(()),
        left => message.put_u32(damped, left),
    }
}

/// Fills a message with an entry; nothing if it is here.
fn fill_entry(
    message: &mut Message<'_>,
    id: &VnetId,
    mac: Mac,
    entry: &Entry,
    settings: &Settings,
    guard: &Guard,
) -> Result<(), Error> {
    let address = entry.remote(guard).map(Remote::address);
    let known = address.map(|address| (address, entry.is_static(), entry.age()));
    fill_varp(message, id, mac, known)?;
    fill_moves(message, entry, settings, (varp::MOVES, varp::DAMPED))
}

/// Fills a message with an unknown address.
fn fill_unresolved(
    message: &mut Message<'_>,
    id: &VnetId,
    unresolved: &Unresolved,
) -> Result<(), Error> {
    message.put(varp::NET, id.as_bytes())?;
    message.put(varp::MAC, unresolved.mac.as_bytes())?;
    let state = match unresolved.state {
        PendingState::Probing(_) => varp::STATE_PROBING,
        PendingState::Absent => varp::STATE_ABSENT,
    };
    message.put_u32(varp::STATE, state)?;
    message.put_u32(varp::HELD, unresolved.frames.into())
}

/// Tells of what happened on the wire.
pub(crate) fn notify_event(vnet: &Vnet, event: &Event, _rtnl: &Rtnl) {
    let (command, net) = match event {
        Event::Damped { .. } => (cmd::VARP_DAMPED_NTF, vnet.namespace().net()),
        Event::Answer { .. } => (cmd::PROBE_NTF, vnet.namespace().net()),
    };
    genl::notify_to::<VnetFamily>(net, EVENTS, command, |message| match event {
        Event::Damped { mac, other } => {
            message.put(varp::NET, vnet.vnet_id().as_bytes())?;
            message.put(varp::MAC, mac.as_bytes())?;
            let guard = rcu::read_lock();
            if let Some(entry) = vnet.fdb().get(*mac, &guard) {
                if let Some(address) = entry.remote(&guard).map(Remote::address) {
                    put_address(message, varp::ADDR, address)?;
                }
                let settings = vnet.settings().now();
                fill_moves(message, entry, &settings, (varp::MOVES, varp::DAMPED))?;
            }
            match other {
                Some(other) => put_address(message, varp::OTHER, *other),
                None => Ok(()),
            }
        }
        Event::Answer { mac, host, care_of } => {
            message.put(probe::NET, vnet.vnet_id().as_bytes())?;
            message.put(probe::MAC, mac.as_bytes())?;
            put_address(message, probe::ADDR, *host)?;
            put_address(message, probe::CARE_OF, *care_of)
        }
    });
}

/// Position of the group `events` among those that were registered.
const EVENTS: u32 = 1;

struct VarpGet;

impl Handler<VnetFamily> for VarpGet {
    fn handle(request: &mut Req<'_>) -> Result {
        let mac = host_mac(request, varp::MAC)?;
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        let unresolved = vnet.varp().unresolved()?;
        let unresolved = unresolved.iter().find(|entry| entry.mac == mac);
        let id = vnet.vnet_id();
        let settings = vnet.settings().now();
        let mut found = true;
        request
            .reply(cmd::VARP_GET, |message| {
                let guard = rcu::read_lock();
                let entry = vnet.fdb().get(mac, &guard);
                match (
                    entry.filter(|entry| entry.remote(&guard).is_some()),
                    unresolved,
                ) {
                    (Some(entry), _) => fill_entry(message, id, mac, entry, &settings, &guard),
                    (None, Some(unresolved)) => fill_unresolved(message, id, unresolved),
                    (None, None) => {
                        found = false;
                        Err(ENOENT)
                    }
                }
            })
            .map_err(|error| {
                if found {
                    error.into()
                } else {
                    Refusal::new(ENOENT, c"the MAC is not known to be elsewhere")
                }
            })
    }
}

struct VarpNew;

impl Handler<VnetFamily> for VarpNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = host_address(request, varp::ADDR)?;
        let mac = host_mac(request, varp::MAC)?;
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        match vnet.fdb().set_static(mac, address) {
            Ok(true) => {
                let _softirqs = SoftirqsOff::new();
                vnet.varp().resolved(vnet, mac, &rcu::read_lock());
            }
            // It is so already: no change to tell of.
            Ok(false) => return Ok(()),
            Err(error) if error == ENOSPC => {
                return Err(Refusal::new(error, c"the vnet has max-macs entries")
                    .with(vnet.settings().get(Setting::MaxMacs)));
            }
            Err(error) => return Err(error.into()),
        }
        genl::notify::<VnetFamily>(namespace.net(), cmd::VARP_NEW_NTF, |message| {
            fill_varp(message, vnet.vnet_id(), mac, Some((address, true, 0)))
        });
        Ok(())
    }
}

struct VarpDel;

impl Handler<VnetFamily> for VarpDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let mac = host_mac(request, varp::MAC)?;
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if !vnet.fdb().remove(mac) {
            return Err(Refusal::new(
                ENOENT,
                c"the MAC is not known to be elsewhere",
            ));
        }
        genl::notify::<VnetFamily>(namespace.net(), cmd::VARP_DEL_NTF, |message| {
            fill_varp(message, vnet.vnet_id(), mac, None)
        });
        Ok(())
    }
}

struct VarpFlush;

impl Handler<VnetFamily> for VarpFlush {
    fn handle(request: &mut Req<'_>) -> Result {
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, varp::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        let count = vnet.fdb().flush()?;
        let fill = |message: &mut Message<'_>| {
            message.put(varp::NET, vnet.vnet_id().as_bytes())?;
            message.put_u32(varp::COUNT, count)
        };
        if count > 0 {
            genl::notify::<VnetFamily>(namespace.net(), cmd::VARP_FLUSH_NTF, fill);
        }
        // What is flushed is flushed, whether who asked can take the answer or not.
        let _ = request.reply(cmd::VARP_FLUSH, fill);
        Ok(())
    }
}

/// The entries of a vnet. The walk keeps the table, not the vnet: a dump that nobody reads does not keep a device.
struct Entries {
    id: VnetId,
    settings: Settings,
    walk: Walk<ByMac, Entry>,
}

impl Entries {
    fn start(request: &mut Req<'_>, attr: u16) -> Result<Self> {
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, attr, &rtnl)?;
        let vnet = state_of(&device)?;
        Ok(Self {
            id: *vnet.vnet_id(),
            settings: vnet.settings().now(),
            walk: vnet.fdb().walk()?,
        })
    }
}

impl Entries {
    /// Adds messages for entries until the part is full or there are no more: true. `add` is false if the part is full.
    fn fill(
        &mut self,
        part: &mut Part<'_, VnetFamily>,
        mut add: impl FnMut(&mut Part<'_, VnetFamily>, &VnetId, &Settings, Mac, &Entry, &Guard) -> bool,
    ) -> bool {
        let Self { id, settings, walk } = self;
        let mut full = false;
        loop {
            let mut budget = DUMP_BATCH;
            let walked = walk.visit(|item, guard| {
                if budget == 0 {
                    return ControlFlow::Break(());
                }
                budget -= 1;
                full = !item.value().is_gone()
                    && !add(part, id, settings, mac_of(item), item.value(), guard);
                if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if walked.resized {
                part.interrupted();
            }
            if walked.done || full {
                return walked.done;
            }
            sys::work::yield_cpu();
        }
    }
}

/// The entries of a vnet, and then the addresses that are unknown, as they were when it began.
struct VarpDump {
    entries: Entries,
    done: bool,
    unresolved: KVec<Unresolved>,
    next: usize,
}

impl Dump<VnetFamily> for VarpDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        let entries = Entries::start(request, varp::NET)?;
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, varp::NET, &rtnl)?;
        Ok(Self {
            entries,
            done: false,
            unresolved: state_of(&device)?.varp().unresolved()?,
            next: 0,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        if !self.done {
            self.done = self
                .entries
                .fill(part, |part, id, settings, mac, entry, guard| {
                    if entry.remote(guard).is_none() {
                        return true;
                    }
                    part.add(cmd::VARP_GET, |message| {
                        fill_entry(message, id, mac, entry, settings, guard)
                    })
                });
        }
        if self.done {
            for unresolved in self.unresolved.iter().skip(self.next) {
                let id = &self.entries.id;
                if !part.add(cmd::VARP_GET, |message| {
                    fill_unresolved(message, id, unresolved)
                }) {
                    break;
                }
                self.next = self.next.saturating_add(1);
            }
        }
        Ok(())
    }
}

struct VifDump(Entries);

impl Dump<VnetFamily> for VifDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        Ok(Self(Entries::start(request, vif::NET)?))
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        self.0.fill(part, |part, id, settings, mac, entry, guard| {
            if entry.remote(guard).is_some() || entry.is_gone() {
                return true;
            }
            part.add(cmd::VIF_GET, |message| {
                message.put(vif::NET, id.as_bytes())?;
                message.put(vif::MAC, mac.as_bytes())?;
                message.put_u32(vif::AGE, entry.age())?;
                fill_moves(message, entry, settings, (vif::MOVES, vif::DAMPED))
            })
        });
        Ok(())
    }
}

/// Fills a message with a host of a vnet.
fn fill_remote(
    message: &mut Message<'_>,
    id: &VnetId,
    address: IpAddr,
    listed: bool,
    macs: u32,
) -> Result<(), Error> {
    message.put(remote::NET, id.as_bytes())?;
    put_address(message, remote::ADDR, address)?;
    message.put_u8(remote::LISTED, listed.into())?;
    message.put_u32(remote::MACS, macs)
}

fn notify_remote(vnet: &Vnet, command: u8, address: IpAddr, listed: bool) {
    genl::notify::<VnetFamily>(vnet.namespace().net(), command, |message| {
        let macs = vnet.fdb().macs_of(address);
        fill_remote(message, vnet.vnet_id(), address, listed, macs)
    });
}

struct RemoteNew;

impl Handler<VnetFamily> for RemoteNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = host_address(request, remote::ADDR)?;
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, remote::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if !vnet.listed().add(address, &mut rtnl)? {
            return Err(Refusal::new(EEXIST, c"the host is listed"));
        }
        notify_remote(vnet, cmd::REMOTE_NEW_NTF, address, true);
        Ok(())
    }
}

struct RemoteDel;

impl Handler<VnetFamily> for RemoteDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let address = address_of(request, remote::ADDR)?;
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, remote::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if !vnet.listed().remove(address, &mut rtnl)? {
            return Err(Refusal::new(ENOENT, c"the host is not listed"));
        }
        notify_remote(vnet, cmd::REMOTE_DEL_NTF, address, false);
        if vnet.settings().get(Setting::Remotes) == net::REMOTES_LISTED {
            vnet.forget_unlisted()?;
        }
        Ok(())
    }
}

/// Hosts that one part of a dump looks at.
const REMOTE_BATCH: usize = 128;

/// The hosts of a vnet in order: those listed, and those behind which MAC addresses are.
struct RemoteDump {
    id: VnetId,
    last: Option<IpAddr>,
}

impl Dump<VnetFamily> for RemoteDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, remote::NET, &rtnl)?;
        Ok(Self {
            id: *state_of(&device)?.vnet_id(),
            last: None,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(part.net())?;
        let Some(device) = namespace.by_id(&self.id, &rtnl) else {
            part.interrupted();
            return Ok(());
        };
        let vnet = state_of(&device)?;
        let listed = vnet.listed().copy(0, &rtnl)?;
        let mut hosts = KVec::with_capacity(REMOTE_BATCH, GFP_KERNEL)?;
        loop {
            hosts.clear();
            vnet.fdb().hosts(self.last, &mut hosts);
            // Both are in order: what comes first in either is next.
            let host = hosts.first().copied();
            let start = listed.partition_point(|host| self.last.is_some_and(|last| *host <= last));
            let named = listed.get(start).copied();
            let (address, macs, listed) = match (host, named) {
                (Some((host, macs)), named) if named.is_none_or(|named| host <= named) => {
                    (host, macs, named == Some(host))
                }
                (_, Some(named)) => (named, 0, true),
                (_, None) => return Ok(()),
            };
            let id = &self.id;
            if !part.add(cmd::REMOTE_GET, |message| {
                fill_remote(message, id, address, listed, macs)
            }) {
                return Ok(());
            }
            self.last = Some(address);
        }
    }
}

struct Probe;

impl Handler<VnetFamily> for Probe {
    fn handle(request: &mut Req<'_>) -> Result {
        let mac = Mac::from_bytes(request.required_bytes(probe::MAC)?);
        if mac.is_group() {
            if let Some(attr) = request.attr(probe::MAC) {
                request.extack.blame(attr);
            }
            return Err(Refusal::new(EINVAL, c"a group is nowhere"));
        }
        let size = in_range(request, probe::SIZE, abi::PROBE_SIZE_RANGE)?;
        let target = match request.attr(probe::ADDR) {
            Some(_) => Some(host_address(request, probe::ADDR)?),
            None => None,
        };
        let rtnl = rtnl::lock();
        let (namespace, device) = vnet_of(request, probe::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        vnet.varp().watch();
        let _softirqs = SoftirqsOff::new();
        let guard = rcu::read_lock();
        let Some(underlay) = namespace.underlay(&guard) else {
            return Err(ENODEV.into());
        };
        let sender = Sender::for_message(vnet, &device, underlay);
        match target {
            None => {
                sender.tell_all(VarpOpcode::Request, mac);
                Ok(())
            }
            Some(target) => {
                let size = size.unwrap_or(0) as usize;
                if sender.tell(VarpOpcode::Request, mac, target, size) {
                    Ok(())
                } else {
                    Err(Refusal::new(
                        errno::network_unreachable(),
                        c"the underlay has no route to the host",
                    ))
                }
            }
        }
    }
}
