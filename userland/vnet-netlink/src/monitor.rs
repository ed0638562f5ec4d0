// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Notifications: one for every change, and one for what happens on the wire.

use std::collections::VecDeque;

use neli::consts::genl::{CtrlAttr, CtrlCmd};
use neli::consts::nl::GenlId;
use vnet_core::abi;

use crate::attributes::Reader;
use crate::endpoint::{Connection, Socket};
use crate::genl;
use crate::message::{Content, Message, Messages};
use crate::socket::Transport;
use crate::{Endpoint, Error, Event};

/// The family that tells of families, and its group.
const CONTROL: &str = "nlctrl";
const CONTROL_GROUP: &str = "notify";
/// Room for notifications that were not read yet.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// The notifications of a network namespace.
pub struct Monitor {
    connection: Connection,
    pending: VecDeque<Result<Event, Error>>,
}

impl Monitor {
    /// Listens to all groups from now on.
    pub fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let mut connection = endpoint.connect()?;
        // When the module goes, the group goes silently; only the family of families tells.
        let control = match connection.requester.transport_mut() {
            Socket::Kernel(socket) => {
                socket.set_receive_buffer(RECEIVE_BUFFER)?;
                genl::resolve(&mut connection.requester, CONTROL)?
                    .groups
                    .remove(CONTROL_GROUP)
            }
            Socket::Daemon(_) => None,
        };
        let group = |name| connection.family.groups.get(name).copied();
        let config = group(abi::GROUP_CONFIG).ok_or(Error::Malformed(
            "the family has no group for notifications",
        ))?;
        // An older module has none.
        let events = group(abi::GROUP_EVENTS);
        for group in [control, Some(config), events].into_iter().flatten() {
            connection.join(group)?;
        }
        if let Socket::Daemon(socket) = connection.requester.transport_mut() {
            socket.be_patient()?;
        }
        Ok(Self {
            connection,
            pending: VecDeque::new(),
        })
    }

    /// Waits for the next event. Fails with [`Error::NoFamily`] when the module is unloaded, with [`Error::Closed`] when
    /// the daemon ends, and with [`Error::Overrun`] where events were lost; those after them follow then.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            let family = self.connection.family.id;
            let datagram = self.connection.requester.transport_mut().receive()?;
            let events = Messages::new(datagram)
                .filter_map(|message| message.and_then(|m| event(&m, family)).transpose());
            self.pending.extend(events);
        }
    }
}

/// The event that a message tells of, if it does.
fn event(message: &Message<'_>, family: u16) -> Result<Option<Event>, Error> {
    let Content::Data(data) = message.content()? else {
        return Ok(None);
    };
    let (command, attributes) = genl::split(data)?;
    if message.kind == family {
        return Event::parse(command, attributes);
    }
    let gone = message.kind == u16::from(GenlId::Ctrl)
        && command == u8::from(CtrlCmd::Delfamily)
        && family_of(attributes)? == Some(family);
    if gone {
        return Err(Error::NoFamily(abi::FAMILY));
    }
    Ok(None)
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
