// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Requests of the family `vnet`.

use std::net::IpAddr;

use vnet_core::abi::{self, cmd};
use vnet_core::sealed::KEY_LEN;
use vnet_core::{Mac, Setting, VnetId};
use zeroize::Zeroizing;

use crate::attributes::Writer;
use crate::endpoint::Connection;
use crate::genl;
use crate::socket::Mode;
use crate::types::{
    Flushed, Host, HostConfig, Key, Net, NetChange, NetConfig, Peer, Probe, Remote, Varp, Vif,
};
use crate::value::{self, KeySlot};
use crate::{Endpoint, Error, Refusal, Via};

/// Bytes before the attributes of a request: the netlink header and the generic netlink header.
const HEADERS_LEN: usize = 20;

/// The family `vnet` in the network namespace in which it was opened.
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Finds who carries the vnets, and connects to it.
    pub fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let connection = endpoint.connect()?;
        Ok(Self { connection })
    }

    /// Who carries the vnets.
    pub fn via(&mut self) -> Via {
        self.connection.via()
    }

    /// What the kernel said about requests that it carried out, since the last call.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.connection.requester.take_warnings()
    }

    fn request(
        &mut self,
        command: u8,
        mode: Mode,
        attributes: Writer,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let sent = Zeroizing::new(attributes.clone().into_bytes());
        genl::request(
            &mut self.connection.requester,
            self.connection.family.id,
            abi::VERSION,
            command,
            mode,
            attributes,
        )
        .map_err(|error| match error {
            Error::Refused(mut refusal) => {
                refusal.attribute = attribute_at_fault(command, &refusal, &sent);
                refusal.into()
            }
            other => other,
        })
    }

    /// A request with one answer.
    fn ask(&mut self, command: u8, attributes: Writer) -> Result<Vec<u8>, Error> {
        self.request(command, Mode::Do, attributes)?
            .into_iter()
            .next()
            .ok_or(Error::Malformed("the kernel did not answer"))
    }

    /// A request that only succeeds or not.
    fn tell(&mut self, command: u8, attributes: Writer) -> Result<(), Error> {
        self.request(command, Mode::Do, attributes).map(drop)
    }

    fn list<T>(
        &mut self,
        command: u8,
        attributes: Writer,
        parse: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let answers = self.request(command, Mode::Dump, attributes)?;
        answers.iter().map(|answer| parse(answer)).collect()
    }

    /// Makes a vnet and its device, and returns it.
    pub fn net_new(&mut self, config: &NetConfig) -> Result<Net, Error> {
        let mut attributes = of(abi::net::ID, &config.id)?;
        if let Some(ifname) = &config.ifname {
            attributes.put_text(abi::net::IFNAME, ifname)?;
        }
        config.change.write(&mut attributes)?;
        Net::parse(&self.ask(cmd::NET_NEW, attributes)?)
    }

    /// Changes a vnet.
    pub fn net_set(&mut self, id: VnetId, change: &NetChange) -> Result<(), Error> {
        let mut attributes = of(abi::net::ID, &id)?;
        change.write(&mut attributes)?;
        self.tell(cmd::NET_SET, attributes)
    }

    /// A vnet.
    pub fn net(&mut self, id: VnetId) -> Result<Net, Error> {
        Net::parse(&self.ask(cmd::NET_GET, of(abi::net::ID, &id)?)?)
    }

    /// A vnet, if it exists.
    pub fn find_net(&mut self, id: VnetId) -> Result<Option<Net>, Error> {
        match self.net(id) {
            Ok(net) => Ok(Some(net)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All vnets, sorted by id.
    pub fn nets(&mut self) -> Result<Vec<Net>, Error> {
        let mut nets = self.list(cmd::NET_GET, Writer::new(), Net::parse)?;
        nets.sort_by_key(|net| net.id);
        Ok(nets)
    }

    /// Removes a vnet and its device.
    pub fn net_del(&mut self, id: VnetId) -> Result<(), Error> {
        self.tell(cmd::NET_DEL, of(abi::net::ID, &id)?)
    }

    /// The settings of the namespace.
    pub fn host(&mut self) -> Result<Host, Error> {
        Host::parse(&self.ask(cmd::HOST_GET, Writer::new())?)
    }

    /// Changes the settings of the namespace.
    pub fn host_set(&mut self, config: &HostConfig) -> Result<(), Error> {
        let mut attributes = Writer::new();
        config.write(&mut attributes)?;
        self.tell(cmd::HOST_SET, attributes)
    }

    /// All peers, sorted.
    pub fn peers(&mut self) -> Result<Vec<Peer>, Error> {
        let mut peers = self.list(cmd::PEER_GET, Writer::new(), Peer::parse)?;
        peers.sort_by_key(|peer| peer.addr);
        Ok(peers)
    }

    /// Adds a peer.
    pub fn peer_new(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.tell(cmd::PEER_NEW, of(abi::peer::ADDR, &addr)?)
    }

    /// Removes a peer.
    pub fn peer_del(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.tell(cmd::PEER_DEL, of(abi::peer::ADDR, &addr)?)
    }

    /// The remote MACs of a vnet, sorted.
    pub fn varps(&mut self, net: VnetId) -> Result<Vec<Varp>, Error> {
        let attributes = of(abi::varp::NET, &net)?;
        let mut varps = self.list(cmd::VARP_GET, attributes, Varp::parse)?;
        varps.sort_by_key(|varp| varp.mac);
        Ok(varps)
    }

    /// A remote MAC of a vnet.
    pub fn varp(&mut self, net: VnetId, mac: Mac) -> Result<Varp, Error> {
        Varp::parse(&self.ask(cmd::VARP_GET, of_varp(net, mac, None)?)?)
    }

    /// Adds a static entry.
    pub fn varp_new(&mut self, net: VnetId, mac: Mac, addr: IpAddr) -> Result<(), Error> {
        self.tell(cmd::VARP_NEW, of_varp(net, mac, Some(addr))?)
    }

    /// Removes an entry.
    pub fn varp_del(&mut self, net: VnetId, mac: Mac) -> Result<(), Error> {
        self.tell(cmd::VARP_DEL, of_varp(net, mac, None)?)
    }

    /// Removes the learned entries of a vnet.
    pub fn varp_flush(&mut self, net: VnetId) -> Result<Flushed, Error> {
        Flushed::parse(&self.ask(cmd::VARP_FLUSH, of(abi::varp::NET, &net)?)?)
    }

    /// The local MACs of a vnet, sorted.
    pub fn vifs(&mut self, net: VnetId) -> Result<Vec<Vif>, Error> {
        let mut vifs = self.list(cmd::VIF_GET, of(abi::vif::NET, &net)?, Vif::parse)?;
        vifs.sort_by_key(|vif| vif.mac);
        Ok(vifs)
    }

    /// The hosts of a vnet, sorted: those that are listed, and those from which it learned.
    pub fn remotes(&mut self, net: VnetId) -> Result<Vec<Remote>, Error> {
        let attributes = of(abi::remote::NET, &net)?;
        let mut remotes = self.list(cmd::REMOTE_GET, attributes, Remote::parse)?;
        remotes.sort_by_key(|remote| remote.addr);
        Ok(remotes)
    }

    /// Lists a host from which a vnet accepts.
    pub fn remote_new(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error> {
        self.tell(cmd::REMOTE_NEW, of_remote(net, addr)?)
    }

    /// Takes a host off the list.
    pub fn remote_del(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error> {
        self.tell(cmd::REMOTE_DEL, of_remote(net, addr)?)
    }

    /// The keys of a vnet, without themselves: current, next, previous.
    pub fn keys(&mut self, net: VnetId) -> Result<Vec<Key>, Error> {
        let mut keys = self.list(cmd::KEY_GET, of(abi::key::NET, &net)?, Key::parse)?;
        let place = |key: &Key| {
            let order = [KeySlot::Current, KeySlot::Next, KeySlot::Previous];
            order.iter().position(|slot| Some(*slot) == key.slot)
        };
        keys.sort_by_key(|key| (place(key).unwrap_or(usize::MAX), key.index));
        Ok(keys)
    }

    /// Gives a vnet a key, of which no copy stays in this process but the caller's. The first one is the current one and any other the next,
    /// unless a slot is named. The same again is no failure.
    pub fn key_new(
        &mut self,
        net: VnetId,
        index: u32,
        slot: Option<KeySlot>,
        key: &[u8; KEY_LEN],
    ) -> Result<(), Error> {
        let mut attributes = Writer::new();
        let described = Key {
            slot,
            ..Key::new(net, index)
        };
        described.write(&mut attributes)?;
        attributes.put(abi::key::KEY, key)?;
        self.tell(cmd::KEY_NEW, attributes)
    }

    /// Takes a key away.
    pub fn key_del(&mut self, net: VnetId, index: u32) -> Result<(), Error> {
        let mut attributes = Writer::new();
        Key::new(net, index).write(&mut attributes)?;
        self.tell(cmd::KEY_DEL, attributes)
    }

    /// Has a vnet seal with its next key; if an index is named, only with that, and nothing happens if it does already.
    pub fn key_rotate(&mut self, net: VnetId, index: Option<u32>) -> Result<(), Error> {
        let mut attributes = of(abi::key::NET, &net)?;
        if let Some(index) = index {
            value::put(&mut attributes, abi::key::INDEX, &index)?;
        }
        self.tell(cmd::KEY_ROTATE, attributes)
    }

    /// Asks other hosts for a MAC. Answers come as [`crate::Event::Probe`].
    pub fn probe(&mut self, probe: &Probe) -> Result<(), Error> {
        let mut attributes = Writer::new();
        probe.write(&mut attributes)?;
        self.tell(cmd::PROBE, attributes)
    }
}

/// One attribute.
fn of(kind: u16, value: &impl value::Value) -> Result<Writer, Error> {
    let mut attributes = Writer::new();
    value::put(&mut attributes, kind, value)?;
    Ok(attributes)
}

fn of_varp(net: VnetId, mac: Mac, addr: Option<IpAddr>) -> Result<Writer, Error> {
    let mut attributes = Writer::new();
    let varp = Varp {
        addr,
        ..Varp::new(net, mac)
    };
    varp.write(&mut attributes)?;
    Ok(attributes)
}

fn of_remote(net: VnetId, addr: IpAddr) -> Result<Writer, Error> {
    let mut attributes = Writer::new();
    Remote::new(net, addr).write(&mut attributes)?;
    Ok(attributes)
}

/// Name of the attribute that is missing in a request or at fault.
fn attribute_at_fault(command: u8, refusal: &Refusal, sent: &[u8]) -> Option<&'static str> {
    let kind = match (refusal.missing, refusal.offset) {
        (Some(missing), _) => u16::try_from(missing).ok()?,
        (None, Some(offset)) => {
            let start = usize::try_from(offset).ok()?.checked_sub(HEADERS_LEN)?;
            let (_length, rest) = sent.get(start..)?.split_first_chunk::<2>()?;
            u16::from_ne_bytes(*rest.first_chunk()?)
        }
        (None, None) => return None,
    };
    match command {
        cmd::NET_NEW..=cmd::NET_DEL => match kind {
            abi::net::ID => Some("id"),
            abi::net::IFNAME => Some("ifname"),
            abi::net::MTU => Some("mtu"),
            _ => {
                let setting = Setting::ALL.iter().find(|s| s.attr() == kind);
                setting.map(|setting| setting.name())
            }
        },
        cmd::HOST_SET => match kind {
            abi::host::PORT => Some("port"),
            abi::host::GROUP => Some("group"),
            abi::host::DEVICE => Some("device"),
            abi::host::TTL => Some("ttl"),
            abi::host::FLOOD => Some("flood"),
            abi::host::DSCP => Some("dscp"),
            _ => None,
        },
        cmd::KEY_NEW..=cmd::KEY_ROTATE => match kind {
            abi::key::NET => Some("net"),
            abi::key::INDEX => Some("index"),
            abi::key::SLOT => Some("slot"),
            abi::key::KEY => Some("key"),
            _ => None,
        },
        _ => None,
    }
}
