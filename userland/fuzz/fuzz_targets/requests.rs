// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Needs root: what is asked is done, in a network namespace of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vnetd::fuzz::carried_out(data));
