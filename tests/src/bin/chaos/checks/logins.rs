//! Users log in with stock ssh: as themselves, or not at all.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pushkeys_tests::{Login, SeededRng, try_run_within};

use crate::model::May;
use crate::shared::Shared;
use crate::world::{World, rng};

/// The interval of logins: each takes some tenths of a second of the processor.
const PAUSE: Duration = Duration::from_secs(2);
const LOGIN_TIME_MAX: Duration = Duration::from_secs(40);
const RNG_STREAM: u64 = 300;

/// Starts a thread that logs in at each host in turn.
pub(crate) fn start(world: &World, seed: u64) -> JoinHandle<()> {
    let keys = world.shared.model.keys().iter().enumerate();
    let keys: Vec<(usize, PathBuf)> =
        keys.filter_map(|(number, key)| Some((number, key.path.clone()?))).collect();
    // A command line for each key at each host.
    let lines = world.hosts.iter().map(|host| {
        let login = |path: &PathBuf| Login::new(&host.push.sshd, "git").with_identity(path).into_command();
        keys.iter().map(|(number, path)| (*number, words(&login(path)))).collect::<Vec<_>>()
    });
    let lines: Vec<_> = lines.collect();
    let (shared, mut rng) = (Arc::clone(&world.shared), rng(seed, RNG_STREAM));
    thread::spawn(move || {
        while !shared.is_over() {
            shared.rest(PAUSE);
            log_in(&shared, &lines, &mut rng);
        }
    })
}

type Words = Vec<String>;

fn words(command: &Command) -> Words {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| word.to_string_lossy().into_owned()).collect()
}

fn log_in(shared: &Shared, lines: &[Vec<(usize, Words)>], rng: &mut SeededRng) {
    let host = usize::try_from(rng.below(lines.len() as u64)).expect("below a length");
    let (number, words) = rng.pick(lines.get(host).expect("a host"));
    let (program, arguments) = words.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    let horizon = shared.conditions.horizon(host);
    let finished = match try_run_within(&mut command, LOGIN_TIME_MAX) {
        Ok(finished) => finished,
        Err(late) => {
            shared.log.violation(&format!("push-{}", host + 1), &format!("a login hangs: {late}"), horizon);
            return;
        }
    };
    shared.counts.logins.fetch_add(1, Ordering::Relaxed);
    let key = shared.model.keys().get(*number).expect("a key of the model");
    let actor = format!("push-{}", host + 1);
    let greeting =
        finished.stdout.split_once("Hello ").and_then(|(_, rest)| rest.split_once(", your key works."));
    let who = greeting.map(|(name, _)| name);
    let answer = format!("{} {}", finished.stdout.trim_end(), finished.stderr.trim_end());
    if who.is_some_and(|who| who != key.account_name) {
        let text = format!("{} is greeted as another account: {answer}", key.account_name);
        shared.log.violation(&actor, &text, Instant::now());
    }
    if shared.conditions.is_lossy() {
        return;
    }
    let may = shared.model.may_be(*number, horizon);
    let is_in = who.is_some();
    if !may.allows(is_in) && (is_in || !shared.conditions.may_be_silent(host)) {
        let what = if is_in { "is let in with a removed key" } else { "is refused with a good key" };
        let text = format!("{} {what}: {answer}", key.account_name);
        shared.log.violation(&actor, &text, Instant::now());
    }
    let state = if is_in { "is let in" } else { "is refused" };
    let known = if may == May::PRESENT { "registered" } else { "not always registered" };
    shared.log.note(&actor, &format!("{} {state}, the key being {known}", key.account_name));
}
