//! The files behind `[tls]`: certificates, keys, authorities, ticket keys. A shell; what the files
//! say is judged by [`hawser_tls`].

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use hawser_tls::{CertificatePem, ClientCertificates, Material, Pem, TicketKeys, Versions};

use super::Offers;
use crate::config::{
    CertificateFiles, CertificateSource, ClientAuth, KeyExchange, TlsConfig, TlsVersion,
};

/// Name of the ticket key file in the data directory.
pub const TICKET_KEY_FILE: &str = "ticket.keys";
/// Longest file read: a bundle of authorities is below 300 KB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Certificates of one directory, at most: a start reads and checks each of them, three
/// milliseconds a dozen.
const CERTIFICATES_MAX: usize = 10_000;
/// How long a ticket resumes, seconds. Browsers keep them for a day or less, phones come back to a
/// conversation within it; every key in the file lives at least that long.
const TICKET_LIFETIME_S: u32 = 86_400;

/// A file read, with its name for errors.
struct Read {
    name: String,
    bytes: zeroize::Zeroizing<Vec<u8>>,
}

impl Read {
    fn new(path: &Path) -> io::Result<Self> {
        let name = path.display().to_string();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
        let length = fs::metadata(path).map_err(named)?.len();
        if length > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("{name} is longer than {FILE_BYTES_MAX} bytes")));
        }
        let bytes = zeroize::Zeroizing::new(fs::read(path).map_err(named)?);
        Ok(Self { name, bytes })
    }

    fn pem(&self) -> Pem<'_> {
        Pem { file: &self.name, bytes: &self.bytes }
    }
}

/// Reads what `config` names and builds what listeners offer; `None` without certificates. A ticket
/// key file that is not there is made, in `data_dir` unless another place is named.
///
/// # Errors
/// With the file's name: it cannot be read, or what it holds is wrong.
pub fn offers(config: &TlsConfig, data_dir: &Path, now_s: u64) -> io::Result<Option<Offers>> {
    let files = match &config.certificates {
        CertificateSource::None => return Ok(None),
        CertificateSource::Directory(directory) => in_directory(directory)?,
        CertificateSource::Files(files) => files.clone(),
    };
    let pairs = files
        .iter()
        .map(|files| Ok((Read::new(&files.chain)?, Read::new(&files.key)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let certificates: Vec<CertificatePem<'_>> = pairs
        .iter()
        .map(|(chain, key)| CertificatePem { chain: chain.pem(), key: key.pem() })
        .collect();
    let authorities = config.client_ca.as_deref().map(Read::new).transpose()?;
    let ticket_file = match &config.ticket_key_file {
        Some(path) => path.clone(),
        None => data_dir.join(TICKET_KEY_FILE),
    };
    let tickets = ticket_keys(&ticket_file)?;
    let clients = match (config.client_auth, &authorities) {
        (ClientAuth::Optional, Some(read)) => ClientCertificates::Optional(read.pem()),
        (ClientAuth::Required, Some(read)) => ClientCertificates::Required(read.pem()),
        (ClientAuth::None, _) | (_, None) => ClientCertificates::Unasked,
    };
    let material = Material {
        certificates: &certificates,
        clients,
        versions: match config.min_version {
            TlsVersion::V12 => Versions::Both,
            TlsVersion::V13 => Versions::Only13,
        },
        post_quantum: config.key_exchange == KeyExchange::Hybrid,
        ticket_keys: Some(tickets.pem()),
        ticket_lifetime_s: TICKET_LIFETIME_S,
    };
    Offers::new(&material, now_s).map(Some).map_err(io::Error::other)
}

/// `NAME.pem` or `NAME.crt` with `NAME.key`, in the order of their names.
fn in_directory(directory: &Path) -> io::Result<Vec<CertificateFiles>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
    };
    let mut chains: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.extension().is_some_and(|kind| kind == "pem" || kind == "crt") {
            chains.push(path);
        }
    }
    chains.sort();
    match chains.len() {
        0 => Err(io::Error::other(format!("{} holds no certificate", directory.display()))),
        1..=CERTIFICATES_MAX => Ok(chains
            .into_iter()
            .map(|chain| CertificateFiles { key: chain.with_extension("key"), chain })
            .collect()),
        _ => Err(io::Error::other(format!(
            "{} holds more than {CERTIFICATES_MAX} certificates",
            directory.display()
        ))),
    }
}

/// The key file, made with one random key if it is not there. Who can read it can read what was
/// said on resumed connections, so nobody else may.
fn ticket_keys(path: &Path) -> io::Result<Read> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            let reason = "can be read by others; give it mode 0600";
            return Err(io::Error::other(format!("{} {reason}", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(0o700).create(directory).map_err(named)?;
            }
            match make_ticket_keys(path) {
                // Another gateway was first: its key is the one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(named)?,
            }
        }
        Ok(_) | Err(_) => {}
    }
    Read::new(path)
}

/// Whole or not at all, under a name that nobody else has taken: two gateways may start at once.
fn make_ticket_keys(path: &Path) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let made = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(TicketKeys::new_file().as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&unfinished, path)
    })();
    // It has another name by now, or is of no use.
    let removed = fs::remove_file(&unfinished);
    made.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/ticket.keys");
        let first = ticket_keys(&path).unwrap();
        let second = ticket_keys(&path).unwrap();
        assert_eq!(*first.bytes, *second.bytes);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = ticket_keys(&path).err().unwrap().to_string();
        assert!(refused.ends_with("can be read by others; give it mode 0600"), "{refused}");
    }

    #[test]
    fn a_directory_gives_its_certificates_by_name() {
        let directory = tempfile::tempdir().unwrap();
        assert!(in_directory(directory.path()).is_err());
        for name in ["b.pem", "b.key", "a.crt", "a.key", "readme"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = in_directory(directory.path()).unwrap();
        let names: Vec<_> = found.iter().map(|it| it.chain.file_name().unwrap()).collect();
        assert_eq!(names, ["a.crt", "b.pem"]);
        assert!(found[0].key.ends_with("a.key"));
    }
}
