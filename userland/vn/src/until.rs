// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Waiting for what the kernel, Xen or another program does in its own time.

use std::thread;
use std::time::{Duration, Instant};

/// Asks again and again, until it is so or the time is over. For what nobody is told of when it happens.
pub(crate) fn until(
    limit: Duration,
    mut so: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    const PAUSE: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + limit;
    loop {
        if so()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
}
