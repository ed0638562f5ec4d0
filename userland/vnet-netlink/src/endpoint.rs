// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Who carries the vnets of a network namespace, and the connection to it: the module, over generic netlink, or
//! `vnetd`, over its socket. Both take and send the same bytes.

use std::fmt;
use std::path::{Path, PathBuf};

use neli::consts::socket::NlFamily;
use vnet_core::abi;

use crate::Error;
use crate::daemon::{DaemonSocket, JOIN};
use crate::genl::{self, Family};
use crate::socket::{KernelSocket, Mode, Requester, Transport};

/// Directory of the daemon's sockets.
const DIRECTORY: &str = "/run/vnetd";
/// Name of a daemon's socket.
const CONTROL: &str = "control";

/// Who carries the vnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `vnet.ko`.
    Module,
    /// `vnetd`.
    Vnetd,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "module",
            Self::Vnetd => "vnetd",
        })
    }
}

/// How who carries the vnets is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    via: Option<Via>,
    path: PathBuf,
    /// Whether the path was named by whoever runs this, not guessed.
    named: bool,
}

impl Default for Endpoint {
    /// Whichever is there; the daemon's socket is the default one.
    fn default() -> Self {
        Self {
            via: None,
            path: Path::new(DIRECTORY).join(CONTROL),
            named: false,
        }
    }
}

impl Endpoint {
    /// As the default, in a network namespace of this name: its daemon has a socket in a directory of that name.
    pub fn of_namespace(name: &str) -> Self {
        Self {
            path: Path::new(DIRECTORY).join(name).join(CONTROL),
            ..Self::default()
        }
    }

    /// Takes this one, without looking for the other.
    #[must_use]
    pub fn via(mut self, via: Via) -> Self {
        self.via = Some(via);
        self
    }

    /// Looks for the daemon at this path, whatever network namespace it is in.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self.named = true;
        self
    }

    /// Connects to the module. The kernel may load it, unless it is only looked for.
    fn module(load: bool) -> Result<Option<Connection>, Error> {
        let mut requester = Requester::new(Socket::Kernel(KernelSocket::open(NlFamily::Generic)?));
        let family = if load {
            match genl::resolve(&mut requester, abi::FAMILY) {
                Err(Error::NoFamily(_)) => None,
                result => Some(result?),
            }
        } else {
            genl::find(&mut requester, abi::FAMILY)?
        };
        Ok(family.map(|family| Connection { requester, family }))
    }

    /// Connects to the daemon, if it listens.
    fn vnetd(&self) -> Result<Option<DaemonSocket>, Error> {
        match DaemonSocket::open(&self.path)? {
            Some(socket) if !self.named && socket.is_elsewhere() => Err(Error::Elsewhere {
                path: self.path.clone(),
            }),
            socket => Ok(socket),
        }
    }

    pub(crate) fn connect(&self) -> Result<Connection, Error> {
        let path = || self.path.clone();
        match self.via {
            Some(Via::Module) => Self::module(true)?.ok_or(Error::NoFamily(abi::FAMILY)),
            Some(Via::Vnetd) => {
                let socket = self.vnetd()?.ok_or_else(|| Error::Daemon {
                    path: path(),
                    source: std::io::Error::other("nobody listens there"),
                })?;
                Connection::vnetd(socket)
            }
            None => {
                let (socket, nobody) = match self.vnetd() {
                    Err(elsewhere @ Error::Elsewhere { .. }) => (Ok(None), elsewhere),
                    found => (found, Error::Nobody { path: path() }),
                };
                if matches!(socket, Ok(None)) {
                    return Self::module(true)?.ok_or(nobody);
                }
                // The daemon is there, though perhaps not for us. The module must not be loaded by asking for it.
                if Self::module(false)?.is_some() {
                    return Err(Error::Both { path: path() });
                }
                match socket? {
                    Some(socket) => Connection::vnetd(socket),
                    None => Err(nobody),
                }
            }
        }
    }
}

/// A socket of either kind.
pub(crate) enum Socket {
    Kernel(KernelSocket),
    Daemon(DaemonSocket),
}

impl Transport for Socket {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Error> {
        match self {
            Self::Kernel(socket) => socket.send(datagram),
            Self::Daemon(socket) => socket.send(datagram),
        }
    }

    fn receive(&mut self) -> Result<&[u8], Error> {
        match self {
            Self::Kernel(socket) => socket.receive(),
            Self::Daemon(socket) => socket.receive(),
        }
    }
}

/// A connection to whoever carries the vnets.
pub(crate) struct Connection {
    pub(crate) requester: Requester<Socket>,
    pub(crate) family: Family,
}

impl Connection {
    fn vnetd(socket: DaemonSocket) -> Result<Self, Error> {
        let mut requester = Requester::new(Socket::Daemon(socket));
        let family = genl::resolve(&mut requester, abi::FAMILY)?;
        Ok(Self { requester, family })
    }

    /// Which of the two it is.
    pub(crate) fn via(&mut self) -> Via {
        match self.requester.transport_mut() {
            Socket::Kernel(_) => Via::Module,
            Socket::Daemon(_) => Via::Vnetd,
        }
    }

    /// Joins a multicast group.
    pub(crate) fn join(&mut self, group: u32) -> Result<(), Error> {
        match self.requester.transport_mut() {
            Socket::Kernel(socket) => socket.join(group),
            Socket::Daemon(_) => self
                .requester
                .request(JOIN, Mode::Do, &group.to_ne_bytes())
                .map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_daemon_is_looked_for() {
        let path = |endpoint: Endpoint| (endpoint.path, endpoint.named);
        let default = PathBuf::from("/run/vnetd/control");
        assert_eq!(path(Endpoint::default()), (default, false));
        let of_namespace = PathBuf::from("/run/vnetd/blue/control");
        let blue = Endpoint::of_namespace("blue");
        assert_eq!(path(blue.clone()), (of_namespace, false));
        let named = PathBuf::from("/tmp/other");
        assert_eq!(path(blue.at(&named)), (named, true));
    }

    #[test]
    fn what_was_chosen_is_not_replaced_by_the_other() {
        let endpoint = Endpoint::default()
            .at("/nonexistent/control")
            .via(Via::Vnetd);
        assert!(matches!(endpoint.connect(), Err(Error::Daemon { .. })));
    }
}
