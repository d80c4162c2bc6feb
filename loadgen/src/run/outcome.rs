//! The report of a run, put together after its end.

use std::collections::BTreeMap;

use super::{Logins, MakeRing, Outcome, RunError, Watch, Window, crew::shares_of_time, headline};
use crate::{
    judge::{Grounds, judge},
    measure::{Sample, machine},
    oracle::Findings,
    record::Closed,
    report::{
        ActionResult, Evidence, Generator, Report, SCHEMA, Server, ServerProcess, ThreadShare,
        Verdict,
    },
    scenario::{Kind, Scenario},
    tally::{Counters, ErrorKind},
};

/// Set by builds that know which revision they are made from.
const GIT_REVISION: Option<&str> = option_env!("HAWSER_GIT_REVISION");

/// What the report is made of beside the workers' record.
struct Parts<'a> {
    counters: &'a Counters,
    logins: &'a Logins,
    window: &'a Window,
    findings: Findings,
    awaited: u64,
}

impl<M: MakeRing> Watch<'_, M> {
    pub(super) fn finish(
        mut self,
        command: &str,
        run: u64,
        counters: &Counters,
        logins: &Logins,
        window: &Window,
    ) -> Result<Outcome, RunError> {
        let findings = self.ground.oracle.findings();
        let awaited = self.ground.oracle.awaited();
        let threads = shares_of_time(&window.first.threads, &window.last.threads, window.seconds());
        let actions = std::mem::take(&mut self.actions).end();
        let evidence = self.evidence(command, run, window, threads);
        let parts = Parts { counters, logins, window, findings, awaited };
        let base = self.report(&parts);
        self.crew.end(&mut self.record)?;
        let rows: Vec<Closed> = self.record.rows().collect();
        let stages = self.record.stages();
        let latency_us = stages.get(&base.headline).map(|one| one.quantiles).unwrap_or_default();
        let mut notes = notes(&actions, &evidence, self.stopped);
        if self.ground.wire.is_insecure() {
            notes.push(
                "nobody checked whose the server's certificate is (--tls-insecure)".to_owned(),
            );
        }
        let series = rows.iter().map(|closed| closed.row.clone()).collect();
        let mut report = Report { latency_us, stages, series, actions, notes, evidence, ..base };
        let bound = self.options.schedule_lag_max.as_micros();
        let grounds = Grounds {
            schedule_lag_us: u64::try_from(bound).unwrap_or(u64::MAX),
            all_logged_in: logins.logged_in == u64::from(self.scenario.connections()),
            cut_off: self.cut_off,
            may_be_gone: may_be_gone(self.scenario),
            thresholds: &self.scenario.thresholds,
            rows: &rows,
        };
        judge(&mut report, &grounds);
        Ok(Outcome { report, rows, began: self.began })
    }

    /// All but the stages, the series and what is judged.
    fn report(&self, parts: &Parts<'_>) -> Report {
        let Parts { counters, findings, logins, window, awaited } = parts;
        let (first, last) = (&window.first.counters, &window.last.counters);
        let seconds = window.seconds().max(1e-3);
        let rate = |first: u64, last: u64| last.saturating_sub(first) as f64 / seconds;
        let errors = ErrorKind::ALL.iter().map(|kind| (*kind, counters.error(*kind)));
        let errors = errors.filter(|(_, count)| *count > 0);
        Report {
            schema: SCHEMA.to_owned(),
            offered: counters.offered,
            acknowledged: findings.acknowledged,
            delivered: findings.delivered,
            lost: findings.lost,
            duplicated: findings.duplicated,
            reordered: findings.reordered
                + findings.sequence_gaps
                + findings.sequence_repeats
                + findings.mailbox_gaps,
            corrupted: findings.corrupted,
            misdelivered: findings.misdelivered,
            reconnects: counters.reconnects,
            heartbeats_expected: counters.heartbeats_expected,
            heartbeats_answered: counters.heartbeats_answered,
            connections_held: counters.online,
            latency_us: Default::default(),
            server: server(logins, window),
            verdict: Verdict::Clean,
            name: self.scenario.name.clone(),
            kind: self.scenario.kind.name().to_owned(),
            protocol: self.scenario.protocol.name().to_owned(),
            headline: headline(self.scenario),
            achieved: last.done(self.viewers),
            reasons: Vec::new(),
            notes: Vec::new(),
            thresholds: Vec::new(),
            stages: BTreeMap::new(),
            series: Vec::new(),
            actions: Vec::new(),
            errors: errors.map(|(kind, count)| (kind.name().to_owned(), count)).collect(),
            oracle: *findings,
            expected: findings.delivered + awaited,
            connections_asked: u64::from(self.scenario.connections()),
            connections_min: self.connections_min.min(counters.online),
            connect_rate: logins.logged_in as f64 / logins.connect_s.max(1e-3),
            offered_rate: rate(first.offered, last.offered),
            achieved_rate: rate(first.done(self.viewers), last.done(self.viewers)),
            delivered_rate: rate(first.delivered, last.delivered),
            repeats: counters.repeats,
            refused: counters.refused,
            shed: counters.shed,
            address_conflicts: counters.address_conflicts,
            measured_s: window.seconds(),
            measured_from_s: self.scenario.warm_up.as_secs_f64(),
            interrupted: self.stopped,
            evidence: Evidence::default(),
        }
    }

    fn evidence(
        &self,
        command: &str,
        run: u64,
        window: &Window,
        threads: Vec<ThreadShare>,
    ) -> Evidence {
        let cpu_us = cpu_us(window.first.own, window.last.own).unwrap_or(0);
        let memory = self.own.as_ref().map_or(0, |own| own.last().memory_bytes);
        let start_s = self.start_us.map(|start_us| start_us as f64 / 1e6);
        let server = self.server.as_ref().map(|server| ServerProcess {
            pid: server.pid(),
            command: server.command().to_owned(),
            gone_at_s: self.gone_second.zip(start_s).map(|(gone, start_s)| gone as f64 - start_s),
        });
        Evidence {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: GIT_REVISION.map(str::to_owned),
            command: command.to_owned(),
            scenario: serde_json::to_value(self.scenario).expect("a scenario has text keys only"),
            seed: self.options.seed,
            run: format!("{run:016x}"),
            target: self.options.target.to_string(),
            started_at: machine::utc(self.began),
            kernel: machine::kernel(),
            cpu_model: machine::cpu_model(),
            cores: machine::cores(),
            governor: machine::governor(),
            memory_bytes: machine::memory_bytes(),
            settings: machine::settings(),
            server,
            generator: Generator {
                threads,
                cpu: cpu_us as f64 / 1e6 / window.seconds().max(1e-3),
                memory_bytes: memory,
            },
        }
    }
}

fn server(logins: &Logins, window: &Window) -> Server {
    let delivered = window.last.counters.delivered - window.first.counters.delivered;
    let (first, last) = (window.first.server, window.last.server);
    let growth = logins.before.zip(logins.connected).map(|(before, after)| {
        let grown = after.memory_bytes as f64 - before.memory_bytes as f64;
        grown / logins.logged_in.max(1) as f64
    });
    let cpu = cpu_us(first, last).map(|us| us as f64 / 1e6 / window.seconds().max(1e-3));
    Server {
        cpu_us_per_message: cpu_us_per(first, last, delivered),
        bytes_per_connection: growth,
        cpu_us_per_connect: cpu_us_per(logins.before, logins.connected, logins.logged_in),
        cpu,
        memory_bytes: last.map(|sample| sample.memory_bytes),
    }
}

fn cpu_us(from: Option<Sample>, to: Option<Sample>) -> Option<u64> {
    let (from, to) = from.zip(to)?;
    to.cpu_us.checked_sub(from.cpu_us)
}

/// CPU time between two samples for each of `count`.
fn cpu_us_per(from: Option<Sample>, to: Option<Sample>, count: u64) -> Option<f64> {
    let cpu_us = cpu_us(from, to)?;
    (count > 0).then(|| cpu_us as f64 / count as f64)
}

/// Connections that fall silent for good are the server's to close.
pub(super) fn may_be_gone(scenario: &Scenario) -> u64 {
    if scenario.kind != Kind::HalfOpen {
        return 0;
    }
    let marked = (0..scenario.connections()).filter(|index| scenario.is_disturbed(*index));
    marked.count() as u64
}

fn notes(actions: &[ActionResult], evidence: &Evidence, stopped: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if stopped {
        notes.push("the run was ended early: what the schedule had left was not sent".to_owned());
    }
    let gone = evidence.server.as_ref().and_then(|server| Some((server, server.gone_at_s?)));
    if let Some((server, at_s)) = gone {
        notes.push(format!(
            "the server's process {} was gone from {at_s:.0} s on: its CPU and memory are known \
             until then only",
            server.pid
        ));
    }
    for action in actions.iter().filter(|action| !action.succeeded) {
        notes.push(format!("the action \"{}\" did not succeed: {}", action.command, action.ended));
    }
    notes
}
