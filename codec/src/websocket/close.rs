//! Why a connection ends: close codes and reasons (RFC 6455 5.5.1 and 7.4).

use super::{CONTROL_BYTES_MAX, ControlPayload, Violation};

/// Longest reason, bytes: what a control frame holds beside the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Codes of RFC 6455 7.4.1 and of the IANA registry that we send or understand.
pub mod code {
    /// Done.
    pub const NORMAL: u16 = 1000;
    /// The server goes down or the page is left.
    pub const GOING_AWAY: u16 = 1001;
    /// Broken protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A kind of message that is not taken: text where only binary is, or the other way round.
    pub const UNSUPPORTED: u16 = 1003;
    /// Payload that does not fit its kind, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// Against the rules of the house.
    pub const POLICY: u16 = 1008;
    /// Too big to be taken.
    pub const TOO_BIG: u16 = 1009;
    /// The server met something unexpected.
    pub const INTERNAL: u16 = 1011;
    /// The service restarts: come back.
    pub const RESTART: u16 = 1012;
    /// Overloaded: come back later.
    pub const TRY_AGAIN: u16 = 1013;
}

/// A code that may stand in a close frame: those of the norm and of the registry, and the ranges
/// of libraries (3000) and applications (4000); never 1004 to 1006 and 1015, which stand for the
/// absence of a close frame.
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A close frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Its code; `None`: the frame was empty (what APIs show as 1005).
    pub code: Option<u16>,
    payload: ControlPayload,
}

impl Close {
    pub(super) fn parse(payload: ControlPayload) -> Result<Self, Violation> {
        let code = match *payload.as_bytes() {
            [] => None,
            [_] => return Err(Violation::CloseOneByte),
            [high, low, ref reason @ ..] => {
                let code = u16::from_be_bytes([high, low]);
                if !may_be_sent(code) {
                    return Err(Violation::CloseCode { code });
                }
                if let Err(error) = std::str::from_utf8(reason) {
                    return Err(Violation::NotUtf8 { at: error.valid_up_to() });
                }
                Some(code)
            }
        };
        Ok(Self { code, payload })
    }

    /// Text for people; empty if there is none.
    pub fn reason(&self) -> &str {
        let reason = self.payload.as_bytes().get(2..).unwrap_or_default();
        std::str::from_utf8(reason).unwrap_or_default()
    }
}

/// As much of a text as a close frame holds, cut between characters.
pub fn cut_reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_BYTES_MAX)]
}
