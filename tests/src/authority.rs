//! A CA, and the certificates that it signs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

/// A CA that signs any certificate that a test needs.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new CA called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut parameters = parameters(name, &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("a certificate"))
    }

    /// The CA certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server with these names or addresses.
    #[must_use]
    pub fn signs_for_server(&self, names: &[&str]) -> Certified {
        self.signs(&parameters("server", names))
    }

    /// A certificate for a client called `name`.
    #[must_use]
    pub fn signs_for_client(&self, name: &str) -> Certified {
        self.signs(&parameters(name, &[]))
    }

    /// A certificate for a push host with these names.
    #[must_use]
    pub fn signs_for_host(&self, names: &[&str]) -> Certified {
        self.signs_with(names, |_| {})
    }

    /// An expired certificate for a push host.
    #[must_use]
    pub fn signed_long_ago(&self, names: &[&str]) -> Certified {
        self.signs_with(names, |parameters| {
            parameters.not_before = date_time_ymd(2001, 1, 1);
            parameters.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// A certificate for a push host that becomes valid in an hour.
    #[must_use]
    pub fn signs_for_later(&self, names: &[&str]) -> Certified {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        self.signs_with(names, |parameters| {
            parameters.not_before = date_time_ymd(1970, 1, 1) + now + Duration::from_hours(1);
        })
    }

    /// A certificate with the names of a push host that is valid for servers only.
    #[must_use]
    pub fn signs_for_servers_only(&self, names: &[&str]) -> Certified {
        self.signs_with(names, |parameters| {
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    fn signs_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let mut parameters = parameters("host", names);
        change(&mut parameters);
        self.signs(&parameters)
    }

    fn signs(&self, parameters: &CertificateParams) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        Certified { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// The parameters of a certificate. OpenSSL treats a certificate with its CA's name as self-signed.
fn parameters(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}
