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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vnet_core::abi::{VERSION, net};
    use vnet_core::{Mac, Settings};

    use super::*;
    use crate::host::Local;
    use crate::message::{self, Answer, FLAG_ACK, FLAG_DUMP, FLAG_REQUEST};
    use crate::requests::{FAMILY, Outcome, handle};
    use crate::shared::Shared;
    use crate::tap::Tap;
    use crate::vnet::Vnet;

    const ID: [u8; 16] = [5; 16];

    fn host() -> Host {
        let shared = Arc::new(Shared::new(1).expect("made"));
        let mut host = Host::new(shared).expect("the kernel's devices");
        let mut settings = Settings::default();
        assert!(settings.set(vnet_core::Setting::Seal, net::SEAL_CONF));
        let vnet = Vnet::new(VnetId::from_bytes(ID), 1, Tap::none());
        host.nets.push(Local {
            vnet: Arc::new(vnet),
            settings,
            index: 1,
            name: "none".to_owned(),
            mtu: 1412,
            up: false,
            address: Mac::from_bytes([2; 6]),
            master: 0,
            wanted: None,
            away: false,
            seal: Default::default(),
        });
        host.renew_keys(&VnetId::from_bytes(ID)).expect("renewed");
        host
    }

    /// The errno of a request, and the commands of what is told then.
    fn ask(host: &mut Host, command: u8, values: &[(u16, &[u8])], admin: bool) -> (i32, Vec<u8>) {
        let mut answer = Answer::new();
        for (attribute, value) in values {
            answer.put(*attribute, value);
        }
        let mut payload = vec![command, VERSION, 0, 0];
        payload.extend(answer.bytes());
        let packet = message::message(FAMILY, FLAG_REQUEST | FLAG_ACK, 1, 0, &payload);
        let (header, payload) = message::split(&packet).expect("whole");
        let errno = match handle(host, &header, payload, admin) {
            Outcome::Done(None) => 0,
            Outcome::Refused(refusal, _) => refusal.errno as i32,
            _ => panic!("no such outcome"),
        };
        let told = std::mem::take(&mut host.notices);
        (errno, told.iter().map(|notice| notice.command).collect())
    }

    /// Index and slot of the keys, as they are listed.
    fn listed(host: &mut Host) -> Vec<(u32, u32)> {
        let mut answer = Answer::new();
        answer.put(key::NET, &ID);
        let mut payload = vec![cmd::KEY_GET, VERSION, 0, 0];
        payload.extend(answer.bytes());
        let packet = message::message(FAMILY, FLAG_REQUEST | FLAG_DUMP, 1, 0, &payload);
        let (header, payload) = message::split(&packet).expect("whole");
        let Outcome::Dump(mut cursor) = handle(host, &header, payload, false) else {
            panic!("no listing");
        };
        let (packet, last) = cursor.next(host, &header);
        assert!(last);
        assert!(
            !packet.windows(8).any(|bytes| bytes == [9; 8]),
            "a key is told"
        );
        let messages = vnet_netlink::message::Messages::new(&packet).map(|m| m.expect("whole"));
        let keys = messages.filter(|message| message.kind == FAMILY);
        keys.map(|message| {
            let key = vnet_netlink::Key::parse(&message.payload[4..]).expect("a key");
            let slots = vnet_netlink::KeySlot::NAMES;
            let slot = key.slot.expect("a slot").to_string();
            let slot = slots.iter().position(|name| *name == slot);
            (key.index, slot.expect("a known one") as u32)
        })
        .collect()
    }

    #[test]
    fn keys_are_given_rotated_and_taken_away() {
        let mut host = host();
        let number = |value: u32| value.to_ne_bytes();
        let (net, one, two) = ((key::NET, &ID[..]), number(1), number(2));
        let (one, two) = ((key::INDEX, &one[..]), (key::INDEX, &two[..]));
        let (a, b) = ((key::KEY, &[9; 32][..]), (key::KEY, &[8; 32][..]));
        let refused = |errno: Errno| (errno as i32, vec![]);
        let done = |command| (0, vec![command]);
        assert_eq!(
            ask(&mut host, cmd::KEY_NEW, &[net, one, a], false),
            refused(Errno::EPERM)
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_NEW, &[net, one, a], true),
            done(cmd::KEY_NEW_NTF)
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_NEW, &[net, one, a], true),
            (0, vec![])
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_NEW, &[net, one, b], true),
            refused(Errno::EEXIST)
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_ROTATE, &[net], true),
            refused(Errno::ENOENT)
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_NEW, &[net, two, b], true),
            done(cmd::KEY_NEW_NTF)
        );
        assert_eq!(
            listed(&mut host),
            [(1, key::SLOT_CURRENT), (2, key::SLOT_NEXT)]
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_ROTATE, &[net, two], true),
            done(cmd::KEY_ROTATED_NTF)
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_ROTATE, &[net, two], true),
            (0, vec![])
        );
        assert_eq!(
            listed(&mut host),
            [(2, key::SLOT_CURRENT), (1, key::SLOT_PREVIOUS)]
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_DEL, &[net, one], true),
            done(cmd::KEY_DEL_NTF)
        );
        assert_eq!(
            ask(&mut host, cmd::KEY_DEL, &[net, one], true),
            refused(Errno::ENOENT)
        );
        assert_eq!(listed(&mut host), [(2, key::SLOT_CURRENT)]);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let mut host = host();
        let number = |value: u32| value.to_ne_bytes();
        let (net, key) = ((key::NET, &ID[..]), (key::KEY, &[9; 32][..]));
        for (index, errno) in [(0, Errno::ERANGE), (65536, Errno::ERANGE)] {
            let index = number(index);
            let values = [net, (key::INDEX, &index[..]), key];
            assert_eq!(
                ask(&mut host, cmd::KEY_NEW, &values, true),
                (errno as i32, vec![])
            );
        }
        let (index, slot) = (number(1), number(3));
        let index = (key::INDEX, &index[..]);
        for (values, errno) in [
            (vec![net, key], Errno::EINVAL),
            (vec![net, index], Errno::EINVAL),
            (vec![index, key], Errno::EINVAL),
            (vec![(key::NET, &[6; 16][..]), index, key], Errno::ENOENT),
            (vec![net, index, (key::KEY, &[9; 31])], Errno::ERANGE),
            (vec![net, index, (key::KEY, &[0; 32])], Errno::EINVAL),
            (vec![net, index, key, (key::SLOT, &slot)], Errno::ERANGE),
        ] {
            assert_eq!(
                ask(&mut host, cmd::KEY_NEW, &values, true),
                (errno as i32, vec![])
            );
        }
        assert_eq!(listed(&mut host), []);
    }
}
