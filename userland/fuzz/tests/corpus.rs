// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The targets run over the corpus, each file also truncated everywhere and with each byte changed.

use std::path::Path;

fn run(name: &str, target: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        files += 1;
        target(&bytes);
        for length in 0..bytes.len().min(512) {
            target(&bytes[..length]);
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[length] ^= change;
                target(&changed);
            }
        }
    }
    assert!(files > 0, "{} is empty", directory.display());
}

#[test]
fn wire() {
    run("wire", vnet_fuzz::wire);
}

#[test]
fn text() {
    run("text", vnet_fuzz::text);
}

#[test]
fn replies() {
    run("replies", vnet_fuzz::replies);
}
