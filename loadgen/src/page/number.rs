//! Numbers as people read them: three significant digits and a unit. One form for the page and
//! the live view, so that the same figure never looks different in two places.

/// Stands for what was not measured.
pub const NONE: &str = "–";

/// Three significant digits without trailing noise: `1.23`, `12.3`, `123`, `1235` stays `1235`.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    let decimals = if size == 0.0 || size >= 99.95 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        // As many as the third significant digit needs, up to a bound that stays readable.
        (2 - size.log10().floor() as i32).clamp(2, 6) as usize
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A time given in microseconds, with its unit: `834 µs`, `1.23 ms`, `12.5 s`.
pub fn time(us: f64) -> String {
    let (value, unit) = if us < 999.5 {
        (us, "µs")
    } else if us < 999_500.0 {
        (us / 1e3, "ms")
    } else {
        (us / 1e6, "s")
    };
    format!("{}\u{a0}{unit}", digits(value))
}

/// A count, shortened: `950`, `12.3 k`, `1.2 M`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size < 9999.5 {
        digits(value)
    } else if size < 999_500.0 {
        format!("{}\u{a0}k", digits(value / 1e3))
    } else if size < 999.5e6 {
        format!("{}\u{a0}M", digits(value / 1e6))
    } else {
        format!("{}\u{a0}G", digits(value / 1e9))
    }
}

/// A count in full, in groups of three: `1 234 567`.
pub fn exact(value: u64) -> String {
    let text = value.to_string();
    let mut grouped = String::with_capacity(text.len() + text.len() / 3 * 3);
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes with a binary unit: `512 B`, `1.5 KiB`, `3.91 GiB`.
pub fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = value;
    let mut unit = 0;
    while value.abs() >= 1023.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{}\u{a0}{}", digits(value), units[unit])
}

/// Processors in use, to the hundredth: `0.06`, `1.25`, `12.5`.
pub fn cores(value: f64) -> String {
    if value < 9.995 { format!("{value:.2}") } else { digits(value) }
}

/// A share as per cent: `99.95 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let text = if (90.0..100.0).contains(&value) {
        // Rounding up to 100 would hide what is missing.
        format!("{}", (value * 100.0).floor() / 100.0)
    } else {
        digits(value)
    };
    format!("{text}\u{a0}%")
}

/// Seconds as a clock-like text: `12 s`, `3 min 05 s`, `2 h 10 min`.
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole}\u{a0}s"),
        60..3600 => format!("{}\u{a0}min\u{a0}{:02}\u{a0}s", whole / 60, whole % 60),
        _ => format!("{}\u{a0}h\u{a0}{:02}\u{a0}min", whole / 3600, whole / 60 % 60),
    }
}

/// Text that stands for itself in HTML, in attributes too.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_34, "0.0123"),
            (0.5, "0.5"),
            (0.9996, "1"),
            (1.2345, "1.23"),
            (9.996, "10"),
            (12.345, "12.3"),
            (99.96, "100"),
            (123.45, "123"),
            (1234.5, "1234"),
        ] {
            assert_eq!(digits(value), text, "{value}");
        }
    }

    #[test]
    fn units_change_where_the_digits_would_grow() {
        for (us, text) in [
            (0.0, "0 µs"),
            (834.0, "834 µs"),
            (999.6, "1 ms"),
            (1234.0, "1.23 ms"),
            (12_345_678.0, "12.3 s"),
        ] {
            assert_eq!(time(us).replace('\u{a0}', " "), text);
        }
        assert_eq!(short(9999.0), "9999");
        assert_eq!(short(12_345.0).replace('\u{a0}', " "), "12.3 k");
        assert_eq!(short(999_600.0).replace('\u{a0}', " "), "1 M");
        assert_eq!(bytes(1023.0).replace('\u{a0}', " "), "1023 B");
        assert_eq!(bytes(1_610_612_736.0).replace('\u{a0}', " "), "1.5 GiB");
        assert_eq!(exact(1_234_567).replace('\u{202f}', " "), "1 234 567");
        assert_eq!(exact(100), "100");
        assert_eq!((cores(0.0389), cores(12.345)), ("0.04".to_owned(), "12.3".to_owned()));
    }

    #[test]
    fn a_share_below_the_whole_is_never_shown_as_the_whole() {
        assert_eq!(percent(0.999_999).replace('\u{a0}', " "), "99.99 %");
        assert_eq!(percent(1.0).replace('\u{a0}', " "), "100 %");
        assert_eq!(percent(0.0312).replace('\u{a0}', " "), "3.12 %");
    }

    #[test]
    fn markup_in_a_text_stays_text() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
