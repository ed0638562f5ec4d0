// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Whether somebody has an address already: duplicate address detection by ARP, which a host answers that answers no ping.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::refuse;
use crate::exec::Program;
use crate::failure::Refused;

const LIMIT: Duration = Duration::from_secs(20);
/// How often is asked, and how long an answer is waited for, seconds.
const PROBES: &str = "2";
const WAIT: &str = "3";

/// Refuses an address that a host on that bridge has, this one among them.
pub(crate) fn refuse_used(address: Ipv4Addr, bridge: &str) -> anyhow::Result<()> {
    let own = Program::find("ip", LIMIT)?
        .arguments(["-4", "-o", "addr", "show", "to"])
        .arguments([format!("{address}/32")])
        .text()?;
    if !own.trim().is_empty() {
        return used(address, "this host", bridge);
    }
    let probe = Program::find("arping", LIMIT)?
        .arguments(["-D", "-c", PROBES, "-w", WAIT, "-I", bridge])
        .arguments([address.to_string()]);
    let output = probe.output()?;
    match output.status {
        Some(0) => Ok(()),
        Some(1) => match who(&output.text) {
            Some(mac) => used(address, mac, bridge),
            // Its own failures have the same status.
            None => Err(Refused::new(format!("{probe} failed: {}", output.words)).into()),
        },
        _ => Err(Refused::new(format!("{probe} failed: {}", output.words)).into()),
    }
}

/// Who has answered: `Unicast reply from 10.1.1.1 [02:00:00:00:00:01]  0.7ms`.
fn who(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("reply from"))?;
    line.split_once('[')?.1.split_once(']').map(|(mac, _)| mac)
}

fn used(address: Ipv4Addr, by: &str, bridge: &str) -> anyhow::Result<()> {
    refuse(
        format!("the address {address} is in use on {bridge}, by {by}"),
        "choose another address, or stop who has it",
    )
}

#[cfg(test)]
mod tests {
    use super::who;

    #[test]
    fn who_answers_is_named() {
        let text = "ARPING 10.1.1.1 from 0.0.0.0 vnbr0005\nUnicast reply from 10.1.1.1 [02:00:00:00:00:01]  0.708ms\nSent 1 probes\n";
        assert_eq!(who(text), Some("02:00:00:00:00:01"));
        assert_eq!(
            who("ARPING 10.1.1.1 from 0.0.0.0 vnbr0005\nReceived 0 response(s)\n"),
            None
        );
    }
}
