// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Requests about the keys of sealed vnets. No key ever leaves by here.

use nix::errno::Errno;
use vnet_core::VnetId;
use vnet_core::abi::{KEY_INDEX_RANGE, cmd, key};
use vnet_core::sealed::{KEY_LEN, Key, Slot};
use zeroize::Zeroizing;

use crate::host::Host;
use crate::message::{Attributes, Refusal};
use crate::notice::Notice;
use crate::requests::{in_range, net_of};
use crate::sealed::Listed;

/// The index of a key, if it is given.
fn index_of(attributes: &Attributes<'_>) -> Result<Option<u16>, Refusal> {
    let index = in_range(attributes, key::INDEX, KEY_INDEX_RANGE)?;
    Ok(index.and_then(|index| u16::try_from(index).ok()))
}

fn required_index(attributes: &Attributes<'_>) -> Result<u16, Refusal> {
    attributes.required(key::INDEX)?;
    index_of(attributes)?.ok_or_else(|| Errno::EINVAL.into())
}

fn find(of: &Host, id: &VnetId, index: u16) -> Option<Listed> {
    let all = of.net(id)?.seal.list(of.shared.clock.now());
    all.into_iter().find(|listed| listed.index == index)
}

fn tell(of: &mut Host, command: u8, id: &VnetId, listed: Option<Listed>) {
    if let Some(listed) = listed {
        of.notices.push(Notice::key(command, id, &listed));
    }
}

/// Gives a vnet a key.
pub(crate) fn new(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let bytes = Zeroizing::new(attributes.bytes::<KEY_LEN>(key::KEY)?);
    if *bytes == [0; KEY_LEN] {
        return Err(Refusal::new(Errno::EINVAL, "a key of zeros is none").blame(key::KEY));
    }
    let index = required_index(attributes)?;
    let slots = (key::SLOT_CURRENT, key::SLOT_PREVIOUS);
    let slot = in_range(attributes, key::SLOT, slots)?;
    let slot = slot.and_then(|slot| Slot::ALL.into_iter().find(|one| *one as u32 == slot));
    let id = net_of(of, attributes, key::NET)?;
    let now = of.shared.clock.now();
    let key = Box::new(Key::from_bytes(*bytes));
    let Some(net) = of.net_mut(&id) else {
        return Err(Errno::ENOENT.into());
    };
    // The same again is nothing new.
    if !net.seal.give(index, slot, key, now)? {
        return Ok(());
    }
    of.renew_keys(&id)?;
    of.greet(&id);
    let listed = find(of, &id, index);
    tell(of, cmd::KEY_NEW_NTF, &id, listed);
    Ok(())
}

/// Takes a key away from a vnet.
pub(crate) fn del(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let index = required_index(attributes)?;
    let id = net_of(of, attributes, key::NET)?;
    let listed = find(of, &id, index);
    if let Some(net) = of.net_mut(&id) {
        net.seal.take_away(index)?;
    }
    of.renew_keys(&id)?;
    tell(of, cmd::KEY_DEL_NTF, &id, listed);
    Ok(())
}

/// Has a vnet seal with its next key.
pub(crate) fn rotate(of: &mut Host, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let index = index_of(attributes)?;
    let id = net_of(of, attributes, key::NET)?;
    let Some(net) = of.net_mut(&id) else {
        return Err(Errno::ENOENT.into());
    };
    if let Some(index) = net.seal.rotate(index)? {
        of.renew_keys(&id)?;
        let listed = find(of, &id, index);
        tell(of, cmd::KEY_ROTATED_NTF, &id, listed);
    }
    Ok(())
}
