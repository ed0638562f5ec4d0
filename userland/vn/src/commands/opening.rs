// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn domr ip` and `vn domr firewall`: what routing domains let through.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::failure::Refused;
use crate::output::{Table, some};
use crate::xen::opening::{self, Listed, Opening, Ports, Protocol, Which};
use crate::xen::{remote, words};

/// What stands for standard input where a file is named.
const STANDARD_INPUT: &str = "-";

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Domr {
    /// The name of the routing domain
    #[arg(long = "domr", value_name = "NAME", value_parser = words::name)]
    name: Option<String>,
    /// Its private address, that of its eth1
    #[arg(long, value_name = "ADDRESS", value_parser = words::address)]
    addr: Option<Ipv4Addr>,
}

impl From<Domr> for Which {
    fn from(domr: Domr) -> Self {
        Self {
            name: domr.name,
            address: domr.addr,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpVerb {
    /// Give it a public address; one that it has is no failure
    Add(IpArgs),
    /// Take one away; one that it does not have is no failure
    Del(IpArgs),
    /// List those that it was given since its start
    List(Domr),
}

#[derive(Debug, Args)]
pub(crate) struct IpArgs {
    /// The address
    #[arg(value_name = "ADDRESS", value_parser = words::address)]
    public: Ipv4Addr,
    #[command(flatten)]
    domr: Domr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FirewallVerb {
    /// Open something; what is open is no failure
    Add(OpeningArgs),
    /// Close something, for connections that are there, too; what is closed is no failure
    Del(OpeningArgs),
    /// List what is open; with -j as vn domr firewall apply reads it
    List(Domr),
    /// Open what a file says and close all else, at once
    Apply(ApplyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OpeningArgs {
    /// The protocol
    #[arg(long, value_enum)]
    proto: Protocol,
    /// The public address
    #[arg(long, value_name = "ADDRESS", value_parser = words::address)]
    public: Ipv4Addr,
    /// Its port, or a range of them
    #[arg(long, value_name = "A[-B]", value_parser = opening::ports)]
    port: Option<Ports>,
    /// The type of ICMP that is passed on, such as echo-request
    #[arg(long, value_name = "TYPE", value_parser = opening::icmp_type)]
    icmp_type: Option<String>,
    /// The guest's address
    #[arg(long, value_name = "ADDRESS", value_parser = words::guest)]
    guest: Ipv4Addr,
    /// The guest's port, or as many of them [default: the same]
    #[arg(long, value_name = "A[-B]", value_parser = opening::ports)]
    to: Option<Ports>,
    #[command(flatten)]
    domr: Domr,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// What vn -j domr firewall list has printed; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    domr: Domr,
}

pub(crate) fn ip(context: &mut Context, verb: IpVerb) -> anyhow::Result<()> {
    match verb {
        IpVerb::Add(of) => address(context, &of.domr.into(), Change::Add, of.public),
        IpVerb::Del(of) => address(context, &of.domr.into(), Change::Del, of.public),
        IpVerb::List(of) => list_addresses(context, &of.into()),
    }
}

pub(crate) fn firewall(context: &mut Context, verb: FirewallVerb) -> anyhow::Result<()> {
    match verb {
        FirewallVerb::Add(of) => change(context, Change::Add, of),
        FirewallVerb::Del(of) => change(context, Change::Del, of),
        FirewallVerb::List(of) => list_openings(context, &of.into()),
        FirewallVerb::Apply(of) => apply(context, &of.domr.into(), &of.file),
    }
}

/// What is done with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Del,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "del",
        }
    }

    fn outcome(self, changed: bool) -> &'static str {
        match (self, changed) {
            (Self::Add, true) => "added",
            (Self::Add, false) => "is there already",
            (Self::Del, true) => "removed",
            (Self::Del, false) => "is not there",
        }
    }
}

pub(crate) fn address(
    context: &mut Context,
    which: &Which,
    change: Change,
    public: Ipv4Addr,
) -> anyhow::Result<()> {
    let text = public.to_string();
    carry_out(context, which, change, &text, &["ip", change.word(), &text])
}

fn change(context: &mut Context, change: Change, of: OpeningArgs) -> anyhow::Result<()> {
    let opening = Opening {
        protocol: of.proto,
        public: of.public,
        guest: of.guest,
        ports: of.port,
        to: of.to,
        icmp_type: of.icmp_type,
    };
    open(context, &of.domr.into(), change, &opening)
}

pub(crate) fn open(
    context: &mut Context,
    which: &Which,
    change: Change,
    opening: &Opening,
) -> anyhow::Result<()> {
    let more = opening.words()?;
    let mut words = vec!["firewall", change.word()];
    words.extend(more.iter().map(String::as_str));
    carry_out(context, which, change, opening, &words)
}

fn carry_out(
    context: &mut Context,
    which: &Which,
    change: Change,
    what: &dyn fmt::Display,
    words: &[&str],
) -> anyhow::Result<()> {
    let domr = which.find()?;
    if context.options.dry_run {
        return context.line(format_args!("ask {}: {}", domr.name, words.join(" ")));
    }
    let answer = remote::call(&domr, words)?;
    if context.json() {
        return context.list(&answer, || Table::new([]));
    }
    let outcome = change.outcome(changed(&answer)?);
    context.line(format_args!("{what}: {outcome}"))
}

/// Whether the routing domain has changed anything.
fn changed(answer: &Value) -> anyhow::Result<bool> {
    let changed = answer.get("changed").and_then(Value::as_bool);
    changed.ok_or_else(|| {
        let reason =
            format!("the routing domain does not say whether it has changed anything: {answer}");
        Refused::new(reason).into()
    })
}

/// Reads an answer.
fn understand<T: for<'a> Deserialize<'a>>(answer: &Value) -> anyhow::Result<T> {
    T::deserialize(answer).map_err(|error| {
        let reason = format!("cannot understand the routing domain's answer: {error}");
        Refused::new(reason)
            .hint("its image may be of another version than this vn")
            .into()
    })
}

#[derive(Debug, Deserialize)]
struct Addresses {
    public: String,
    addresses: Vec<String>,
    source: String,
}

fn list_addresses(context: &mut Context, which: &Which) -> anyhow::Result<()> {
    let answer = remote::call(&which.find()?, &["ip", "list"])?;
    let known: Addresses = understand(&answer)?;
    context.list(&answer, || {
        let mut table = Table::new(["ADDRESS", "SOURCE OF GUESTS"]);
        for address in [known.public].into_iter().chain(known.addresses) {
            let is_source = address.split('/').next() == Some(&known.source);
            let source = if is_source { "yes" } else { "no" };
            table.row([address, source.to_owned()]);
        }
        table
    })
}

#[derive(Debug, Deserialize)]
struct Openings {
    rules: Vec<Listed>,
}

fn list_openings(context: &mut Context, which: &Which) -> anyhow::Result<()> {
    let answer = remote::call(&which.find()?, &["firewall", "list"])?;
    let known: Openings = understand(&answer)?;
    context.list(&answer, || {
        let mut table = Table::new(["PROTO", "PUBLIC", "PORT OR TYPE", "GUEST", "TO"]);
        for rule in known.rules {
            let what = rule.ports.or(rule.icmp_type);
            table.row([
                rule.proto,
                rule.public,
                some(what.as_ref()),
                rule.guest,
                some(rule.to.as_ref()),
            ]);
        }
        table
    })
}

fn apply(context: &mut Context, which: &Which, file: &Path) -> anyhow::Result<()> {
    let domr = which.find()?;
    let input = match file.to_str() {
        Some(STANDARD_INPUT) => Path::new("/dev/stdin"),
        _ => file,
    };
    if context.options.dry_run {
        return context.line(format_args!(
            "ask {}: firewall apply, with {}",
            domr.name,
            file.display()
        ));
    }
    let answer = remote::call_with(&domr, &["firewall", "apply"], Some(input))?;
    if context.json() {
        return context.list(&answer, || Table::new([]));
    }
    let outcome = if changed(&answer)? {
        "made so"
    } else {
        "was so already"
    };
    context.line(format_args!("{}: {outcome}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers() {
        assert!(changed(&json!({ "changed": true })).expect("changed"));
        assert!(!changed(&json!({ "changed": false })).expect("not changed"));
        assert!(changed(&json!({ "changed": "yes" })).is_err());
        let rules = json!({ "changed": false, "rules": [{
            "proto": "icmp", "public": "65.37.141.33", "guest": "10.1.1.155", "icmp-type": "echo-request",
        }] });
        let known: Openings = understand(&rules).expect("rules");
        assert_eq!(known.rules[0].icmp_type.as_deref(), Some("echo-request"));
        assert!(understand::<Openings>(&json!({})).is_err());
        assert_eq!(Change::Add.outcome(false), "is there already");
        assert_eq!(Change::Del.outcome(false), "is not there");
    }
}
