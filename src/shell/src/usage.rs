//! Telling the daemon that a key was used, by one datagram that nothing waits for.

use std::os::unix::net::UnixDatagram;

use pushkeys_cache::{USAGE_SOCKET, Used};
use pushkeys_keys::UseKind;

use crate::arguments::Arguments;
use crate::request::Access;
use crate::request::Request;

/// Says that the key of `arguments` was used for `request`, if the daemon is there and listens.
///
/// A session never fails or waits for it. Without a daemon, with a full socket or with a path that is too long for one, this
/// use is not told; the next one may be.
pub(crate) fn tell(arguments: &Arguments, request: &Request) {
    let kind = match request {
        Request::Shell => UseKind::Check,
        Request::Git(command) => of_access(command.service.access()),
        Request::Lfs(command) => of_access(command.operation.access()),
        Request::Malformed(..) | Request::Other(_) => return,
    };
    let Arguments { account, key_id, fingerprint, .. } = arguments;
    let used = Used { fingerprint: *fingerprint, account: account.clone(), key_id: key_id.clone(), kind };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_ok() {
        let _ = socket.send_to(used.to_text().as_bytes(), arguments.cache.join(USAGE_SOCKET));
    }
}

fn of_access(access: Access) -> UseKind {
    match access {
        Access::Write => UseKind::Push,
        Access::Read => UseKind::Fetch,
    }
}
