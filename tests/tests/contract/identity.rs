//! C12 to C14 and C16: the identity of a session.

use std::path::Path;

use data_encoding::BASE64;
use pushkeys_tests::{Account, Agent, AgentKeys, Key, PushHost, Room, Service, string};

/// The length of an invalid signature.
const SIGNATURE_BYTES: usize = 64;

#[test]
fn c12_no_byte_of_the_client_reaches_a_shell() {
    let (service, room) = (Service::start(), Room::temporary());
    let host = PushHost::start(&service);
    let (ana, key) = logged_in(&service, &host, "ana");
    let touched = room.join("touched");
    std::fs::set_permissions(room.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("own directory");
    for command in [
        format!("touch {}", touched.display()),
        format!("; touch {}", touched.display()),
        format!("$(touch {0})`touch {0}`", touched.display()),
        format!("'\ntouch {}\n'", touched.display()),
        format!("git-upload-pack 'x'; touch {}", touched.display()),
        format!("-c 'touch {}'", touched.display()),
    ] {
        let session = host.login("git", &key).runs(&[&command]);
        assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""), "{command}: {session:?}");
        assert!(!session.stderr.is_empty(), "the refusal has the reason");
        assert!(!touched.exists(), "{command}");
    }
    host.login("git", &key).succeeds_as(&ana);
}

#[test]
fn c12_file_transfer_is_refused() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (_, key) = logged_in(&service, &host, "ana");
    for (arguments, words) in
        [(vec!["-s"], vec!["sftp"]), (vec![], vec!["scp", "-t", "/tmp"]), (vec![], vec!["rsync"])]
    {
        let session = host.login("git", &key).with_arguments(&arguments).runs(&words);
        assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""), "{words:?}: {session:?}");
    }
}

#[test]
fn c13_a_client_cannot_choose_its_identity() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = logged_in(&service, &host, "ana");
    let (bob, _) = logged_in(&service, &host, "bob");

    let session = host.login("git", &key).runs(&["--account", bob.id()]);
    assert_eq!((session.code, session.greeted()), (Some(1), None), "{session:?}");
    let variables =
        format!("SetEnv=SSH_ORIGINAL_COMMAND= PUSHKEYS_ACCOUNT={} GIT_PROTOCOL=version=2", bob.id());
    host.login("git", &key).with_arguments(&["-o", &variables]).succeeds_as(&ana);
}

/// Offers another user's public key, and signs with an invalid signature.
struct Impostor(Vec<u8>);

impl AgentKeys for Impostor {
    fn identities(&mut self) -> Vec<Vec<u8>> {
        vec![self.0.clone()]
    }

    fn sign(&mut self, _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        Some([string(b"ssh-ed25519"), string(&[0x42; SIGNATURE_BYTES])].concat())
    }
}

#[test]
fn c14_a_wrong_signature_gives_no_identity() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (_, victims) = logged_in(&service, &host, "ana");
    let (mallory, own) = logged_in(&service, &host, "mallory");
    let blob = BASE64
        .decode(victims.text().split(' ').nth(1).expect("type base64 comment").as_bytes())
        .expect("base64");
    let agent = Agent::start(Impostor(blob));
    let identity_agent = format!("IdentityAgent={}", agent.socket().display());
    let with_agent = ["-o", "IdentitiesOnly=no", "-o", &identity_agent];

    host.login_without_key("git").with_arguments(&with_agent).is_refused();
    // Up to 9.8 the victim's options are still in force here; sshd detects the different command, and closes the connection.
    let session = host.login("git", &own).with_arguments(&with_agent).opens();
    assert!(matches!(session.greeted(), None | Some("mallory")), "{session:?}");
    assert!(host.sshd.log().contains("Failed publickey for git"), "the wrong signature came first");
    host.login("git", &own).succeeds_as(&mallory);
}

#[test]
fn c16_a_multiplexed_connection_opens_no_session_without_its_key() {
    let (service, room) = (Service::start(), Room::temporary());
    let host = PushHost::start(&service);
    let (ana, key) = logged_in(&service, &host, "ana");
    let control = room.join("control");
    let path = format!("ControlPath={}", control.display());
    let master =
        host.login("git", &key).with_arguments(&["-o", &path, "-o", "ControlMaster=yes", "-N"]).stays();
    pushkeys_tests::until("the connection is shared", || control.exists());

    let through = |path: &str| host.login_without_key("git").with_arguments(&["-o", path]);
    through(&path).succeeds_as(&ana);
    ana.removes("laptop");
    host.forgets(&key);
    let session = through(&path).opens();
    assert_eq!((session.code, session.greeted()), (Some(1), None), "{session:?}");
    assert!(!session.stderr.is_empty(), "the refusal has the reason");
    assert!(is_alive(&control), "it is the session that was refused, and not the connection");
    drop(master);
}

fn is_alive(control: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(control).is_ok()
}

/// A user of `host` with a key in force.
fn logged_in(service: &Service, host: &PushHost, name: &str) -> (Account, Key) {
    let (account, key) = (service.account(name), Key::ed25519());
    account.adds(&key, "laptop");
    host.learns(&key);
    (account, key)
}
