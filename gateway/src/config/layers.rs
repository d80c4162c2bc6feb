//! Default, file, environment and flag laid over each other: for each setting the text that wins
//! and where it came from. Checks keys and forms; the meaning is checked in [`super`].

use std::collections::BTreeMap;

use super::{
    ConfigError,
    command::CommandLine,
    settings::{
        CERTIFICATE_KEYS, LISTENER_KEYS, LISTENER_KEYS_LATER, LISTENERS, RULE_KEYS, SETTINGS,
        Setting, nearest,
    },
};
use crate::{access::RULES_MAX, limits::CERTIFICATES_MAX, listener::Kind};
pub(super) use hawser_router::settings::Given;
use hawser_router::settings::{self as table, text_of, unknown};

/// Sections of the file; `listener` is a list of tables, `auth` has the free table `tokens`, `mqtt`
/// the list `rule`.
const SECTIONS: &[&str] = &[
    "limits",
    "listener",
    "auth",
    "heartbeat",
    "store",
    "router",
    "tls",
    "proxy",
    "websocket",
    "mqtt",
    "admin",
    "log",
];

/// One `[[listener]]`.
#[derive(Clone, Debug)]
pub(super) struct GivenListener {
    pub kind: String,
    pub address: String,
    pub tls: bool,
    pub proxy: bool,
    pub from: String,
}

/// One `[[mqtt.rule]]`.
#[derive(Clone, Debug)]
pub(super) struct GivenRule {
    pub effect: String,
    pub action: String,
    pub user: Option<String>,
    pub filter: String,
    pub from: String,
}

/// All layers merged.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Given>,
    /// `None`: the file names no listener.
    pub listeners: Option<Vec<GivenListener>>,
    /// Flags and variables that stand for one listener each: native, websocket, mqtt.
    pub addresses: BTreeMap<&'static str, Given>,
    /// `[auth.tokens]`.
    pub tokens: Option<toml::Table>,
    /// `tls.certificates` as a list: chain and key of each.
    pub certificates: Vec<(String, String)>,
    /// `[[mqtt.rule]]`.
    pub rules: Vec<GivenRule>,
    /// `HAWSER_INSECURE`.
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
        for (section, value) in table {
            if !SECTIONS.contains(&section.as_str()) {
                return Err(unknown(&section, name, SECTIONS.iter().copied()));
            }
            match value {
                toml::Value::Array(tables) if section == "listener" => {
                    self.listeners = Some(listeners(&tables, name)?);
                }
                toml::Value::Table(keys) if section != "listener" => {
                    self.section(&section, keys, name)?;
                }
                other => {
                    let wanted = if section == "listener" { "[[listener]]" } else { "a [section]" };
                    return Err(ConfigError::new(&section, other.to_string(), wanted).at(name));
                }
            }
        }
        Ok(())
    }

    fn section(&mut self, section: &str, keys: toml::Table, name: &str) -> Result<(), ConfigError> {
        for (key, value) in keys {
            let path = format!("{section}.{key}");
            if path == "auth.tokens" {
                let toml::Value::Table(tokens) = value else {
                    return Err(ConfigError::new(&path, value.to_string(), "a table").at(name));
                };
                self.tokens = Some(tokens);
                continue;
            }
            match (path.as_str(), &value) {
                ("tls.certificates", toml::Value::Array(tables)) => {
                    self.certificates = certificates(tables, name)?;
                    continue;
                }
                ("mqtt.rule", toml::Value::Array(tables)) => {
                    self.rules = rules(tables, name)?;
                    continue;
                }
                ("mqtt.rule", other) => {
                    return Err(
                        ConfigError::new(&path, other.to_string(), "[[mqtt.rule]]").at(name)
                    );
                }
                _ => {}
            }
            if path == "router.secret" {
                // Its value is not repeated: what refuses it ends up in logs.
                let reason = "a secret does not belong into this file; allowed: \
                              `router.secret_file`, a file only this user may read (0600)";
                return Err(ConfigError::refused(&path, "(not shown)", reason).at(name));
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == path) else {
                let known = SETTINGS.iter().map(|setting| setting.key);
                return Err(unknown(&path, name, known.chain(["auth.tokens", "mqtt.rule"])));
            };
            let text = text_of(setting, &value).map_err(|error| error.at(name))?;
            self.set(setting, text, name.to_owned());
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
        for (name, _) in LISTENERS {
            let variable = format!("HAWSER_{}", name.to_uppercase());
            if let Some(text) = variables.get(&variable) {
                let from = format!("environment {variable}");
                self.addresses.insert(name, Given { text: text.clone(), from });
            }
            known.push(variable);
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

    /// Lays flags over everything.
    pub fn flags(&mut self, line: &CommandLine) {
        for (flag, text) in [
            ("data-dir", &line.data_dir),
            ("max-connections", &line.max_connections),
            ("workers", &line.workers),
            ("admin", &line.admin),
            ("auth", &line.auth),
            ("router", &line.router),
        ] {
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.flag == Some(flag))
                .expect("every flag listed here is in the table, which a test walks");
            if let Some(text) = text {
                self.set(setting, text.clone(), format!("--{flag}"));
            }
        }
        for (flag, text) in
            [("native", &line.native), ("websocket", &line.websocket), ("mqtt", &line.mqtt)]
        {
            if let Some(text) = text {
                let given = Given { text: text.clone(), from: format!("--{flag}") };
                self.addresses.insert(flag, given);
            }
        }
        self.insecure |= line.insecure;
    }

    fn set(&mut self, setting: &Setting, text: String, from: String) {
        self.values.insert(setting.key, Given { text, from });
    }

    /// The winning text; `None` when nobody said anything and there is no default.
    pub fn text(&self, key: &'static str) -> Option<Given> {
        self.values.get(key).cloned().or_else(|| {
            let text = find(key).default?.to_owned();
            Some(Given { text, from: "default".to_owned() })
        })
    }

    /// Where the winning value of a key stands, if somebody gave one.
    pub fn origin(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|given| given.from.as_str())
    }

    /// A number within its range.
    pub fn integer(&self, key: &'static str) -> Result<Option<u64>, ConfigError> {
        let setting = find(key);
        let table::Kind::Integer { min, max, .. } = setting.kind else {
            unreachable!("{key} is asked for as a number")
        };
        let Some(given) = self.text(key) else { return Ok(None) };
        match given.text.replace('_', "").parse() {
            Ok(value) if (min..=max).contains(&value) => Ok(Some(value)),
            _ => Err(ConfigError::new(key, &given.text, setting.allowed()).at(&given.from)),
        }
    }

    /// True or false.
    pub fn boolean(&self, key: &'static str) -> Result<bool, ConfigError> {
        let given = self.text(key).expect("every boolean has a default, which a test walks");
        given
            .text
            .parse()
            .map_err(|_| ConfigError::new(key, &given.text, find(key).allowed()).at(&given.from))
    }

    /// One of the permitted words.
    pub fn choice(&self, key: &'static str) -> Result<&'static str, ConfigError> {
        let setting = find(key);
        let table::Kind::Choice(words) = setting.kind else {
            unreachable!("{key} is asked for as a choice")
        };
        let given = self.text(key).expect("every choice has a default, which a test walks");
        words
            .iter()
            .find(|word| **word == given.text)
            .copied()
            .ok_or_else(|| ConfigError::new(key, &given.text, setting.allowed()).at(&given.from))
    }
}

/// The table's line; asking for a key that is not there is a fault of this module.
pub(super) fn find(key: &'static str) -> &'static Setting {
    SETTINGS
        .iter()
        .find(|setting| setting.key == key)
        .expect("only keys of the table are asked for, and every load asks for all of them")
}

/// One table of a list of tables, its keys known.
struct Entry<'a> {
    /// The list, as in the file.
    list: &'static str,
    keys: &'a toml::Table,
    name: &'a str,
}

impl<'a> Entry<'a> {
    fn of(
        list: &'static str,
        value: &'a toml::Value,
        known: &[&str],
        later: &[&str],
        name: &'a str,
    ) -> Result<Self, ConfigError> {
        let Some(keys) = value.as_table() else {
            return Err(ConfigError::new(list, value.to_string(), format!("[[{list}]]")).at(name));
        };
        for (key, value) in keys {
            let path = format!("{list}.{key}");
            if later.contains(&key.as_str()) {
                return Err(ConfigError::not_built(&path, value.to_string()).at(name));
            }
            if !known.contains(&key.as_str()) {
                let known: Vec<String> = known.iter().map(|key| format!("{list}.{key}")).collect();
                return Err(unknown(&path, name, known.iter().map(String::as_str)));
            }
        }
        Ok(Self { list, keys, name })
    }

    fn refuse(&self, key: &str, allowed: &str) -> ConfigError {
        let value = self.keys.get(key).map_or("nothing".to_owned(), ToString::to_string);
        ConfigError::new(&format!("{}.{key}", self.list), value, allowed).at(self.name)
    }

    fn text(&self, key: &str, allowed: &str) -> Result<String, ConfigError> {
        let text = self.keys.get(key).and_then(toml::Value::as_str);
        text.map(str::to_owned).ok_or_else(|| self.refuse(key, allowed))
    }

    fn text_if_any(&self, key: &str, allowed: &str) -> Result<Option<String>, ConfigError> {
        self.keys.get(key).map(|_| self.text(key, allowed)).transpose()
    }

    /// False where nothing is said.
    fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.keys.get(key) {
            None => Ok(false),
            Some(toml::Value::Boolean(value)) => Ok(*value),
            Some(_) => Err(self.refuse(key, "true or false")),
        }
    }
}

fn listeners(tables: &[toml::Value], name: &str) -> Result<Vec<GivenListener>, ConfigError> {
    let mut out = Vec::with_capacity(tables.len());
    for table in tables {
        let entry = Entry::of("listener", table, LISTENER_KEYS, LISTENER_KEYS_LATER, name)?;
        out.push(GivenListener {
            kind: entry.text("kind", &Kind::ALL.map(Kind::name).join(", "))?,
            address: entry.text("address", "IP:PORT, [IPv6]:PORT or off")?,
            tls: entry.flag("tls")?,
            proxy: entry.flag("proxy")?,
            from: name.to_owned(),
        });
    }
    Ok(out)
}

fn certificates(tables: &[toml::Value], name: &str) -> Result<Vec<(String, String)>, ConfigError> {
    const LIST: &str = "tls.certificates";
    if tables.len() > CERTIFICATES_MAX {
        let allowed = format!("up to {CERTIFICATES_MAX}");
        return Err(ConfigError::new(LIST, tables.len().to_string(), allowed).at(name));
    }
    let mut out = Vec::with_capacity(tables.len());
    for table in tables {
        if !table.is_table() {
            let allowed = "a directory, or a list of { chain = \"FILE\", key = \"FILE\" }";
            return Err(ConfigError::new(LIST, table.to_string(), allowed).at(name));
        }
        let entry = Entry::of(LIST, table, CERTIFICATE_KEYS, &[], name)?;
        out.push((entry.text("chain", "a PEM file")?, entry.text("key", "a PEM file")?));
    }
    Ok(out)
}

fn rules(tables: &[toml::Value], name: &str) -> Result<Vec<GivenRule>, ConfigError> {
    const LIST: &str = "mqtt.rule";
    if tables.len() > RULES_MAX {
        let allowed = format!("up to {RULES_MAX}");
        return Err(ConfigError::new(LIST, tables.len().to_string(), allowed).at(name));
    }
    let mut out = Vec::with_capacity(tables.len());
    for table in tables {
        let entry = Entry::of(LIST, table, RULE_KEYS, &[], name)?;
        out.push(GivenRule {
            effect: entry.text("effect", "allow, deny")?,
            action: entry.text("action", "publish, subscribe, both")?,
            user: entry.text_if_any("user", "a user's name; without it: everybody")?,
            filter: entry.text("filter", "a topic filter")?,
            from: name.to_owned(),
        });
    }
    Ok(out)
}
