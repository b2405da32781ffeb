//! Loopback ports that a server keeps over a restart.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's range of ports for outgoing connections (`ip_local_port_range`): a client that reconnects repeatedly
/// to a stopped server could otherwise get that server's port, and even connect to itself.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// Tests that start at the same moment seldom try the same port.
const STRIDE: u32 = 7;

/// Another process may bind a port between [`free_port`] and the start of its server.
pub(crate) const ATTEMPTS_MAX: usize = 10;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that is free at this moment.
pub(crate) fn free_port() -> u16 {
    for _ in 0..COUNT {
        let number =
            NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(STRIDE));
        let port = u16::try_from(FIRST + number % COUNT).expect("below 32,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("all of {COUNT} ports are taken");
}
