//! Faults of a push host: full disks, copied folders, unusual files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pushkeys_tests::{Key, run};

use super::{Choice, End, Fault, USUAL, Victim};
use crate::conditions::Excuses;
use crate::world::{Host, LOCAL, World, write_local_key};

/// A change of the folder of keys is in force within this time.
const LOCAL_TIME_MAX: Duration = Duration::from_secs(10);
/// The maximum number of log lines of an idle daemon in some seconds.
const LINES_MAX: usize = 3;
/// The account whose file is added and removed beside the unusual one.
const VISITOR: &str = "visitor";
/// Longer than the 1 MiB that are read of a file of keys.
const TOO_LONG_BYTES: usize = 1024 * 1024 + 1;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "full-cache",
        about: "the disk of a host's cache is full, and has space again",
        victim: Victim::Host,
        seconds: (6, 12),
        excuses: Excuses::HOST,
        status: &["no space", "disk", "room", "full"],
        weight: 3,
        begin: |world, choice| {
            world.host(choice.victim).disk.fill();
            let victim = choice.victim;
            Box::new(move |world| world.host(victim).disk.make_room())
        },
        ..USUAL
    },
    Fault {
        name: "copied-source",
        about: "a copy of a source's folder in the cache: only configured sources count",
        victim: Victim::Host,
        seconds: (22, 26),
        status: &["api-old"],
        begin: copied_source,
        ..USUAL
    },
    Fault {
        name: "odd-file",
        about: "an unusual file in the folder of a host's own keys: the other files' changes take effect, and it is named",
        victim: Victim::Host,
        variants: &[
            "fifo",
            "folder",
            "dangling-link",
            "link-outside",
            "open-to-all",
            "unreadable",
            "too-long",
        ],
        seconds: (4, 8),
        status: &["odd.pub"],
        begin: odd_file,
        ..USUAL
    },
    Fault {
        name: "busy-neighbour",
        about: "a file next to the folder of a host's own keys changes all the time, which has no effect",
        victim: Victim::Host,
        seconds: (5, 8),
        weight: 1,
        begin: busy_neighbour,
        ..USUAL
    },
];

fn busy_neighbour(world: &mut World, choice: &Choice) -> End {
    let host = world.host(choice.victim);
    let folder = host.keys_folder();
    let neighbour = folder.parent().expect("it is in another").join("neighbour.log");
    let lines = |host: &Host| host.push.syncd.log().lines().filter(|line| line.contains("`local`")).count();
    let (before, began) = (lines(host), Instant::now());
    let (file, hold, victim) = (neighbour.clone(), choice.hold, choice.victim);
    world.expects("nothing is done because of a file beside the keys", hold, move |world| {
        fs::write(&file, format!("{:?}", began.elapsed())).expect("own folder");
        let more = lines(world.hosts.get(victim).expect("a host of the world")) - before;
        if more > LINES_MAX {
            return Err(format!("the daemon has written {more} lines about the folder to its log"));
        }
        if began.elapsed() + Duration::from_secs(1) > hold {
            Ok(())
        } else {
            Err("it is too early to say".to_owned())
        }
    });
    Box::new(move |_| {
        let _ = fs::remove_file(&neighbour);
    })
}

fn copied_source(world: &mut World, choice: &Choice) -> End {
    let cache = world.host(choice.victim).push.cache().to_owned();
    let copy = cache.join("api-old");
    // Generations change meanwhile, so a copy may miss files and is repeated.
    for _ in 0..10 {
        let _ = fs::remove_dir_all(&copy);
        let copied = run(Command::new("cp").arg("-a").arg(cache.join("api")).arg(&copy));
        if copied.status.success() {
            break;
        }
    }
    Box::new(move |_| {
        let _ = fs::remove_dir_all(&copy);
    })
}

fn odd_file(world: &mut World, choice: &Choice) -> End {
    let folder = world.host(choice.victim).keys_folder();
    let odd = folder.join("odd.pub");
    make_odd(&odd, &folder, choice.variant);
    // Beside it, one file is added, and another removed.
    let (visitor, victim) = (Key::ed25519(), choice.victim);
    write_local_key(&folder, VISITOR, &visitor);
    let gone = folder.join(format!("{}.pub", LOCAL.first().expect("two accounts")));
    let kept = fs::read(&gone).expect("own file");
    fs::remove_file(&gone).expect("own file");
    knows(world, victim, VISITOR, true);
    knows(world, victim, LOCAL.first().expect("two accounts"), false);
    knows(world, victim, LOCAL.last().expect("two accounts"), true);
    Box::new(move |_| {
        let _ = fs::remove_file(&odd).or_else(|_| fs::remove_dir(&odd));
        let _ = fs::remove_file(folder.join(format!("{VISITOR}.pub")));
        fs::write(&gone, kept).expect("own file");
    })
}

fn make_odd(odd: &Path, folder: &Path, how: &str) {
    let link = |target: PathBuf| symlink(target, odd).expect("own folder");
    let write = |text: &str, mode: u32| {
        fs::write(odd, text).expect("own folder");
        fs::set_permissions(odd, Permissions::from_mode(mode)).expect("own file");
    };
    match how {
        "fifo" => {
            let _ = run(Command::new("mkfifo").arg(odd)).output();
        }
        "folder" => fs::create_dir(odd).expect("own folder"),
        "dangling-link" => link(folder.join("somebody@host.123")),
        "link-outside" => link("/etc/hostname".into()),
        "open-to-all" => write(Key::ed25519().text(), 0o666),
        "unreadable" => write(Key::ed25519().text(), 0o600),
        _ => write(&"#".repeat(TOO_LONG_BYTES), 0o644),
    }
}

/// Expects that the host has, or does not have, a key of the local account `account`.
fn knows(world: &mut World, host: usize, account: &'static str, is_known: bool) {
    let what =
        format!("{account}'s file {}", if is_known { "counts" } else { "was removed and counts no longer" });
    world.expects(&what, LOCAL_TIME_MAX, move |world| {
        let host = world.hosts.get(host).expect("a host of the world");
        let listed = host.push.pushkeys(&["list", "--json"]);
        let named = format!("\"account\":\"{account}\"");
        if listed.stdout.replace("\": \"", "\":\"").contains(&named) == is_known {
            Ok(())
        } else {
            Err(format!("`pushkeys list` {} it", if is_known { "does not have" } else { "still has" }))
        }
    });
}
