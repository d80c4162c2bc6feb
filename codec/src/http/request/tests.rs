use super::*;

fn head(text: &str) -> Head<'_> {
    match step(text.as_bytes()) {
        Ok(Step::Head { head, consumed }) if consumed == text.len() => head,
        other => panic!("{other:?}"),
    }
}

fn status(text: &str) -> u16 {
    match step(text.as_bytes()) {
        Err(refused) => refused.status,
        Ok(Step::NeedMore) => 0,
        Ok(Step::Head { .. }) => 200,
    }
}

const GET: &str = "GET /poll?cursor=5&wait=20 HTTP/1.1\r\nHost: a.example\r\nAUTHORIZATION: bearer \
                   abc.def\r\nConnection: Keep-Alive, Upgrade\r\n\r\n";

#[test]
fn a_head_is_taken_at_every_split_and_leaves_the_body() {
    for cut in 0..GET.len() {
        assert!(matches!(step(&GET.as_bytes()[..cut]), Ok(Step::NeedMore)), "{cut}");
    }
    let mut with_body = GET.as_bytes().to_vec();
    with_body.extend_from_slice(b"\0\r\nGET");
    let Ok(Step::Head { head, consumed }) = step(&with_body) else { panic!("no head") };
    assert_eq!(consumed, GET.len());
    assert_eq!((head.method, head.path, head.query), ("GET", "/poll", "cursor=5&wait=20"));
    assert_eq!((head.version, head.keep_alive, head.body_bytes), (Version::Http11, true, 0));
}

#[test]
fn fields_are_found_in_any_case() {
    let head = head(GET);
    assert_eq!(head.field("host"), Some(&b"a.example"[..]));
    assert_eq!(head.bearer(), Some("abc.def"));
    assert!(head.lists("connection", "upgrade") && !head.lists("connection", "close"));
    assert_eq!(head.field("cookie"), None);
    assert_eq!(head.parameter("wait").unwrap().as_deref(), Some("20"));
}

#[test]
fn keep_alive_follows_version_and_connection() {
    let kept = |line: &str, connection: &str| {
        head(&format!("GET / {line}\r\nHost: a\r\n{connection}\r\n")).keep_alive
    };
    assert!(kept("HTTP/1.1", ""));
    assert!(!kept("HTTP/1.1", "Connection: close\r\n"));
    assert!(!kept("HTTP/1.1", "Connection: keep-alive\r\nConnection: x, CLOSE\r\n"));
    assert!(!kept("HTTP/1.0", ""));
    assert!(kept("HTTP/1.0", "Connection: keep-alive\r\n"));
}

#[test]
fn targets_in_absolute_form_mean_the_same() {
    let target = |target: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = match step(text.as_bytes()) {
            Ok(Step::Head { head, .. }) => head,
            other => panic!("{other:?}"),
        };
        (head.path.to_owned(), head.query.to_owned())
    };
    assert_eq!(target("http://a/poll?x=1"), ("/poll".into(), "x=1".into()));
    assert_eq!(target("HTTPS://a?x=1"), ("/".into(), "x=1".into()));
    assert_eq!(target("http://a"), ("/".into(), String::new()));
    assert_eq!(target("*"), ("*".into(), String::new()));
    assert_eq!(status("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(status("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
}

#[test]
fn length_of_the_body_has_one_meaning_or_none() {
    let post = |fields: &str| status(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(post("Content-Length: 12\r\nContent-Length: 12\r\n"), 200);
    for (fields, expected) in [
        ("Content-Length: 12\r\nContent-Length: 13\r\n", 400),
        ("Content-Length: 12, 12\r\n", 400),
        ("Content-Length: +12\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 99999999999999999999\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding:\r\n", 501),
    ] {
        assert_eq!(post(fields), expected, "{fields}");
    }
    let long = head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n");
    assert_eq!(long.body_within(4097), Ok(4097));
    assert_eq!(long.body_within(4096).unwrap_err().status, 413);
}

#[test]
fn malformed_heads_are_refused_with_their_status() {
    for (text, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("G\u{1}T / HTTP/1.1\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\n", 505),
        ("GET / HTTP/1.1\rX", 400),
        ("\x16\x03\x01", 400),
    ] {
        assert_eq!(status(text), expected, "{text:?}");
    }
}

#[test]
fn heads_that_are_too_long_are_refused_without_waiting_for_their_end() {
    let padded = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    assert_eq!(status(&padded(HEAD_BYTES_MAX)), 200);
    assert_eq!(status(&padded(HEAD_BYTES_MAX + 1)), 431);
    assert_eq!(status(&padded(HEAD_BYTES_MAX)[..HEAD_BYTES_MAX - 1]), 0);
    assert_eq!(status(&format!("GET /{}", "x".repeat(HEAD_BYTES_MAX))), 414);
    assert_eq!(status(&"\r\n".repeat(HEAD_BYTES_MAX)), 431);

    let fields = |count: usize| {
        let fields: String = (1..count).map(|at| format!("X{at}: 1\r\n")).collect();
        status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    };
    assert_eq!(fields(FIELDS_MAX), 200);
    assert_eq!(fields(FIELDS_MAX + 1), 431);
}

#[test]
fn only_100_continue_may_be_expected() {
    let expecting = |value: &str, bytes: u32| {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: {bytes}\r\n\r\n"
        );
        head(&text).expects_continue().map_err(|refused| refused.status)
    };
    assert_eq!(expecting("100-Continue", 5), Ok(true));
    assert_eq!(expecting("100-continue", 0), Ok(false));
    assert_eq!(expecting("tea", 5), Err(417));
}
