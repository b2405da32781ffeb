//! TLS to what the key service uses, with certificates of the test's own authority.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails, also in a helper that is no test itself"
)]

mod database;
