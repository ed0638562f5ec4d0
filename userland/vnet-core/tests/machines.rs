// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The state machines against their models, with the functions that are fuzzed.

use proptest::prelude::*;

#[path = "../../fuzz/src/machines.rs"]
#[expect(unreachable_pub, reason = "public in its own crate")]
mod machines;
#[path = "../../fuzz/src/resolver.rs"]
#[expect(unreachable_pub, reason = "public in its own crate")]
mod resolver;

fn operations(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #[test]
    fn resolver_keeps_its_lists_and_its_limits(bytes in operations(600)) {
        resolver::run(&bytes);
    }

    /// With limits so low that they count: all of them are changed first.
    #[test]
    fn resolver_keeps_low_limits(
        values in any::<[u8; 9]>(), room in any::<u8>(), mut bytes in operations(400),
    ) {
        let settings = (0x99..).zip(values).flat_map(|(setting, value)| [setting, value]);
        bytes.splice(0..0, [room].into_iter().chain(settings));
        resolver::run(&bytes);
    }

    #[test]
    fn announcer_counts(bytes in operations(400)) {
        machines::announcer(&bytes);
    }

    #[test]
    fn recent_is_a_list(bytes in operations(400)) {
        machines::recent(&bytes);
    }

    #[test]
    fn moves_are_damped(bytes in operations(400)) {
        machines::moves(&bytes);
    }
}
