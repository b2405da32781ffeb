//! What is shipped beside the programs.

use std::path::Path;
use std::process::Command;

use pushkeys_tests::run;

#[test]
fn what_sshd_starts_is_linked_from_the_listed_crates_alone() {
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let finished = run(Command::new(repository.join("scripts/linked-crates")).arg("--check"));
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
}
