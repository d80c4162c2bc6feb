//! Alerts: what a peer is told when its connection ends (RFC 8446 section 6, RFC 5246 section 7.2).

/// Description of an alert that the gateway sends or receives, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// The sender says nothing more.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A record or message that has no place here.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record that does not open.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record longer than the protocol allows.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// A message that cannot be read.
    pub const DECODE_ERROR: Self = Self(50);
    /// Something is wrong on this side.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The user ended a handshake; of no meaning afterwards (RFC 8446 section 6.1).
    pub const USER_CANCELED: Self = Self(90);
    /// A new handshake on the same connection is not made (RFC 5246 section 7.2.2).
    pub const NO_RENEGOTIATION: Self = Self(100);
}

/// Level of an alert that ends nothing.
pub(crate) const WARNING: u8 = 1;
/// Level of an alert that ends the connection.
pub(crate) const FATAL: u8 = 2;
