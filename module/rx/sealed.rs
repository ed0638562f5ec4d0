// SPDX-License-Identifier: GPL-2.0-only

//! Receive of sealed messages.
//!
//! A message is opened before anything in it is believed, and counted as there only after it has opened. Of a sender that is not
//! known yet, only what makes it known is looked at.

use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::sealed::{Mode, COUNTER_LAST};
use vnet_core::wire::{
    Hello, HelloStep, Opened, SealedHeader, WireError, ETHERNET_HEADER_LEN, SEALED_HEADER_LEN,
    SEALED_KIND_LEN, SEALED_TAG_LEN,
};

use super::{deliver, Body, Origin};
use crate::device::Vnet;
use crate::namespace::Namespace;
use crate::seal::Keys;
use crate::sys::crypto::CipherKey;
use crate::sys::netdev::OwnDevice;
use crate::sys::rcu::Guard;
use crate::sys::skb::SkBuff;
use crate::tx::Sender;
use vnet_core::wire::EthernetHeader;

/// Bytes that every sealed message has.
const LEAST: usize = SEALED_HEADER_LEN + SEALED_KIND_LEN + SEALED_TAG_LEN;

impl Namespace {
    /// Takes a sealed message.
    #[inline(never)]
    pub(super) fn sealed(
        &self,
        mut skb: SkBuff,
        origin: &Origin,
        guard: &Guard,
    ) -> Result<(), HostCounter> {
        let header = skb
            .pull(origin.offset.saturating_add(LEAST))
            .and_then(|bytes| bytes.get(origin.offset..))
            .ok_or(HostCounter::RxShort)?;
        let header = SealedHeader::parse(header).map_err(|error| error.counter())?;
        let Some(opener) = self.seals().opener(&header, guard) else {
            return self.stranger(skb, &header, origin, guard);
        };
        let device = &opener.device;
        let vnet = device.state().ok_or(HostCounter::RxUnknownKey)?;
        let done = may_open(vnet, &header, origin, guard)
            .and_then(|()| open(&mut skb, &header, opener.mode, &opener.key, origin.offset))
            .and_then(|()| {
                if opener.sender.take(header.counter) {
                    self.opened(vnet, device, skb, &header, origin, guard)
                } else {
                    Err(NetCounter::RxReplay)
                }
            });
        count_lost(vnet, device, done);
        Ok(())
    }

    /// Takes a message under a tag of ours for which the sender has no opener.
    #[cold]
    fn stranger(
        &self,
        mut skb: SkBuff,
        header: &SealedHeader,
        origin: &Origin,
        guard: &Guard,
    ) -> Result<(), HostCounter> {
        let tag = self
            .seals()
            .tag(header.tag, guard)
            .ok_or(HostCounter::RxUnknownKey)?;
        let device = &tag.device;
        let vnet = device.state().ok_or(HostCounter::RxUnknownKey)?;
        let keys = vnet.seal().keys(guard).ok_or(HostCounter::RxUnknownKey)?;
        let done = may_open(vnet, header, origin, guard).and_then(|()| {
            // Our own, thrown back at us. It would open, and we would vouch for ourselves.
            if header.sender == keys.number() {
                return Err(NetCounter::RxReplay);
            }
            let key = tag.key_of(header.sender).ok_or(NetCounter::RxNoMemory)?;
            open(&mut skb, header, tag.mode(), &key, origin.offset)?;
            let Some(known) = keys.believed().find(header.sender) else {
                return self.unknown(vnet, device, keys, skb, header, origin, guard);
            };
            if !known.take(header.counter) {
                return Err(NetCounter::RxReplay);
            }
            let key = (header.sender, key);
            keys.believed()
                .remember(vnet, header.tag, *device, tag.mode(), key);
            self.opened(vnet, device, skb, header, origin, guard)
        });
        count_lost(vnet, device, done);
        Ok(())
    }

    /// Takes what a sender has sealed of whom it is not known that it is there now.
    #[expect(clippy::too_many_arguments, reason = "one place calls it")]
    fn unknown(
        &self,
        vnet: &Vnet,
        device: &OwnDevice<Vnet>,
        keys: &Keys,
        mut skb: SkBuff,
        header: &SealedHeader,
        origin: &Origin,
        guard: &Guard,
    ) -> Result<(), NetCounter> {
        let said = match content(&mut skb, origin)? {
            Opened::Hello(hello) => Some(hello),
            Opened::Frame(_) | Opened::Varp(_) => None,
        };
        let step = said.map(|hello| hello.step);
        if let Some(hello) = said {
            self.hello(vnet, device, keys, &hello, header, origin, guard);
        }
        if step != Some(HelloStep::Answer) {
            self.challenge(vnet, device, keys, header, origin, guard);
        }
        match step {
            None => Err(NetCounter::RxUnknownSender),
            Some(_) => Ok(()),
        }
    }

    /// Takes what was opened, of a sender that is known.
    fn opened(
        &self,
        vnet: &Vnet,
        device: &OwnDevice<Vnet>,
        mut skb: SkBuff,
        header: &SealedHeader,
        origin: &Origin,
        guard: &Guard,
    ) -> Result<(), NetCounter> {
        let message = match content(&mut skb, origin)? {
            Opened::Frame(frame) => {
                let frame = frame
                    .get(..ETHERNET_HEADER_LEN)
                    .and_then(|bytes| EthernetHeader::parse(bytes).ok())
                    .ok_or(NetCounter::RxShort)?;
                let start = origin
                    .offset
                    .saturating_add(SEALED_HEADER_LEN + SEALED_KIND_LEN);
                return deliver(
                    vnet,
                    device,
                    skb,
                    &frame,
                    origin,
                    Body::Sealed(start),
                    guard,
                );
            }
            other => other,
        };
        match message {
            Opened::Varp(bytes) => {
                let varp = vnet_core::wire::VarpMessage::parse(bytes);
                match varp {
                    Ok(varp) if varp.id == *vnet.vnet_id() => {
                        self.count(HostCounter::RxVarp);
                        self.varp_message(vnet, device, &varp, origin, guard);
                        Ok(())
                    }
                    _ => Err(NetCounter::RxVarpRefused),
                }
            }
            Opened::Hello(hello) => {
                if let Some(keys) = vnet.seal().keys(guard) {
                    self.hello(vnet, device, keys, &hello, header, origin, guard);
                }
                Ok(())
            }
            Opened::Frame(_) => Ok(()),
        }
    }

    /// Takes what a host says so that hosts get to know each other.
    #[expect(clippy::too_many_arguments, reason = "all of it is about one message")]
    fn hello(
        &self,
        vnet: &Vnet,
        device: &OwnDevice<Vnet>,
        keys: &Keys,
        hello: &Hello,
        header: &SealedHeader,
        origin: &Origin,
        guard: &Guard,
    ) {
        if hello.step == HelloStep::Greeting || hello.to != keys.number() {
            return;
        }
        if hello.step == HelloStep::Answer {
            let (number, counter) = (header.sender, header.counter);
            keys.believed()
                .answered(vnet, number, &hello.cookie, counter);
            return;
        }
        let Some(underlay) = self.underlay(guard) else {
            return;
        };
        if keys.believed().may_answer(vnet) {
            let answer = Hello {
                step: HelloStep::Answer,
                to: header.sender,
                cookie: hello.cookie,
            };
            Sender::for_message(vnet, device, underlay, guard).hello(&answer, origin.host);
        }
    }

    /// Asks a sender to prove that it is there now.
    fn challenge(
        &self,
        vnet: &Vnet,
        device: &OwnDevice<Vnet>,
        keys: &Keys,
        header: &SealedHeader,
        origin: &Origin,
        guard: &Guard,
    ) {
        let Some(underlay) = self.underlay(guard) else {
            return;
        };
        let Some(cookie) = keys.believed().challenge(vnet, header.sender) else {
            return;
        };
        vnet.count(NetCounter::Challenges);
        let challenge = Hello {
            step: HelloStep::Challenge,
            to: header.sender,
            cookie,
        };
        Sender::for_message(vnet, device, underlay, guard).hello(&challenge, origin.host);
    }
}

/// Whether a message is looked at.
fn may_open(
    vnet: &Vnet,
    header: &SealedHeader,
    origin: &Origin,
    guard: &Guard,
) -> Result<(), NetCounter> {
    if !vnet.accepts(origin.host, guard) {
        Err(NetCounter::RxNotListed)
    } else if !(1..=COUNTER_LAST).contains(&header.counter) {
        // What nobody who keeps to the rules has sealed.
        Err(NetCounter::RxBadSeal)
    } else {
        Ok(())
    }
}

fn count_lost(vnet: &Vnet, device: &OwnDevice<Vnet>, done: Result<(), NetCounter>) {
    if let Err(reason) = done {
        vnet.count(reason);
        device.count_rx_dropped();
    }
}

/// Opens a message in place, and takes its authentication tag off.
#[inline]
fn open(
    skb: &mut SkBuff,
    header: &SealedHeader,
    mode: Mode,
    key: &CipherKey,
    offset: usize,
) -> Result<(), NetCounter> {
    let len = skb.len();
    let message = skb
        .bytes_mut()
        .ok_or(NetCounter::RxNoMemory)?
        .get_mut(offset..)
        .ok_or(NetCounter::RxShort)?;
    // Without the mark of who relays, which may have changed on the way.
    let place = message
        .get_mut(..SEALED_HEADER_LEN)
        .ok_or(NetCounter::RxShort)?;
    place.copy_from_slice(&header.emit());
    if !key.open(mode, header.counter, message) {
        return Err(NetCounter::RxBadSeal);
    }
    skb.truncate(len.saturating_sub(SEALED_TAG_LEN))
        .map_err(|_| NetCounter::RxNoMemory)
}

/// What an opened message says.
fn content<'a>(skb: &'a mut SkBuff, origin: &Origin) -> Result<Opened<'a>, NetCounter> {
    let len = skb.len();
    let bytes = skb
        .pull(len)
        .and_then(|bytes| bytes.get(origin.offset.saturating_add(SEALED_HEADER_LEN)..))
        .ok_or(NetCounter::RxShort)?;
    Opened::parse(bytes).map_err(|error| match error {
        WireError::Short => NetCounter::RxShort,
        _ => NetCounter::RxBadSeal,
    })
}
