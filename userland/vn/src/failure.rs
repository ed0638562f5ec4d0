// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! How failures are told: the object, the reason in the kernel's own words, and the next step where there is one.

use std::fmt;
use std::io;

use nix::errno::Errno;
use vnet_netlink::{Error, Refusal};

/// A refusal of our own.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refused {
    reason: String,
    hint: Option<String>,
}

impl Refused {
    /// A refusal for this reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: None,
        }
    }

    /// With the next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What was attempted; the reason is its source.
#[derive(Debug)]
pub(crate) struct Attempt {
    what: String,
    hint: Option<&'static str>,
}

impl Attempt {
    /// `what` follows the word "cannot".
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            hint: None,
        }
    }

    /// With a next step, unless the reason suggests a better one.
    pub(crate) fn hint(mut self, hint: Option<&'static str>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.what)
    }
}

/// An exit status, when all that there is to say has been said.
#[derive(Debug, thiserror::Error)]
#[error("exit status {0}")]
pub(crate) struct Quiet(pub(crate) u8);

/// Several failures of one command.
#[derive(Debug)]
pub(crate) struct Several(pub(crate) Vec<anyhow::Error>);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failures", self.0.len())
    }
}

impl std::error::Error for Several {}

/// Makes one error of what went wrong, if anything did.
pub(crate) fn all(mut errors: Vec<anyhow::Error>) -> anyhow::Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Several(errors).into()),
    }
}

/// Whether nobody reads our output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// Whether the other side does not know what it was asked: it is of another version.
fn is_unknown_there(refusal: &Refusal) -> bool {
    // The kernel's words for an attribute, and the number alone for a command.
    let words = ["Unknown attribute", "Unsupported attribute"];
    let text = refusal.text.as_deref().unwrap_or_default();
    match refusal.errno {
        Errno::EINVAL => words.iter().any(|words| text.contains(words)),
        Errno::EOPNOTSUPP => refusal.text.is_none(),
        _ => false,
    }
}

fn version_hint(refusal: &Refusal) -> String {
    let what = match refusal.attribute {
        Some(name) => format!("{name} is not known to it"),
        None => "it does not know what it was asked".to_owned(),
    };
    format!(
        "{what}: module or vnetd are of another version than this vn, {}; vn host status shows which",
        env!("CARGO_PKG_VERSION")
    )
}

/// The next step.
fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(hint) = error.downcast_ref::<Refused>().and_then(|e| e.hint.clone()) {
        return Some(hint);
    }
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Error>());
    let known = match cause {
        Some(Error::NoFamily(_)) => Some("load it with: vn host load"),
        Some(Error::Nobody { .. }) => Some(
            "load the module with: vn host load; or start vnetd, or name its socket with: --vnetd-socket PATH",
        ),
        Some(Error::Both { .. }) => Some(
            "choose one with: --via module or --via vnetd; one of them should go: unload the module with: vn host unload; or \
             stop vnetd",
        ),
        Some(Error::Elsewhere { .. }) => Some(
            "start one here and name its socket with: --vnetd-socket PATH; or load the module with: vn host load",
        ),
        Some(Error::Daemon { .. }) => {
            Some("is vnetd running? Name its socket with: --vnetd-socket PATH")
        }
        Some(Error::Closed) => Some(
            "if vnetd has ended, its vnets went with it: start it, and give the same command again",
        ),
        Some(Error::Silent(_)) => Some(
            "it may be done all the same; when vnetd answers again, look with: vn export; then give the same command again",
        ),
        Some(Error::Netns { .. }) => Some("ip netns list shows the network namespaces"),
        Some(Error::Refused(refusal)) if is_unknown_there(refusal) => {
            return Some(version_hint(refusal));
        }
        _ => match cause.and_then(Error::errno) {
            Some(Errno::EPERM | Errno::EACCES) => {
                Some("changes need root, or CAP_NET_ADMIN in the network namespace")
            }
            _ => error
                .downcast_ref::<Attempt>()
                .and_then(|attempt| attempt.hint),
        },
    };
    known.map(str::to_owned)
}

/// The words for standard error.
pub(crate) struct Report<'a>(pub(crate) &'a anyhow::Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = match self.0.downcast_ref::<Several>() {
            Some(several) => several.0.iter().collect(),
            None => vec![self.0],
        };
        let mut hints = Vec::new();
        for error in errors {
            writeln!(f, "vn: {error:#}")?;
            hints.extend(hint(error).filter(|hint| !hints.contains(hint)));
        }
        for hint in hints {
            writeln!(f, "hint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    fn kernel(errno: Errno, text: Option<&str>) -> Error {
        Error::Refused(Refusal {
            text: text.map(str::to_owned),
            ..Refusal::from(errno)
        })
    }

    fn report(error: impl Into<anyhow::Error>) -> String {
        Report(&error.into()).to_string()
    }

    #[test]
    fn object_reason_next_step() {
        let error = anyhow::Error::from(kernel(Errno::EADDRINUSE, Some("UDP port 1798 is taken")))
            .context(Attempt::new("create vnet 0005").hint(Some("choose a port")));
        assert_eq!(
            report(error),
            "vn: cannot create vnet 0005: UDP port 1798 is taken (Address already in use)\n\
             hint: choose a port\n"
        );
    }

    #[test]
    fn without_a_text_the_words_of_the_number() {
        let error = anyhow::Error::from(kernel(Errno::EPERM, None))
            .context(Attempt::new("add peer 192.0.2.1").hint(Some("no")));
        assert_eq!(
            report(error),
            "vn: cannot add peer 192.0.2.1: Operation not permitted\n\
             hint: changes need root, or CAP_NET_ADMIN in the network namespace\n"
        );
    }

    #[test]
    fn a_missing_module() {
        assert_eq!(
            report(Error::NoFamily("vnet")),
            "vn: module vnet is not loaded\nhint: load it with: vn host load\n"
        );
    }

    #[test]
    fn an_older_module() {
        let refusal = Refusal {
            text: Some("Unknown attribute type".to_owned()),
            attribute: Some("unknown-rate"),
            ..Refusal::from(Errno::EINVAL)
        };
        assert_eq!(
            report(Error::from(refusal)),
            format!(
                "vn: Unknown attribute type (Invalid argument)\nhint: unknown-rate is not known to it: module or vnetd \
                 are of another version than this vn, {}; vn host status shows which\n",
                env!("CARGO_PKG_VERSION")
            )
        );
        let other = report(kernel(Errno::EOPNOTSUPP, None));
        assert!(other.contains("another version"), "{other}");
        for refused in [
            kernel(Errno::EOPNOTSUPP, Some("no IPv6")),
            kernel(Errno::EINVAL, Some("id 0 is invalid")),
            kernel(Errno::EINVAL, None),
        ] {
            let words = report(refused);
            assert!(!words.contains("hint"), "{words}");
        }
    }

    #[test]
    fn a_daemon_that_goes_away() {
        assert_eq!(
            report(Error::Closed),
            "vn: vnetd closed the connection\n\
             hint: if vnetd has ended, its vnets went with it: start it, and give the same command again\n"
        );
        let words = report(Error::Silent(10));
        assert!(words.contains("it may be done all the same"), "{words}");
    }

    #[test]
    fn neither_and_both() {
        let path = std::path::PathBuf::from("/run/vnetd/control");
        let words = report(Error::Nobody { path: path.clone() });
        assert!(
            words.contains("vn host load") && words.contains("vnetd is not at /run/vnetd/control")
        );
        let words = report(Error::Both { path });
        assert!(words.contains("--via module or --via vnetd"), "{words}");
    }

    #[test]
    fn every_one_of_several_and_each_hint_once() {
        let error = all(vec![
            kernel(Errno::EPERM, None).into(),
            kernel(Errno::EPERM, Some("no")).into(),
        ])
        .expect_err("two");
        assert_eq!(
            report(error),
            "vn: Operation not permitted\nvn: no (Operation not permitted)\n\
             hint: changes need root, or CAP_NET_ADMIN in the network namespace\n"
        );
        assert!(all(Vec::new()).is_ok());
        assert_eq!(
            report(all(vec![anyhow!("one")]).expect_err("one")),
            "vn: one\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_recognized() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(
            &anyhow::Error::from(pipe()).context("printing")
        ));
        assert!(is_closed_pipe(&serde_json::Error::io(pipe()).into()));
        assert!(!is_closed_pipe(&anyhow!("other")));
    }
}
