// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Receive of sealed messages.
//!
//! A message is opened before anything in it is believed, and counted as there only after it has opened. Of a sender that is not
//! known yet, only what makes it known is looked at.

use std::sync::Arc;

use vnet_core::Setting;
use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::sealed::COUNTER_LAST;
use vnet_core::wire::{Hello, HelloStep, Opened, SealedHeader, VarpMessage, WireError};

use super::{Origin, Turn};
use crate::sealed::{Admission, Keys, Opener, Taken, Use};
use crate::shared::Net;
use crate::worker::Worker;

impl Worker {
    /// Takes a sealed message.
    pub(super) fn sealed<'a>(
        &mut self,
        turn: &mut Turn<'a>,
        header: &SealedHeader,
        message: &'a mut [u8],
        origin: &Origin,
    ) {
        let world = turn.world;
        let Some((net, key)) = world.tags.get(&header.tag) else {
            return self.shared.count(HostCounter::RxUnknownKey);
        };
        if let Err(reason) = self.open(turn, (net, key), header, message, origin) {
            net.vnet.count(reason);
        }
    }

    fn open<'a>(
        &mut self,
        turn: &mut Turn<'a>,
        (net, key): (&'a Arc<Net>, &'a Use),
        header: &SealedHeader,
        message: &'a mut [u8],
        origin: &Origin,
    ) -> Result<(), NetCounter> {
        let keys = net.sealed.as_ref().ok_or(NetCounter::TxNoKey)?;
        if !net.accepts(origin.source) {
            return Err(NetCounter::RxNotListed);
        }
        // Our own, thrown back at us. It would open, and we would vouch for ourselves.
        if header.sender == keys.own.number {
            return Err(NetCounter::RxReplay);
        }
        // What nobody who keeps to the rules has sealed.
        if !(1..=COUNTER_LAST).contains(&header.counter) {
            return Err(NetCounter::RxBadSeal);
        }
        let now = self.shared.clock.now();
        let body = match key.opener(header.sender) {
            Some(opener) => {
                let body = opener.aead.open(key.mode(), header, message);
                let body = body.ok_or(NetCounter::RxBadSeal)?;
                match opener.sender.take(header.counter, now) {
                    Taken::New => body,
                    Taken::Replayed => return Err(NetCounter::RxReplay),
                    Taken::Forgotten => {
                        key.forget(header.sender);
                        return self.unknown(turn, net, keys, header, body, origin);
                    }
                }
            }
            None => {
                let aead = key.aead_of(header.sender);
                let body = aead.open(key.mode(), header, message);
                let body = body.ok_or(NetCounter::RxBadSeal)?;
                let Some(sender) = keys.believed.find(header.sender) else {
                    return self.unknown(turn, net, keys, header, body, origin);
                };
                match sender.take(header.counter, now) {
                    Taken::New => keys.believed.remember(key, Opener { aead, sender }),
                    Taken::Replayed => return Err(NetCounter::RxReplay),
                    Taken::Forgotten => {
                        return self.unknown(turn, net, keys, header, body, origin);
                    }
                }
                body
            }
        };
        self.opened(turn, net, keys, header, body, origin)
    }

    /// Takes what was opened, of a sender that is known.
    fn opened<'a>(
        &mut self,
        turn: &mut Turn<'a>,
        net: &'a Arc<Net>,
        keys: &Keys,
        header: &SealedHeader,
        body: &'a [u8],
        origin: &Origin,
    ) -> Result<(), NetCounter> {
        match Opened::parse(body).map_err(reason)? {
            Opened::Frame(frame) => self.deliver(turn, net, frame, origin)?,
            Opened::Varp(bytes) => {
                let varp = VarpMessage::parse(bytes).ok();
                let varp = varp.filter(|varp| varp.id == net.vnet.id);
                let varp = varp.ok_or(NetCounter::RxVarpRefused)?;
                self.shared.count(HostCounter::RxVarp);
                self.varp(turn.world, turn.underlay, net, &varp, origin);
            }
            Opened::Hello(hello) => self.hello(turn, net, keys, &hello, header, origin),
        }
        Ok(())
    }

    /// Takes what a sender has sealed of whom it is not known that it is there now.
    fn unknown(
        &mut self,
        turn: &Turn<'_>,
        net: &Arc<Net>,
        keys: &Keys,
        header: &SealedHeader,
        body: &[u8],
        origin: &Origin,
    ) -> Result<(), NetCounter> {
        let step = match Opened::parse(body).map_err(reason)? {
            Opened::Hello(hello) => {
                self.hello(turn, net, keys, &hello, header, origin);
                Some(hello.step)
            }
            Opened::Frame(_) | Opened::Varp(_) => None,
        };
        if step != Some(HelloStep::Answer) {
            self.challenge(turn, net, keys, header, origin);
        }
        step.map(drop).ok_or(NetCounter::RxUnknownSender)
    }

    /// Takes what a host says so that hosts get to know each other.
    fn hello(
        &mut self,
        turn: &Turn<'_>,
        net: &Arc<Net>,
        keys: &Keys,
        hello: &Hello,
        header: &SealedHeader,
        origin: &Origin,
    ) {
        let now = self.shared.clock.now();
        let setting = |setting| net.settings.get(setting);
        match hello.step {
            _ if hello.to != keys.own.number => {}
            HelloStep::Greeting => {}
            HelloStep::Challenge => {
                if keys.believed.may_answer(now, setting(Setting::VarpRate)) {
                    let answer = Hello {
                        step: HelloStep::Answer,
                        to: header.sender,
                        cookie: hello.cookie,
                    };
                    self.say_hello(turn.underlay, net, &answer, origin);
                }
            }
            HelloStep::Answer => {
                let sealed = (header.sender, header.counter);
                let most = setting(Setting::MaxSenders) as usize;
                let (id, cookie) = (net.vnet.id, &hello.cookie);
                let admission = keys.believed.answered(keys, id, sealed, cookie, now, most);
                if let Admission::Admitted(evicted) = admission {
                    net.vnet.count(NetCounter::Admitted);
                    (0..evicted).for_each(|_| net.vnet.count(NetCounter::Evicted));
                }
            }
        }
    }

    /// Asks a sender to prove that it is there now.
    fn challenge(
        &mut self,
        turn: &Turn<'_>,
        net: &Arc<Net>,
        keys: &Keys,
        header: &SealedHeader,
        origin: &Origin,
    ) {
        let now = self.shared.clock.now();
        let rate = net.settings.get(Setting::VarpRate);
        let id = net.vnet.id;
        let Some(cookie) = keys.believed.challenge(id, header.sender, now, rate) else {
            return;
        };
        net.vnet.count(NetCounter::Challenges);
        let challenge = Hello {
            step: HelloStep::Challenge,
            to: header.sender,
            cookie,
        };
        self.say_hello(turn.underlay, net, &challenge, origin);
    }
}

/// The counter of what opened and says nothing that is known.
fn reason(error: WireError) -> NetCounter {
    match error {
        WireError::Short => NetCounter::RxShort,
        _ => NetCounter::RxBadSeal,
    }
}
