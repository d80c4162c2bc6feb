//! The program as people run it: files, exit codes, a signal, and a generator that is starved.

mod mock;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use hawser_loadgen::{
    report::{Phase, Report, Verdict},
    tally::{Latency, Stage},
};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use mock::Fault;

/// Lateness is another test's affair: others share the machine.
const PATIENT: &str = "--schedule-lag-max 5s";

const CHAT: &str = "run chat --plain --pairs 4 --rate 200 --connect-rate 500 --drain 5s";

/// A directory of this test's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hawser-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("temporary files can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays in the directory of temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is ended with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(target: SocketAddr, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hawser-loadgen"));
    command.args(line.split_whitespace()).arg("--target").arg(target.to_string());
    command
}

fn output(target: SocketAddr, line: &str) -> Output {
    command(target, line).output().expect("the program can be started")
}

fn report(path: &Path) -> Report {
    let text = fs::read_to_string(path).expect("the program wrote it");
    Report::from_json(&text).expect("what the program writes it reads, too")
}

#[test]
fn files_of_a_run_agree_with_each_other() {
    let target = mock::start(Fault::None);
    let directory = Directory::new("files");
    let [json, csv, hlog] = ["run.json", "run.csv", "run.hlog"].map(|name| directory.file(name));
    let line = format!(
        "{CHAT} {PATIENT} --duration 3s --warm-up 1s --server-pid {} --json {} --csv {} --hlog {}",
        std::process::id(),
        json.display(),
        csv.display(),
        hlog.display()
    );
    let output = output(target, &line);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("intended to delivered") && text.contains("schedule lag"), "{text}");
    let report = report(&json);
    assert_eq!((report.offered, report.delivered, report.verdict), (600, 600, Verdict::Clean));
    assert_eq!(report.series.iter().map(|row| row.delivered).sum::<u64>(), 600);
    let measured = report.series.iter().filter(|row| row.phase == Phase::Measure);
    assert_eq!(measured.map(|row| row.seconds).sum::<f64>(), 2.0);
    let warm_up = report.series.iter().find(|row| row.phase == Phase::WarmUp).unwrap();
    assert_eq!((warm_up.t_s, warm_up.offered > 100), (0.0, true), "{warm_up:?}");
    assert!(report.series.iter().any(|row| row.server_cpu.is_some()));

    let lines = fs::read_to_string(&csv).unwrap();
    assert_eq!(lines.lines().count(), report.series.len() + 1);

    let log = fs::read_to_string(&hlog).unwrap();
    let mut sum = Latency::default();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        if let LogEntry::Interval(interval) = entry.unwrap()
            && interval.tag().unwrap().as_str() == Stage::Deliver.name()
        {
            sum.add(&Latency::from_text(interval.encoded_histogram()).unwrap());
        }
    }
    let whole = report.latency(Stage::Deliver).unwrap().unwrap();
    assert_eq!((sum.count(), sum.max()), (whole.count(), whole.max()));
    assert_eq!(whole.count(), 400);

    let evidence = &report.evidence;
    assert!(evidence.command.contains("--pairs 4") && evidence.started_at.ends_with('Z'));
    assert_eq!(evidence.scenario["kind"], "chat");
    assert_eq!(evidence.server.as_ref().unwrap().pid, std::process::id());
    assert!(evidence.generator.threads.iter().all(|thread| thread.cpu > 0.0));
}

#[test]
fn missed_threshold_of_a_window_is_told_by_text_and_exit_code() {
    let target = mock::start(Fault::None);
    let output = command(target, &format!("{CHAT} {PATIENT} --duration 3s --warm-up 0s"))
        .args(["--threshold", "lost == 0", "--threshold", "p50 < 1us over 2s windows"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("held  lost == 0"), "{text}");
    assert!(text.contains("MISSED  p50 < 1us over 2s windows"), "{text}");
}

#[test]
fn signal_lets_the_run_drain_and_report() {
    let target = mock::start(Fault::None);
    let directory = Directory::new("signal");
    let json = directory.file("run.json");
    let line = format!("{CHAT} {PATIENT} --duration 10m --warm-up 1s --json {}", json.display());
    let mut run = command(target, &line);
    let mut run = Ending(run.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(run.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("measuring")), "no line of the measured window");
    let pid = run.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    // The pipe has to be read to its end, or the program would wait for a reader.
    let rest: Vec<String> = lines.collect();
    assert_eq!(run.0.wait().unwrap().code(), Some(130), "{rest:?}");
    let report = report(&json);
    assert!(report.interrupted && report.offered > 0, "{}", report.table());
    assert_eq!((report.delivered, report.lost), (report.offered, 0));
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.reasons);
    assert!(report.notes.iter().any(|note| note.contains("ended early")), "{:?}", report.notes);
}

#[test]
fn server_process_that_ends_is_noted_and_no_error() {
    let target = mock::start(Fault::None);
    let directory = Directory::new("gone");
    let json = directory.file("run.json");
    let server = Ending(Command::new("sleep").arg("1").spawn().unwrap());
    // Somebody has to collect it, or it would stay as a zombie; that is seen as gone, too.
    let pid = server.0.id();
    let line = format!(
        "{CHAT} {PATIENT} --duration 3s --warm-up 0s --server-pid {pid} --json {}",
        json.display()
    );
    let output = output(target, &line);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let report = report(&json);
    assert!(report.evidence.server.unwrap().gone_at_s.is_some());
    assert!(report.notes.iter().any(|note| note.contains("was gone from")), "{:?}", report.notes);
}

#[test]
fn commands_run_beside_the_load_and_their_ends_are_in_the_report() {
    let target = mock::start(Fault::None);
    let directory = Directory::new("actions");
    let [json, touched] = ["run.json", "touched"].map(|name| directory.file(name));
    let line = format!(
        "run restart --plain --connections 8 --rate 100 --connect-rate 500 --duration 2s \
         --warm-up 0s --drain 5s {PATIENT} --json {}",
        json.display()
    );
    let output = command(target, &line)
        .args(["--action", &format!("500ms touch {}", touched.display())])
        .args(["--action", "1s false"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(touched.exists());
    let report = report(&json);
    let ends: Vec<_> = report.actions.iter().map(|one| (one.succeeded, one.at_s >= 0.5)).collect();
    assert_eq!(ends, [(true, true), (false, true)], "{:?}", report.actions);
    assert!(report.notes.iter().any(|note| note.contains("\"false\" did not succeed")));
    assert!(report.evidence.command.contains("--action '1s false'"));
}

/// The first core that this process may use.
fn first_core() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("a process can read of itself");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let list = line.expect("Linux has told it since 2.6.24").trim();
    list.split([',', '-']).next().unwrap_or("0").to_owned()
}

#[test]
fn starved_generator_calls_its_run_invalid() {
    let target = mock::start(Fault::None);
    let directory = Directory::new("starved");
    let json = directory.file("run.json");
    let core = first_core();
    // Ended by themselves too, should this test be ended before it can.
    let spin = "i=0; while [ $i -lt 100000000 ]; do i=$((i+1)); done";
    let spin = ["-c", &core, "sh", "-c", spin];
    let _spinning: Vec<Ending> =
        (0..4).map(|_| Ending(Command::new("taskset").args(spin).spawn().unwrap())).collect();
    let line = format!("{} --warm-up 500ms --duration 3s --json {}", CHAT, json.display());
    let line = line.replace("--rate 200", "--rate 4000 --threads 1");
    let output = Command::new("taskset")
        .args(["-c", &core, env!("CARGO_BIN_EXE_hawser-loadgen")])
        .args(line.split_whitespace())
        .args(["--target", &target.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("the generator was the limit: it took messages up"), "{text}");
    assert!(text.contains("waited for a processor"), "{text}");
    assert!(text.contains("verdict") && text.contains("invalid: the run proves nothing"), "{text}");
    let report = report(&json);
    assert_eq!(report.verdict, Verdict::Invalid);
    assert!(report.evidence.generator.threads[0].wait.unwrap() > 0.1);
}
