// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One change at a time, all of it or nothing: addresses, rules, leases, and the state file last.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, anyhow};
use nix::fcntl::{Flock, FlockArg};

use crate::cmdline::Config;
use crate::paths::Paths;
use crate::state::{State, replace};
use crate::words::Network;
use crate::{daemon, interfaces, program, rules};

/// The routing domain, as long as nobody else may change it.
pub(crate) struct Domr<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) config: Config,
    pub(crate) state: State,
    _lock: Flock<File>,
}

impl<'a> Domr<'a> {
    /// At the start, before anything else knows the configuration.
    pub(crate) fn start(paths: &'a Paths, config: Config) -> anyhow::Result<Self> {
        for directory in [paths.run(""), paths.kept("")] {
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let lock = lock(paths)?;
        replace(&paths.run("cmdline"), &config.text(), 0o644)?;
        Self::locked(paths, config, lock)
    }

    /// Later. Waits for others: each of them ends within the time limits of what it starts.
    pub(crate) fn open(paths: &'a Paths) -> anyhow::Result<Self> {
        let path = paths.run("cmdline");
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "the routing domain is not started: cannot read {}",
                path.display()
            )
        })?;
        let config = Config::parse(&text)?;
        let lock = lock(paths)?;
        Self::locked(paths, config, lock)
    }

    fn locked(paths: &'a Paths, config: Config, lock: Flock<File>) -> anyhow::Result<Self> {
        let state = State::load(&paths.kept("state.json"))?;
        Ok(Self {
            paths,
            config,
            state,
            _lock: lock,
        })
    }

    /// Loads the rules as the state has them.
    pub(crate) fn load_rules(&self) -> anyhow::Result<()> {
        self.load(&rules::text(&self.config, &self.state))
    }

    fn load(&self, text: &str) -> anyhow::Result<()> {
        let path = self.paths.run("rules.nft");
        replace(&path, text, 0o600)?;
        program::run("nft", &["-f".as_ref(), path.as_os_str()]).map(drop)
    }

    /// Makes it so, or leaves everything as it was.
    pub(crate) fn change(&self, new: &State) -> anyhow::Result<()> {
        let mut back = Back::default();
        let made = self.steps(new, &mut back);
        if let Err(error) = made {
            return Err(back.take(error));
        }
        for address in added(&self.state, new) {
            interfaces::announce(address);
        }
        if new.leases != self.state.leases {
            daemon::tell(self.paths, &self.state, new)?;
        }
        Ok(())
    }

    fn steps<'b>(&'b self, new: &State, back: &mut Back<'b>) -> anyhow::Result<()> {
        let old = &self.state;
        for address in added(old, new) {
            back.push("take the address away again", move || {
                interfaces::del(address)
            });
            interfaces::add(address)?;
        }
        let text = rules::text(&self.config, new);
        if text != rules::text(&self.config, old) {
            let loaded = self.load(&text);
            // A transaction that failed has changed nothing.
            let unknown = |error: &anyhow::Error| error.is::<program::Endless>();
            if loaded.as_ref().err().is_none_or(unknown) {
                back.push("put the old rules back", || self.load_rules());
            }
            loaded?;
        }
        for address in added(new, old) {
            back.push("give the address again", move || interfaces::add(address));
            interfaces::del(address)?;
        }
        if new.leases != old.leases {
            back.push("write the old leases again", || {
                daemon::write_leases(&self.config, self.paths, old)
            });
            daemon::write_leases(&self.config, self.paths, new)?;
        }
        new.save(&self.paths.kept("state.json"))
    }
}

/// The addresses that only the second has.
fn added(old: &State, new: &State) -> Vec<Network> {
    let only = new
        .addresses
        .iter()
        .filter(|address| !old.addresses.contains(address));
    only.map(|address| address.0).collect()
}

fn lock(paths: &Paths) -> anyhow::Result<Flock<File>> {
    let path = paths.run("lock");
    let what = || format!("cannot lock {}", path.display());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(what)?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(what)
}

type Step<'b> = Box<dyn FnOnce() -> anyhow::Result<()> + 'b>;

/// The way back, step by step.
#[derive(Default)]
struct Back<'b>(Vec<(&'static str, Step<'b>)>);

impl<'b> Back<'b> {
    fn push(&mut self, what: &'static str, step: impl FnOnce() -> anyhow::Result<()> + 'b) {
        self.0.push((what, Box::new(step)));
    }

    /// Goes it. What cannot be taken back is added to the error.
    fn take(self, error: anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        for (what, step) in self.0.into_iter().rev() {
            if let Err(error) = step() {
                text.push_str(&format!("; and cannot {what}: {error:#}"));
            }
        }
        anyhow!(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::cell::RefCell;

    #[test]
    fn the_way_back() {
        let steps = RefCell::new(Vec::new());
        let mut back = Back::default();
        for number in 1..=3 {
            let steps = &steps;
            back.push("do this", move || {
                steps.borrow_mut().push(number);
                if number == 2 {
                    bail!("no")
                }
                Ok(())
            });
        }
        let error = back.take(anyhow!("first")).to_string();
        assert_eq!(error, "first; and cannot do this: no");
        assert_eq!(steps.into_inner(), [3, 2, 1]);
    }
}
