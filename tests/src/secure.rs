//! Certificates made on the spot, and clients that trust them.

use std::{path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::process::Home;

/// Name that the certificates of tests are issued for.
pub const NAME: &str = "chat.example";

/// Signs certificates.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Files of a certificate, PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// Certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, which nobody else trusts.
    ///
    /// # Panics
    /// If there is no randomness.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Hawser tests");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Writes a certificate for [`NAME`] and its key as `name`.pem and `name`.key, over what is
    /// there.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn issue(&self, home: &Home, name: &str) -> Files {
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a good name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Files {
            chain: home.write(&format!("{name}.pem"), &certificate.pem()),
            key: home.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// Writes its own certificate, for programs that are to trust it.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn publish(&self, home: &Home) -> PathBuf {
        home.write("authority.pem", &self.0.pem())
    }

    /// Clients of TLS 1.3 that trust it, and resume each other's sessions.
    ///
    /// # Panics
    /// Never: the certificate is our own.
    pub fn trust(&self) -> Trust {
        self.trust_in(&TLS13)
    }

    /// The same, of TLS 1.2.
    ///
    /// # Panics
    /// Never: the certificate is our own.
    pub fn trust_of_old(&self) -> Trust {
        self.trust_in(&TLS12)
    }

    fn trust_in(&self, version: &'static SupportedProtocolVersion) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("our own certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("the version has suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust(Arc::new(config))
    }
}

/// Clients of an [`Authority`]'s servers.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// A client of the server of this name.
    ///
    /// # Panics
    /// If it is no name.
    pub fn client(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).expect("a good name");
        ClientConnection::new(Arc::clone(&self.0), name).expect("a good configuration")
    }
}

/// Is this the certificate that the server showed?
///
/// # Panics
/// If the file holds none.
pub fn is_shown(client: &ClientConnection, files: &Files) -> bool {
    let meant = CertificateDer::from_pem_file(&files.chain).expect("a certificate");
    client.peer_certificates().is_some_and(|shown| shown.first() == Some(&meant))
}
