//! An authority for certificates, and what it signs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

/// An authority that signs whatever a test wants.
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
    /// An authority that nobody knows yet, called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut parameters = parameters(name, &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("a certificate"))
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server of these names or addresses.
    #[must_use]
    pub fn signs_for_server(&self, names: &[&str]) -> Certified {
        self.signs(&parameters("server", names))
    }

    /// A certificate for a client that is called `name`.
    #[must_use]
    pub fn signs_for_client(&self, name: &str) -> Certified {
        self.signs(&parameters(name, &[]))
    }

    /// A certificate for a push host of these names.
    #[must_use]
    pub fn signs_for_host(&self, names: &[&str]) -> Certified {
        self.signs_with(names, |_| {})
    }

    /// The same, and it has expired.
    #[must_use]
    pub fn signed_long_ago(&self, names: &[&str]) -> Certified {
        self.signs_with(names, |parameters| {
            parameters.not_before = date_time_ymd(2001, 1, 1);
            parameters.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// The same, and it begins to be valid an hour from now.
    #[must_use]
    pub fn signs_for_later(&self, names: &[&str]) -> Certified {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        self.signs_with(names, |parameters| {
            parameters.not_before = date_time_ymd(1970, 1, 1) + now + Duration::from_hours(1);
        })
    }

    /// The same, for servers alone.
    #[must_use]
    pub fn signs_for_servers_alone(&self, names: &[&str]) -> Certified {
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

/// OpenSSL takes a certificate that bears its authority's name for one that signed itself.
fn parameters(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}
