// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is made from the command line itself: completions and manual pages.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use super::Context;
use crate::cli::Cli;

/// The manual section of administration.
const SECTION: &str = "8";

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory
    directory: PathBuf,
}

pub(crate) fn completions(context: &mut Context, arguments: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "vn", &mut script);
    context.out.write_all(&script)?;
    Ok(context.out.flush()?)
}

pub(crate) fn man(arguments: &Man) -> anyhow::Result<()> {
    for (name, text) in pages() {
        let path = arguments.directory.join(Path::new(&name));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The manual pages: name of the file, text.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "vn", &mut pages);
    pages
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    let page = Page::new(command.clone()).section(SECTION).manual("vnet");
    let mut text = b".\\\" SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0\n\
        .\\\" Made by `vn man`; do not edit.\n"
        .to_vec();
    // PANIC: Memory takes whatever is written.
    page.render(&mut text).expect("writing into memory");
    pages.push((format!("{name}.{SECTION}"), text));
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        collect(verb, &format!("{name}-{}", verb.get_name()), pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn checked_in_pages_are_current() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
        let remedy = "run: vn man docs/man";
        let mut names = BTreeSet::new();
        for (name, text) in pages() {
            let found = std::fs::read(directory.join(&name)).unwrap_or_default();
            assert!(found == text, "docs/man/{name} is not current; {remedy}");
            names.insert(name);
        }
        let there = std::fs::read_dir(&directory).expect("docs/man");
        let there = there.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        });
        // Those of vnetd are its own.
        let ours = there.filter(|name| name == "vn.8" || name.starts_with("vn-"));
        assert_eq!(ours.collect::<BTreeSet<_>>(), names, "{remedy}");
    }
}
