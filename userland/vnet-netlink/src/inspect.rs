// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is below and around the vnets: devices, addresses, routes, offloads. Only looked at, never changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use neli::consts::rtnl::{Ifa, Ifla, IflaInfo, Rta, Rtm};
use neli::consts::socket::NlFamily;
use nix::errno::Errno;
use nix::libc;

use crate::Error;
use crate::attributes::{Reader, Writer};
use crate::genl::{self, Family};
use crate::link::Link;
use crate::socket::{KernelSocket, Mode, Requester};

/// Bytes of `struct ifinfomsg`.
const LINK_HEADER_LEN: usize = 16;
/// `IFF_LOWER_UP`: there is a carrier.
const LOWER_UP: u32 = 1 << 16;
/// Attribute of a port of a bridge: its state.
const BRPORT_STATE: u16 = 1;
/// Attribute of [`Ifla::Linkinfo`]: what the device is as a port of another.
const INFO_SLAVE_DATA: u16 = 5;
/// The family of what a network device can do by itself, and what is used of it.
const ETHTOOL: &str = "ethtool";
const ETHTOOL_VERSION: u8 = 1;
const FEATURES_GET: u8 = 11;
const FEATURES_HEADER: u16 = 1;
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;
/// `BR_STATE_FORWARDING`.
const FORWARDING: u8 = 3;

/// A network device, seen closely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
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
    /// Whether it has a carrier.
    pub running: bool,
    /// The state of the spanning tree, if it is a port of a bridge.
    pub port_state: Option<u8>,
}

impl Device {
    /// Whether it is a bridge.
    pub fn is_bridge(&self) -> bool {
        self.kind == "bridge"
    }

    /// Whether it is a port of a bridge that does not pass frames on.
    pub fn is_blocked(&self) -> bool {
        self.port_state.is_some_and(|state| state != FORWARDING)
    }

    /// Reads an answer to a request for devices.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let link = Link::parse(payload)?;
        let (header, attributes) = payload
            .split_first_chunk::<LINK_HEADER_LEN>()
            .ok_or(Error::Malformed("the header of a device is cut off"))?;
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *header;
        let mut device = Self {
            index: link.index,
            name: link.name,
            kind: link.kind,
            master: link.master,
            mtu: link.mtu,
            up: link.up,
            running: u32::from_ne_bytes([a, b, c, d]) & LOWER_UP != 0,
            port_state: None,
        };
        for attribute in Reader::new(attributes) {
            let attribute = attribute?;
            if attribute.kind != u16::from(Ifla::Linkinfo) {
                continue;
            }
            let mut is_port = false;
            for info in attribute.nest() {
                let info = info?;
                if info.kind == u16::from(IflaInfo::SlaveKind) {
                    is_port = info.text() == "bridge";
                } else if info.kind == INFO_SLAVE_DATA && is_port {
                    for part in info.nest() {
                        let part = part?;
                        if part.kind == BRPORT_STATE {
                            device.port_state = Some(part.u8()?);
                        }
                    }
                }
            }
        }
        Ok(device)
    }
}

/// Reads an answer to a request for addresses: the index of the device, and the address.
pub fn parse_address(payload: &[u8]) -> Result<Option<(u32, IpAddr)>, Error> {
    const CUT: Error = Error::Malformed("the header of an address is cut off");
    let (_, rest) = payload.split_first_chunk::<4>().ok_or(CUT)?;
    let (index, attributes) = rest.split_first_chunk().ok_or(CUT)?;
    let (mut address, mut local) = (None, None);
    for attribute in Reader::new(attributes) {
        let attribute = attribute?;
        let found = match attribute.value.len() {
            4 => Some(Ipv4Addr::from(attribute.bytes::<4>()?).into()),
            16 => Some(Ipv6Addr::from(attribute.bytes::<16>()?).into()),
            _ => None,
        };
        if attribute.kind == u16::from(Ifa::Local) {
            local = found;
        } else if attribute.kind == u16::from(Ifa::Address) {
            address = found;
        }
    }
    // On a link between two, the address is the other's.
    let address: Option<IpAddr> = local.or(address);
    Ok(address.map(|address| (u32::from_ne_bytes(*index), address)))
}

/// Looks at the network namespace in which it was opened.
pub struct Inspector {
    route: Requester<KernelSocket>,
    ethtool: Option<(Requester<KernelSocket>, Family)>,
}

impl Inspector {
    /// Opens sockets.
    pub fn open() -> Result<Self, Error> {
        let mut requester = Requester::new(KernelSocket::open(NlFamily::Generic)?);
        // An older kernel does not have it.
        let ethtool = genl::resolve(&mut requester, ETHTOOL).ok();
        Ok(Self {
            route: Requester::new(KernelSocket::open(NlFamily::Route)?),
            ethtool: ethtool.map(|family| (requester, family)),
        })
    }

    /// All devices, sorted by index.
    pub fn devices(&mut self) -> Result<Vec<Device>, Error> {
        let header = [0; LINK_HEADER_LEN];
        let answers = self
            .route
            .request(Rtm::Getlink.into(), Mode::Dump, &header)?;
        let mut devices = answers
            .iter()
            .map(|answer| Device::parse(answer))
            .collect::<Result<Vec<_>, _>>()?;
        devices.sort_by_key(|device| device.index);
        Ok(devices)
    }

    /// All addresses of the host, each with the index of its device.
    pub fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, Error> {
        let answers = self
            .route
            .request(Rtm::Getaddr.into(), Mode::Dump, &[0; 8])?;
        let mut addresses = Vec::new();
        for answer in &answers {
            addresses.extend(parse_address(answer)?);
        }
        Ok(addresses)
    }

    /// Index of the device through which a route to an address leads; none if there is no route.
    pub fn route(&mut self, to: IpAddr) -> Result<Option<u32>, Error> {
        let (family, octets) = match to {
            IpAddr::V4(to) => (libc::AF_INET, to.octets().to_vec()),
            IpAddr::V6(to) => (libc::AF_INET6, to.octets().to_vec()),
        };
        // CAST: The families of Internet addresses and the lengths of prefixes are small.
        let mut payload = vec![family as u8, (octets.len() * 8) as u8];
        payload.resize(12, 0);
        let mut attributes = Writer::new();
        attributes.put(Rta::Dst.into(), &octets)?;
        payload.extend(attributes.into_bytes());
        let answers = match self.route.request(Rtm::Getroute.into(), Mode::Do, &payload) {
            Err(error)
                if matches!(
                    error.errno(),
                    Some(
                        Errno::ENETUNREACH
                            | Errno::EHOSTUNREACH
                            | Errno::EACCES
                            | Errno::EINVAL
                            | Errno::ESRCH
                            | Errno::EAFNOSUPPORT
                    )
                ) =>
            {
                return Ok(None);
            }
            other => other?,
        };
        let attributes = answers.first().and_then(|answer| answer.get(12..));
        for attribute in Reader::new(attributes.unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.kind == u16::from(Rta::Oif) {
                return attribute.u32().map(Some);
            }
        }
        Ok(None)
    }

    /// Names of the features of a device that are on, as `ethtool -k` has them; none if they cannot be known.
    pub fn features(&mut self, device: &str) -> Option<Vec<String>> {
        let (requester, family) = self.ethtool.as_mut()?;
        let mut header = Writer::new();
        header.put_text(HEADER_DEV_NAME, device).ok()?;
        let mut attributes = Writer::new();
        attributes.put_nest(FEATURES_HEADER, &header).ok()?;
        let answers = genl::request(
            requester,
            family.id,
            ETHTOOL_VERSION,
            FEATURES_GET,
            Mode::Do,
            attributes,
        );
        parse_features(answers.ok()?.first()?).ok()
    }
}

/// Reads the names of the features that are on.
fn parse_features(attributes: &[u8]) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for attribute in Reader::new(attributes) {
        let attribute = attribute?;
        if attribute.kind != FEATURES_ACTIVE {
            continue;
        }
        for part in attribute.nest() {
            let part = part?;
            if part.kind != BITSET_BITS {
                continue;
            }
            // Those that are not on are not there.
            for bit in part.nest() {
                for field in bit?.nest() {
                    let field = field?;
                    if field.kind == BIT_NAME {
                        names.push(field.text());
                    }
                }
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_bridge() {
        let mut state = Writer::new();
        state.put(BRPORT_STATE, &[1]).expect("short");
        let mut info = Writer::new();
        info.put_text(IflaInfo::SlaveKind.into(), "bridge")
            .and_then(|w| w.put_nest(INFO_SLAVE_DATA, &state))
            .expect("short");
        let mut attributes = Writer::new();
        attributes
            .put_text(Ifla::Ifname.into(), "vnif0005")
            .and_then(|w| w.put_nest(Ifla::Linkinfo.into(), &info))
            .expect("short");
        let mut payload = vec![0; LINK_HEADER_LEN];
        payload[4] = 7;
        payload[8] = 1;
        payload[10] = 1;
        payload.extend(attributes.into_bytes());
        let device = Device::parse(&payload).expect("a device");
        assert_eq!((device.index, device.port_state), (7, Some(1)));
        assert!(device.up && device.running && device.is_blocked());
        for length in 0..LINK_HEADER_LEN {
            assert!(Device::parse(&payload[..length]).is_err());
        }
    }

    #[test]
    fn addresses() {
        let mut attributes = Writer::new();
        attributes
            .put(Ifa::Address.into(), &[192, 0, 2, 9])
            .and_then(|w| w.put(Ifa::Local.into(), &[192, 0, 2, 1]))
            .expect("short");
        let mut payload = vec![2, 24, 0, 0];
        payload.extend(3u32.to_ne_bytes());
        payload.extend(attributes.into_bytes());
        let ours = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(parse_address(&payload).expect("whole"), Some((3, ours)));
        assert!(parse_address(&payload[..7]).is_err());
        assert_eq!(parse_address(&payload[..8]).expect("whole"), None);
    }

    #[test]
    fn features_that_are_on() {
        let mut bits = Writer::new();
        for name in ["tx-checksum-ip-generic", "rx-checksum"] {
            let mut bit = Writer::new();
            bit.put_text(BIT_NAME, name).expect("short");
            bits.put_nest(1, &bit).expect("short");
        }
        let mut set = Writer::new();
        set.put_nest(BITSET_BITS, &bits).expect("short");
        let mut answer = Writer::new();
        answer.put_nest(FEATURES_ACTIVE, &set).expect("short");
        assert_eq!(
            parse_features(&answer.into_bytes()).expect("whole"),
            ["tx-checksum-ip-generic", "rx-checksum"]
        );
    }

    #[test]
    fn this_host() {
        let mut inspector = Inspector::open().expect("sockets");
        let devices = inspector.devices().expect("devices");
        let lo = devices.iter().find(|device| device.name == "lo");
        let lo = lo.expect("every namespace has lo");
        for (index, _) in inspector.addresses().expect("addresses") {
            assert!(devices.iter().any(|device| device.index == index));
        }
        if lo.up {
            let route = inspector
                .route(Ipv4Addr::LOCALHOST.into())
                .expect("an answer");
            assert_eq!(route, Some(lo.index));
        }
        let _ = inspector.features("lo");
        assert_eq!(inspector.features("no such"), None);
    }
}
