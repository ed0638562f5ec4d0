// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What nlctrl, which knows the families of generic netlink, says of the one that is here.

use nix::errno::Errno;
use vnet_core::abi::{self, net};

use crate::dump::Cursor;
use crate::message::{self, Answer, Attributes, Header, Policy, Refusal};
use crate::notice;
use crate::requests::{FAMILY, Handled, OPS, Outcome};

/// Number of nlctrl.
pub(crate) const NLCTRL: u16 = 16;
/// Commands and attributes of nlctrl (include/uapi/linux/genetlink.h).
const CTRL_NEWFAMILY: u8 = 1;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 2;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_VERSION: u16 = 3;
const CTRL_HEADER_SIZE: u16 = 4;
const CTRL_MAX_ATTR: u16 = 5;
const CTRL_OPS: u16 = 6;
const CTRL_GROUPS: u16 = 7;
/// Both in a group and in an operation.
const INNER_NAME: u16 = 1;
const INNER_ID: u16 = 2;
const OP_ID: u16 = 1;
const OP_FLAGS: u16 = 2;
/// Flags of an operation: rights are needed, do, dump.
const OP_ADMIN: u32 = 0x10;
const OP_DO: u32 = 2;
const OP_DUMP: u32 = 4;

/// The one family.
fn family() -> Answer {
    let mut answer = Answer::new();
    answer.text(CTRL_FAMILY_NAME, abi::FAMILY);
    answer.u16(CTRL_FAMILY_ID, FAMILY);
    answer.u32(CTRL_ATTR_VERSION, u32::from(abi::VERSION));
    answer.u32(CTRL_HEADER_SIZE, 0);
    answer.u32(CTRL_MAX_ATTR, u32::from(net::MAX));
    let mut ops = Answer::new();
    for (at, op) in (1..).zip(OPS) {
        let mut flags = 0;
        for (there, flag) in [
            (op.admin, OP_ADMIN),
            (op.one.is_some(), OP_DO),
            (op.all.is_some(), OP_DUMP),
        ] {
            flags |= if there { flag } else { 0 };
        }
        let mut inner = Answer::new();
        inner.u32(OP_ID, u32::from(op.command)).u32(OP_FLAGS, flags);
        ops.nest(at, &inner);
    }
    answer.nest(CTRL_OPS, &ops);
    let mut groups = Answer::new();
    let all = [
        (notice::CONFIG, abi::GROUP_CONFIG),
        (notice::EVENTS, abi::GROUP_EVENTS),
    ];
    for (at, (number, name)) in (1..).zip(all) {
        let mut inner = Answer::new();
        inner.u32(INNER_ID, number).text(INNER_NAME, name);
        groups.nest(at, &inner);
    }
    answer.nest(CTRL_GROUPS, &groups);
    answer
}

/// One part of a listing of families.
pub(crate) fn reply(header: &Header, flags: u16) -> Vec<u8> {
    message::reply(header, flags, CTRL_NEWFAMILY, CTRL_VERSION, &family())
}

/// A request to nlctrl.
pub(crate) fn control(header: &Header, payload: &[u8]) -> Handled {
    let plain = |refusal: Refusal| (refusal, None);
    let (command, rest) = message::generic(payload).map_err(plain)?;
    if command != CTRL_GETFAMILY {
        return Err(plain(Errno::EOPNOTSUPP.into()));
    }
    if header.is_dump() {
        return Ok(Outcome::Dump(Cursor::Families));
    }
    let policy = [
        (CTRL_FAMILY_ID, Policy::U16),
        (CTRL_FAMILY_NAME, Policy::Text(15)),
    ];
    let attributes = Attributes::parse(rest, &policy)?;
    let by_id = attributes.u16(CTRL_FAMILY_ID).map(|id| id == FAMILY);
    let by_name = attributes
        .text(CTRL_FAMILY_NAME)
        .map(|name| name == abi::FAMILY.as_bytes());
    match by_id.or(by_name) {
        Some(true) => Ok(Outcome::Done(Some(reply(header, 0)))),
        Some(false) => Err(plain(Errno::ENOENT.into())),
        None => Err(plain(Errno::EINVAL.into())),
    }
}
