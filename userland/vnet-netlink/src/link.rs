// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Network devices: what `vn` needs of rtnetlink.

use neli::consts::rtnl::{Ifla, IflaInfo, Rtm};
use neli::consts::socket::NlFamily;
use nix::errno::Errno;
use nix::libc;

use crate::Error;
use crate::attributes::{Reader, Writer};
use crate::socket::{KernelSocket, Mode, Requester};

/// Bytes of `struct ifinfomsg`.
const HEADER_LEN: usize = 16;
/// `IFF_UP`.
const UP: u32 = libc::IFF_UP as u32;
/// Attribute of the IPv6 settings of a device: how it makes addresses for itself; and the value for not at all.
const ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
/// Attributes of a bridge.
const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_STP_STATE: u16 = 5;
const BRIDGE_MCAST_SNOOPING: u16 = 23;

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind, such as `bridge`; empty for hardware.
    pub kind: String,
    /// Index of the device that it is a port of.
    pub master: Option<u32>,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
}

impl Link {
    /// Whether it is a bridge.
    pub fn is_bridge(&self) -> bool {
        self.kind == "bridge"
    }

    /// Reads an answer to a request for devices.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        const CUT: Error = Error::Malformed("the header of a device is cut off");
        let (_, rest) = payload.split_first_chunk::<4>().ok_or(CUT)?;
        let (index, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (flags, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (_, attributes) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let mut link = Self {
            index: u32::from_ne_bytes(*index),
            up: u32::from_ne_bytes(*flags) & UP != 0,
            ..Self::default()
        };
        for attribute in Reader::new(attributes) {
            let attribute = attribute?;
            if attribute.kind == u16::from(Ifla::Ifname) {
                link.name = attribute.text();
            } else if attribute.kind == u16::from(Ifla::Mtu) {
                link.mtu = attribute.u32()?;
            } else if attribute.kind == u16::from(Ifla::Master) {
                link.master = Some(attribute.u32()?);
            } else if attribute.kind == u16::from(Ifla::Linkinfo) {
                for info in attribute.nest() {
                    let info = info?;
                    if info.kind == u16::from(IflaInfo::Kind) {
                        link.kind = info.text();
                    }
                }
            }
        }
        Ok(link)
    }
}

/// `struct ifinfomsg` and attributes.
fn payload(index: u32, flags: u32, change: u32, attributes: Writer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    bytes.extend([0; 4]);
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(change.to_ne_bytes());
    bytes.extend(attributes.into_bytes());
    bytes
}

/// A bridge without STP and without delay: its ports carry frames as soon as they are there. Without multicast snooping,
/// too: it would make the bridge itself speak on the customer's network (IGMP and MLD), and stop flooding groups when
/// no querier is there.
fn bridge(name: &str) -> Result<Vec<u8>, Error> {
    let mut data = Writer::new();
    data.put(BRIDGE_FORWARD_DELAY, &0u32.to_ne_bytes())?
        .put(BRIDGE_STP_STATE, &0u32.to_ne_bytes())?
        .put(BRIDGE_MCAST_SNOOPING, &[0])?;
    let mut info = Writer::new();
    info.put_text(IflaInfo::Kind.into(), "bridge")?
        .put_nest(IflaInfo::Data.into(), &data)?;
    let mut attributes = Writer::new();
    attributes
        .put_text(Ifla::Ifname.into(), name)?
        .put_nest(Ifla::Linkinfo.into(), &info)?;
    Ok(payload(0, 0, 0, attributes))
}

/// The devices of the network namespace in which it was opened.
pub struct Links {
    requester: Requester<KernelSocket>,
}

impl Links {
    /// Opens a socket.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            requester: Requester::new(KernelSocket::open(NlFamily::Route)?),
        })
    }

    fn request(&mut self, kind: Rtm, mode: Mode, payload: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.requester.request(kind.into(), mode, payload)
    }

    fn get(&mut self, index: u32, attributes: Writer) -> Result<Option<Link>, Error> {
        let request = payload(index, 0, 0, attributes);
        match self.request(Rtm::Getlink, Mode::Do, &request) {
            Ok(answers) => answers
                .first()
                .map(|answer| Link::parse(answer))
                .transpose(),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The device of this name, if there is one.
    pub fn by_name(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut attributes = Writer::new();
        attributes.put_text(Ifla::Ifname.into(), name)?;
        self.get(0, attributes)
    }

    /// The device with this index, if there is one.
    pub fn by_index(&mut self, index: u32) -> Result<Option<Link>, Error> {
        self.get(index, Writer::new())
    }

    /// All devices, sorted by index.
    pub fn list(&mut self) -> Result<Vec<Link>, Error> {
        let answers = self.request(Rtm::Getlink, Mode::Dump, &payload(0, 0, 0, Writer::new()))?;
        let mut links = answers
            .iter()
            .map(|answer| Link::parse(answer))
            .collect::<Result<Vec<_>, _>>()?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Makes a bridge without STP, not up yet. Returns false if a device of this name is there already.
    pub fn create_bridge(&mut self, name: &str) -> Result<bool, Error> {
        match self.request(Rtm::Newlink, Mode::Create, &bridge(name)?) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a device.
    pub fn delete(&mut self, index: u32) -> Result<(), Error> {
        let request = payload(index, 0, 0, Writer::new());
        self.request(Rtm::Dellink, Mode::Do, &request).map(drop)
    }

    /// Makes a device a port of another, or of none.
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<(), Error> {
        let mut attributes = Writer::new();
        attributes.put(
            Ifla::Master.into(),
            &master.unwrap_or_default().to_ne_bytes(),
        )?;
        let request = payload(index, 0, 0, attributes);
        self.request(Rtm::Setlink, Mode::Do, &request).map(drop)
    }

    /// Keeps the kernel from giving a device an IPv6 address by itself when it is taken up.
    pub fn set_no_address(&mut self, index: u32) -> Result<(), Error> {
        let mut mode = Writer::new();
        mode.put(ADDR_GEN_MODE, &[ADDR_GEN_NONE])?;
        let mut family = Writer::new();
        family.put_nest(libc::AF_INET6 as u16, &mode)?;
        let mut attributes = Writer::new();
        attributes.put_nest(Ifla::AfSpec.into(), &family)?;
        match self.request(Rtm::Setlink, Mode::Do, &payload(index, 0, 0, attributes)) {
            // Without IPv6, in the kernel or on this device, there is no address either.
            Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Takes a device up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), Error> {
        let flags = if up { UP } else { 0 };
        let request = payload(index, flags, UP, Writer::new());
        self.request(Rtm::Setlink, Mode::Do, &request).map(drop)
    }
}
