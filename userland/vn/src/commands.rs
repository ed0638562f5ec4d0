// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! One file for each noun.

pub(crate) mod check;
pub(crate) mod cleanup;
pub(crate) mod config;
pub(crate) mod disk;
pub(crate) mod domr;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod key;
pub(crate) mod meta;
pub(crate) mod monitor;
pub(crate) mod net;
pub(crate) mod opening;
pub(crate) mod peer;
pub(crate) mod ping;
pub(crate) mod port;
pub(crate) mod remote;
pub(crate) mod settings;
pub(crate) mod template;
pub(crate) mod varp;
pub(crate) mod vif;
pub(crate) mod vm;

use std::fmt;
use std::io::{self, StdoutLock, Write};

use nix::errno::Errno;
use serde::Serialize;
use vnet_netlink::{Client, Counters, Endpoint, Error, netns};

use crate::cli::{Cli, Noun, Options};
use crate::failure::Attempt;
use crate::output::{self, Table};

/// What a command has at hand.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) endpoint: Endpoint,
    out: StdoutLock<'static>,
}

impl Context {
    /// Connects to whoever carries the vnets.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        Client::open(&self.endpoint)
    }

    /// Whether the output is JSON.
    fn json(&self) -> bool {
        self.options.json || self.options.pretty
    }

    /// Prints a listing: the values as JSON, else the table.
    fn list<T: Serialize>(
        &mut self,
        values: &T,
        table: impl FnOnce() -> Table,
    ) -> anyhow::Result<()> {
        if self.json() {
            output::json(&mut self.out, values, self.options.pretty)?;
        } else {
            table().print(&mut self.out)?;
        }
        Ok(self.out.flush()?)
    }

    /// Prints a line.
    fn line(&mut self, text: impl fmt::Display) -> anyhow::Result<()> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// Does one thing, which `what` names after the word "cannot"; or says that it would be done.
    fn change<T: Default>(
        &mut self,
        what: impl fmt::Display,
        change: impl FnOnce() -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        if self.options.dry_run {
            self.line(what)?;
            return Ok(T::default());
        }
        change().map_err(|error| anyhow::Error::from(error).context(Attempt::new(what)))
    }
}

/// What is there already, or is gone already, is no failure where that is `allowed`.
fn tolerate(result: Result<(), Error>, allowed: bool, errno: Errno) -> Result<(), Error> {
    match result {
        Err(error) if allowed && error.errno() == Some(errno) => Ok(()),
        result => result,
    }
}

/// The first few of a list that may be long.
pub(crate) fn some_of(all: &[String]) -> String {
    const SHOWN: usize = 8;
    let (shown, rest) = all.split_at(all.len().min(SHOWN));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Tells something that is no failure.
pub(crate) fn warn(text: impl fmt::Display) {
    // Where it cannot be written, there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "vn: warning: {text}");
}

/// Tells what the kernel remarked on requests that it carried out.
fn remarks(client: &mut Client) {
    for text in client.take_warnings() {
        warn(text);
    }
}

/// Adds a row for each counter.
fn counters(table: &mut Table, counters: Option<&Counters>) {
    for (name, value) in counters.iter().flat_map(|counters| &counters.0) {
        table.row([(*name).to_owned(), value.to_string()]);
    }
}

/// What a command has at hand that takes none of the options of every command.
pub(crate) fn plain() -> Context {
    let options = Options::default();
    Context {
        endpoint: options.endpoint(),
        options,
        out: io::stdout().lock(),
    }
}

/// Carries out the command line.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    let mut context = Context {
        endpoint: cli.options.endpoint(),
        options: cli.options,
        out: io::stdout().lock(),
    };
    if let Some(name) = &context.options.netns {
        netns::enter(name)?;
    }
    let context = &mut context;
    match cli.noun {
        Noun::Net { verb } => net::run(context, verb.unwrap_or(net::Verb::List)),
        Noun::Peer { verb } => peer::run(context, verb.unwrap_or(peer::Verb::List)),
        Noun::Varp { verb } => varp::run(context, verb.unwrap_or(varp::Verb::List { id: None })),
        Noun::Vif { verb } => vif::run(context, verb.unwrap_or(vif::Verb::List { id: None })),
        Noun::Remote { verb } => remote::run(
            context,
            verb.unwrap_or(remote::Verb::List {
                id: None,
                addr: None,
            }),
        ),
        Noun::Key { verb } => key::run(context, verb.unwrap_or(key::Verb::List { id: None })),
        Noun::Host { verb } => host::run(context, verb.unwrap_or(host::Verb::Status)),
        Noun::Ping(arguments) => ping::run(context, &arguments),
        Noun::Check(arguments) => check::run(context, &arguments),
        Noun::Template { verb } => template::run(
            context,
            verb.unwrap_or(template::Verb::List { parent: None }),
        ),
        Noun::Image { verb } => {
            image::run(context, verb.unwrap_or(image::Verb::List { parent: None }))
        }
        Noun::Disk { verb } => disk::run(context, verb),
        Noun::Iscsi { verb } => disk::iscsi(context, verb.unwrap_or(disk::IscsiVerb::Map)),
        Noun::Vm { verb } => vm::run(context, verb.unwrap_or(vm::Verb::List)),
        Noun::Domr { verb } => domr::run(context, verb),
        Noun::Port { verb } => port::run(context, verb),
        Noun::Export => config::export(context),
        Noun::Apply(arguments) => config::apply(context, &arguments),
        Noun::Monitor => monitor::run(context),
        Noun::Completions(arguments) => meta::completions(context, &arguments),
        Noun::Man(arguments) => meta::man(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let all: Vec<_> = (1..=10).map(|number: u32| number.to_string()).collect();
        assert_eq!(some_of(&all[..2]), "1, 2");
        assert_eq!(some_of(&all), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
    }

    #[test]
    fn only_what_is_allowed_is_tolerated() {
        let refused = |errno| Err(Error::from(vnet_netlink::Refusal::from(errno)));
        assert!(tolerate(refused(Errno::EEXIST), true, Errno::EEXIST).is_ok());
        assert!(tolerate(refused(Errno::EEXIST), false, Errno::EEXIST).is_err());
        assert!(tolerate(refused(Errno::EPERM), true, Errno::EEXIST).is_err());
        assert!(tolerate(Ok(()), false, Errno::EEXIST).is_ok());
    }
}
