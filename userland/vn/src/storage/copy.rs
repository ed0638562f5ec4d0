// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Long copies: from an image file onto a new volume, which reads as zeros: zeros are not written. Progress is shown on a
//! terminal.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write, stderr};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::content::read_full;
use super::size::human;
use crate::exec::{Program, Stream};
use crate::undo::Undo;

/// How much is read at once.
const CHUNK: usize = 1 << 20;
/// Zeros of this many bytes are left out: the block of a volume.
const BLOCK: usize = 16 << 10;
/// A copy of an image may take as long as it moves; this is for what its program does after its last byte.
const LIMIT: Duration = Duration::from_secs(600);
/// Time between two lines of progress.
const TICK: Duration = Duration::from_millis(500);

/// What is said while something long goes on.
pub(crate) struct Progress {
    shown: bool,
    start: Instant,
    last: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            shown: stderr().is_terminal(),
            start: now,
            last: now,
        }
    }

    /// So many bytes are done, which is this part of all of them.
    pub(crate) fn tell(&mut self, bytes: u64, part: Option<f64>) {
        if self.shown && self.last.elapsed() >= TICK {
            self.last = Instant::now();
            let line = line(bytes, part, self.start.elapsed());
            // Where it cannot be written, nobody reads it.
            let _ = write!(stderr().lock(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(bytes: u64, part: Option<f64>, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(0.001);
    let rate = (bytes as f64 / seconds) as u64;
    let mut line = format!("{} copied, {}/s", human(bytes), human(rate));
    if let Some(part) = part.filter(|part| *part > 0.0) {
        let left = (seconds / part - seconds).max(0.0) as u64;
        let percent = (part * 100.0).min(100.0) as u64;
        line.push_str(&format!(
            ", {percent} %, {}:{:02} left",
            left / 60,
            left % 60
        ));
    }
    line
}

/// A volume that is written to; it can grow.
pub(crate) struct Target<'a> {
    file: File,
    size: u64,
    grow: &'a mut dyn FnMut(u64) -> anyhow::Result<u64>,
    undo: &'a Undo,
}

impl<'a> Target<'a> {
    /// `grow` makes it at least as large as it is told, and says how large it is then.
    pub(crate) fn open(
        device: &Path,
        size: u64,
        grow: &'a mut dyn FnMut(u64) -> anyhow::Result<u64>,
        undo: &'a Undo,
    ) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(device);
        Ok(Self {
            file: file.with_context(|| format!("cannot open {}", device.display()))?,
            size,
            grow,
            undo,
        })
    }

    fn write(&mut self, data: &[u8], at: u64) -> anyhow::Result<()> {
        self.undo.check()?;
        let end = at + data.len() as u64;
        if end > self.size {
            self.size = (self.grow)(end)?;
        }
        for (start, length) in written(data) {
            let part = &data[start..start + length];
            self.file
                .write_all_at(part, at + start as u64)
                .context("cannot write to the volume")?;
        }
        Ok(())
    }

    /// The first bytes of it.
    pub(crate) fn head(&self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut head = vec![0; length];
        let read = self
            .file
            .read_at(&mut head, 0)
            .context("cannot read the volume")?;
        head.truncate(read);
        Ok(head)
    }

    /// Until all of it is on the disks: a full pool shows here at the latest.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_all().context("cannot write to the volume")
    }
}

/// The stretches of whole blocks that are not zero: start and length.
fn written(data: &[u8]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (number, block) in data.chunks(BLOCK).enumerate() {
        if is_zero(block) {
            continue;
        }
        let start = number * BLOCK;
        match found.last_mut() {
            Some((from, length)) if *from + *length == start => *length += block.len(),
            _ => found.push((start, block.len())),
        }
    }
    found
}

fn is_zero(block: &[u8]) -> bool {
    // Sixteen at a time: the compiler makes one comparison of it.
    let mut words = block.chunks_exact(16);
    words.by_ref().all(|word| word == [0; 16]) && words.remainder().iter().all(|byte| *byte == 0)
}

/// Copies a raw image; its holes are not read.
pub(crate) fn raw(from: &File, size: u64, target: &mut Target<'_>) -> anyhow::Result<u64> {
    let mut progress = Progress::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        if at % CHUNK as u64 == 0 {
            at = data_at(from, at)?.unwrap_or(size);
            // Where a hole ends, the blocks of the volume do not.
            at -= at % CHUNK as u64;
        }
        let length = CHUNK.min(usize::try_from(size - at).unwrap_or(CHUNK));
        let part = &mut buffer[..length];
        if length == 0 {
            break;
        }
        from.read_exact_at(part, at)
            .context("cannot read the image")?;
        target.write(part, at)?;
        at += length as u64;
        progress.tell(at, Some(at as f64 / size as f64));
    }
    target.sync()?;
    Ok(size)
}

/// Where data begins, from an offset on; nothing if there is only a hole.
fn data_at(file: &File, at: u64) -> anyhow::Result<Option<u64>> {
    let Ok(offset) = i64::try_from(at) else {
        return Ok(None);
    };
    match lseek(file, offset, Whence::SeekData) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(Errno::ENXIO) => Ok(None),
        // A file system that knows nothing of holes.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(at)),
        Err(errno) => Err(errno).context("cannot read the image"),
    }
}

/// Copies what a program unpacks. `part` says how much of its input has gone.
pub(crate) fn unpacked(
    mut from: Stream,
    part: impl Fn() -> Option<f64>,
    first: impl FnOnce(&[u8]) -> anyhow::Result<()>,
    target: &mut Target<'_>,
) -> anyhow::Result<u64> {
    let mut progress = Progress::new();
    let mut buffer = vec![0; CHUNK];
    let mut first = Some(first);
    let mut at = 0;
    loop {
        let length = read_full(&mut from, &mut buffer).context("cannot read what is unpacked")?;
        if length < buffer.len() {
            // A file that is broken is no image that is too short: what the program says about it comes first.
            from.finish()?;
            if let Some(first) = first.take() {
                first(&buffer[..length])?;
            }
            target.write(&buffer[..length], at)?;
            target.sync()?;
            return Ok(at + length as u64);
        }
        if let Some(first) = first.take() {
            first(&buffer)?;
        }
        target.write(&buffer, at)?;
        at += length as u64;
        progress.tell(at, part());
    }
}

/// Runs a program that prints its progress as qemu-img does: `(12.34/100%)`.
pub(crate) fn with_percents(program: &Program, size: u64, undo: &Undo) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let mut stream = program.stream()?;
    let mut buffer = [0; 4096];
    let mut line = String::new();
    loop {
        let length = stream
            .read(&mut buffer)
            .context("cannot read what it says")?;
        if length == 0 {
            return stream.finish();
        }
        undo.check()?;
        for character in String::from_utf8_lossy(&buffer[..length]).chars() {
            if character != '\r' && character != '\n' {
                line.push(character);
                continue;
            }
            if let Some(percent) = percent(&line) {
                let part = percent / 100.0;
                progress.tell((size as f64 * part) as u64, Some(part));
            }
            line.clear();
        }
    }
}

fn percent(line: &str) -> Option<f64> {
    let number = line.trim().strip_prefix('(')?.split('/').next()?;
    number
        .parse()
        .ok()
        .filter(|number| (0.0..=100.0).contains(number))
}

/// A program that unpacks a file to its standard output, and the file, at the place that it has read to.
pub(crate) fn unpack(name: &str, path: &Path) -> anyhow::Result<(Stream, File)> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let input = file.try_clone().context("cannot read the image")?;
    let program = Program::find(name, LIMIT)?
        .arguments(["-dc"])
        .hint("the file is damaged or not whole: fetch it again")
        .bound()?;
    Ok((program.stream_from(input)?, file))
}

/// How much of a file has been read by whoever shares its offset.
pub(crate) fn part_read(file: &File) -> Option<f64> {
    let offset = lseek(file, 0, Whence::SeekCur).ok()?;
    let size = file.metadata().ok()?.len();
    (size > 0).then(|| offset as f64 / size as f64)
}

/// qemu-img, which writes an image of a format of its own to a device that reads as zeros.
pub(crate) fn convert(image: &Path, device: &Path) -> anyhow::Result<Program> {
    Program::find("qemu-img", LIMIT)?
        .arguments([
            "convert",
            "-p",
            "-n",
            "--target-is-zero",
            "-f",
            "qcow2",
            "-O",
            "raw",
        ])
        .arguments([image, device])
        .hint("qemu-img check shows whether the image is whole, zpool list whether there is room")
        .bound()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::Directory;
    use crate::undo::all_or_nothing;

    #[test]
    fn zeros_are_left_out() {
        let mut data = vec![0; 4 * BLOCK + 5];
        assert_eq!(written(&data), []);
        data[BLOCK] = 1;
        data[3 * BLOCK - 1] = 1;
        data[4 * BLOCK + 4] = 1;
        assert_eq!(written(&data), [(BLOCK, 2 * BLOCK), (4 * BLOCK, 5)]);
    }

    #[test]
    fn a_copy_is_the_same_and_grows() {
        let directory = Directory::new();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let mut data = vec![0; 3 * CHUNK + 700];
        data[5] = 7;
        data[2 * CHUNK + 3] = 9;
        data[3 * CHUNK + 699] = 1;
        std::fs::write(&from, &data).expect("a file");
        std::fs::write(&to, vec![0; data.len()]).expect("a file");
        let mut asked = Vec::new();
        let mut grow = |size| {
            asked.push(size);
            Ok(1 << 30)
        };
        let copies = all_or_nothing(|undo| {
            let mut target = Target::open(&to, CHUNK as u64, &mut grow, undo)?;
            let file = File::open(&from)?;
            raw(&file, data.len() as u64, &mut target)?;
            assert!(std::fs::read(&to)? == data);
            std::fs::write(&to, vec![0; data.len()])?;
            let stream = Program::find("cat", LIMIT)?.stream_from(File::open(&from)?)?;
            let copied = unpacked(stream, || None, |_| Ok(()), &mut target)?;
            assert_eq!(copied, data.len() as u64);
            assert!(std::fs::read(&to)? == data);
            Ok(())
        });
        copies.expect("copies");
        assert!(asked.len() == 1 && asked[0] > CHUNK as u64);
    }

    #[test]
    fn what_is_told() {
        assert_eq!(percent("    (12.34/100%)"), Some(12.34));
        assert_eq!(percent("(x/100%)"), None);
        assert_eq!(percent(""), None);
        let text = line(1 << 30, Some(0.25), Duration::from_secs(10));
        assert_eq!(text, "1.0 GiB copied, 102.3 MiB/s, 25 %, 0:30 left");
        let text = line(1024, None, Duration::from_secs(1));
        assert_eq!(text, "1.0 KiB copied, 1.0 KiB/s");
    }
}
