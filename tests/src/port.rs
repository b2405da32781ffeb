//! Loopback ports that stay one's own over a restart.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which Linux takes the ports of outgoing connections (`ip_local_port_range`): a client that
/// connects again and again to a stopped server could be given that server's port, and even reach itself there.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// Far enough apart that tests which start at the same moment seldom try the same port.
const STRIDE: u32 = 7;

/// Another process may bind a port between [`free_port`] and the server that it is meant for.
pub(crate) const ATTEMPTS_MAX: usize = 10;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that nobody listens on at this moment.
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
