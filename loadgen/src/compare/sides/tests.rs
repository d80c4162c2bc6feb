use super::*;
use crate::{
    report::{StageFigures, tests::clean},
    tally::Stage,
};

/// Runs numbered from `first`, with this scenario.
fn runs(first: u64, count: u64, change: impl Fn(&mut Report)) -> Vec<Named> {
    let numbered = (first..first + count).map(|number| {
        let mut report = clean();
        report.evidence.run = format!("{number:016x}");
        report.evidence.started_at = format!("2026-11-22T06:30:{number:02}.5Z");
        report.evidence.scenario =
            serde_json::json!({"name": "chat", "users": 10, "load": {"curve": 500.0}});
        change(&mut report);
        Named { name: format!("{number}.json"), report }
    });
    numbered.collect()
}

fn joined(second: impl Fn(&mut Report), leave: &Leave) -> Result<Sides, String> {
    let sides =
        vec![("old".to_owned(), runs(1, 5, |_| ())), ("new".to_owned(), runs(11, 5, second))];
    join(sides, leave).map_err(|refusal| match refusal {
        Refusal::Input(text) | Refusal::File(text) => text,
    })
}

#[test]
fn runs_of_one_scenario_are_compared_by_their_histograms() {
    let sides = joined(|_| (), &Leave::default()).unwrap();
    assert_eq!((sides.sides[1].runs.len(), sides.warnings.len()), (5, 0), "{:?}", sides.warnings);
    let run = &sides.sides[0].runs[0];
    assert_eq!((run.latencies.total(), run.latencies.quantile(0.5)), (500, 250));
    assert_eq!((run.seconds.len(), run.throughput), (1, Some(49.9)));
    assert!(sides.sides[0].runs.is_sorted_by_key(|run| run.started));
    assert_eq!(sides.subject, "chat over native");
}

#[test]
fn another_scenario_is_refused_by_the_name_of_what_differs() {
    let other_load = |report: &mut Report| {
        report.evidence.scenario["load"]["curve"] = 600.0.into();
    };
    let refusal = joined(other_load, &Leave::default()).unwrap_err();
    assert!(refusal.contains("old and new differ in load.curve: 500.0 and 600.0"), "{refusal}");
    let vary = Leave { vary: vec!["load".to_owned()], anyway: false };
    let allowed = joined(other_load, &vary).unwrap();
    assert!(allowed.warnings.is_empty(), "{:?}", allowed.warnings);
    assert_eq!(allowed.subject, "chat, differing in load.curve");
    let anyway = joined(other_load, &Leave { anyway: true, ..Leave::default() }).unwrap();
    assert!(anyway.warnings[0].contains("load.curve"), "{:?}", anyway.warnings);
    let vary = Leave { vary: vec!["loa".to_owned()], anyway: false };
    assert!(joined(other_load, &vary).is_err());
}

#[test]
fn name_and_thresholds_of_a_scenario_may_differ() {
    let renamed = |report: &mut Report| {
        report.evidence.scenario["name"] = "mine".into();
        report.evidence.scenario["thresholds"] = serde_json::json!(["p99 < 1s"]);
    };
    assert!(joined(renamed, &Leave::default()).is_ok());
}

#[test]
fn invalid_and_interrupted_runs_are_refused() {
    let invalid = |report: &mut Report| {
        report.verdict = Verdict::Invalid;
        report.reasons = vec!["the generator was late".to_owned()];
    };
    let refusal = joined(invalid, &Leave::default()).unwrap_err();
    assert!(refusal.contains("11.json: invalid run: the generator was late"), "{refusal}");
    let refusal = joined(|report| report.interrupted = true, &Leave::default()).unwrap_err();
    assert!(refusal.contains("interrupted"), "{refusal}");
}

#[test]
fn same_run_given_twice_is_refused() {
    let sides = vec![("a".to_owned(), runs(1, 5, |_| ())), ("b".to_owned(), runs(5, 5, |_| ()))];
    let Err(Refusal::Input(refusal)) = join(sides, &Leave::default()) else {
        panic!("run 5 is on both sides")
    };
    assert!(refusal.contains("are the same run, 0000000000000005"), "{refusal}");
}

#[test]
fn runs_of_one_side_must_be_alike() {
    let mixed = |report: &mut Report| {
        if report.evidence.run.ends_with('c') {
            report.protocol = "mqtt".to_owned();
        }
    };
    // Varying the protocol between sides does not allow it within one.
    let vary = Leave { vary: vec!["protocol".to_owned()], anyway: false };
    let refusal = joined(mixed, &vary).unwrap_err();
    assert!(refusal.contains("11.json and 12.json are not runs of one side"), "{refusal}");
}

#[test]
fn what_a_reader_should_know_is_told() {
    let elsewhere = |report: &mut Report| {
        report.evidence.kernel = "7.0".to_owned();
        report.verdict = Verdict::CorrectnessFailed;
        report.reasons = vec!["3 messages delivered twice".to_owned()];
    };
    let warnings = joined(elsewhere, &Leave::default()).unwrap().warnings;
    assert!(warnings[0].starts_with("kernel: old ran on"), "{warnings:?}");
    assert!(warnings[1].contains("3 messages delivered twice"), "{warnings:?}");
}

#[test]
fn damaged_histogram_names_the_file() {
    let damaged = |report: &mut Report| {
        let figures = StageFigures { histogram: "nonsense".to_owned(), ..StageFigures::default() };
        report.stages.insert(Stage::Deliver, figures);
    };
    let refusal = joined(damaged, &Leave::default()).unwrap_err();
    assert!(refusal.starts_with("11.json: "), "{refusal}");
}

#[test]
fn sides_are_read_from_files_and_directories() {
    let directory = std::env::temp_dir().join(format!("hawser-compare-{}", std::process::id()));
    let base = directory.join("base");
    fs::create_dir_all(&base).unwrap();
    for run in runs(1, 2, |_| ()) {
        fs::write(base.join(&run.name), run.report.to_json()).unwrap();
    }
    fs::write(base.join("other.json"), "{\"schema\": \"hawser-compare/1\"}").unwrap();
    let alone = directory.join("alone.json");
    fs::write(&alone, runs(9, 1, |_| ())[0].report.to_json()).unwrap();
    let texts = [format!("{}/", base.display()), format!("new={}", alone.display())];
    let sides = read(&texts, &Leave::default()).unwrap();
    assert_eq!((sides.sides[0].runs.len(), sides.sides[1].runs.len()), (2, 1));
    assert_eq!(sides.sides[1].name, "new");
    let missing = read(&["/nowhere.json".to_owned(), texts[1].clone()], &Leave::default());
    assert!(matches!(missing, Err(Refusal::File(text)) if text.starts_with("/nowhere.json: ")));
    let comparison = directory.join("base/other.json").display().to_string();
    let wrong = read(&[comparison, texts[1].clone()], &Leave::default());
    assert!(matches!(wrong, Err(Refusal::File(text)) if text.contains("hawser-compare/1")));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn order_of_time_survives_any_fraction_of_a_second() {
    let times = ["2026-11-22T06:30:01Z", "2026-11-22T06:30:01.25Z", "2026-11-22T06:30:02.250123Z"];
    assert!(times.map(started).is_sorted());
    assert_eq!(started("unknown"), 0);
}
