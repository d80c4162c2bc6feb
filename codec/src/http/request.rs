//! Request heads: from bytes that may be unfinished to a view that borrows from them.
//!
//! The grammar is httparse's; what it lets pass and RFC 9112 forbids is refused here. Obsolete line
//! folding and blanks before a colon are refused by the grammar.

use httparse::{EMPTY_HEADER, Header, Status};

use super::{Refused, query};

/// Longest head, bytes: what nginx and browsers' cookies have made customary. A head is kept whole
/// until it is complete, so this is also what a slow client costs.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most fields of a head; browsers send about twenty.
pub const FIELDS_MAX: usize = 64;

/// Longest request line that is told apart from a head that is too long: 414 instead of 431.
const LINE_BYTES_MAX: usize = HEAD_BYTES_MAX - 1024;

/// Version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, closed after each answer unless asked otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What is at the start of the bytes given.
#[allow(clippy::large_enum_variant)] // on the stack for one request, never stored
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A whole head.
    Head {
        /// The head.
        head: Head<'a>,
        /// Bytes it took: the body starts there.
        consumed: usize,
    },
    /// An unfinished head, shorter than [`HEAD_BYTES_MAX`].
    NeedMore,
}

/// A request's head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Method, as it came: case counts.
    pub method: &'a str,
    /// Path of the target, not percent-decoded: begins with `/`, or is `*`.
    pub path: &'a str,
    /// Query of the target without its `?`; empty if there is none.
    pub query: &'a str,
    /// Version.
    pub version: Version,
    /// The client would like another request on this connection.
    pub keep_alive: bool,
    /// Bytes of body that follow the head.
    pub body_bytes: u64,
    fields: [Header<'a>; FIELDS_MAX],
    fields_count: usize,
}

/// Takes the head at the start of `bytes`; it is parsed anew each time, which a limit of
/// [`HEAD_BYTES_MAX`] keeps cheap. Empty lines before it are skipped (RFC 9112 section 2.2).
///
/// # Errors
/// The status to answer before closing: what comes next on the connection cannot be told.
pub fn step(bytes: &[u8]) -> Result<Step<'_>, Refused> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    // One byte more than allowed is enough to know that it is too long.
    let seen = &bytes[..bytes.len().min(HEAD_BYTES_MAX + 1)];
    let consumed = match request.parse(seen) {
        Ok(Status::Complete(consumed)) if consumed <= HEAD_BYTES_MAX => consumed,
        Ok(Status::Partial) if seen.len() <= HEAD_BYTES_MAX => return Ok(Step::NeedMore),
        Ok(_) => return Err(too_long(seen)),
        Err(error) => return Err(malformed(error)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(malformed(httparse::Error::Token));
    };
    let fields_count = request.headers.len();
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let (path, query) = split_target(target)?;
    let mut head = Head {
        method,
        path,
        query,
        version,
        keep_alive: false,
        body_bytes: 0,
        fields,
        fields_count,
    };
    head.check_host()?;
    head.body_bytes = head.length_of_body()?;
    head.keep_alive = !head.lists("connection", "close")
        && (version == Version::Http11 || head.lists("connection", "keep-alive"));
    Ok(Step::Head { head, consumed })
}

impl<'a> Head<'a> {
    /// Value of the first field of this name, in any case, without blanks around it.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The same, if it is a text.
    pub fn field_text(&self, name: &str) -> Option<&'a str> {
        self.field(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All fields as they came, in order: name, and value without blanks around it.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.fields[..self.fields_count].iter().map(|field| (field.name, field.value.trim_ascii()))
    }

    /// Values of all fields of this name, in order.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
        self.fields[..self.fields_count]
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.trim_ascii())
    }

    /// Whether `word` stands, in any case, in the comma-separated lists of this name.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.words(name).any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Members of the comma-separated lists of this name, all fields of it taken together.
    pub fn words<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|word| !word.is_empty())
    }

    /// Value of a parameter of the query, percent-decoded; `None` if it is absent.
    ///
    /// # Errors
    /// 400 if it is no UTF-8 or its percent signs are wrong.
    pub fn parameter(&self, name: &str) -> Result<Option<std::borrow::Cow<'a, str>>, Refused> {
        query::parameter(self.query, name)
    }

    /// Token of `Authorization: Bearer …` (RFC 6750 section 2.1).
    pub fn bearer(&self) -> Option<&'a str> {
        let value = self.field_text("authorization")?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Length of the body, if it is within `bytes_max`.
    ///
    /// # Errors
    /// 413 if it is longer.
    pub fn body_within(&self, bytes_max: usize) -> Result<usize, Refused> {
        match usize::try_from(self.body_bytes) {
            Ok(bytes) if bytes <= bytes_max => Ok(bytes),
            _ => Err(Refused { status: 413, text: "body longer than this server takes" }),
        }
    }

    /// The client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
    ///
    /// # Errors
    /// 417 if it expects anything else.
    pub fn expects_continue(&self) -> Result<bool, Refused> {
        match self.field("expect") {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => {
                Ok(self.version == Version::Http11 && self.body_bytes > 0)
            }
            Some(_) => Err(Refused { status: 417, text: "expected is only 100-continue" }),
        }
    }

    /// RFC 9112 section 3.2: one Host, or none with HTTP/1.0.
    fn check_host(&self) -> Result<(), Refused> {
        match (self.all("host").count(), self.version) {
            (1, _) | (0, Version::Http10) => Ok(()),
            (0, Version::Http11) => Err(Refused { status: 400, text: "field Host is missing" }),
            _ => Err(Refused { status: 400, text: "field Host comes more than once" }),
        }
    }

    /// RFC 9112 section 6.3.
    fn length_of_body(&self) -> Result<u64, Refused> {
        let coded = self.all("transfer-encoding").next().is_some();
        let mut length = None;
        for value in self.all("content-length") {
            let one = decimal(value)
                .ok_or(Refused { status: 400, text: "Content-Length is no number" })?;
            if length.replace(one).is_some_and(|earlier| earlier != one) {
                return Err(Refused { status: 400, text: "fields Content-Length disagree" });
            }
        }
        match (coded, length) {
            (false, length) => Ok(length.unwrap_or(0)),
            (true, Some(_)) => {
                Err(Refused { status: 400, text: "both Content-Length and Transfer-Encoding" })
            }
            (true, None) if self.words("transfer-encoding").eq([&b"chunked"[..]]) => Err(Refused {
                status: 411,
                text: "Transfer-Encoding is not taken, name the Content-Length",
            }),
            (true, None) => {
                Err(Refused { status: 501, text: "Transfer-Encoding is not known here" })
            }
        }
    }
}

/// A number of up to 19 digits and nothing else: no sign, no blank, no list.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Origin form, absolute form (RFC 9112 section 3.2.2 wants it understood), or `*`.
fn split_target(target: &str) -> Result<(&str, &str), Refused> {
    let local = if target.starts_with('/') || target == "*" {
        target
    } else {
        let behind = ["http://", "https://"].iter().find_map(|scheme| {
            let (front, behind) = target.split_at_checked(scheme.len())?;
            front.eq_ignore_ascii_case(scheme).then_some(behind)
        });
        let behind = behind.ok_or(Refused { status: 400, text: "target is no path" })?;
        behind.find(['/', '?']).map_or("/", |at| &behind[at..])
    };
    let local = local.split_once('#').map_or(local, |(before, _)| before);
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

fn too_long(seen: &[u8]) -> Refused {
    let line_bytes = seen.iter().position(|byte| *byte == b'\n').unwrap_or(seen.len());
    if line_bytes > LINE_BYTES_MAX {
        return Refused { status: 414, text: "request line longer than this server takes" };
    }
    Refused { status: 431, text: "head longer than 8192 bytes" }
}

fn malformed(error: httparse::Error) -> Refused {
    let (status, text) = match error {
        httparse::Error::TooManyHeaders => (431, "more than 64 fields"),
        httparse::Error::Version => (505, "versions known are HTTP/1.0 and HTTP/1.1"),
        httparse::Error::HeaderName => (400, "a field's name is wrong, or a line is folded"),
        httparse::Error::HeaderValue => (400, "a field's value is wrong"),
        httparse::Error::NewLine => (400, "a line does not end as it must"),
        httparse::Error::Token | httparse::Error::Status => (400, "no request line"),
    };
    Refused { status, text }
}

#[cfg(test)]
mod tests;
