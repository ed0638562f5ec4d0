// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn check`: finds by test what is wrong.

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use serde::Serialize;
use vnet_core::VnetId;
use vnet_netlink::Error;

use super::Context;
use crate::check::gather::gather;
use crate::check::{self, Facts, Finding, Level, Remote};
use crate::failure::{Attempt, Quiet};
use crate::output;
use crate::probe::Wire;

/// Exit status: there is a fault.
const FAULT: u8 = 4;

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 no fault was found, 4 there is one, 1 and 2 as elsewhere.")]
pub(crate) struct CheckArgs {
    /// Check this vnet alone, which should be on every host that is known
    id: Option<VnetId>,
}

/// What was found, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    faults: usize,
    findings: &'a [Finding],
    hosts: Vec<HostReport>,
}

/// What is known of another host.
#[derive(Serialize)]
struct HostReport {
    addr: IpAddr,
    /// The vnets for which it answered.
    nets: Vec<NetReport>,
    /// Whether it speaks the original's protocol only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    original: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct NetReport {
    id: String,
    /// Microseconds to the answer.
    time_us: u128,
    /// Bytes of the largest UDP payload that it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    largest: Option<u32>,
}

fn host_report(addr: IpAddr, remote: &Remote) -> HostReport {
    let net = |(id, presence): (&VnetId, &check::Presence)| {
        Some(NetReport {
            id: id.to_string(),
            time_us: presence.time()?.as_micros(),
            largest: presence.path.map(|path| path.answered),
        })
    };
    HostReport {
        addr,
        nets: remote.nets.iter().filter_map(net).collect(),
        original: remote.is_original,
    }
}

pub(crate) fn run(context: &mut Context, arguments: &CheckArgs) -> anyhow::Result<()> {
    let (findings, facts) = match look(context, arguments.id) {
        Ok(facts) => (check::findings(&facts), Some(facts)),
        Err(error) => match absent(&error) {
            Some(finding) => (vec![finding], None),
            None => {
                let what = match arguments.id {
                    Some(id) => format!("check vnet {id}"),
                    None => "check".to_owned(),
                };
                return Err(anyhow::Error::from(error).context(Attempt::new(what)));
            }
        },
    };
    let faults = findings
        .iter()
        .filter(|finding| finding.level == Level::Fault);
    let faults = faults.count();
    let remotes = facts.iter().flat_map(|facts| &facts.remotes);
    let hosts: Vec<_> = remotes
        .map(|(addr, remote)| host_report(*addr, remote))
        .collect();
    if context.json() {
        let report = Report {
            faults,
            findings: &findings,
            hosts,
        };
        output::json(&mut context.out, &report, context.options.pretty)?;
    } else {
        if context.options.details {
            if let Some(facts) = &facts {
                details(context, facts, &hosts)?;
            }
        }
        for finding in &findings {
            let level = match finding.level {
                Level::Fault => "fault",
                Level::Note => "note",
            };
            writeln!(context.out, "{level}: {}", finding.text)?;
            writeln!(context.out, "    next: {}", finding.next)?;
        }
        let notes = findings.len() - faults;
        writeln!(
            context.out,
            "{}, {}",
            count(faults, "fault"),
            count(notes, "note")
        )?;
    }
    context.out.flush()?;
    if faults > 0 {
        return Err(Quiet(FAULT).into());
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn look(context: &mut Context, id: Option<VnetId>) -> Result<Facts, Error> {
    let mut client = context.client()?;
    if let Some(id) = id {
        client.net(id)?;
    }
    let mut wire = Wire::open(&context.endpoint)?;
    gather(&mut client, &mut wire, id)
}

/// What nobody or two who carry the vnets mean; none for any other failure.
fn absent(error: &Error) -> Option<Finding> {
    let (text, next) = match error {
        Error::NoFamily(_) => (
            "module vnet is not loaded".to_owned(),
            "load it with: vn host load",
        ),
        Error::Nobody { .. } => (
            "there is neither the module nor vnetd, so there are no vnets".to_owned(),
            "load the module with: vn host load; or start vnetd",
        ),
        Error::Both { .. } => (
            "both the module and vnetd are there, and get in each other's way".to_owned(),
            "unload the module with: vn host unload; or stop vnetd",
        ),
        Error::Daemon { .. } | Error::Silent(_) | Error::Closed => {
            (error.to_string(), "is vnetd running?")
        }
        _ => return None,
    };
    Some(check::of_access(text, next))
}

/// What was checked, and who answered.
fn details(context: &mut Context, facts: &Facts, hosts: &[HostReport]) -> anyhow::Result<()> {
    let names: Vec<_> = check::names().collect();
    writeln!(context.out, "checks: {}", names.join(", "))?;
    writeln!(context.out, "vnets: {}", facts.nets.len())?;
    for host in hosts {
        if host.original {
            writeln!(context.out, "host {}: answers for its machines", host.addr)?;
        } else if host.nets.is_empty() {
            writeln!(context.out, "host {}: no answer", host.addr)?;
        }
        for net in &host.nets {
            let millis = std::time::Duration::from_micros(u64::try_from(net.time_us)?);
            let millis = millis.as_secs_f64() * 1000.0;
            write!(
                context.out,
                "host {}: vnet {} in {millis:.3} ms",
                host.addr, net.id
            )?;
            match net.largest {
                Some(largest) => writeln!(context.out, ", payloads of up to {largest} bytes")?,
                None => writeln!(context.out)?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_carries_the_vnets() {
        let path = std::path::PathBuf::from("/run/vnetd/control");
        for error in [
            Error::NoFamily("vnet"),
            Error::Nobody { path: path.clone() },
            Error::Both { path },
        ] {
            let finding = absent(&error).expect("a finding");
            assert_eq!((finding.level, finding.check), (Level::Fault, "access"));
        }
        assert!(absent(&Error::Changing).is_none());
    }

    #[test]
    fn counts() {
        let counts = [0, 1, 2].map(|number| count(number, "fault"));
        assert_eq!(counts, ["no faults", "1 fault", "2 faults"]);
    }
}
