// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Listings that are under way. A part is made when the one before has been read, so that nobody can have the daemon hold
//! more than that.

use std::net::IpAddr;
use std::sync::Arc;

use vnet_core::abi::{VERSION, cmd};
use vnet_core::{Settings, VnetId};

use crate::family;
use crate::host::Host;
use crate::message::{self, Answer, FLAG_INTERRUPTED, FLAG_MULTI, Header, PART};
use crate::notice;
use crate::vnet::Vnet;

/// Where a listing goes on.
pub(crate) enum Cursor {
    /// The families: the one.
    Families,
    /// The vnets after the one with this serial number; the list as it was at the beginning.
    Nets { after: u64, changes: u64 },
    /// What was there when it began.
    Ready(u8, std::vec::IntoIter<Answer>),
    /// A part of a table.
    Table {
        vnet: Arc<Vnet>,
        settings: Settings,
        part: usize,
        /// Whether local ones are listed.
        here: bool,
        /// Messages of the part before, for which there was no room.
        left: Vec<Answer>,
    },
}

impl Cursor {
    /// Of all vnets.
    pub(crate) fn nets(host: &Host) -> Self {
        Self::Nets {
            after: 0,
            changes: host.changes,
        }
    }

    /// Of all peers.
    pub(crate) fn peers(host: &Host) -> Self {
        let all: Vec<_> = host
            .settings
            .peers
            .iter()
            .copied()
            .map(notice::fill_peer)
            .collect();
        Self::Ready(cmd::PEER_GET, all.into_iter())
    }

    /// Of the hosts of a vnet.
    pub(crate) fn remotes(host: &Host, id: &VnetId) -> Self {
        let hosts: Vec<(IpAddr, bool, u32)> = host
            .net(id)
            .map(|net| net.vnet.table.hosts())
            .unwrap_or_default();
        let all: Vec<_> = hosts
            .into_iter()
            .map(|of| notice::fill_remote(id, of))
            .collect();
        Self::Ready(cmd::REMOTE_GET, all.into_iter())
    }

    /// Of the keys of a vnet.
    pub(crate) fn keys(host: &Host, id: &VnetId) -> Self {
        let now = host.shared.clock.now();
        let keys = host.net(id).map(|net| net.seal.list(now));
        let keys = keys.unwrap_or_default().into_iter();
        let all: Vec<_> = keys.map(|key| notice::fill_key(id, &key)).collect();
        Self::Ready(cmd::KEY_GET, all.into_iter())
    }

    /// Of the MACs of a vnet, remote or local ones.
    pub(crate) fn table(host: &Host, id: &VnetId, here: bool) -> Self {
        match host.net(id) {
            Some(net) => Self::Table {
                vnet: net.vnet.clone(),
                settings: net.settings,
                part: 0,
                here,
                left: Vec::new(),
            },
            None => Self::Ready(cmd::VARP_GET, Vec::new().into_iter()),
        }
    }

    /// The next packet. The second is true if it was the last.
    pub(crate) fn next(&mut self, host: &mut Host, header: &Header) -> (Vec<u8>, bool) {
        let mut packet = Vec::new();
        let add = |packet: &mut Vec<u8>, command: u8, flags: u16, answer: &Answer| {
            packet.extend(message::reply(
                header,
                FLAG_MULTI | flags,
                command,
                VERSION,
                answer,
            ));
            packet.len() >= PART
        };
        let mut flags = 0;
        match self {
            Self::Families => packet.extend(family::reply(header, FLAG_MULTI)),
            Self::Nets { after, changes } => {
                if *changes != host.changes {
                    flags = FLAG_INTERRUPTED;
                }
                let ids: Vec<_> = host
                    .nets
                    .iter()
                    .filter(|net| net.vnet.serial > *after)
                    .map(|net| (net.vnet.serial, net.vnet.id))
                    .collect();
                for (serial, id) in ids {
                    *after = serial;
                    let Some(answer) = notice::fill_net(host, &id, true) else {
                        continue;
                    };
                    if add(&mut packet, cmd::NET_GET, flags, &answer) {
                        return (packet, false);
                    }
                }
            }
            Self::Ready(command, answers) => {
                for answer in answers {
                    if add(&mut packet, *command, 0, &answer) {
                        return (packet, false);
                    }
                }
            }
            Self::Table {
                vnet,
                settings,
                part,
                here,
                left,
            } => {
                let command = if *here { cmd::VIF_GET } else { cmd::VARP_GET };
                loop {
                    while let Some(answer) = left.pop() {
                        if add(&mut packet, command, 0, &answer) {
                            return (packet, false);
                        }
                    }
                    match table_part(host, vnet, settings, *part, *here) {
                        Some(next) => *left = next,
                        None => break,
                    }
                    *part += 1;
                }
            }
        }
        packet.extend(message::done(header, flags));
        (packet, true)
    }
}

/// One part of a table; the last one has the MACs that are being asked for.
fn table_part(
    host: &Host,
    vnet: &Vnet,
    settings: &Settings,
    part: usize,
    here: bool,
) -> Option<Vec<Answer>> {
    let now = host.shared.clock.now();
    if let Some(shown) = vnet.table.part(part, now, settings) {
        let wanted = shown.iter().filter(|shown| shown.host.is_none() == here);
        let fill = |shown| match here {
            true => notice::fill_vif(&vnet.id, shown),
            false => notice::fill_varp(&vnet.id, shown),
        };
        return Some(wanted.map(fill).collect());
    }
    if part > crate::table::SHARDS || here {
        return None;
    }
    let pending = vnet.resolving(|resolver| {
        let all = resolver.pending().iter();
        all.map(|pending| notice::fill_pending(&vnet.id, pending))
            .collect()
    });
    Some(pending.unwrap_or_default())
}
