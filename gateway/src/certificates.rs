//! What `[tls]` names, read from disk: certificates, keys of tickets, authorities of clients.
//!
//! What it is not: a judge of what the files hold; `hawser_tls` is, and its refusal is passed on
//! with the setting that names the file.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hawser_tls::{
    CertificatePem, ClientCertificates, Material, Pem, Refused, TicketKeys, Versions,
};
use zeroize::Zeroizing;

use crate::{
    config::{
        CertificateFiles, CertificateSource, ClientAuth, Config, ConfigError, KeyExchange,
        TlsConfig, TlsVersion,
    },
    limits::CERTIFICATES_MAX,
    secret_file,
    tls::Offers,
};

/// Name of the file of ticket keys in the data directory.
pub const TICKET_KEY_FILE: &str = "ticket.keys";
/// Longest file of certificates, bytes: the authorities of all browsers together have 250 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const CERTIFICATES: &str = "tls.certificates";
const CLIENT_CA: &str = "tls.client_ca";
const TICKET_KEYS: &str = "tls.ticket_key_file";

/// What becomes of a file of ticket keys that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is made: this process serves.
    Make,
    /// Keys are drawn and forgotten: the configuration is only looked at.
    Forget,
}

struct Content {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl Content {
    fn pem(&self) -> Pem<'_> {
        Pem { file: &self.name, bytes: &self.bytes }
    }
}

/// What listeners with TLS offer; `None` without a certificate.
///
/// # Errors
/// The setting that names the file that is wrong, and what is wrong with it.
pub fn offers(
    config: &Config,
    missing: Missing,
    now_s: u64,
) -> Result<Option<Arc<Offers>>, ConfigError> {
    let tls = &config.tls;
    let pairs = match &tls.certificates {
        CertificateSource::None => return Ok(None),
        CertificateSource::Files(files) => files.clone(),
        CertificateSource::Directory(directory) => pairs_of(directory)?,
    };
    let mut contents = Vec::with_capacity(pairs.len());
    for files in &pairs {
        contents.push((read(CERTIFICATES, &files.chain)?, read_key(&files.key)?));
    }
    let certificates: Vec<CertificatePem<'_>> = contents
        .iter()
        .map(|(chain, key)| CertificatePem { chain: chain.pem(), key: key.pem() })
        .collect();
    let authorities = tls.client_ca.as_ref().map(|file| read(CLIENT_CA, file)).transpose()?;
    let tickets = ticket_keys(config, missing)?;
    let material = Material {
        certificates: &certificates,
        clients: clients(tls, authorities.as_ref()),
        versions: match tls.min_version {
            TlsVersion::V12 => Versions::Both,
            TlsVersion::V13 => Versions::Only13,
        },
        post_quantum: tls.key_exchange == KeyExchange::Hybrid,
        ticket_keys: Some(tickets.pem()),
        ticket_lifetime_s: tls.ticket_lifetime_s,
    };
    let refused = |refused: Refused| {
        let is_of = |content: &Content| content.name == refused.file;
        let key = match () {
            () if is_of(&tickets) => TICKET_KEYS,
            () if authorities.as_ref().is_some_and(is_of) => CLIENT_CA,
            () => CERTIFICATES,
        };
        ConfigError::refused(key, &refused.file, refused.to_string())
    };
    Ok(Some(Arc::new(Offers::new(&material, now_s).map_err(refused)?)))
}

fn clients<'a>(tls: &TlsConfig, authorities: Option<&'a Content>) -> ClientCertificates<'a> {
    match (tls.client_auth, authorities) {
        (ClientAuth::Optional, Some(file)) => ClientCertificates::Optional(file.pem()),
        (ClientAuth::Required, Some(file)) => ClientCertificates::Required(file.pem()),
        // A configuration that asks for certificates names who signs them.
        (ClientAuth::None, _) | (_, None) => ClientCertificates::Unasked,
    }
}

/// Certificates of a directory with their keys, by name.
fn pairs_of(directory: &Path) -> Result<Vec<CertificateFiles>, ConfigError> {
    let refuse = |reason: String| {
        ConfigError::refused(CERTIFICATES, directory.display().to_string(), reason)
    };
    let unreadable = |error| refuse(format!("cannot be read: {error}"));
    let mut chains: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let chain = entry.map_err(unreadable)?.path();
        if !chain.extension().is_some_and(|kind| kind == "pem" || kind == "crt") {
            continue;
        }
        let key = chain.with_extension("key");
        if !key.exists() {
            return Err(refuse(format!("{} has no {} beside it", chain.display(), key.display())));
        }
        if let Some(other) = chains.insert(key, chain.clone()) {
            let (one, other) = (chain.display(), other.display());
            return Err(refuse(format!("{one} and {other} have one name; allowed: each once")));
        }
        if chains.len() > CERTIFICATES_MAX {
            return Err(refuse(format!("allowed: up to {CERTIFICATES_MAX} certificates")));
        }
    }
    if chains.is_empty() {
        return Err(refuse("holds no NAME.pem or NAME.crt with its NAME.key".to_owned()));
    }
    Ok(chains.into_iter().map(|(key, chain)| CertificateFiles { chain, key }).collect())
}

fn read(setting: &str, path: &Path) -> Result<Content, ConfigError> {
    let name = path.display().to_string();
    let refuse = |reason: String| ConfigError::refused(setting, &name, reason);
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Content { name, bytes })
}

/// Orchestrators mount secrets for everybody to read, so that is no reason to refuse; but it is
/// worth a word.
fn read_key(path: &Path) -> Result<Content, ConfigError> {
    let content = read(CERTIFICATES, path)?;
    let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        tracing::warn!(file = %content.name, mode = format!("{mode:04o}"), "everybody on this machine may read a private key; better: 0600");
    }
    Ok(content)
}

fn ticket_keys(config: &Config, missing: Missing) -> Result<Content, ConfigError> {
    let shipped = || config.store.data_dir.join(TICKET_KEY_FILE);
    let path = config.tls.ticket_key_file.clone().unwrap_or_else(shipped);
    let name = path.display().to_string();
    if missing == Missing::Forget && !path.exists() {
        return Ok(Content {
            name,
            bytes: Zeroizing::new(TicketKeys::new_file().as_bytes().to_vec()),
        });
    }
    let make = || Ok(TicketKeys::new_file().as_str().to_owned());
    let (text, is_new) = secret_file::open_or_create(&path, make)
        .map_err(|error| ConfigError::refused(TICKET_KEYS, &name, error.to_string()))?;
    if is_new {
        tracing::info!(file = %name, "new keys for TLS tickets made");
    }
    Ok(Content { name, bytes: Zeroizing::new(text.into_bytes()) })
}
