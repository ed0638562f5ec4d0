// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What `vn` says, as transcripts: `tests/cmd`. After a wanted change: TRYCMD=overwrite cargo test -p vn --test cli

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

fn vn() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vn"))
}

#[test]
fn transcripts() {
    let cases = trycmd::TestCases::new();
    cases.case("tests/cmd/*.trycmd");
    // A vnetd of this machine is none of the tests' business.
    cases.env("VNETD_SOCKET", "/nonexistent/control");
    if Path::new("/sys/module/vnet").is_dir() {
        eprintln!("SKIPPED: the module is loaded");
        cases.skip("tests/cmd/no-module.trycmd");
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let mut child = vn()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vn");
    // More comes than a pipe holds, or the write comes after this.
    drop(child.stdout.take());
    let mut words = String::new();
    let stderr = child.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut words).expect("text");
    assert!(child.wait().expect("an end").success(), "{words}");
    assert_eq!(words, "");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = vn().args(["completions", shell]).output().expect("vn");
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).expect("text");
        assert!(script.contains("may-exist"), "{shell}");
    }
}
