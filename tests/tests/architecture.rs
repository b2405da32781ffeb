//! The rules about which module uses which, for every crate: `make architecture` prints what they are held against.

use pushkeys_tests::architecture::crates;

/// Crates that still have circles. One that has none any more is taken off this list.
const UNTIDY: [&str; 2] = ["cli", "server"];

#[test]
fn no_crate_has_a_circle() {
    let crates = crates();
    assert!(crates.len() >= 11, "{} crates", crates.len());
    for (name, imports) in crates {
        assert!(imports.lines() > 0, "{name} was not read");
        let is_untidy = UNTIDY.contains(&name.as_str());
        assert_eq!(imports.circles().is_empty(), !is_untidy, "{name}: {:#?}", imports.circles());
    }
}
