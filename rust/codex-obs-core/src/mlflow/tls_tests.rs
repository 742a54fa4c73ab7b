//! Certificates that are right and wrong, and what stands between.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::fault_tests::{LONG, destination, points, wait};
use super::scripted::{Door, Server, fine};
use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn leaf(issuer: &Issuer, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Leaf { certificate: params.signed_by(&key, issuer).unwrap(), key }
}

fn door(leaf: &Leaf, clients: Option<&Issuer>) -> Door {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(issuer.der().to_vec())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    let config = builder.with_single_cert(vec![leaf.certificate.der().clone()], key).unwrap();
    Door { tls: Some(Arc::new(config)), reset_after: None }
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn deliver(server: &Server, variables: &[(&str, &str)]) -> Answer {
    let uri = format!("https://localhost:{}", server.address().port());
    let (mut mlflow, _folder) = destination(&uri, variables, LONG);
    mlflow.deliver(&Stream::main(), &points(3), &wait())
}

fn untrusted(delivery: &Answer) -> &str {
    match delivery {
        Answer::Later { pause, why } => {
            assert!(why.contains("no trusted connection") && pause.as_secs() >= 14, "{why} {pause:?}");
            why
        }
        other => panic!("{other:?}"),
    }
}

const AUTHORITY: &str = "MLFLOW_TRACKING_SERVER_CERT_PATH";

#[test]
fn a_server_is_trusted_by_its_authority_alone() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), authority());
    let server = Server::start_behind(&door(&leaf(&issuer, "localhost", |_| {}), None), |_, _| fine());
    let own = file(&folder, "own.pem", &issuer.pem());
    assert_eq!(deliver(&server, &[(AUTHORITY, &own)]), Answer::TAKEN);
    assert_eq!(deliver(&server, &[("SSL_CERT_FILE", &own)]), Answer::TAKEN);
    let several = tempfile::tempdir().unwrap();
    file(&several, "a.pem", &authority().pem());
    file(&several, "b.pem", &issuer.pem());
    file(&several, "README", "no certificate");
    assert_eq!(deliver(&server, &[(AUTHORITY, several.path().to_str().unwrap())]), Answer::TAKEN);
    let reached = server.requests().len();

    let other = file(&folder, "other.pem", &authority().pem());
    untrusted(&deliver(&server, &[(AUTHORITY, &other)]));
    untrusted(&deliver(&server, &[]));
    assert_eq!(server.requests().len(), reached, "nothing was said to whom we do not trust");
    assert_eq!(deliver(&server, &[("MLFLOW_TRACKING_INSECURE_TLS", "true")]), Answer::TAKEN);
}

#[test]
fn a_certificate_that_is_out_of_date_or_for_another_host_is_none() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), authority());
    let own = file(&folder, "own.pem", &issuer.pem());
    let expired = leaf(&issuer, "localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let early = leaf(&issuer, "localhost", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    let other = leaf(&issuer, "example.org", |_| {});
    for (name, leaf, words) in [
        ("expired", expired, "expired"),
        ("early", early, "not valid yet"),
        ("other host", other, "not valid for name"),
    ] {
        let server = Server::start_behind(&door(&leaf, None), |_, _| fine());
        let delivery = deliver(&server, &[(AUTHORITY, &own)]);
        assert!(untrusted(&delivery).contains(words), "{name}: {delivery:?}");
        assert!(server.requests().is_empty(), "{name}");
    }
}

#[test]
fn we_prove_who_we_are_where_that_is_asked() {
    let (folder, issuer, clients) = (tempfile::tempdir().unwrap(), authority(), authority());
    let server = Server::start_behind(&door(&leaf(&issuer, "localhost", |_| {}), Some(&clients)), |_, _| fine());
    let own = file(&folder, "own.pem", &issuer.pem());
    let client = leaf(&clients, "client", |_| {});
    let both = file(&folder, "client.pem", &format!("{}{}", client.key.serialize_pem(), client.certificate.pem()));
    assert_eq!(deliver(&server, &[(AUTHORITY, &own), ("MLFLOW_TRACKING_CLIENT_CERT_PATH", &both)]), Answer::TAKEN);
    let reached = server.requests().len();
    // With TLS 1.3 the server's alert may come too late to be read before the connection breaks.
    assert!(matches!(deliver(&server, &[(AUTHORITY, &own)]), Answer::Later { .. }));
    assert_eq!(server.requests().len(), reached);
}

#[test]
fn files_that_hold_no_certificate_are_errors_at_once() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), authority());
    let (one, two) = (leaf(&issuer, "a", |_| {}), leaf(&issuer, "b", |_| {}));
    let text = file(&folder, "text", "nothing");
    let certificate = file(&folder, "certificate.pem", &one.certificate.pem());
    let key = file(&folder, "key.pem", &one.key.serialize_pem());
    let mixed = file(&folder, "mixed.pem", &format!("{}{}", one.certificate.pem(), two.key.serialize_pem()));
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    let empty = tempfile::tempdir().unwrap();
    let client = "MLFLOW_TRACKING_CLIENT_CERT_PATH";
    for (variable, path, words) in [
        (AUTHORITY, text.as_str(), "holds no certificate"),
        (AUTHORITY, &missing, "cannot be read"),
        (AUTHORITY, "/dev/zero", "is not a certificate file"),
        (AUTHORITY, empty.path().to_str().unwrap(), "holds no certificate"),
        (client, &text, "holds no unencrypted private key"),
        (client, &certificate, "holds no unencrypted private key"),
        (client, &key, "holds no certificate"),
        (client, &mixed, "cannot be used"),
    ] {
        let settings = MlflowSettings::new("https://h", &|name| (name == variable).then(|| path.to_owned())).unwrap();
        let error = settings.holder.link(LONG, settings.clock.clone()).unwrap_err();
        assert!(error.is_setting() && error.to_string().contains(words), "{variable} {path}: {error}");
        assert!(error.to_string().contains(variable));
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nInvalid HTTP request received.").unwrap();
        // Until the other end is closed, or what was written would be lost with a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (mut mlflow, _folder) = destination(&uri, &[("MLFLOW_TRACKING_INSECURE_TLS", "1")], LONG);
    untrusted(&mlflow.deliver(&Stream::main(), &points(3), &wait()));
    answering.join().unwrap();
}

/// A proxy that takes one CONNECT, answers with `status`, and carries bytes to `target` if that is 200.
fn proxy(target: std::net::SocketAddr, status: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        client.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
        if status.starts_with("200") {
            let mut server = std::net::TcpStream::connect(target).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let upward = std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(std::net::Shutdown::Write);
            });
            let _ = std::io::copy(&mut server, &mut client);
            let _ = client.shutdown(std::net::Shutdown::Both);
            upward.join().unwrap();
        }
        String::from_utf8(head).unwrap()
    });
    (port, serving)
}

#[test]
fn a_proxy_carries_what_goes_to_another_host() {
    let server = Server::start(|_, _| fine());
    let (port, serving) = proxy(server.address(), "200 OK");
    let address = format!("http://user:canary@127.0.0.1:{port}");
    let (mut mlflow, folder) = destination("http://mlflow.example:5000", &[("http_proxy", &address)], LONG);
    assert_eq!(mlflow.deliver(&Stream::main(), &points(3), &wait()), Answer::TAKEN);
    drop((mlflow, folder, server));
    let head = serving.join().unwrap();
    assert!(head.starts_with("CONNECT mlflow.example:5000 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpjyw5hcnk="), "{head}");
}

#[test]
fn a_proxy_that_refuses_is_an_outage_and_hears_no_token() {
    let server = Server::start(|_, _| fine());
    let (port, serving) = proxy(server.address(), "407 Proxy Authentication Required");
    let address = format!("http://user:canary@127.0.0.1:{port}");
    let variables = [("http_proxy", address.as_str()), ("MLFLOW_TRACKING_TOKEN", "canary-token")];
    let (mut mlflow, _folder) = destination("http://mlflow.example:5000", &variables, LONG);
    let Answer::Later { why, .. } = mlflow.deliver(&Stream::main(), &points(3), &wait()) else {
        panic!("a proxy that refuses")
    };
    assert!(!why.contains("canary"), "{why}");
    assert!(!serving.join().unwrap().contains("canary-token"));
}
