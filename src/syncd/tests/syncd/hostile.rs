//! No answer of a key service empties or corrupts a cache, and each is named in status and log.

use crate::support::{Answer, Host, Service, entry, snapshot, with_type};

const NDJSON: &str = pushkeys_feed::SNAPSHOT_MEDIA_TYPE;
const EVENTS: &str = pushkeys_feed::CHANGES_MEDIA_TYPE;

fn entries(count: u64) -> Vec<pushkeys_feed::Entry> {
    (0..count).map(|number| entry(number, "acct_7")).collect()
}

fn good(count: u64) -> Answer {
    Answer::Tagged(format!("\"{count}\""), snapshot(0, &entries(count)))
}

/// The good snapshot of six keys with its lines changed by `change`.
fn changed(change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let text = String::from_utf8(snapshot(0, &entries(6))).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    with_type(NDJSON, (lines.join("\n") + "\n").as_bytes())
}

fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// What can be answered in place of a snapshot, and what the status must say of it.
fn hostile_answers() -> Vec<(Answer, &'static str)> {
    let whole = with_type(NDJSON, &snapshot(0, &entries(6)));
    let cut = whole.len() - 40;
    let without_length = |body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\nContent-Type: {NDJSON}\r\nConnection: close\r\n\r\n").as_bytes(), body]
            .concat()
    };
    let body = snapshot(0, &entries(6));
    let half = body.len() / 2;
    vec![
        (Answer::Bytes(with_type(NDJSON, b"")), "does not begin with the header"),
        (Answer::Bytes(Vec::new()), "cannot reach"),
        (Answer::Bytes(whole[..cut].to_vec()), "broke off"),
        (Answer::Bytes(without_length(&body[..half])), "without a trailer"),
        (Answer::Bytes(changed(|lines| lines.swap(2, 3))), "is not above the one before it"),
        (Answer::Bytes(changed(|lines| lines[2] = lines[2].replace("acct_7", "acct_8"))), "the digest"),
        (Answer::Bytes(changed(|lines| drop(lines.remove(2)))), "counts 6 entries, and 5 came"),
        (
            Answer::Bytes(changed(|lines| lines[0] = lines[0].replace("\"format\":1", "\"format\":2"))),
            "format 2",
        ),
        (Answer::Bytes(changed(|lines| lines.push("{}".into()))), "text after the trailer"),
        (Answer::Bytes(with_type("text/html", &body)), "content type `text/html`"),
        (Answer::Bytes(with_type(NDJSON, b"<html>it works</html>")), "does not begin with the header"),
        (Answer::Bytes(status("500 Internal Server Error")), "status 500"),
        (Answer::Bytes(status("401 Unauthorized")), "status 401; hint: "),
        (Answer::Bytes(status("302 Found\r\nLocation: /elsewhere")), "a redirect, which is not followed"),
        (Answer::Silence(Vec::new()), "was silent for 0.5 s"),
        (Answer::Silence(without_length(&body[..half])), "was silent for 0.5 s"),
        (Answer::Endless(without_length(b""), vec![b'x'; 4096]), "a line of the snapshot is longer than"),
    ]
}

/// Every row: the hostile answer changes nothing and is named; its good twin is taken.
fn check_rows(rows: impl Iterator<Item = (Answer, &'static str)>) {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll("silence_max = \"500ms\""));
    service.answer(good(10));
    host.start();
    host.wait_in_sync("web", 10);
    for (row, (answer, expected)) in rows.enumerate() {
        let before = host.bytes("web");
        service.answer(answer);
        let status = host.wait_for_error("web", expected);
        assert_eq!(status.keys, before_keys(row), "{expected}");
        host.wait_for_log(expected);
        assert!(host.bytes("web") == before, "`{expected}` has changed the cache");
        service.answer(good(before_keys(row) + 1));
        host.wait_in_sync("web", before_keys(row) + 1);
    }
    assert!(host.is_running());
}

fn before_keys(row: usize) -> u64 {
    10 + row as u64
}

#[test]
fn no_answer_in_place_of_a_snapshot_changes_the_cache_first_half() {
    check_rows(hostile_answers().into_iter().step_by(2));
}

#[test]
fn no_answer_in_place_of_a_snapshot_changes_the_cache_second_half() {
    check_rows(hostile_answers().into_iter().skip(1).step_by(2));
}

#[test]
fn no_answer_in_place_of_changes_changes_the_cache() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.feed("silence_max = \"500ms\""));
    service.holds(&entries(5));
    host.start();
    host.wait_in_sync("api", 5);
    let endless = vec![b'x'; 4096];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nConnection: close\r\n\r\n").into_bytes();
    let rows = [
        (Answer::Bytes(status("500 Internal Server Error")), "status 500"),
        (Answer::Bytes(with_type("text/html", b"event: reset\ndata: {}\n\n")), "content type `text/html`"),
        (Answer::Bytes(status("302 Found\r\nLocation: /elsewhere")), "a redirect"),
        (Answer::Bytes(head.clone()), "ended the stream"),
        (Answer::Silence(head.clone()), "was silent"),
        (Answer::Endless(head, endless), "the stream of changes is refused"),
    ];
    let shards = |host: &Host| -> Vec<_> {
        host.bytes("api").into_iter().filter(|(path, _)| !path.ends_with("HEAD")).collect()
    };
    for (answer, expected) in rows {
        let before = shards(&host);
        service.changes_answer(Some(answer));
        host.wait_for_error("api", expected);
        assert!(shards(&host) == before, "`{expected}` has changed the cache");
        service.changes_answer(None);
        host.wait_in_sync("api", 5);
    }
}

#[test]
fn a_key_that_stands_twice_is_left_out_and_the_others_are_taken() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll(""));
    // The last entry of one part of the snapshot and the first of the next are one key.
    let mut some = entries(600);
    some.sort_by_key(|entry| entry.fingerprint);
    let twice = [0, 300, 511, 512, 599].map(|place| some[place].clone());
    for mut entry in twice.clone() {
        entry.account = "acct_8".parse().unwrap();
        some.push(entry);
    }
    some.sort_by_key(|entry| entry.fingerprint);
    service.answer(Answer::Tagged("\"1\"".into(), snapshot(0, &some)));
    host.start();
    let status = host.wait_in_sync("web", 595);
    assert_eq!(status.skipped.count, 5, "{status:?}");
    assert!(status.skipped.recent[0].contains("it stands there more than once"), "{status:?}");
    let cache = pushkeys_cache::Cache::open(&host.cache()).unwrap();
    let found = |entry: &pushkeys_feed::Entry| {
        cache.source(&"web".parse().unwrap()).unwrap().find(&entry.fingerprint).unwrap().1
    };
    assert!(twice.iter().all(|entry| found(entry).is_none()));
    assert!(found(&some[1]).is_none() && found(&some[2]).is_some());
}

#[test]
fn one_malformed_entry_never_hurts_its_neighbours() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll(""));
    let mut some = entries(4);
    some[1].key = entry(99, "acct_7").key;
    some[2].key = "ssh-ed25519 AAAA".to_owned();
    service.answer(Answer::Tagged("\"1\"".into(), snapshot(0, &some)));
    host.start();
    let status = host.wait_in_sync("web", 2);
    assert_eq!(status.skipped.count, 2);
    assert!(
        status.skipped.recent.iter().any(|line| line.contains("the key's own fingerprint is")),
        "{status:?}"
    );
    assert_eq!((host.account("web", 0), host.account("web", 1)), (Some("acct_7".into()), None));
    host.wait_for_log("entry left out");
}
