// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The life of the daemon: start, the control thread's loop, end.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use vnet_core::Settings;

use crate::control::{Control, FIRST_CLIENT, LISTENER};
use crate::expression::{self, Wish};
use crate::host::{Config, Host};
use crate::message::Refusal;
use crate::notice::Notice;
use crate::options::Options;
use crate::rtnl::Watcher;
use crate::shared::{Job, Presence, Shared};
use crate::worker::Worker;
use crate::{log, startup, state};

/// Threads and queues unless given.
const QUEUES: usize = 4;
/// Most turns in which is taken in what the kernel told before the end.
const TURNS_LAST: usize = 64;
/// What an event is about, beside [`LISTENER`].
const KERNEL: u64 = 2;
const SIGNALS: u64 = 3;
const WORKERS: u64 = 4;

/// Each vnet takes a descriptor for each queue.
fn raise_limits() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            log(&format!("cannot raise the limit on open files: {error}"));
        }
    }
}

fn refused(what: &str) -> impl Fn(Refusal) -> anyhow::Error + '_ {
    move |refusal| anyhow!("{what}: {refusal}")
}

/// Takes over what the command line says.
fn take_options(host: &mut Host, options: &Options) -> anyhow::Result<()> {
    let mut settings = host.settings.clone();
    if let Some(port) = options.port {
        settings.port = port;
    }
    if let Some(group) = options.group {
        settings.group = group.0;
    }
    if let Some(group) = options.varp_mcaddr {
        settings.group = Some(group);
    }
    if let Some(ttl) = options.ttl {
        settings.ttl = ttl;
    }
    if let Some(name) = &options.device {
        let found = host.links.values().find(|link| link.name == *name);
        match found {
            Some(link) => {
                settings.device = link.index;
                host.lost_device = None;
            }
            // It was there before the restart, and is waited for.
            None if host.lost_device.as_ref() == Some(name) => {}
            None => return Err(anyhow!("there is no underlay device {name}")),
        }
    }
    host.configure(settings, false)
        .map_err(refused("cannot take over the options"))?;
    startup::check_port(host.settings.port)
}

/// Carries out what a configuration file of the original says; what is there already is not made again.
fn take_file(host: &mut Host, options: &Options) -> anyhow::Result<()> {
    let Some(path) = &options.file else {
        return Ok(());
    };
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let wishes = expression::parse(&text)
        .map_err(|(line, reason)| anyhow!("{name}, line {line}: {reason}"))?;
    for wish in wishes {
        match wish {
            Wish::Vnet(id, device) => {
                if host.net(&id).is_some() {
                    continue;
                }
                let config = Config {
                    id,
                    name: device,
                    mtu: None,
                    settings: Settings::default(),
                };
                host.create(config)
                    .map_err(refused(&format!("{name}: cannot create vnet {id}")))?;
            }
            Wish::Peer(address) => {
                if host.settings.peers.contains(&address) {
                    continue;
                }
                add_peer(host, address)
                    .map_err(refused(&format!("{name}: cannot add peer {address}")))?;
            }
            Wish::Group(address, ttl) => {
                let mut settings = host.settings.clone();
                // The command line counts more.
                if options.group.is_none() && options.varp_mcaddr.is_none() {
                    settings.group = Some(address).filter(IpAddr::is_multicast);
                    if settings.group.is_none() {
                        return Err(anyhow!("{name}: {address} is not a multicast address"));
                    }
                }
                if options.ttl.is_none() {
                    settings.ttl = ttl.unwrap_or(settings.ttl);
                }
                host.configure(settings, false)
                    .map_err(refused(&format!("{name}: cannot set the group {address}")))?;
            }
        }
    }
    Ok(())
}

fn add_peer(host: &mut Host, address: IpAddr) -> Result<(), Refusal> {
    if host.is_own(address) || !vnet_core::varp::is_host(address) {
        return Err(Refusal::new(
            Errno::EINVAL,
            "not the address of another host",
        ));
    }
    let mut settings = host.settings.clone();
    settings.peers.push(address);
    host.configure(settings, false)
}

/// The control thread's things.
struct Daemon<'a> {
    options: &'a Options,
    shared: Arc<Shared>,
    host: Host,
    control: Control,
    watcher: Watcher,
    signals: SignalFd,
    epoll: Epoll,
    /// Whether it was said that the state cannot be written.
    complained: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// Why it could not start; then nothing is left behind.
pub fn run(options: &Options) -> anyhow::Result<()> {
    startup::check_module()?;
    raise_limits();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let queues = options.queues.map_or(cpus.min(QUEUES), usize::from);
    // Blocked here, so that they are blocked in all threads.
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGTERM);
    wanted.add(Signal::SIGINT);
    wanted.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&wanted, flags)?;
    let watcher = Watcher::open().context("cannot watch the kernel's devices")?;
    let shared = Arc::new(Shared::new(queues)?);
    let host = Host::new(shared.clone()).context("cannot list the kernel's devices")?;
    let control = Control::open(&options.socket)?;
    let mut daemon = Daemon {
        options,
        shared: shared.clone(),
        host,
        control,
        watcher,
        signals,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        complained: false,
    };
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    let done = daemon.live(&mut workers, queues);
    startup::notify("STOPPING=1");
    daemon.host.end();
    for inbox in &shared.inboxes {
        inbox.put(Job::End);
    }
    for worker in workers {
        if worker.join().is_err() {
            log("a worker had panicked");
        }
    }
    daemon.control.close();
    done
}

impl Daemon<'_> {
    fn live(&mut self, workers: &mut Vec<JoinHandle<()>>, queues: usize) -> anyhow::Result<()> {
        let watch = |fd: &dyn AsFd, token| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
            self.epoll.add(fd.as_fd(), event)
        };
        watch(self.control.listener(), LISTENER)?;
        watch(&self.watcher.as_fd(), KERNEL)?;
        watch(&self.signals.as_fd(), SIGNALS)?;
        watch(&self.shared.control().as_fd(), WORKERS)?;
        for index in 0..queues {
            let worker = Worker::new(index, self.shared.clone())?;
            let thread = std::thread::Builder::new().name(format!("queue{index}"));
            let presence = Presence::new(self.shared.clone());
            workers.push(thread.spawn(move || {
                let _presence = presence;
                worker.run();
            })?);
        }
        let options = self.options;
        if options.no_restore {
            take_options(&mut self.host, options)?;
        } else {
            state::restore(&mut self.host, &options.state, |host| {
                take_options(host, options)
            })?;
        }
        take_file(&mut self.host, options)?;
        self.host.dirty = true;
        self.settle();
        startup::notify("READY=1");
        log(&format!(
            "{} vnets; control socket {}",
            self.host.nets.len(),
            options.socket.display()
        ));
        self.serve()
    }

    /// After anything was done: tells of it, and keeps it.
    fn settle(&mut self) {
        let events = self.shared.take_events();
        self.host.notices.extend(events.iter().map(Notice::event));
        while !self.host.notices.is_empty() {
            for notice in std::mem::take(&mut self.host.notices) {
                if self.options.verbose {
                    log(&format!("notification {}", notice.command));
                }
                self.control.tell(&notice, &mut self.host, &self.epoll);
            }
        }
        if std::mem::take(&mut self.host.dirty) {
            let status = format!("STATUS={} vnets", self.host.nets.len());
            startup::notify(&status);
            if let Err(error) = state::save(&self.host, &self.options.state) {
                if !std::mem::replace(&mut self.complained, true) {
                    log(&format!(
                        "{error:#}: a restart will not restore the configuration"
                    ));
                }
            } else {
                self.complained = false;
            }
        }
    }

    /// Before the end: what the kernel has told, and what was acknowledged, is kept whatever was to be done next.
    fn settle_last(&mut self) {
        // A storm must not keep it from ending.
        for _ in 0..TURNS_LAST {
            let changes = self.watcher.changes();
            if changes.is_empty() {
                break;
            }
            self.host.changed(changes);
        }
        self.host.dirty = true;
        self.settle();
    }

    /// Has workers do what is due. When something is due next.
    fn timers(&mut self) -> Option<vnet_core::Instant> {
        let now = self.shared.clock.now();
        loop {
            match self.shared.next_timer(now) {
                Ok(id) => self.host.give(Job::Poll(id)),
                Err(next) => return next,
            }
        }
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let next = self.timers();
            let now = self.shared.clock.now();
            let late = self.control.late(now, &mut self.host, &self.epoll);
            let cut_off = self.control.cut_off(now);
            let resume = self.control.resume(now, &self.epoll);
            let due = [next, late, cut_off, resume, self.host.next_tick()];
            let timeout = match due.into_iter().flatten().min() {
                Some(due) => EpollTimeout::try_from(now.until(due).min(3_600_000))
                    .unwrap_or(EpollTimeout::NONE),
                None => EpollTimeout::NONE,
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    self.settle_last();
                    return Err(error).context("cannot wait for events");
                }
            };
            for event in events.get(..count).unwrap_or_default() {
                match event.data() {
                    SIGNALS => {
                        if matches!(self.signals.read_signal(), Ok(Some(_))) {
                            self.settle_last();
                            return Ok(());
                        }
                    }
                    LISTENER => self.control.accept(now, &self.epoll),
                    KERNEL => {
                        let changes = self.watcher.changes();
                        self.host.changed(changes);
                    }
                    WORKERS => {
                        let _ = self.shared.control().read();
                        for (ticket, sent) in self.shared.take_answers() {
                            let (host, epoll) = (&mut self.host, &self.epoll);
                            self.control.answered(ticket, sent, host, epoll);
                        }
                    }
                    token if token >= FIRST_CLIENT => {
                        self.control.ready(token, &mut self.host, &self.epoll);
                    }
                    _ => {}
                }
            }
            self.host.tick();
            self.settle();
            if self.shared.has_lost_worker() {
                // The service manager begins anew, with what was just saved.
                return Err(anyhow!("a worker has ended, and its queue stands still"));
            }
        }
    }
}
