//! Valid and invalid configuration files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use pushkeys_keys::ErrorReport;

/// Loads `text` from a file with `mode`; returns the error with its causes.
fn load(text: &str, mode: u32) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    Config::load(&path).map_err(|error| ErrorReport::of(&error).to_string())
}

#[test]
fn an_empty_file_is_the_default_configuration() {
    assert_eq!(load("", 0o644).unwrap(), Config::default());
}

#[test]
fn every_setting_is_read() {
    let config = load(
        r#"
        listen = "[::1]:0"
        address_file = "/run/address"
        public_url = "https://keys.example.com"
        allowed_origins = ["https://console.example.com"]
        account_rate = { per_second = 3, burst = 4 }
        trusted_proxies = ["::1"]
        database = "sqlite:///srv/keys.db"
        database_password_file = "/srv/password"
        secret_file = "/srv/secret"
        heartbeat = "500ms"
        changes_max = 5
        keys_per_account_max = 7
        compromised_keys_file = "/etc/pushkeys/compromised"
        [[consumer]]
        key = "k"
        secret = "s"
        [tls]
        certificate = "/etc/pushkeys/tls/certificate.pem"
        key = "/etc/pushkeys/tls/key.pem"
        client_ca = "/etc/pushkeys/tls/hosts.pem"
        [github]
        client_id = "app"
        client_secret_file = "/etc/pushkeys/github.secret"
        base_url = "https://ghe.example.com"
        api_url = "https://ghe.example.com/api/v3"
        [oidc]
        issuer = "https://id.example.com/realms/a"
        label = "Example"
        client_id = "us"
        client_secret_file = "/etc/pushkeys/oidc.secret"
        scopes = ["openid"]
        account_claim = "nickname"
        create_accounts = true
        [smtp]
        host = "smtp.example.com"
        tls = "implicit"
        username = "keys"
        password_file = "/etc/pushkeys/smtp.secret"
        from = "pushkeys <keys@example.com>"
        contact = "support@example.com"
        "#,
        0o600,
    )
    .unwrap();
    assert_eq!(config.listen.port(), 0);
    assert_eq!(config.public_url.as_ref().unwrap().to_string(), "https://keys.example.com");
    assert_eq!(config.allowed_origins, ["https://console.example.com".parse().unwrap()]);
    assert_eq!(config.account_rate, rate(3, 4));
    assert_eq!(config.trusted_proxies, ["::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.database, DatabaseUrl::at("/srv/keys.db"));
    assert_eq!(config.heartbeat, Duration::from_millis(500));
    assert_eq!(config.store_limits().changes_max, 5);
    assert_eq!(config.consumers, [Consumer { key: "k".into(), secret: "s".into() }]);
    assert_eq!(config.tls.unwrap().client_ca, Some("/etc/pushkeys/tls/hosts.pem".into()));
    assert_eq!(config.github.unwrap().api_url.as_str(), "https://ghe.example.com/api/v3");
    assert!(config.oidc.unwrap().create_accounts);
    assert_eq!(format!("{:?}", config.smtp.unwrap().tls), "Implicit");
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    for url in ["postgres://ana:hunter2@db/keys", "postgress://ana:hunter2@db/keys"] {
        let error = load(&format!("database = \"{url}\""), 0o600).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let check = |text: &str, mode: u32, expected: &str| {
        let error = load(text, mode).unwrap_err();
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    };
    check("\nlisten_on = 1", 0o600, "unknown field `listen_on`");
    check("\nlisten_on = 1", 0o600, "line 2");
    check("database = 1 1", 0o600, "line 1");
    check("heartbeat = \"5 parsecs\"", 0o600, "a length of time is written like 500ms");
    check("heartbeat = \"1ms\"", 0o600, "between 50ms and 60s");
    check("public_url = \"keys.example.com\"", 0o600, "is not a URL such as");
    check("allowed_origins = [\"*\"]", 0o600, "is not an origin such as");
    check("account_rate = { per_second = 0, burst = 1 }", 0o600, "nonzero");
    check("database = \"sqlite://a.db\"", 0o600, "not absolute");
    check("database = \"postgres://ana:pw@db/keys\"", 0o600, "holds a password");
    check("[[consumer]]\nkey = \"a&b\"\nsecret = \"s\"", 0o600, "consumer");
    check("", 0o620, "chmod go-w");
    let github = "[github]\nclient_id = \"a\"\nclient_secret_file = \"/b\"\n";
    check(&format!("{github}api_url = \"http://api.github.com\""), 0o600, "is not a URL such as https");
    check(&format!("{github}api_url = \"http://127.0.0.1:1\""), 0o600, "github.api_url");
    let oidc = "[oidc]\nclient_id = \"a\"\nclient_secret_file = \"/b\"\n";
    check(&format!("{oidc}issuer = \"http://127.0.0.1:1\""), 0o600, "oidc.issuer");
    check("[smtp]\nhost = \"a\"\nfrom = \"nobody\"", 0o600, "in `smtp.from`");
    check("[smtp]\nhost = \"a\"\nfrom = \"a@b.example\"\ntls = \"none\"", 0o600, "smtp.tls");
    check("[smtp]\nhost = \"a\"\nfrom = \"a@b.example\"\nusername = \"c\"", 0o600, "smtp.password_file");
    let plain = "[smtp]\nhost = \"::1\"\nfrom = \"a@b.example\"\ntls = \"none\"\n";
    assert!(load(plain, 0o600).is_ok());
    check(&format!("{plain}username = \"c\"\npassword_file = \"/d\""), 0o600, "for a password");
    check(&format!("{oidc}issuer = \"https://a\"\nscopes = [\"email\"]"), 0o600, "oidc.scopes");
}

#[test]
fn plain_text_is_for_this_machine_and_for_proxies_that_are_named() {
    let check = |text: &str, address: &str, expected: bool| {
        let config = load(text, 0o600).unwrap();
        assert_eq!(config.check_exposure(address.parse().unwrap()).is_err(), expected, "{text} {address}");
    };
    for address in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        check("", address, false);
    }
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
        check("", address, true);
        check("trusted_proxies = [\"192.0.2.9\"]", address, false);
        check("[tls]\ncertificate = \"/c\"\nkey = \"/k\"", address, false);
    }
}
