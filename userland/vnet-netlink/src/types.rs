// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the family speaks of. Serialized, the keys are the names of `module/uapi/vnet.yaml`.

use std::net::IpAddr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vnet_core::abi::{self, HostCounter, NetCounter};
use vnet_core::{Mac, VnetId};

use crate::Error;
use crate::attributes::{Reader, Writer};
use crate::settings::SomeSettings;
use crate::value::{Flood, KeySlot, Value, VarpState, json, json_some, put, record, required};

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
    #[serde(serialize_with = "json")]
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
    /// Its settings; an older kernel does not tell of all.
    #[serde(flatten)]
    pub settings: SomeSettings,
    /// Remote MACs known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<u32>,
    /// Local MACs known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vifs: Option<u32>,
    /// Frames that are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
    /// MACs that are being asked for, or known to be nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresolved: Option<u32>,
    /// Hosts whose sealed messages are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<u32>,
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
            settings: SomeSettings::new(),
            macs: None,
            vifs: None,
            held: None,
            unresolved: None,
            senders: None,
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
                abi::net::ID => found = Some(Value::read(attribute)?),
                abi::net::IFNAME => net.ifname = attribute.text(),
                abi::net::IFINDEX => net.ifindex = Some(attribute.u32()?),
                abi::net::MTU => net.mtu = Some(attribute.u32()?),
                abi::net::MACS => net.macs = Some(attribute.u32()?),
                abi::net::VIFS => net.vifs = Some(attribute.u32()?),
                abi::net::HELD => net.held = Some(attribute.u32()?),
                abi::net::UNRESOLVED => net.unresolved = Some(attribute.u32()?),
                abi::net::SENDERS => net.senders = Some(attribute.u32()?),
                abi::net::NETNSID => net.netnsid = Some(attribute.i32()?),
                abi::net::UNDERLAY_MTU => net.underlay_mtu = Some(attribute.u32()?),
                abi::net::STATS => net.stats = Some(Counters::of_net(attribute.nest())?),
                _ => net.settings.read(attribute)?,
            }
        }
        net.id = required(found)?;
        Ok(net)
    }

    /// What of it was configured; the rest changes by itself.
    #[must_use]
    pub fn configuration(&self) -> Self {
        Self {
            ifname: self.ifname.clone(),
            ifindex: self.ifindex,
            mtu: self.mtu,
            settings: self.settings,
            netnsid: self.netnsid,
            ..Self::new(self.id)
        }
    }
}

/// What of a vnet can be changed. What is not given stays as it is, or is the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetChange {
    /// MTU of the device.
    pub mtu: Option<u32>,
    /// Settings.
    pub settings: SomeSettings,
}

impl NetChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.mtu.is_none() && self.settings.is_empty()
    }

    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        if let Some(mtu) = &self.mtu {
            put(writer, abi::net::MTU, mtu)?;
        }
        self.settings.write(writer)
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
    #[serde(serialize_with = "json_some")]
    pub group: Option<IpAddr>,
    /// Index of the underlay device; 0 leaves it to the routing table.
    pub device: u32,
    /// TTL or hop limit of what is sent; [`abi::TTL_INHERIT`] takes over that of the inner packet.
    pub ttl: u8,
    /// Where floods go.
    #[serde(serialize_with = "json_some", skip_serializing_if = "Option::is_none")]
    pub flood: Option<Flood>,
    /// DSCP of what is sent; [`abi::DSCP_INHERIT`] takes over that of the inner packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// Number of vnets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nets: Option<u32>,
    /// Index of the device on which the group was joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<u32>,
    /// Version of the module or the daemon.
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
                    let group = IpAddr::read(attribute)?;
                    host.group = (!group.is_unspecified()).then_some(group);
                }
                abi::host::DEVICE => host.device = attribute.u32()?,
                abi::host::TTL => host.ttl = attribute.u8()?,
                abi::host::FLOOD => host.flood = Some(Flood::read(attribute)?),
                abi::host::DSCP => host.dscp = Some(attribute.u8()?),
                abi::host::NETS => host.nets = Some(attribute.u32()?),
                abi::host::JOINED => host.joined = Some(attribute.u32()?),
                abi::host::VERSION => host.version = attribute.text(),
                abi::host::STATS => host.stats = Some(Counters::of_host(attribute.nest())?),
                _ => {}
            }
        }
        Ok(host)
    }

    /// What of it was configured; the rest changes by itself.
    #[must_use]
    pub fn configuration(&self) -> Self {
        Self {
            port: self.port,
            group: self.group,
            device: self.device,
            ttl: self.ttl,
            flood: self.flood,
            dscp: self.dscp,
            ..Self::default()
        }
    }
}

record! {
    /// What of the settings of a network namespace is to be changed.
    #[derive(Default)]
    HostConfig, host,
    required {}
    optional {
        /// UDP port.
        port: u16 = PORT,
        /// Group to which frames are flooded; unspecified for none.
        group: IpAddr = GROUP,
        /// Index of the underlay device; 0 leaves it to the routing table.
        device: u32 = DEVICE,
        /// TTL or hop limit of what is sent; [`abi::TTL_INHERIT`] takes over that of the inner packet.
        ttl: u8 = TTL,
        /// Where floods go.
        flood: Flood = FLOOD,
        /// DSCP of what is sent; [`abi::DSCP_INHERIT`] takes over that of the inner packet.
        dscp: u8 = DSCP,
    }
}

record! {
    /// A host to which floods are sent.
    #[derive(Copy)]
    Peer, peer,
    required {
        /// Its address.
        addr: IpAddr = ADDR,
    }
    optional {}
}

record! {
    /// An entry of the VARP table.
    #[derive(Copy)]
    Varp, varp,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// The remote MAC.
        mac: Mac = MAC,
    }
    optional {
        /// The host behind which it is.
        addr: IpAddr = ADDR,
        /// How it came about.
        state: VarpState = STATE,
        /// Milliseconds since it was last heard.
        age: u32 = AGE,
        /// Frames that are held until it is known where it is.
        held: u32 = HELD,
        /// How often it moved of late.
        moves: u32 = MOVES,
        /// Milliseconds for which it still stays where it is.
        damped: u32 = DAMPED,
    }
}

record! {
    /// The outcome of a flush of the VARP table.
    #[derive(Copy)]
    Flushed, varp,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// How many entries were removed.
        count: u32 = COUNT,
    }
    optional {}
}

record! {
    /// A MAC that moved too often, and stays where it is for a while.
    #[derive(Copy)]
    Damped, varp,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// The MAC.
        mac: Mac = MAC,
    }
    optional {
        /// The host behind which it stays; none if it is here.
        addr: IpAddr = ADDR,
        /// The host to which it would have moved; none if that is here.
        other: IpAddr = OTHER,
        /// How often it moved.
        moves: u32 = MOVES,
        /// Milliseconds for which it stays.
        damped: u32 = DAMPED,
    }
}

record! {
    /// A MAC that sends from here.
    #[derive(Copy)]
    Vif, vif,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// The MAC.
        mac: Mac = MAC,
    }
    optional {
        /// Milliseconds since it last sent.
        age: u32 = AGE,
        /// How often it moved of late.
        moves: u32 = MOVES,
        /// Milliseconds for which it still stays here.
        damped: u32 = DAMPED,
    }
}

record! {
    /// A host from which a vnet accepts, or has learned.
    #[derive(Copy)]
    Remote, remote,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// Address of the host.
        addr: IpAddr = ADDR,
    }
    optional {
        /// 1 if it is listed, 0 if MACs were learned from it only.
        listed: u8 = LISTED,
        /// MACs learned from it.
        macs: u32 = MACS,
    }
}

impl Remote {
    /// Whether it is listed.
    pub fn is_listed(&self) -> bool {
        self.listed.is_some_and(|listed| listed != 0)
    }
}

record! {
    /// A question to other hosts: who has this MAC?
    #[derive(Copy)]
    Probe, probe,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// The MAC; all zero asks whether the vnet is there.
        mac: Mac = MAC,
    }
    optional {
        /// The host to ask; the group and the peers unless given.
        addr: IpAddr = ADDR,
        /// Bytes of the UDP payload, within [`abi::PROBE_SIZE_RANGE`].
        size: u32 = SIZE,
    }
}

record! {
    /// An answer to a [`Probe`].
    #[derive(Copy)]
    Answer, probe,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// The MAC.
        mac: Mac = MAC,
    }
    optional {
        /// The host that answered.
        addr: IpAddr = ADDR,
        /// The address that stands in the answer.
        care_of: IpAddr = CARE_OF,
    }
}

record! {
    /// A key of a vnet, without itself.
    #[derive(Copy)]
    Key, key,
    required {
        /// The vnet.
        net: VnetId = NET,
        /// The number that its administrator gave it.
        index: u32 = INDEX,
    }
    optional {
        /// Where it is.
        slot: KeySlot = SLOT,
        /// Milliseconds since it was given.
        age: u64 = AGE,
        /// Messages that this host has sealed for the vnet so far; with the current key only.
        counter: u64 = COUNTER,
    }
}
