// SPDX-License-Identifier: GPL-2.0-only

//! Generic netlink family `vnet`, as `uapi/vnet.yaml` has it.
//!
//! This file has what all requests share; those about one kind of object are in a file each.
//!
//! The policies check shapes, the handlers meaning. Handlers run in process context and take RTNL themselves.

mod host_ops;
mod key_ops;
mod net_ops;
mod remote_ops;
mod varp_ops;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::prelude::*;
use vnet_core::abi::{cmd, host, key, net, peer, probe, remote, varp, vif};
use vnet_core::sealed::KEY_LEN;
use vnet_core::varp::is_host;
use vnet_core::{abi, Mac, Setting, Settings, VnetId};

use crate::device::Vnet;
use crate::namespace::Namespace;
use crate::sys;
use crate::sys::genl::{Family, FamilyRegistration, FamilyStatic, Message, Op, Policy, Request};
use crate::sys::netdev::OwnDevice;
use crate::sys::rtnl::Rtnl;
use crate::sys::{errno, route, Refusal, Result};

use host_ops::{HostGet, HostSet, PeerDel, PeerDump, PeerNew};
use key_ops::{KeyDel, KeyDump, KeyNew, KeyRotate};
use net_ops::{NetDel, NetDump, NetGet, NetNew, NetSet};
use remote_ops::{Probe, RemoteDel, RemoteDump, RemoteNew};
use varp_ops::{VarpDel, VarpDump, VarpFlush, VarpGet, VarpNew, VifDump};

pub(crate) use host_ops::notify_host;
pub(crate) use net_ops::notify_net;
pub(crate) use varp_ops::notify_event;

/// The family.
pub(crate) struct VnetFamily;

/// Attributes that every policy counts.
const MAX_ATTRS: u16 = net::MAX + 1;

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
            (net::SEAL, Policy::U32),
            (net::CIPHER, Policy::U32),
            (net::MAX_SENDERS, Policy::U32),
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
            (net::SEAL, Policy::U32),
            (net::CIPHER, Policy::U32),
            (net::MAX_SENDERS, Policy::U32),
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
    Op::change::<F, KeyNew>(
        cmd::KEY_NEW,
        &[
            (key::NET, ID),
            (key::INDEX, Policy::U32),
            (key::SLOT, Policy::U32),
            (key::KEY, Policy::exact(KEY_LEN as i16)),
        ],
    ),
    Op::dump::<F, KeyDump>(cmd::KEY_GET, &[(key::NET, ID)]),
    Op::change::<F, KeyDel>(cmd::KEY_DEL, &[(key::NET, ID), (key::INDEX, Policy::U32)]),
    Op::change::<F, KeyRotate>(
        cmd::KEY_ROTATE,
        &[(key::NET, ID), (key::INDEX, Policy::U32)],
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
    } else if !is_host(address) || route::is_broadcast(request.net(), address) {
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
