// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn`: configures virtual networks.
//!
//! Data goes to standard output, words to standard error. Exit status: 0 done, 1 usage, 2 refused by the kernel or the
//! world, 4 a fault was found by `vn check`. A closed pipe is no failure.

mod check;
mod cleanup;
mod cli;
mod commands;
mod config;
mod exec;
mod failure;
mod files;
mod interrupt;
mod keyfile;
mod lock;
mod oldnames;
mod output;
mod plan;
mod probe;
mod records;
mod state;
mod storage;
#[cfg(test)]
mod test_directory;
mod timestamp;
mod undo;
mod until;
mod world;
mod xen;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::Cli;

/// Exit status: the command line is wrong.
const USAGE: u8 = 1;
/// Exit status: the kernel or the world refused.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let result = match oldnames::parse(std::env::args_os()) {
        Some(script) => script.map(oldnames::run),
        None => Cli::try_parse().map(commands::run),
    };
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            // Where the text cannot be written, there is nobody to tell.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if failure::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(failure::Quiet(status)) = error.downcast_ref() {
                return ExitCode::from(*status);
            }
            let _ = write!(std::io::stderr().lock(), "{}", failure::Report(&error));
            ExitCode::from(REFUSED)
        }
    }
}
