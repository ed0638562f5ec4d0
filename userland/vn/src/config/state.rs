// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is configured now.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use vnet_core::{Mac, Setting, VnetId};
use vnet_netlink::{
    Error, Host, HostConfig, Inspector, Link, Net, NetChange, Peer, Remote, SomeSettings, Varp,
    VarpState,
};

use super::{Config, HostSection, NONE, NetSection, Port};
use crate::world::{Kernel, World};

/// All that a configuration changes.
pub(crate) trait Store: World {
    fn host(&mut self) -> Result<Host, Error>;
    fn host_set(&mut self, config: &HostConfig) -> Result<(), Error>;
    fn net_set(&mut self, id: VnetId, change: &NetChange) -> Result<(), Error>;
    fn peers(&mut self) -> Result<Vec<Peer>, Error>;
    fn peer_new(&mut self, addr: IpAddr) -> Result<(), Error>;
    fn peer_del(&mut self, addr: IpAddr) -> Result<(), Error>;
    fn remotes(&mut self, net: VnetId) -> Result<Vec<Remote>, Error>;
    fn remote_new(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error>;
    fn remote_del(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error>;
    fn varps(&mut self, net: VnetId) -> Result<Vec<Varp>, Error>;
    fn varp_new(&mut self, net: VnetId, mac: Mac, addr: IpAddr) -> Result<(), Error>;
    fn varp_del(&mut self, net: VnetId, mac: Mac) -> Result<(), Error>;
    /// IP addresses of this host, each with the index of its device.
    fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, Error>;
    /// For calls to what they have in common.
    fn world(&mut self) -> &mut dyn World;
}

impl Store for Kernel {
    fn host(&mut self) -> Result<Host, Error> {
        self.client.host()
    }

    fn host_set(&mut self, config: &HostConfig) -> Result<(), Error> {
        self.client.host_set(config)
    }

    fn net_set(&mut self, id: VnetId, change: &NetChange) -> Result<(), Error> {
        self.client.net_set(id, change)
    }

    fn peers(&mut self) -> Result<Vec<Peer>, Error> {
        self.client.peers()
    }

    fn peer_new(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.client.peer_new(addr)
    }

    fn peer_del(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.client.peer_del(addr)
    }

    fn remotes(&mut self, net: VnetId) -> Result<Vec<Remote>, Error> {
        self.client.remotes(net)
    }

    fn remote_new(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error> {
        self.client.remote_new(net, addr)
    }

    fn remote_del(&mut self, net: VnetId, addr: IpAddr) -> Result<(), Error> {
        self.client.remote_del(net, addr)
    }

    fn varps(&mut self, net: VnetId) -> Result<Vec<Varp>, Error> {
        self.client.varps(net)
    }

    fn varp_new(&mut self, net: VnetId, mac: Mac, addr: IpAddr) -> Result<(), Error> {
        self.client.varp_new(net, mac, addr)
    }

    fn varp_del(&mut self, net: VnetId, mac: Mac) -> Result<(), Error> {
        self.client.varp_del(net, mac)
    }

    fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, Error> {
        Inspector::open()?.addresses()
    }

    fn world(&mut self) -> &mut dyn World {
        self
    }
}

/// A vnet as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetState {
    pub(crate) net: Net,
    /// What of it was configured.
    pub(crate) section: NetSection,
    /// Its device, unless that was moved to another namespace.
    pub(crate) link: Option<Link>,
}

/// The configuration of a network namespace as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) host: Host,
    pub(crate) peers: BTreeSet<IpAddr>,
    pub(crate) nets: Vec<NetState>,
    pub(crate) links: Vec<Link>,
    /// Of the host, each with the index of its device.
    pub(crate) addresses: Vec<(u32, IpAddr)>,
}

impl State {
    /// Looks.
    pub(crate) fn gather(store: &mut dyn Store) -> Result<Self, Error> {
        let mut state = Self {
            host: store.host()?,
            peers: store.peers()?.into_iter().map(|peer| peer.addr).collect(),
            ..Self::default()
        };
        let nets = store.nets()?;
        state.links = store.links()?;
        state.addresses = store.addresses()?;
        for net in nets {
            if let Some(net) = state.net(store, net)? {
                state.nets.push(net);
            }
        }
        Ok(state)
    }

    /// The rest of a vnet; none if it was deleted meanwhile.
    fn net(&self, store: &mut dyn Store, net: Net) -> Result<Option<NetState>, Error> {
        let id = net.id;
        let mut section = NetSection::new(id);
        let link = self.links.iter().find(|link| link.name == net.ifname);
        let link = link.filter(|_| net.netnsid.is_none());
        section.ifname =
            Some(net.ifname.clone()).filter(|name| name.as_str() != id.default_ifname().as_str());
        section.bridge = link
            .and_then(|link| self.bridge_of(link))
            .map(str::to_owned);
        section.mtu = net.mtu.filter(|mtu| Some(*mtu) != net.underlay_mtu);
        section.settings = SomeSettings::new();
        for shown in net.settings.iter() {
            if shown.value != shown.setting.default() {
                section.settings.set(shown.setting, Some(shown.value));
            }
        }
        let remotes = match store.remotes(id) {
            Err(error) if error.is_absent() => return Ok(None),
            other => other?,
        };
        section.listed = remotes
            .iter()
            .filter(|remote| remote.is_listed())
            .map(|remote| remote.addr)
            .collect();
        let varps = match store.varps(id) {
            Err(error) if error.is_absent() => return Ok(None),
            other => other?,
        };
        section.statics = varps
            .iter()
            .filter(|varp| varp.state == Some(VarpState::Static))
            .filter_map(|varp| Some((varp.mac, varp.addr?)))
            .collect();
        Ok(Some(NetState {
            link: link.cloned(),
            net,
            section,
        }))
    }

    /// Name of the bridge that a device is a port of.
    pub(crate) fn bridge_of(&self, link: &Link) -> Option<&str> {
        let mut links = self.links.iter();
        let bridge = links.find(|bridge| Some(bridge.index) == link.master && bridge.is_bridge());
        bridge.map(|bridge| bridge.name.as_str())
    }

    /// The network device of this name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Name of the underlay device, or the word for none; nothing if it is gone.
    pub(crate) fn underlay(&self) -> Option<String> {
        let index = self.host.device;
        if index == 0 {
            return Some(NONE.to_owned());
        }
        let link = self.links.iter().find(|link| link.index == index);
        link.map(|link| link.name.clone())
    }

    /// The value of a setting, if whoever carries the vnet knows it.
    pub(crate) fn setting(net: &Net, setting: Setting) -> Option<u32> {
        net.settings.get(setting)
    }

    /// What a file must say so that nothing would be changed.
    pub(crate) fn config(&self) -> Config {
        let unspecified = || Ipv4Addr::UNSPECIFIED.into();
        Config {
            host: HostSection {
                port: Some(Port(self.host.port)),
                group: Some(self.host.group.unwrap_or_else(unspecified)),
                device: self.underlay(),
                ttl: Some(self.host.ttl),
                flood: self.host.flood,
                dscp: self.host.dscp,
                peers: self.peers.clone(),
            },
            nets: self.nets.iter().map(|net| net.section.clone()).collect(),
        }
    }
}
