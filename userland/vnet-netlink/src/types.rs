// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the family speaks of. Serialized, the keys are the names of `module/uapi/vnet.yaml`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vnet_core::abi::{self, HostCounter, NetCounter};
use vnet_core::{Mac, VnetId};

use crate::Error;
use crate::attributes::{Attribute, Reader, Writer};

/// A value that is serialized as it is shown.
fn shown<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As [`shown`], or null.
#[expect(clippy::ref_option, reason = "serde passes the field")]
fn shown_some<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn id(attribute: Attribute<'_>) -> Result<VnetId, Error> {
    attribute.bytes().map(VnetId::from_bytes)
}

fn mac(attribute: Attribute<'_>) -> Result<Mac, Error> {
    attribute.bytes().map(Mac::from_bytes)
}

fn address(attribute: Attribute<'_>) -> Result<IpAddr, Error> {
    match attribute.value.len() {
        4 => Ok(Ipv4Addr::from(attribute.bytes::<4>()?).into()),
        16 => Ok(Ipv6Addr::from(attribute.bytes::<16>()?).into()),
        _ => Err(Error::Malformed("an address has the wrong length")),
    }
}

/// The bytes of an address, network byte order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn required<T>(value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::Malformed("an answer lacks an attribute"))
}

/// Counters, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub Vec<(&'static str, u64)>);

impl Counters {
    /// Reads a nest of counters. Those that are not known here are left out.
    fn parse(nest: Reader<'_>, name: impl Fn(u16) -> Option<&'static str>) -> Result<Self, Error> {
        let mut counters = Vec::new();
        for attribute in nest {
            let attribute = attribute?;
            if let Some(name) = name(attribute.kind) {
                counters.push((name, attribute.u64()?));
            }
        }
        Ok(Self(counters))
    }

    fn of_net(nest: Reader<'_>) -> Result<Self, Error> {
        Self::parse(nest, |kind| {
            let first = usize::from(kind).checked_sub(1)?;
            abi::net_stats::NAMES.get(first).copied().or_else(|| {
                let counter = NetCounter::ALL.iter().find(|c| c.attr() == kind);
                counter.map(|counter| counter.name())
            })
        })
    }

    fn of_host(nest: Reader<'_>) -> Result<Self, Error> {
        Self::parse(nest, |kind| {
            let counter = HostCounter::ALL.iter().find(|c| c.attr() == kind);
            counter.map(|counter| counter.name())
        })
    }

    /// The value of a counter; 0 if the kernel does not count it.
    pub fn get(&self, name: &str) -> u64 {
        let counter = self.0.iter().find(|(candidate, _)| *candidate == name);
        counter.map_or(0, |(_, value)| *value)
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A vnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Net {
    /// Its id.
    #[serde(serialize_with = "shown")]
    pub id: VnetId,
    /// Name of its device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ifname: String,
    /// Index of its device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<u32>,
    /// MTU of its device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Milliseconds after which a MAC that was not heard is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ageing: Option<u32>,
    /// Most MACs that are learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_macs: Option<u32>,
    /// Remote MACs known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<u32>,
    /// Local MACs known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vifs: Option<u32>,
    /// The namespace in which the device is, if it was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netnsid: Option<i32>,
    /// Largest MTU that the underlay carries without fragments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underlay_mtu: Option<u32>,
    /// Counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Counters>,
}

impl Net {
    /// A vnet of which nothing but the id is known.
    pub fn new(id: VnetId) -> Self {
        Self {
            id,
            ifname: String::new(),
            ifindex: None,
            mtu: None,
            ageing: None,
            max_macs: None,
            macs: None,
            vifs: None,
            netnsid: None,
            underlay_mtu: None,
            stats: None,
        }
    }

    /// Reads the attributes of an answer or a notification.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut net = Self::new(VnetId::ZERO);
        let mut found = None;
        for attribute in Reader::new(bytes) {
            let attribute = attribute?;
            match attribute.kind {
                abi::net::ID => found = Some(id(attribute)?),
                abi::net::IFNAME => net.ifname = attribute.text(),
                abi::net::IFINDEX => net.ifindex = Some(attribute.u32()?),
                abi::net::MTU => net.mtu = Some(attribute.u32()?),
                abi::net::AGEING => net.ageing = Some(attribute.u32()?),
                abi::net::MAX_MACS => net.max_macs = Some(attribute.u32()?),
                abi::net::MACS => net.macs = Some(attribute.u32()?),
                abi::net::VIFS => net.vifs = Some(attribute.u32()?),
                abi::net::NETNSID => net.netnsid = Some(attribute.i32()?),
                abi::net::UNDERLAY_MTU => net.underlay_mtu = Some(attribute.u32()?),
                abi::net::STATS => net.stats = Some(Counters::of_net(attribute.nest())?),
                _ => {}
            }
        }
        net.id = required(found)?;
        Ok(net)
    }
}

/// What of a vnet can be changed. What is not given stays as it is, or is the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetChange {
    /// MTU of the device.
    pub mtu: Option<u32>,
    /// Milliseconds after which a MAC that was not heard is forgotten.
    pub ageing: Option<u32>,
    /// Most MACs that are learned.
    pub max_macs: Option<u32>,
}

impl NetChange {
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        writer
            .put_some(abi::net::MTU, self.mtu.map(u32::to_ne_bytes))?
            .put_some(abi::net::AGEING, self.ageing.map(u32::to_ne_bytes))?
            .put_some(abi::net::MAX_MACS, self.max_macs.map(u32::to_ne_bytes))?;
        Ok(())
    }
}

/// A vnet that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Its id.
    pub id: VnetId,
    /// Name of its device, unless the default.
    pub ifname: Option<String>,
    /// What can be changed later.
    pub change: NetChange,
}

/// The settings of a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Host {
    /// UDP port.
    pub port: u16,
    /// Group to which frames are flooded.
    #[serde(serialize_with = "shown_some")]
    pub group: Option<IpAddr>,
    /// Index of the underlay device; 0 leaves it to the routing table.
    pub device: u32,
    /// TTL of what is sent.
    pub ttl: u8,
    /// Number of vnets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nets: Option<u32>,
    /// Index of the device on which the group was joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<u32>,
    /// Version of the module.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Counters>,
}

impl Host {
    /// Reads the attributes of an answer or a notification.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut host = Self::default();
        for attribute in Reader::new(bytes) {
            let attribute = attribute?;
            match attribute.kind {
                abi::host::PORT => host.port = attribute.u16()?,
                abi::host::GROUP => {
                    let group = address(attribute)?;
                    host.group = (!group.is_unspecified()).then_some(group);
                }
                abi::host::DEVICE => host.device = attribute.u32()?,
                abi::host::TTL => host.ttl = attribute.u8()?,
                abi::host::NETS => host.nets = Some(attribute.u32()?),
                abi::host::JOINED => host.joined = Some(attribute.u32()?),
                abi::host::VERSION => host.version = attribute.text(),
                abi::host::STATS => host.stats = Some(Counters::of_host(attribute.nest())?),
                _ => {}
            }
        }
        Ok(host)
    }
}

/// What of the settings is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// UDP port.
    pub port: Option<u16>,
    /// Group to which frames are flooded; unspecified for none.
    pub group: Option<IpAddr>,
    /// Index of the underlay device; 0 leaves it to the routing table.
    pub device: Option<u32>,
    /// TTL of what is sent.
    pub ttl: Option<u8>,
}

impl HostConfig {
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        writer
            .put_some(abi::host::PORT, self.port.map(u16::to_ne_bytes))?
            .put_some(abi::host::GROUP, self.group.map(octets))?
            .put_some(abi::host::DEVICE, self.device.map(u32::to_ne_bytes))?
            .put_some(abi::host::TTL, self.ttl.map(u8::to_ne_bytes))?;
        Ok(())
    }
}

/// A host to which floods are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Peer {
    /// Its address.
    pub addr: IpAddr,
}

impl Peer {
    /// Reads the attributes of an answer or a notification.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut addr = None;
        for attribute in Reader::new(bytes) {
            let attribute = attribute?;
            if attribute.kind == abi::peer::ADDR {
                addr = Some(address(attribute)?);
            }
        }
        Ok(Self {
            addr: required(addr)?,
        })
    }
}

/// How an entry of the VARP table came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VarpState {
    /// From a frame.
    Learned,
    /// By command.
    Static,
    /// In a way that is not known here.
    Unknown,
}

impl fmt::Display for VarpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Learned => "learned",
            Self::Static => "static",
            Self::Unknown => "unknown",
        })
    }
}

/// An entry of the VARP table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Varp {
    /// The vnet.
    #[serde(serialize_with = "shown")]
    pub net: VnetId,
    /// The remote MAC.
    #[serde(serialize_with = "shown")]
    pub mac: Mac,
    /// The host behind which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<IpAddr>,
    /// How it came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<VarpState>,
    /// Milliseconds since it was last heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u32>,
}

impl Varp {
    /// Reads the attributes of an answer or a notification.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut net, mut found, mut addr, mut state, mut age) = (None, None, None, None, None);
        for attribute in Reader::new(bytes) {
            let attribute = attribute?;
            match attribute.kind {
                abi::varp::NET => net = Some(id(attribute)?),
                abi::varp::MAC => found = Some(mac(attribute)?),
                abi::varp::ADDR => addr = Some(address(attribute)?),
                abi::varp::STATE => {
                    state = Some(match attribute.u32()? {
                        abi::varp::STATE_LEARNED => VarpState::Learned,
                        abi::varp::STATE_STATIC => VarpState::Static,
                        _ => VarpState::Unknown,
                    });
                }
                abi::varp::AGE => age = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            net: required(net)?,
            mac: required(found)?,
            addr,
            state,
            age,
        })
    }
}

/// The outcome of a flush of the VARP table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flushed {
    /// The vnet.
    #[serde(serialize_with = "shown")]
    pub net: VnetId,
    /// How many entries were removed.
    pub count: u32,
}

impl Flushed {
    /// Reads the attributes of an answer or a notification.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut net, mut count) = (None, None);
        for attribute in Reader::new(bytes) {
            let attribute = attribute?;
            match attribute.kind {
                abi::varp::NET => net = Some(id(attribute)?),
                abi::varp::COUNT => count = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            net: required(net)?,
            count: required(count)?,
        })
    }
}

/// A MAC that sends from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vif {
    /// The vnet.
    #[serde(serialize_with = "shown")]
    pub net: VnetId,
    /// The MAC.
    #[serde(serialize_with = "shown")]
    pub mac: Mac,
    /// Milliseconds since it last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u32>,
}

impl Vif {
    /// Reads the attributes of an answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut net, mut found, mut age) = (None, None, None);
        for attribute in Reader::new(bytes) {
            let attribute = attribute?;
            match attribute.kind {
                abi::vif::NET => net = Some(id(attribute)?),
                abi::vif::MAC => found = Some(mac(attribute)?),
                abi::vif::AGE => age = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            net: required(net)?,
            mac: required(found)?,
            age,
        })
    }
}
