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
    /// Authorities that are trusted instead of the public ones: a PEM file, or a folder of them.
    pub authorities: Option<NamedFile>,
    /// Our own certificate and its key in one PEM file.
    pub client: Option<NamedFile>,
}

/// The TLS set-up.
///
/// # Errors
/// If a file cannot be read or holds no certificate, or the key does not belong to the certificate.
pub fn config(files: &TlsFiles) -> Result<TlsConfig> {
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
    }
    if let Some(named) = &files.client {
        let pem = read(named, &named.path)?;
        let chain = certificates(&pem);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wrong(named, "holds no unencrypted private key"))?;
        if chain.is_empty() {
            return Err(wrong(named, "holds no certificate in PEM form beside its key"));
        }
        // The HTTP client would panic at the first connection where this fails.
        rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain.clone(), key))
            .map_err(|error| wrong(named, &format!("cannot be used: {error}")))?;
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let key = PrivateKey::from_pem(&pem).map_err(|_| wrong(named, "holds a private key of an unknown form"))?;
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
