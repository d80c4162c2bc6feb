//! Files that are read, and what is said to those that are not.

use std::time::Duration;

use super::*;
use crate::scenario::{builtin, curve::Integral};

fn parse(text: &str) -> Result<Scenario, String> {
    let csv = |name: &str| match name {
        "day.csv" => Ok("00:00,10\n12:00,50".to_owned()),
        "bad.csv" => Ok("0,1\nnoon,2".to_owned()),
        _ => Err("No such file".to_owned()),
    };
    read(&Source { name: "mine.toml", text, csv: &csv }, "mine")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_a_file_leaves_out_is_usual_for_its_kind() {
    for kind in [Kind::Hold, Kind::Chat, Kind::Devices] {
        let text = format!("kind = \"{}\"", kind.name());
        assert_eq!(
            parse(&text).unwrap(),
            Scenario { name: "mine".to_owned(), ..Scenario::usual(kind) }
        );
    }
}

#[test]
fn every_scenario_can_be_written_to_a_file_and_read_again() {
    for (name, _) in builtin::list() {
        let scenario = builtin::scenario(name).unwrap();
        let text = write(&scenario);
        let again = toml::from_str::<Scenario>(&text).unwrap();
        assert_eq!(again, scenario, "{text}");
        let json = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
    }
}

#[test]
fn curve_is_read_in_each_of_its_forms() {
    let load = |lines: &str| {
        let scenario = parse(&format!("kind = \"chat\"\n[load]\n{lines}")).unwrap();
        (scenario.load.curve, scenario.duration.as_secs())
    };
    assert_eq!(load("rate = 7"), (Curve::Constant(7.0), 10));
    assert_eq!(load("curve = 7.5"), (Curve::Constant(7.5), 10));
    let (curve, duration) = load(
        "curve = [{ for = \"10s\", rate = 5 }, { for = 20, to = 25 }, { for = \"1m\", from = 1, to = 0 }]",
    );
    let segment = |lasts, from, to| Segment { lasts: seconds(lasts), from, to };
    let wanted = vec![segment(10, 5.0, 5.0), segment(20, 5.0, 25.0), segment(60, 1.0, 0.0)];
    assert_eq!((curve, duration), (Curve::Segments(wanted), 90));
    let (curve, duration) = load("csv = \"day.csv\"\nday = \"10m\"");
    assert_eq!((curve.peak(), duration), (50.0, 600));
    assert_eq!(load("csv = \"day.csv\"").1, 86_400);
}

#[test]
fn wrong_lines_are_named_with_file_line_and_what_is_allowed() {
    for (text, words) in [
        ("", "mine.toml, line 1: : missing field `kind`"),
        (
            "kind = \"dance\"",
            "mine.toml, line 1: kind = \"dance\": unknown variant `dance`, expected one of `hold`",
        ),
        (
            "kind = \"chat\"\nusres = 5",
            "mine.toml, line 2: usres = 5: unknown field `usres`, expected one of",
        ),
        (
            "kind = \"chat\"\n[load]\nrat = 5",
            "line 3: rat = 5: unknown field `rat`, expected one of `rate`",
        ),
        (
            "kind = \"chat\"\nusers = 0",
            "line 2: users = 0: allowed: a whole number from 1 to 4000000",
        ),
        ("kind = \"chat\"\nusers = \"many\"", "line 2: users = \"many\": invalid type"),
        ("kind = \"chat\"\ndevices = 65", "from 1 to 64"),
        (
            "kind = \"chat\"\nduration = \"10x\"",
            "line 2: duration = \"10x\": \"10x\" is no length of time; allowed",
        ),
        (
            "kind = \"chat\"\nduration = true",
            "line 2: duration = true: invalid type: boolean `true`, expected a number and us, ms",
        ),
        ("kind = \"chat\"\npayload_bytes = 10", "from 36 to 32768"),
        (
            "kind = \"chat\"\nthresholds = [\n  \"lost == 0\",\n  \"p98 < 5ms\",\n]",
            "line 4: \"p98 < 5ms\",: threshold \"p98 < 5ms\": p98 is no metric",
        ),
        ("kind = \"chat\"\n[load]\nrate = 0", "line 3: rate = 0: allowed: a number per second"),
        (
            "kind = \"chat\"\n[load]\nrate = 5\ncsv = \"day.csv\"",
            "line 3: rate = 5: one of rate, curve and csv",
        ),
        (
            "kind = \"chat\"\n[load]\nrate = 5\nday = \"5m\"",
            "line 4: day = \"5m\": says how fast the curve of csv",
        ),
        ("kind = \"chat\"\n[load]\ncsv = \"none.csv\"", "line 3: csv = \"none.csv\": No such file"),
        (
            "kind = \"chat\"\n[load]\ncsv = \"bad.csv\"",
            "line 3: csv = \"bad.csv\": bad.csv, line 2: noon,2: allowed",
        ),
        ("kind = \"chat\"\n[load]\ncurve = []", "line 3: curve = []: allowed: a list of {"),
        ("kind = \"chat\"\n[load]\ncurve = [{ for = \"1s\" }]", "allowed: a list of {"),
        (
            "kind = \"chat\"\n[load]\ncurve = [{ for = \"1s\", to = 5 }]",
            "from may be left out where",
        ),
        (
            "kind = \"chat\"\n[load]\ncurve = [{ for = \"1s\", rate = 1, to = 5 }]",
            "allowed: a list of {",
        ),
        (
            "kind = \"chat\"\n[load]\ncurve = [{ for = \"1s\", rate = -1 }]",
            "allowed: 0, or a number per second",
        ),
        ("kind = \"chat\"\n[load]\ncurve = [{ for = \"1s\", rates = 1 }]", "unknown field `rates`"),
        (
            "kind = \"chat\"\n[load]\ncurve = [{ for = \"10s\", rate = 0 }]",
            "line 3: curve = [{ for = \"10s\", rate = 0 }]: not one message",
        ),
        (
            "kind = \"hold\"\n[load]\nrate = 5",
            "line 3: rate = 5: load.rate is for kinds that send messages, as chat; hold sends none",
        ),
        ("kind = \"chat\"\n[disturb]\nshare = 0.5", "line 3: share = 0.5: chat disturbs nothing"),
        (
            "kind = \"offline\"\n[disturb]\nshare = 1.5",
            "line 3: share = 1.5: allowed: a share from 0 to 1",
        ),
        (
            "kind = \"offline\"\n[disturb]\nshare = 0.5\nrate = 3",
            "line 4: rate = 3: offline has no use for disturb.rate; it takes share, at, spread",
        ),
        (
            "kind = \"offline\"\n[disturb]\nshare = 0.5\nat = \"1m\"",
            "line 4: at = \"1m\": at 1m is not within the duration 10s",
        ),
        ("kind = \"resume\"\n[disturb]\nshare = 0.5", "line 3: share = 0.5: resume needs a rate"),
        (
            "kind = \"chat\"\nwarm_up = \"10s\"",
            "line 2: warm_up = \"10s\": warm-up 10s leaves nothing of duration 10s",
        ),
        ("kind = \"chat\"\nprotocol = \"mqtt4\"", "expected one of `native`, `websocket`"),
        (
            "kind = \"fanout\"\nprotocol = \"native\"",
            "line 2: protocol = \"native\": fanout over native: this protocol has no groups",
        ),
        ("kind = \"fanout\"\n[groups]\nmembers = 1", "line 3: members = 1: 1 member"),
        (
            "kind = \"heartbeats\"\nheartbeats = [{ share = 0.5, seconds = 9 }]",
            "the shares together are 0.5; allowed: together 1",
        ),
        (
            "kind = \"storm\"\n[connect]\nrate = 5\nwithin = \"1s\"",
            "line 4: within = \"1s\": either rate or within",
        ),
        ("kind = \"chat\"\nactions = [{ at = \"1s\", run = [] }]", "line 2: actions"),
        (
            "kind = \"chat\"\nusers = 3\nrecipients = \"pair\"",
            "line 2: users = 3: 3 users: pairs need an even number",
        ),
        ("kind = \"chat\"\n[mqtt]\nqos = 3", "from 0 to 2"),
        ("kind = \"chat\"\nusers 5", "mine.toml, line 2: users 5: "),
        (
            "kind = \"heartbeats\"\nheartbeats = [\n{ share = 1, seconds = 9 },\n{ share = 2, seconds = 9 },\n]",
            "line 4: { share = 2, seconds = 9 },: allowed: a share from 0 to 1",
        ),
        ("kind = \"chat\"\nusers = 5\nusers = 6", "line 3: users = 6: duplicate key"),
    ] {
        let message = parse(text).unwrap_err();
        assert!(message.contains(words), "{text}\n---\n{message}");
        assert!(!message.contains('\n'), "one line: {message}");
    }
}

#[test]
fn usual_chat_and_hold_are_the_built_in_ones() {
    for kind in [Kind::Hold, Kind::Chat] {
        assert_eq!(builtin::scenario(kind.name()).unwrap(), Scenario::usual(kind));
    }
}

#[test]
fn every_kind_is_built_in_and_every_built_in_says_what_it_is() {
    use clap::ValueEnum;
    for kind in Kind::value_variants() {
        let scenario = builtin::scenario(kind.name()).unwrap();
        assert_eq!((scenario.kind, scenario.name.as_str()), (*kind, kind.name()));
    }
    for (name, about) in builtin::list() {
        assert!(about.ends_with('.') && about.len() < 110, "{name}: {about}");
        let text = builtin::text(name).unwrap();
        assert!(text.contains("\n# What it shows:"), "{name}");
        assert!(text.lines().all(|line| line.chars().count() <= 105), "{name}: a long line");
    }
    assert!(builtin::text("day.csv").is_some() && builtin::text("nothing").is_none());
}

/// A threshold that is shown as an example must be one.
#[test]
fn thresholds_in_the_comments_of_built_in_scenarios_are_right() {
    for (name, _) in builtin::list() {
        let text = builtin::text(name).unwrap().replace("# thresholds = ", "thresholds = ");
        let csv = |name: &str| Ok(builtin::text(name).unwrap_or_default().to_owned());
        let scenario = read(&Source { name, text: &text, csv: &csv }, name).unwrap();
        assert!(!scenario.thresholds.is_empty(), "{name}");
    }
}

#[test]
fn built_in_curves_rise_and_fall_as_they_say() {
    let steps = builtin::scenario("chat-steps").unwrap();
    assert_eq!(steps.duration, seconds(70));
    for (at, rate) in [(5, 500.0), (20, 2250.0), (40, 4000.0), (55, 2250.0), (65, 500.0)] {
        assert_eq!(steps.load.curve.rate_at(seconds(at)), rate, "at {at} s");
    }
    let day = builtin::scenario("chat-day").unwrap();
    assert_eq!((day.duration, day.load.curve.peak()), (seconds(300), 4000.0));
    let messages = Integral::from(&day.load.curve).until(300.0);
    assert!((400_000.0..700_000.0).contains(&messages), "{messages}");
    // 21:00 of a day in five minutes.
    assert_eq!(day.load.curve.rate_at(Duration::from_secs_f64(262.5)).round(), 4000.0);
}
