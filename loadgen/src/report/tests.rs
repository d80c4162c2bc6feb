use super::*;

/// A report in which nothing is wrong.
pub(crate) fn clean() -> Report {
    let mut latency = Latency::default();
    for us in 1..=500 {
        latency.record(us);
    }
    let figures = StageFigures::from(&latency);
    Report {
        schema: SCHEMA.to_owned(),
        offered: 500,
        acknowledged: 500,
        delivered: 500,
        lost: 0,
        duplicated: 0,
        reordered: 0,
        corrupted: 0,
        misdelivered: 0,
        reconnects: 0,
        heartbeats_expected: 4,
        heartbeats_answered: 4,
        connections_held: 2,
        latency_us: figures.quantiles,
        server: Server::default(),
        verdict: Verdict::Clean,
        name: "chat".to_owned(),
        kind: "chat".to_owned(),
        protocol: "native".to_owned(),
        headline: Stage::Deliver,
        achieved: 499,
        reasons: Vec::new(),
        notes: Vec::new(),
        thresholds: Vec::new(),
        stages: BTreeMap::from([(Stage::Deliver, figures)]),
        series: vec![row()],
        actions: Vec::new(),
        errors: BTreeMap::from([("reset".to_owned(), 2)]),
        oracle: Findings::default(),
        expected: 500,
        connections_asked: 2,
        connections_min: 2,
        connect_rate: 1.0,
        offered_rate: 50.0,
        achieved_rate: 49.9,
        delivered_rate: 50.0,
        repeats: 0,
        refused: 0,
        shed: 0,
        address_conflicts: 0,
        measured_s: 10.0,
        measured_from_s: 1.0,
        interrupted: false,
        evidence: Evidence::default(),
    }
}

fn row() -> Row {
    Row {
        t_s: 0.0,
        seconds: 1.0,
        phase: Phase::Measure,
        offered: 500,
        achieved: 499,
        acknowledged: 499,
        delivered: 499,
        online: 2,
        reconnects: 0,
        errors: 0,
        waiting: 1,
        p50_us: Some(250),
        p99_us: Some(495),
        p999_us: Some(500),
        lag_p99_us: Some(40),
        server_cpu: None,
        server_memory_bytes: None,
        generator_cpu: 0.25,
        histogram: None,
    }
}

#[test]
fn json_has_the_fixed_names() {
    let json: serde_json::Value = serde_json::from_str(&clean().to_json()).unwrap();
    for name in [
        "offered",
        "acknowledged",
        "delivered",
        "lost",
        "duplicated",
        "reordered",
        "corrupted",
        "misdelivered",
        "reconnects",
        "heartbeats_expected",
        "heartbeats_answered",
        "connections_held",
        "latency_us",
        "server",
        "verdict",
        "achieved",
        "stages",
        "series",
        "thresholds",
        "evidence",
        "reasons",
        "kind",
    ] {
        assert!(json.get(name).is_some(), "{name}");
    }
    assert_eq!(json["schema"], "hawser-loadgen/1");
    assert_eq!((&json["verdict"], &json["headline"]), (&"clean".into(), &"deliver".into()));
    for name in ["p50", "p99", "p999", "max"] {
        assert!(json["latency_us"][name].is_u64(), "{name}");
        assert!(json["stages"]["deliver"][name].is_u64(), "{name}");
    }
    for name in ["cpu_us_per_message", "bytes_per_connection"] {
        assert!(json["server"].get(name).is_some(), "{name}");
    }
    let histogram = json["stages"]["deliver"]["histogram"].as_str().unwrap();
    assert!(histogram.starts_with("HISTFAAA"), "{histogram}");
}

#[test]
fn json_brings_back_the_whole_report() {
    let report = clean();
    let back = Report::from_json(&report.to_json()).unwrap();
    assert_eq!(back, report);
    let latency = back.latency(Stage::Deliver).unwrap().unwrap();
    assert_eq!(Quantiles::from(&latency), report.latency_us);
    assert!(back.latency(Stage::Sync).unwrap().is_none());
}

#[test]
fn report_of_another_schema_is_refused_by_name() {
    let json = clean().to_json().replace(SCHEMA, "hawser-loadgen/2");
    let error = Report::from_json(&json).unwrap_err();
    assert!(error.contains("hawser-loadgen/2"), "{error}");
    assert!(Report::from_json("{}").unwrap_err().contains("no report of a run"));
}

#[test]
fn table_shows_offered_beside_achieved_and_the_three_figures() {
    let mut report = clean();
    let figures = report.stages[&Stage::Deliver].clone();
    report.stages.insert(Stage::DeliverSent, figures.clone());
    report.stages.insert(Stage::Lag, figures);
    report.thresholds.push(ThresholdResult {
        text: "p99 < 1ms over 10s windows".to_owned(),
        held: false,
        worst: Some(1500.0),
        at_s: Some(7.0),
    });
    let table = report.table();
    for part in [
        "offered 500  achieved 499",
        "offered 50/s  achieved 50/s (99.8 %)",
        "intended to delivered",
        "sent to delivered",
        "schedule lag",
        "MISSED  p99 < 1ms over 10s windows  (worst 1.500 ms at 7s)",
        "2 reset",
    ] {
        assert!(table.contains(part), "{part} not in\n{table}");
    }
}

#[test]
fn interrupted_run_ends_with_its_own_exit_code() {
    let mut report = clean();
    assert_eq!(report.exit_code(), 0);
    report.interrupted = true;
    assert_eq!(report.exit_code(), 130);
}
