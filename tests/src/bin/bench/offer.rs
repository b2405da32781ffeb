//! Offers a key to the real sshd with stock ssh, and acts just before sshd receives the offer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::time::Instant;

use pushkeys_tests::{Login, PushHost};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};

/// sshd's answer to an offer, and when ssh received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted(Instant),
    Refused(Instant),
}

/// Offers the public key in `<identity>.pub` to the host's sshd, and runs `before` after ssh has sent the offer and
/// before sshd receives it.
pub(crate) fn offer(host: &PushHost, identity: &Path, before: impl FnMut()) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let mut command = Login::through(&host.sshd, "git", port)
        .with_identity(identity)
        .with_arguments(&["-v"])
        .into_command();
    let mut ssh =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ssh");
    let stderr = ssh.stderr.take().expect("piped");
    fcntl_setfl(&stderr, OFlags::NONBLOCK).expect("own pipe");
    let (client, _) = listener.accept().expect("ssh connects");
    let server = TcpStream::connect(("127.0.0.1", host.sshd.port())).expect("sshd listens");
    let outcome = Connection::new(client, server, stderr).run(before);
    end(&mut ssh);
    outcome
}

fn end(ssh: &mut Child) {
    let _ = ssh.kill();
    let _ = ssh.wait();
}

/// The streams of ssh and sshd, and ssh's messages with `-v`.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    stderr: ChildStderr,
    messages: Vec<u8>,
}

impl Connection {
    fn new(client: TcpStream, server: TcpStream, stderr: ChildStderr) -> Self {
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("own socket");
        }
        Self { client, server, stderr, messages: Vec::new() }
    }

    /// Forwards data of both sides until ssh reports sshd's answer to its offer.
    fn run(mut self, mut before: impl FnMut()) -> Outcome {
        let mut is_offered = false;
        loop {
            let [from_client, from_server] = self.wait();
            let is_open = self.listen();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            assert!(is_open, "ssh ended before sshd answered: {}", String::from_utf8_lossy(&self.messages));
            if from_server {
                pass_on(&mut self.server, &mut self.client);
            }
            if from_client {
                // ssh reports an offer before it sends it, so its messages in the pipe include the one for these bytes.
                self.listen();
                if !is_offered && self.has_told("Offering public key") {
                    is_offered = true;
                    before();
                }
                pass_on(&mut self.client, &mut self.server);
            }
        }
    }

    fn wait(&self) -> [bool; 2] {
        let mut waiting = [
            PollFd::new(&self.client, PollFlags::IN),
            PollFd::new(&self.server, PollFlags::IN),
            PollFd::new(&self.stderr, PollFlags::IN),
        ];
        poll(&mut waiting, None).expect("three descriptors");
        let [client, server, _] = waiting.map(|descriptor| !descriptor.revents().is_empty());
        [client, server]
    }

    /// Reads ssh's messages so far. Returns whether more may follow.
    fn listen(&mut self) -> bool {
        match self.stderr.read_to_end(&mut self.messages) {
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let now = Instant::now();
        let messages = String::from_utf8_lossy(&self.messages);
        let (_, since_offer) = messages.split_once("Offering public key")?;
        if since_offer.contains("Server accepts key") {
            return Some(Outcome::Accepted(now));
        }
        since_offer.contains("Authentications that can continue").then_some(Outcome::Refused(now))
    }

    fn has_told(&self, what: &str) -> bool {
        String::from_utf8_lossy(&self.messages).contains(what)
    }
}

/// Moves the available data from one stream to the other.
fn pass_on(from: &mut TcpStream, to: &mut TcpStream) {
    // The rest is moved next time.
    let mut bytes = [0; 16 * 1024];
    let length = from.read(&mut bytes).expect("both sides stay connected until sshd answered");
    to.write_all(bytes.get(..length).expect("a part of it")).expect("both sides stay connected");
}
