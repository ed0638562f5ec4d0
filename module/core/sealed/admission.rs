// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Who is new proves that it is there now.
//!
//! A recording opens as well as the message did. What a host has seen it refuses by its [`super::Window`], but of a sender that it
//! does not know (it was restarted, or had to forget it) it has seen nothing. So it asks such a sender to seal a cookie, and
//! believes what comes after the answer. The cookie is made of a secret and the time: nothing is kept until the answer is there.

use super::derive::{Hmac, Key};
use crate::id::VnetId;
use crate::time::Instant;

/// Bytes of a cookie.
pub const COOKIE_LEN: usize = 16;

/// Milliseconds for which a cookie is good at least; twice that at most.
const TURN: u64 = 5_000;

/// Makes and checks cookies.
#[derive(Debug)]
pub struct Cookies {
    secret: Key,
}

impl Cookies {
    /// With a secret of one's own, random.
    pub const fn new(secret: Key) -> Self {
        Self { secret }
    }

    fn of_turn<H: Hmac>(&self, id: VnetId, sender: u64, turn: u64) -> [u8; COOKIE_LEN] {
        let code = H::hmac(
            self.secret.as_bytes(),
            &[id.as_bytes(), &sender.to_be_bytes(), &turn.to_be_bytes()],
        );
        let mut cookie = [0; COOKIE_LEN];
        for (to, from) in cookie.iter_mut().zip(code) {
            *to = from;
        }
        cookie
    }

    /// What this sender has to seal.
    pub fn make<H: Hmac>(&self, id: VnetId, sender: u64, now: Instant) -> [u8; COOKIE_LEN] {
        self.of_turn::<H>(id, sender, now.as_millis() / TURN)
    }

    /// Whether this is what the sender was asked for, not long ago.
    pub fn check<H: Hmac>(
        &self,
        id: VnetId,
        sender: u64,
        cookie: &[u8; COOKIE_LEN],
        now: Instant,
    ) -> bool {
        let turn = now.as_millis() / TURN;
        [Some(turn), turn.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|turn| same(&self.of_turn::<H>(id, sender, turn), cookie))
    }
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8; COOKIE_LEN], b: &[u8; COOKIE_LEN]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    core::hint::black_box(difference) == 0
}
