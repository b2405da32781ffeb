//! A key service with many keys, and files of keys, for most benchmarks.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use pushkeys_tests::{Room, Service, SyntheticKeys};
use serde_json::json;

/// Accounts have a few keys each.
const KEYS_PER_ACCOUNT: usize = 4;
/// A million keys take some seconds.
pub(crate) const IMPORT_TIME_MAX: Duration = Duration::from_mins(10);

/// The seed of the keys that exist before a measurement.
pub(crate) const RESIDENTS: u64 = 1;
/// The seed of the keys that are added during a measurement.
pub(crate) const NEWCOMERS: u64 = 2;

/// Registers `count` keys of `seed` at `service`, for accounts whose names begin with `prefix`.
pub(crate) fn import(service: &Service, room: &Room, seed: u64, count: usize) {
    let path = room.join(&format!("import-{seed}.ndjson"));
    let mut file = BufWriter::new(File::create(&path).expect("own file"));
    for (number, key) in SyntheticKeys::new(seed).take(count).enumerate() {
        let (account, name) = (number / KEYS_PER_ACCOUNT, number % KEYS_PER_ACCOUNT);
        let line = json!({"account": format!("user-{seed}-{account}"), "name": format!("key-{name}"), "key": key.text});
        writeln!(file, "{line}").expect("room on the disk");
    }
    file.into_inner().expect("room on the disk");
    let _ = service
        .administers_within(&["import", "--create", &path.display().to_string()], IMPORT_TIME_MAX)
        .output();
    fs::remove_file(path).expect("own file");
}

/// A file of `count` keys of `seed`, one per line, for ssh-keygen.
pub(crate) fn write_public_keys(room: &Room, seed: u64, count: usize) -> PathBuf {
    let path = room.join("keys.pub");
    let mut file = BufWriter::new(File::create(&path).expect("own file"));
    for key in SyntheticKeys::new(seed).take(count) {
        writeln!(file, "{}", key.text).expect("room on the disk");
    }
    file.into_inner().expect("room on the disk");
    path
}

/// The peak resident memory of the process `pid` in KiB (`VmHWM` of proc(5)); `None` if it has ended.
pub(crate) fn resident_peak_kib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
