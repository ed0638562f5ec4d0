// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn ping`: asks hosts for a MAC address, or a host whether it has a vnet.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Serialize, Serializer};
use vnet_core::abi;
use vnet_core::{Mac, VnetId};
use vnet_netlink::{Answer, Probe};

use super::Context;
use crate::failure::{Attempt, Quiet, Refused};
use crate::output;
use crate::probe::{Asker, PRESENCE, Wire};

/// How long is waited for an answer to the last question at least.
const LAST: Duration = Duration::from_secs(1);
/// Exit status: nobody answered.
const SILENCE: u8 = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A MAC address: who has it?
    Mac(Mac),
    /// A host: does it have the vnet?
    Host(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Host(addr) => addr.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse() {
            return Ok(Self::Host(addr));
        }
        match text.parse::<Mac>() {
            Ok(mac) if mac.is_valid_source() => Ok(Self::Mac(mac)),
            Ok(_) => Err("no guest has this address".to_owned()),
            Err(_) => Err("neither a MAC address nor the IP address of a host".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if there was an answer, 4 if there was none, 1 and 2 as elsewhere."
)]
pub(crate) struct PingArgs {
    /// The vnet
    id: VnetId,
    /// A MAC address, or the IP address of a host
    #[arg(value_name = "MAC|HOST")]
    target: Target,
    /// How often is asked
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Time between two questions
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Bytes of the UDP payload; a larger packet than the path carries is lost. Of a host only
    #[arg(short = 'S', long, value_name = "BYTES", value_parser = size())]
    size: Option<u32>,
}

fn size() -> impl clap::builder::TypedValueParser<Value = u32> {
    let (least, most) = abi::PROBE_SIZE_RANGE;
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(most))
}

/// Seconds, with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let range = 0.01..=3600.0;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if range.contains(&number) => Ok(duration),
        _ => Err("not within 0.01 and 3600".to_owned()),
    }
}

/// A line of the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
enum Line {
    Answer {
        #[serde(serialize_with = "shown")]
        net: VnetId,
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_some")]
        mac: Option<Mac>,
        addr: IpAddr,
        /// If it is another than that which answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        care_of: Option<IpAddr>,
        seq: u32,
        time_us: u64,
    },
    Silence {
        #[serde(serialize_with = "shown")]
        net: VnetId,
        seq: u32,
    },
    Statistics(Statistics),
}

fn shown<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde passes the field")]
fn shown_some<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// What all questions came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Statistics {
    asked: u32,
    /// Questions to which there was an answer.
    answered: u32,
    /// Answers beside the first to a question.
    more: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avg_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_us: Option<u64>,
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer {
                mac,
                addr,
                care_of,
                seq,
                time_us,
                ..
            } => {
                match mac {
                    Some(mac) => write!(f, "{addr} has {mac}")?,
                    None => write!(f, "{addr} has the vnet")?,
                }
                if let Some(care_of) = care_of {
                    write!(f, " (it says: {care_of})")?;
                }
                write!(f, ": seq={seq} time={} ms", millis(*time_us))
            }
            Self::Silence { seq, .. } => write!(f, "no answer: seq={seq}"),
            Self::Statistics(all) => {
                let lost = all.asked.saturating_sub(all.answered);
                let lost = u64::from(lost) * 100 / u64::from(all.asked.max(1));
                write!(f, "{} asked, {} answered", all.asked, all.answered)?;
                if all.more > 0 {
                    write!(f, ", +{} more answers", all.more)?;
                }
                write!(f, ", {lost}% without an answer")?;
                if let (Some(min), Some(avg), Some(max)) = (all.min_us, all.avg_us, all.max_us) {
                    let (min, avg, max) = (millis(min), millis(avg), millis(max));
                    write!(f, "\ntime min/avg/max = {min}/{avg}/{max} ms")?;
                }
                Ok(())
            }
        }
    }
}

/// The address that answered, if this is an answer to what was asked for.
fn answered(arguments: &PingArgs, answer: &Answer) -> Option<IpAddr> {
    let addr = answer.addr?;
    let fits = answer.net == arguments.id
        && match arguments.target {
            Target::Mac(mac) => answer.mac == mac,
            Target::Host(host) => answer.mac == PRESENCE && addr == host,
        };
    fits.then_some(addr)
}

/// Asks, and tells each answer. An answer belongs to the last question before it.
fn ping(
    asker: &mut dyn Asker,
    arguments: &PingArgs,
    mut tell: impl FnMut(&Line) -> anyhow::Result<()>,
) -> anyhow::Result<Statistics> {
    let net = arguments.id;
    let (mac, addr) = match arguments.target {
        Target::Mac(mac) => (mac, None),
        Target::Host(addr) => (PRESENCE, Some(addr)),
    };
    let probe = Probe {
        addr,
        size: arguments.size,
        ..Probe::new(net, mac)
    };
    let mut all = Statistics::default();
    let mut sum = 0;
    for seq in 1..=arguments.count {
        let is_last = seq == arguments.count;
        let asked = Instant::now();
        asker.ask(&probe).map_err(|error| {
            let what = format!("ask for {} in vnet {net}", arguments.target);
            anyhow::Error::from(error).context(Attempt::new(what))
        })?;
        all.asked = seq;
        let wait = if is_last {
            arguments.interval.max(LAST)
        } else {
            arguments.interval
        };
        let mut first = true;
        while first || !is_last {
            let Some(answer) = asker.answer(asked + wait)? else {
                break;
            };
            let Some(addr) = answered(arguments, &answer) else {
                continue;
            };
            let time = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            tell(&Line::Answer {
                net,
                mac: Some(mac).filter(|mac| *mac != PRESENCE),
                addr,
                care_of: answer.care_of.filter(|care_of| *care_of != addr),
                seq,
                time_us: time,
            })?;
            if first {
                all.answered += 1;
                all.min_us = Some(all.min_us.map_or(time, |min| min.min(time)));
                all.max_us = Some(all.max_us.map_or(time, |max| max.max(time)));
                sum += time;
            } else {
                all.more += 1;
            }
            first = false;
        }
        if first {
            tell(&Line::Silence { net, seq })?;
        }
    }
    all.avg_us = sum.checked_div(u64::from(all.answered));
    Ok(all)
}

pub(crate) fn run(context: &mut Context, arguments: &PingArgs) -> anyhow::Result<()> {
    let net = arguments.id;
    let mut client = context.client()?;
    if let Target::Mac(mac) = arguments.target {
        if arguments.size.is_some() {
            return Err(Refused::new("a size can be given for a host only")
                .hint("ask the host that has the address: vn varp list shows it")
                .into());
        }
        // Nobody else would answer, nor do we ask ourselves.
        let vifs = client.vifs(net).map_err(|error| {
            anyhow::Error::from(error).context(Attempt::new(format!("ask in vnet {net}")))
        })?;
        if vifs.iter().any(|vif| vif.mac == mac) {
            return Err(Refused::new(format!("{mac} of vnet {net} is on this host"))
                .hint(format!(
                    "vn vif list {net} shows the addresses that are here"
                ))
                .into());
        }
    }
    if context.options.dry_run {
        return context.line(format!("ask for {} in vnet {net}", arguments.target));
    }
    let mut wire = Wire::open(&context.endpoint)?;
    let json = context.json();
    if !json {
        context.line(format_args!("ping {} in vnet {net}", arguments.target))?;
    }
    let mut tell = |line: &Line| -> anyhow::Result<()> {
        if json {
            output::json(&mut context.out, line, false)?;
            return Ok(context.out.flush()?);
        }
        context.line(line)
    };
    let all = ping(&mut wire, arguments, &mut tell)?;
    let answered = all.answered;
    if !json {
        let title = format!("--- {} in vnet {net} ---", arguments.target);
        context.line(title)?;
    }
    let line = Line::Statistics(all);
    if json {
        output::json(&mut context.out, &line, false)?;
        context.out.flush()?;
    } else {
        context.line(&line)?;
    }
    if answered == 0 {
        return Err(Quiet(SILENCE).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{Fake, addr, id};

    fn arguments(target: &str, count: u32) -> PingArgs {
        PingArgs {
            id: id("5"),
            target: target.parse().expect("a target"),
            count,
            interval: Duration::from_secs(60),
            size: None,
        }
    }

    fn lines(fake: &mut Fake, arguments: &PingArgs) -> (Vec<String>, Statistics) {
        let mut lines = Vec::new();
        let all = ping(fake, arguments, |line| {
            let text = line.to_string();
            let (text, _) = text.split_once(" time=").unwrap_or((text.as_str(), ""));
            lines.push(text.to_owned());
            Ok(())
        });
        (lines, all.expect("done"))
    }

    #[test]
    fn a_mac_that_somebody_has() {
        let mut fake = Fake::default();
        let mac = "02:00:00:00:00:01".parse().expect("a MAC");
        fake.macs.insert((id("5"), mac), addr("192.0.2.2"));
        fake.lost = 1;
        let (lines, all) = lines(&mut fake, &arguments("02:00:00:00:00:01", 3));
        assert_eq!(
            lines,
            [
                "no answer: seq=1",
                "192.0.2.2 has 02:00:00:00:00:01: seq=2",
                "192.0.2.2 has 02:00:00:00:00:01: seq=3",
            ]
        );
        assert_eq!((all.asked, all.answered, all.more), (3, 2, 0));
        assert!(all.min_us <= all.avg_us && all.avg_us <= all.max_us && all.max_us.is_some());
        assert!(fake.asked.iter().all(|probe| probe.addr.is_none()));
    }

    #[test]
    fn a_host_with_the_vnet_and_one_without() {
        let mut fake = Fake::default();
        fake.hosts
            .insert((id("5"), addr("192.0.2.2")), (1000, true));
        fake.hosts
            .insert((id("6"), addr("192.0.2.3")), (1000, true));
        let (found, all) = lines(&mut fake, &arguments("192.0.2.2", 1));
        assert_eq!(found, ["192.0.2.2 has the vnet: seq=1"]);
        assert_eq!(all.answered, 1);
        let (found, all) = lines(&mut fake, &arguments("192.0.2.3", 1));
        assert_eq!(found, ["no answer: seq=1"]);
        assert_eq!((all.answered, all.avg_us), (0, None));
        let mut large = arguments("192.0.2.2", 1);
        large.size = Some(1001);
        assert_eq!(lines(&mut fake, &large).1.answered, 0);
    }

    #[test]
    fn statistics() {
        let mut all = Statistics {
            asked: 3,
            answered: 2,
            more: 1,
            min_us: Some(312),
            avg_us: Some(1400),
            max_us: Some(2488),
        };
        assert_eq!(
            Line::Statistics(all.clone()).to_string(),
            "3 asked, 2 answered, +1 more answers, 33% without an answer\n\
             time min/avg/max = 0.312/1.400/2.488 ms"
        );
        let line = Line::Statistics(all.clone());
        assert_eq!(
            serde_json::to_string(&line).expect("JSON"),
            r#"{"event":"statistics","asked":3,"answered":2,"more":1,"min-us":312,"avg-us":1400,"max-us":2488}"#
        );
        all = Statistics {
            asked: 1,
            ..Statistics::default()
        };
        let text = Line::Statistics(all).to_string();
        assert_eq!(text, "1 asked, 0 answered, 100% without an answer");
        let answer = Line::Answer {
            net: id("5"),
            mac: None,
            addr: addr("192.0.2.2"),
            care_of: None,
            seq: 1,
            time_us: 7,
        };
        assert_eq!(
            serde_json::to_string(&answer).expect("JSON"),
            r#"{"event":"answer","net":"0005","addr":"192.0.2.2","seq":1,"time-us":7}"#
        );
    }

    #[test]
    fn targets_and_intervals() {
        assert!(matches!("192.0.2.2".parse(), Ok(Target::Host(_))));
        assert!(matches!("2001:db8::2".parse(), Ok(Target::Host(_))));
        assert!(matches!("02:00:00:00:00:01".parse(), Ok(Target::Mac(_))));
        for text in ["", "host", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["0", "-1", "x", "1e9", "nan", "inf"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
