//! An ssh-agent whose answers a test defines (draft-ietf-sshm-ssh-agent, the two requests that ssh makes).

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::Room;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// ssh's own limit (`MAX_AGENT_REPLY_LEN`).
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The answers of an agent.
pub trait AgentKeys: Send + 'static {
    /// The public keys to offer, as blobs. ssh asks after the key exchange, before its first offer.
    fn identities(&mut self) -> Vec<Vec<u8>>;

    /// A signature of `message` by the key `blob`, as a blob. ssh asks when sshd has accepted the offer of the key.
    fn sign(&mut self, blob: &[u8], message: &[u8]) -> Option<Vec<u8>>;
}

/// A running agent. Its thread ends with the process; its only resource is a socket.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    _room: Option<Room>,
}

impl Agent {
    /// Starts an agent with the answers of `keys`.
    #[must_use]
    pub fn start(keeper: impl AgentKeys) -> Self {
        let room = Room::temporary();
        let agent = Self::start_at(&room.join("agent"), keeper);
        Self { _room: Some(room), ..agent }
    }

    /// Starts an agent with its socket at `socket`, in the caller's folder.
    #[must_use]
    pub fn start_at(socket: &Path, keeper: impl AgentKeys) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket in an own directory");
        let keeper = Arc::new(Mutex::new(keeper));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keeper = Arc::clone(&keeper);
                thread::spawn(move || serve(stream, &*keeper));
            }
        });
        Self { socket: socket.to_owned(), _room: None }
    }

    /// The socket, for ssh's `IdentityAgent`.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn serve(mut stream: UnixStream, keeper: &Mutex<impl AgentKeys>) {
    // An error means that ssh disconnected.
    while let Ok(request) = read_message(&mut stream) {
        let reply = answer(&request, &mut *keeper.lock().unwrap_or_else(PoisonError::into_inner));
        if stream.write_all(&string(&reply)).is_err() {
            return;
        }
    }
}

fn answer(request: &[u8], keeper: &mut impl AgentKeys) -> Vec<u8> {
    match request.split_first() {
        Some((&REQUEST_IDENTITIES, _)) => {
            let blobs = keeper.identities();
            let count = u32::try_from(blobs.len()).expect("a few keys");
            let mut reply = vec![IDENTITIES_ANSWER];
            reply.extend(count.to_be_bytes());
            for blob in blobs {
                reply.extend(string(&blob));
                reply.extend(string(b"comment"));
            }
            reply
        }
        Some((&SIGN_REQUEST, rest)) => match sign(rest, keeper) {
            Some(signature) => [vec![SIGN_RESPONSE], string(&signature)].concat(),
            None => vec![FAILURE],
        },
        _ => vec![FAILURE],
    }
}

/// A request has the key's blob, the message, and flags, which only concern RSA.
fn sign(request: &[u8], keeper: &mut impl AgentKeys) -> Option<Vec<u8>> {
    let blob = first_string(request)?;
    let message = first_string(request.get(string(blob).len()..)?)?;
    keeper.sign(blob, message)
}

fn read_message(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn first_string(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

/// A string of the SSH protocols: its length in four bytes, and its bytes (RFC 4251 section 5).
#[must_use]
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short string");
    [&length.to_be_bytes(), bytes].concat()
}
