// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Sizes in bytes.

/// Volumes are multiples of this.
pub(crate) const STEP: u64 = 1 << 20;

/// A size: a number of GiB, or with one of the suffixes K, M, G and T (powers of 1024).
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("not a size: {text:?}; examples: 12G, 512M, 12 (GiB)");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 30),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(wrong)?;
    if bytes == 0 || bytes > 1 << 60 {
        return Err(wrong());
    }
    Ok(round_up(bytes))
}

/// The next multiple of `STEP`.
pub(crate) fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(STEP).saturating_mul(STEP)
}

/// For people.
pub(crate) fn human(bytes: u64) -> String {
    let mut unit = ("bytes", 0);
    for next in [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)] {
        if bytes >> next.1 > 0 {
            unit = next;
        }
    }
    let (name, shift) = unit;
    if shift == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse("12"), Ok(12 << 30));
        assert_eq!(parse("12G"), Ok(12 << 30));
        assert_eq!(parse("512m"), Ok(512 << 20));
        assert_eq!(parse("1T"), Ok(1 << 40));
        assert_eq!(parse("1K"), Ok(STEP));
        for text in [
            "",
            "G",
            "0",
            "-1G",
            "1.5G",
            "1P",
            "+1",
            "99999999999999999999",
            "9999999T",
            "1é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn for_people() {
        assert_eq!(human(12), "12 bytes");
        assert_eq!(human(8_589_934_592), "8.0 GiB");
        assert_eq!(human(1_320_702_443), "1.2 GiB");
        assert_eq!(human(u64::MAX), "16777215.9 TiB");
        assert_eq!(round_up(STEP + 1), 2 * STEP);
    }
}
