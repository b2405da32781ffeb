//! `bench login`: a whole login, with all keys of a service or with one line in a file.

use std::time::Instant;

use clap::Args;
use pushkeys_tests::{Key, Login, PushHost, Room, Service, Sshd, SshdSettings};

use crate::report::{Report, Samples, ratio};
use crate::world::{RESIDENTS, import};

const RATIO_MAX: f64 = 1.05;
const WARM_UP_RUNS: usize = 5;

#[derive(Args)]
#[command(after_help = "\
Stock ssh logs in and is greeted, in turn: at an sshd that asks pushkeys-lookup among all keys, and at an sshd of the same
settings that reads the very same line, forced command included, from an authorized_keys file that holds nothing else.")]
pub(crate) struct Arguments {
    /// Keys in the cache
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Logins at each
    #[arg(long, default_value_t = 300)]
    runs: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) {
    let (room, service) = (Room::root_owned(), Service::start());
    report.note(&format!("importing {} keys", arguments.keys));
    import(&service, &room, RESIDENTS, arguments.keys);
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);

    let line = host.lookup("git", &key.fingerprint()).stdout;
    let authorized_keys = room.write_with_mode("authorized_keys", &line, 0o644);
    // Everything else is equal; a key in the file is not looked up.
    let mut settings = SshdSettings::new("/nonexistent");
    settings.authorized_keys_file = authorized_keys.display().to_string();
    let plain = Sshd::start(&settings);

    let (mut with_file, mut with_cache) = (Samples::default(), Samples::default());
    for number in 0..WARM_UP_RUNS + arguments.runs {
        let samples = [(&plain, &mut with_file), (&host.sshd, &mut with_cache)];
        for (sshd, samples) in samples {
            let login = Login::new(sshd, "git").with_key(&key);
            let start = Instant::now();
            login.succeeds_as(&ana);
            if number >= WARM_UP_RUNS {
                samples.push(start.elapsed());
            }
        }
    }
    report.times("login, one line in authorized_keys", &with_file, &with_file);
    report.times(&format!("login, {} keys", arguments.keys), &with_cache, &with_file);
    report.at_most(
        "login, against authorized_keys",
        ratio(with_cache.median(), with_file.median()),
        RATIO_MAX,
        "x",
    );
}
