//! Usual lines, and what is said to wrong ones.

use clap::CommandFactory;

use super::*;
use crate::scenario::{Curve, HeartbeatShare, Kind, Scenario};

fn parse(line: &str) -> Result<(Scenario, Options), String> {
    let words = ["hawser-loadgen", "run"].into_iter().map(str::to_owned).chain(words(line));
    match Arguments::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Run(run) => run.resolve(),
        other => panic!("the line says run, not {other:?}"),
    }
}

/// As a shell does it: what stands in single quotes is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn usual_lines_are_understood() {
    let (hold, options) = parse("hold --connections 1000000").unwrap();
    assert_eq!((hold.users, hold.duration.as_secs()), (1_000_000, 180));
    assert_eq!(options.target, "127.0.0.1:7900".parse().unwrap());
    let (chat, _) =
        parse("chat --pairs 1000 --rate 5000 --duration 30s --target [::1]:7900").unwrap();
    assert_eq!((chat.users, chat.load.curve), (2000, Curve::Constant(5000.0)));
    let (random, _) = parse("chat --connections 100 --duration 2m").unwrap();
    assert_eq!((random.users, random.recipients), (100, Recipients::Random));
    let (closed, _) = parse("chat --pairs 10 --in-flight 4").unwrap();
    assert_eq!(closed.load.in_flight, Some(4));
}

#[test]
fn path_puts_mqtt_in_a_websocket_and_moves_the_others() {
    let (mqtt, options) = parse("chat --protocol mqtt --path /mqtt").unwrap();
    assert_eq!((mqtt.path.as_str(), options.target.port()), ("/mqtt", 7901));
    let (_, options) = parse("chat --protocol mqtt3 --path /mqtt --tls").unwrap();
    assert_eq!(options.target.port(), 7944);
    let (echo, _) = parse("chat --protocol websocket-echo --path /").unwrap();
    assert_eq!(echo.path, "/");
}

#[test]
fn flags_win_over_the_file() {
    let (chat, options) = parse(
        "chat --protocol mqtt5 --tls --qos 2 --session kept --addressing mailbox --payload 100 \
         --heartbeat 7 --warm-up 2s --drain 3s --duration 1m --arrivals poisson --rate 5 \
         --connect-rate 9 --close fin --p99-max 5ms --threshold 'lost == 0'",
    )
    .unwrap();
    assert_eq!((chat.protocol, chat.tls), (Protocol::Mqtt5, true));
    assert_eq!(options.target.port(), 8883);
    assert_eq!((chat.mqtt.qos, chat.mqtt.clean), (2, false));
    assert_eq!((chat.mqtt.addressing, chat.payload_bytes), (Addressing::Mailbox, 100));
    assert_eq!(chat.heartbeats, [HeartbeatShare { share: 1.0, seconds: 7 }]);
    let times = [chat.warm_up, chat.drain, chat.duration];
    assert_eq!(times.map(|time| time.as_secs()), [2, 3, 60]);
    assert_eq!((chat.load.arrivals, chat.load.curve), (Arrivals::Poisson, Curve::Constant(5.0)));
    assert_eq!((chat.connect.rate, chat.connect.close), (9.0, Close::Fin));
    let texts: Vec<&str> = chat.thresholds.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["lost == 0", "p99 <= 5ms"]);
    let (resume, _) =
        parse("resume --share 0.5 --at 3s --for 200ms --spread 0s --leave-rate 10").unwrap();
    assert_eq!((resume.disturb.share, resume.disturb.rate), (0.5, 10.0));
    assert_eq!(resume.disturb.lasts, Duration::from_millis(200));
    let (devices, _) = parse("devices --connections 90").unwrap();
    assert_eq!((devices.users, devices.devices, devices.connections()), (30, 3, 90));
    let (fanout, _) = parse("fanout --groups 5 --members 7").unwrap();
    assert_eq!((fanout.groups.count, fanout.groups.members), (5, 7));
    let (replies, _) = parse("replies --hops 2 --think 100ms").unwrap();
    assert_eq!((replies.replies.hops, replies.replies.think.as_millis()), (2, 100));
    let (restart, _) = parse("restart --action '9s a b' --action '5s c'").unwrap();
    assert_eq!(restart.actions[0].run, ["c"]);
    assert_eq!((restart.actions[1].at.as_secs(), restart.actions[1].run.len()), (9, 2));
}

#[test]
fn storm_keeps_its_spread_with_more_people_unless_told_otherwise() {
    let rate = |line: &str| parse(line).unwrap().0.connect.rate;
    assert_eq!(rate("storm"), 5000.0);
    assert_eq!(rate("storm --connections 20000"), 20_000.0);
    assert_eq!(rate("storm --connections 20000 --connect-within 4s"), 5000.0);
    assert_eq!(rate("storm --connections 20000 --connect-within 0s"), 100e6);
    assert_eq!(rate("storm --connections 20000 --connect-rate 700"), 700.0);
    assert_eq!(rate("hold --connections 5"), 20_000.0);
}

#[test]
fn file_is_read_with_its_curve_beside_it() {
    let directory = std::env::temp_dir().join(format!("hawser-scenario-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("mine.csv"), "0,10\n20,30").unwrap();
    let file = directory.join("mine.toml");
    std::fs::write(&file, "kind = \"chat\"\n[load]\ncsv = \"mine.csv\"\n").unwrap();
    let line = |flags: &str| parse(&format!("{} {flags}", file.display()));
    let (mine, _) = line("").unwrap();
    assert_eq!((mine.name.as_str(), mine.kind, mine.duration.as_secs()), ("mine", Kind::Chat, 20));
    let curve = format!("chat --day 5s --curve {}", directory.join("mine.csv").display());
    let (chat, _) = parse(&curve).unwrap();
    assert_eq!((chat.duration.as_secs(), chat.load.curve.peak()), (5, 30.0));
    assert_eq!(line("--rate 7").unwrap().0.load.curve, Curve::Constant(7.0));
    std::fs::write(&file, "kind = \"chat\"\n\n[load]\ncsv = \"none.csv\"\n").unwrap();
    let message = line("").unwrap_err();
    assert!(message.contains("mine.toml, line 4: csv = \"none.csv\": "), "{message}");
    assert!(message.contains("No such file"), "{message}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn wrong_values_are_named_with_what_is_allowed() {
    for (line, words) in [
        ("hold --target 8.8.8.8:7900", "--allow-remote"),
        ("hold --target [::1]:7900 --connections 20000", "IPv6 loopback has one"),
        ("network-change --target [::1]:7900 --connections 50 --leave-rate 1", "from elsewhere"),
        ("hold --target nowhere", "--target <ADDR>"),
        ("hold --connections 0", "1..=4000000"),
        ("hold --rate 5", "--rate is for kinds that send"),
        ("hold --payload 64", "--payload is for kinds that send"),
        ("hold --share 0.5", "--share is for storm, offline"),
        ("offline --every 5s", "offline has no use for --every; it takes share, at, spread"),
        ("chat --hops 2", "--hops is for the kind replies"),
        ("chat --groups 2", "--groups is for the kind fanout"),
        ("chat --qos 1", "--qos is for --protocol mqtt and mqtt3, not for native"),
        ("chat --pairs 1 --connections 2", "cannot be used with"),
        ("chat --rate 5 --in-flight 2 --pairs 1", "cannot be used with"),
        ("chat --connections 3 --recipients pair", "even"),
        ("chat --connections 1", "at least 2"),
        ("chat --rate 0", "from 0.001"),
        ("chat --duration 10x", "10s\", up to 744h"),
        ("chat --duration 1s --warm-up 1s", "leaves nothing"),
        ("chat --payload 10", "36..=32768"),
        ("chat --in-flight 1", "needs pairs"),
        ("chat --day 10m", "--curve"),
        ("chat --curve /nowhere.csv", "--curve /nowhere.csv: No such file"),
        ("resume --in-flight 1", "is for the kind chat"),
        ("devices --connections 100", "a multiple of 3"),
        ("devices --connections 3999999 --devices 64", "a multiple of 64"),
        ("dance", "no scenario is called dance; built in: hold, storm"),
        ("dance", "./dance.toml"),
        ("./dance.toml", "scenario ./dance.toml: No such file"),
        ("fanout --protocol native", "publishing to topics works with --protocol mqtt"),
        ("broadcast --protocol websocket-json", "no groups and rooms yet"),
        ("resume --protocol websocket-echo", "only hold and chat work"),
        ("chat --path /x", "native has no path"),
        ("chat --protocol mqtt --path mqtt", "must begin with /"),
        ("offline --protocol mqtt --session clean", "--session kept"),
        ("offline --protocol mqtt --qos 0", "may drop"),
        ("offline --share 1", "up to 0.99"),
        ("half-open --share 0.0001", "at least one connection"),
        ("half-open --at 2m", "is not within the duration"),
        ("resume --leave-rate 900", "allowed: up to half of them"),
        ("slow-reader --for 0s", "nothing is read"),
        ("slow-reader --every 2s", "before the last is over, 6s later"),
        ("restart", "--action '5s systemctl"),
        ("restart --action 5s", "a time and a command"),
        ("restart --action '5m x'", "is not within the duration 30s"),
        ("chat --threshold 'p99 < 20'", "20 needs a unit"),
    ] {
        let message = parse(line).unwrap_err();
        assert!(message.contains(words), "{line}: {message}");
    }
}

#[test]
fn help_says_on_its_second_line_how_latency_is_counted() {
    let mut whole = Arguments::command();
    let run = whole.find_subcommand_mut("run").unwrap();
    for help in [run.render_help().to_string(), run.render_long_help().to_string()] {
        let second = help.lines().nth(1).unwrap();
        assert!(second.starts_with("Latency counts from the intended time"), "{second}");
    }
    let help = whole.render_help().to_string();
    assert!(help.lines().nth(1).unwrap().starts_with("Latency counts from the intended time"));
    whole.debug_assert();
}
