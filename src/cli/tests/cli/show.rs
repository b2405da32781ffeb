use crate::fixture::{ANA, CY, Host, UNKNOWN, entry};

#[test]
fn everything_known_of_a_key_is_shown() {
    let host = Host::with_keys();
    insta::assert_snapshot!("show", host.pushkeys(&["show", ANA]).is(0));
    insta::assert_snapshot!("show_json", host.pushkeys(&["show", "--json", ANA]).is(0));
}

#[test]
fn both_sources_of_a_key_are_shown() {
    let host = Host::with_keys();
    host.put("api", [entry(CY, "acct_3", "key_3")]);
    let shown = host.pushkeys(&["show", CY]).is(0);
    assert!(shown.contains("acct_3") && shown.contains("ops"), "{shown}");
}

#[test]
fn an_unknown_key_is_a_no() {
    let host = Host::with_keys();
    let shown = host.pushkeys(&["show", UNKNOWN]).is(1);
    assert!(shown.ends_with("source `api` does not have it\n\nsource `local` does not have it\n"), "{shown}");
}

#[test]
fn a_source_that_cannot_be_read_hides_no_other() {
    let host = Host::with_keys();
    std::fs::write(host.cache().join("api/HEAD"), "format=1\n").unwrap();
    let shown = host.pushkeys(&["show", CY]).is(0);
    assert!(shown.contains("source `api`: `[cache]/api/HEAD` is damaged: a line cannot be read"), "{shown}");
    assert!(shown.contains("source `local`\n  account  ops\n"), "{shown}");
}
