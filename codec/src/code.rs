//! Error codes of the native protocol, shared by every transport.
//!
//! 1xx: the bytes or the order of frames are wrong. 2xx: who you are. 3xx: this request.
//! 4xx: not now, try again after the stated time. 5xx: the server says good-bye.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: u16 = $value;)*

        /// Short text for people; unknown codes have one too.
        pub const fn text(code: u16) -> &'static str {
            match code {
                $($value => $text,)*
                _ => "unknown code",
            }
        }
    };
}

codes! {
    /// Bytes that are no frame, or a body that fails verification. Fatal.
    MALFORMED = 100, "malformed frame";
    /// A frame longer than the server takes. Fatal.
    FRAME_TOO_LONG = 101, "frame too long";
    /// A frame that may not come now. Fatal.
    UNEXPECTED_FRAME = 102, "frame not allowed in this state";
    /// No common protocol version. Fatal.
    VERSION_UNSUPPORTED = 103, "protocol version not supported";
    /// A frame kind this server does not know, without the optional flag. Fatal.
    UNKNOWN_KIND = 104, "unknown frame kind";
    /// Nothing came within the heartbeat, or no hello within the handshake time; or the same
    /// client (device and incarnation) logged in on another connection. Fatal.
    TIMEOUT = 105, "timed out";
    /// The token is wrong, forged or for somebody else. Fatal.
    UNAUTHENTICATED = 200, "not authenticated";
    /// The token has expired. Fatal.
    TOKEN_EXPIRED = 201, "token expired";
    /// The session was ended by the server or its owner. Fatal.
    KICKED = 202, "session ended";
    /// The same device logged in on another connection with another incarnation. Fatal.
    REPLACED = 203, "replaced by another login of this device";
    /// A name is empty, too long or not UTF-8.
    BAD_NAME = 204, "name empty, too long or not UTF-8";
    /// The number was used before with another message id or body. Never sent again.
    NUMBER_REUSED = 300, "client_seq already used for another message";
    /// A later number of this device was already accepted in this conversation.
    SUPERSEDED = 301, "a later client_seq was already accepted";
    /// First attempted too long ago to tell whether it is a repeat.
    TOO_OLD = 302, "first attempt is older than the retention";
    /// Field out of range.
    BAD_REQUEST = 303, "field out of range";
    /// `after` names a request that is not accepted yet: send again once that one is.
    OUT_OF_ORDER = 304, "an earlier request is not accepted yet";
    /// Mailbox number beyond the head.
    BAD_NUMBER = 305, "mailbox number out of range";
    /// The log cannot be written now.
    STORAGE_UNAVAILABLE = 400, "storage unavailable";
    /// A limit of the server or of this connection is reached.
    OVERLOADED = 401, "overloaded";
    /// The answer has to be looked up first.
    TRY_AGAIN = 402, "try again";
    /// The shard is being recovered.
    RECOVERING = 403, "recovering";
    /// Server is full.
    CONNECTIONS_FULL = 404, "no more connections";
    /// Too many requests unanswered, or too fast.
    RATE_LIMITED = 405, "too many requests";
    /// Server shuts down.
    SHUTTING_DOWN = 500, "shutting down";
}
