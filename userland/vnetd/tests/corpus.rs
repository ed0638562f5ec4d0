// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The fuzz targets of the daemon run over their corpus, each file also truncated everywhere and with each byte changed.

use std::path::Path;

fn run(name: &str, target: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let directory = corpus.join(name);
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
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
fn control() {
    run("control", vnetd::fuzz::request);
}

#[test]
fn frame() {
    run("frame", vnetd::fuzz::frame);
}

#[test]
fn sealed() {
    run("sealed", vnetd::fuzz::sealed);
}
