// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Rates, settings, points in time.

use proptest::prelude::*;
use vnet_core::settings::{Setting, Settings, Unknown};
use vnet_core::{Bucket, Instant};

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// How many of `tries` are allowed at one time.
fn allowed(bucket: &mut Bucket, now: u64, rate: u32, tries: u32) -> u32 {
    (0..tries)
        .map(|_| u32::from(bucket.allow(at(now), rate)))
        .sum()
}

#[test]
fn a_second_of_events_may_come_at_once_and_then_the_rate() {
    for rate in [1, 3, 7, 100, 999, 7_001] {
        let mut bucket = Bucket::new();
        assert_eq!(allowed(&mut bucket, 0, rate, rate + 5), rate);
        assert!(!bucket.allow(at(0), rate));
        assert_eq!(allowed(&mut bucket, 1_000, rate, rate + 5), rate);
        assert_eq!(allowed(&mut bucket, 1_500, rate, rate + 5), rate / 2);
        // A long rest is worth no more than a second.
        assert_eq!(allowed(&mut bucket, 1_000_000, rate, 2 * rate + 5), rate);
    }
}

#[test]
fn no_rate_is_no_limit() {
    let mut bucket = Bucket::new();
    assert_eq!(allowed(&mut bucket, 0, 0, 10_000), 10_000);
    assert!(
        bucket.allow(at(0), 1),
        "what was not limited is not counted"
    );
}

#[test]
fn a_lower_rate_counts_at_once_and_does_not_pay_for_a_higher_one() {
    let mut bucket = Bucket::new();
    assert_eq!(allowed(&mut bucket, 0, 100_000, 100_000), 100_000);
    assert_eq!(allowed(&mut bucket, 0, 2, 10), 0);
    assert_eq!(allowed(&mut bucket, 1_000, 2, 10), 2);
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let mut bucket = Bucket::new();
    assert_eq!(allowed(&mut bucket, 5_000, 10, 20), 10);
    assert_eq!(allowed(&mut bucket, 0, 10, 20), 0);
    assert_eq!(allowed(&mut bucket, 5_000, 10, 20), 0);
    assert_eq!(allowed(&mut bucket, 6_000, 10, 20), 10);
}

proptest! {
    /// In any `t` seconds at most `rate × (t + 1)` events, and at least `rate × t` if so many are wanted.
    #[test]
    fn a_bucket_keeps_its_promise(
        rate in prop_oneof![1..20_u32, 1..2_000_u32],
        steps in prop::collection::vec((prop_oneof![0..5_u64, 0..3_000_u64], 0..200_u32), 1..200),
    ) {
        let mut bucket = Bucket::new();
        let mut now = 0;
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (wait, tries) in steps {
            now += wait;
            passed.push((now, allowed(&mut bucket, now, rate, tries).into()));
        }
        for (first, &(start, _)) in passed.iter().enumerate() {
            let mut events = 0;
            for &(end, count) in &passed[first..] {
                events += count;
                prop_assert!(events * 1_000 <= u64::from(rate) * (end - start + 1_000));
            }
        }
    }

    #[test]
    fn whoever_always_wants_gets_the_whole_rate(rate in 2..500_u32, step in 1..=500_u64) {
        let mut bucket = Bucket::new();
        let mut events = 0_u64;
        let mut now = 0;
        while now < 20_000 {
            events += u64::from(allowed(&mut bucket, now, rate, rate + 1));
            now += step;
        }
        // What the last step would still have brought may be missing.
        prop_assert!((events + 1) * 1_000 >= u64::from(rate) * (now - step + 1_000));
    }

    #[test]
    fn a_bucket_takes_any_time_and_rate(steps in prop::collection::vec((any::<u64>(), any::<u32>()), 0..50)) {
        let mut bucket = Bucket::new();
        for (now, rate) in steps {
            let _ = bucket.allow(at(now), rate);
        }
    }

    #[test]
    fn settings_take_what_is_in_range_and_nothing_else(
        which in prop::sample::select(Setting::ALL), value in any::<u32>(), near in -2..3_i64, upper in any::<bool>(),
    ) {
        let (min, max) = which.range();
        let edge = i64::from(if upper { max } else { min }) + near;
        for value in [value, u32::try_from(edge).unwrap_or(0)] {
            let mut settings = Settings::default();
            let good = (min..=max).contains(&value);
            prop_assert_eq!(settings.set(which, value), good);
            prop_assert_eq!(settings.get(which), if good { value } else { which.default() });
            for other in Setting::ALL.iter().filter(|other| **other != which) {
                prop_assert_eq!(settings.get(*other), other.default());
            }
        }
    }

    #[test]
    fn times_do_not_overflow(a in any::<u64>(), b in any::<u64>()) {
        let (first, second) = (at(a), at(b));
        prop_assert_eq!(first.since(second), a.saturating_sub(b));
        prop_assert_eq!(u64::from(first.until(second)), b.saturating_sub(a).min(u32::MAX.into()));
        prop_assert_eq!(first.plus(b).as_millis(), a.saturating_add(b));
    }
}

#[test]
fn defaults_are_in_range_and_names_and_numbers_differ() {
    assert_eq!(Setting::ALL.len(), Setting::COUNT);
    for (index, setting) in Setting::ALL.iter().enumerate() {
        let (min, max) = setting.range();
        assert!((min..=max).contains(&setting.default()), "{setting:?}");
        assert_eq!(Settings::default().get(*setting), setting.default());
        for other in &Setting::ALL[..index] {
            assert_ne!(setting.name(), other.name());
            assert_ne!(setting.attr(), other.attr());
        }
    }
}

#[test]
fn choices_are_their_numbers() {
    let mut settings = Settings::default();
    assert_eq!(settings.unknown(), Unknown::Hold);
    assert!(!settings.listed_only() && !settings.flow_port());
    for (value, unknown) in [(0, Unknown::Hold), (1, Unknown::Flood), (2, Unknown::Drop)] {
        assert!(settings.set(Setting::Unknown, value));
        assert_eq!(settings.unknown(), unknown);
    }
    assert!(!settings.set(Setting::Unknown, 3));
    assert_eq!(settings.unknown(), Unknown::Drop);
    assert!(settings.set(Setting::Remotes, 1) && settings.set(Setting::SourcePort, 1));
    assert!(settings.listed_only() && settings.flow_port());
}
