// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Generic netlink: families and their requests.

use std::collections::BTreeMap;

use neli::consts::genl::{CtrlAttr, CtrlAttrMcastGrp, CtrlCmd};
use neli::consts::nl::GenlId;
use nix::errno::Errno;
use zeroize::Zeroizing;

use crate::Error;
use crate::attributes::{Reader, Writer};
use crate::socket::{Mode, Requester, Transport};

/// Bytes of the header that follows the netlink header.
const HEADER_LEN: usize = 4;
/// Version of the controller's requests.
const CONTROL_VERSION: u8 = 2;

/// A family, as the kernel numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) groups: BTreeMap<String, u32>,
}

/// The command of a message and the bytes of its attributes.
pub(crate) fn split(payload: &[u8]) -> Result<(u8, &[u8]), Error> {
    match payload.split_first_chunk::<HEADER_LEN>() {
        Some(([command, ..], attributes)) => Ok((*command, attributes)),
        None => Err(Error::Malformed("a generic netlink header is cut off")),
    }
}

/// Sends a request to a family. Returns the attributes of every message of the answer.
pub(crate) fn request<T: Transport>(
    requester: &mut Requester<T>,
    family: u16,
    version: u8,
    command: u8,
    mode: Mode,
    attributes: Writer,
) -> Result<Vec<Vec<u8>>, Error> {
    // There may be a key in it.
    let attributes = Zeroizing::new(attributes.into_bytes());
    let mut payload = Zeroizing::new(Vec::with_capacity(HEADER_LEN + attributes.len()));
    payload.extend([command, version, 0, 0]);
    payload.extend(attributes.iter());
    requester
        .request(family, mode, &payload)?
        .iter()
        .map(|answer| split(answer).map(|(_, attributes)| attributes.to_vec()))
        .collect()
}

/// Looks a family up. The kernel may load a module for it.
pub(crate) fn resolve<T: Transport>(
    requester: &mut Requester<T>,
    name: &'static str,
) -> Result<Family, Error> {
    let mut attributes = Writer::new();
    attributes.put_text(CtrlAttr::FamilyName.into(), name)?;
    let answer = request(
        requester,
        GenlId::Ctrl.into(),
        CONTROL_VERSION,
        CtrlCmd::Getfamily.into(),
        Mode::Do,
        attributes,
    )
    .map_err(|error| match error.errno() {
        Some(Errno::ENOENT) => Error::NoFamily(name),
        _ => error,
    })?;
    let answer = answer
        .first()
        .ok_or(Error::Malformed("the family has no description"))?;
    parse_family(answer)
}

/// Looks a family up among those that are there: the kernel loads no module for it.
pub(crate) fn find<T: Transport>(
    requester: &mut Requester<T>,
    name: &str,
) -> Result<Option<Family>, Error> {
    let answers = request(
        requester,
        GenlId::Ctrl.into(),
        CONTROL_VERSION,
        CtrlCmd::Getfamily.into(),
        Mode::Dump,
        Writer::new(),
    )?;
    for answer in answers {
        let family = parse_family(&answer)?;
        if family.name == name {
            return Ok(Some(family));
        }
    }
    Ok(None)
}

fn parse_family(bytes: &[u8]) -> Result<Family, Error> {
    let mut id = None;
    let mut family = String::new();
    let mut groups = BTreeMap::new();
    for attribute in Reader::new(bytes) {
        let attribute = attribute?;
        if attribute.kind == u16::from(CtrlAttr::FamilyId) {
            id = Some(attribute.u16()?);
        } else if attribute.kind == u16::from(CtrlAttr::FamilyName) {
            family = attribute.text();
        } else if attribute.kind == u16::from(CtrlAttr::McastGroups) {
            for group in attribute.nest() {
                let (mut name, mut number) = (None, None);
                for part in group?.nest() {
                    let part = part?;
                    if part.kind == u16::from(CtrlAttrMcastGrp::Name) {
                        name = Some(part.text());
                    } else if part.kind == u16::from(CtrlAttrMcastGrp::Id) {
                        number = Some(part.u32()?);
                    }
                }
                if let (Some(name), Some(number)) = (name, number) {
                    groups.insert(name, number);
                }
            }
        }
    }
    match id {
        Some(id) => Ok(Family {
            id,
            name: family,
            groups,
        }),
        None => Err(Error::Malformed("the family has no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_with_a_group() {
        let mut group = Writer::new();
        group
            .put_text(CtrlAttrMcastGrp::Name.into(), "config")
            .and_then(|w| w.put(CtrlAttrMcastGrp::Id.into(), &9u32.to_ne_bytes()))
            .expect("short");
        let mut groups = Writer::new();
        groups.put_nest(1, &group).expect("short");
        let mut family = Writer::new();
        family
            .put(CtrlAttr::FamilyId.into(), &33u16.to_ne_bytes())
            .and_then(|w| w.put_nest(CtrlAttr::McastGroups.into(), &groups))
            .expect("short");
        let family = parse_family(&family.into_bytes()).expect("a family");
        assert_eq!(family.id, 33);
        assert_eq!(family.groups.get("config"), Some(&9));
    }
}
