//! TLS as a layer: ciphertext of the transport on one side, plaintext on the other.
//!
//! Not here: sockets and files. Nonces are drawn by aws-lc and the time for checking certificates
//! is the system's, both inside rustls. Invariant: plaintext is handed up in the call in which its
//! record was completed, and whatever is to be sent leaves in the call that made it.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, RootCertStore,
    SignatureScheme,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::fault;

/// Tickets kept for connections that come back: as many connections as one machine's TLS storm
/// has at a time. About 1 KiB each; the oldest go first.
const TICKETS_MAX: usize = 16_384;

/// Whose signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Of these authorities, in PEM.
    Pem(Vec<u8>),
    /// Anybody's.
    Anybody,
}

/// What the TLS connections of a run share.
///
/// A connection that opens for the first time makes a full handshake, one that comes back resumes
/// with a ticket, as a device does. Tickets are shared by all: the server cannot tell.
#[derive(Debug)]
pub struct TlsClient {
    first: Arc<ClientConfig>,
    again: Arc<ClientConfig>,
    name: ServerName<'static>,
    insecure: bool,
}

impl TlsClient {
    /// Clients of a server of this name that speak the application protocol `alpn`.
    ///
    /// # Errors
    /// One line about certificates that are none or a name that is none.
    pub fn new(authority: &Authority, name: &str, alpn: &str) -> Result<Self, String> {
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("--server-name {name}: neither a host name nor an address"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?;
        let insecure = *authority == Authority::Anybody;
        let mut config = match authority {
            Authority::Pem(pem) => builder.with_root_certificates(roots(pem)?),
            Authority::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tickets = Arc::new(Tickets::default());
        // The same verifier in both: rustls resumes no session that another one has judged.
        let mut first = config.clone();
        first.resumption = Resumption::store(Arc::new(KeepOnly(Arc::clone(&tickets))));
        config.resumption = Resumption::store(tickets);
        Ok(Self { first: Arc::new(first), again: Arc::new(config), name: server_name, insecure })
    }

    /// Any certificate is taken.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// A connection's state; `again`: it was open before.
    ///
    /// # Errors
    /// A code of [`fault`].
    pub fn open(&self, again: bool) -> Result<Tls, u16> {
        let config = if again { &self.again } else { &self.first };
        let connection = ClientConnection::new(Arc::clone(config), self.name.clone());
        let mut connection = connection.map_err(|error| fault::of_tls(&error))?;
        // Its bytes leave with the call that made them: there is nothing to bound.
        connection.set_buffer_limit(None);
        Ok(Tls { connection })
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("--tls-ca: {error}"))?;
        // Bundles of systems hold some that are out of use; one that is needed is missed later.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err("--tls-ca: no certificate in PEM that can be used".to_owned());
    }
    Ok(roots)
}

/// One connection's TLS.
///
/// It costs about 10 KB while idle, the tickets that it brought included; 4 KB of them are a buffer
/// that rustls keeps for the next record. Measured as the difference between 100 and 4,100 held
/// connections of TLS 1.3 with rustls 0.23.46: 11.1 KB each, 1.4 KB without TLS. It is not part of
/// what is promised for an idle connection.
pub struct Tls {
    connection: ClientConnection,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("open", &self.is_open()).finish()
    }
}

impl Tls {
    /// The handshake is over.
    pub fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Takes what came from the transport; plaintext is appended to `plain`, what TLS itself has
    /// to say to `outbound`.
    ///
    /// # Errors
    /// A code of [`fault`]; the connection is lost, but an alert may stand in `outbound`.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        outbound: &mut Vec<u8>,
    ) -> Result<(), u16> {
        while !bytes.is_empty() {
            // Fails only with its buffer full, which it is not after the call below.
            let taken = self.connection.read_tls(&mut bytes).map_err(|_| fault::TLS_BROKEN)?;
            let state = self.connection.process_new_packets();
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.put(outbound);
                    return Err(fault::of_tls(&error));
                }
            };
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            let read = self.connection.reader().read_exact(&mut plain[start..]);
            read.map_err(|_| fault::TLS_BROKEN)?;
            if taken == 0 {
                // Behind a close_notify nothing is read.
                break;
            }
        }
        self.put(outbound);
        Ok(())
    }

    /// Seals plaintext.
    pub fn send(&mut self, plain: &[u8], outbound: &mut Vec<u8>) {
        self.connection.writer().write_all(plain).expect("its buffer has no limit");
        self.put(outbound);
    }

    fn put(&mut self, outbound: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection.write_tls(outbound).expect("a Vec takes every byte");
        }
    }

    /// Begins: the first bytes to be sent.
    pub fn begin(&mut self, outbound: &mut Vec<u8>) {
        self.put(outbound);
    }
}

/// Tickets of closed connections, for those that come back.
#[derive(Default)]
struct Tickets {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    hint: Option<NamedGroup>,
    old: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("kept", &self.kept().tickets.len()).finish()
    }
}

impl Tickets {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic of another worker ends the run anyway.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All servers are one: a run has one target.
impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.kept().hint = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept().hint
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept().old = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().old.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept().old = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if kept.tickets.len() == TICKETS_MAX {
            kept.tickets.pop_front();
        }
        kept.tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().tickets.pop_back()
    }
}

/// Keeps tickets and gives none.
#[derive(Debug)]
struct KeepOnly(Arc<Tickets>);

impl ClientSessionStore for KeepOnly {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// Takes any certificate, but wants the server to have its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
