//! Made-up reports that look like real ones.

use std::collections::BTreeMap;

use hawser_loadgen::{
    oracle::Findings,
    report::{
        Evidence, Generator, Phase, Report, Row, SCHEMA, Server, ServerProcess, StageFigures,
        ThreadShare, ThresholdResult, Verdict,
    },
    tally::{Latency, Stage},
};

/// What a made-up run is like.
pub struct Sample {
    pub seed: u64,
    /// Seconds of the schedule.
    pub seconds: u32,
    /// Factor on every latency.
    pub slower: f64,
    /// The server stands still for a second in the middle.
    pub stall: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Self { seed: 1, seconds: 40, slower: 1.0, stall: false }
    }
}

const RATE: u64 = 2000;
const USERS: u64 = 5000;

/// Numbers between 0 and 1 that follow from the seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Two bands and a long tail, microseconds.
    fn latency(&mut self, slower: f64) -> f64 {
        let base = if self.next() < 0.3 { 420.0 } else { 180.0 };
        let spread = (-self.next().ln()).powf(1.6) * 45.0;
        let tail = if self.next() < 0.002 { 4_000.0 * -self.next().ln() } else { 0.0 };
        (base + spread + tail) * slower
    }
}

pub fn report(sample: &Sample) -> Report {
    let mut chance = Chance(sample.seed.wrapping_add(77));
    let mut stages: BTreeMap<Stage, Latency> = BTreeMap::new();
    let mut series = Vec::new();
    for second in 0..4 {
        series.push(connecting(second));
    }
    for second in 0..sample.seconds {
        series.push(running(sample, second, &mut chance, &mut stages));
    }
    let mut connect = Latency::default();
    for _ in 0..USERS {
        connect.record((chance.latency(1.0) * 3.0) as u64);
    }
    stages.insert(Stage::Connect, connect);
    let stages: BTreeMap<Stage, StageFigures> =
        stages.iter().map(|(stage, latency)| (*stage, StageFigures::from(latency))).collect();
    let offered = RATE * u64::from(sample.seconds);
    let latency_us = stages[&Stage::Deliver].quantiles;
    Report {
        schema: SCHEMA.to_owned(),
        offered,
        acknowledged: offered,
        delivered: offered,
        lost: 0,
        duplicated: 0,
        reordered: 0,
        corrupted: 0,
        misdelivered: 0,
        reconnects: if sample.stall { 480 } else { 0 },
        heartbeats_expected: 2 * USERS,
        heartbeats_answered: 2 * USERS,
        connections_held: USERS,
        latency_us,
        server: Server {
            cpu_us_per_message: Some(11.46 * sample.slower),
            bytes_per_connection: Some(5312.7),
            cpu_us_per_connect: Some(44.0),
            cpu: Some(0.31),
            memory_bytes: Some(61_000_000),
        },
        verdict: Verdict::Clean,
        name: "chat".to_owned(),
        kind: "chat".to_owned(),
        protocol: "native".to_owned(),
        headline: Stage::Deliver,
        achieved: offered - 3,
        reasons: Vec::new(),
        notes: Vec::new(),
        thresholds: vec![ThresholdResult {
            text: "achieved/offered >= 0.99".to_owned(),
            held: true,
            worst: Some(0.99996),
            at_s: None,
        }],
        stages,
        series,
        actions: Vec::new(),
        errors: BTreeMap::new(),
        oracle: Findings::default(),
        expected: offered,
        connections_asked: USERS,
        connections_min: USERS,
        connect_rate: 2500.0,
        offered_rate: RATE as f64,
        achieved_rate: RATE as f64 - 0.2,
        delivered_rate: RATE as f64,
        repeats: 0,
        refused: 0,
        shed: 0,
        address_conflicts: 0,
        measured_s: f64::from(sample.seconds) - 3.0,
        measured_from_s: 3.0,
        interrupted: false,
        evidence: evidence(sample),
    }
}

fn evidence(sample: &Sample) -> Evidence {
    let settings = [("net.core.somaxconn", "4096"), ("net.ipv4.tcp_mem", "286368 381824 572736")];
    Evidence {
        version: "0.1.0".to_owned(),
        git: Some("9d2db19".to_owned()),
        command: "hawser-loadgen run chat --connections 5000 --rate 2000 --duration 40s \
                  --warm-up 3s --server-pid 4711 --report chat.html --json chat.json"
            .to_owned(),
        scenario: serde_json::json!({ "name": "chat", "users": USERS, "load": { "rate": RATE } }),
        seed: sample.seed,
        run: "de371110f6039fae".to_owned(),
        target: "127.0.0.1:7900".to_owned(),
        started_at: "2026-11-22T06:35:00Z".to_owned(),
        kernel: "6.18.44".to_owned(),
        cpu_model: "Xeon at 2.0 GHz".to_owned(),
        cores: 2,
        governor: None,
        memory_bytes: 24 << 30,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        server: Some(ServerProcess {
            pid: 4711,
            command: "hawser-gateway --data-dir /tmp/data".to_owned(),
            gone_at_s: None,
        }),
        generator: Generator {
            threads: vec![ThreadShare { name: "load-0".to_owned(), cpu: 0.22, wait: Some(0.011) }],
            cpu: 0.22,
            memory_bytes: 14 << 20,
        },
    }
}

fn connecting(second: u32) -> Row {
    Row {
        t_s: f64::from(second) - 4.0,
        seconds: 1.0,
        phase: Phase::Connect,
        offered: 0,
        achieved: 0,
        acknowledged: 0,
        delivered: 0,
        online: (USERS * u64::from(second + 1) / 4).min(USERS),
        reconnects: 0,
        errors: 0,
        waiting: 0,
        p50_us: None,
        p99_us: None,
        p999_us: None,
        lag_p99_us: None,
        server_cpu: Some(0.11),
        server_memory_bytes: Some(30_000_000 + u64::from(second) * 6_600_000),
        generator_cpu: 0.3,
        histogram: None,
    }
}

fn running(
    sample: &Sample,
    second: u32,
    chance: &mut Chance,
    stages: &mut BTreeMap<Stage, Latency>,
) -> Row {
    let measured = second >= 3;
    let stalled = sample.stall && second == sample.seconds / 2;
    let mut of_second = Latency::default();
    let mut lag = Latency::default();
    for message in 0..RATE {
        let us = chance.latency(sample.slower);
        // Who was to be sent at the beginning of the stall waits longest.
        let wait = if stalled { 1e6 * (1.0 - message as f64 / RATE as f64) } else { 0.0 };
        let late = chance.next() * 12.0 + 1.0;
        of_second.record((us + wait) as u64);
        lag.record(late as u64);
        if measured {
            for (stage, us) in [
                (Stage::Deliver, us + wait),
                (Stage::DeliverSent, us + if message == 0 { wait } else { 0.0 }),
                (Stage::Acknowledge, us * 0.8 + wait),
                (Stage::AcknowledgeSent, us * 0.78),
                (Stage::Lag, late),
            ] {
                stages.entry(stage).or_default().record(us as u64);
            }
        }
    }
    let after = sample.stall && second == sample.seconds / 2 + 1;
    let done = if stalled { 12 } else { RATE + u64::from(after) * (RATE - 12) };
    Row {
        t_s: f64::from(second),
        seconds: 1.0,
        phase: if measured { Phase::Measure } else { Phase::WarmUp },
        offered: RATE,
        achieved: done,
        acknowledged: done,
        delivered: done,
        online: USERS - if stalled { 480 } else { 0 },
        reconnects: if after { 480 } else { 0 },
        errors: if stalled { 480 } else { 0 },
        waiting: if stalled { RATE } else { 3 },
        p50_us: Some(of_second.quantile(0.5)),
        p99_us: Some(of_second.quantile(0.99)),
        p999_us: Some(of_second.quantile(0.999)),
        lag_p99_us: Some(lag.quantile(0.99)),
        server_cpu: Some((0.27 + chance.next() * 0.08) * sample.slower),
        server_memory_bytes: Some(61_000_000 + u64::from(second) * 20_000),
        generator_cpu: 0.2 + chance.next() * 0.04,
        histogram: Some(of_second.to_text()),
    }
}
