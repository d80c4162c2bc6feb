//! From flags and a scenario's file to what a run does, and where.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use super::{Options, RunArguments, Session};
use crate::{
    scenario::{
        Curve, HeartbeatShare, Kind, Recipients, Scenario, Threshold, builtin, check, day,
        file::{self, Source, set},
        time,
    },
    source::Sources,
};

impl RunArguments {
    /// What to do, and where and with what.
    ///
    /// # Errors
    /// One line that names the flag, or file and line, and what is allowed.
    pub fn resolve(&self) -> Result<(Scenario, Options), String> {
        let mut scenario = read(&self.scenario)?;
        self.refuse_unused(&scenario)?;
        self.lay_over(&mut scenario)?;
        check::check(&scenario)
            .and_then(|()| check::complete(&scenario))
            .map_err(|complaint| complaint.reason)?;
        let options = self.options(&scenario);
        check_target(&scenario, &options)?;
        Ok((scenario, options))
    }

    /// Flags that mean nothing for this kind are refused: who gives them expects something.
    fn refuse_unused(&self, scenario: &Scenario) -> Result<(), String> {
        let flags = [
            ("--pairs", "recipients", self.pairs.is_some()),
            ("--recipients", "recipients", self.recipients.is_some()),
            ("--rate", "load.rate", self.rate.is_some()),
            ("--curve", "load.csv", self.curve.is_some()),
            ("--arrivals", "load.arrivals", self.arrivals.is_some()),
            ("--in-flight", "load.in_flight", self.in_flight.is_some()),
            ("--payload", "payload_bytes", self.payload.is_some()),
            ("--groups", "groups.count", self.groups.is_some()),
            ("--members", "groups.members", self.members.is_some()),
            ("--hops", "replies.hops", self.hops.is_some()),
            ("--think", "replies.think", self.think.is_some()),
            ("--share", "disturb.share", self.share.is_some()),
            ("--at", "disturb.at", self.at.is_some()),
            ("--every", "disturb.every", self.every.is_some()),
            ("--for", "disturb.for", self.lasts.is_some()),
            ("--spread", "disturb.spread", self.spread.is_some()),
            ("--leave-rate", "disturb.rate", self.leave_rate.is_some()),
        ];
        let given = flags.iter().filter(|(_, _, given)| *given);
        let reason = |(flag, key, _): &(&str, &str, bool)| check::unused(scenario.kind, key, flag);
        given.into_iter().find_map(reason).map_or(Ok(()), Err)?;
        let of_mqtt = [
            ("--qos", self.qos.is_some()),
            ("--session", self.session.is_some()),
            ("--addressing", self.addressing.is_some()),
        ];
        let spoken = self.protocol.unwrap_or(scenario.protocol);
        match of_mqtt.iter().find(|(_, given)| *given) {
            Some((flag, _)) if !spoken.is_mqtt() => {
                Err(format!("{flag} is for --protocol mqtt and mqtt3, not for {}", spoken.name()))
            }
            _ => Ok(()),
        }
    }

    /// Flags win over the file.
    fn lay_over(&self, scenario: &mut Scenario) -> Result<(), String> {
        set(&mut scenario.protocol, self.protocol);
        scenario.tls |= self.tls;
        set(&mut scenario.path, self.path.clone());
        set(&mut scenario.duration, self.duration);
        set(&mut scenario.warm_up, self.warm_up);
        set(&mut scenario.drain, self.drain);
        set(&mut scenario.payload_bytes, self.payload);
        set(&mut scenario.groups.count, self.groups);
        set(&mut scenario.groups.members, self.members);
        set(&mut scenario.replies.hops, self.hops);
        set(&mut scenario.replies.think, self.think);
        set(&mut scenario.mqtt.qos, self.qos);
        set(&mut scenario.mqtt.clean, self.session.map(|session| session == Session::Clean));
        set(&mut scenario.mqtt.addressing, self.addressing);
        if let Some(seconds) = self.heartbeat {
            scenario.heartbeats = vec![HeartbeatShare { share: 1.0, seconds }];
        }
        self.lay_over_people(scenario)?;
        self.lay_over_load(scenario)?;
        let disturb = &mut scenario.disturb;
        set(&mut disturb.share, self.share);
        set(&mut disturb.at, self.at);
        set(&mut disturb.every, self.every);
        set(&mut disturb.lasts, self.lasts);
        set(&mut disturb.spread, self.spread);
        set(&mut disturb.rate, self.leave_rate);
        scenario.actions.extend(self.action.iter().cloned());
        scenario.actions.sort_by_key(|action| action.at);
        scenario.thresholds.extend(self.threshold.iter().cloned());
        if let Some(bound) = self.p99_max {
            scenario.thresholds.push(Threshold::parse(&format!("p99 <= {}", time::text(bound)))?);
        }
        Ok(())
    }

    fn lay_over_people(&self, scenario: &mut Scenario) -> Result<(), String> {
        let before = f64::from(scenario.connections());
        set(&mut scenario.devices, self.devices);
        if let Some(pairs) = self.pairs {
            scenario.users = pairs * 2;
            scenario.recipients = Recipients::Pair;
        }
        if let Some(connections) = self.connections {
            let devices = scenario.devices;
            if !connections.is_multiple_of(devices) {
                return Err(format!(
                    "--connections {connections}: each user has {devices} devices, so a multiple \
                     of {devices} is needed"
                ));
            }
            scenario.users = connections / devices;
        }
        set(&mut scenario.recipients, self.recipients);
        let connect = &mut scenario.connect;
        set(&mut connect.arrivals, self.connect_arrivals);
        set(&mut connect.close, self.close);
        if let Some(rate) = self.connect_rate {
            connect.rate = rate;
        } else if let Some(within) = self.connect_within {
            let rate = check::connect_rate(scenario, within).map_err(|one| one.reason)?;
            scenario.connect.rate = rate;
        } else if scenario.kind == Kind::Storm {
            // More people in a storm do not make it longer.
            let now = f64::from(scenario.devices) * f64::from(scenario.users);
            scenario.connect.rate = (scenario.connect.rate * now / before).min(super::RATE_MAX);
        }
        Ok(())
    }

    fn lay_over_load(&self, scenario: &mut Scenario) -> Result<(), String> {
        let load = &mut scenario.load;
        set(&mut load.arrivals, self.arrivals);
        set(&mut load.curve, self.rate.map(Curve::Constant));
        if let Some(path) = &self.curve {
            let name = path.display().to_string();
            let text =
                fs::read_to_string(path).map_err(|error| format!("--curve {name}: {error}"))?;
            load.curve = day::curve(&name, &text, self.day)?;
            let length = load.curve.length().unwrap_or(Duration::ZERO);
            scenario.duration = self.duration.unwrap_or(length);
        }
        if self.rate.is_some() || self.curve.is_some() {
            load.in_flight = None;
        }
        load.in_flight = self.in_flight.or(load.in_flight);
        Ok(())
    }

    fn options(&self, scenario: &Scenario) -> Options {
        let usual = (Ipv4Addr::LOCALHOST, scenario.port());
        let target = self.target.unwrap_or_else(|| usual.into());
        let usual = Options::to(target);
        Options {
            target,
            tls_ca: self.tls_ca.clone(),
            insecure: self.insecure,
            server_name: self.server_name.clone().unwrap_or(usual.server_name),
            token: self.token.clone(),
            source: self.source.clone().unwrap_or_default(),
            server_pid: self.server_pid,
            threads: self.threads,
            seed: self.seed,
            allow_remote: self.allow_remote,
            json: self.json.clone(),
            report: self.report.clone(),
            csv: self.csv.clone(),
            hlog: self.hlog.clone(),
            baseline: self.baseline.clone(),
            plain: self.plain,
            schedule_lag_max: self.schedule_lag_max,
        }
    }
}

/// A built-in scenario by its name, or a file by its path.
fn read(name: &str) -> Result<Scenario, String> {
    if let Some(scenario) = builtin::scenario(name) {
        return Ok(scenario);
    }
    let path = Path::new(name);
    let is_path = name.contains(['/', '.']) || path.exists();
    if !is_path {
        let names: Vec<&str> = builtin::list().map(|(name, _)| name).collect();
        return Err(format!(
            "no scenario is called {name}; built in: {}; a file is given by its path, as ./{name}.toml",
            names.join(", ")
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("scenario {name}: {error}"))?;
    let csv = |csv: &str| {
        let beside = path.parent().unwrap_or(Path::new("")).join(csv);
        fs::read_to_string(&beside).map_err(|error| format!("{}: {error}", beside.display()))
    };
    let stem = path.file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy());
    file::read(&Source { name, text: &text, csv: &csv }, &stem)
}

fn check_target(scenario: &Scenario, options: &Options) -> Result<(), String> {
    let target = options.target;
    if !target.ip().is_loopback() && !options.allow_remote {
        return Err(format!(
            "--target {target} is not on this machine: load goes to 127.0.0.0/8 and ::1 only, \
             unless --allow-remote says that the target's owner agrees"
        ));
    }
    if scenario.kind == Kind::NetworkChange && target.ip().is_loopback() && target.is_ipv6() {
        return Err(format!(
            "--target {target}: there is one IPv6 loopback address, so nobody can come back from \
             elsewhere; an address of 127.0.0.0/8 works"
        ));
    }
    Sources::new(target.ip(), &options.source, scenario.connections(), 0).map(|_| ())
}
