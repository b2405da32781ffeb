//! Fuzzes the file of revocations: a lookup gets exactly what was written, and a damaged file is an error.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use pushkeys_cache::{Cache, REVOKED_FILE, Revocations, Revoked};
use pushkeys_keys::Fingerprint;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

struct World {
    folder: tempfile::TempDir,
    written: Vec<u8>,
    revocations: Revocations,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let now = jiff::Timestamp::UNIX_EPOCH;
    pushkeys_cache::change_revocations(folder.path(), |all| {
        for number in 0..4_u8 {
            all.add(Revoked::Key(Fingerprint::of(&[number])), now);
            all.add(Revoked::Account(format!("acct_{number}").parse().unwrap()), now);
        }
    })
    .unwrap();
    let written = std::fs::read(folder.path().join(REVOKED_FILE)).unwrap();
    let revocations = read(folder.path()).unwrap();
    World { folder, written, revocations }
});

fn read(folder: &Path) -> Result<Revocations, pushkeys_cache::ReadError> {
    Cache::open(folder).unwrap().revocations()
}

/// `body` with its right checksum, so that the code after the checksum is reached, too.
fn with_checksum(body: &[u8]) -> Vec<u8> {
    let sum: String = Sha256::digest(body).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    [body, b"checksum=", sum.as_bytes(), b"\n"].concat()
}

// The first byte chooses whether the rest replaces the contents, overwrites them at some offset, or becomes lines
// with a right checksum.
fuzz_target!(|data: &[u8]| {
    let [choice, offset, bytes @ ..] = data else { return };
    let World { folder, written, revocations } = &*WORLD;
    let content = match choice % 3 {
        0 => bytes.to_vec(),
        1 => {
            let mut content = written.clone();
            let start = usize::from(*offset) * content.len() / 256;
            content.iter_mut().skip(start).zip(bytes).for_each(|(byte, change)| *byte ^= change);
            content
        }
        _ => with_checksum(&[b"format=1\n", bytes].concat()),
    };
    let path = folder.path().join(REVOKED_FILE);
    std::fs::write(&path, &content).unwrap();
    match read(folder.path()) {
        // A file that can be read is written again without a difference.
        Ok(found) => {
            if choice % 3 == 1 {
                assert_eq!(&found, revocations, "damage is noticed");
            }
            let kept: Vec<_> = found.iter().cloned().collect();
            assert!(kept.is_sorted_by(|one, next| one.what < next.what));
            for revocation in &kept {
                assert_eq!(found.of(&revocation.what), Some(revocation));
            }
        }
        Err(error) => assert!(matches!(error, pushkeys_cache::ReadError::Damaged { .. }), "{error}"),
    }
    std::fs::write(&path, written).unwrap();
});
