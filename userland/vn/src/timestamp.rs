// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Points in time that people write: RFC 3339, or `@` and seconds since 1970.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

/// A point in time, since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(Duration);

/// Days from 1970-01-01 to a day that there is, of a year from 1970 on.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month.checked_sub(1)?).ok()?;
    if day == 0 || day > *lengths.get(before)? {
        return None;
    }
    let years: u64 = (1970..year)
        .map(|year| if leap(year) { 366 } else { 365 })
        .sum();
    Some(years + lengths.iter().take(before).sum::<u64>() + day - 1)
}

/// A number of exactly so many digits that `text` begins with; and what follows.
fn digits(text: &str, count: usize) -> Option<(u64, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((number.parse().ok()?, rest))
}

fn rfc3339(text: &str) -> Option<Duration> {
    let (year, rest) = digits(text, 4).filter(|(year, _)| *year >= 1970)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (hour, rest) = digits(rest.strip_prefix(['T', 't', ' '])?, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, mut rest) = digits(rest.strip_prefix(':')?, 2)?;
    // A second that is inserted is the next one's beginning.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = fraction.split_at_checked(length)?;
        let shown = number.get(..number.len().min(9))?;
        nanos = format!("{shown:0<9}").parse().ok().filter(|_| length > 0)?;
        rest = after;
    }
    let seconds = days(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = match rest {
        "Z" | "z" => seconds,
        zone => {
            let (sign, zone) = zone.split_at_checked(1)?;
            let (hours, zone) = digits(zone, 2)?;
            let (minutes, zone) = digits(zone.strip_prefix(':')?, 2)?;
            let offset = hours * 3600 + minutes * 60;
            match sign {
                _ if hours > 23 || minutes > 59 || !zone.is_empty() => return None,
                "+" => seconds.checked_sub(offset)?,
                "-" => seconds + offset,
                _ => return None,
            }
        }
    };
    Some(Duration::new(seconds, nanos))
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_prefix('@') {
            // As many as the kernel takes.
            Some(seconds) => {
                let seconds = seconds.parse().ok();
                let fits = seconds.filter(|seconds| *seconds <= u64::from(u32::MAX) * 2);
                fits.map(Duration::from_secs)
            }
            None => rfc3339(text),
        };
        parsed.map(Self).ok_or_else(|| {
            "a time is written like 2026-01-31T03:00:00Z, 2026-01-31T03:00:00+01:00 or @1769824800".to_owned()
        })
    }
}

impl Timestamp {
    /// Waits until then by the system's clock, also if that is set meanwhile; not at all if it has passed.
    pub(crate) fn wait(self) -> anyhow::Result<()> {
        let until = TimeSpec::from_duration(self.0);
        loop {
            match clock_nanosleep(
                ClockId::CLOCK_REALTIME,
                ClockNanosleepFlags::TIMER_ABSTIME,
                &until,
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<(u64, u32)> {
        let Timestamp(since) = text.parse().ok()?;
        Some((since.as_secs(), since.subsec_nanos()))
    }

    #[test]
    fn times_that_people_write() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", (0, 0)),
            ("1970-01-02t00:00:01.5z", (86_401, 500_000_000)),
            ("2000-02-29 12:00:00Z", (951_825_600, 0)),
            ("2026-01-31T03:00:00+01:00", (1_769_824_800, 0)),
            ("2026-01-30T21:30:00-04:30", (1_769_824_800, 0)),
            (
                "2026-01-31T02:00:00.1234567891Z",
                (1_769_824_800, 123_456_789),
            ),
            ("@1769824800", (1_769_824_800, 0)),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "@",
            "@-1",
            "@18446744073709551615",
            "tomorrow",
            "03:00",
            "2026-01-31",
            "2026-01-31T03:00:00",
            "2026-01-31T03:00:00.Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T03:60:00Z",
            "2026-01-31T03:00:00+0100",
            "2026-01-31T03:00:00+24:00",
            "2026-01-31T03:00:00Zz",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "+026-01-31T03:00:00Z",
            "2026-01-31T03:00:00\u{e9}",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn what_has_passed_is_not_waited_for() {
        "@0".parse::<Timestamp>()
            .expect("a time")
            .wait()
            .expect("now");
    }
}
