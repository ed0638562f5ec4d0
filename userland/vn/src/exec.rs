// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Programs of others: found in fixed directories, run by their arguments without a shell, within a time limit.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::failure::Refused;

/// Where programs are looked for; never in `$PATH`.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Longest time between two looks whether a program has ended.
const POLL: Duration = Duration::from_millis(20);

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    limit: Duration,
}

impl Program {
    /// Finds a program by name.
    pub(crate) fn find(name: &str, limit: Duration) -> anyhow::Result<Self> {
        let found = DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.is_file());
        match found {
            Some(path) => Ok(Self {
                path,
                arguments: Vec::new(),
                limit,
            }),
            None => {
                Err(Refused::new(format!("{name} is in none of {}", DIRECTORIES.join(", "))).into())
            }
        }
    }

    /// Adds arguments.
    pub(crate) fn arguments<T: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = T>,
    ) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it. What it says is told only if it fails.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {self}"))?;
        let words = child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                // What was read before an error is still worth telling.
                let _ = stderr.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).trim().replace('\n', "; ")
            })
        });
        let deadline = Instant::now() + self.limit;
        let status = loop {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("waiting for {self}"))?
            {
                break status;
            }
            if Instant::now() >= deadline {
                child.kill().with_context(|| format!("cannot end {self}"))?;
                child
                    .wait()
                    .with_context(|| format!("waiting for {self}"))?;
                return Err(Refused::new(format!(
                    "{self} did not end within {} s",
                    self.limit.as_secs()
                ))
                .into());
            }
            thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        let words = words
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        let reason = if words.is_empty() {
            format!("{self} failed ({status})")
        } else {
            format!("{self} failed ({status}): {words}")
        };
        Err(Refused::new(reason).into())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        for argument in &self.arguments {
            write!(f, " {}", argument.to_string_lossy())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, arguments: &[&str], limit: Duration) -> Result<(), String> {
        Program::find(name, limit)
            .and_then(|program| program.arguments(arguments).run())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn success_failure_and_time_limit() {
        let long = Duration::from_secs(20);
        assert_eq!(run("true", &[], long), Ok(()));
        let error = run("ls", &["/no such file"], long).expect_err("failure");
        assert!(
            error.contains("ls /no such file failed (exit status: 2)"),
            "{error}"
        );
        assert!(error.contains("No such file"), "{error}");
        let error = run("sleep", &["30"], Duration::from_millis(50)).expect_err("too slow");
        assert!(error.contains("sleep 30 did not end within"), "{error}");
        let error = run("no-such-program", &[], long).expect_err("nothing to run");
        assert!(
            error.starts_with("no-such-program is in none of /usr/sbin"),
            "{error}"
        );
    }
}
