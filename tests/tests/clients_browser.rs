//! A page in a browser: logs in over `wss`, chats with a native client, loses its network, comes
//! back and has missed nothing.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use hawser_tests::{
    clients,
    company::{random_name, until},
    process::{Home, Setup},
    raw::{RawClient, request},
    secure::Authority,
};
use serde_json::Value;

/// The page, and the network before it.
struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    fn open(home: &Home, user: &str) -> Self {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/chat.html");
        let [_, gateway, page_at, wire_at] = home.spare;
        let mut child = clients::node("browser.mjs")
            .args([page, &format!("wss://{gateway}/ws"), user])
            .args([page_at.port().to_string(), wire_at.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed");
        let commands = child.stdin.take().expect("it was asked to be piped");
        let output = child.stdout.take().expect("it was asked to be piped");
        let mut browser = Self { child, commands, answers: BufReader::new(output).lines() };
        assert_eq!(browser.answer(), "ready");
        browser
    }

    #[track_caller]
    fn answer(&mut self) -> String {
        self.answers.next().expect("the browser lives").expect("it writes text")
    }

    #[track_caller]
    fn say(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").expect("the browser lives");
        self.answer()
    }

    fn state(&mut self) -> Value {
        serde_json::from_str(&self.say("state")).expect("it is JSON")
    }

    fn wait_for_state(&mut self, state: &str) {
        until(state, || (self.state()["state"] == state).then_some(()));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself; then the test has failed elsewhere.
        let _ = writeln!(self.commands, "end");
        let _ = self.child.wait();
    }
}

fn texts(from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|number| format!("message {number}")).collect()
}

#[test]
fn a_page_chats_over_wss_loses_its_network_resumes_and_misses_nothing() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = authority.issue(&home, "server");
    let page = format!("http://127.0.0.1:{}", home.spare[2].port());
    let text = format!(
        "[[listener]]\nkind = \"native\"\naddress = \"{}\"\n[[listener]]\nkind = \"websocket\"\n\
         address = \"{}\"\ntls = true\n[tls]\ncertificates = [{{ chain = \"{}\", key = \"{}\" }}]\n\
         [websocket]\norigins = [\"{page}\"]\n",
        home.spare[0],
        home.spare[1],
        files.chain.display(),
        files.key.display()
    );
    let path = home.write("gateway.toml", &text).display().to_string();
    let setup = Setup::new().without_listeners().argument("--config").argument(path);
    let gateway = setup.start_in(home);

    let (page_user, native_user) = (random_name(), random_name());
    let mut native = RawClient::login(gateway.home().spare[0], &native_user, "phone").0;
    let mut browser = Browser::open(gateway.home(), &page_user);
    browser.wait_for_state("online");
    browser.say("replies");

    let send = |native: &mut RawClient, from: u64, to: u64| {
        for number in from..=to {
            native.request(&request(number, &page_user, format!("message {number}").as_bytes()));
            native.answer(number).expect("it is accepted");
        }
    };
    send(&mut native, 1, 5);
    let heard = until("five replies", || {
        let state = browser.state();
        (state["answered"].as_array().map(Vec::len) == Some(5)).then_some(state)
    });
    assert_eq!(heard["seen"], serde_json::json!(texts(1, 5)));

    assert_eq!(browser.say("cut"), "cut");
    browser.wait_for_state("down");
    send(&mut native, 6, 10);
    browser.say(&format!("send {native_user} written while away"));
    assert_eq!(browser.say("mend"), "mended");
    let heard = until("what was missed", || {
        let state = browser.state();
        (state["answered"].as_array().map(Vec::len) == Some(11)).then_some(state)
    });
    assert_eq!(heard["seen"], serde_json::json!(texts(1, 10)), "each once and in order: {heard}");

    // Native's side: its own entries apart, each reply once and in order.
    let mut replies = Vec::new();
    while replies.len() < 11 {
        let entry = native.pushed();
        if !entry.own {
            replies.push(String::from_utf8(entry.body).expect("the page writes text"));
        }
    }
    let (away, answers): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply == "written while away");
    assert_eq!(away.len(), 1);
    let expected: Vec<String> = texts(1, 10).iter().map(|text| format!("re: {text}")).collect();
    assert_eq!(answers, expected);
    if let Some(path) = std::env::var_os("HAWSER_SCREENSHOT") {
        browser.say(&format!("screenshot {}", path.display()));
    }
}
