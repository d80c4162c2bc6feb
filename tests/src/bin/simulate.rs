//! Runs the whole system by seeds: `simulate --seeds N [--from S]`, `simulate --seed S [--trace]
//! [--device D]`, with `--form embedded|separate|any`.

use hawser_tests::simulation::{Plan, Plants, Tell, Totals, Verdict, run};
use std::process::ExitCode;

const USAGE: &str = "usage: simulate --seeds N [--from S] | --seed S [--trace] [--device D]
    [--form embedded|separate|absences|any]   (any: every fourth seed is separate)";

struct Arguments {
    draw: fn(u64) -> Plan,
    form: String,
    from: u64,
    count: u64,
    tell: Tell,
}

fn arguments() -> Option<Arguments> {
    let (draw, form) = (Plan::draw_any as fn(u64) -> Plan, "any".to_owned());
    let mut found = Arguments { draw, form, from: 0, count: 0, tell: Tell::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => found.count = words.next()?.parse().ok()?,
            "--from" => found.from = words.next()?.parse().ok()?,
            "--seed" => (found.from, found.count) = (words.next()?.parse().ok()?, 1),
            "--form" => {
                found.form = words.next()?;
                found.draw = match found.form.as_str() {
                    "embedded" => Plan::draw,
                    "separate" => Plan::draw_separate,
                    "absences" => Plan::draw_absences,
                    "any" => Plan::draw_any,
                    _ => return None,
                };
            }
            "--trace" => found.tell.events = true,
            "--device" => found.tell.device = Some(words.next()?.parse().ok()?),
            _ => return None,
        }
    }
    (found.count > 0).then_some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(1);
    };
    std::panic::set_hook(Box::new(|_| {}));
    let mut totals = Totals::default();
    let mut failed = 0;
    for seed in arguments.from..arguments.from.saturating_add(arguments.count) {
        let plan = (arguments.draw)(seed);
        if arguments.tell.events {
            eprintln!("{plan:#?}");
        }
        let verdict = run(&plan, Plants::default(), arguments.tell);
        totals.add(&verdict);
        if let Some(violation) = &verdict.violation {
            failed += 1;
            println!("seed {seed}: {violation:?}");
            let form = &arguments.form;
            println!(
                "cargo run -p hawser-tests --bin simulate -- --form {form} --seed {seed} --trace"
            );
        } else if arguments.count == 1 {
            let Verdict { messages, rounds, took_us, trace, .. } = verdict;
            let seconds = took_us / 1_000_000;
            println!(
                "seed {seed}: clean; {messages} messages, {rounds} rounds, {seconds} s, trace {trace:016x}"
            );
        }
    }
    if arguments.count > 1 {
        print!("{totals}");
        let never = totals.never();
        if !never.is_empty() {
            println!("never hit: {}", never.join(", "));
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(4) }
}
