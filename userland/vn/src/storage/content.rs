// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is in an image file: told from its first bytes, never from its name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

use super::refuse;

/// Enough of a file to tell what it is.
pub(crate) const HEAD: usize = 8192;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Raw,
    Qcow2,
    /// With the program that unpacks it to its standard output.
    Packed(&'static str),
}

/// Reads as much as there is, up to the buffer's length.
pub(crate) fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The first bytes of a file.
pub(crate) fn head(path: &Path) -> anyhow::Result<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(what)?;
    if !file.metadata().with_context(what)?.is_file() {
        return refuse(
            format!("{} is not a file", path.display()),
            "name an image file",
        );
    }
    let mut head = vec![0; HEAD];
    let length = read_full(&mut file, &mut head).with_context(what)?;
    head.truncate(length);
    Ok(head)
}

/// How a file that begins like this is packed.
pub(crate) fn format(head: &[u8]) -> Format {
    let magics: [(&[u8], Format); 5] = [
        (b"QFI\xfb", Format::Qcow2),
        (b"\x1f\x8b", Format::Packed("gzip")),
        (b"BZh", Format::Packed("bzip2")),
        (b"\xfd7zXZ\0", Format::Packed("xz")),
        (b"\x28\xb5\x2f\xfd", Format::Packed("zstd")),
    ];
    let found = magics.iter().find(|(magic, _)| head.starts_with(magic));
    found.map_or(Format::Raw, |(_, format)| *format)
}

fn number<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn little32(head: &[u8], at: usize) -> Option<u64> {
    number(head, at).map(|bytes| u32::from_le_bytes(bytes).into())
}

/// A disk that begins like this: what it is, and how many bytes it has at least. Nothing if it is no disk that we know.
pub(crate) fn disk(head: &[u8]) -> Option<(&'static str, u64)> {
    let found = ext(head).map(|size| ("ext file system", size));
    let found = found.or_else(|| xfs(head).map(|size| ("XFS file system", size)));
    found.or_else(|| partitions(head).map(|size| ("partitioned disk", size)))
}

fn ext(head: &[u8]) -> Option<u64> {
    const SUPER: usize = 1024;
    if number(head, SUPER + 0x38)? != [0x53, 0xef] {
        return None;
    }
    let shift = little32(head, SUPER + 0x18)?;
    let mut blocks = little32(head, SUPER + 4)?;
    // The upper half counts if the file system says that it has 64 bits.
    if little32(head, SUPER + 0x60)? & 0x80 != 0 {
        blocks |= little32(head, SUPER + 0x150)? << 32;
    }
    let block = 1024_u64.checked_shl(shift.try_into().ok()?)?;
    (shift <= 6).then(|| blocks.checked_mul(block))?
}

fn xfs(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"XFSB") {
        return None;
    }
    let block = u32::from_be_bytes(number(head, 4)?);
    u64::from_be_bytes(number(head, 8)?).checked_mul(block.into())
}

fn partitions(head: &[u8]) -> Option<u64> {
    if number(head, 510)? != [0x55, 0xaa] {
        return None;
    }
    // With a GPT this is one entry over all of the disk, or as much of it as fits into 32 bits.
    if head.get(512..520) == Some(b"EFI PART") {
        let backup = u64::from_le_bytes(number(head, 512 + 32)?);
        return backup.checked_add(1)?.checked_mul(512);
    }
    let mut end = 0;
    for entry in 0..4 {
        let at = 446 + 16 * entry;
        // A boot flag is 0 or 0x80: something else is no partition table.
        if head.get(at)? & 0x7f != 0 {
            return None;
        }
        let (start, length) = (little32(head, at + 8)?, little32(head, at + 12)?);
        end = end.max(start + length);
    }
    (end > 0).then_some(end * 512)
}

/// Checks that a disk of `size` bytes that begins like this is a whole one.
pub(crate) fn check(head: &[u8], size: u64, file: &Path) -> anyhow::Result<()> {
    let file = file.display();
    match disk(head) {
        None => refuse(
            format!(
                "{file} is not an image: it has neither a file system that is known nor partitions"
            ),
            "if it is what you want, say so with --any-content",
        ),
        Some((what, least)) if least > size => refuse(
            format!("{file} is truncated: its {what} has {least} bytes, and {size} are there"),
            "fetch the file again; --checksum finds such things before anything is written",
        ),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        for (at, bytes) in parts {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn formats() {
        assert_eq!(format(b"QFI\xfb\0\0\0\x03"), Format::Qcow2);
        assert_eq!(format(b"\x1f\x8b\x08"), Format::Packed("gzip"));
        assert_eq!(format(b"\x28\xb5\x2f\xfd"), Format::Packed("zstd"));
        assert_eq!(format(b""), Format::Raw);
        assert_eq!(format(b"hello"), Format::Raw);
    }

    #[test]
    fn disks() {
        let ext = with(&[
            (1024 + 4, &[0, 0x40, 0, 0]),
            (1024 + 0x18, &[2]),
            (1024 + 0x38, &[0x53, 0xef]),
        ]);
        assert_eq!(disk(&ext), Some(("ext file system", 0x4000 * 4096)));
        let xfs = with(&[(0, b"XFSB\0\0\x10\0\0\0\0\0\0\0\x10\0")]);
        assert_eq!(disk(&xfs), Some(("XFS file system", 0x1000 * 4096)));
        let mbr = with(&[
            (446, &[0x80]),
            (446 + 8, &[0, 8, 0, 0, 0, 0, 1, 0]),
            (510, &[0x55, 0xaa]),
        ]);
        assert_eq!(disk(&mbr), Some(("partitioned disk", (2048 + 65536) * 512)));
        let gpt = with(&[
            (510, &[0x55, 0xaa]),
            (512, b"EFI PART"),
            (544, &[0xff, 0xff]),
        ]);
        assert_eq!(disk(&gpt), Some(("partitioned disk", 0x10000 * 512)));
        assert_eq!(disk(&with(&[])), None);
        assert_eq!(disk(b"#!/bin/sh"), None);
        assert_eq!(disk(&with(&[(510, &[0x55, 0xaa])])), None);
    }

    #[test]
    fn nothing_panics() {
        let head = vec![0xff; HEAD];
        for length in [0, 1, 511, 512, 600, 1023, 1100, 1500, HEAD] {
            disk(&head[..length]);
        }
        let mut all = with(&[
            (1024 + 0x38, &[0x53, 0xef]),
            (1024 + 0x18, &[0xff; 4]),
            (1024 + 4, &[0xff; 4]),
        ]);
        assert_eq!(disk(&all), None);
        all[1024 + 0x60] = 0x80;
        disk(&all);
    }

    #[test]
    fn whole_or_not() {
        let file = Path::new("x.img");
        let ext = with(&[(1024 + 4, &[0, 1]), (1024 + 0x38, &[0x53, 0xef])]);
        assert!(check(&ext, 256 * 1024, file).is_ok());
        let error = check(&ext, 256 * 1024 - 1, file).expect_err("truncated");
        assert!(error.to_string().contains("x.img is truncated"), "{error}");
        let error = check(b"text", 4, file).expect_err("text");
        assert!(error.to_string().contains("not an image"), "{error}");
    }
}
