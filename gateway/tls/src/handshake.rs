//! A handshake, for as long as it lasts.
//!
//! ```text
//!  start ──▶ hold bytes ──▶ run ──▶ Progress::Waiting ──▶ hold … run ──▶ Progress::Done ──▶ finish
//!                            └────▶ Failure (the alert is among the answers)
//! ```
//!
//! Bytes are held until they are a whole record and until the worker has time: [`Handshake::is_costly`]
//! says whether the next run signs or agrees on a key (about 0.1 ms) or only checks a Finished.
//!
//! What it is not: a queue or a clock. The worker decides who runs when, and how long a handshake
//! may take.

use std::sync::Arc;

use rustls::{
    CipherSuite, ConnectionTrafficSecrets, Error, ProtocolVersion, ServerConnection,
    SupportedCipherSuite,
};

use crate::{
    agreed::Agreed,
    alert::{Alert, FATAL},
    cut::{self, Cut, RECORD_BYTES_MAX, cut},
    desk::{self, Secrets},
    keys::{IV_AT, NONCE_BYTES, SECRET_BYTES_MAX, Secret, Suite, start_nonce},
    listening::Listening,
    record::{Half, Record},
};

/// Most bytes held in one handshake. The longest legitimate flight is a chain of client
/// certificates, or early data of TLS 1.2's false start; both stay well below.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(HANDSHAKE_BYTES_MAX > 2 * RECORD_BYTES_MAX);

/// Why a handshake failed: the reasons that a metric tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What came is no TLS.
    Garbage,
    /// A record, or what was held, is too long.
    TooLong,
    /// No version, suite, group or signature in common.
    Incompatible,
    /// No application protocol in common.
    Protocol,
    /// A client certificate is missing, or does not verify.
    ClientCertificate,
    /// The client ended it with an alert (an untrusted server certificate, usually).
    PeerAlert,
    /// The client broke the protocol.
    Misbehaved,
    /// Something failed on this side.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Garbage,
        Self::TooLong,
        Self::Incompatible,
        Self::Protocol,
        Self::ClientCertificate,
        Self::PeerAlert,
        Self::Misbehaved,
        Self::Internal,
    ];

    /// As a label of a metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::TooLong => "too_long",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
            Self::ClientCertificate => "client_certificate",
            Self::PeerAlert => "peer_alert",
            Self::Misbehaved => "misbehaved",
            Self::Internal => "internal",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::Garbage,
            Error::PeerSentOversizedRecord => Self::TooLong,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::NoCertificatesPresented
            | Error::InvalidCertificate(_)
            | Error::UnsupportedNameType => Self::ClientCertificate,
            Error::AlertReceived(_) => Self::PeerAlert,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError => Self::Misbehaved,
            _ => Self::Internal,
        }
    }
}

/// A handshake that failed. The alert for the peer, if it gets one, is among the answers.
#[derive(Debug)]
pub struct Failure {
    /// For the metric.
    pub reason: Reason,
    /// For a log, in words.
    pub detail: String,
}

impl Failure {
    fn new(reason: Reason, detail: &str) -> Self {
        Self { reason, detail: detail.to_owned() }
    }

    fn of(error: &Error) -> Self {
        Self { reason: Reason::of(error), detail: error.to_string() }
    }
}

/// Where a handshake stands after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for bytes of the peer.
    Waiting,
    /// Call [`Handshake::finish`].
    Done,
}

/// What is left of a handshake.
pub struct Finished {
    /// The state that opens and seals from now on.
    pub record: Record,
    /// Bytes that came behind the handshake, not opened yet: whole records and perhaps a part of
    /// one.
    pub rest: Vec<u8>,
    /// What was agreed on.
    pub agreed: Agreed,
}

/// See the module.
pub struct Handshake {
    tls: ServerConnection,
    /// Bytes not yet given to rustls.
    held: Vec<u8>,
    secrets: Secrets,
    /// Something was answered, so an alert of our own may have to be sealed and is left to rustls.
    answered: bool,
    /// The next run costs a signature or a key agreement.
    costly: bool,
    verifies_clients: bool,
}

impl Handshake {
    /// A handshake that has heard nothing. Boxed: it is large, and few last at a time.
    ///
    /// # Errors
    /// [`Reason::Internal`]: rustls could not begin (no randomness).
    pub fn start(listening: &Listening) -> Result<Box<Self>, Failure> {
        let tls = ServerConnection::new(Arc::clone(listening.config()))
            .map_err(|error| Failure::of(&error))?;
        Ok(Box::new(Self {
            tls,
            held: Vec::new(),
            secrets: Secrets::default(),
            answered: false,
            costly: true,
            verifies_clients: listening.verifies_clients(),
        }))
    }

    /// Holds bytes that came.
    ///
    /// # Errors
    /// [`Reason::TooLong`]: more than [`HANDSHAKE_BYTES_MAX`] would be held; end the connection.
    pub fn hold(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.held.len() + bytes.len() > HANDSHAKE_BYTES_MAX {
            return Err(Failure::new(Reason::TooLong, "the client sends without waiting"));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// A run would do something: a whole record waits, or garbage does.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !matches!(cut(&self.held), Ok(Cut::Needs(_)))
    }

    /// A run is worth waiting for its turn: it will agree on a key, sign, or verify a certificate.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        self.costly
    }

    /// Gives all whole records to rustls, up to the end of the handshake, and appends its answers
    /// to `out`, also in case of a failure. `now_s` is the wall time, seconds since 1970.
    ///
    /// # Errors
    /// The handshake failed: send `out` and close.
    pub fn run(&mut self, now_s: u64, out: &mut Vec<u8>) -> Result<Progress, Failure> {
        desk::put_time(now_s);
        let mut taken = 0;
        let outcome = loop {
            let rest = &self.held[taken..];
            let whole = match cut(rest) {
                Ok(Cut::Whole(bytes)) => bytes,
                Ok(Cut::Needs(_)) => break Ok(Progress::Waiting),
                Err(alert) => break Err(self.refuse(alert, out)),
            };
            taken += whole;
            if let Err(error) = self.feed(taken - whole..taken, out) {
                break Err(Failure::of(&error));
            }
            if !self.tls.is_handshaking() {
                break Ok(Progress::Done);
            }
        };
        self.held.drain(..taken);
        outcome
    }

    /// One whole record.
    fn feed(&mut self, range: std::ops::Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut record = &self.held[range];
        let result = match self.tls.read_tls(&mut record) {
            Ok(_) => self.tls.process_new_packets(),
            Err(error) => Err(Error::General(error.to_string())),
        };
        let told = desk::take_secrets();
        if told.client.is_some() && told.server.is_some() {
            self.secrets = told;
            // What is left of TLS 1.3 is the client's Finished, and its certificate if we ask.
            self.costly = self.verifies_clients;
        }
        let before = out.len();
        while self.tls.wants_write() {
            self.tls.write_tls(out).expect("a vector takes all bytes");
        }
        self.answered |= out.len() > before;
        result.map(drop)
    }

    /// Ends a handshake whose records cannot be cut.
    fn refuse(&mut self, alert: Alert, out: &mut Vec<u8>) -> Failure {
        let reason =
            if alert == Alert::RECORD_OVERFLOW { Reason::TooLong } else { Reason::Garbage };
        if self.answered {
            // The alert may have to be sealed, which only rustls can: a header that it refuses,
            // too, makes it say so.
            let mut header: &[u8] = &[cut::HANDSHAKE, 3, 3, 0xff, 0xff];
            if self.tls.read_tls(&mut header).is_ok() {
                // The error is the purpose.
                let _ = self.tls.process_new_packets();
            }
            while self.tls.wants_write() {
                self.tls.write_tls(out).expect("a vector takes all bytes");
            }
        } else {
            out.extend_from_slice(&[cut::ALERT, 3, 3, 0, 2, FATAL, alert.0]);
        }
        Failure::new(reason, "what came is no record of TLS")
    }

    /// Takes the record state out of a handshake that is done.
    ///
    /// # Errors
    /// [`Reason::Internal`]: rustls gave no secrets, or others than it told before.
    pub fn finish(self: Box<Self>) -> Result<Finished, Failure> {
        let Self { tls, held, secrets, .. } = *self;
        let agreed = Agreed::of(&tls);
        let suite = tls
            .negotiated_cipher_suite()
            .zip(tls.protocol_version())
            .and_then(|(suite, version)| suite_of(suite, version))
            .ok_or_else(|| Failure::new(Reason::Internal, "a suite that is not offered"))?;
        let extracted = tls.dangerous_extract_secrets().map_err(|error| Failure::of(&error))?;
        let incoming = half(suite, extracted.rx, secrets.client.as_ref())?;
        let outgoing = half(suite, extracted.tx, secrets.server.as_ref())?;
        Ok(Finished { record: Record::new(suite, incoming, outgoing), rest: held, agreed })
    }
}

fn suite_of(suite: SupportedCipherSuite, version: ProtocolVersion) -> Option<Suite> {
    use CipherSuite as Its;
    let suite = match suite.suite() {
        Its::TLS13_AES_128_GCM_SHA256 => Suite::Aes128,
        Its::TLS13_AES_256_GCM_SHA384 => Suite::Aes256,
        Its::TLS13_CHACHA20_POLY1305_SHA256 => Suite::ChaCha,
        Its::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Its::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Suite::OldAes128,
        Its::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | Its::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Suite::OldAes256,
        Its::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | Its::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Suite::OldChaCha,
        _ => return None,
    };
    (suite.is_tls13() == (version == ProtocolVersion::TLSv1_3)).then_some(suite)
}

/// One direction: of TLS 1.3 the secret that was told, compared with the keys in use; of TLS 1.2 the
/// keys themselves.
fn half(
    suite: Suite,
    (count, keys): (u64, ConnectionTrafficSecrets),
    told: Option<&Secret>,
) -> Result<Half, Failure> {
    let (key, iv) = match &keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => return Err(Failure::new(Reason::Internal, "keys of an unknown kind")),
    };
    let half = if suite.is_tls13() {
        let secret = told.ok_or_else(|| Failure::new(Reason::Internal, "no secrets were told"))?;
        Half { secret: *secret, count }
    } else {
        let mut half = Half { secret: [0; SECRET_BYTES_MAX], count };
        half.secret[..key.len()].copy_from_slice(key);
        half.secret[IV_AT..IV_AT + NONCE_BYTES].copy_from_slice(iv);
        half
    };
    if start_nonce(suite, &half.secret)[..] != *iv {
        return Err(Failure::new(Reason::Internal, "the secrets belong to another connection"));
    }
    Ok(half)
}
