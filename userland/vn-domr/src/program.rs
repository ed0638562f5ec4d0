// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Programs of others: found in fixed directories, run by their arguments without a shell, within a time limit.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Where programs are looked for.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks whether one has ended.
const POLL: Duration = Duration::from_millis(2);

/// A program that did not end in time: nobody knows what it has done.
#[derive(Debug)]
pub(crate) struct Endless(String);

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not end within {} s", self.0, LIMIT.as_secs())
    }
}

impl std::error::Error for Endless {}

/// Where a program is.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let found = DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("{name} is in none of {}", DIRECTORIES.join(", ")))
}

/// Runs a program and returns what it writes to standard output. The error has its words.
pub(crate) fn run<T: AsRef<OsStr>>(name: &str, arguments: &[T]) -> anyhow::Result<String> {
    let call = Call(name, arguments);
    let mut child = Command::new(find(name)?)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {call}"))?;
    let text = child.stdout.take().map(collect);
    let words = child.stderr.take().map(collect);
    let status = wait(&mut child, &call)?;
    let read = |from: Option<thread::JoinHandle<String>>| {
        from.and_then(|from| from.join().ok()).unwrap_or_default()
    };
    let (text, words) = (read(text), read(words));
    if status.success() {
        return Ok(text);
    }
    let words = words.trim().replace('\n', "; ");
    if words.is_empty() {
        bail!("{call} failed ({status})");
    }
    bail!("{call} failed: {words}")
}

fn wait(child: &mut Child, call: &dyn fmt::Display) -> anyhow::Result<std::process::ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("waiting for {call}"))?
        {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // Neither fails for a child that nobody has waited for.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Endless(call.to_string()).into());
        }
        thread::sleep(POLL);
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth telling.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Starts a program that nobody waits for.
pub(crate) fn detach(name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    Command::new(find(name)?)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    Ok(())
}

/// Starts a program that is to run for long: it takes signals as usual, says what it has to say where we do, and ends with us.
pub(crate) fn start(name: &str, arguments: &[OsString]) -> anyhow::Result<Child> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    Command::new(own)
        .args([
            OsStr::new("become"),
            OsStr::new("--"),
            find(name)?.as_os_str(),
        ])
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

struct Call<'a, T>(&'a str, &'a [T]);

impl<T: AsRef<OsStr>> fmt::Display for Call<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        for argument in self.1 {
            write!(f, " {}", argument.as_ref().to_string_lossy())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        assert_eq!(run("echo", &["a", "b"]).expect("echo"), "a b\n");
        let error = run("sh", &["-c", "echo first >&2; echo second >&2; exit 3"]).expect_err("sh");
        assert!(
            error.to_string().ends_with("failed: first; second"),
            "{error}"
        );
        let error = run("false", &[] as &[&str]).expect_err("false").to_string();
        assert_eq!(error, "false failed (exit status: 1)");
        let error = run("no-such-program", &[] as &[&str])
            .expect_err("missing")
            .to_string();
        assert!(
            error.starts_with("no-such-program is in none of"),
            "{error}"
        );
    }
}
