//! Databases that are lost, replaced, restored, locked, read-only or full.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use pushkeys_tests::{NetworkState, until};
use serde_json::Value;
use tokio::runtime::Builder;

use super::{Choice, End, Fault, POSTGRES, SQLITE, USUAL, Victim, ends_by_itself};
use crate::conditions::{Excuses, Hosts};
use crate::database::address;
use crate::users::{PATIENCE_MAX, change_by_hand};
use crate::world::{Replica, World};

/// How long the address is unreachable, or that of a standby that is not promoted yet.
const LATE: Duration = Duration::from_secs(4);
/// A commit is sent to all hosts within this time.
const TELLING_TIME: Duration = Duration::from_millis(500);
/// How long there is no primary.
const ASKING_TIME: Duration = Duration::from_secs(1);
/// The number of lost changes in faults with many.
const MANY: u64 = 60;
/// A promoted database is found within five seconds; the rest is for a busy machine.
const SERVING_TIME_MAX: Duration = Duration::from_secs(8);
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);
/// The maximum number of attempts to suspend a replica during a change.
const FREEZES_MAX: usize = 40;
/// The number of changes that reuse the numbers of lost ones.
const CAUGHT_UP: u64 = 8;
/// The maximum time in which the primary commits without its standby.
const LOSING_TIME_MAX: Duration = Duration::from_secs(10);
/// Longer than the service's lock and idle timeouts.
const LONG_LOCK: Duration = Duration::from_secs(16);

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "pg-restart",
        about: "PostgreSQL is killed and restarted",
        worlds: POSTGRES,
        seconds: (1, 8),
        excuses: Excuses::SERVICE,
        begin: |world, _| {
            world.database.pair().primary().kill();
            Box::new(|world| world.database.pair().primary().restart())
        },
        ..USUAL
    },
    Fault {
        name: "pg-promotion",
        about: "the standby, which has everything, takes over; the old primary comes back as its standby. The address \
                is moved after the promotion (orderly), before it (address-first), or the primary vanishes without a word",
        worlds: POSTGRES,
        variants: &["orderly", "address-first", "vanished"],
        seconds: (2, 6),
        excuses: Excuses::SERVICE,
        weight: 3,
        begin: promotion,
        ..USUAL
    },
    Fault {
        name: "pg-lossy-promotion",
        about: "the primary confirms changes that its standby does not get (one, three, many), and then the standby takes \
                over; with `restarted`, hosts alone have seen what is lost: replicas are killed meanwhile, and hosts come \
                back when the numbers have caught up",
        worlds: POSTGRES,
        variants: &["one", "three", "many", "restarted"],
        seconds: (4, 8),
        excuses: Excuses::SERVICE,
        weight: 4,
        begin: lossy_promotion,
        ..USUAL
    },
    Fault {
        name: "pg-standby",
        about: "a replica is connected to the standby, which accepts no changes; later, new connections lead to the primary",
        worlds: POSTGRES,
        victim: Victim::Replica,
        seconds: (4, 12),
        excuses: Excuses::SERVICE,
        begin: |world, choice| {
            let victim = choice.victim;
            let pair = world.database.pair();
            let (primary, standby) = (address(pair.primary()), address(pair.standby()));
            let link = pair.links.get(victim).expect("a link of the replica");
            link.leads_to(vec![standby]);
            link.closes_connections();
            Box::new(move |world| {
                let link = world.database.pair().links.get(victim).expect("a link of the replica");
                link.leads_to(vec![primary]);
            })
        },
        ..USUAL
    },
    Fault {
        name: "pg-lost-then-stop",
        about: "the database vanishes silently, and a replica is stopped: it ends within the time limit of its unit",
        worlds: POSTGRES,
        victim: Victim::Replica,
        seconds: (1, 2),
        excuses: Excuses::SERVICE,
        weight: 1,
        begin: |world, choice| {
            let victim = choice.victim;
            world
                .database
                .pair()
                .links
                .get(victim)
                .expect("a link of the replica")
                .set_network(NetworkState::Lost);
            // Requests wait for a response that never comes.
            world.shared.rest(LATE);
            super::process::stop(world, victim);
            world
                .database
                .pair()
                .links
                .get(victim)
                .expect("a link of the replica")
                .set_network(NetworkState::Clear);
            Box::new(move |world| world.replica(victim).launch())
        },
        ..USUAL
    },
    Fault {
        name: "new-epoch",
        about: "the operator makes every host take a snapshot",
        seconds: (1, 2),
        excuses: Excuses { behind: Hosts::All, ..Excuses::NONE },
        is_companion: true,
        begin: |world, _| {
            // The command fails while the database is unavailable.
            let _ = world.replica(0).service.administers(&["new-epoch"]);
            ends_by_itself()
        },
        ..USUAL
    },
    Fault {
        name: "pg-read-only",
        about: "the database becomes read-only, and later new connections may write again",
        worlds: POSTGRES,
        seconds: (4, 12),
        excuses: Excuses::SERVICE,
        begin: |world, _| {
            read_only(world, "SET default_transaction_read_only = on");
            terminate(world);
            Box::new(|world| read_only(world, "RESET default_transaction_read_only"))
        },
        ..USUAL
    },
    Fault {
        name: "pg-lock",
        about: "another session holds the row that writers lock, for a moment or beyond the service's timeouts",
        worlds: POSTGRES,
        variants: &["short", "long"],
        seconds: (1, 2),
        excuses: Excuses::SERVICE,
        begin: |world, choice| {
            let time = if choice.variant == "long" { LONG_LOCK } else { choice.hold };
            let holder = world.database.pair().lock(time);
            world.shared.rest(time);
            Box::new(move |_| drop(holder))
        },
        ..USUAL
    },
    Fault {
        name: "pg-frozen-writer",
        about: "SIGSTOP of a replica in the middle of a change: it holds the row that writers lock, beyond all timeouts",
        worlds: POSTGRES,
        victim: Victim::Replica,
        seconds: (14, 18),
        excuses: Excuses::SERVICE,
        begin: frozen_writer,
        ..USUAL
    },
    Fault {
        name: "pg-terminate",
        about: "all connections of the service are ended by an administrator",
        worlds: POSTGRES,
        seconds: (1, 2),
        excuses: Excuses::SERVICE,
        is_companion: true,
        begin: |world, _| {
            terminate(world);
            ends_by_itself()
        },
        ..USUAL
    },
    Fault {
        name: "pg-restore",
        about: "a dump of some seconds ago is put over the database, beside the running service or with it stopped",
        worlds: POSTGRES,
        variants: &["running", "stopped"],
        seconds: (3, 6),
        excuses: Excuses::SERVICE,
        begin: |world, choice| {
            world.shared.conditions.loses();
            let dump = world.database.pair().dump();
            world.shared.rest(choice.hold);
            let is_stopped = choice.variant == "stopped";
            if is_stopped {
                world.replicas.iter_mut().for_each(Replica::kill);
            }
            let restored = world.database.pair().restore(&dump);
            assert!(restored.status.success(), "a dump is restored: {}", restored.stderr);
            world.shared.conditions.has_lost();
            if is_stopped {
                world.replicas.iter_mut().for_each(Replica::launch);
            }
            ends_by_itself()
        },
        ..USUAL
    },
    Fault {
        name: "sqlite-lock",
        about: "another process holds SQLite's write lock, for a moment or beyond the service's timeouts",
        worlds: SQLITE,
        variants: &["short", "long"],
        seconds: (1, 4),
        excuses: Excuses::SERVICE,
        begin: |world, choice| {
            let holder = world.database.sqlite().lock();
            world.shared.rest(if choice.variant == "long" { LONG_LOCK } else { choice.hold });
            Box::new(move |_| drop(holder))
        },
        ..USUAL
    },
    Fault {
        name: "sqlite-full-disk",
        about: "the disk of the database is full, and has space again",
        worlds: SQLITE,
        seconds: (3, 10),
        excuses: Excuses::SERVICE,
        weight: 3,
        begin: |world, _| {
            world.database.sqlite().disk.fill();
            Box::new(|world| world.database.sqlite().disk.make_room())
        },
        ..USUAL
    },
    Fault {
        name: "sqlite-restore",
        about: "a backup of some seconds ago is put in the place of the database: with the service stopped, by rename \
                beside the running one, or after the file was removed under it",
        worlds: SQLITE,
        variants: &["stopped", "renamed", "removed"],
        seconds: (3, 6),
        excuses: Excuses::SERVICE,
        weight: 3,
        begin: restore_sqlite,
        ..USUAL
    },
    Fault {
        name: "sqlite-written-over",
        about: "a backup is copied over the file that the running service has open, which SQLite cannot survive whole: \
                only by name",
        worlds: SQLITE,
        variants: &["written-over"],
        seconds: (3, 6),
        excuses: Excuses::SERVICE,
        weight: 0,
        begin: restore_sqlite,
        ..USUAL
    },
];

fn promotion(world: &mut World, choice: &Choice) -> End {
    let shared = Arc::clone(&world.shared);
    let pair = world.database.pair();
    pair.set_links(if choice.variant == "vanished" { NetworkState::Lost } else { NetworkState::Refused });
    pair.wait_for_standby();
    pair.primary().stop_at_once();
    shared.log.say("database", "the primary is gone");
    if choice.variant == "address-first" {
        pair.lead_links_to_standby();
        pair.set_links(NetworkState::Clear);
        shared.log.say("database", "the address leads to the standby");
        shared.rest(LATE);
        pair.promote();
    } else {
        pair.promote();
        lead_to_promoted(world);
    }
    shared.log.say("database", "the standby is promoted");
    serve_soon(world);
    Box::new(|world| world.database.pair().rebuild_standby())
}

/// Expects that each replica soon accepts changes; they are retried until one succeeds.
fn serve_soon(world: &mut World) {
    for number in 0..world.replicas.len() {
        let first = Arc::new(OnceLock::new());
        let url = format!("{}/v2/self/keys/a", world.replica(number).service.url());
        let (token, key) = (world.eve.token().to_owned(), Value::from(world.eve_key.as_str()).to_string());
        let (began, served) = (Instant::now(), Arc::clone(&first));
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = reqwest::Client::builder().no_proxy().build().expect("a client");
                while served.get().is_none() && began.elapsed() < SERVING_TIME_MAX {
                    let request =
                        client.put(&url).bearer_auth(&token).header("Content-Type", "application/json");
                    let (request, served) = (request.body(key.clone()), Arc::clone(&served));
                    tokio::spawn(async move {
                        if request.send().await.is_ok_and(|reply| reply.status() == 200) {
                            let _ = served.set(());
                        }
                    });
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
            });
        });
        let what = format!("replica {} takes changes soon after the promotion", number + 1);
        world.expects(&what, SERVING_TIME_MAX, move |_| {
            first.get().copied().ok_or_else(|| "it takes none".to_owned())
        });
    }
}

fn lossy_promotion(world: &mut World, choice: &Choice) -> End {
    let shared = Arc::clone(&world.shared);
    let count = match choice.variant {
        "one" | "restarted" => Some(1),
        "three" => Some(3),
        _ => None,
    };
    // If the number of changes matters, users wait.
    if count.is_some() {
        assert!(shared.gate.pause(2 * PATIENCE_MAX), "nothing is wrong yet, so all requests are answered");
    }
    let pair = world.database.pair();
    pair.wait_for_standby();
    shared.conditions.loses();
    pair.replication.set_network(NetworkState::Refused);
    let confirmed = || shared.counts.confirmed.load(Ordering::Relaxed);
    if let Some(count) = count {
        change_by_hand(world, count);
        // All streams have sent it to their hosts.
        shared.rest(TELLING_TIME);
    } else {
        let (begun, before) = (Instant::now(), confirmed());
        while confirmed() < before + MANY && begun.elapsed() < LOSING_TIME_MAX {
            thread::sleep(Duration::from_millis(2));
        }
        shared.log.say("database", &format!("{} changes or more will be lost", confirmed() - before));
    }
    let pair = world.database.pair();
    pair.set_links(NetworkState::Refused);
    // Later commits of the primary are not replicated.
    pair.primary().stop_at_once();
    shared.conditions.has_lost();
    shared.gate.resume();
    shared.log.say("database", "the primary is gone");
    let is_restarted = choice.variant == "restarted";
    if is_restarted {
        world.hosts.iter().for_each(|host| host.link.set_network(NetworkState::Refused));
        world.replicas.iter_mut().for_each(Replica::kill);
    }
    // All users retry their changes by now.
    shared.rest(ASKING_TIME);
    let pair = world.database.pair();
    pair.promote();
    lead_to_promoted(world);
    shared.log.say("database", "the standby is promoted");
    if is_restarted {
        world.replicas.iter_mut().for_each(Replica::launch);
        let (begun, before) = (Instant::now(), confirmed());
        while confirmed() < before + CAUGHT_UP && begun.elapsed() < LOSING_TIME_MAX {
            thread::sleep(Duration::from_millis(2));
        }
        shared.log.say("database", "the numbers have caught up, and hosts come back");
        world.hosts.iter().for_each(|host| host.link.set_network(NetworkState::Clear));
    }
    Box::new(|world| world.database.pair().rebuild_standby())
}

/// Sends connections to the promoted server.
fn lead_to_promoted(world: &mut World) {
    let pair = world.database.pair();
    let address = format!("127.0.0.1:{}", pair.primary().port());
    for link in &pair.links {
        link.leads_to(vec![address.clone()]);
        link.set_network(NetworkState::Clear);
    }
}

fn read_only(world: &mut World, what: &str) {
    let statement = format!("ALTER DATABASE pushkeys {what}");
    let _ = world.database.pair().primary().sql("postgres", &statement).output();
}

fn terminate(world: &mut World) {
    let _ = world.database.pair().ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = 'pushkeys' AND pid <> pg_backend_pid()",
    );
}

fn frozen_writer(world: &mut World, choice: &Choice) -> End {
    const OPEN: &str = "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity
        WHERE datname = 'pushkeys' AND state LIKE 'idle in transaction%'";
    let victim = choice.victim;
    for _ in 0..FREEZES_MAX {
        world.replica(victim).freeze();
        // Other sessions end meanwhile.
        let before = world.database.pair().ask(OPEN).stdout;
        world.shared.rest(ATTEMPT_PAUSE);
        let open = world.database.pair().ask(OPEN).stdout;
        if !open.trim().is_empty() && open == before {
            world.shared.log.say(&format!("replica {}", victim + 1), "hangs in the middle of a change");
            break;
        }
        world.replica(victim).thaw();
        world.shared.rest(ATTEMPT_PAUSE);
    }
    Box::new(move |world| world.replica(victim).thaw())
}

fn restore_sqlite(world: &mut World, choice: &Choice) -> End {
    let shared = Arc::clone(&world.shared);
    shared.conditions.loses();
    let copy = back_up(world);
    shared.rest(choice.hold);
    let file = world.database.sqlite().file();
    let [wal, shm] = world.database.sqlite().siblings();
    let remove = |path: &PathBuf| {
        let _ = fs::remove_file(path);
    };
    match choice.variant {
        "stopped" => {
            world.replica(0).kill();
            [&wal, &shm].into_iter().for_each(remove);
            fs::rename(&copy, &file).expect("own file");
            shared.conditions.has_lost();
            world.replica(0).launch();
        }
        "renamed" => {
            fs::rename(&copy, &file).expect("own file");
            shared.conditions.has_lost();
        }
        "written-over" => {
            fs::copy(&copy, &file).expect("own file");
            shared.conditions.has_lost();
        }
        _ => {
            [&file, &wal, &shm].into_iter().for_each(remove);
            shared.log.say("database", "the file is removed");
            // Changes that are confirmed now will be lost.
            shared.rest(choice.hold);
            fs::rename(&copy, &file).expect("own file");
            shared.conditions.has_lost();
        }
    }
    shared.log.say("database", "the copy is in place");
    ends_by_itself()
}

/// A copy of the database by `pushkeys-server backup`, on the same disk.
fn back_up(world: &mut World) -> PathBuf {
    let copy = world.database.sqlite().folder().join("copy.db");
    let _ = fs::remove_file(&copy);
    let service = &world.replica(0).service;
    until("the database is copied", || {
        service.administers(&["backup", &copy.display().to_string()]).status.success()
    });
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).expect("own file");
    copy
}
