//! The cache as its writer and its readers meet it, on a real file system.

#![expect(
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

mod distrust;
mod sources;
mod world;
mod writing;
