// SPDX-License-Identifier: GPL-2.0-only

//! Requests about the keys of sealed vnets. No key ever leaves by here.

use kernel::prelude::*;
use vnet_core::abi::{cmd, key, KEY_INDEX_RANGE};
use vnet_core::sealed::{Key, Slot, KEY_LEN};
use vnet_core::VnetId;

use super::{in_range, state_of, vnet_of, Req, VnetFamily};
use crate::device::Vnet;
use crate::namespace::Namespace;
use crate::seal::Listed;
use crate::sys::genl::{Dump, Handler, Message, Part};
use crate::sys::rtnl::Rtnl;
use crate::sys::{crypto, genl, rtnl, Refusal, Result};

fn fill_key(message: &mut Message<'_>, id: &VnetId, listed: &Listed) -> Result<(), Error> {
    message.put(key::NET, id.as_bytes())?;
    message.put_u32(key::INDEX, u32::from(listed.index))?;
    message.put_u32(key::SLOT, listed.slot as u32)?;
    message.put_u64(key::AGE, listed.age)?;
    match listed.counter {
        Some(counter) => message.put_u64(key::COUNTER, counter),
        None => Ok(()),
    }
}

/// Tells of a key by its index.
fn notify_key(vnet: &Vnet, command: u8, index: u16, rtnl: &Rtnl) {
    let listed = vnet.seal().list(rtnl);
    genl::notify::<VnetFamily>(vnet.namespace().net(), command, |message| {
        let listed = listed?;
        match listed.iter().find(|listed| listed.index == index) {
            Some(listed) => fill_key(message, vnet.vnet_id(), listed),
            // It was taken away.
            None => {
                message.put(key::NET, vnet.vnet_id().as_bytes())?;
                message.put_u32(key::INDEX, u32::from(index))
            }
        }
    });
}

/// The index of a key, if it is given.
fn index_of(request: &mut Req<'_>) -> Result<Option<u16>> {
    let index = in_range(request, key::INDEX, KEY_INDEX_RANGE)?;
    // CAST: in the range.
    Ok(index.map(|index| index as u16))
}

fn required_index(request: &mut Req<'_>) -> Result<u16> {
    request.required(key::INDEX)?;
    index_of(request)?.ok_or_else(|| EINVAL.into())
}

pub(super) struct KeyNew;

impl Handler<VnetFamily> for KeyNew {
    fn handle(request: &mut Req<'_>) -> Result {
        let given = request.required(key::KEY)?;
        let Some(mut bytes) = given.take_secret::<KEY_LEN>() else {
            request.extack.blame(given);
            return Err(Refusal::new(EINVAL, c"a key has 32 bytes"));
        };
        let mut new = KBox::new(Key::from_bytes([0; KEY_LEN]), GFP_KERNEL);
        if let Ok(new) = &mut new {
            new.set(&bytes);
        }
        let is_zero = bytes == [0; KEY_LEN];
        crypto::wipe(&mut bytes);
        let new = new?;
        if is_zero {
            return Err(Refusal::new(EINVAL, c"a key of zeros is none"));
        }
        let index = required_index(request)?;
        let slots = (Slot::Current as u32, Slot::Previous as u32);
        let slot = in_range(request, key::SLOT, slots)?;
        let slot = slot.and_then(|slot| Slot::ALL.into_iter().find(|one| *one as u32 == slot));
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, key::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        // The same again is nothing new.
        if vnet
            .seal()
            .give(vnet, index, slot, new, &mut rtnl)?
            .is_some()
        {
            vnet.varp().greet();
            notify_key(vnet, cmd::KEY_NEW_NTF, index, &rtnl);
        }
        Ok(())
    }
}

pub(super) struct KeyDel;

impl Handler<VnetFamily> for KeyDel {
    fn handle(request: &mut Req<'_>) -> Result {
        let index = required_index(request)?;
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, key::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        vnet.seal().take_away(vnet, index, &mut rtnl)?;
        notify_key(vnet, cmd::KEY_DEL_NTF, index, &rtnl);
        Ok(())
    }
}

pub(super) struct KeyRotate;

impl Handler<VnetFamily> for KeyRotate {
    fn handle(request: &mut Req<'_>) -> Result {
        let index = index_of(request)?;
        let mut rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, key::NET, &rtnl)?;
        let vnet = state_of(&device)?;
        if let Some(index) = vnet.seal().rotate(vnet, index, &mut rtnl)? {
            notify_key(vnet, cmd::KEY_ROTATED_NTF, index, &rtnl);
        }
        Ok(())
    }
}

/// The keys of a vnet. There are so few that they always come in one part.
pub(super) struct KeyDump {
    id: VnetId,
    done: bool,
}

impl Dump<VnetFamily> for KeyDump {
    fn start(request: &mut Req<'_>) -> Result<Self> {
        let rtnl = rtnl::lock();
        let (_, device) = vnet_of(request, key::NET, &rtnl)?;
        Ok(Self {
            id: *state_of(&device)?.vnet_id(),
            done: false,
        })
    }

    fn fill(&mut self, part: &mut Part<'_, VnetFamily>) -> Result {
        if self.done {
            return Ok(());
        }
        let rtnl = rtnl::lock();
        let namespace = Namespace::of(part.net())?;
        let Some(device) = namespace.by_id(&self.id, &rtnl) else {
            part.interrupted();
            self.done = true;
            return Ok(());
        };
        let id = self.id;
        for listed in &state_of(&device)?.seal().list(&rtnl)? {
            if !part.add(cmd::KEY_GET, |message| fill_key(message, &id, listed)) {
                return Ok(());
            }
        }
        self.done = true;
        Ok(())
    }
}
