//! TLS of the listening socket, with certificates that can be replaced while connections are served.

mod client;
mod handshake;
mod material;
mod possession;
mod reloader;
mod settings;

pub(crate) use self::client::{CertificateRefusal, ClientCertificate, PresentedCertificate};
pub(crate) use self::material::Tls;
pub(crate) use self::reloader::{POLL_INTERVAL, check};
pub(crate) use self::settings::TlsSettings;
