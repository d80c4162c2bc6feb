//! Scenario files: TOML with the names of [`Scenario`]'s fields.
//!
//! What a file leaves out is as usual for its kind. An unknown key, a value out of its range, a key
//! that the kind has no use for: each is refused with file, line and what is allowed, because a
//! silently ignored line makes a measurement of something else. [`write()`] gives a whole scenario
//! back as such a file.

use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, de::DeTable};

use super::{
    Action, Addressing, Arrivals, Close, Complaint, Curve, HeartbeatShare, Kind, Protocol,
    Recipients, Scenario, Segment, Threshold, check, day,
    value::{Rate, RateOrNone, Share, Time, Whole},
};
use crate::{
    arguments::{CONNECTIONS_MAX, DEVICES_MAX},
    payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN},
};

/// A scenario as text, and how the CSV files it names are read.
pub struct Source<'a> {
    /// Of the file, for messages.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
    /// Content of a CSV file by the name that stands in the scenario, or why there is none.
    pub csv: &'a dyn Fn(&str) -> Result<String, String>,
}

/// Reads a scenario; its name is the file's unless it has one of its own.
///
/// # Errors
/// One line with file, line and what is allowed.
pub fn read(source: &Source<'_>, name: &str) -> Result<Scenario, String> {
    let draft: Draft = toml::from_str(source.text).map_err(|error| {
        source.complain(error.span(), error.message().trim_end().replace('\n', ", "))
    })?;
    let mut scenario = Scenario::usual(draft.kind);
    scenario.name = draft.name.clone().unwrap_or_else(|| name.to_owned());
    let keys = keys(source.text);
    for (key, span) in &keys {
        if let Some(reason) = check::unused(draft.kind, key, key) {
            return Err(source.complain(Some(span.clone()), reason));
        }
    }
    for text in draft.thresholds.iter().flatten() {
        // A list's reader does not tell where an item stands.
        let threshold = Threshold::parse(text.get_ref());
        let complain = |reason| source.complain(Some(text.span()), reason);
        scenario.thresholds.push(threshold.map_err(complain)?);
    }
    let complain = |complaint: Complaint| {
        let of_key = keys.iter().find(|(key, _)| *key == complaint.key);
        let of_table = || {
            keys.iter().find(|(key, _)| key.split('.').next() == complaint.key.split('.').next())
        };
        let span = of_key.or_else(of_table).map(|(_, span)| span.clone());
        source.complain(span, complaint.reason)
    };
    draft.lay_over(&mut scenario, source).map_err(complain)?;
    check::check(&scenario).map_err(complain)?;
    Ok(scenario)
}

/// A whole scenario as a file that [`read`] gives the same scenario for.
pub fn write(scenario: &Scenario) -> String {
    toml::to_string(scenario).expect("a scenario has only tables with text keys")
}

impl Source<'_> {
    fn complain(&self, span: Option<Range<usize>>, reason: String) -> String {
        let Some(span) = span else { return format!("{}: {reason}", self.name) };
        let start = span.start.min(self.text.len());
        let before = &self.text[..start];
        let line = before.matches('\n').count() + 1;
        let shown = self.text.lines().nth(line - 1).unwrap_or_default().trim();
        format!("{}, line {line}: {shown}: {reason}", self.name)
    }
}

/// All keys of a file as `table.key` with their places, tables in lists left out.
fn keys(text: &str) -> Vec<(String, Range<usize>)> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let mut keys = Vec::new();
    for (key, value) in document.get_ref() {
        match value.get_ref().as_table() {
            Some(table) => keys.extend(table.iter().map(|(inner, _)| {
                (format!("{}.{}", key.get_ref(), inner.get_ref()), inner.span())
            })),
            None => keys.push((key.get_ref().to_string(), key.span())),
        }
    }
    keys
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    kind: Kind,
    name: Option<String>,
    protocol: Option<Protocol>,
    tls: Option<bool>,
    path: Option<String>,
    users: Option<Whole<1, CONNECTIONS_MAX>>,
    devices: Option<Whole<1, DEVICES_MAX>>,
    duration: Option<Time>,
    warm_up: Option<Time>,
    drain: Option<Time>,
    payload_bytes: Option<Whole<{ PAYLOAD_BYTES_MIN as u32 }, { PAYLOAD_BYTES_MAX as u32 }>>,
    recipients: Option<Recipients>,
    thresholds: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    connect: ConnectDraft,
    #[serde(default)]
    load: LoadDraft,
    #[serde(default)]
    groups: GroupsDraft,
    #[serde(default)]
    replies: RepliesDraft,
    #[serde(default)]
    disturb: DisturbDraft,
    #[serde(default)]
    mqtt: MqttDraft,
    heartbeats: Option<Vec<HeartbeatDraft>>,
    actions: Option<Vec<ActionDraft>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectDraft {
    rate: Option<Rate>,
    within: Option<Time>,
    arrivals: Option<Arrivals>,
    unbounded: Option<bool>,
    close: Option<Close>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadDraft {
    rate: Option<Rate>,
    curve: Option<CurveDraft>,
    csv: Option<String>,
    day: Option<Time>,
    arrivals: Option<Arrivals>,
    in_flight: Option<Whole<1, 1024>>,
}

/// Either of the forms in which a curve is written.
#[derive(Deserialize)]
#[serde(try_from = "toml::Value")]
struct CurveDraft(Curve);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentDraft {
    #[serde(rename = "for")]
    lasts: Time,
    rate: Option<RateOrNone>,
    from: Option<RateOrNone>,
    to: Option<RateOrNone>,
}

impl TryFrom<toml::Value> for CurveDraft {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let form = "allowed: a list of { for = \"10s\", rate = 100 } and \
                    { for = \"10s\", from = 100, to = 200 }; from may be left out where a ramp goes \
                    on from the rate before it";
        if let Some(rate) = value.as_float().or_else(|| value.as_integer().map(|rate| rate as f64))
        {
            return RateOrNone::try_from(rate).map(|rate| Self(Curve::Constant(rate.0)));
        }
        let list: Vec<SegmentDraft> = value
            .try_into()
            .map_err(|error: toml::de::Error| format!("{}; {form}", error.message()))?;
        if list.is_empty() {
            return Err(form.to_owned());
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(list.len());
        for one in list {
            let before = segments.last().map(|segment| segment.to);
            let from = one.rate.or(one.from).map(|rate| rate.0).or(before);
            let to = one.rate.or(one.to).map(|rate| rate.0);
            let both_forms = one.rate.is_some() && (one.from.is_some() || one.to.is_some());
            match (from, to) {
                (Some(from), Some(to)) if !both_forms => {
                    segments.push(Segment { lasts: one.lasts.0, from, to });
                }
                _ => return Err(form.to_owned()),
            }
        }
        Ok(Self(Curve::Segments(segments)))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsDraft {
    count: Option<Whole<1, 1_000_000>>,
    members: Option<Whole<0, CONNECTIONS_MAX>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepliesDraft {
    hops: Option<Whole<0, 255>>,
    think: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DisturbDraft {
    share: Option<Share>,
    at: Option<Time>,
    every: Option<Time>,
    #[serde(rename = "for")]
    lasts: Option<Time>,
    spread: Option<Time>,
    rate: Option<RateOrNone>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttDraft {
    qos: Option<Whole<0, 2>>,
    clean: Option<bool>,
    addressing: Option<Addressing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatDraft {
    share: Share,
    seconds: Whole<0, 65_535>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionDraft {
    at: Time,
    run: Vec<String>,
}

/// A value of a file is put over the usual one.
pub(crate) fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

impl Draft {
    fn lay_over(self, scenario: &mut Scenario, source: &Source<'_>) -> Result<(), Complaint> {
        set(&mut scenario.protocol, self.protocol);
        set(&mut scenario.tls, self.tls);
        set(&mut scenario.path, self.path);
        set(&mut scenario.users, self.users.map(|users| users.0));
        set(&mut scenario.devices, self.devices.map(|devices| devices.0));
        let duration_given = self.duration.is_some();
        set(&mut scenario.duration, self.duration.map(|time| time.0));
        set(&mut scenario.warm_up, self.warm_up.map(|time| time.0));
        set(&mut scenario.drain, self.drain.map(|time| time.0));
        set(&mut scenario.payload_bytes, self.payload_bytes.map(|bytes| bytes.0));
        set(&mut scenario.recipients, self.recipients);
        self.connect.lay_over(scenario)?;
        self.load.lay_over(scenario, source)?;
        if let (false, Some(length)) = (duration_given, scenario.load.curve.length()) {
            // Of a constant rate written as a segment without length.
            if !length.is_zero() {
                scenario.duration = length;
            }
        }
        set(&mut scenario.groups.count, self.groups.count.map(|count| count.0));
        set(&mut scenario.groups.members, self.groups.members.map(|members| members.0));
        set(&mut scenario.replies.hops, self.replies.hops.map(|hops| hops.0 as u8));
        set(&mut scenario.replies.think, self.replies.think.map(|time| time.0));
        let disturb = &mut scenario.disturb;
        set(&mut disturb.share, self.disturb.share.map(|share| share.0));
        set(&mut disturb.at, self.disturb.at.map(|time| time.0));
        set(&mut disturb.every, self.disturb.every.map(|time| time.0));
        set(&mut disturb.lasts, self.disturb.lasts.map(|time| time.0));
        set(&mut disturb.spread, self.disturb.spread.map(|time| time.0));
        set(&mut disturb.rate, self.disturb.rate.map(|rate| rate.0));
        set(&mut scenario.mqtt.qos, self.mqtt.qos.map(|qos| qos.0 as u8));
        set(&mut scenario.mqtt.clean, self.mqtt.clean);
        set(&mut scenario.mqtt.addressing, self.mqtt.addressing);
        let heartbeat = |one: HeartbeatDraft| HeartbeatShare {
            share: one.share.0,
            seconds: one.seconds.0 as u16,
        };
        let heartbeats = self.heartbeats.map(|all| all.into_iter().map(heartbeat).collect());
        set(&mut scenario.heartbeats, heartbeats);
        let action = |one: ActionDraft| Action { at: one.at.0, run: one.run };
        let actions = self.actions.map(|all| all.into_iter().map(action).collect());
        set(&mut scenario.actions, actions);
        Ok(())
    }
}

impl ConnectDraft {
    fn lay_over(self, scenario: &mut Scenario) -> Result<(), Complaint> {
        if let (Some(_), Some(_)) = (self.rate, self.within) {
            let reason = "either rate or within, not both";
            return Err(Complaint::new("connect.within", reason));
        }
        set(&mut scenario.connect.rate, self.rate.map(|rate| rate.0));
        if let Some(within) = self.within {
            scenario.connect.rate = check::connect_rate(scenario, within.0)?;
        }
        set(&mut scenario.connect.arrivals, self.arrivals);
        set(&mut scenario.connect.unbounded, self.unbounded);
        set(&mut scenario.connect.close, self.close);
        Ok(())
    }
}

impl LoadDraft {
    fn lay_over(self, scenario: &mut Scenario, source: &Source<'_>) -> Result<(), Complaint> {
        let given = [self.rate.is_some(), self.curve.is_some(), self.csv.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(Complaint::new("load.rate", "one of rate, curve and csv, not several"));
        }
        if self.day.is_some() && self.csv.is_none() {
            return Err(Complaint::new("load.day", "says how fast the curve of csv is played"));
        }
        let load = &mut scenario.load;
        set(&mut load.curve, self.rate.map(|rate| Curve::Constant(rate.0)));
        set(&mut load.curve, self.curve.map(|curve| curve.0));
        if let Some(name) = self.csv {
            let complain = |reason| Complaint { key: "load.csv", reason };
            let text = (source.csv)(&name).map_err(complain)?;
            let curve = day::curve(&name, &text, self.day.map(|time| time.0)).map_err(complain)?;
            load.curve = curve;
        }
        set(&mut load.arrivals, self.arrivals);
        load.in_flight = self.in_flight.map(|messages| messages.0).or(load.in_flight);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
