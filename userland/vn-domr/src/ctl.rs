// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The words that come by ssh, and what each does. They are divided at blanks and nothing else: no quotes, no shell. The answer is one
//! line of JSON: `{"changed":…}` with more, or `{"error":"…"}` and exit status 1.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::Domr;
use crate::paths::Paths;
use crate::rule::Rule;
use crate::state::{Lease, State};
use crate::{daemon, program, rules, words};

/// What sshd puts the client's words into.
const VARIABLE: &str = "SSH_ORIGINAL_COMMAND";
/// At most so many bytes of words, and of a rule set.
const MAX_WORDS: usize = 4096;
const MAX_INPUT: u64 = 1024 * 1024;

/// Carries out these words, or those of the client.
pub(crate) fn run(paths: &Paths, words: &[String]) -> ExitCode {
    let (answer, code) = match carry_out(paths, words) {
        Ok((changed, Value::Object(more))) => {
            let mut answer = Map::new();
            answer.insert("changed".to_owned(), changed.into());
            answer.extend(more);
            (Value::Object(answer), ExitCode::SUCCESS)
        }
        Ok((changed, _)) => (json!({ "changed": changed }), ExitCode::SUCCESS),
        Err(error) => (json!({ "error": format!("{error:#}") }), ExitCode::FAILURE),
    };
    match writeln!(std::io::stdout().lock(), "{answer}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn carry_out(paths: &Paths, words: &[String]) -> anyhow::Result<(bool, Value)> {
    let line;
    let words: Vec<&str> = if words.is_empty() {
        line = match std::env::var(VARIABLE) {
            Ok(line) => line,
            Err(std::env::VarError::NotPresent) => String::new(),
            Err(error) => bail!("the words are no text: {error}"),
        };
        divide(&line)?
    } else {
        words.iter().map(String::as_str).collect()
    };
    match words[..] {
        ["lease", "add", mac, ip, name] => {
            let lease = Lease {
                mac: words::mac(mac)?,
                ip: words::address(ip)?,
                name: words::name(name)?,
            };
            change(paths, |domr, state| state.add_lease(&domr.config, lease))
        }
        ["lease", "del", mac] => {
            let mac = words::mac(mac)?;
            change(paths, |_, state| Ok(state.del_lease(mac)))
        }
        ["lease", "list"] => Ok((false, json!({ "leases": Domr::open(paths)?.state.leases }))),
        ["ip", "add", address] => {
            let address = words::network(address)?;
            change(paths, |domr, state| {
                state.add_address(&domr.config, address)
            })
        }
        ["ip", "del", address] => {
            let address = words::network(address)?.address;
            change(paths, |domr, state| {
                state.del_address(&domr.config, address)
            })
        }
        ["ip", "list"] => {
            let domr = Domr::open(paths)?;
            let source = domr.state.source(&domr.config);
            Ok((
                false,
                json!({
                    "public": domr.config.public().to_string(),
                    "addresses": domr.state.addresses,
                    "source": source,
                }),
            ))
        }
        ["firewall", "add", ref rule @ ..] => {
            let rule = Rule::parse(rule)?;
            change(paths, |domr, state| state.add_rule(&domr.config, rule))
        }
        ["firewall", "del", ref rule @ ..] => {
            let rule = Rule::parse(rule)?;
            change(paths, |_, state| state.del_rule(&rule))
        }
        ["firewall", "list"] => Ok((false, json!({ "rules": Domr::open(paths)?.state.rules }))),
        ["firewall", "apply"] => {
            let rules = read_rules(std::io::stdin().lock())?;
            change(paths, |domr, state| state.set_rules(&domr.config, rules))
        }
        ["status"] => status(paths),
        [] => bail!("no words: lease, ip, firewall or status"),
        _ => bail!(
            "{:?} is none of: lease add MAC IP NAME; lease del MAC; lease list; ip add ADDR[/LEN]; ip del ADDR; ip list; \
             firewall add|del KEY=VALUE…; firewall list; firewall apply; status",
            words.join(" ")
        ),
    }
}

/// The words of a line. What is no plain text is refused, so that it gets into no answer either.
fn divide(line: &str) -> anyhow::Result<Vec<&str>> {
    ensure!(
        line.len() <= MAX_WORDS,
        "more than {MAX_WORDS} bytes of words"
    );
    ensure!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "the words are not plain text"
    );
    Ok(line.split(' ').filter(|word| !word.is_empty()).collect())
}

/// What `firewall list` prints. What else its answer has is left alone.
#[derive(Deserialize)]
struct RuleSet {
    rules: Vec<Rule>,
}

fn read_rules(input: impl Read) -> anyhow::Result<Vec<Rule>> {
    let mut text = String::new();
    let read = input.take(MAX_INPUT).read_to_string(&mut text);
    read.context("cannot read the rules from standard input")?;
    ensure!(
        u64::try_from(text.len()).is_ok_and(|length| length < MAX_INPUT),
        "more than {MAX_INPUT} bytes of rules"
    );
    let set: RuleSet = serde_json::from_str(&text)
        .context("standard input is no rule set, which is what firewall list prints")?;
    Ok(set.rules)
}

fn change(
    paths: &Paths,
    change: impl FnOnce(&Domr<'_>, &mut State) -> anyhow::Result<bool>,
) -> anyhow::Result<(bool, Value)> {
    let domr = Domr::open(paths)?;
    let mut new = domr.state.clone();
    let changed = change(&domr, &mut new)?;
    if changed {
        domr.change(&new)?;
    }
    Ok((changed, Value::Null))
}

fn status(paths: &Paths) -> anyhow::Result<(bool, Value)> {
    let domr = Domr::open(paths)?;
    let (dnsmasq, sshd) = daemon::running(paths);
    let mut list = vec!["list", "table"];
    list.extend(rules::TABLE.split(' '));
    let (config, state) = (&domr.config, &domr.state);
    let running = json!({
        "dnsmasq": dnsmasq,
        "sshd": sshd,
        "rules": program::run("nft", &list).is_ok(),
    });
    Ok((
        false,
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "eth0": config.guests().to_string(),
            "eth1": config.private().to_string(),
            "eth2": config.public().to_string(),
            "gateway": config.gateway,
            "source": state.source(config),
            "addresses": state.addresses.len(),
            "rules": state.rules.len(),
            "leases": state.leases.len(),
            "running": running,
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn refusal(words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let paths = Paths::new(Path::new("/nonexistent"));
        format!("{:#}", carry_out(&paths, &words).expect_err("refused"))
    }

    #[test]
    fn words_are_divided_at_blanks_alone() {
        assert_eq!(
            divide("lease  del x ").expect("words"),
            ["lease", "del", "x"]
        );
        assert_eq!(
            divide("a 'b c' $(d);e").expect("words"),
            ["a", "'b", "c'", "$(d);e"]
        );
        assert_eq!(divide("").expect("words"), [] as [&str; 0]);
        for bad in ["a\nb", "a\tb", "a\0b", "ä", "\u{1b}[2J", &"x".repeat(5000)] {
            assert!(divide(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn wrong_words_are_refused_before_anything_is_touched() {
        for (words, says) in [
            (&["x"][..], "\"x\" is none of: lease add MAC IP NAME"),
            (&["lease"], "is none of"),
            (&["lease", "add", "x", "10.1.1.56", "a"], "Ethernet address"),
            (
                &["lease", "add", "02:00:00:05:00:56", "x", "a"],
                "not an IPv4 address",
            ),
            (
                &["lease", "add", "02:00:00:05:00:56", "10.1.1.56", "gateway"],
                "the routing domain",
            ),
            (
                &["lease", "add", "02:00:00:05:00:56", "10.1.1.56", "a", "b"],
                "is none of",
            ),
            (&["lease", "del", "02:00:00:05:00"], "Ethernet address"),
            (&["ip", "add", "65.37.141.40/0"], "length of a prefix"),
            (&["firewall", "add"], "proto is missing"),
            (&["firewall", "add", "x"], "not KEY=VALUE"),
            (&["firewall", "list", ";", "reboot"], "is none of"),
            (&["status", "--help"], "is none of"),
            (&["status"], "is not started"),
        ] {
            let error = refusal(words);
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }

    #[test]
    fn rule_sets() {
        let text = r#"{"changed":false,"rules":[{"proto":"tcp","public":"65.37.141.33","ports":"22","guest":"10.1.1.155"}]}"#;
        assert_eq!(read_rules(text.as_bytes()).expect("rules").len(), 1);
        assert!(
            read_rules(&br#"{"rules":[]}"#[..])
                .expect("none")
                .is_empty()
        );
        for bad in ["", "[]", "{}", r#"{"rules":[{"proto":"tcp"}]}"#] {
            assert!(read_rules(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read_rules(std::io::repeat(b' ')).is_err());
    }
}
