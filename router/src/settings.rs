//! Tables of settings: one line each with its range and default, from which everything else about a
//! process's configuration is derived. Shared by the gateway and the separate router; the layers and
//! their meaning are each process's own.

use std::fmt;

/// What is wrong with the configuration: exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting, as in the file.
    pub key: String,
    /// The value that was refused, if the key itself is not the fault.
    pub value: Option<String>,
    /// File, variable or flag.
    pub from: Option<String>,
    /// Allowed range, or why not.
    pub reason: String,
}

impl ConfigError {
    /// A value outside what is allowed.
    pub fn new(key: &str, value: impl Into<String>, allowed: impl fmt::Display) -> Self {
        Self::refused(key, value, format!("allowed: {allowed}"))
    }

    /// A value refused for this reason.
    pub fn refused(key: &str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: Some(value.into()), from: None, reason: reason.into() }
    }

    /// A setting of the format that this version does not serve.
    pub fn not_built(key: &str, value: impl Into<String>) -> Self {
        Self::refused(key, value, "not built yet in this version")
    }

    /// Says where the value stands, unless that is known.
    #[must_use]
    pub fn at(mut self, from: &str) -> Self {
        self.from.get_or_insert_with(|| from.to_owned());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: `{}`", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = \"{value}\"")?;
        }
        if let Some(from) = &self.from {
            write!(f, " ({from})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number with its unit, inclusive range.
    Integer {
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
        /// May be empty.
        unit: &'static str,
    },
    /// True or false.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text, maybe empty.
    Text,
    /// IP address and port, or `off`.
    Address,
    /// Texts; between commas outside the file.
    List,
    /// A word, or texts as a list; what is allowed, for people.
    WordOrList(&'static str),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.name`, as in the file.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Shipped value; `None`: decided by other settings or the machine.
    pub default: Option<&'static str>,
    /// Flag with the same meaning; its name is a second name of the environment variable, too.
    pub flag: Option<&'static str>,
}

/// A number with its range, unit and shipped value.
#[must_use]
pub const fn integer(
    key: &'static str,
    min: u64,
    max: u64,
    unit: &'static str,
    default: &'static str,
) -> Setting {
    Setting { key, kind: Kind::Integer { min, max, unit }, default: Some(default), flag: None }
}

/// A setting of another kind.
#[must_use]
pub const fn setting(key: &'static str, kind: Kind, default: Option<&'static str>) -> Setting {
    Setting { key, kind, default, flag: None }
}

impl Setting {
    /// With a flag of this name.
    #[must_use]
    pub const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self
    }

    /// Without a shipped value.
    #[must_use]
    pub const fn decided_later(mut self) -> Self {
        self.default = None;
        self
    }

    /// `HAWSER_LIMITS_WORKERS` for `limits.workers`.
    pub fn variable(&self) -> String {
        format!("HAWSER_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// `HAWSER_WORKERS` for the flag `--workers`.
    pub fn short_variable(&self) -> Option<String> {
        self.flag.map(|flag| format!("HAWSER_{}", flag.replace('-', "_").to_uppercase()))
    }

    /// The permitted values, for people.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Integer { min, max, unit: "" } => format!("{min} to {max}"),
            Kind::Integer { min, max, unit } => format!("{min} to {max} {unit}"),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Choice(words) => words.join(", "),
            Kind::Text => "a text".to_owned(),
            Kind::Address => "IP:PORT, [IPv6]:PORT or off".to_owned(),
            Kind::List => "a list of texts".to_owned(),
            Kind::WordOrList(allowed) => allowed.to_owned(),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Given {
    /// As it was given.
    pub text: String,
    /// File, variable or flag.
    pub from: String,
}

/// Refusal of a key that nobody knows, with the nearest one that somebody does.
pub fn unknown<'a>(key: &str, from: &str, known: impl IntoIterator<Item = &'a str>) -> ConfigError {
    let hint = nearest(key, known)
        .map_or(String::new(), |name| format!("; the nearest known key is `{name}`"));
    ConfigError {
        key: key.to_owned(),
        value: None,
        from: Some(from.to_owned()),
        reason: format!("unknown key{hint}"),
    }
}

/// A value of the file as the text the other layers have.
///
/// # Errors
/// It is of another form than the setting takes.
pub fn text_of(setting: &Setting, value: &toml::Value) -> Result<String, ConfigError> {
    let wrong = || ConfigError::new(setting.key, value.to_string(), setting.allowed());
    match (setting.kind, value) {
        (Kind::Integer { .. }, toml::Value::Integer(number)) => Ok(number.to_string()),
        (Kind::Boolean, toml::Value::Boolean(value)) => Ok(value.to_string()),
        (Kind::List | Kind::WordOrList(_), toml::Value::Array(items)) => {
            let mut texts = Vec::with_capacity(items.len());
            for item in items {
                // The comma separates on the other layers, so it cannot be part of an item.
                texts.push(item.as_str().filter(|text| !text.contains(',')).ok_or_else(wrong)?);
            }
            Ok(texts.join(","))
        }
        (Kind::Integer { .. } | Kind::Boolean | Kind::List, _) => Err(wrong()),
        (_, toml::Value::String(text)) => Ok(text.clone()),
        _ => Err(wrong()),
    }
}

/// The known name nearest to what was written, when near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) =
        known.into_iter().map(|name| (distance(written, name), name)).min_by_key(|pair| pair.0)?;
    (distance <= 2.max(written.chars().count() / 3)).then_some(name)
}

/// Levenshtein distance in characters. Quadratic: keys are short, and long ones are cut.
fn distance(a: &str, b: &str) -> usize {
    const CHARACTERS_MAX: usize = 64;
    let b: Vec<char> = b.chars().take(CHARACTERS_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(CHARACTERS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_counts_what_has_to_be_changed() {
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
