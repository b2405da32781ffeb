//! What the reader refuses: damage, and whatever others could have written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::world::{World, entry, fingerprint};
use proptest::prelude::*;
use pushkeys_cache::ReadError;

const KEYS: u32 = 6;

fn world() -> (World, PathBuf) {
    let world = World::with((0..KEYS).map(|number| entry(number, number)).collect());
    let generation = world.writer().head().unwrap().generation;
    let shard = world.file(format!("g{generation}/0"));
    (world, shard)
}

/// Keys that the cache does not hold: one before all that it holds, one after them, and some between.
static STRANGERS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let of = |number: &u32| fingerprint(*number).to_text();
    let first = (KEYS..1000).min_by_key(of).unwrap();
    let last = (KEYS..1000).max_by_key(of).unwrap();
    [first, last].into_iter().chain(KEYS..2 * KEYS).collect()
});

/// Whatever happened to the file, an answer is the key's own entry, and "unknown" is said of unknown keys only.
/// Gives the number of keys for which there was no answer.
#[track_caller]
fn check_never_wrong(world: &World, what: &str) -> usize {
    let mut refused = 0;
    for number in (0..KEYS).chain(STRANGERS.iter().copied()) {
        match world.find(&fingerprint(number)) {
            Ok(found) => {
                assert_eq!(found, (number < KEYS).then(|| entry(number, number)), "{what}, key {number}");
            }
            Err(ReadError::Damaged { .. } | ReadError::Missing(_)) => refused += 1,
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
    refused
}

#[test]
fn a_flipped_bit_in_a_shard_never_changes_an_answer() {
    let (world, shard) = world();
    let bytes = fs::read(&shard).unwrap();
    let mut noticed = 0;
    for position in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        fs::write(&shard, &flipped).unwrap();
        noticed += usize::from(check_never_wrong(&world, &format!("byte {position}")) > 0);
    }
    assert_eq!(noticed, bytes.len(), "each of them makes some key's answer a refusal");
    fs::write(&shard, &bytes).unwrap();
    assert_eq!(check_never_wrong(&world, "as written"), 0);
}

#[test]
fn a_shard_that_was_cut_short_never_makes_a_key_unknown() {
    let (world, shard) = world();
    let bytes = fs::read(&shard).unwrap();
    for length in 0..bytes.len() - 1 {
        fs::write(&shard, &bytes[..length]).unwrap();
        assert!(check_never_wrong(&world, &format!("cut at {length}")) > 0);
    }
}

#[test]
fn a_shard_in_the_place_of_another_is_refused() {
    let world = World::with((0..600).map(|number| entry(number, number)).collect());
    let generation = world.writer().head().unwrap().generation;
    let shard = |name: &str| world.file(format!("g{generation}/{name}"));
    fs::copy(shard("0"), shard("1")).unwrap();
    let moved: Vec<u32> = (0..600).filter(|&number| fingerprint(number).leading_bits(2) == 1).collect();
    for number in moved {
        assert!(matches!(world.find(&fingerprint(number)), Err(ReadError::Damaged { .. })), "key {number}");
    }
}

#[test]
fn a_missing_shard_or_generation_is_damage_and_no_unknown_key() {
    let (world, shard) = world();
    fs::remove_file(&shard).unwrap();
    assert!(world.ask("git", &fingerprint(0)).unwrap_err().contains("it is missing, though HEAD says"));
    fs::remove_dir(shard.parent().unwrap()).unwrap();
    assert!(world.ask("git", &fingerprint(0)).unwrap_err().contains("it is missing, though HEAD says"));
    fs::remove_file(world.file("HEAD")).unwrap();
    assert!(world.ask("git", &fingerprint(0)).unwrap_err().contains("there is no"));
}

#[test]
fn a_flipped_bit_in_head_is_a_refusal() {
    let (world, _) = world();
    let bytes = fs::read(world.file("HEAD")).unwrap();
    for position in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        fs::write(world.file("HEAD"), &flipped).unwrap();
        assert_eq!(check_never_wrong(&world, &format!("byte {position}")), 2 * KEYS as usize + 2);
    }
    fs::write(world.file("HEAD"), "x".repeat(1_000_000)).unwrap();
    assert_eq!(check_never_wrong(&world, "a huge HEAD"), 2 * KEYS as usize + 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_in_any_order_or_number_never_give_a_wrong_answer(picks in prop::collection::vec(0..KEYS as usize + 2, 0..40)) {
        let (world, shard) = world();
        let bytes = fs::read(&shard).unwrap();
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        let shuffled: Vec<u8> = picks.iter().flat_map(|&pick| lines[pick].to_vec()).collect();
        fs::write(&shard, shuffled).unwrap();
        for number in 0..2 * KEYS {
            if let Ok(Some(found)) = world.find(&fingerprint(number)) {
                prop_assert_eq!(found, entry(number, number));
            }
        }
    }

    #[test]
    fn any_bytes_in_place_of_a_shard_are_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let (world, shard) = world();
        fs::write(&shard, &bytes).unwrap();
        for number in 0..KEYS {
            prop_assert!(world.find(&fingerprint(number)).is_err());
        }
    }
}

#[test]
fn what_others_could_have_written_is_refused() {
    let (world, shard) = world();
    let generation = shard.parent().unwrap().to_owned();
    for path in [world.path(), world.file(""), world.file("HEAD"), generation, shard] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        for bit in [0o020, 0o002] {
            fs::set_permissions(&path, Permissions::from_mode(mode | bit)).unwrap();
            let error = world.ask("git", &fingerprint(0)).unwrap_err();
            let command = format!("hint: chmod go-w {}", path.components().as_path().display());
            assert!(error.contains("is writable by group or others") && error.contains(&command), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(world.ask("git", &fingerprint(0)), Ok(Some("acct_0".to_owned())));
    }
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives files away, which only root may: run it as root"
    );
    let (world, shard) = world();
    let generation = shard.parent().unwrap().to_owned();
    for path in [world.file(""), world.file("HEAD"), generation, shard] {
        chown(&path, Some(12345), None).unwrap();
        let error = world.ask("git", &fingerprint(0)).unwrap_err();
        assert!(error.contains("belongs to user 12345, not to user 0; hint: chown 0 "), "{error}");
        chown(&path, Some(0), None).unwrap();
    }
    assert_eq!(world.ask("git", &fingerprint(0)), Ok(Some("acct_0".to_owned())));
}

#[test]
fn links_are_not_followed() {
    let (world, shard) = world();
    let generation = shard.parent().unwrap().to_owned();
    for path in [world.file("HEAD"), shard, generation, world.path().join("api"), world.path()] {
        let moved = path.with_extension("moved");
        fs::rename(&path, &moved).unwrap();
        symlink(&moved, &path).unwrap();
        assert!(world.ask("git", &fingerprint(0)).is_err(), "{}", path.display());
        fs::remove_file(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
    }
    assert_eq!(world.ask("git", &fingerprint(0)), Ok(Some("acct_0".to_owned())));
}

#[test]
fn a_pipe_in_place_of_a_file_is_not_waited_for() {
    let (world, shard) = world();
    fs::remove_file(&shard).unwrap();
    let status = std::process::Command::new("mkfifo").args(["-m", "640"]).arg(&shard).status().unwrap();
    assert!(status.success());
    let error = world.ask("git", &fingerprint(0)).unwrap_err();
    assert!(error.contains("is not a regular file"), "{error}");
}
