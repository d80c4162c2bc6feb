//! Why a link is refused, and why it ended: texts for the operator of either side.

use super::wire::Farewell;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Codes of `refused` and `go_away`.
        pub mod refusal_code {
            $($(#[$doc])* pub const $name: u16 = $value;)*
        }

        /// Short text of a code; unknown ones have one too.
        pub const fn refusal_text(code: u16) -> &'static str {
            match code {
                $($value => $text,)*
                _ => "unknown code",
            }
        }
    };
}

codes! {
    /// A frame that is none, comes at the wrong time or beyond its limits.
    MALFORMED = 1, "malformed or unexpected frame";
    /// No version in common.
    VERSION = 2, "no common link version";
    /// The proof is wrong.
    SECRET = 3, "the secrets differ";
    /// Number of routers or a router's place among them.
    LIST = 4, "the lists of routers differ";
    /// Check value of the hash key.
    HASH_KEY = 5, "the hash keys differ";
    /// Same epoch.
    ITSELF = 6, "the link leads to itself";
    /// A gateway was asked for what only a router has.
    ROLE = 7, "wrong role";
    /// No more links or workers fit.
    FULL = 8, "no room for another link";
    /// The process ends.
    SHUTTING_DOWN = 9, "shutting down";
    /// The same process has opened another link since.
    REPLACED = 10, "replaced by another link of the same process";
    /// The peer does not read what is said to it.
    TOO_SLOW = 11, "too much waits for this link";
}

/// A refusal: a code and what is wrong in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of [`refusal_code`].
    pub code: u16,
    /// What is wrong, for people.
    pub text: String,
    /// When trying again may help, milliseconds; 0: only once somebody has changed something.
    pub retry_after_ms: u32,
}

impl Refusal {
    /// A refusal without a time to come back.
    pub fn of(code: u16, text: String) -> Self {
        Self { code, text, retry_after_ms: 0 }
    }

    pub(super) fn into_farewell(self) -> Farewell {
        let Self { code, text, retry_after_ms } = self;
        Farewell { code, retry_after_ms, text }
    }
}

impl From<Farewell> for Refusal {
    fn from(farewell: Farewell) -> Self {
        let Farewell { code, retry_after_ms, text } = farewell;
        Self { code, text, retry_after_ms }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.text.is_empty() {
            true => out.write_str(refusal_text(self.code)),
            false => out.write_str(&self.text),
        }
    }
}

/// Why a link is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// This side refused the other and has said so.
    RefusedPeer(Refusal),
    /// The other side refused this one.
    RefusedByPeer(Refusal),
    /// The other side speaks something else; its first bytes.
    NotALink([u8; 4]),
    /// A frame that is none, came at the wrong time or beyond its limits.
    Malformed(&'static str),
    /// The handshake took too long.
    HandshakeTimeout,
    /// Nothing was heard for too long.
    Silent,
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RefusedPeer(refusal) => write!(out, "refused the other side: {refusal}"),
            Self::RefusedByPeer(refusal) => write!(out, "refused by the other side: {refusal}"),
            Self::NotALink(first) => {
                let [a, b, c, d] = first;
                write!(
                    out,
                    "the other side speaks no link protocol (it began with {a:02x} {b:02x} {c:02x} \
                     {d:02x}): is it a router's link address?"
                )
            }
            Self::Malformed(what) => write!(out, "the other side broke the protocol: {what}"),
            Self::HandshakeTimeout => write!(
                out,
                "no welcome within {} s: is it a router's link address?",
                super::HANDSHAKE_US / 1_000_000
            ),
            Self::Silent => write!(out, "nothing heard for {} s", super::SILENCE_US / 1_000_000),
        }
    }
}
