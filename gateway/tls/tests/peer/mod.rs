//! The other side of a connection, in memory: rustls as client, certificates made on the spot.

#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use hawser_tls::{
    Alpn, CertificatePem, ClientCertificates, Cut, Failure, Finished, Handshake, Keys, Listening,
    Material, Opened, Pem, Progress, Record, Versions, cut,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs as provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

/// 2026-11-22; all certificates of the tests are valid then.
pub const NOW_S: u64 = 1_795_305_600;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

pub struct Issued {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| ())
    }

    pub fn issue_with(&self, names: &[&str], change: fn(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    pub fn pem(&self) -> CertificatePem<'_> {
        CertificatePem { chain: pem("server.pem", &self.chain), key: pem("server.key", &self.key) }
    }
}

pub fn pem<'a>(file: &'a str, text: &'a str) -> Pem<'a> {
    Pem { file, bytes: text.as_bytes() }
}

pub fn material<'a>(certificates: &'a [CertificatePem<'a>]) -> Material<'a> {
    Material {
        certificates,
        clients: ClientCertificates::Unasked,
        versions: Versions::Both,
        post_quantum: true,
        ticket_keys: None,
        ticket_lifetime_s: 3600,
    }
}

pub fn listening(material: &Material<'_>) -> Listening {
    Listening::new(material, &Alpn::ALL, NOW_S).unwrap()
}

/// What a client insists on.
pub struct Wishes {
    pub suites: Vec<SupportedCipherSuite>,
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub certificate: Option<Issued>,
    pub alpn: Vec<&'static str>,
}

impl Default for Wishes {
    fn default() -> Self {
        let CryptoProvider { cipher_suites, kx_groups, .. } = provider::default_provider();
        Self {
            suites: cipher_suites,
            groups: kx_groups,
            versions: rustls::ALL_VERSIONS.to_vec(),
            certificate: None,
            alpn: Vec::new(),
        }
    }
}

impl Wishes {
    pub fn of(version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..Self::default() }
    }

    pub fn config(self, authority: &Authority) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let provider = CryptoProvider {
            cipher_suites: self.suites,
            kx_groups: self.groups,
            ..provider::default_provider()
        };
        let builder = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(Clock))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            Some(issued) => {
                let chain = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Clients of the tests live at [`NOW_S`], too.
#[derive(Debug)]
struct Clock;

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW_S)))
    }
}

pub fn client(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// Everything the client has to send.
pub fn sent_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client bytes, and returns the plaintext it read.
pub fn give(client: &mut ClientConnection, bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut rest = bytes;
    let mut plain = Vec::new();
    let mut chunk = [0; 4096];
    while !rest.is_empty() {
        let before = rest.len();
        if client.read_tls(&mut rest).is_err() || rest.len() == before {
            break;
        }
        client.process_new_packets()?;
        while let Ok(bytes @ 1..) = client.reader().read(&mut chunk) {
            plain.extend_from_slice(&chunk[..bytes]);
        }
    }
    Ok(plain)
}

/// Our side of a connection.
pub enum Server {
    Shaking(Box<Handshake>),
    Open(Box<Finished>),
}

/// Our side, with the plaintext it read.
pub struct Side {
    pub server: Option<Server>,
    pub keys: Keys,
    pub plain: Vec<u8>,
    pub events: Vec<Opened>,
}

impl Side {
    pub fn new(listening: &Listening) -> Self {
        Self {
            server: Some(Server::Shaking(Handshake::start(listening).unwrap())),
            keys: Keys::new(16),
            plain: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Takes bytes as a worker would; returns answers of the handshake.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        match self.server.take().unwrap() {
            Server::Shaking(mut handshake) => {
                handshake.hold(bytes)?;
                match handshake.run(NOW_S, &mut out)? {
                    Progress::Waiting => self.server = Some(Server::Shaking(handshake)),
                    Progress::Done => {
                        self.server = Some(Server::Open(Box::new(handshake.finish()?)));
                        self.open(&[]);
                    }
                }
            }
            open @ Server::Open(_) => {
                self.server = Some(open);
                self.open(bytes);
            }
        }
        Ok(out)
    }

    fn open(&mut self, bytes: &[u8]) {
        let Some(Server::Open(finished)) = &mut self.server else { unreachable!() };
        finished.rest.extend_from_slice(bytes);
        let mut taken = 0;
        while let Ok(Cut::Whole(whole)) = cut(&finished.rest[taken..]) {
            let record = &finished.rest[taken..taken + whole];
            let opened = finished.record.open(&mut self.keys, record, &mut self.plain).unwrap();
            self.events.push(opened);
            taken += whole;
        }
        finished.rest.drain(..taken);
    }

    pub fn finished(&mut self) -> &mut Finished {
        match &mut self.server {
            Some(Server::Open(finished)) => finished,
            _ => panic!("the handshake is not done"),
        }
    }

    pub fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(Server::Open(finished)) = &mut self.server else { unreachable!() };
        finished.record.seal(&mut self.keys, plain, &mut out).unwrap();
        out
    }

    pub fn answer(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(Server::Open(finished)) = &mut self.server else { unreachable!() };
        finished.record.answer(&mut self.keys, &mut out);
        out
    }
}

/// Runs a handshake to its end on both sides.
pub fn shake(side: &mut Side, client: &mut ClientConnection) -> Result<(), Failure> {
    for _ in 0..8 {
        let bytes = sent_by(client);
        let answer = side.take(&bytes)?;
        give(client, &answer).map_err(|error| panic!("the client says: {error}")).unwrap();
        if !client.is_handshaking() && matches!(side.server, Some(Server::Open(_))) {
            return Ok(());
        }
    }
    panic!("the handshake does not end");
}

pub fn says(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    client.writer().write_all(plain).unwrap();
    sent_by(client)
}

/// A connection past its handshake, by default settings.
pub fn connected(version: &'static SupportedProtocolVersion) -> (Side, ClientConnection) {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["chat.example"]);
    let listening = listening(&material(&[issued.pem()]));
    let mut client = client(&Wishes::of(version).config(&authority), "chat.example");
    let mut side = Side::new(&listening);
    shake(&mut side, &mut client).unwrap();
    (side, client)
}

/// The same state with `change` made to its written form.
pub fn changed(record: &Record, change: impl FnOnce(&mut [u8])) -> Record {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    change(&mut bytes);
    Record::read(&bytes).unwrap()
}
