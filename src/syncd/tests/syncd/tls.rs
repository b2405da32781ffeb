//! How a host and its key service authenticate each other.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::support::{Host, Service, entry};
use pushkeys_tests::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Speaks TLS for `service`, as a certificate of `authority`. `clients` sign the certificates that it asks for.
fn front(service: &Service, authority: &Authority, clients: Option<&Authority>) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let own = authority.signs_for_server(&["localhost"]);
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = service.address();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                // A client that does not believe the certificate leaves.
                let _ = forward(stream.unwrap(), config, behind);
            });
        }
    });
    format!("https://localhost:{port}")
}

/// Hands one request to the service behind, and its answer back until either side ends it.
fn forward(stream: TcpStream, config: Arc<ServerConfig>, behind: SocketAddr) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(connection, stream);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let mut service = TcpStream::connect(behind)?;
    service.write_all(&head)?;
    let mut buffer = [0; 4096];
    loop {
        match service.read(&mut buffer)? {
            0 => {
                client.conn.send_close_notify();
                return client.flush();
            }
            count => {
                client.write_all(buffer.get(..count).unwrap_or_default())?;
                client.flush()?;
            }
        }
    }
}

fn source(url: &str, host: &Host, extra: &str) -> String {
    let authority = host.path("ca.pem");
    format!(
        "[[source]]\nname = \"api\"\nkind = \"feed\"\nurl = \"{url}\"\nca_file = \"{}\"\n{extra}\n",
        authority.display()
    )
}

fn service_with_keys() -> Service {
    let service = Service::start();
    service.holds(&[entry(1, "acct_ana"), entry(2, "acct_bob")]);
    service
}

#[test]
fn a_service_is_believed_by_its_authority_alone_and_a_new_authority_counts_at_once() {
    let (service, right, wrong) = (service_with_keys(), Authority::new("service"), Authority::new("other"));
    let url = front(&service, &right, None);
    let mut host = Host::new();
    host.write("ca.pem", 0o644, &wrong.pem());
    host.configure(&source(&url, &host, ""));
    host.start();
    host.wait_for("api", "a refusal of the certificate", |source| {
        source.last_error.as_ref().is_some_and(|error| error.what.contains("certificate"))
    });
    assert!(service.requests().is_empty(), "nothing is sent to an unknown server, least of all a token");

    host.write("ca.pem", 0o644, &right.pem());
    host.wait_in_sync("api", 2);
    host.stop();
}

#[test]
fn a_host_can_say_who_it_is_by_a_certificate() {
    let (service, authority, clients) =
        (service_with_keys(), Authority::new("service"), Authority::new("other"));
    let url = front(&service, &authority, Some(&clients));
    let mut host = Host::new();
    host.write("ca.pem", 0o644, &authority.pem());
    host.configure(&source(&url, &host, ""));
    host.start();
    host.wait_for("api", "a refusal without a certificate", |source| source.last_error.is_some());
    assert!(service.requests().is_empty());
    host.stop();

    let own = clients.signs_for_host(&["push-1"]);
    let certificate = host.write("host.pem", 0o644, &own.certificate);
    let key = host.write("host.key", 0o600, &own.key);
    let identity =
        format!("client_certificate = \"{}\"\nclient_key = \"{}\"", certificate.display(), key.display());
    host.configure(&source(&url, &host, &identity));
    host.start();
    host.wait_in_sync("api", 2);
    host.stop();
}
