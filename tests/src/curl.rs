//! HTTP by the real `curl`, as a user of long-poll or events would type it.
//!
//! Each call is a process of its own, and so a connection of its own; [`Curl::then`] puts further
//! requests into the same call, on the same connection.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::process::PATIENCE;

/// What separates the answers of one call; no answer holds it.
const END: &str = "\u{1}end\u{1}";

/// A call of curl being put together.
#[derive(Clone, Debug)]
pub struct Curl {
    base: String,
    arguments: Vec<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Status line and fields of the last head, without interim ones.
    pub head: String,
    /// Its body.
    pub body: String,
    /// Connections that curl had to open for it.
    pub connects: u32,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Value of a field, by its name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }

    /// Entries of an answer to a poll, as (number, sender, text).
    ///
    /// # Panics
    /// If it is no such answer.
    #[track_caller]
    pub fn entries(&self) -> Vec<(u64, String, String)> {
        assert_eq!(self.status, 200, "{self:?}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let json = self.json();
        let entries = json["entries"].as_array().expect("an answer to a poll");
        let entry = |entry: &Value| {
            (entry["number"].as_u64().unwrap_or(0), text(&entry["sender"]), text(&entry["text"]))
        };
        entries.iter().map(entry).collect()
    }
}

impl Curl {
    /// A request to `http://ADDRESS` and this path.
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let base = format!("http://{address}");
        let mut curl = Self { base, arguments: Vec::new() };
        curl.common(path);
        curl
    }

    fn common(&mut self, path: &str) {
        let patience = PATIENCE.as_secs().to_string();
        let format = format!("{END}%{{http_code}} %{{num_connects}}{END}");
        for argument in ["-s", "-S", "-i", "--http1.1", "--max-time", &patience, "-w", &format] {
            self.arguments.push(argument.to_owned());
        }
        self.arguments.push(format!("{}{path}", self.base));
    }

    /// Another request, on the same connection if the server keeps it.
    #[must_use]
    pub fn then(mut self, path: &str) -> Self {
        self.arguments.push("--next".to_owned());
        self.common(path);
        self
    }

    /// An argument as curl has it.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// A field of the request.
    #[must_use]
    pub fn field(self, name: &str, value: &str) -> Self {
        self.with(&["-H", &format!("{name}: {value}")])
    }

    /// The session's handle.
    #[must_use]
    pub fn session(self, handle: &str) -> Self {
        self.field("Authorization", &format!("Bearer {handle}"))
    }

    /// A body, which makes it a POST.
    #[must_use]
    pub fn body(self, body: &str) -> Self {
        self.field("Content-Type", "application/json").with(&["--data-binary", body])
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new("curl");
        command.args(["-N", "-q"]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("curl is installed")
    }

    /// Sends the request and waits for its answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn ask(&self) -> Answer {
        let mut answers = self.ask_all();
        assert_eq!(answers.len(), 1, "one request, one answer: {answers:?}");
        answers.remove(0)
    }

    /// Sends all requests, one after the other, and waits for their answers.
    ///
    /// # Panics
    /// If one has none.
    #[track_caller]
    pub fn ask_all(&self) -> Vec<Answer> {
        self.begin().answers()
    }

    /// Sends the request; its answer is waited for later.
    pub fn begin(&self) -> Asked {
        Asked(self.spawn())
    }

    /// Sends a request whose answer has no end.
    pub fn stream(&self) -> Stream {
        let mut child = self.spawn();
        let stdout = child.stdout.take().expect("it is piped");
        Stream { child, lines: BufReader::new(stdout) }
    }
}

/// A call whose answer has not been looked at.
#[derive(Debug)]
pub struct Asked(Child);

impl Asked {
    /// Waits for the answer of the one request.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn answer(self) -> Answer {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "one request, one answer: {answers:?}");
        answers.remove(0)
    }

    #[track_caller]
    fn answers(self) -> Vec<Answer> {
        let output = self.0.wait_with_output().expect("curl ends by its time-out at the latest");
        let text = String::from_utf8(output.stdout).expect("answers are UTF-8");
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut parts: Vec<&str> = text.split(END).collect();
        assert_eq!(parts.pop(), Some(""), "curl: {errors}\n{text}");
        parts.chunks(2).map(|pair| answer(pair[0], pair[1], &errors)).collect()
    }
}

#[track_caller]
fn answer(text: &str, facts: &str, errors: &str) -> Answer {
    let (status, connects) = facts.split_once(' ').expect("two numbers");
    let status = status.parse().expect("a status");
    assert_ne!(status, 0, "no answer: {errors}");
    let mut rest = text;
    loop {
        let (head, body) = rest.split_once("\r\n\r\n").expect("a head ends");
        // An interim answer is followed by the real one.
        if head.starts_with("HTTP/1.1 100") {
            rest = body;
            continue;
        }
        let (head, body) = (head.to_owned(), body.to_owned());
        return Answer { status, head, body, connects: connects.parse().expect("a number") };
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number.
    pub id: Option<u64>,
    /// What it says.
    pub data: Value,
}

impl Event {
    /// The message's text.
    pub fn text(&self) -> &str {
        self.data["text"].as_str().unwrap_or_default()
    }
}

/// A stream of events. Dropped, curl is ended.
#[derive(Debug)]
pub struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    /// The answer's head.
    ///
    /// # Panics
    /// If the stream ends.
    #[track_caller]
    pub fn head(&mut self) -> String {
        let mut head = String::new();
        loop {
            let line = self.line().expect("a head comes");
            if line.is_empty() {
                return head;
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    /// The next event; `None` at the end of the stream.
    pub fn next_event(&mut self) -> Option<Event> {
        let (mut id, mut data) = (None, None);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", number)) => id = number.parse().ok(),
                Some(("data", text)) => {
                    data = Some(serde_json::from_str(text).expect("events hold JSON"));
                }
                _ => {}
            }
            if line.is_empty()
                && let Some(data) = data.take()
            {
                return Some(Event { id, data });
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    /// If the stream ends before.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        self.next_event().expect("another event comes")
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        // curl ends by its own time-out at the latest.
        let bytes = self.lines.read_line(&mut line).expect("events are UTF-8");
        (bytes > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
