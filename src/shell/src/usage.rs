//! Reports the use of a key to the daemon, in one datagram.

use std::os::unix::net::UnixDatagram;

use pushkeys_cache::{USAGE_SOCKET, Used};
use pushkeys_keys::UseKind;

use crate::arguments::Arguments;
use crate::request::Access;
use crate::request::Request;

/// Reports that the key of `arguments` was used for `request`, if the daemon runs.
///
/// A session never fails or waits because of it: without a daemon, with a full socket or with a path too long for a socket,
/// this use is not reported.
pub(crate) fn report(arguments: &Arguments, request: &Request) {
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
