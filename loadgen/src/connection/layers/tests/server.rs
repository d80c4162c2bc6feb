//! A server's halves of the layers, without IO.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    path::PathBuf,
    sync::Arc,
};

use hawser_codec::{
    http::request,
    websocket::{Event, Limits, Opcode, Reader, Role, Rules, handshake::Upgrade, write},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    HandshakeKind, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};

const RULES: Rules = Rules {
    role: Role::Server,
    deflate: false,
    limits: Limits { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20 },
};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// What the server does with plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Silent,
    Stream,
    Upgrade,
    Messages,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) outbound: Vec<u8>,
    /// What came without a WebSocket.
    pub(super) stream: Vec<u8>,
    pub(super) answers_pings: bool,
    /// It agrees to an extension that nobody offered.
    pub(super) extension: bool,
    /// As the client named it.
    pub(super) host: String,
    tls: Option<Box<ServerConnection>>,
    manner: Manner,
    path: &'static str,
    sub_protocol: &'static str,
    inbound: Vec<u8>,
    reader: Reader,
    payload: Vec<u8>,
    heard: VecDeque<Heard>,
}

impl Server {
    fn of(manner: Manner, path: &'static str, sub_protocol: &'static str) -> Self {
        Self {
            outbound: Vec::new(),
            stream: Vec::new(),
            answers_pings: false,
            extension: false,
            host: String::new(),
            tls: None,
            manner,
            path,
            sub_protocol,
            inbound: Vec::new(),
            reader: Reader::default(),
            payload: Vec::new(),
            heard: VecDeque::new(),
        }
    }

    /// Of WebSocket; an empty sub-protocol: none is chosen.
    pub(super) fn at(path: &'static str, sub_protocol: &'static str) -> Self {
        Self::of(Manner::Upgrade, path, sub_protocol)
    }

    /// That never answers.
    pub(super) fn silent() -> Self {
        Self::of(Manner::Silent, "", "")
    }

    /// Of anything without WebSocket.
    pub(super) fn plain() -> Self {
        Self::of(Manner::Stream, "", "")
    }

    pub(super) fn with_tls(mut self, serves: &Arc<ServerConfig>) -> Self {
        self.tls = Some(Box::new(ServerConnection::new(Arc::clone(serves)).unwrap()));
        self
    }

    pub(super) fn alpn(&self) -> Option<Vec<u8>> {
        self.tls.as_ref()?.alpn_protocol().map(<[u8]>::to_vec)
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// The next message of the client.
    pub(super) fn heard(&mut self) -> Heard {
        self.heard.pop_front().expect("the client said something")
    }

    pub(super) fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::new();
        write::frame(&mut frame, opcode, true, false, payload, None);
        self.seal(&frame);
    }

    pub(super) fn seal(&mut self, plain: &[u8]) {
        let Some(tls) = &mut self.tls else { return self.outbound.extend_from_slice(plain) };
        tls.writer().write_all(plain).unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut self.outbound).unwrap();
        }
    }

    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        let mut plain = Vec::new();
        if let Some(tls) = &mut self.tls {
            while !bytes.is_empty() {
                tls.read_tls(&mut bytes).unwrap();
                // A client that refuses the certificate says so in an alert.
                let Ok(state) = tls.process_new_packets() else { return };
                let start = plain.len();
                plain.resize(start + state.plaintext_bytes_to_read(), 0);
                tls.reader().read_exact(&mut plain[start..]).unwrap();
            }
            while tls.wants_write() {
                tls.write_tls(&mut self.outbound).unwrap();
            }
        } else {
            plain.extend_from_slice(bytes);
        }
        match self.manner {
            Manner::Silent => return,
            Manner::Stream => return self.stream.extend_from_slice(&plain),
            Manner::Upgrade | Manner::Messages => self.inbound.extend_from_slice(&plain),
        }
        if self.manner == Manner::Upgrade {
            self.upgrade();
        }
        if self.manner == Manner::Messages {
            self.read();
        }
    }

    fn upgrade(&mut self) {
        let inbound = std::mem::take(&mut self.inbound);
        let Ok(request::Step::Head { head, consumed }) = request::step(&inbound) else {
            self.inbound = inbound;
            return;
        };
        assert_eq!(head.path, self.path);
        let upgrade = Upgrade::read(head.method, 1, head.fields()).unwrap();
        assert!(upgrade.extensions.is_empty());
        self.host = String::from_utf8(upgrade.host.to_vec()).unwrap();
        let chosen = upgrade.choose(&[self.sub_protocol]);
        let mut answer = Vec::new();
        upgrade.put_answer(&mut answer, chosen, None);
        if self.extension {
            answer.truncate(answer.len() - 2);
            answer.extend_from_slice(b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
        }
        self.manner = Manner::Messages;
        self.inbound = inbound[consumed..].to_vec();
        self.seal(&answer);
    }

    fn read(&mut self) {
        loop {
            let step = self.reader.step(&RULES, &self.inbound, &mut self.payload).unwrap();
            self.inbound.drain(..step.consumed);
            let heard = match step.event {
                None => return,
                Some(Event::Message { text: true, .. }) => {
                    Heard::Text(String::from_utf8(self.payload.clone()).unwrap())
                }
                Some(Event::Message { .. }) => Heard::Binary(self.payload.clone()),
                Some(Event::Pong(pong)) => Heard::Pong(pong.as_bytes().to_vec()),
                Some(Event::Close(close)) => Heard::Close(close.code),
                Some(Event::Ping(ping)) => {
                    if self.answers_pings {
                        write::pong(&mut self.outbound, ping.as_bytes(), None);
                    }
                    continue;
                }
            };
            self.heard.push_back(heard);
        }
    }
}

/// Signs certificates.
#[derive(Debug)]
pub(super) struct Authority {
    /// Of its own certificate, PEM.
    pub(super) file: PathBuf,
    pub(super) directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("authority.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { file, directory, issuer }
    }

    /// A server with a certificate for these names, which may have expired long ago.
    pub(super) fn serves(&self, names: &[&str], expired: bool) -> Arc<ServerConfig> {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols =
            ["hawser", "mqtt", "http/1.1"].map(|name| name.as_bytes().to_vec()).to_vec();
        Arc::new(config)
    }
}
