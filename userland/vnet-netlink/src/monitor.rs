// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Notifications: one for every change.

use std::collections::VecDeque;

use neli::consts::genl::{CtrlAttr, CtrlCmd};
use neli::consts::nl::GenlId;
use neli::consts::socket::NlFamily;
use serde::Serialize;
use vnet_core::abi::{self, cmd};

use crate::Error;
use crate::attributes::Reader;
use crate::genl;
use crate::message::{Content, Messages};
use crate::socket::{KernelSocket, Requester, Transport};
use crate::types::{Flushed, Host, Net, Peer, Varp};

/// The family that tells of families, and its group.
const CONTROL: &str = "nlctrl";
const CONTROL_GROUP: &str = "notify";
/// Room for notifications that were not read yet.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// What a notification is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Subject {
    /// A vnet.
    Net(Net),
    /// The settings of the namespace.
    Host(Host),
    /// A peer.
    Peer(Peer),
    /// An entry of the VARP table.
    Varp(Varp),
    /// A flush of the VARP table.
    Flushed(Flushed),
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What was done: the name of the command.
    pub event: &'static str,
    /// What it was done to.
    #[serde(flatten)]
    pub subject: Subject,
}

impl Event {
    /// Reads a notification. `None` if it is of a kind that is not known here.
    pub fn parse(command: u8, attributes: &[u8]) -> Result<Option<Self>, Error> {
        let (event, subject) = match command {
            cmd::NET_NEW_NTF => ("net-new", Subject::Net(Net::parse(attributes)?)),
            cmd::NET_SET_NTF => ("net-set", Subject::Net(Net::parse(attributes)?)),
            cmd::NET_DEL_NTF => ("net-del", Subject::Net(Net::parse(attributes)?)),
            cmd::HOST_SET_NTF => ("host-set", Subject::Host(Host::parse(attributes)?)),
            cmd::PEER_NEW_NTF => ("peer-new", Subject::Peer(Peer::parse(attributes)?)),
            cmd::PEER_DEL_NTF => ("peer-del", Subject::Peer(Peer::parse(attributes)?)),
            cmd::VARP_NEW_NTF => ("varp-new", Subject::Varp(Varp::parse(attributes)?)),
            cmd::VARP_DEL_NTF => ("varp-del", Subject::Varp(Varp::parse(attributes)?)),
            cmd::VARP_FLUSH_NTF => ("varp-flush", Subject::Flushed(Flushed::parse(attributes)?)),
            _ => return Ok(None),
        };
        Ok(Some(Self { event, subject }))
    }
}

/// The notifications of a network namespace.
pub struct Monitor {
    requester: Requester<KernelSocket>,
    family: u16,
    pending: VecDeque<Event>,
}

impl Monitor {
    /// Listens from now on.
    pub fn open() -> Result<Self, Error> {
        let mut requester = Requester::new(KernelSocket::open(NlFamily::Generic)?);
        let family = genl::resolve(&mut requester, abi::FAMILY)?;
        let group = family
            .groups
            .get(abi::GROUP_CONFIG)
            .ok_or(Error::Malformed(
                "the family has no group for notifications",
            ))?;
        // When the module goes, the group goes silently; only the family of families tells.
        let control = genl::resolve(&mut requester, CONTROL)?;
        let socket = requester.transport_mut();
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        socket.join(*group)?;
        if let Some(group) = control.groups.get(CONTROL_GROUP) {
            socket.join(*group)?;
        }
        Ok(Self {
            requester,
            family: family.id,
            pending: VecDeque::new(),
        })
    }

    /// Waits for the next change. Fails with [`Error::NoFamily`] when the module is unloaded.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let datagram = self.requester.transport_mut().receive()?;
            for message in Messages::new(datagram) {
                let message = message?;
                let Content::Data(data) = message.content()? else {
                    continue;
                };
                let (command, attributes) = genl::split(data)?;
                if message.kind == self.family {
                    self.pending.extend(Event::parse(command, attributes)?);
                } else if message.kind == u16::from(GenlId::Ctrl)
                    && command == u8::from(CtrlCmd::Delfamily)
                    && family_of(attributes)? == Some(self.family)
                {
                    return Err(Error::NoFamily(abi::FAMILY));
                }
            }
        }
    }
}

/// The family that a message of the family of families is about.
fn family_of(attributes: &[u8]) -> Result<Option<u16>, Error> {
    for attribute in Reader::new(attributes) {
        let attribute = attribute?;
        if attribute.kind == u16::from(CtrlAttr::FamilyId) {
            return attribute.u16().map(Some);
        }
    }
    Ok(None)
}
