// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Programs of others: found in fixed directories, run by their arguments without a shell, within a time limit. A failure
//! names the program, its arguments, its own words and what to do next.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::failure::Refused;
use crate::interrupt;

/// Where programs are looked for; never in `$PATH`.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Time between two looks whether a program has ended: at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// How long a program that was killed may take to be gone, and what it printed to arrive. One that waits in the kernel
/// for a disk or server that is away is not gone then.
const GRACE: Duration = Duration::from_secs(5);

/// Debian's packages of programs whose package has another name.
const PACKAGES: [(&str, &str); 16] = [
    ("zfs", "zfsutils-linux"),
    ("exportfs", "nfs-kernel-server"),
    ("iscsiadm", "open-iscsi"),
    ("mount.nfs", "nfs-common"),
    ("qemu-img", "qemu-utils"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("udevadm", "udev"),
    ("xl", "xen-utils-common"),
    ("nft", "nftables"),
    ("tc", "iproute2"),
    ("ip", "iproute2"),
    ("arping", "iputils-arping"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    limit: Duration,
    hint: Option<String>,
    /// The file that is its standard input.
    input: Option<PathBuf>,
}

/// How a program ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its exit status; none if a signal ended it.
    pub(crate) status: Option<i32>,
    /// Its standard output.
    pub(crate) text: String,
    /// Its standard error, on one line.
    pub(crate) words: String,
}

impl Program {
    /// Finds a program by name.
    pub(crate) fn find(name: &str, limit: Duration) -> anyhow::Result<Self> {
        let found = DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.is_file());
        if let Some(path) = found {
            return Ok(Self {
                path,
                arguments: Vec::new(),
                limit,
                hint: None,
                input: None,
            });
        }
        let refused = Refused::new(format!("{name} is in none of {}", DIRECTORIES.join(", ")));
        let package = PACKAGES.iter().find(|(program, _)| *program == name);
        Err(match package {
            Some((_, package)) => refused.hint(format!("install it: apt install {package}")),
            None => refused,
        }
        .into())
    }

    /// Adds arguments.
    pub(crate) fn arguments<T: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = T>,
    ) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// What to do next if it fails.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Gives it a file as standard input, but not where it is started with `stream`.
    pub(crate) fn input(mut self, path: impl Into<PathBuf>) -> Self {
        self.input = Some(path.into());
        self
    }

    /// Becomes it: it has this program's terminal then. Returns only if that fails.
    pub(crate) fn replace(self) -> anyhow::Error {
        let error = Command::new(&self.path).args(&self.arguments).exec();
        anyhow::Error::from(error).context(format!("cannot run {self}"))
    }

    /// Runs it. What it says is told only if it fails.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.text().map(drop)
    }

    /// Runs it, and returns what it wrote to standard output.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let (status, output) = self.execute()?;
        if status.success() {
            return Ok(output.text);
        }
        Err(self.failure(status, &output.words))
    }

    /// Runs it, for callers to whom its exit status says more than yes or no.
    pub(crate) fn output(&self) -> anyhow::Result<Output> {
        Ok(self.execute()?.1)
    }

    /// Starts it with its standard output in a pipe, which `Stream` reads. The time limit does not hold then.
    pub(crate) fn stream(&self) -> anyhow::Result<Stream> {
        self.stream_with(Stdio::null())
    }

    /// The same, with its standard input from a file.
    pub(crate) fn stream_from(&self, input: File) -> anyhow::Result<Stream> {
        self.stream_with(input.into())
    }

    fn stream_with(&self, input: Stdio) -> anyhow::Result<Stream> {
        let mut child = self.spawn(input)?;
        let words = child.stderr.take().map(collect);
        Ok(Stream {
            program: self.clone(),
            child,
            words,
        })
    }

    /// The same program, started so that the kernel ends it if this process goes. For what runs long.
    pub(crate) fn bound(self) -> anyhow::Result<Self> {
        let Self {
            path,
            arguments,
            limit,
            hint,
            input,
        } = self;
        let mut bound = Self::find("setpriv", limit)?
            .arguments(["--pdeathsig", "KILL", "--"])
            .arguments([path])
            .arguments(arguments);
        bound.hint = hint;
        bound.input = input;
        Ok(bound)
    }

    fn spawn(&self, input: Stdio) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.path);
        interrupt::not_inherited(&mut command)
            .args(&self.arguments)
            // Its words are read by this program, too.
            .env("LC_ALL", "C")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it started can be ended with it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {self}"))
    }

    fn execute(&self) -> anyhow::Result<(ExitStatus, Output)> {
        let input = match &self.input {
            None => Stdio::null(),
            Some(path) => {
                let file = File::open(path);
                file.with_context(|| format!("cannot read {}", path.display()))?
                    .into()
            }
        };
        let mut child = self.spawn(input)?;
        let text = child.stdout.take().map(collect);
        let words = child.stderr.take().map(collect);
        let Some(status) = self.wait(&mut child, self.limit)? else {
            kill(&child);
            let gone = self.wait(&mut child, GRACE)?.is_some();
            let words = received(words);
            let mut reason = format!("{self} did not end within {} s", self.limit.as_secs());
            if !gone {
                reason.push_str(", and cannot be ended: it waits in the kernel");
            }
            if !words.trim().is_empty() {
                reason = format!("{reason}: {}", one_line(&words));
            }
            return Err(self.refused(reason).into());
        };
        let output = Output {
            status: status.code(),
            text: received(text),
            words: one_line(&received(words)),
        };
        Ok((status, output))
    }

    fn wait(&self, child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        let mut pause = POLL.0;
        loop {
            let ended = child
                .try_wait()
                .with_context(|| format!("waiting for {self}"))?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(POLL.1);
        }
    }

    fn refused(&self, reason: String) -> Refused {
        let refused = Refused::new(reason);
        match &self.hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }

    fn failure(&self, status: ExitStatus, words: &str) -> anyhow::Error {
        let how = match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => status.to_string(),
        };
        let reason = if words.is_empty() {
            format!("{self} failed ({how})")
        } else {
            format!("{self} failed ({how}): {words}")
        };
        self.refused(reason).into()
    }
}

/// A program that runs, and whose output is read as it comes.
pub(crate) struct Stream {
    program: Program,
    child: Child,
    words: Option<Receiver<Vec<u8>>>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.child.stdout {
            Some(pipe) => pipe.read(buffer),
            None => Ok(0),
        }
    }
}

impl Stream {
    /// After its output has ended: whether it succeeded.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.child.stdout = None;
        let program = self.program.clone();
        let Some(status) = program.wait(&mut self.child, program.limit)? else {
            let reason = format!("{program} closed its output and did not end");
            return Err(program.refused(reason).into());
        };
        let words = one_line(&received(self.words.take()));
        if status.success() {
            return Ok(());
        }
        Err(program.failure(status, &words))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            kill(&self.child);
            // It is gone soon, or waits in the kernel and nobody can help.
            let _ = self.program.wait(&mut self.child, GRACE);
        }
    }
}

/// Ends a program and what it started.
fn kill(child: &Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended just now.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Reads all of it, beside whatever else is done.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth telling.
        let _ = pipe.read_to_end(&mut bytes);
        // Nobody may want it any more.
        let _ = sender.send(bytes);
    });
    receiver
}

/// What was read. A daemon that a program left behind may keep the pipe open: that is waited for no longer than `GRACE`.
fn received(from: Option<Receiver<Vec<u8>>>) -> String {
    let bytes = from.and_then(|from| from.recv_timeout(GRACE).ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', "; ")
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
    use crate::failure::Report;

    const LONG: Duration = Duration::from_secs(20);

    fn program(name: &str, arguments: &[&str], limit: Duration) -> anyhow::Result<Program> {
        Ok(Program::find(name, limit)?.arguments(arguments))
    }

    fn run(name: &str, arguments: &[&str], limit: Duration) -> Result<(), String> {
        program(name, arguments, limit)
            .and_then(|program| program.run())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn success_failure_and_time_limit() {
        assert_eq!(run("true", &[], LONG), Ok(()));
        let error = run("ls", &["/no such file"], LONG).expect_err("failure");
        assert!(
            error.contains("ls /no such file failed (exit status: 2)"),
            "{error}"
        );
        assert!(error.contains("No such file"), "{error}");
        let error = run("sleep", &["30"], Duration::from_millis(50)).expect_err("too slow");
        assert!(error.contains("sleep 30 did not end within"), "{error}");
        let error = run("no-such-program", &[], LONG).expect_err("nothing to run");
        assert!(
            error.starts_with("no-such-program is in none of /usr/sbin"),
            "{error}"
        );
    }

    #[test]
    fn what_it_started_ends_with_it() {
        let start = Instant::now();
        let script = "echo half done >&2; sleep 30 & sleep 30";
        let error = run("sh", &["-c", script], Duration::from_millis(300)).expect_err("too slow");
        assert!(error.ends_with("within 0 s: half done"), "{error}");
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_daemon_left_behind_holds_nobody_up() {
        let start = Instant::now();
        let text = program("sh", &["-c", "echo said; sleep 25 & true"], LONG)
            .and_then(|program| program.output())
            .expect("output");
        assert_eq!(text.status, Some(0));
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn output_and_status() {
        let output = program("sh", &["-c", "echo out; echo err >&2; exit 3"], LONG)
            .and_then(|program| program.output())
            .expect("output");
        assert_eq!(output.status, Some(3));
        assert_eq!((&*output.text, &*output.words), ("out\n", "err"));
        let killed = run("sh", &["-c", "kill -9 $$"], LONG).expect_err("killed");
        assert!(killed.ends_with("failed (signal 9)"), "{killed}");
    }

    #[test]
    fn more_than_a_pipe_holds_on_both() {
        let script = "head -c 300000 /dev/zero | tr '\\0' e >&2; head -c 300000 /dev/zero";
        let output = program("sh", &["-c", script], LONG)
            .and_then(|program| program.output())
            .expect("output");
        assert_eq!((output.text.len(), output.words.len()), (300_000, 300_000));
    }

    #[test]
    fn the_next_step_is_told() {
        let error = program("false", &[], LONG)
            .and_then(|program| program.hint("try true").run())
            .expect_err("false");
        let report = Report(&error).to_string();
        assert!(report.ends_with("hint: try true\n"), "{report}");
        let error = Refused::from_missing("zfs-is-not-here");
        assert!(error.contains("in none of"), "{error}");
    }

    impl Refused {
        fn from_missing(name: &str) -> String {
            let error = Program::find(name, LONG).expect_err("missing");
            Report(&error).to_string()
        }
    }

    #[test]
    fn streams() {
        let mut stream = program("seq", &["3"], LONG)
            .and_then(|program| program.stream())
            .expect("a stream");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        assert_eq!(text, "1\n2\n3\n");
        stream.finish().expect("success");
        let mut stream = program("sh", &["-c", "echo x; echo bad >&2; exit 1"], LONG)
            .and_then(|program| program.stream())
            .expect("a stream");
        stream.read_to_string(&mut text).expect("text");
        let error = stream.finish().expect_err("failure").to_string();
        assert!(error.ends_with("failed (exit status: 1): bad"), "{error}");
        // One that is dropped goes.
        let stream = program("sleep", &["30"], LONG).and_then(|program| program.stream());
        let start = Instant::now();
        drop(stream);
        assert!(start.elapsed() < LONG);
    }
}
