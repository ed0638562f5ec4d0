// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Several steps, all or nothing: what was done is undone, last step first, unless all of it succeeded.

use anyhow::anyhow;

use crate::interrupt::Held;

type Back = Box<dyn FnOnce() -> anyhow::Result<()>>;

/// The steps that were done.
pub(crate) struct Undo {
    steps: Vec<(String, Back)>,
    held: Held,
}

impl Undo {
    /// Remembers how to take a step back, before it is done; `what` says what that does. Fails if a signal wants the end.
    pub(crate) fn push(
        &mut self,
        what: impl Into<String>,
        back: impl FnOnce() -> anyhow::Result<()> + 'static,
    ) -> anyhow::Result<()> {
        self.check()?;
        self.steps.push((what.into(), Box::new(back)));
        Ok(())
    }

    /// Fails if a signal wants the end: for steps that take long, and for the last one.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.held.check()
    }

    /// Takes all steps back. What could not be taken back is added to the error.
    pub(crate) fn back(self, error: anyhow::Error) -> anyhow::Error {
        let mut left = Vec::new();
        for (what, back) in self.steps.into_iter().rev() {
            if let Err(error) = back() {
                left.push(format!("cannot {what}: {error:#}"));
            }
        }
        if left.is_empty() {
            return error;
        }
        let mut errors = vec![error];
        errors.extend(left.into_iter().map(|text| anyhow!(text)));
        crate::failure::Several(errors).into()
    }
}

/// Runs the steps; what they have done is undone if they fail.
pub(crate) fn all_or_nothing<T>(
    steps: impl FnOnce(&mut Undo) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut undo = Undo {
        steps: Vec::new(),
        held: Held::new()?,
    };
    match steps(&mut undo) {
        Ok(value) => Ok(value),
        Err(error) => Err(undo.back(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Report;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn last_first_and_only_on_failure() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let steps = |fail: bool| {
            all_or_nothing(|undo| {
                for name in ["one", "two"] {
                    let log = Rc::clone(&log);
                    undo.push(name, move || {
                        log.borrow_mut().push(name);
                        Ok(())
                    })?;
                }
                if fail {
                    Err(anyhow!("three failed"))
                } else {
                    Ok(3)
                }
            })
        };
        assert_eq!(steps(false).expect("success"), 3);
        assert!(log.borrow().is_empty());
        assert_eq!(
            steps(true).expect_err("failure").to_string(),
            "three failed"
        );
        assert_eq!(*log.borrow(), ["two", "one"]);
    }

    #[test]
    fn what_is_left_is_told_and_the_rest_is_undone() {
        let log = Rc::new(RefCell::new(0));
        let count = Rc::clone(&log);
        let failed: anyhow::Result<()> = all_or_nothing(|undo| {
            undo.push("remove a", move || {
                *count.borrow_mut() += 1;
                Ok(())
            })?;
            undo.push("remove b", || Err(anyhow!("busy")))?;
            Err(anyhow!("no"))
        });
        let report = Report(&failed.expect_err("failure")).to_string();
        assert_eq!(report, "vn: no\nvn: cannot remove b: busy\n");
        assert_eq!(*log.borrow(), 1);
    }
}
