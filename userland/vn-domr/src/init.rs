// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Looking after dnsmasq and sshd; and all that the first process of a system does, where this is that.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sync};

use crate::paths::Paths;
use crate::{boot, daemon, disk, modules, program, say};

/// A daemon that ends earlier than this after its start is not started again at once.
const SHORT: Duration = Duration::from_secs(1);
/// How long daemons may take to end.
const END: Duration = Duration::from_secs(5);

/// What is mounted: kind, place, rights.
const MOUNTS: [(&str, &str, &str); 5] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
];

/// The first process of the image. It does not return, but where it is none.
pub(crate) fn run() -> ExitCode {
    if std::process::id() != 1 {
        say("init is for the kernel to start");
        return ExitCode::FAILURE;
    }
    let end = match first() {
        Ok(end) => end,
        Err(error) => {
            say(format_args!("{error:#}"));
            say("this routing domain cannot start");
            RebootMode::RB_POWER_OFF
        }
    };
    sync();
    say(match end {
        RebootMode::RB_AUTOBOOT => "rebooting",
        _ => "powering off",
    });
    // It returns only if it cannot.
    let Err(errno) = reboot(end);
    say(format_args!("cannot: {errno}"));
    // The kernel stops where its first process ends.
    ExitCode::FAILURE
}

fn first() -> anyhow::Result<RebootMode> {
    for (kind, place, options) in MOUNTS {
        let what = || format!("cannot mount {place}");
        fs::create_dir_all(place).with_context(what)?;
        match mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            Some(options),
        ) {
            // The kernel may have done it.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno).with_context(what),
        }
    }
    // Ctrl-Alt-Del is a signal to this process then.
    set_cad_enabled(false).context("cannot take Ctrl-Alt-Del")?;
    modules::load()?;
    for (name, value) in [
        ("net/netfilter/nf_conntrack_max", "65536"),
        ("net/ipv6/conf/all/disable_ipv6", "1"),
    ] {
        // A kernel without it needs it not.
        let _ = fs::write(format!("/proc/sys/{name}"), value);
    }
    let cmdline =
        fs::read_to_string("/proc/cmdline").context("cannot read the kernel's command line")?;
    let paths = Paths::new("/".as_ref());
    let disk = disk::mount(&paths.kept(""))?;
    let end = supervise(&paths, &cmdline);
    if disk {
        disk::unmount(&paths.kept(""));
    }
    end
}

/// Asks the first process to end the system: what the kernel starts for a power button and for Xen's `xl shutdown`.
pub(crate) fn ask(signal: Signal) -> anyhow::Result<()> {
    kill(Pid::from_raw(1), signal).context("cannot reach the first process")
}

/// A daemon that is to run.
struct Daemon {
    name: &'static str,
    arguments: Vec<std::ffi::OsString>,
    child: Option<Child>,
    since: Instant,
}

impl Daemon {
    fn start(&mut self) {
        self.since = Instant::now();
        match program::start(self.name, &self.arguments) {
            Ok(child) => self.child = Some(child),
            Err(error) => say(format_args!("{error:#}")),
        }
    }

    fn is(&self, pid: Pid) -> bool {
        let own = self.child.as_ref().map(Child::id);
        own.and_then(|id| i32::try_from(id).ok()) == Some(pid.as_raw())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
        {
            // It is our child, and nobody has waited for it.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// When it is to be started again, if it is to.
    fn due(&self) -> Option<Instant> {
        self.child.is_none().then(|| self.since + SHORT)
    }
}

/// Starts everything, and looks after it until a signal comes. Says whether it asks for a reboot.
pub(crate) fn supervise(paths: &Paths, cmdline: &str) -> anyhow::Result<RebootMode> {
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]);
    let arrivals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot wait for signals")?;
    signals.thread_block().context("cannot hold signals back")?;
    boot::prepare(paths, cmdline)?;
    let mut daemons = daemon::programs(paths).map(|(name, arguments)| Daemon {
        name,
        arguments,
        child: None,
        since: Instant::now(),
    });
    for daemon in &mut daemons {
        daemon.start();
    }
    say("this routing domain is up");
    let end = loop {
        let due = daemons.iter().filter_map(Daemon::due).min();
        wait(&arrivals, due)?;
        if let Some(end) = look(&arrivals)? {
            break end;
        }
        reap(&mut daemons)?;
        for daemon in &mut daemons {
            if daemon.due().is_some_and(|due| due <= Instant::now()) {
                daemon.start();
            }
        }
    };
    finish(&arrivals, &mut daemons)?;
    Ok(end)
}

fn wait(arrivals: &SignalFd, until: Option<Instant>) -> anyhow::Result<()> {
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) => {
            // One more, as it is rounded down.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(
        &mut [PollFd::new(arrivals.as_fd(), PollFlags::POLLIN)],
        timeout,
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("cannot wait for signals"),
    }
}

/// Takes the signals that came. Says whether one of them is to end this.
fn look(arrivals: &SignalFd) -> anyhow::Result<Option<RebootMode>> {
    let mut end = None;
    while let Some(arrival) = arrivals.read_signal().context("cannot look for signals")? {
        match i32::try_from(arrival.ssi_signo).map(Signal::try_from) {
            Ok(Ok(Signal::SIGTERM)) => end = Some(RebootMode::RB_POWER_OFF),
            Ok(Ok(Signal::SIGINT)) => end = Some(RebootMode::RB_AUTOBOOT),
            _ => {}
        }
    }
    Ok(end)
}

/// Waits for all that have ended: our daemons, and to the first process everybody's orphans. A daemon that has lived is started again.
fn reap(daemons: &mut [Daemon; 2]) -> anyhow::Result<()> {
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(status) => status,
            Err(errno) => return Err(errno).context("cannot wait for processes"),
        };
        let ended = match status {
            WaitStatus::Exited(pid, code) => Some((pid, format!("exit status {code}"))),
            WaitStatus::Signaled(pid, signal, _) => Some((pid, signal.to_string())),
            _ => None,
        };
        let Some((pid, how)) = ended else { continue };
        let Some(daemon) = daemons.iter_mut().find(|daemon| daemon.is(pid)) else {
            continue;
        };
        say(format_args!("{} has ended ({how})", daemon.name));
        daemon.child = None;
        if daemon.since.elapsed() >= SHORT {
            daemon.start();
        }
    }
}

/// Ends the daemons.
fn finish(arrivals: &SignalFd, daemons: &mut [Daemon; 2]) -> anyhow::Result<()> {
    let deadline = Instant::now() + END;
    for daemon in daemons.iter() {
        daemon.signal(Signal::SIGTERM);
    }
    loop {
        for daemon in daemons.iter_mut() {
            let Some(child) = &mut daemon.child else {
                continue;
            };
            let ended = child.try_wait().context("cannot wait for a daemon")?;
            if ended.is_some() {
                daemon.child = None;
            }
        }
        if daemons.iter().all(|daemon| daemon.child.is_none()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            break;
        }
        wait(arrivals, Some(deadline))?;
        look(arrivals)?;
    }
    for daemon in daemons.iter() {
        daemon.signal(Signal::SIGKILL);
    }
    Ok(())
}
