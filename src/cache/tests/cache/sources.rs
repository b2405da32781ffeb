//! Only the sources that writers have named count, and a cache that says no more which they are has no answer.

use std::path::Path;
use std::process::Command;

use pushkeys_cache::{Cache, ReadError, Writer, set_sources};
use sha2::{Digest as _, Sha256};

use crate::world::{World, api, entry, fingerprint, take};

fn copy(world: &World, to: &str) {
    let status =
        Command::new("cp").arg("-a").arg(world.path().join("api")).arg(world.path().join(to)).status();
    assert!(status.unwrap().success());
}

/// HEAD of the source as the version before wrote it.
fn as_version_1(head: &Path) {
    let text = std::fs::read_to_string(head).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("notes=") && !line.starts_with("checksum="));
    let covered: String = lines.map(|line| line.replace("format=2", "format=1") + "\n").collect();
    let sum = format!("{:x}", Sha256::digest(&covered));
    std::fs::write(head, format!("{covered}checksum={}\n", &sum[..16])).unwrap();
}

#[test]
fn a_folder_that_was_copied_is_no_source() {
    let world = World::with(vec![entry(1, 1), entry(2, 1)]);
    copy(&world, "api-old");
    take(&mut world.writer(), vec![entry(2, 1)], Some("e-2")).unwrap();
    assert_eq!(world.ask("git", &fingerprint(1)), Ok(None));
    assert_eq!(world.ask("git", &fingerprint(2)), Ok(Some("acct_1".into())));
    let cache = Cache::open(&world.path()).unwrap();
    assert_eq!(cache.sources().unwrap(), [api()]);
    assert_eq!(cache.strangers().unwrap(), ["api-old".parse().unwrap()]);
    set_sources(&world.path(), &[api(), "api-old".parse().unwrap()]).unwrap();
    assert_eq!(world.ask("git", &fingerprint(1)), Ok(Some("acct_1".into())), "a twin that counts does");
}

#[test]
fn without_its_list_of_sources_a_cache_has_no_answer() {
    let world = World::with(vec![entry(1, 1)]);
    let list = world.path().join("SOURCES");
    let bytes = std::fs::read(&list).unwrap();
    for damage in [&b"format=1\nother\n"[..], b"", &bytes[1..]] {
        std::fs::write(&list, damage).unwrap();
        for number in [1, 2] {
            assert!(world.ask("git", &fingerprint(number)).unwrap_err().contains("SOURCES` is damaged"));
        }
    }
    std::fs::remove_file(&list).unwrap();
    for number in [1, 2] {
        assert!(world.ask("git", &fingerprint(number)).unwrap_err().contains("SOURCES` is damaged"));
    }
    let unnamed = Cache::open(&world.path()).unwrap().sources();
    assert!(matches!(unnamed, Err(ReadError::Damaged { .. })), "{unnamed:?}");
    set_sources(&world.path(), &[api()]).unwrap();
    assert_eq!(world.ask("git", &fingerprint(1)), Ok(Some("acct_1".into())));
}

#[test]
fn a_cache_of_the_version_before_answers_while_it_is_taken_over() {
    let world = World::with(vec![entry(1, 1)]);
    copy(&world, "local");
    std::fs::remove_file(world.path().join("SOURCES")).unwrap();
    as_version_1(&world.file("HEAD"));
    as_version_1(&world.path().join("local/HEAD"));
    let check = |when: &str| {
        assert_eq!(world.ask("git", &fingerprint(1)), Ok(Some("acct_1".into())), "{when}");
        assert_eq!(world.ask("git", &fingerprint(2)), Ok(None), "{when}");
        assert_eq!(Cache::open(&world.path()).unwrap().sources().unwrap().len(), 2, "{when}");
    };
    check("before");
    let mut writer = world.writer();
    check("with one writer");
    take(&mut writer, vec![entry(1, 1)], Some("e-2")).unwrap();
    check("with a new HEAD");
    Writer::open(&world.path(), &"local".parse().unwrap()).unwrap();
    check("after");
}

#[test]
fn a_source_that_is_removed_no_longer_counts() {
    let world = World::with(vec![entry(1, 1)]);
    let local = Writer::open(&world.path(), &"local".parse().unwrap()).unwrap();
    assert!(world.ask("git", &fingerprint(2)).is_err(), "its first sync is not done");
    local.remove_source().unwrap();
    assert_eq!(world.ask("git", &fingerprint(2)), Ok(None));
    assert_eq!(Cache::open(&world.path()).unwrap().sources().unwrap(), [api()]);
}
