// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vnetd::fuzz::sealed(data));
