// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The fuzz targets run over the corpus, each file also truncated everywhere and with each byte changed. Here, since
//! the fuzzer's crate is a workspace of its own.

use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public in its own crate")]
mod targets;

fn run(name: &str, target: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
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
    run("wire", targets::wire);
}

#[test]
fn text() {
    run("text", targets::text);
}

#[test]
fn replies() {
    run("replies", targets::replies);
}

#[test]
fn data() {
    run("data", targets::data);
}

#[test]
fn varp() {
    run("varp", targets::varp);
}

#[test]
fn forward4() {
    run("forward4", targets::forward4);
}

#[test]
fn forward6() {
    run("forward6", targets::forward6);
}

#[test]
fn resolver() {
    run("resolver", targets::resolver::run);
}

#[test]
fn announcer() {
    run("announcer", targets::machines::announcer);
}

#[test]
fn recent() {
    run("recent", targets::machines::recent);
}

#[test]
fn moves() {
    run("moves", targets::machines::moves);
}
