//! Default, file, environment and flag laid over each other: for each setting the text that wins
//! and where it came from. The meaning is checked in [`super`].

use super::SETTINGS;
use crate::settings::{ConfigError, Given, Kind, Setting, nearest, text_of, unknown};
use std::collections::BTreeMap;

/// All layers merged.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Given>,
    /// `--insecure` or `HAWSER_INSECURE`.
    pub insecure: bool,
    /// One line each.
    pub warnings: Vec<String>,
}

impl Layers {
    /// Lays the file over the defaults.
    pub fn file(&mut self, text: &str, name: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            ConfigError::new("config", name, error.to_string())
        })?;
        let sections = || SETTINGS.iter().map(|setting| section_of(setting.key));
        for (section, value) in table {
            if !sections().any(|known| known == section) {
                return Err(unknown(&section, name, sections()));
            }
            let toml::Value::Table(keys) = value else {
                return Err(ConfigError::new(&section, value.to_string(), "a [section]").at(name));
            };
            for (key, value) in keys {
                let path = format!("{section}.{key}");
                let Some(setting) = SETTINGS.iter().find(|setting| setting.key == path) else {
                    let known = SETTINGS.iter().map(|setting| setting.key);
                    return Err(unknown(&path, name, known));
                };
                let text = text_of(setting, &value).map_err(|error| error.at(name))?;
                self.set(setting, text, name.to_owned());
            }
        }
        Ok(())
    }

    /// Lays `HAWSER_…` variables over what is there; others are none of ours.
    pub fn environment(&mut self, variables: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let mut known = vec!["HAWSER_CONFIG".to_owned(), "HAWSER_INSECURE".to_owned()];
        for setting in SETTINGS {
            // The long name is the more exact one and wins.
            for variable in setting.short_variable().into_iter().chain([setting.variable()]) {
                if let Some(text) = variables.get(&variable) {
                    self.set(setting, text.clone(), format!("environment {variable}"));
                }
                known.push(variable);
            }
        }
        if let Some(text) = variables.get("HAWSER_INSECURE") {
            self.insecure = match text.as_str() {
                "true" | "1" => true,
                "false" | "0" | "" => false,
                _ => return Err(ConfigError::new("HAWSER_INSECURE", text, "true or false")),
            };
        }
        // Not an error: orchestrators invent variables after a service's name (HAWSER_PORT).
        for variable in variables.keys().filter(|name| name.starts_with("HAWSER_")) {
            if !known.contains(variable) {
                let hint = nearest(variable, known.iter().map(String::as_str))
                    .map_or(String::new(), |name| format!("; did you mean {name}?"));
                self.warnings.push(format!("environment variable {variable} is not used{hint}"));
            }
        }
        Ok(())
    }

    /// Lays the flag of this name over everything.
    pub fn flag(&mut self, flag: &'static str, text: &Option<String>) {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.flag == Some(flag))
            .expect("only flags of the table are asked for, and every start asks for all of them");
        if let Some(text) = text {
            self.set(setting, text.clone(), format!("--{flag}"));
        }
    }

    fn set(&mut self, setting: &Setting, text: String, from: String) {
        self.values.insert(setting.key, Given { text, from });
    }

    /// Where the winning value of a key stands, if somebody gave one.
    pub fn origin(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|given| given.from.as_str())
    }

    /// The winning text; empty when nobody said anything and there is no default.
    pub fn text(&self, key: &'static str) -> String {
        let given = self.values.get(key).map(|given| given.text.clone());
        given.unwrap_or_else(|| find(key).default.unwrap_or_default().to_owned())
    }

    /// A number within its range; `None` without a value and a default.
    pub fn integer(&self, key: &'static str) -> Result<Option<u64>, ConfigError> {
        let setting = find(key);
        let Kind::Integer { min, max, .. } = setting.kind else {
            unreachable!("{key} is asked for as a number")
        };
        let text = self.text(key);
        if text.is_empty() && setting.default.is_none() {
            return Ok(None);
        }
        match text.replace('_', "").parse() {
            Ok(value) if (min..=max).contains(&value) => Ok(Some(value)),
            _ => Err(ConfigError::new(key, text, setting.allowed())),
        }
    }

    /// A number of the table that has a default. Ranges in the table fit the type.
    pub fn number<T: TryFrom<u64>>(&self, key: &'static str) -> Result<T, ConfigError> {
        let value = self.integer(key)?.expect("asked only for settings with a default");
        T::try_from(value)
            .map_err(|_| ConfigError::new(key, value.to_string(), find(key).allowed()))
    }

    /// One of the permitted words.
    pub fn choice(&self, key: &'static str) -> Result<&'static str, ConfigError> {
        let setting = find(key);
        let Kind::Choice(words) = setting.kind else {
            unreachable!("{key} is asked for as a choice")
        };
        let text = self.text(key);
        let word = words.iter().find(|word| **word == text).copied();
        word.ok_or_else(|| ConfigError::new(key, text, setting.allowed()))
    }
}

fn section_of(key: &'static str) -> &'static str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

/// The table's line; asking for a key that is not there is a fault of this module.
fn find(key: &'static str) -> &'static Setting {
    SETTINGS
        .iter()
        .find(|setting| setting.key == key)
        .expect("only keys of the table are asked for, and every start asks for all of them")
}
