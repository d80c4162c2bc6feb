//! The sections of a configuration that belong to one protocol or layer, checked.

use std::path::PathBuf;

use crate::access::Rules;

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// There is no TLS.
    None,
    /// Every `NAME.pem` or `NAME.crt` of a directory, with `NAME.key`.
    Directory(PathBuf),
    /// These, the first for clients that name no server or one that nobody has.
    Files(Vec<CertificateFiles>),
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate and those that signed it, leaf first, PEM.
    pub chain: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Oldest version of TLS spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with the cipher suites that are still good.
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

/// How keys are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// X25519MLKEM768 first, which a quantum computer does not break, then the curves.
    Hybrid,
    /// The curves alone: a sixth cheaper.
    Classical,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    None,
    /// One that is shown must be good.
    Optional,
    /// A handshake without a good one fails.
    Required,
}

/// `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// What the servers show.
    pub certificates: CertificateSource,
    /// Keys of session tickets, shared by gateways; `None`: of the data directory.
    pub ticket_key_file: Option<PathBuf>,
    /// Longest life of a ticket, s.
    pub ticket_lifetime_s: u32,
    /// Oldest version.
    pub min_version: TlsVersion,
    /// How keys are agreed on.
    pub key_exchange: KeyExchange,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Who signs those of clients, PEM; there is one unless `client_auth` is none.
    pub client_ca: Option<PathBuf>,
}

/// `[websocket]`: of WebSocket and HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// Longest frame taken, bytes of its payload; at most as long as a message.
    pub frame_bytes_max: u32,
    /// Longest message taken, bytes, inflated.
    pub message_bytes_max: u32,
    /// permessage-deflate is agreed to.
    pub deflate: bool,
    /// It keeps its window between messages.
    pub deflate_takeover: bool,
    /// Memory of the windows kept, bytes, of the process; beyond it none is agreed to.
    pub deflate_bytes_max: u64,
    /// Origins that browsers may come from besides the host itself; `*`: any.
    pub origins: Vec<String>,
    /// `/echo` returns each message as it came.
    pub echo: bool,
}

impl WebSocketConfig {
    /// The shipped values.
    pub const SHIPPED: Self = Self {
        frame_bytes_max: 1024 * 1024,
        message_bytes_max: 1024 * 1024,
        deflate: true,
        deflate_takeover: false,
        deflate_bytes_max: 64 * 1024 * 1024,
        origins: Vec::new(),
        echo: false,
    };
}

/// `[mqtt]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// QoS 1 and 2 packets a client may have unanswered.
    pub receive_max: u16,
    /// Longest packet taken, bytes.
    pub packet_bytes_max: u32,
    /// Topic aliases a client may set.
    pub topic_alias_max: u16,
    /// Longest keep-alive, s; 0: as long as clients want.
    pub keep_alive_max_s: u16,
    /// Longest life of a session without a connection, s.
    pub session_expiry_max_s: u32,
    /// Filters of one session.
    pub subscriptions_max: u32,
    /// Where clients of version 5 are sent when this gateway drains; empty: nowhere.
    pub server_reference: String,
    /// Who may publish and subscribe where.
    pub rules: Rules,
}
