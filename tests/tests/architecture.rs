//! The rules about which module uses which, for every crate: `make architecture` prints what they are held against.

use pushkeys_tests::architecture::{SERVER_STACK, crates};

#[test]
fn no_crate_has_a_circle() {
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
