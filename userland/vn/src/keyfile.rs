// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Files with keys: one line of 64 hexadecimal digits, or 32 bytes. A key never stands on a command line, where others see it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use nix::unistd::Uid;
use vnet_core::sealed::KEY_LEN;
use zeroize::Zeroizing;

use crate::failure::Refused;

/// Bytes of a line with a key.
const LINE_LEN: usize = 2 * KEY_LEN + 1;
/// The mode that a file with a key must have.
const MODE: u32 = 0o600;
/// The file that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// The bytes of a key, wiped when they are dropped.
pub(crate) type Secret = Zeroizing<[u8; KEY_LEN]>;

/// A new key.
pub(crate) fn generate() -> anyhow::Result<Secret> {
    let mut key = Secret::default();
    getrandom::fill(&mut *key)
        .map_err(io::Error::from)
        .context("cannot get random bytes from the kernel")?;
    Ok(key)
}

/// The line that is in a file.
fn line(key: &Secret) -> Zeroizing<[u8; LINE_LEN]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = Zeroizing::new([b'\n'; LINE_LEN]);
    for (pair, byte) in line.chunks_exact_mut(2).zip(key.iter()) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 0xf]) {
            *digit = DIGITS[usize::from(value)];
        }
    }
    line
}

/// Writes a key.
pub(crate) fn print(key: &Secret, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&*line(key))?;
    out.flush()
}

/// Standard output without the buffer that stays behind.
pub(crate) fn unbuffered() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Makes a file with a key. One that is there is never overwritten; one that could not be written whole is not left behind.
pub(crate) fn create(key: &Secret, path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let mut file = match File::options()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Refused::new(format!("{name} exists"))
                .hint("a key is never overwritten: name another file, or remove that one")
                .into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot make {name}")),
    };
    let written = print(key, &mut file).and_then(|()| file.sync_all());
    if written.is_err() {
        // What is said is why it could not be written.
        let _ = fs::remove_file(path);
    }
    written.with_context(|| format!("cannot write {name}"))
}

/// Why a file is not one that a key is taken from.
fn objection(file: &Metadata, user: u32, name: &str) -> Option<Refused> {
    let kind = file.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        return Some(Refused::new(format!("{name} is neither a file nor a pipe")));
    }
    if file.uid() != user && file.uid() != 0 {
        let text = format!("{name} belongs to user {}, who could change it", file.uid());
        return Some(Refused::new(text).hint(format!("make it yours with: chown {user} {name}")));
    }
    let mode = file.mode() & 0o7777;
    if mode != MODE {
        let text = format!("{name} has mode {mode:04o}: a key's file must have mode 0600");
        let hint = format!(
            "whoever could read it has the key; if nobody did: chmod 600 {name}; else make another key: vn key generate"
        );
        return Some(Refused::new(text).hint(hint));
    }
    None
}

/// Reads a key from a file that nobody else can read, or from standard input (`-`).
pub(crate) fn read(path: &Path) -> anyhow::Result<Secret> {
    if path.as_os_str() == STANDARD_INPUT {
        return from(&mut io::stdin().lock(), "standard input");
    }
    let name = path.display().to_string();
    let failed = || format!("cannot read {name}");
    let mut file = File::open(path).with_context(failed)?;
    let opened = file.metadata().with_context(failed)?;
    match objection(&opened, Uid::effective().as_raw(), &name) {
        Some(refused) => Err(refused.into()),
        None => from(&mut file, &name),
    }
}

fn from(source: &mut impl Read, name: &str) -> anyhow::Result<Secret> {
    // One more than is allowed, to see that there is more.
    let mut buffer = Zeroizing::new([0; LINE_LEN + 1]);
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        }
    }
    let key = buffer.get(..length).and_then(parse);
    match key {
        Some(key) if key.iter().any(|byte| *byte != 0) => Ok(key),
        Some(_) => Err(Refused::new(format!("the key in {name} is zero")).into()),
        None => Err(Refused::new(format!(
            "{name} has no key: neither 64 hexadecimal digits nor {KEY_LEN} bytes"
        ))
        .hint("make one with: vn key generate --file FILE")
        .into()),
    }
}

fn parse(bytes: &[u8]) -> Option<Secret> {
    let mut key = Secret::default();
    if bytes.len() == KEY_LEN {
        key.copy_from_slice(bytes);
        return Some(key);
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *byte = u8::try_from((value(high)? << 4) | value(low)?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vn-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("a directory");
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn text(mut bytes: &[u8]) -> Result<[u8; KEY_LEN], String> {
        from(&mut bytes, "it")
            .map(|key| *key)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lines_and_bytes() {
        let key = generate().expect("random bytes");
        assert_ne!(*key, *generate().expect("random bytes"));
        let line = line(&key);
        assert_eq!((line.len(), line[64]), (65, b'\n'));
        for good in [&line[..], &line[..64], &key[..]] {
            assert_eq!(text(good), Ok(*key));
        }
        assert_eq!(text(&line[..64].to_ascii_uppercase()), Ok(*key));
        for bad in [
            &line[..63],
            &[&line[..], b"\n"].concat(),
            &key[..31],
            b"",
            &[b'g'; 64],
        ] {
            let error = text(bad).expect_err("not a key");
            assert_eq!(
                error,
                "it has no key: neither 64 hexadecimal digits nor 32 bytes"
            );
        }
        assert_eq!(text(&[0; 32]).expect_err("zero"), "the key in it is zero");
    }

    #[test]
    fn a_file_is_made_once_and_read_if_nobody_else_can() {
        let directory = Directory::new("keyfile");
        let path = directory.0.join("key");
        let key = generate().expect("random bytes");
        create(&key, &path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        assert_eq!(*read(&path).expect("read"), *key);
        let error = create(&generate().expect("random bytes"), &path).expect_err("it is there");
        assert!(error.to_string().ends_with("key exists"), "{error}");
        assert_eq!(*read(&path).expect("as it was"), *key);
        for mode in [0o640, 0o604, 0o400, 0o700, 0o4600, 0o620] {
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
            let error = read(&path).expect_err("refused").to_string();
            let wanted = format!("has mode {mode:04o}: a key's file must have mode 0600");
            assert!(error.ends_with(&wanted), "{error}");
        }
        assert!(read(&directory.0).is_err(), "a directory");
        assert!(read(Path::new("/dev/zero")).is_err(), "a device");
        assert!(create(&key, &directory.0.join("none/key")).is_err());
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let ours = fs::metadata("/proc/self/exe").expect("there");
        let refused = objection(&ours, ours.uid() + 1, "it");
        if ours.uid() != 0 {
            let text = refused.expect("refused").to_string();
            assert!(text.contains("who could change it"), "{text}");
        }
    }
}
