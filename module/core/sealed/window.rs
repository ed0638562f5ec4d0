// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Which messages of a sender were there (RFC 6479: a ring of bits that is cleared as it moves on).

/// How many messages back one may be late.
pub const WINDOW: u64 = 2048;

const WORD: u64 = u64::BITS as u64;
/// One word more than the window, so that moving on never clears what still counts.
const WORDS: usize = (WINDOW / WORD) as usize + 1;

/// The message was there already, or is too late to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It was there.
    Seen,
    /// Older than the window.
    Late,
}

/// The last messages of one sender. It is looked at after a message was opened, never before: who cannot seal cannot move it.
#[derive(Clone, Debug)]
pub struct Window {
    /// The largest counter that was there.
    last: u64,
    bits: [u64; WORDS],
}

impl Window {
    /// Everything up to this counter counts as seen.
    pub fn starting_after(counter: u64) -> Self {
        let mut window = Self {
            last: counter,
            bits: [u64::MAX; WORDS],
        };
        if let Some(word) = window.word(counter) {
            *word >>= (WORD - 1) - counter % WORD;
        }
        window
    }

    /// The largest counter so far.
    pub const fn last(&self) -> u64 {
        self.last
    }

    fn word(&mut self, counter: u64) -> Option<&mut u64> {
        let index = (counter / WORD) % (WORDS as u64);
        self.bits.get_mut(usize::try_from(index).ok()?)
    }

    /// Takes note of a message.
    #[inline]
    pub fn take(&mut self, counter: u64) -> Result<(), Replayed> {
        if counter > self.last {
            // Words that come into use again are empty.
            let fresh = (counter / WORD)
                .saturating_sub(self.last / WORD)
                .min(WORDS as u64);
            let first = (counter / WORD).saturating_sub(fresh);
            for word in 1..=fresh {
                if let Some(word) = self.word(first.saturating_add(word).saturating_mul(WORD)) {
                    *word = 0;
                }
            }
            self.last = counter;
        } else if self.last.saturating_sub(counter) >= WINDOW {
            return Err(Replayed::Late);
        }
        let bit = 1_u64 << (counter % WORD);
        match self.word(counter) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Ok(())
            }
            _ => Err(Replayed::Seen),
        }
    }
}
