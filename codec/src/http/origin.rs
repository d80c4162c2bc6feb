//! Which pages of the web may use the server: rules of the Origin field, and what a browser is
//! told (Fetch standard, section 3.3, "CORS protocol").
//!
//! Pure decisions; the caller writes them into an answer. They guard users of browsers, who did
//! not choose the page that speaks for them; programs that are no browsers send no Origin.

use super::{Answer, Head};

/// Origins that may use the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginRule {
    /// None named, or the server's own: the page came from the host it speaks to.
    #[default]
    Same,
    /// None named, the server's own, or one of these: `https://chat.example`, with the port if it
    /// is not the scheme's; `*` for any.
    Listed(Vec<String>),
}

/// What a request's Origin allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No browser, or a page of this very server: nothing need be said.
    Allowed,
    /// A page of this other origin, which must be told that it may read the answer.
    AllowedTo(&'a str),
    /// A page that may not: 403.
    Foreign,
}

/// For so long a browser may remember a preflight's answer, seconds: Chromium's own limit.
const PREFLIGHT_AGE_S: u32 = 7200;

impl OriginRule {
    /// Judges a request. `tls`: it came over TLS that ends here, so that a page without TLS is not
    /// the same origin; without, TLS may have ended in front of this server.
    pub fn judge<'a>(&self, head: &Head<'a>, tls: bool) -> Verdict<'a> {
        let mut origins = head.all("origin");
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            return if head.field("origin").is_none() {
                Verdict::Allowed
            } else {
                Verdict::Foreign
            };
        };
        let Ok(origin) = std::str::from_utf8(origin) else { return Verdict::Foreign };
        if head.field_text("host").is_some_and(|host| is_same(origin, host, tls)) {
            return Verdict::Allowed;
        }
        match self {
            Self::Listed(listed) if listed.iter().any(|one| is_listed(one, origin)) => {
                Verdict::AllowedTo(origin)
            }
            Self::Listed(_) | Self::Same => Verdict::Foreign,
        }
    }
}

impl Verdict<'_> {
    /// Adds the fields that let the page read an answer. `Vary` keeps caches from showing one
    /// origin's answer to another.
    pub fn put(&self, answer: &mut Answer<'_>) {
        if let Self::AllowedTo(origin) = self {
            answer.field("Access-Control-Allow-Origin", origin);
            answer.field("Vary", "Origin");
        }
    }

    /// Adds what a preflight asks for: which methods and fields the request to come may have.
    pub fn put_preflight(&self, answer: &mut Answer<'_>, methods: &str, fields: &str) {
        self.put(answer);
        if let Self::AllowedTo(_) = self {
            answer.field("Access-Control-Allow-Methods", methods);
            answer.field("Access-Control-Allow-Headers", fields);
            answer.field("Access-Control-Max-Age", PREFLIGHT_AGE_S);
        }
    }
}

/// Whether a request is a browser's question before the real one.
pub fn is_preflight(head: &Head<'_>) -> bool {
    head.method == "OPTIONS"
        && head.field("origin").is_some()
        && head.field("access-control-request-method").is_some()
}

fn is_listed(listed: &str, origin: &str) -> bool {
    listed == "*" || listed.eq_ignore_ascii_case(origin)
}

/// The page's host and port are those the request names. Both leave out the port of their scheme.
fn is_same(origin: &str, host: &str, tls: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" => ":443",
        "http" if !tls => ":80",
        _ => return false,
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    !host.is_empty() && authority.strip_suffix(port).unwrap_or(authority).eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::{super::request, *};

    fn judged(rule: &OriginRule, fields: &str, tls: bool) -> String {
        let text = format!("GET / HTTP/1.1\r\nHost: chat.example\r\n{fields}\r\n");
        let Ok(request::Step::Head { head, .. }) = request::step(text.as_bytes()) else {
            panic!("{text}")
        };
        format!("{:?}", rule.judge(&head, tls))
    }

    #[test]
    fn by_default_only_no_page_and_pages_of_the_same_host_may_use_the_server() {
        let judged = |fields| judged(&OriginRule::Same, fields, false);
        assert_eq!(judged(""), "Allowed");
        assert_eq!(judged("Origin: https://chat.example\r\n"), "Allowed");
        assert_eq!(judged("Origin: http://Chat.Example:80\r\n"), "Allowed");
        for foreign in [
            "Origin: https://evil.example\r\n",
            "Origin: https://chat.example:8443\r\n",
            "Origin: https://chat.example.evil.example\r\n",
            "Origin: null\r\n",
            "Origin: file://\r\n",
            "Origin:\r\n",
            "Origin: https://chat.example\r\nOrigin: https://evil.example\r\n",
        ] {
            assert_eq!(judged(foreign), "Foreign", "{foreign}");
        }
    }

    #[test]
    fn a_page_without_tls_is_not_the_same_as_a_server_with_it() {
        assert_eq!(judged(&OriginRule::Same, "Origin: http://chat.example\r\n", true), "Foreign");
        assert_eq!(judged(&OriginRule::Same, "Origin: https://chat.example\r\n", true), "Allowed");
    }

    #[test]
    fn listed_origins_are_named_in_the_answer() {
        let rule = OriginRule::Listed(vec!["https://web.example".into()]);
        let shown = judged(&rule, "Origin: https://web.example\r\n", true);
        assert_eq!(shown, "AllowedTo(\"https://web.example\")");
        assert_eq!(judged(&rule, "Origin: https://web.example:444\r\n", true), "Foreign");
        assert_eq!(judged(&rule, "Origin: https://chat.example\r\n", true), "Allowed");
        let any = OriginRule::Listed(vec!["*".into()]);
        assert_eq!(judged(&any, "Origin: null\r\n", true), "AllowedTo(\"null\")");
    }
}
