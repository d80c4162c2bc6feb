//! Lengths of time as people write them: `500ms`, `10s`, `2m`, `24h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// What a length of time may look like.
pub const ALLOWED: &str = "a number and us, ms, s, m or h, as in \"500ms\" or \"10s\", up to 744h";

/// Longest time: a month, for those who soak.
pub const LONGEST: Duration = Duration::from_secs(744 * 3600);

/// A length of time from text; without a unit: seconds.
///
/// # Errors
/// One line with what is allowed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || format!("\"{text}\" is no length of time; allowed: {ALLOWED}");
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_us = match &text[number.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" | "" => 1e6,
        "m" => 60e6,
        "h" => 3.6e9,
        _ => return Err(refuse()),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(refuse());
    }
    let us = number.parse::<f64>().map_err(|_| refuse())? * unit_us;
    if us > LONGEST.as_micros() as f64 {
        return Err(refuse());
    }
    Ok(Duration::from_micros(us.round() as u64))
}

/// The shortest text that [`parse`] gives the same length for.
pub fn text(time: Duration) -> String {
    let us = time.as_micros();
    for (unit, unit_us) in [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)]
    {
        if us != 0 && us.is_multiple_of(unit_us) {
            return format!("{}{unit}", us / unit_us);
        }
    }
    if us == 0 { "0s".to_owned() } else { format!("{us}us") }
}

/// For serde.
///
/// # Errors
/// Of the serializer.
pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// For serde.
///
/// # Errors
/// What is allowed.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them_and_written_back() {
        for (read, us, written) in [
            ("500ms", 500_000, "500ms"),
            ("10", 10_000_000, "10s"),
            ("1.5s", 1_500_000, "1500ms"),
            ("90s", 90_000_000, "90s"),
            ("2m", 120_000_000, "2m"),
            ("24h", 86_400_000_000, "24h"),
            ("72h", 259_200_000_000, "72h"),
            ("0s", 0, "0s"),
            ("7us", 7, "7us"),
        ] {
            let time = parse(read).unwrap();
            assert_eq!((time.as_micros(), text(time).as_str()), (us, written));
            assert_eq!(parse(&text(time)), Ok(time));
        }
    }

    #[test]
    fn other_text_is_refused_with_what_is_allowed() {
        for wrong in ["", "s", "10x", "-1s", "1e9s", "745h", "1 s", "nan", "ten"] {
            let message = parse(wrong).unwrap_err();
            assert!(message.contains("\"500ms\" or \"10s\""), "{wrong}: {message}");
        }
    }
}
