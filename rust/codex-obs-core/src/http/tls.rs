//! Whom we trust and how we prove ourselves: certificates from files, checked before the first connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::error::{Error, Result};

/// The largest certificate file read: the whole public web's bundle is 300 KB.
const LARGEST_FILE: u64 = 8 << 20;

/// A file that a variable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The variable, for errors.
    pub variable: String,
    /// The file.
    pub path: PathBuf,
}

/// What the environment says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whether any certificate is taken.
    pub accepts_any_server: bool,
    /// Authorities that are trusted instead of those of the system: a PEM file, or a folder of them.
    pub authorities: Option<NamedFile>,
    /// Our own certificate, with its key in the same PEM file unless that has its own.
    pub client: Option<NamedFile>,
    /// The file of the key.
    pub client_key: Option<NamedFile>,
}

/// The TLS set-up. Without authorities of their own, connections that `is_used` trust those of the system, and where it has none
/// Mozilla's, which are built in.
///
/// # Errors
/// If a file cannot be read or holds no certificate, or the key does not belong to the certificate.
pub fn config(files: &TlsFiles, is_used: bool) -> Result<TlsConfig> {
    let mut config = TlsConfig::builder().disable_verification(files.accepts_any_server);
    let mut roots = RootCertStore::empty();
    if let Some(named) = &files.authorities {
        let certificates = authorities(named)?;
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if usable == 0 {
            return Err(wrong(named, "holds no certificate of an authority in PEM form"));
        }
        let certificates: Vec<_> = certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        config = config.root_certs(RootCerts::new_with_certs(&certificates));
    } else if is_used && !files.accepts_any_server {
        // What of the system's store cannot be read is as if it were not there.
        let system = rustls_native_certs::load_native_certs().certs;
        if !system.is_empty() {
            let system: Vec<_> = system.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            config = config.root_certs(RootCerts::new_with_certs(&system));
        }
    }
    if let Some(named) = &files.client {
        let pem = read(named, &named.path)?;
        let chain = certificates(&pem);
        let key_file = files.client_key.as_ref().unwrap_or(named);
        let key_pem = if files.client_key.is_some() { read(key_file, &key_file.path)? } else { pem };
        let unencrypted = |_| wrong(key_file, "holds no unencrypted private key");
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(unencrypted)?;
        if chain.is_empty() {
            return Err(wrong(named, "holds no certificate in PEM form beside its key"));
        }
        // The HTTP client would panic at the first connection where this fails.
        rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain.clone(), key))
            .map_err(|error| wrong(named, &format!("cannot be used: {error}")))?;
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let key = PrivateKey::from_pem(&key_pem);
        let key = key.map_err(|_| wrong(key_file, "holds a private key of an unknown form"))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}

/// The certificates in the file, or in every file of the folder.
fn authorities(named: &NamedFile) -> Result<Vec<CertificateDer<'static>>> {
    if !named.path.is_dir() {
        return Ok(certificates(&read(named, &named.path)?));
    }
    let entries = named.path.read_dir().map_err(|source| Error::io("read the folder", &named.path, source))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        found.extend(certificates(&read(named, &path)?));
    }
    Ok(found)
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(std::result::Result::ok).collect()
}

fn read(named: &NamedFile, path: &Path) -> Result<Vec<u8>> {
    let metadata = path.metadata().map_err(|error| wrong(named, &format!("cannot be read: {error}")))?;
    if !metadata.is_file() || metadata.len() > LARGEST_FILE {
        return Err(wrong(named, "is not a certificate file"));
    }
    std::fs::read(path).map_err(|error| wrong(named, &format!("cannot be read: {error}")))
}

fn wrong(named: &NamedFile, what: &str) -> Error {
    Error::setting(&named.variable, format!("{} {what}", named.path.display()))
}
