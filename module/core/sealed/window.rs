// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Which messages of a sender were there (RFC 6479: a ring of bits that is cleared as it moves on).

/// How many messages back one may be late.
pub const WINDOW: u64 = Window::SIZE;
/// The same with a [`WideWindow`].
pub const WIDE_WINDOW: u64 = WideWindow::SIZE;

const WORD: u64 = u64::BITS as u64;

/// The message was there already, or is too late to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It was there.
    Seen,
    /// Older than the window.
    Late,
}

/// The last messages of one sender. It is looked at after a message was opened, never before: who cannot seal cannot move it.
///
/// It has one word more than it reaches back, so that moving on never clears what still counts.
#[derive(Clone, Debug)]
pub struct WindowOf<const WORDS: usize> {
    /// The largest counter that was there.
    last: u64,
    bits: [u64; WORDS],
}

/// A window of 2,048 messages.
pub type Window = WindowOf<33>;
/// A window of 32,768 messages: for who takes messages of one sender out of several queues by threads that may have to wait for a processor.
pub type WideWindow = WindowOf<513>;

impl<const WORDS: usize> WindowOf<WORDS> {
    // CAST: a number of words.
    const SIZE: u64 = (WORDS as u64 - 1) * WORD;

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
        } else if self.last.saturating_sub(counter) >= Self::SIZE {
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
