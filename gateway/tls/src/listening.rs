//! What a listener with TLS offers: certificates, versions, groups, tickets, client certificates.
//!
//! It is built once from what files hold and never changed. A reload builds another one for
//! handshakes that begin later; those under way keep theirs, and connections past their handshake
//! have no part in it at all.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version,
};

use crate::{
    agreed::Alpn,
    certificates::{CertificatePem, Certificates, Pem, Problem, Refused, chain_of},
    desk::{DeskSecrets, DeskTime},
    tickets::{TicketKeys, Tickets},
};

/// Tickets given to a client of TLS 1.3 after a full handshake: two, as it should use each of them
/// once and browsers open two connections at a time (RFC 8446 section C.4).
const TICKETS_PER_HANDSHAKE: usize = 2;

/// Versions spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    Both,
    /// TLS 1.3 only.
    Only13,
}

/// Whether clients show certificates, and whose.
#[derive(Clone, Copy)]
pub enum ClientCertificates<'a> {
    /// They are not asked.
    Unasked,
    /// Who shows one must be certified by one of these authorities.
    Optional(Pem<'a>),
    /// Everybody must show one of these authorities.
    Required(Pem<'a>),
}

/// What a [`Listening`] is made of.
pub struct Material<'a> {
    /// Certificates of the server, the default one first.
    pub certificates: &'a [CertificatePem<'a>],
    /// Certificates of clients.
    pub clients: ClientCertificates<'a>,
    /// Versions spoken.
    pub versions: Versions,
    /// Offer X25519MLKEM768 first, as browsers do.
    pub post_quantum: bool,
    /// The key file for tickets; without one there is no resumption.
    pub ticket_keys: Option<Pem<'a>>,
    /// How long a ticket opens, seconds; at most a week (RFC 8446 section 4.6.1).
    pub ticket_lifetime_s: u32,
}

/// See the module.
#[derive(Clone)]
pub struct Listening {
    config: Arc<ServerConfig>,
    verifies_clients: bool,
}

impl Listening {
    /// Builds it. `now_s` is the wall time, seconds since 1970; `alpn` what this listener speaks,
    /// most preferred first (empty: whatever the client says is ignored).
    ///
    /// # Errors
    /// The file that is wrong, and what is wrong with it.
    pub fn new(material: &Material<'_>, alpn: &[Alpn], now_s: u64) -> Result<Self, Refused> {
        let provider = Arc::new(crypto(material.post_quantum));
        let certificates = Certificates::new(material.certificates, &provider, now_s)?;
        let versions: &[_] = match material.versions {
            Versions::Both => &[&version::TLS13, &version::TLS12],
            Versions::Only13 => &[&version::TLS13],
        };
        let clients = verifier(material.clients, &provider)?;
        let verifies_clients = clients.is_some();
        let builder = ServerConfig::builder_with_details(provider, Arc::new(DeskTime))
            .with_protocol_versions(versions)
            .expect("both versions have suites and groups");
        let builder = match clients {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.name().as_bytes().to_vec()).collect();
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(DeskSecrets);
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if let Some(file) = material.ticket_keys {
            let keys = TicketKeys::parse(file)?;
            let scope = scope(material.clients);
            config.ticketer = Arc::new(Tickets::new(keys, scope, material.ticket_lifetime_s));
            config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        }
        Ok(Self { config: Arc::new(config), verifies_clients })
    }

    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    pub(crate) fn verifies_clients(&self) -> bool {
        self.verifies_clients
    }
}

/// Suites and groups. The order of groups is the server's preference.
fn crypto(post_quantum: bool) -> CryptoProvider {
    use provider::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let mut kx_groups = vec![X25519, SECP256R1, SECP384R1];
    if post_quantum {
        kx_groups.insert(0, X25519MLKEM768);
    }
    CryptoProvider { kx_groups, ..provider::default_provider() }
}

fn verifier(
    clients: ClientCertificates<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Refused> {
    let (pem, optional) = match clients {
        ClientCertificates::Unasked => return Ok(None),
        ClientCertificates::Optional(pem) => (pem, true),
        ClientCertificates::Required(pem) => (pem, false),
    };
    let unreadable = |what: String| Refused::new(pem.file, Problem::Unreadable(what));
    let mut roots = RootCertStore::empty();
    for certificate in chain_of(pem)? {
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder
        .build()
        .map(|verifier| Some(verifier as _))
        .map_err(|error| unreadable(error.to_string()))
}

/// Tells listeners apart whose tickets must not be mixed: by what they ask of clients.
fn scope(clients: ClientCertificates<'_>) -> [u8; 32] {
    let mut scope = digest::Context::new(&digest::SHA256);
    match clients {
        ClientCertificates::Unasked => scope.update(b"unasked"),
        ClientCertificates::Optional(pem) => {
            scope.update(b"optional");
            scope.update(pem.bytes);
        }
        ClientCertificates::Required(pem) => {
            scope.update(b"required");
            scope.update(pem.bytes);
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(scope.finish().as_ref());
    bytes
}
