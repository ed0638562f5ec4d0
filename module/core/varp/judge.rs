// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What a received VARP message calls for.

use core::net::IpAddr;

use crate::mac::Mac;
use crate::wire::{VarpAddr, VarpMessage, VarpOpcode};

/// What a VARP message for a vnet that is here calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The sender asks for a MAC: if it is here, answer the sender (not the address in the message) with an announcement.
    Asked(Mac),
    /// The sender asks whether the vnet is here: answer with an announcement of the zero MAC.
    AskedPresence,
    /// A MAC is behind a host. Nothing leads to one of which [`is_of_link`] is true unless the device is set.
    Announced(Mac, IpAddr),
    /// The vnet is there, at a host; the answer to the presence question.
    Present(IpAddr),
    /// A MAC is not behind the sender any more: forget it, if it is known to be behind the sender.
    Withdrawn(Mac),
    /// Not plausible: ignore it.
    Refused,
}

/// Whether an address can be that of another host: not a group, not unspecified, of this host only, or of one link only.
pub fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_loopback())
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified()
                || address.is_multicast()
                || address.is_loopback()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some())
        }
    }
}

/// Whether an address, of a host or a group, is another one on each link: it leads nowhere unless the device is known.
pub fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) if address.is_multicast() => {
            let [_, flags_and_scope, ..] = address.octets();
            flags_and_scope & 0xf <= 2
        }
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Judges a message from a host. `is_ours` says whether an address is one of this host's own.
pub fn judge(
    message: &VarpMessage,
    source: IpAddr,
    is_ours: impl FnOnce(IpAddr) -> bool,
) -> Judged {
    let mac = message.mac;
    if mac.is_group() {
        return Judged::Refused;
    }
    let host = match message.addr {
        VarpAddr::V4(address) => Some(IpAddr::V4(address)),
        VarpAddr::V6(address) => Some(IpAddr::V6(address)),
        VarpAddr::Unknown { .. } => None,
    };
    // An address of the link only is good for who sends it from there, and is on the link.
    let is_sender = |host: IpAddr| host == source && is_of_link(host) && !host.is_multicast();
    let host = host.filter(|host| is_host(*host) || is_sender(*host));
    match (message.opcode, host) {
        // The address in a request has no meaning: the original's is not used either.
        (VarpOpcode::Request, _) if mac.is_zero() => Judged::AskedPresence,
        (VarpOpcode::Request, _) => Judged::Asked(mac),
        (VarpOpcode::Announce, Some(host)) if !is_ours(host) => {
            if mac.is_zero() {
                Judged::Present(host)
            } else {
                Judged::Announced(mac, host)
            }
        }
        (VarpOpcode::Withdraw, Some(host)) if host == source && !mac.is_zero() => {
            Judged::Withdrawn(mac)
        }
        _ => Judged::Refused,
    }
}
