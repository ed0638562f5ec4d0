// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The senders that a vnet believes: those that have proved that they are there now.
//!
//! Locks: that of the senders, then that of the openers of a key. A window's is taken with neither of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use vnet_core::sealed::{COOKIE_LEN, Cookies, WideWindow};
use vnet_core::{Bucket, Instant, VnetId};

use super::cipher::{HmacSha256, random_key};
use super::{Keys, Opener, Use};
use crate::shared::locked;

/// A sender.
pub(crate) struct Known {
    number: u64,
    /// None when it was forgotten. Wide, as workers are ahead of each other.
    window: Mutex<Option<Box<WideWindow>>>,
    /// When it was heard last.
    heard: AtomicU64,
}

/// What a window says of a message that has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is new.
    New,
    /// It was there already, or is too late to tell.
    Replayed,
    /// The sender was forgotten meanwhile.
    Forgotten,
}

impl Known {
    fn new(number: u64, counter: u64, now: Instant) -> Self {
        Self {
            number,
            window: Mutex::new(Some(Box::new(WideWindow::starting_after(counter)))),
            heard: AtomicU64::new(now.as_millis()),
        }
    }

    /// Takes note of a message that has opened.
    pub(crate) fn take(&self, counter: u64, now: Instant) -> Taken {
        let taken = locked(&self.window)
            .as_mut()
            .map(|window| window.take(counter));
        match taken {
            None => Taken::Forgotten,
            Some(Err(_)) => Taken::Replayed,
            Some(Ok(())) => {
                // Not to write to a line that others read, for nothing.
                if self.heard.load(Relaxed) != now.as_millis() {
                    self.heard.store(now.as_millis(), Relaxed);
                }
                Taken::New
            }
        }
    }
}

struct Senders {
    known: HashMap<u64, Arc<Known>>,
    cookies: Cookies,
    challenges: Bucket,
    answers: Bucket,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Its sender is believed from now on; so many others had to go.
    Admitted(usize),
    /// It was already.
    Known,
    /// It is not what was asked for, or not of late.
    Refused,
}

/// The senders of a vnet.
pub(crate) struct Believed(Mutex<Senders>);

impl Believed {
    /// Nobody. Fails if there are no random numbers.
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self(Mutex::new(Senders {
            known: HashMap::new(),
            cookies: Cookies::new(random_key()?),
            challenges: Bucket::new(),
            answers: Bucket::new(),
        })))
    }

    /// The sender with a number.
    pub(crate) fn find(&self, number: u64) -> Option<Arc<Known>> {
        locked(&self.0).known.get(&number).cloned()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        locked(&self.0).known.len()
    }

    /// The cookie that a sender is asked for; none if enough are asked.
    pub(crate) fn challenge(
        &self,
        id: VnetId,
        number: u64,
        now: Instant,
        rate: u32,
    ) -> Option<[u8; COOKIE_LEN]> {
        let mut senders = locked(&self.0);
        let allowed = senders.challenges.allow(now, rate);
        allowed.then(|| senders.cookies.make::<HmacSha256>(id, number, now))
    }

    /// Whether one more challenge is answered.
    pub(crate) fn may_answer(&self, now: Instant, rate: u32) -> bool {
        locked(&self.0).answers.allow(now, rate)
    }

    /// A sender has sealed what it says it was asked for, with this counter. At most so many are believed then: who was heard least
    /// recently makes room.
    pub(crate) fn answered(
        &self,
        keys: &Keys,
        id: VnetId,
        (number, counter): (u64, u64),
        cookie: &[u8; COOKIE_LEN],
        now: Instant,
        most: usize,
    ) -> Admission {
        let mut senders = locked(&self.0);
        // Who is known keeps its window.
        if senders.known.contains_key(&number) {
            return Admission::Known;
        }
        if !senders.cookies.check::<HmacSha256>(id, number, cookie, now) {
            return Admission::Refused;
        }
        let evicted = senders.shrink(keys, most.saturating_sub(1));
        let known = Arc::new(Known::new(number, counter, now));
        senders.known.insert(number, known);
        Admission::Admitted(evicted)
    }

    /// Keeps what opens the messages of a sender under a key, if both are still there.
    pub(crate) fn remember(&self, key: &Use, opener: Opener) {
        let senders = locked(&self.0);
        let number = opener.sender.number;
        let still = senders.known.get(&number);
        if still.is_some_and(|known| Arc::ptr_eq(known, &opener.sender)) {
            key.remember(number, opener);
        }
    }

    /// At most so many are believed from now on. How many had to go.
    pub(crate) fn limit(&self, keys: &Keys, most: usize) -> usize {
        locked(&self.0).shrink(keys, most)
    }
}

impl Senders {
    fn shrink(&mut self, keys: &Keys, most: usize) -> usize {
        let mut evicted = 0;
        while self.known.len() > most && self.evict(keys) {
            evicted += 1;
        }
        evicted
    }

    /// Forgets the sender that was heard least recently.
    fn evict(&mut self, keys: &Keys) -> bool {
        // What it answered must not admit it once more: its window is gone. So nobody goes without another secret.
        let Ok(secret) = random_key() else {
            return false;
        };
        let oldest = self
            .known
            .values()
            .min_by_key(|known| known.heard.load(Relaxed))
            .map(|known| known.number);
        let Some(known) = oldest.and_then(|number| self.known.remove(&number)) else {
            return false;
        };
        *locked(&known.window) = None;
        for key in &keys.uses {
            key.forget(known.number);
        }
        self.cookies = Cookies::new(secret);
        true
    }
}
