//! What must hold for whatever bytes a WebSocket peer sends. The property tests and the fuzz target
//! of `codec/fuzz` run the same functions; each panics if its promise is broken.

use hawser_codec::websocket::{
    self, CONTROL_BYTES_MAX, Event, Limits, Opcode, Reader, Role, Rules, Violation,
    deflate::{Agreement, Codec, Kept, Settings, Shared},
    extension,
    handshake::Upgrade,
    header::HEADER_BYTES_MAX,
    write,
};

const LIMITS: Limits = Limits { frame_bytes_max: 3000, message_bytes_max: 5000 };

/// What a stream says, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Message { text: bool, compressed: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// The first three bytes choose the rules and the cuts; the rest is a stream and a head.
pub fn peer(bytes: &[u8]) {
    let Some((&[choice, first, second], stream)) = bytes.split_first_chunk() else { return };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let rules = Rules { role, deflate: choice & 2 == 0, limits: LIMITS };
    let whole = read(&rules, [stream]);
    let cuts = [usize::from(first), usize::from(second)];
    assert_eq!(read(&rules, Parts { rest: stream, cuts, at: 0 }), whole);
    assert_eq!(read(&rules, stream.chunks(1)), whole);
    written_again(&rules, &whole.0);
    inflated(&rules, choice & 4 == 0, &whole.0);
    head(stream);
}

/// Pieces of the lengths given in turn, empty ones too.
struct Parts<'a> {
    rest: &'a [u8],
    cuts: [usize; 2],
    at: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        // One more than asked for in each second piece, so that it comes to an end.
        let cut = self.cuts[self.at % 2] + self.at % 2;
        let (piece, rest) = self.rest.split_at(cut.min(self.rest.len()));
        (self.rest, self.at) = (rest, self.at + 1);
        Some(piece)
    }
}

/// Reads pieces as a connection gets them: what is not consumed is given again with the next one.
/// It is little, a message is within the limits, and a text is one.
pub fn read<'a>(
    rules: &Rules,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Said>, Option<Violation>) {
    let (mut reader, mut payload) = (Reader::default(), Vec::new());
    let (mut said, mut kept) = (Vec::new(), Vec::new());
    for part in parts {
        kept.extend_from_slice(part);
        let mut from = 0;
        // Bounded: every event takes the two bytes of a header at least.
        loop {
            let step = match reader.step(rules, &kept[from..], &mut payload) {
                Ok(step) => step,
                Err(violation) => {
                    assert!([1002, 1007, 1009].contains(&violation.close_code()));
                    assert!(!violation.to_string().is_empty());
                    return (said, Some(violation));
                }
            };
            from += step.consumed;
            assert!(payload.len() <= rules.limits.message_bytes_max as usize);
            match step.event {
                None => break,
                Some(Event::Message { text, compressed }) => {
                    assert!(reader.is_idle() && reader == Reader::default());
                    assert!(!text || compressed || std::str::from_utf8(&payload).is_ok());
                    let payload = payload.clone();
                    said.push(Said::Message { text, compressed, payload });
                }
                Some(Event::Ping(control)) => said.push(Said::Ping(control.as_bytes().into())),
                Some(Event::Pong(control)) => said.push(Said::Pong(control.as_bytes().into())),
                Some(Event::Close(close)) => {
                    said.push(Said::Close(close.code, close.reason().to_owned()));
                }
            }
        }
        kept.drain(..from);
        assert!(kept.len() < HEADER_BYTES_MAX + CONTROL_BYTES_MAX);
    }
    (said, None)
}

/// What was read, written by us, is read as the same.
fn written_again(rules: &Rules, said: &[Said]) {
    let key = (rules.role == Role::Server).then_some([9, 8, 7, 6]);
    let mut out = Vec::new();
    for said in said {
        match said {
            Said::Message { text, compressed, payload } => {
                let opcode = if *text { Opcode::Text } else { Opcode::Binary };
                write::frame(&mut out, opcode, true, *compressed, payload, key);
            }
            Said::Ping(payload) => write::ping(&mut out, payload, key),
            Said::Pong(payload) => write::pong(&mut out, payload, key),
            Said::Close(code, reason) => write::close(&mut out, *code, reason, key),
        }
    }
    // One frame now, which may be longer than the frames it came in.
    let limits = Limits { frame_bytes_max: LIMITS.message_bytes_max, ..LIMITS };
    let again = read(&Rules { limits, ..*rules }, [&out[..]]);
    assert_eq!(again, (said.to_vec(), None));
}

/// Compressed messages inflate within the limit or are refused.
fn inflated(rules: &Rules, take_over: bool, said: &[Said]) {
    let mut offers = Vec::new();
    extension::parse(b"permessage-deflate", &mut offers).expect("it is a list");
    let agreement = Agreement::accept(&offers, &Settings { take_over }).expect("it is valid");
    let (mut kept, mut shared) = (Kept::new(agreement), Shared::new(1));
    let mut codec = Codec { agreement, role: rules.role, kept: kept.as_mut(), shared: &mut shared };
    let bytes_max = rules.limits.message_bytes_max;
    let mut out = Vec::new();
    for said in said {
        let Said::Message { text, compressed: true, payload } = said else { continue };
        let result = codec.inflate(payload, *text, bytes_max, &mut out);
        assert!(out.len() <= bytes_max as usize + 1);
        if let Err(violation) = result {
            assert!([1007, 1009].contains(&violation.close_code()));
            return;
        }
        assert!(out.len() <= bytes_max as usize);
        assert!(!text || std::str::from_utf8(&out).is_ok());
    }
}

/// Fields of lines `name: value` open a connection or are refused with an answer.
pub fn head(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name, value.as_bytes()));
    let mut out = Vec::new();
    match Upgrade::read("GET", 1, fields) {
        Ok(upgrade) => {
            let agreement = Agreement::accept(&upgrade.extensions, &Settings { take_over: true });
            upgrade.put_answer(&mut out, upgrade.protocols.first().copied(), agreement);
            let _ = upgrade.token();
        }
        Err(refusal) => refusal.put_answer(&mut out),
    }
    assert!(out.starts_with(b"HTTP/1.1 "));
    assert!(out.windows(4).any(|end| end == b"\r\n\r\n"));
    let mut list = Vec::new();
    let _ = extension::parse(bytes, &mut list);
    let _ = websocket::close::cut_reason(text);
}
