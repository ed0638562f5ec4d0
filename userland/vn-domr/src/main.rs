// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn-domr`: runs in a routing domain. docs/xen.md says what that is and how the parts belong together.
//!
//! In the image it is the first process (`/init`), root's login shell (so that there is no other), and what the kernel starts to
//! power off or reboot.

mod boot;
mod change;
mod cmdline;
mod ctl;
mod daemon;
mod disk;
mod init;
mod interfaces;
mod modules;
mod paths;
mod program;
mod rule;
mod rules;
mod state;
mod words;

use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::execv;

use paths::Paths;

/// The routing domain of a vnet: gateway, DHCP and DNS server, firewall and source NAT.
#[derive(Debug, Parser)]
#[command(name = "vn-domr", version, disable_help_subcommand = true)]
struct Cli {
    /// The directory below which etc/vn-domr, run/vn-domr and var/lib/vn-domr are
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Do what the kernel's command line says, start dnsmasq and sshd, and look after them until SIGTERM
    Run {
        /// A file with other words than those of the kernel
        #[arg(long, value_name = "FILE", default_value = "/proc/cmdline")]
        cmdline: PathBuf,
    },
    /// Carry out words, or those in $SSH_ORIGINAL_COMMAND; the answer is one line of JSON
    ///
    /// lease add MAC IP NAME, lease del MAC, lease list; ip add ADDR[/LEN], ip del ADDR, ip list;
    /// firewall add|del proto=tcp|udp public=ADDR ports=A[-B] guest=ADDR [to=C[-D]],
    /// firewall add|del proto=icmp public=ADDR guest=ADDR icmp-type=TYPE, firewall list,
    /// firewall apply (standard input: what list has printed); status
    Ctl {
        /// The words
        words: Vec<String>,
    },
    /// Become another program, with signals as usual, which ends when the process that started it does
    #[command(hide = true)]
    Become {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_owned();
    match name.to_str() {
        // What the kernel appends to its arguments are words that it does not know.
        Some("init") => return init::run(),
        Some("poweroff") => return told(init::ask(Signal::SIGTERM)),
        Some("reboot") => return told(init::ask(Signal::SIGINT)),
        _ => {}
    }
    // As a login shell it is given the forced command, which is always this.
    if arguments.next().is_some_and(|first| first == "-c") {
        return ctl::run(&Paths::new(Path::new("/")), &[]);
    }
    let cli = Cli::parse();
    let paths = Paths::new(&cli.root);
    match cli.verb {
        Verb::Run { cmdline } => told(run(&paths, &cmdline)),
        Verb::Ctl { words } => ctl::run(&paths, &words),
        Verb::Become { program } => told(become_program(&program)),
    }
}

fn told(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says something to whoever looks at the console.
fn say(text: impl std::fmt::Display) {
    // Where it cannot be written, there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "vn-domr: {text}");
}

fn run(paths: &Paths, file: &Path) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    init::supervise(paths, &text).map(drop)
}

fn become_program(program: &[OsString]) -> anyhow::Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie it to its parent")?;
    let mut words = Vec::new();
    for word in program {
        words.push(CString::new(word.as_bytes()).context("a word with a zero byte")?);
    }
    let path = words.first().context("no program")?;
    SigSet::empty()
        .thread_set_mask()
        .context("cannot take signals")?;
    execv(path, &words).with_context(|| format!("cannot run {}", path.to_string_lossy()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
