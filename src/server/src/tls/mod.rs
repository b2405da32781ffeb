//! TLS where requests are served, with files that can be replaced while it is spoken.

mod client;
mod handshake;
mod keeper;
mod material;
mod possession;
mod settings;

pub(crate) use self::client::{CertificateRefusal, ClientCertificate, ShownCertificate};
pub(crate) use self::keeper::{LOOK_INTERVAL, check};
pub(crate) use self::material::Tls;
pub(crate) use self::settings::Settings;
