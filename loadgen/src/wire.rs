//! How the connections of a run speak: the protocol, and the layers between it and TCP.
//!
//! ```text
//!  transport <-> tls (rustls) <-> websocket (RFC 6455) <-> the protocol's client
//! ```
//!
//! Layers are pure: bytes of one side in, bytes of the other out. What they need to open is read
//! here, once, before a run. Not here: what a client says, which is
//! [`connection`](crate::connection)'s. Invariant: a layer keeps nothing while nothing is
//! unfinished, but for TLS its keys.

pub mod fault;
pub mod tls;
pub mod websocket;

use std::{fs, net::SocketAddr, path::PathBuf};

use hawser_codec::websocket::handshake::{PROTOCOL_JSON, PROTOCOL_MQTT, PROTOCOL_NATIVE};

use crate::{
    arguments::Options,
    scenario::{Protocol, Scenario},
};
use tls::{Authority, TlsClient};
use websocket::{Door, Framing};

/// Certificates that the system trusts, on the common distributions.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Whom a TLS client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// PEM file of the authorities that may have signed the server's certificate; `None`: those
    /// that the system trusts.
    pub authorities: Option<PathBuf>,
    /// Any certificate is taken, of whatever name and age.
    pub insecure: bool,
    /// Name that the certificate must have, and that the server is asked for.
    pub server_name: String,
}

/// See the module.
#[derive(Debug)]
pub struct Wire {
    /// What clients say.
    pub protocol: Protocol,
    /// TLS, if it is spoken.
    pub tls: Option<TlsClient>,
    /// WebSocket, if it is spoken.
    pub websocket: Option<Door>,
}

impl Wire {
    /// What a scenario speaks, towards the target of its options.
    ///
    /// # Errors
    /// As [`Wire::with_tls`].
    pub fn of(scenario: &Scenario, options: &Options) -> Result<Self, String> {
        let wire = Self::new(scenario.protocol, options.target);
        let wire = wire.at_path(&scenario.path, options.target);
        if !scenario.tls {
            return Ok(wire);
        }
        wire.with_tls(&Trust {
            authorities: options.tls_ca.clone(),
            insecure: options.insecure,
            server_name: options.server_name.clone(),
        })
    }

    /// The protocol without TLS, towards a server of this address.
    pub fn new(protocol: Protocol, target: SocketAddr) -> Self {
        let door = |path: &str, sub_protocol, framing| {
            Some(Door { host: target.to_string(), path: path.to_owned(), sub_protocol, framing })
        };
        let websocket = match protocol {
            Protocol::Native | Protocol::Mqtt3 | Protocol::Mqtt5 => None,
            Protocol::WebsocketNative => door("/ws", Some(PROTOCOL_NATIVE), Framing::Messages),
            Protocol::WebsocketJson => door("/ws", Some(PROTOCOL_JSON), Framing::Messages),
            Protocol::Echo => door("/echo", None, Framing::Messages),
        };
        Self { protocol, tls: None, websocket }
    }

    /// The same with another path of the WebSocket, beginning with `/`, unless it is empty. MQTT
    /// becomes a stream in WebSocket messages by it.
    pub fn at_path(mut self, path: &str, target: SocketAddr) -> Self {
        if path.is_empty() {
            return self;
        }
        if self.protocol.is_mqtt() {
            self.websocket = Some(Door {
                host: target.to_string(),
                path: path.to_owned(),
                sub_protocol: Some(PROTOCOL_MQTT),
                framing: Framing::Stream,
            });
        } else if let Some(door) = &mut self.websocket {
            path.clone_into(&mut door.path);
        }
        self
    }

    /// Speaks TLS.
    ///
    /// # Errors
    /// One line about a file that cannot be read or holds no certificate, or a name that is none.
    pub fn with_tls(mut self, trust: &Trust) -> Result<Self, String> {
        let authority = if trust.insecure {
            Authority::Anybody
        } else {
            Authority::Pem(authorities(trust.authorities.as_ref())?)
        };
        let alpn = match (&self.websocket, self.protocol) {
            (Some(_), _) => "http/1.1",
            (None, Protocol::Mqtt3 | Protocol::Mqtt5) => "mqtt",
            (None, _) => "hawser",
        };
        self.tls = Some(TlsClient::new(&authority, &trust.server_name, alpn)?);
        if let Some(door) = &mut self.websocket {
            // As browsers do: the port stands in it unless it is the usual one.
            let port = door.host.rsplit(':').next().unwrap_or_default();
            door.host = format!("{}:{port}", trust.server_name);
        }
        Ok(self)
    }

    /// Nobody checks who the server is: to be told with the results.
    pub fn is_insecure(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsClient::is_insecure)
    }
}

fn authorities(file: Option<&PathBuf>) -> Result<Vec<u8>, String> {
    if let Some(path) = file {
        let why = |error| format!("--tls-ca {}: {error}", path.display());
        return fs::read(path).map_err(why);
    }
    let mut found = SYSTEM_AUTHORITIES.iter().filter_map(|path| fs::read(path).ok());
    found.next().ok_or_else(|| {
        format!(
            "no certificates of authorities at {}: name a file with --tls-ca, or take any \
             certificate with --tls-insecure",
            SYSTEM_AUTHORITIES.join(", ")
        )
    })
}
