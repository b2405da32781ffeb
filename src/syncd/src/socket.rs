//! Sockets in the cache's folder, at which forced commands tell the daemon something in datagrams.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// The cache's group may write to a socket: it is that of the login as which the forced command runs.
const SOCKET_MODE: u32 = 0o660;

/// Gives each datagram that arrives at `path` to `take`, for ever. What is longer than `buffer` is cut. A socket that cannot be
/// opened, or fails, is opened again after `open_again`; the first time this is logged, after `consequence`.
pub(crate) fn receive(
    path: &Path,
    consequence: &str,
    open_again: Duration,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]),
) -> ! {
    let mut is_logged = false;
    loop {
        let error = match open(path) {
            Ok(socket) => receive_until_it_fails(&socket, buffer, &mut take),
            Err(error) => error,
        };
        // The first source to be opened makes the folder.
        if !is_logged && error.kind() != io::ErrorKind::NotFound {
            is_logged = true;
            tracing::warn!("{consequence}: cannot listen at `{}`: {error}", path.display());
        }
        std::thread::sleep(open_again);
    }
}

fn receive_until_it_fails(
    socket: &UnixDatagram,
    buffer: &mut [u8],
    take: &mut impl FnMut(&[u8]),
) -> io::Error {
    loop {
        match socket.recv(buffer) {
            Ok(length) => take(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
}

fn open(path: &Path) -> io::Result<UnixDatagram> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}
