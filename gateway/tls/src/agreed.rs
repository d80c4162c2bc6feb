//! What a handshake agreed on.

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection, pki_types::CertificateDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// An application protocol (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `hawser`: the native protocol.
    Hawser,
    /// `mqtt`.
    Mqtt,
    /// `http/1.1`: HTTP and WebSocket.
    Http,
}

impl Alpn {
    /// All, in the order in which the server prefers them.
    pub const ALL: [Self; 3] = [Self::Hawser, Self::Mqtt, Self::Http];

    /// As in the handshake.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hawser => "hawser",
            Self::Mqtt => "mqtt",
            Self::Http => "http/1.1",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.name().as_bytes() == name)
    }
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a new key and the certificate's signature.
    Full,
    /// From a ticket.
    Resumed,
}

/// Whom a client certificate was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The whole name, as `CN=device-7, O=Example`.
    pub name: String,
    /// Its common name, if there is just one.
    pub common_name: Option<String>,
}

impl Subject {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let mut names = subject.iter_common_name();
        let common_name = match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok().map(str::to_owned),
            _ => None,
        };
        Some(Self { name: subject.to_string(), common_name })
    }
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Version of the protocol.
    pub version: Version,
    /// Application protocol, if the client named any.
    pub alpn: Option<Alpn>,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// How it went.
    pub kind: Kind,
    /// Subject of the client's certificate, which was verified (now, or when the ticket was made).
    pub client: Option<Subject>,
}

impl Agreed {
    pub(crate) fn of(tls: &ServerConnection) -> Self {
        let version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            _ => Version::Tls12,
        };
        let kind = match tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => Kind::Resumed,
            _ => Kind::Full,
        };
        let chain = tls.peer_certificates().unwrap_or_default();
        Self {
            version,
            alpn: tls.alpn_protocol().and_then(Alpn::from_name),
            server_name: tls.server_name().map(str::to_owned),
            kind,
            client: chain.first().and_then(Subject::of),
        }
    }
}
