// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What can go wrong.

use std::fmt;
use std::io;

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
}

impl fmt::Display for Refusal {
    /// The kernel's words if there are any, and those of the error number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.text, self.missing) {
            (Some(text), _) => write!(f, "{text} ({})", self.errno.desc()),
            (None, Some(missing)) => {
                write!(f, "attribute {missing} is missing ({})", self.errno.desc())
            }
            (None, None) => f.write_str(self.errno.desc()),
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

    /// Whether the kernel says that the object does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOENT | Errno::ENODEV))
    }
}
