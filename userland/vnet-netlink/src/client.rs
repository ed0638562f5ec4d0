// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Requests of the family `vnet`.

use std::net::IpAddr;

use neli::consts::socket::NlFamily;
use vnet_core::abi::{self, cmd};
use vnet_core::{Mac, VnetId};

use crate::Error;
use crate::attributes::Writer;
use crate::genl::{self, Family};
use crate::socket::{KernelSocket, Mode, Requester};
use crate::types::{Flushed, Host, HostConfig, Net, NetChange, NetConfig, Peer, Varp, Vif, octets};

/// The family `vnet` in the network namespace in which it was opened.
pub struct Client {
    requester: Requester<KernelSocket>,
    family: Family,
}

impl Client {
    /// Looks the family up; the kernel may load the module for it.
    pub fn open() -> Result<Self, Error> {
        let mut requester = Requester::new(KernelSocket::open(NlFamily::Generic)?);
        let family = genl::resolve(&mut requester, abi::FAMILY)?;
        Ok(Self { requester, family })
    }

    /// What the kernel said about requests that it carried out, since the last call.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.requester.take_warnings()
    }

    fn request(
        &mut self,
        command: u8,
        mode: Mode,
        attributes: Writer,
    ) -> Result<Vec<Vec<u8>>, Error> {
        genl::request(
            &mut self.requester,
            self.family.id,
            abi::VERSION,
            command,
            mode,
            attributes,
        )
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
        let mut attributes = of_net(config.id)?;
        if let Some(ifname) = &config.ifname {
            attributes.put_text(abi::net::IFNAME, ifname)?;
        }
        config.change.write(&mut attributes)?;
        Net::parse(&self.ask(cmd::NET_NEW, attributes)?)
    }

    /// Changes a vnet.
    pub fn net_set(&mut self, id: VnetId, change: &NetChange) -> Result<(), Error> {
        let mut attributes = of_net(id)?;
        change.write(&mut attributes)?;
        self.tell(cmd::NET_SET, attributes)
    }

    /// A vnet.
    pub fn net(&mut self, id: VnetId) -> Result<Net, Error> {
        Net::parse(&self.ask(cmd::NET_GET, of_net(id)?)?)
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
        self.tell(cmd::NET_DEL, of_net(id)?)
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
        self.tell(cmd::PEER_NEW, of_peer(addr)?)
    }

    /// Removes a peer.
    pub fn peer_del(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.tell(cmd::PEER_DEL, of_peer(addr)?)
    }

    /// The remote MACs of a vnet, sorted.
    pub fn varps(&mut self, net: VnetId) -> Result<Vec<Varp>, Error> {
        let mut attributes = Writer::new();
        attributes.put(abi::varp::NET, net.as_bytes())?;
        let mut varps = self.list(cmd::VARP_GET, attributes, Varp::parse)?;
        varps.sort_by_key(|varp| varp.mac);
        Ok(varps)
    }

    /// Adds a static entry.
    pub fn varp_new(&mut self, net: VnetId, mac: Mac, addr: IpAddr) -> Result<(), Error> {
        let mut attributes = of_varp(net, mac)?;
        attributes.put(abi::varp::ADDR, &octets(addr))?;
        self.tell(cmd::VARP_NEW, attributes)
    }

    /// Removes an entry.
    pub fn varp_del(&mut self, net: VnetId, mac: Mac) -> Result<(), Error> {
        self.tell(cmd::VARP_DEL, of_varp(net, mac)?)
    }

    /// Removes the learned entries of a vnet.
    pub fn varp_flush(&mut self, net: VnetId) -> Result<Flushed, Error> {
        let mut attributes = Writer::new();
        attributes.put(abi::varp::NET, net.as_bytes())?;
        Flushed::parse(&self.ask(cmd::VARP_FLUSH, attributes)?)
    }

    /// The local MACs of a vnet, sorted.
    pub fn vifs(&mut self, net: VnetId) -> Result<Vec<Vif>, Error> {
        let mut attributes = Writer::new();
        attributes.put(abi::vif::NET, net.as_bytes())?;
        let mut vifs = self.list(cmd::VIF_GET, attributes, Vif::parse)?;
        vifs.sort_by_key(|vif| vif.mac);
        Ok(vifs)
    }
}

fn of_net(id: VnetId) -> Result<Writer, Error> {
    let mut attributes = Writer::new();
    attributes.put(abi::net::ID, id.as_bytes())?;
    Ok(attributes)
}

fn of_peer(addr: IpAddr) -> Result<Writer, Error> {
    let mut attributes = Writer::new();
    attributes.put(abi::peer::ADDR, &octets(addr))?;
    Ok(attributes)
}

fn of_varp(net: VnetId, mac: Mac) -> Result<Writer, Error> {
    let mut attributes = Writer::new();
    attributes
        .put(abi::varp::NET, net.as_bytes())?
        .put(abi::varp::MAC, mac.as_bytes())?;
    Ok(attributes)
}
