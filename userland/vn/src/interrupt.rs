// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Signals that would end this program between two steps. Who makes changes holds them back, looks between steps whether one
//! came, and undoes what was done. While one step waits for the kernel, nothing can be undone; that is short.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::Refused;

/// Those that people and service managers send.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// Has a program begin without signals that are held back here. It would inherit that, and so would a daemon that it leaves behind.
pub(crate) fn not_inherited(command: &mut Command) -> &mut Command {
    let begin = || Ok(SigSet::empty().thread_set_mask()?);
    // SAFETY: It runs between fork and exec, where no more is allowed than in a signal handler: pthread_sigmask(3) is, and nothing is
    // allocated or locked. Should it fail, an error number becomes an io::Error, which does not allocate, either.
    unsafe { command.pre_exec(begin) }
}

/// Holds the signals back as long as it lives; those that nobody has looked for by then have no effect.
pub(crate) struct Held {
    arrivals: SignalFd,
    before: SigSet,
}

impl Held {
    /// From now on.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let signals: SigSet = SIGNALS.into_iter().collect();
        let failed = "cannot hold signals back";
        let arrivals =
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
                .context(failed)?;
        let before = signals
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .context(failed)?;
        Ok(Self { arrivals, before })
    }

    /// Fails if one has come.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Some(arrival) = self
            .arrivals
            .read_signal()
            .context("cannot look for signals")?
        else {
            return Ok(());
        };
        let number = i32::try_from(arrival.ssi_signo).unwrap_or_default();
        let name = Signal::try_from(number).map_or("a signal", Signal::as_str);
        Err(Refused::new(format!("interrupted by {name}")).into())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What came too late, or again while it was being undone, is not to keep this program from telling how it went.
        while let Ok(Some(_)) = self.arrivals.read_signal() {}
        // That can only fail for a mask that is none.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    #[test]
    fn programs_are_not_held_back_with_it() {
        use std::os::unix::process::ExitStatusExt as _;
        let _held = Held::new().expect("held");
        let mut command = Command::new("sh");
        let status = not_inherited(command.args(["-c", "kill -TERM $$"])).status();
        assert_eq!(status.expect("a shell").signal(), Some(15));
    }

    #[test]
    fn it_is_told_once_and_does_not_end_the_program() {
        let held = Held::new().expect("held");
        held.check().expect("nothing yet");
        // To this thread alone.
        raise(Signal::SIGTERM).expect("a signal");
        let error = held.check().expect_err("a signal");
        assert_eq!(error.to_string(), "interrupted by SIGTERM");
        held.check().expect("nothing more");
        for again in SIGNALS {
            raise(again).expect("a signal");
        }
        drop(held);
        let now = SigSet::thread_get_mask().expect("a mask");
        assert!(SIGNALS.into_iter().all(|signal| !now.contains(signal)));
    }
}
