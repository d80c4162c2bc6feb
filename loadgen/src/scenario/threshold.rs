//! What a run fails by: `METRIC OP VALUE [over WINDOW windows]`.
//!
//! `p99 < 20ms over 10s windows`, `lost == 0`, `achieved/offered >= 0.99`, `connect.p99 < 1s`,
//! `server.bytes_per_connection <= 6000`. This module reads them; the judge evaluates them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    /// As it was written.
    pub text: String,
    /// What is compared.
    pub metric: Metric,
    /// How.
    pub operator: Operator,
    /// With what: microseconds for a latency, else the plain number.
    pub value: f64,
    /// It must hold in every such window of the measured time, not only over all of it.
    pub window: Option<Duration>,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// A counter of the report, by its name in report.json: `lost`, `reconnects`, `errors`.
    Count(String),
    /// Messages delivered of those offered.
    AchievedOfOffered,
    /// A quantile of a stage.
    Latency {
        /// Name of the stage; none: the headline.
        stage: Option<String>,
        /// Which quantile.
        quantile: Quantile,
    },
    /// A field of the report's `server`, by its name there.
    Server(String),
}

/// A quantile that a threshold can name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// Share of values that are not above, 0 to 1.
    At(f64),
    /// The highest.
    Max,
}

/// How a measured value is compared with a threshold's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
}

impl Operator {
    /// The comparison holds.
    pub fn holds(self, measured: f64, value: f64) -> bool {
        match self {
            Self::Below => measured < value,
            Self::AtMost => measured <= value,
            Self::Above => measured > value,
            Self::AtLeast => measured >= value,
            Self::Equal => measured == value,
            Self::Unequal => measured != value,
        }
    }
}

/// Counters of the report that a threshold can name.
pub const COUNTS: [&str; 15] = [
    "offered",
    "acknowledged",
    "delivered",
    "lost",
    "duplicated",
    "reordered",
    "corrupted",
    "misdelivered",
    "reconnects",
    "repeats",
    "refused",
    "shed",
    "errors",
    "connections_held",
    "address_conflicts",
];

/// Those of them that are known for each second, and so for windows.
pub const WINDOW_COUNTS: [&str; 5] =
    ["offered", "acknowledged", "delivered", "reconnects", "errors"];

/// Stages that a threshold can name.
pub const STAGES: [&str; 11] = [
    "connect",
    "acknowledge",
    "acknowledge_sent",
    "deliver",
    "deliver_sent",
    "held",
    "lag",
    "heartbeat",
    "reconnect",
    "sync",
    "detect",
];

/// Fields of the server that a threshold can name.
pub const SERVER: [&str; 3] = ["cpu_us_per_message", "bytes_per_connection", "cpu_us_per_connect"];

const QUANTILES: [(&str, Quantile); 6] = [
    ("p50", Quantile::At(0.5)),
    ("p90", Quantile::At(0.9)),
    ("p99", Quantile::At(0.99)),
    ("p99.9", Quantile::At(0.999)),
    ("p99.99", Quantile::At(0.9999)),
    ("max", Quantile::Max),
];

const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Below),
    (">", Operator::Above),
];

impl Threshold {
    /// Reads one.
    ///
    /// # Errors
    /// One line that names what is wrong and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |what: String| format!("threshold \"{text}\": {what}");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (metric, operator, value, window) = match words[..] {
            [metric, operator, value] => (metric, operator, value, None),
            [metric, operator, value, "over", window, "windows"] => {
                (metric, operator, value, Some(window))
            }
            _ => {
                return Err(refuse(
                    "allowed: METRIC OP VALUE [over WINDOW windows], with spaces between, as in \
                     p99 < 20ms over 10s windows"
                        .to_owned(),
                ));
            }
        };
        let metric = read_metric(metric).map_err(refuse)?;
        let Some((_, operator)) = OPERATORS.iter().find(|(name, _)| *name == operator) else {
            return Err(refuse(format!("{operator} is no comparison; allowed: < <= > >= == !=")));
        };
        let value = read_value(&metric, value).map_err(refuse)?;
        let window = window.map(super::time::parse).transpose().map_err(refuse)?;
        if window.is_some_and(|window| window < Duration::from_secs(1)) {
            return Err(refuse("a window has at least 1s".to_owned()));
        }
        if window.is_some() && matches!(metric, Metric::Server(_)) {
            return Err(refuse("a field of the server is known for the whole run only".to_owned()));
        }
        if let (Some(_), Metric::Count(name)) = (window, &metric)
            && !WINDOW_COUNTS.contains(&name.as_str())
        {
            return Err(refuse(format!(
                "{name} is known for the whole run only; in windows: {}",
                WINDOW_COUNTS.join(", ")
            )));
        }
        Ok(Self { text: words.join(" "), metric, operator: *operator, value, window })
    }
}

fn read_metric(text: &str) -> Result<Metric, String> {
    if text == "achieved/offered" {
        return Ok(Metric::AchievedOfOffered);
    }
    if COUNTS.contains(&text) {
        return Ok(Metric::Count(text.to_owned()));
    }
    if let Some(field) = text.strip_prefix("server.") {
        if SERVER.contains(&field) {
            return Ok(Metric::Server(field.to_owned()));
        }
        return Err(format!("{text} is no metric; of the server: {}", SERVER.join(", ")));
    }
    let quantile = |name: &str| QUANTILES.iter().find(|(known, _)| *known == name).map(|one| one.1);
    if let Some(quantile) = quantile(text) {
        return Ok(Metric::Latency { stage: None, quantile });
    }
    let stage = text.split_once('.').filter(|(stage, _)| STAGES.contains(stage));
    if let Some((stage, name)) = stage {
        let Some(quantile) = quantile(name) else {
            return Err(format!("{name} is no quantile; allowed: {}", names(&QUANTILES)));
        };
        return Ok(Metric::Latency { stage: Some(stage.to_owned()), quantile });
    }
    Err(format!(
        "{text} is no metric; allowed: {}, achieved/offered, [STAGE.]QUANTILE with the quantiles {} \
         and the stages {}, and server.FIELD",
        COUNTS.join(", "),
        names(&QUANTILES),
        STAGES.join(", ")
    ))
}

fn names(quantiles: &[(&str, Quantile)]) -> String {
    quantiles.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn read_value(metric: &Metric, text: &str) -> Result<f64, String> {
    if let Metric::Latency { .. } = metric {
        let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        if unit.is_empty() {
            return Err(format!("{text} needs a unit, as in 20ms"));
        }
        return super::time::parse(text).map(|time| time.as_micros() as f64);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{text} is no number")),
    }
}

impl TryFrom<String> for Threshold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.text
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(stage: Option<&str>, quantile: Quantile) -> Metric {
        Metric::Latency { stage: stage.map(str::to_owned), quantile }
    }

    #[test]
    fn each_form_is_read() {
        let p99 = Quantile::At(0.99);
        let ten = Some(Duration::from_secs(10));
        for (text, metric, operator, value, window) in [
            ("p99 < 20ms over 10s windows", latency(None, p99), Operator::Below, 20_000.0, ten),
            ("lost == 0", Metric::Count("lost".to_owned()), Operator::Equal, 0.0, None),
            ("achieved/offered >= 0.99", Metric::AchievedOfOffered, Operator::AtLeast, 0.99, None),
            ("connect.p99 < 1s", latency(Some("connect"), p99), Operator::Below, 1e6, None),
            ("sync.max <= 2m", latency(Some("sync"), Quantile::Max), Operator::AtMost, 120e6, None),
            ("p99.9 < 1.5ms", latency(None, Quantile::At(0.999)), Operator::Below, 1500.0, None),
            (
                "deliver.p99.99 > 7us",
                latency(Some("deliver"), Quantile::At(0.9999)),
                Operator::Above,
                7.0,
                None,
            ),
            (
                "server.bytes_per_connection <= 6000",
                Metric::Server("bytes_per_connection".to_owned()),
                Operator::AtMost,
                6000.0,
                None,
            ),
            ("  errors  !=  1 ", Metric::Count("errors".to_owned()), Operator::Unequal, 1.0, None),
        ] {
            let threshold = Threshold::parse(text).unwrap();
            assert_eq!((threshold.metric, threshold.operator), (metric, operator), "{text}");
            assert_eq!((threshold.value, threshold.window), (value, window), "{text}");
        }
    }

    #[test]
    fn wrong_ones_are_named_with_what_is_allowed() {
        for (text, words) in [
            ("", "allowed: METRIC OP VALUE"),
            ("p99<20ms", "with spaces between"),
            ("p99 < 20ms over 10s", "[over WINDOW windows]"),
            ("p98 < 20ms", "p98 is no metric; allowed: offered"),
            ("deliver.p98 < 20ms", "p98 is no quantile; allowed: p50, p90"),
            ("drop.p99 < 20ms", "the stages connect, acknowledge"),
            ("server.memory < 5", "of the server: cpu_us_per_message"),
            ("p99 =< 20ms", "=< is no comparison; allowed: < <= > >= == !="),
            ("p99 < 20", "20 needs a unit, as in 20ms"),
            ("p99 < soon", "\"soon\" is no length of time"),
            ("lost == none", "none is no number"),
            ("p99 < 20ms over 10x windows", "\"10x\" is no length of time"),
            ("p99 < 20ms over 500ms windows", "at least 1s"),
            ("server.cpu_us_per_message < 5 over 10s windows", "whole run only"),
            ("lost == 0 over 10s windows", "lost is known for the whole run only; in windows: "),
        ] {
            let message = Threshold::parse(text).unwrap_err();
            assert!(message.starts_with(&format!("threshold \"{text}\": ")), "{message}");
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn comparisons_hold_as_they_read() {
        let holds = |operator: Operator| [1.0, 2.0, 3.0].map(|one| operator.holds(one, 2.0));
        assert_eq!(holds(Operator::Below), [true, false, false]);
        assert_eq!(holds(Operator::AtMost), [true, true, false]);
        assert_eq!(holds(Operator::Above), [false, false, true]);
        assert_eq!(holds(Operator::AtLeast), [false, true, true]);
        assert_eq!(holds(Operator::Equal), [false, true, false]);
        assert_eq!(holds(Operator::Unequal), [true, false, true]);
    }

    #[test]
    fn threshold_is_its_text_in_files() {
        let threshold = Threshold::parse("lost == 0").unwrap();
        let json = serde_json::to_string(&threshold).unwrap();
        assert_eq!(json, "\"lost == 0\"");
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), threshold);
    }
}
