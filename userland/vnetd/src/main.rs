// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The program `vnetd`; what it does is in the library beside.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let options = vnetd::options::Options::parse();
    if options.version {
        let _ = writeln!(std::io::stdout(), "vnetd {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match vnetd::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "vnetd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
