// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Transmit in sealed vnets.

use std::sync::Arc;

use vnet_core::abi::NetCounter;
use vnet_core::wire::{Hello, SEALED_HEADER_LEN, SEALED_TAG_LEN};

use super::{reason, unspecified};
use crate::rx::Origin;
use crate::sealed::Keys;
use crate::shared::{Event, Net, Shared, Underlay, World};
use crate::worker::Worker;

impl Net {
    /// Seals messages that stand one after another in the post.
    pub(super) fn seal(
        &self,
        shared: &Shared,
        keys: &Keys,
        messages: &mut [u8],
        size: usize,
    ) -> Result<(), NetCounter> {
        if let Some(expiring) = keys.seal(messages, size)? {
            shared.tell(Event::KeyExpiring {
                id: self.vnet.id,
                index: expiring.index,
                counter: expiring.counter,
            });
        }
        Ok(())
    }

    /// A message that is no data, as it is sent: filled up with zeros to so many bytes, and sealed if the vnet is.
    pub(crate) fn pack_message(
        &self,
        shared: &Shared,
        message: &[u8],
        size: usize,
    ) -> Result<Vec<u8>, NetCounter> {
        let Some(keys) = &self.sealed else {
            let mut bytes = message.to_vec();
            bytes.resize(bytes.len().max(size), 0);
            return Ok(bytes);
        };
        let length = SEALED_HEADER_LEN + message.len() + SEALED_TAG_LEN;
        let mut bytes = vec![0; length.max(size)];
        for (to, from) in bytes.iter_mut().skip(SEALED_HEADER_LEN).zip(message) {
            *to = *from;
        }
        let all = bytes.len();
        self.seal(shared, keys, &mut bytes, all)?;
        Ok(bytes)
    }
}

impl Worker {
    /// Says something to a host so that hosts get to know each other.
    pub(crate) fn say_hello(
        &mut self,
        underlay: &Underlay,
        net: &Arc<Net>,
        hello: &Hello,
        to: &Origin,
    ) {
        let mut envelope = underlay.envelope(to.source);
        envelope.source = to.ours;
        let packed = net.pack_message(&self.shared, &hello.emit(), 0);
        let sent = packed.and_then(|bytes| {
            self.send(underlay, &envelope, false, &[&bytes])
                .map_err(reason)
        });
        if let Err(reason) = sent {
            net.vnet.count(reason);
        }
    }

    /// Tells everyone in a sealed vnet that this host is there, so that they ask it to prove it at once.
    pub(crate) fn greet(&mut self, world: &World, net: &Arc<Net>) {
        let Some(underlay) = world.underlay.as_deref() else {
            return;
        };
        // Who has no key yet says nothing.
        if !net.up || !net.sealed.as_ref().is_some_and(|keys| keys.is_ready()) {
            return;
        }
        let greeting = Hello::GREETING.emit();
        let everyone = underlay.everyone();
        for to in everyone.plain {
            let packed = net.pack_message(&self.shared, &greeting, 0);
            let sent = packed.and_then(|bytes| {
                self.send(underlay, &underlay.envelope(*to), false, &[&bytes])
                    .map_err(reason)
            });
            if let Err(reason) = sent {
                net.vnet.count(reason);
            }
        }
        let nobody = unspecified(everyone.group);
        for peer in everyone.wrapped {
            let packed = net.pack_message(&self.shared, &greeting, 0);
            let sent = packed.and_then(|bytes| {
                self.forward(underlay, nobody, everyone.group, *peer, &bytes)
                    .map_err(reason)
            });
            if let Err(reason) = sent {
                net.vnet.count(reason);
            }
        }
    }
}
