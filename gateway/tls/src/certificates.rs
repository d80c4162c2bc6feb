//! The server's certificates, and which of them a client is shown.
//!
//! A certificate serves the DNS names it was issued for, exact ones and those with `*` for the first
//! label. The first certificate serves everybody else, too: clients that name nobody, or an address.
//! Several may serve the same name with keys of different kinds; the client's signature schemes
//! choose.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    Error,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Bytes of a file, and its name for errors.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// Path, as the configuration names it.
    pub file: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// A certificate of the server.
#[derive(Clone, Copy)]
pub struct CertificatePem<'a> {
    /// The certificate and those that lead to its root, in this order.
    pub chain: Pem<'a>,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: Pem<'a>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Holds no certificate.
    NoCertificate,
    /// Holds no private key.
    NoKey,
    /// Is no PEM file, or holds something that cannot be read.
    Unreadable(String),
    /// Was valid until then.
    Expired(String),
    /// Is valid from then on.
    NotYetValid(String),
    /// The key is another certificate's: the chain's file.
    KeyMismatch(String),
    /// A key of a kind that is not supported.
    KeyKind(String),
    /// The keys for tickets.
    TicketKeys(String),
    /// No certificate is configured at all.
    Nothing,
}

/// A file that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Path, as the configuration names it.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Refused {
    pub(crate) fn new(file: &str, problem: Problem) -> Self {
        Self { file: file.to_owned(), problem }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.problem {
            Problem::NoCertificate => write!(f, "{file} holds no certificate"),
            Problem::NoKey => write!(f, "{file} holds no private key"),
            Problem::Unreadable(what) => write!(f, "{file} cannot be read: {what}"),
            Problem::Expired(at) => write!(f, "{file} expired on {at}"),
            Problem::NotYetValid(at) => write!(f, "{file} is not valid before {at}"),
            Problem::KeyMismatch(chain) => {
                write!(f, "{file} is not the key of the certificate in {chain}")
            }
            Problem::KeyKind(what) => write!(f, "{file} holds a key that cannot be used: {what}"),
            Problem::TicketKeys(what) => write!(f, "{file} {what}"),
            Problem::Nothing => f.write_str("no certificate is configured"),
        }
    }
}

impl std::error::Error for Refused {}

/// All certificates of a PEM file, at least one.
pub(crate) fn chain_of(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let chain = CertificateDer::pem_slice_iter(pem.bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Refused::new(pem.file, Problem::Unreadable(error.to_string())))?;
    if chain.is_empty() {
        return Err(Refused::new(pem.file, Problem::NoCertificate));
    }
    Ok(chain)
}

fn key_of(pem: Pem<'_>) -> Result<PrivateKeyDer<'static>, Refused> {
    use rustls::pki_types::pem::Error as PemError;
    PrivateKeyDer::from_pem_slice(pem.bytes).map_err(|error| {
        let problem = match error {
            PemError::NoItemsFound => Problem::NoKey,
            error => Problem::Unreadable(error.to_string()),
        };
        Refused::new(pem.file, problem)
    })
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Certificates {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    pub(crate) fn new(
        sources: &[CertificatePem<'_>],
        provider: &CryptoProvider,
        now_s: u64,
    ) -> Result<Self, Refused> {
        if sources.is_empty() {
            return Err(Refused::new("", Problem::Nothing));
        }
        let mut all = Self { exact: HashMap::new(), wildcard: HashMap::new(), default: Vec::new() };
        let mut names_of_default = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            let chain = chain_of(source.chain)?;
            let names = names_of(&chain[0], source.chain.file, now_s)?;
            let certified = Arc::new(certify(chain, source, provider)?);
            if place == 0 {
                names_of_default.clone_from(&names);
            }
            if names == names_of_default {
                all.default.push(Arc::clone(&certified));
            }
            for name in names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut all.wildcard, rest.to_owned()),
                    None => (&mut all.exact, name),
                };
                table.entry(name).or_default().push(Arc::clone(&certified));
            }
        }
        Ok(all)
    }

    fn serving(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let found = self.exact.get(&name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.wildcard.get(rest)
        });
        found.map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered =
            hello.server_name().and_then(|name| self.serving(name)).unwrap_or(&self.default);
        offered
            .iter()
            .find(|it| it.key.choose_scheme(hello.signature_schemes()).is_some())
            .or(offered.first())
            .cloned()
    }
}

/// DNS names of a certificate that is valid now.
fn names_of(der: &CertificateDer<'_>, file: &str, now_s: u64) -> Result<Vec<String>, Refused> {
    let refused = |problem| Refused::new(file, problem);
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| refused(Problem::Unreadable(error.to_string())))?;
    let validity = certificate.validity();
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    if validity.not_after.timestamp() < now_s {
        return Err(refused(Problem::Expired(validity.not_after.to_string())));
    }
    if validity.not_before.timestamp() > now_s {
        return Err(refused(Problem::NotYetValid(validity.not_before.to_string())));
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| refused(Problem::Unreadable(error.to_string())))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    source: &CertificatePem<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Refused> {
    CertifiedKey::from_der(chain, key_of(source.key)?, provider).map_err(|error| {
        let problem = match error {
            Error::InconsistentKeys(_) => Problem::KeyMismatch(source.chain.file.to_owned()),
            error => Problem::KeyKind(error.to_string()),
        };
        Refused::new(source.key.file, problem)
    })
}
