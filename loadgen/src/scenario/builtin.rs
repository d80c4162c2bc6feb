//! The scenarios that come with the program, as the files an engineer copies and changes.

use super::{
    Scenario,
    file::{Source, read},
};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each, in the order of a first acquaintance.
        const TEXTS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*];
    };
}

built_in!(
    "hold",
    "storm",
    "storm-again",
    "heartbeats",
    "chat",
    "chat-steps",
    "chat-day",
    "replies",
    "fanout",
    "broadcast",
    "offline",
    "devices",
    "resume",
    "network-change",
    "slow-reader",
    "half-open",
    "restart",
);

/// Name and text of each CSV file that a built-in scenario names.
const CURVES: &[(&str, &str)] = &[("day.csv", include_str!("../../scenarios/day.csv"))];

/// Names of all, with the first line of what each says about itself.
pub fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXTS.iter().map(|(name, text)| {
        (*name, text.lines().next().unwrap_or_default().trim_start_matches("# "))
    })
}

/// Text of the scenario, or of the CSV file, of this name.
pub fn text(name: &str) -> Option<&'static str> {
    TEXTS.iter().chain(CURVES).find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The built-in scenario of this name; none if there is none.
pub fn scenario(name: &str) -> Option<Scenario> {
    let (name, text) = TEXTS.iter().find(|(known, _)| *known == name)?;
    let csv = |name: &str| match CURVES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok((*text).to_owned()),
        None => Err(format!("{name} is not built in")),
    };
    let source = Source { name, text, csv: &csv };
    Some(read(&source, name).expect("the built-in scenarios are read by a test"))
}
