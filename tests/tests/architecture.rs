//! The rules for dependencies between modules, for every crate; `make architecture` prints the dependencies.

use pushkeys_tests::architecture::{SERVER_STACK, crates};

#[test]
fn no_crate_has_a_cycle() {
    let crates = crates();
    assert!(crates.len() >= 12, "{} crates", crates.len());
    for (name, imports) in crates {
        assert!(imports.lines() > 0, "{name} was not read");
        assert_eq!(imports.circles(), [] as [&str; 0], "{name}");
    }
}

#[test]
fn no_module_of_the_server_uses_one_above_it() {
    let server = crates().into_iter().find(|(name, _)| name == "server").expect("the server");
    assert_eq!(server.1.upward(&SERVER_STACK), [] as [&str; 0]);
}
