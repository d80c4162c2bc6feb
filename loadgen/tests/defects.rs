//! The program itself against a server that goes wrong to order: each defect is named, and the
//! exit code is 4.

// The lint knows tests by their attribute; what they share has none.
#![allow(clippy::unwrap_used)]

mod mock;

use std::{
    net::SocketAddr,
    process::{Command, Output},
};

use mock::Fault;

fn run(target: SocketAddr) -> Output {
    let line = "run chat --pairs 4 --rate 400 --duration 600ms --warm-up 0s --drain 1s \
                --connect-rate 500 --schedule-lag-max 5s --plain";
    let mut command = Command::new(env!("CARGO_BIN_EXE_hawser-loadgen"));
    command.args(line.split_whitespace()).arg("--target").arg(target.to_string());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_planted_defect_is_named_and_the_exit_code_is_four() {
    for (fault, words) in [
        (Fault::Lose(50), "1 messages acknowledged and then lost"),
        (Fault::Double(50), "1 messages delivered twice"),
        (Fault::Swap(50), "1 messages delivered after a later one"),
        (Fault::Damage(50), "1 messages damaged or never sent"),
        (Fault::Misdeliver(50), "1 messages delivered to a wrong user"),
    ] {
        let output = run(mock::start(fault));
        let text = text(&output);
        assert!(text.contains(words), "{fault:?}: {text}");
        assert_eq!(output.status.code(), Some(4), "{fault:?}: {text}");
    }
}

#[test]
fn server_without_a_defect_is_clean() {
    let output = run(mock::start(Fault::None));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}
