//! A hostile key service. It must not be able to empty a cache, to restore removed keys, or to make a host send endless
//! requests.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pushkeys_tests::Room;
use serde_json::json;

use super::{Choice, End, Fault, USUAL, Victim};
use crate::conditions::{CALM, Excuses, SNAPSHOT_RECOVERY};
use crate::foreign::{Attack, Entry, Foreign, KEYS, NDJSON, STREAM, chunk, event, ok, snapshot};
use crate::world::{World, snapshot_at};

/// The maximum number of snapshots that a host requests during the fault.
const SNAPSHOTS_MAX: usize = 10;
/// The pause between two parts of an endless response.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause between two bytes of a slow response.
const CRAWL: Duration = Duration::from_millis(500);
/// The size of the parts of a slow snapshot, each followed by a pause below the host's `silence_max`.
const DRIP_BYTES: usize = 80;
const DRIP_PAUSE: Duration = Duration::from_secs(2);
/// Longer than a daemon's watchdog for a stuck task.
const DRIP_TIME: Duration = Duration::from_secs(340);
/// `WatchdogSec` of the unit.
const WATCHDOG: Duration = Duration::from_secs(30);
const ENDLESS_BYTES: usize = 64 * 1024;
/// The number of entries that each snapshot of an erosion omits: each alone is below `shrink_max`.
const ERODED: usize = 9;
/// The age of an old snapshot in changes.
const OLDER: u64 = 50;
/// The number of changes in a forged sequence.
const AHEAD: u64 = 1_000;

/// The time in which a daemon is in sync again after its start.
const START_MAX: Duration = Duration::from_secs(10);

/// The host uses up its snapshots, and has to wait for the next one.
const ASKS_AGAIN: Excuses = Excuses { recovery: SNAPSHOT_RECOVERY, ..Excuses::NONE };
const REPLAY: Excuses = Excuses { recovery: SNAPSHOT_RECOVERY, ..Excuses::HOST };

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "hostile-removals",
        about: "a foreign service removes every key: by events, by entries that cannot be read, or by one snapshot after the other",
        victim: Victim::Host,
        variants: &["remove-all", "unreadable", "erosion"],
        seconds: (6, 12),
        excuses: Excuses { shrunk: true, ..ASKS_AGAIN },
        status: &["other"],
        weight: 3,
        begin: begin_attack,
        ..USUAL
    },
    Fault {
        name: "hostile-history",
        about: "a foreign service sends outdated data: an older snapshot, an epoch that it had left, events that run \
                backwards, leave a gap, or are of another epoch",
        victim: Victim::Host,
        variants: &["old-snapshot", "old-epoch", "backwards", "gap", "other-epoch"],
        seconds: (6, 12),
        excuses: ASKS_AGAIN,
        status: &["other"],
        weight: 3,
        begin: begin_attack,
        ..USUAL
    },
    Fault {
        name: "hostile-answers",
        about: "a foreign service's answers are cut, empty, of another kind, out of order, garbage or errors",
        victim: Victim::Host,
        variants: &["empty", "cut", "nothing", "html", "garbage", "unordered", "endless-line", "error"],
        seconds: (6, 12),
        excuses: ASKS_AGAIN,
        status: &["other"],
        weight: 2,
        begin: begin_attack,
        ..USUAL
    },
    Fault {
        name: "hostile-pace",
        about: "a foreign service's snapshot does not end, or comes byte by byte: a sync that takes its time, for a while",
        victim: Victim::Host,
        variants: &["endless-body", "crawling"],
        seconds: (6, 12),
        excuses: ASKS_AGAIN,
        weight: 1,
        begin: begin_attack,
        ..USUAL
    },
    Fault {
        name: "hostile-resets",
        about: "a foreign service asks for a snapshot again and again, after a heartbeat or a good change",
        victim: Victim::Host,
        variants: &["after-heartbeat", "after-change", "at-once"],
        seconds: (12, 15),
        excuses: ASKS_AGAIN,
        weight: 2,
        begin: begin_attack,
        ..USUAL
    },
    Fault {
        name: "hostile-drip",
        about: "a foreign service's snapshot comes some bytes every two seconds: slow is not stuck, so the daemon goes on \
                telling the service manager that it lives. Takes minutes: only by name",
        victim: Victim::Host,
        variants: &["drip"],
        seconds: (1, 2),
        excuses: Excuses::HOST,
        weight: 0,
        begin: drip_and_watch,
        ..USUAL
    },
    Fault {
        name: "replayed-snapshot",
        about: "an attacker between a host and the service requests a snapshot, and sends one from 20 s ago",
        victim: Victim::Host,
        seconds: (6, 10),
        excuses: REPLAY,
        status: &["api"],
        begin: replay,
        ..USUAL
    },
];

const ATTACKS: &[Attack] = &[
    Attack { name: "remove-all", snapshot: None, changes: Some(remove_all) },
    Attack { name: "unreadable", snapshot: None, changes: Some(unreadable) },
    Attack { name: "erosion", snapshot: Some(erosion), changes: Some(heartbeat_and_reset) },
    Attack { name: "old-snapshot", snapshot: Some(old_snapshot), changes: None },
    Attack { name: "old-epoch", snapshot: Some(old_epoch), changes: Some(heartbeat_and_reset) },
    Attack { name: "backwards", snapshot: None, changes: Some(backwards) },
    Attack { name: "gap", snapshot: None, changes: Some(gap) },
    Attack { name: "other-epoch", snapshot: None, changes: Some(other_epoch) },
    Attack { name: "empty", snapshot: Some(empty), changes: None },
    Attack { name: "cut", snapshot: Some(cut), changes: None },
    Attack { name: "nothing", snapshot: Some(|stream, _| stream.write_all(&ok(NDJSON, ""))), changes: None },
    Attack {
        name: "html",
        snapshot: Some(|stream, _| {
            stream.write_all(&ok("text/html", "<!doctype html><title>Sign in</title>"))
        }),
        changes: None,
    },
    Attack { name: "garbage", snapshot: Some(garbage), changes: None },
    Attack { name: "unordered", snapshot: Some(unordered), changes: None },
    Attack { name: "endless-line", snapshot: None, changes: Some(endless_line) },
    Attack { name: "endless-body", snapshot: Some(endless_body), changes: None },
    Attack { name: "crawling", snapshot: Some(crawling), changes: None },
    Attack { name: "error", snapshot: Some(error), changes: Some(error) },
    Attack { name: "drip", snapshot: Some(drip), changes: None },
    Attack { name: "after-heartbeat", snapshot: None, changes: Some(heartbeat_and_reset) },
    Attack { name: "after-change", snapshot: None, changes: Some(change_and_reset) },
    Attack { name: "at-once", snapshot: None, changes: None },
];

fn begin_attack(world: &mut World, choice: &Choice) -> End {
    refill_snapshots(world, choice.victim);
    attack(world, choice)
}

/// Restarts the daemon, which may then ask for as many snapshots as if there had been no fault before.
fn refill_snapshots(world: &mut World, victim: usize) {
    let shared = Arc::clone(&world.shared);
    let host = world.host(victim);
    host.kill_syncd();
    host.start_syncd();
    let began = Instant::now();
    while began.elapsed() < START_MAX && !host.push.pushkeys(&["status"]).status.success() {
        shared.rest(PAUSE);
    }
}

fn attack(world: &mut World, choice: &Choice) -> End {
    let attack =
        ATTACKS.iter().find(|attack| attack.name == choice.variant).expect("an answer for each variant");
    let victim = choice.victim;
    let host = world.host(victim);
    host.foreign.set_attack(Some(*attack));
    host.foreign_way.closes_connections();
    Box::new(move |world| {
        let shared = Arc::clone(&world.shared);
        let host = world.host(victim);
        let actor = format!("push-{}", victim + 1);
        let asked = {
            let mut state = host.foreign.state();
            // Its next changes are newer than all that it sent.
            state.sequence += AHEAD;
            (state.snapshots, state.streams)
        };
        host.foreign.set_attack(None);
        host.foreign_way.closes_connections();
        let requests = format!("asked the foreign service for {} snapshots and {} streams", asked.0, asked.1);
        shared.log.say(&actor, &requests);
        if asked.0 > SNAPSHOTS_MAX {
            shared.log.violation(&actor, &requests, Instant::now());
        }
    })
}

fn drip_and_watch(world: &mut World, choice: &Choice) -> End {
    let victim = choice.victim;
    let room = Room::temporary();
    let path = room.join("notify");
    let socket = UnixDatagram::bind(&path).expect("own directory");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("own socket");
    socket.set_nonblocking(true).expect("own socket");
    world.host(victim).kill_syncd();
    // The host's copy of the foreign service is to be synced first.
    let end = attack(world, choice);
    world.host(victim).start_syncd_watched(&path);
    let (began, mut heard, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    world.expects("the daemon goes on saying that it lives", DRIP_TIME + WATCHDOG, move |_| {
        longest = longest.max(heard.elapsed());
        let mut message = [0; 4096];
        while let Ok(length) = socket.recv(&mut message) {
            if String::from_utf8_lossy(message.get(..length).unwrap_or_default()).contains("WATCHDOG=1") {
                heard = Instant::now();
            }
        }
        if longest <= WATCHDOG && began.elapsed() > DRIP_TIME {
            return Ok(());
        }
        Err(format!("at its longest, it said nothing for {} s", longest.as_secs()))
    });
    Box::new(move |world| {
        end(world);
        let host = world.host(victim);
        host.kill_syncd();
        host.start_syncd();
        drop(room);
    })
}

fn replay(world: &mut World, choice: &Choice) -> End {
    let (shared, victim) = (Arc::clone(&world.shared), choice.victim);
    let (url, token) = (world.replica(0).service.url(), world.host(victim).token());
    let recorded = snapshot_at(&url, &token, Duration::from_secs(10)).expect("nothing else is wrong");
    // Keys that were removed since are removed on every host.
    shared.rest(CALM + Duration::from_secs(5));
    let replaying = Foreign::start();
    replaying.state().replayed = Some(recorded);
    let active = shared.conditions.begin(REPLAY, victim);
    let link = &world.host(victim).link;
    link.leads_to(vec![format!("127.0.0.1:{}", replaying.port())]);
    link.closes_connections();
    shared.log.say(&format!("push-{}", victim + 1), "is answered with an old snapshot from now on");
    Box::new(move |world| {
        let addresses = world.addresses();
        let link = &world.host(victim).link;
        link.leads_to(addresses);
        link.closes_connections();
        world.shared.conditions.end(active);
        drop(replaying);
    })
}

/// Sends `text` and then heartbeats, until the fault ends.
fn goes_on(stream: &mut TcpStream, foreign: &Foreign, text: &str) -> io::Result<()> {
    stream.write_all(STREAM)?;
    stream.write_all(&chunk(text))?;
    while foreign.is_attacking() {
        stream.write_all(&chunk(&foreign.state().heartbeat()))?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn remove_all(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let state = foreign.state();
    let removals = state.entries.iter().zip(1..).map(|(entry, number)| {
        let data = json!({ "fingerprint": entry.fingerprint.to_string() }).to_string();
        event("remove", &data, Some(&state.id(number)))
    });
    let removals: String = removals.collect();
    drop(state);
    goes_on(stream, foreign, &removals)
}

fn unreadable(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let state = foreign.state();
    let puts = state.entries.iter().zip(1..).map(|(entry, number)| {
        let data = json!({
            "fingerprint": entry.fingerprint.to_string(), "key": "x", "account": "other_0", "key_id": "key_0",
        });
        event("put", &data.to_string(), Some(&state.id(number)))
    });
    let puts: String = puts.collect();
    drop(state);
    goes_on(stream, foreign, &puts)
}

/// Each snapshot is newer than the previous one, and has fewer keys.
fn erosion(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let mut state = foreign.state();
    state.sequence += 1;
    let left = state.entries.len().saturating_sub(ERODED * state.snapshots).max(1);
    let text = snapshot(&state.epoch, state.sequence, state.entries.get(..left).unwrap_or_default());
    drop(state);
    stream.write_all(&ok(NDJSON, &text))
}

/// An older snapshot of the same epoch, with keys that were removed since.
fn old_snapshot(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let state = foreign.state();
    let text = snapshot(&state.epoch, state.sequence - OLDER, &state.with_ghosts());
    drop(state);
    stream.write_all(&ok(NDJSON, &text))
}

/// A valid new epoch, and then the previous one again.
fn old_epoch(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let mut state = foreign.state();
    let text = if state.snapshots == 1 {
        let left = std::mem::take(&mut state.epoch);
        state.epoch = format!("{left}x");
        state.snapshot()
    } else {
        let left = state.epoch.strip_suffix('x').unwrap_or_default().to_owned();
        snapshot(&left, state.sequence + OLDER, &state.with_ghosts())
    };
    drop(state);
    stream.write_all(&ok(NDJSON, &text))
}

/// The removed keys as events with these ids.
fn ghosts(foreign: &Foreign, id: impl Fn(i64) -> String) -> String {
    let state = foreign.state();
    let puts =
        state.ghosts.iter().zip(1..).map(|(entry, number)| event("put", &entry.json, Some(&id(number))));
    puts.collect()
}

fn backwards(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let (epoch, sequence) = place(foreign);
    let text = ghosts(foreign, |number| format!("{epoch}-{}", sequence.saturating_add_signed(-number)));
    goes_on(stream, foreign, &text)
}

fn gap(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let (epoch, sequence) = place(foreign);
    let text = ghosts(foreign, |number| format!("{epoch}-{}", sequence.saturating_add_signed(10 * number)));
    goes_on(stream, foreign, &text)
}

fn other_epoch(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let (_, sequence) = place(foreign);
    let text = ghosts(foreign, |number| format!("elsewhere-{}", sequence.saturating_add_signed(number)));
    goes_on(stream, foreign, &text)
}

fn place(foreign: &Foreign) -> (String, u64) {
    let state = foreign.state();
    (state.epoch.clone(), state.sequence)
}

fn empty(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let (epoch, sequence) = place(foreign);
    stream.write_all(&ok(NDJSON, &snapshot(&epoch, sequence + 1, &[])))
}

fn cut(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let text = foreign.state().snapshot();
    let half: String = text.split_inclusive('\n').take(KEYS / 2).collect();
    stream.write_all(&ok(NDJSON, &half))
}

fn garbage(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let text = foreign.state().snapshot().replace("\"account\"", "\"acc\u{0}ount\"");
    stream.write_all(&ok(NDJSON, &text))
}

fn unordered(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let (epoch, sequence) = place(foreign);
    let mut entries: Vec<Entry> = foreign.state().entries.clone();
    entries.reverse();
    stream.write_all(&ok(NDJSON, &snapshot(&epoch, sequence + 1, &entries)))
}

fn endless_line(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    stream.write_all(STREAM)?;
    let text = "x".repeat(ENDLESS_BYTES);
    while foreign.is_attacking() {
        stream.write_all(&chunk(&text))?;
    }
    Ok(())
}

fn endless_body(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let header = foreign.state().snapshot();
    stream.write_all(&chunk(&format!("{}\n", header.lines().next().unwrap_or_default())))?;
    let text = "{}\n".repeat(ENDLESS_BYTES / 3);
    while foreign.is_attacking() {
        stream.write_all(&chunk(&text))?;
    }
    Ok(())
}

fn crawling(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let text = foreign.state().snapshot();
    for byte in ok(NDJSON, &text) {
        if !foreign.is_attacking() {
            break;
        }
        stream.write_all(&[byte])?;
        thread::sleep(CRAWL);
    }
    Ok(())
}

fn drip(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let text = foreign.state().snapshot();
    for piece in text.as_bytes().chunks(DRIP_BYTES) {
        if !foreign.is_attacking() {
            break;
        }
        stream.write_all(&chunk(&String::from_utf8_lossy(piece)))?;
        thread::sleep(DRIP_PAUSE);
    }
    Ok(())
}

fn error(stream: &mut TcpStream, _: &Foreign) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater")
}

fn heartbeat_and_reset(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    stream.write_all(STREAM)?;
    stream.write_all(&chunk(&foreign.state().heartbeat()))?;
    thread::sleep(PAUSE / 10);
    stream.write_all(&chunk(&event("reset", "{}", None)))?;
    thread::sleep(PAUSE / 4);
    Ok(())
}

/// A valid change of an unchanged key, and then a request to take a snapshot.
fn change_and_reset(stream: &mut TcpStream, foreign: &Foreign) -> io::Result<()> {
    let mut state = foreign.state();
    state.sequence += 1;
    let (id, entry) = (state.id(0), state.entries.first().expect("some keys").json.clone());
    drop(state);
    stream.write_all(STREAM)?;
    stream.write_all(&chunk(&event("put", &entry, Some(&id))))?;
    thread::sleep(PAUSE / 10);
    stream.write_all(&chunk(&event("reset", "{}", None)))?;
    thread::sleep(PAUSE / 4);
    Ok(())
}
