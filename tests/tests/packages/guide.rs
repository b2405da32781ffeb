//! The commands of the documents, run on the machine in their order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pushkeys_tests::{Key, PostgresDatabase, SyntheticKey, SyntheticKeys, until};

use crate::repository;
use crate::root::Machine;
use crate::systemctl::with_systemctl;

/// The commented-out source of a push host's file, which is to be enabled.
const SOURCE: &str =
    "#[[source]]\n#name = \"api\"\n#kind = \"feed\"\n#url = \"https://keys.example.com\"\n#token_file = ";
const SERVER_CONFIGURATION: &str = "/etc/pushkeys/server.toml";
const HOST_CONFIGURATION: &str = "/etc/pushkeys/syncd.toml";
const AS_SERVICE: [&str; 5] = ["runuser", "-u", "pushkeys-server", "--", "pushkeys-server"];
/// Files that the reader or the commands create, outside the folders of the packages.
const MADE: [&str; 6] = [
    "/etc/pushkeys/shell.toml",
    "/etc/pushkeys/keys/oncall.pub",
    "/root/ana.authorized_keys",
    "/root/oncall.pub",
    "/root/others.ndjson",
    "/var/log/auth.log",
];

/// The reader, who does manually what the text between the blocks says.
struct Reader<'a> {
    machine: &'a Machine,
    service: String,
    database: PostgresDatabase,
    ana: Key,
    oncall: Key,
    /// The values of the placeholders in a document.
    own: RefCell<BTreeMap<&'static str, String>>,
}

/// Runs the `sh` blocks of the operator's guide and of the README, whose first ones have installed the packages.
pub(crate) fn every_command_of_the_documents_runs(machine: &Machine, service_port: u16) {
    let database = PostgresDatabase::shared();
    machine.shares(database.socket());
    let (service, ana, oncall) = (format!("127.0.0.1:{service_port}"), Key::ed25519(), Key::ed25519());
    let own = RefCell::new(BTreeMap::from([
        ("'postgres://pushkeys@db.example.com/pushkeys'", format!("'{}'", database.url())),
        ("SHA256:DyN4OQ…", ana.fingerprint().to_string()),
        ("pushkeys top ", "pushkeys top --once ".to_owned()),
    ]));
    let kept = [SERVER_CONFIGURATION, HOST_CONFIGURATION].map(|path| (path, machine.read(path)));
    let reader = Reader { machine, service, database, ana, oncall, own };
    reader.prepares();
    with_systemctl(machine, || {
        machine.runs(&["/usr/local/bin/systemctl", "start", "pushkeys-syncd"]);
        for block in blocks("docs/operating.md") {
            reader.prepares_for(&block);
            let printed = reader.runs(&block);
            reader.looks_at(&block, &printed);
        }
        for block in blocks("README.md").iter().filter(|block| !block.starts_with("make ")) {
            for line in block.lines() {
                reader.runs(line);
            }
        }
        assert!(!machine.tries(&["pushkeys", "revoke", "--list"]).stdout.is_empty());
        machine.runs(&["pushkeys", "revoke", &reader.ana.fingerprint().to_string(), "--undo"]);
        machine.runs(&["/usr/local/bin/systemctl", "stop", "pushkeys-syncd", "pushkeys-server"]);
    });
    for path in MADE {
        fs::remove_file(machine.path(path)).unwrap_or_else(|error| panic!("`{path}`: {error}"));
    }
    fs::remove_dir(machine.path("/srv/git")).expect("what the guide made");
    for (path, text) in kept {
        fs::write(machine.path(path), text).expect("own file");
    }
}

/// The `sh` blocks of `document`, in their order.
pub(crate) fn blocks(document: &str) -> Vec<String> {
    blocks_of("sh", document)
}

/// The blocks of `language` in `document`, in their order.
pub(crate) fn blocks_of(language: &str, document: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(document)).expect("a document");
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

impl Reader<'_> {
    fn prepares(&self) {
        self.edits(SERVER_CONFIGURATION, |text| format!("listen = \"{}\"\n{text}", self.service));
        let write = |path: &str, text: &str| fs::write(self.machine.path(path), text).expect("own file");
        write("/root/ana.authorized_keys", &format!("# keys of ana\n{}\n", self.ana.text()));
        write("/root/oncall.pub", &format!("{}\n", self.oncall.text()));
        write("/var/log/auth.log", "");
    }

    /// Does what the text before `block` requires.
    fn prepares_for(&self, block: &str) {
        if block.starts_with("pushkeys-syncd check") {
            self.edits(HOST_CONFIGURATION, |text| {
                let (before, after) = text.split_once(SOURCE).expect("a source that waits");
                let (file, after) = after.split_once('\n').expect("a line");
                let source = SOURCE.replace('#', "").replace("https://keys.example.com", &self.url());
                format!("{before}{source}{file}\n{after}")
            });
        } else if block.starts_with("pushkeys revoke --account") {
            let listed = self.machine.runs(&[&AS_SERVICE[..], &["--json", "account", "list"]].concat());
            let id = listed.split('"').find(|word| word.starts_with("acct_")).expect("ana's id");
            self.own.borrow_mut().insert("acct_7", id.to_owned());
        } else if block.starts_with("systemctl stop") && block.contains("copy.db") {
            // The many keys that are added after the backup will be lost.
            let line = |(number, key): (usize, SyntheticKey)| {
                let name = format!("key-{number}");
                format!("{}\n", serde_json::json!({ "account": "bob", "name": name, "key": key.text }))
            };
            let keys: String = SyntheticKeys::new(3).take(9).enumerate().map(line).collect();
            fs::write(self.machine.path("/root/others.ndjson"), keys).expect("own file");
            let import = [&AS_SERVICE[..], &["import", "--create", "-"]].concat().join(" ");
            self.runs(&format!("{import} < /root/others.ndjson"));
            until("the host has all keys", || self.keys_of_the_service() == 10);
        } else if block.starts_with("pushkeys accept") {
            let waits = || self.machine.tries(&["pushkeys", "status"]).stdout.contains("pushkeys accept api");
            until("the snapshot waits for confirmation", waits);
            assert_eq!(self.keys_of_the_service(), 10, "the old keys serve");
        } else if block.contains("--finish") {
            until("the host has used its new token", || !self.hosts().contains("not used yet"));
        } else if block.contains("rm /var/lib/pushkeys-server/pushkeys.db*") {
            self.edits(SERVER_CONFIGURATION, |text| {
                format!("database = \"{}\"\n{text}", self.database.url())
            });
        }
    }

    fn hosts(&self) -> String {
        self.machine.runs(&[&AS_SERVICE[..], &["host", "list"]].concat())
    }

    /// Checks the effect of `block`.
    fn looks_at(&self, block: &str, printed: &str) {
        if let Some(token) =
            printed.lines().find_map(|line| line.split(' ').find(|word| word.starts_with("pkh_")))
        {
            let path = self.machine.path("/etc/pushkeys/host.token");
            fs::write(&path, format!("{token}\n")).expect("own file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        }
        if block.contains("oncall.pub") {
            until("a break-glass key is in force", || self.knows(&self.oncall));
        } else if block.contains("import --authorized-keys-of") {
            until("an imported key is in force", || self.knows(&self.ana));
        } else if block.contains("--finish") {
            assert!(!self.hosts().contains(", then "), "{}", self.hosts());
            assert!(self.is_in_step(), "the new token is used");
        } else if block.starts_with("pushkeys accept") {
            until("the host is in sync", || self.keys_of_the_service() == 1);
        } else if block.contains("rm /var/lib/pushkeys-server/pushkeys.db*") {
            until("the host is in sync with the service on PostgreSQL", || self.is_in_step());
            assert_eq!(self.database.query("SELECT count(*) FROM keys").trim(), "1");
        }
    }

    /// Runs `commands` with the placeholders replaced.
    fn runs(&self, commands: &str) -> String {
        let replace = |text: String, (name, value): (&&str, &String)| text.replace(name, value);
        let commands = self.own.borrow().iter().fold(format!("{commands}\n"), replace);
        let status = if commands.starts_with("pushkeys doctor") { "|| [ $? = 3 ]" } else { "" };
        self.machine.runs(&[
            "sh",
            "-euxc",
            &format!("PATH=/usr/local/bin:$PATH\n{} {status}", commands.trim_end()),
        ])
    }

    fn edits(&self, path: &str, change: impl FnOnce(String) -> String) {
        fs::write(self.machine.path(path), change(self.machine.read(path))).expect("own file");
    }

    fn url(&self) -> String {
        format!("http://{}", self.service)
    }

    fn knows(&self, key: &Key) -> bool {
        let fingerprint = key.fingerprint().to_string();
        let answer = self.machine.tries(&["/usr/libexec/pushkeys/pushkeys-lookup", "git", &fingerprint]);
        answer.stdout.contains(&fingerprint)
    }

    fn keys_of_the_service(&self) -> usize {
        let listed = self.machine.tries(&["pushkeys", "list", "--json", "--source", "api"]).stdout;
        listed.lines().count()
    }

    fn is_in_step(&self) -> bool {
        self.machine.tries(&["pushkeys", "status"]).status.success()
    }
}
