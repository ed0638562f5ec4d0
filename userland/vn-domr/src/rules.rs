// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The nftables rule set that follows from command line and state. It is one text for one transaction, which takes the place of
//! everything that was there before.

use std::fmt::{self, Write};

use crate::cmdline::{Config, GUESTS, PRIVATE, PUBLIC};
use crate::rule::{IcmpType, Rule, What};
use crate::state::State;
use crate::words::Network;

/// The port of sshd.
pub(crate) const SSH_PORT: u16 = 3922;
/// The table that everything is in.
pub(crate) const TABLE: &str = "inet vn-domr";

/// The text for `nft -f`.
pub(crate) fn text(config: &Config, state: &State) -> String {
    let mut text = String::new();
    // A string takes everything.
    let _ = write!(text, "{}", Rules { config, state });
    text
}

struct Rules<'a> {
    config: &'a Config,
    state: &'a State,
}

impl fmt::Display for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guests = self.config.guests();
        let network = Network {
            address: guests.first(),
            ..guests
        };
        let source = self.state.source(self.config);
        write!(
            f,
            "# Made by vn-domr; it is never changed, only replaced.
add table {TABLE}
delete table {TABLE}
table {TABLE} {{
	chain input {{
		type filter hook input priority filter; policy drop;
		iifname \"lo\" accept
		ct state invalid drop
		ct state established,related accept
		ip protocol icmp accept
		iifname \"{GUESTS}\" udp dport {{ 53, 67 }} accept
		iifname \"{GUESTS}\" tcp dport 53 accept
		iifname \"{PRIVATE}\" tcp dport {SSH_PORT} accept
	}}

	# What was opened is passed by the destination that it had at first, and not because it is under way: what is closed is
	# closed for connections that are there, too.
	chain forward {{
		type filter hook forward priority filter; policy drop;
		ct state invalid drop
		iifname \"{PRIVATE}\" drop
		oifname \"{PRIVATE}\" drop
		ct status dnat goto opened
		iifname \"{GUESTS}\" oifname \"{PUBLIC}\" ip saddr {network} accept
		iifname \"{PUBLIC}\" oifname \"{GUESTS}\" ct state established,related accept
	}}

	chain opened {{
"
        )?;
        for rule in &self.state.rules {
            opened(f, rule)?;
        }
        write!(
            f,
            "		drop
	}}

	# A tunnel is narrower than what both ends believe.
	chain segments {{
		type filter hook forward priority mangle; policy accept;
		tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
	}}

	chain arriving {{
		type nat hook prerouting priority dstnat; policy accept;
		iifname {{ \"{GUESTS}\", \"{PUBLIC}\" }} jump mapped
	}}

	chain mapped {{
"
        )?;
        for rule in &self.state.rules {
            mapped(f, rule)?;
        }
        write!(
            f,
            "	}}

	chain leaving {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname \"{GUESTS}\" ip saddr {network} ct status dnat snat ip to {}
		oifname \"{PUBLIC}\" ip saddr {network} snat ip to {source}
	}}
}}
",
            guests.address
        )
    }
}

/// Passes both directions of a connection, and the errors that belong to it.
fn opened(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    let (protocol, port) = match rule.what {
        What::Ports {
            transport, ports, ..
        } => (transport.to_string(), ports.to_string()),
        // In the place of a port there are type and code.
        What::Icmp(IcmpType { number, .. }) => {
            ("icmp".to_owned(), (u16::from(number) << 8).to_string())
        }
    };
    writeln!(
        f,
        "		ct original protocol {protocol} ct original ip daddr {} ct original proto-dst {port} ct reply ip saddr {} accept",
        rule.public, rule.guest
    )
}

fn mapped(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    let Rule {
        public,
        guest,
        what,
    } = rule;
    write!(f, "		ip daddr {public} ")?;
    let (transport, ports, to) = match what {
        What::Icmp(IcmpType { name, .. }) => {
            return writeln!(f, "icmp type {name} dnat ip to {guest}");
        }
        What::Ports {
            transport,
            ports,
            to,
        } => (transport, ports, to),
    };
    write!(f, "{transport} dport {ports} dnat ip to {guest}")?;
    if ports == to {
        // The port stays.
        return writeln!(f);
    }
    if ports.span() == 0 {
        return writeln!(f, ":{to}");
    }
    write!(f, " : {transport} dport map {{")?;
    for (from, to) in (ports.first..=ports.last).zip(to.first..=to.last) {
        let comma = if from == ports.first { "" } else { "," };
        write!(f, "{comma} {from} : {to}")?;
    }
    writeln!(f, " }}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::tests::example;
    use crate::words;

    fn state(addresses: &[&str], rules: &[&str]) -> State {
        let (config, mut state) = (example(), State::default());
        for text in addresses {
            let address = words::network(text).expect(text);
            assert!(state.add_address(&config, address).expect(text));
        }
        for text in rules {
            let words: Vec<_> = text.split(' ').collect();
            let rule = Rule::parse(&words).expect(text);
            assert!(state.add_rule(&config, rule).expect(text));
        }
        state
    }

    /// With VN_DOMR_OVERWRITE set, the file is written anew.
    fn snapshot(name: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(name);
        if std::env::var_os("VN_DOMR_OVERWRITE").is_some() {
            std::fs::write(&path, text).expect("written");
        }
        let expected = std::fs::read_to_string(&path).expect("a snapshot");
        assert_eq!(text, expected, "{name}");
    }

    #[test]
    fn closed() {
        snapshot("closed.nft", &text(&example(), &State::default()));
    }

    #[test]
    fn open() {
        let state = state(
            &["65.37.141.40", "65.37.141.41/25"],
            &[
                "proto=tcp public=65.37.141.33 ports=22 guest=10.1.1.155 to=22",
                "proto=icmp public=65.37.141.33 guest=10.1.1.155 icmp-type=echo-request",
                "proto=tcp public=65.37.141.40 ports=80 guest=10.1.1.155 to=8080",
                "proto=udp public=65.37.141.40 ports=5000-5999 guest=10.1.1.156",
                "proto=tcp public=65.37.141.41 ports=8000-8003 guest=10.1.1.156 to=80-83",
            ],
        );
        snapshot("open.nft", &text(&example(), &state));
    }

    #[test]
    fn the_widest_range() {
        let state = state(
            &[],
            &["proto=tcp public=65.37.141.33 ports=1-65534 guest=10.1.1.155 to=2-65535"],
        );
        let text = text(&example(), &state);
        assert!(text.contains("{ 1 : 2, 2 : 3,") && text.contains(", 65534 : 65535 }"));
    }
}
