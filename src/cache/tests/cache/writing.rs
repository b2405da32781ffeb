//! What is written is what is read, whatever comes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::{World, api, apply, entry, fingerprint, forever, take};
use proptest::prelude::*;
use pushkeys_cache::{Applied, Cache, Change, Difference, Entry, ReadError, WriteError, Writer};

/// Every key of `0..universe` is as `model` says, every shard is without a fault, and HEAD counts right.
#[track_caller]
fn check(world: &World, model: &BTreeMap<u32, Entry>, universe: u32) {
    for number in 0..universe {
        assert_eq!(world.find(&fingerprint(number)).unwrap().as_ref(), model.get(&number), "key {number}");
    }
    let source = Cache::open(&world.path()).unwrap().source(&api()).unwrap();
    for index in 0..source.shard_count() {
        let report = source.scan_shard(index, &mut Vec::new(), |_, line| line.entry().map(drop));
        assert!(report.into_result().is_ok());
    }
    assert_eq!(source.head().keys, model.len() as u64);
    assert_eq!(source.entries().count(), model.len());
}

#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<(u32, Option<u32>)>),
    Snapshot(Vec<(u32, u32)>),
    Reopen,
}

const UNIVERSE: u32 = 40;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let batch = prop::collection::vec((0..UNIVERSE, prop::option::of(0..3_u32)), 0..12).prop_map(Step::Batch);
    let snapshot = prop::collection::vec((0..UNIVERSE, 0..3_u32), 0..30).prop_map(Step::Snapshot);
    prop::collection::vec(prop_oneof![4 => batch, 1 => snapshot, 1 => Just(Step::Reopen)], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cache_holds_what_was_put_into_it_last(steps in steps()) {
        let world = World::with(Vec::new());
        let mut writer = world.writer();
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(writer);
                    writer = world.writer();
                }
                Step::Snapshot(pairs) => {
                    model = pairs.into_iter().map(|(number, holder)| (number, entry(number, holder))).collect();
                    take(&mut writer, model.values().cloned().collect(), Some("e-1")).unwrap();
                }
                Step::Batch(pairs) => {
                    let changes: Vec<Change> = pairs.iter().map(|&(number, holder)| match holder {
                        Some(holder) => Change::Put(entry(number, holder)),
                        None => Change::Remove(fingerprint(number)),
                    }).collect();
                    let before = model.clone();
                    for (number, holder) in pairs {
                        match holder {
                            Some(holder) => drop(model.insert(number, entry(number, holder))),
                            None => drop(model.remove(&number)),
                        }
                    }
                    let applied = apply(&mut writer, &changes, "e-2");
                    let added = model.keys().filter(|number| !before.contains_key(number)).count() as u64;
                    let removed = before.keys().filter(|number| !model.contains_key(number)).count() as u64;
                    let changed = model.iter().filter(|(number, new)| before.get(number).is_some_and(|old| old != *new)).count() as u64;
                    prop_assert_eq!(applied, Applied { added, changed, removed });
                    prop_assert_eq!(apply(&mut writer, &changes, "e-2"), Applied::default(), "applied again");
                }
            }
            check(&world, &model, UNIVERSE);
        }
    }
}

#[test]
fn shards_multiply_with_the_keys_in_them() {
    let world = World::with((0..100).map(|number| entry(number, 0)).collect());
    let mut writer = world.writer();
    assert_eq!(writer.head().unwrap().bits, 0);
    let changes: Vec<Change> = (100..1500).map(|number| Change::Put(entry(number, 1))).collect();
    apply(&mut writer, &changes, "e-9");
    let head = writer.head().unwrap();
    assert_eq!((head.bits, head.keys, head.cursor.as_deref()), (3, 1500, Some("e-9")));
    let model = (0..1500).map(|number| (number, entry(number, u32::from(number >= 100)))).collect();
    check(&world, &model, 1600);
}

#[test]
fn a_large_generation_is_sharded_by_estimate() {
    let world = World::with((0..8_000).map(|number| entry(number, 0)).collect());
    assert_eq!(world.writer().head().unwrap().bits, 5);
    let model = (0..8_000).map(|number| (number, entry(number, 0))).collect();
    check(&world, &model, 8_100);
}

#[test]
fn keys_chosen_to_mislead_the_estimate_end_in_shards_of_the_right_size() {
    // More than the estimate is made from begin with a small byte, and few others follow.
    let numbers: Vec<u32> =
        (0..300_000).filter(|&number| fingerprint(number).leading_bits(8) < 4 || number < 300).collect();
    let world = World::with(numbers.iter().map(|&number| entry(number, 0)).collect());
    let keys = numbers.len() as u64;
    let head = world.writer().head().cloned().unwrap();
    assert_eq!(head.keys, keys);
    let right = keys.div_ceil(256).next_power_of_two().trailing_zeros();
    assert!(u32::from(head.bits).abs_diff(right) <= 1, "{} bits for {keys} keys", head.bits);
    for &number in numbers.iter().step_by(97) {
        assert_eq!(world.find(&fingerprint(number)).unwrap(), Some(entry(number, 0)));
    }
}

#[test]
fn what_a_snapshot_would_change_is_known_before_it_is_taken() {
    let world = World::with((0..1000).map(|number| entry(number, 0)).collect());
    let mut writer = world.writer();
    let mut next = writer.begin().unwrap();
    let mut entries: Vec<Entry> = (100..3000).map(|number| entry(number, u32::from(number < 150))).collect();
    entries.sort_by_key(|entry| entry.fingerprint);
    for entry in entries {
        next.push(entry).unwrap();
    }
    let prepared = next.finish().unwrap();
    let difference = prepared.difference(writer.in_force().unwrap().as_ref()).unwrap();
    assert_eq!(difference, Difference { added: 2000, removed: 100, changed: 50, kept: 850 });
    drop(prepared);
    check(&world, &(0..1000).map(|number| (number, entry(number, 0))).collect(), 3000);
    let folders =
        std::fs::read_dir(world.file("")).unwrap().filter(|file| file.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 1, "the generation that was not taken is gone");
}

#[test]
fn a_generation_out_of_order_is_refused() {
    let world = World::with(vec![entry(1, 0)]);
    let mut writer = world.writer();
    let mut next = writer.begin().unwrap();
    let mut entries = [entry(1, 0), entry(2, 0)];
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.fingerprint));
    next.push(entries[0].clone()).unwrap();
    assert!(matches!(next.push(entries[1].clone()), Err(WriteError::Order)));
    assert!(matches!(next.push(entries[0].clone()), Err(WriteError::Order)));
}

#[test]
fn a_source_has_one_writer() {
    let world = World::with(Vec::new());
    let writer = world.writer();
    assert!(matches!(Writer::open(&world.path(), &api()), Err(WriteError::Locked(_))));
    drop(writer);
    assert!(Writer::open(&world.path(), &api()).is_ok());
}

#[test]
fn what_a_killed_writer_left_is_removed() {
    let world = World::with(vec![entry(1, 0)]);
    let in_force = world.writer().head().unwrap().generation;
    std::fs::create_dir(world.file("g99")).unwrap();
    std::fs::write(world.file("g99/0"), "half").unwrap();
    std::fs::write(world.file(".new-HEAD"), "half").unwrap();
    let mut writer = world.writer();
    assert!(!world.file("g99").exists() && !world.file(".new-HEAD").exists());
    assert_eq!(writer.head().unwrap().generation, in_force);
    take(&mut writer, vec![entry(2, 0)], None).unwrap();
    assert!(writer.head().unwrap().generation > 99, "a number is never used twice");
}

#[test]
fn a_shard_that_is_newer_than_head_is_counted_right() {
    let world = World::with(vec![entry(1, 0)]);
    let old_head = std::fs::read(world.file("HEAD")).unwrap();
    let change = [Change::Put(entry(2, 0))];
    apply(&mut world.writer(), &change, "e-2");
    // As after a crash between the shard and HEAD.
    std::fs::write(world.file("HEAD"), old_head).unwrap();
    let mut writer = world.writer();
    assert_eq!(writer.head().unwrap().keys, 2);
    assert_eq!(apply(&mut writer, &change, "e-2"), Applied::default());
    check(&world, &(1..3).map(|number| (number, entry(number, 0))).collect(), 5);
}

#[test]
fn a_damaged_shard_is_healed_by_the_next_snapshot() {
    let world = World::with(vec![entry(1, 0), entry(2, 0)]);
    let generation = world.writer().head().unwrap().generation;
    std::fs::write(world.file(format!("g{generation}/0")), "damage").unwrap();
    let mut writer = world.writer();
    assert!(writer.fault().is_some());
    assert_eq!(writer.head().unwrap().cursor, None, "a full sync is due");
    let result = writer.apply(&[Change::Remove(fingerprint(1))], Some("e-2"), forever());
    assert!(matches!(result, Err(WriteError::InForce(ReadError::Damaged { .. }))), "{result:?}");
    take(&mut writer, vec![entry(2, 0)], Some("e-2")).unwrap();
    assert!(writer.fault().is_none());
    check(&world, &BTreeMap::from([(2, entry(2, 0))]), 3);
}

#[test]
fn a_damaged_last_line_makes_a_full_sync_due() {
    let world = World::with(vec![entry(1, 0)]);
    let shard = world.file(format!("g{}/0", world.writer().head().unwrap().generation));
    let mut bytes = std::fs::read(&shard).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let writer = world.writer();
    assert!(writer.fault().is_some());
    assert_eq!(writer.head().unwrap().cursor, None);
}

#[test]
fn a_removed_source_is_no_longer_consulted() {
    let world = World::with(vec![entry(1, 0)]);
    let local = "local".parse().unwrap();
    let mut writer = Writer::open(&world.path(), &local).unwrap();
    take(&mut writer, vec![entry(1, 1)], None).unwrap();
    assert!(world.ask("git", &fingerprint(1)).unwrap_err().contains("source `local` to `acct_1`"));
    writer.remove_source().unwrap();
    assert_eq!(world.ask("git", &fingerprint(1)), Ok(Some("acct_0".to_owned())));
    assert_eq!(std::fs::read_dir(world.path()).unwrap().count(), 3, "api, SOURCES and its lock");
}

#[test]
fn readers_see_the_old_or_the_new_and_nothing_else() {
    let world = World::with((0..600).map(|number| entry(number, 0)).collect());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2_u32)
            .map(|reader| {
                let (world, stop) = (&world, &stop);
                scope.spawn(move || {
                    for (answers, number) in (0..600).cycle().skip(reader as usize * 300).enumerate() {
                        if stop.load(Ordering::Relaxed) && answers >= 600 {
                            return;
                        }
                        let found = world.find(&fingerprint(number)).unwrap().unwrap();
                        assert_eq!(found, entry(number, found.account.as_str()[5..].parse().unwrap()));
                    }
                })
            })
            .collect();
        let mut writer = world.writer();
        for round in 1..40_u32 {
            if round % 3 == 0 {
                take(&mut writer, (0..600).map(|number| entry(number, round)).collect(), None).unwrap();
            } else {
                let changes: Vec<Change> =
                    (0..600).step_by(7).map(|number| Change::Put(entry(number, round))).collect();
                apply(&mut writer, &changes, "e-1");
            }
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_burst_that_touches_most_shards_is_read_as_the_old_or_the_new() {
    const KEYS: u32 = 10_000;
    let world = World::with((0..KEYS).map(|number| entry(number, 0)).collect());
    let mut writer = world.writer();
    assert_eq!(writer.head().unwrap().bits, 6);
    let touched: BTreeSet<_> = (0..KEYS).step_by(9).map(fingerprint).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut answers = 0;
            while !stop.load(Ordering::Relaxed) || answers < 600 {
                let number = answers * 17 % KEYS;
                let found = world.find(&fingerprint(number)).unwrap().unwrap();
                assert_eq!(found, entry(number, found.account.as_str()[5..].parse().unwrap()));
                assert_eq!(world.find(&fingerprint(KEYS + number)).unwrap(), None);
                answers += 1;
            }
        });
        let scanner = scope.spawn(|| {
            let (mut scans, mut buffer) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) || scans < 20 {
                let source = Cache::open(&world.path()).unwrap().source(&api());
                for index in 0..64 {
                    // All keys that a round changes are changed at once.
                    let mut rounds = BTreeSet::new();
                    let report = source.as_ref().unwrap().scan_shard(index, &mut buffer, |_, line| {
                        let entry = line.entry()?;
                        if touched.contains(&entry.fingerprint) {
                            rounds.insert(entry.account.to_string());
                        }
                        Ok(())
                    });
                    assert!(report.into_result().is_err() || rounds.len() <= 1, "{rounds:?}");
                }
                scans += 1;
            }
        });
        for round in 1..8_u32 {
            let generation = writer.head().unwrap().generation;
            let changes: Vec<Change> =
                (0..KEYS).step_by(9).map(|number| Change::Put(entry(number, round))).collect();
            let applied = apply(&mut writer, &changes, "e-2");
            assert_eq!(applied, Applied { added: 0, changed: changes.len() as u64, removed: 0 });
            assert_ne!(writer.head().unwrap().generation, generation, "one rewrite of everything");
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        scanner.join().unwrap();
    });
    let removed: Vec<Change> =
        (0..KEYS).step_by(2).map(|number| Change::Remove(fingerprint(number))).collect();
    apply(&mut writer, &removed, "e-3");
    drop(writer);
    drop(world.writer());
    let holder = |number: u32| if number.is_multiple_of(9) { 7 } else { 0 };
    let model = (0..KEYS).skip(1).step_by(2).map(|number| (number, entry(number, holder(number)))).collect();
    check(&world, &model, KEYS);
    let folders =
        std::fs::read_dir(world.file("")).unwrap().filter(|file| file.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 1, "the spare does not outlive its writer");
}

#[test]
fn a_file_that_becomes_another_generations_while_it_is_read_is_no_answer() {
    let world = World::with((0..3).map(|number| entry(number, 0)).collect());
    let source = Cache::open(&world.path()).unwrap().source(&api()).unwrap();
    let shard = world.file(format!("g{}/0", source.head().generation));
    let text = std::fs::read_to_string(&shard).unwrap();
    // The first line of the next generation stands already, all other bytes are still the old ones.
    let next = World::with((0..3).map(|number| entry(number, 0)).collect());
    take(&mut next.writer(), (0..3).map(|number| entry(number, 0)).collect(), None).unwrap();
    let next_shard = next.file(format!("g{}/0", next.writer().head().unwrap().generation));
    let next_text = std::fs::read_to_string(next_shard).unwrap();
    let (first, rest) = (next_text.lines().next().unwrap(), text.split_once('\n').unwrap().1);
    std::fs::write(&shard, format!("{first}\n{rest}")).unwrap();
    assert!(matches!(source.find(&fingerprint(1)), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_snapshot_that_is_held_back_waits_for_a_persons_word() {
    let world = World::with(vec![entry(1, 0)]);
    let mut writer = world.writer();
    let now: jiff::Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let held =
        pushkeys_cache::Held { since: now, keys_in_force: 100, keys_offered: 10, removed: 95, added: 5 };
    assert_eq!(pushkeys_cache::held(&world.path(), &api()).unwrap(), None);
    writer.hold(&held).unwrap();
    assert_eq!(pushkeys_cache::held(&world.path(), &api()).unwrap(), Some(held));
    assert_eq!(writer.acceptance(now).unwrap(), None);

    pushkeys_cache::accept(&world.path(), &api(), &held, now).unwrap();
    assert_eq!(writer.acceptance(now).unwrap().unwrap().removed_max, 95);
    assert_eq!(writer.acceptance(now + jiff::SignedDuration::from_hours(1)).unwrap(), None);

    let later = pushkeys_cache::Held { since: now + jiff::SignedDuration::from_mins(1), removed: 94, ..held };
    writer.hold(&later).unwrap();
    let since = pushkeys_cache::held(&world.path(), &api()).unwrap().unwrap().since;
    assert_eq!(since, now, "since when it has been held is not forgotten");
    writer.release().unwrap();
    assert_eq!(pushkeys_cache::held(&world.path(), &api()).unwrap(), None);
    assert_eq!(writer.acceptance(now).unwrap(), None);
}
