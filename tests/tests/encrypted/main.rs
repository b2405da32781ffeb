//! TLS to servers that the key service uses: its database and its mail server. Both are real, with certificates of the
//! test's own CA.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails, also in a helper that is no test itself"
)]

mod database;
mod mail;
