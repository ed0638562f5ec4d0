// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What can go wrong.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// The kernel's answer to a request that it does not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words.
    pub text: Option<String>,
    /// The attribute that is missing.
    pub missing: Option<u32>,
    /// Where in the request the attribute at fault begins.
    pub offset: Option<u32>,
    /// The name of the attribute that is missing or at fault, as in vnet.yaml.
    pub attribute: Option<&'static str>,
}

impl From<Errno> for Refusal {
    /// Without words.
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            text: None,
            missing: None,
            offset: None,
            attribute: None,
        }
    }
}

impl fmt::Display for Refusal {
    /// The kernel's words if there are any, and those of the error number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.errno.desc();
        match (&self.text, self.missing, self.attribute) {
            (Some(text), _, _) => write!(f, "{text} ({words})"),
            (None, Some(_), Some(name)) => write!(f, "attribute {name} is missing ({words})"),
            (None, Some(missing), None) => {
                write!(f, "attribute {missing} is missing ({words})")
            }
            (None, None, _) => f.write_str(words),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel does not have the family, as its module is not loaded.
    #[error("module {0} is not loaded")]
    NoFamily(&'static str),
    /// There is neither the module nor the daemon.
    #[error("module vnet is not loaded, and vnetd is not at {}", .path.display())]
    Nobody {
        /// Where the daemon was looked for.
        path: PathBuf,
    },
    /// There are both the module and the daemon, and none was chosen.
    #[error("module vnet is loaded, and vnetd is at {}", .path.display())]
    Both {
        /// Where the daemon is.
        path: PathBuf,
    },
    /// The daemon cannot be reached.
    #[error("cannot reach vnetd at {}", .path.display())]
    Daemon {
        /// Where it was looked for.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The daemon is that of another network namespace.
    #[error("vnetd at {} is that of another network namespace", .path.display())]
    Elsewhere {
        /// Where it is.
        path: PathBuf,
    },
    /// The daemon did not answer in time.
    #[error("vnetd did not answer within {0} s")]
    Silent(u64),
    /// The daemon closed the connection.
    #[error("vnetd closed the connection")]
    Closed,
    /// The socket failed.
    #[error("netlink socket")]
    Socket(#[source] io::Error),
    /// What the kernel sent, or what was to be sent to it, makes no sense.
    #[error("netlink: {0}")]
    Malformed(&'static str),
    /// A listing was changed again and again while it was read.
    #[error("what is listed keeps changing")]
    Changing,
    /// A network namespace cannot be entered.
    #[error("cannot enter network namespace {name}")]
    Netns {
        /// Its name.
        name: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The kernel sent notifications faster than they were read.
    #[error("notifications were lost")]
    Overrun,
}

impl Error {
    /// The error number of a refusal.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            _ => None,
        }
    }

    /// Whether no answer came, so that it is not known what became of the request.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Closed | Self::Socket(_))
    }

    /// Whether the kernel says that the object does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOENT | Errno::ENODEV))
    }
}
