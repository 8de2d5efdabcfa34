//! Durations and sizes as people write them: `30s`, `2m30s`, `1GiB`.

use std::time::Duration;

use crate::limits;

/// Units of a duration in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a size in bytes: binary ones first, so that these are the ones printed.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Why a text is not a duration or not a size; a lowercase sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// Reads `500ms`, `30s`, `5m`, `6h`, `2d` or a sum of them, largest unit first: `1h30m`.
///
/// # Errors
/// If the text is anything else, zero, or longer than [`limits::DURATION_DAYS`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || {
        UnitError(format!(
            "`{text}` is not a duration; write for example 500ms, 30s, 5m, 6h, 2d or 1h30m"
        ))
    };
    let mut rest = text;
    let mut units = DURATION_UNITS.iter();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, tail) = split_quantity(rest).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        // Going on from the last unit refuses `30s1h` and `1s1s`.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(bad)?;
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(bad)?;
        rest = tail;
    }
    match total_ms {
        0 if !text.is_empty() => Err(UnitError(format!(
            "`{text}` is no time at all; the shortest duration is 1ms"
        ))),
        0 => Err(bad()),
        ms if ms > limits::DURATION_DAYS * 86_400_000 => Err(UnitError(format!(
            "`{text}` is longer than {} days (limits::DURATION_DAYS)",
            limits::DURATION_DAYS
        ))),
        ms => Ok(Duration::from_millis(ms)),
    }
}

/// The shortest text that [`parse_duration`] reads back; parts of a millisecond are dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in DURATION_UNITS {
        if rest_ms >= unit_ms {
            text.push_str(&format!("{}{name}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Reads a size in bytes: `1GiB`, `512MiB`, `1.5GB`, `4096B`.
///
/// # Errors
/// If the text is anything else, or does not come to a whole number of bytes above zero.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bad = || {
        UnitError(format!(
            "`{text}` is not a size; write for example 512MiB, 1GiB or 1.5GB"
        ))
    };
    let (number, unit, tail) = split_quantity(text).ok_or_else(bad)?;
    let (_, unit_bytes) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Up to nine decimals are exact in 128 bits; nobody measures memory finer.
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || !tail.is_empty() {
        return Err(bad());
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let fraction: u128 = fraction.parse().map_err(|_| bad())?;
    let scaled = whole
        .checked_mul(scale)
        .and_then(|whole| whole.checked_add(fraction))
        .and_then(|number| number.checked_mul(u128::from(*unit_bytes)))
        .ok_or_else(bad)?;
    match u64::try_from(scaled / scale) {
        Ok(bytes) if bytes > 0 && scaled % scale == 0 => Ok(bytes),
        _ => Err(bad()),
    }
}

/// The shortest exact text that [`parse_size`] reads back: `1GiB`, `1500MB`, `4097B`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || "0B".into(),
            |(name, unit)| format!("{}{name}", bytes / unit),
        )
}

/// Splits `12ms3s` into `12`, `ms` and `3s`.
fn split_quantity(text: &str) -> Option<(&str, &str, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(unit_at);
    let end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(end);
    (!number.is_empty()).then_some((number, unit, tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2m30s", 150_000),
            ("6h", 21_600_000),
            ("1d12h", 129_600_000),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "30 s",
            "1.5h",
            "-1s",
            "0s",
            "30s1m",
            "1s1s",
            "5min",
            "é",
            "1é",
            "400d",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("512MiB", 512 << 20),
            ("1.5GB", 1_500_000_000),
            ("0.5KiB", 512),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "1",
            "GiB",
            "1 GiB",
            "1gib",
            "0B",
            "0.5B",
            "1.B",
            ".5GiB",
            "1..5GiB",
            "1GiBx",
            "1GiB1B",
            "99999999TiB",
            "1.0000000001GB",
            "99999999999999999999999999999999999999999TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(ms in 1u64..=limits::DURATION_DAYS * 86_400_000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_printed_size_reads_back(bytes in 1u64..) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }
}
