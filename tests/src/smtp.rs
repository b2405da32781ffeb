//! Mail servers: a real one with TLS and a password, and a simple one that can refuse recipients.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::port::free_port;
use crate::{Certified, Process, Room, as_user, eventually};

/// A connection is closed after this time without data.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A received mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The recipient in the envelope.
    pub recipient: String,
    /// Headers and body, with lines that end in `\n`.
    pub text: String,
}

impl Mail {
    /// The value of a header on one line.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\n\n").next().unwrap_or_default();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Debug, Default)]
struct World {
    mails: Vec<Mail>,
    /// The response to `RCPT TO`.
    refusal: Option<String>,
    refused: usize,
    /// The clients' commands, without the mails.
    commands: Vec<String>,
}

/// A simple server, in plain text.
#[derive(Debug)]
pub struct Smtp {
    port: u16,
    world: Arc<Mutex<World>>,
}

impl Smtp {
    /// Starts a server that accepts everything.
    #[must_use]
    pub fn start() -> Self {
        let smtp = Self::absent();
        smtp.comes();
        smtp
    }

    /// A server that does not listen until [`Self::comes`].
    #[must_use]
    pub fn absent() -> Self {
        Self { port: free_port(), world: Arc::default() }
    }

    /// Begins to listen.
    pub fn comes(&self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("a free port");
        let serving = Arc::clone(&self.world);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = Arc::clone(&serving);
                thread::spawn(move || converse(&stream, &world));
            }
        });
    }

    /// The `[smtp]` table of the service for it.
    #[must_use]
    pub fn settings(&self) -> String {
        self.settings_with("tls = \"none\"\n")
    }

    /// The same with `settings` of TLS and credentials.
    #[must_use]
    pub fn settings_with(&self, settings: &str) -> String {
        table("127.0.0.1", self.port, settings)
    }

    /// Sets the response that refuses recipients; `None` accepts them.
    pub fn refuses(&self, answer: Option<&str>) {
        self.lock().refusal = answer.map(str::to_owned);
    }

    /// All received mails.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.lock().mails.clone()
    }

    /// The commands of all clients.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    /// How many recipients were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A real mail server, aiosmtpd, which accepts mail over TLS from the user `keys`.
#[derive(Debug)]
pub struct MailServer {
    process: Process,
    port: u16,
    _room: Room,
}

impl MailServer {
    /// Starts a server that uses TLS as in the setting `smtp.tls`, `begins`.
    #[must_use]
    pub fn start(begins: &str, certified: &Certified, password: &str) -> Self {
        let room = Room::temporary();
        let certificate = room.write("certificate.pem", &certified.certificate);
        let key = room.write("key.pem", &certified.key);
        let mut command = as_user("root", "/usr/bin/python3");
        command.args(["-c", include_str!("mail_server.py"), begins]).arg(certificate).arg(key).arg(password);
        let process = Process::spawn("aiosmtpd", command, &room.join("mail.log"));
        let port = eventually("the mail server names its port", || {
            written_lines(&process, "port").next()?.get("port")?.as_u64()
        });
        Self { process, port: u16::try_from(port).expect("a port"), _room: room }
    }

    /// The `[smtp]` table of the service for it, by the name `host`, with additional `settings` of TLS and credentials.
    #[must_use]
    pub fn settings_at(&self, host: &str, settings: &str) -> String {
        table(host, self.port, settings)
    }

    /// The received mails: `recipient`, `text`, `sender`, and TLS's `protocol`.
    #[must_use]
    pub fn mails(&self) -> Vec<Value> {
        written_lines(&self.process, "recipient").collect()
    }
}

/// The lines that the server's script has written with `member`.
fn written_lines(process: &Process, member: &'static str) -> impl Iterator<Item = Value> {
    let log = process.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines.into_iter().filter(move |line| line.get(member).is_some())
}

fn table(host: &str, port: u16, settings: &str) -> String {
    format!(
        "[smtp]\nhost = \"{host}\"\nport = {port}\nfrom = \"pushkeys <keys@example.com>\"\n\
         contact = \"support@example.com\"\n{settings}"
    )
}

fn converse(stream: &TcpStream, world: &Mutex<World>) {
    let _ = stream.set_read_timeout(Some(SILENCE_MAX));
    let mut reader = BufReader::new(stream);
    let mut stream = stream;
    let mut say = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes()).is_ok();
    let mut recipient = String::new();
    let mut line = String::new();
    let mut is_open = say("220 mail.example.com");
    while is_open {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let command = line.trim_end().to_ascii_uppercase();
        world.lock().unwrap_or_else(PoisonError::into_inner).commands.push(command.clone());
        is_open = if command.starts_with("RCPT TO:") {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            line.trim_end()
                .trim_start_matches("RCPT TO:")
                .trim_matches(['<', '>'])
                .clone_into(&mut recipient);
            match world.refusal.clone() {
                Some(refusal) => {
                    world.refused += 1;
                    say(&refusal)
                }
                None => say("250 yes"),
            }
        } else if command == "DATA" {
            if !say("354 go on") {
                return;
            }
            let Some(text) = read_mail(&mut reader) else { return };
            let mail = Mail { recipient: recipient.clone(), text };
            world.lock().unwrap_or_else(PoisonError::into_inner).mails.push(mail);
            say("250 taken")
        } else if command == "QUIT" {
            say("221 bye");
            false
        } else {
            say("250 yes")
        };
    }
}

/// Lines until a single dot, with dot-stuffing removed.
fn read_mail(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut text = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "." => return Some(text),
            said => {
                text.push_str(said.strip_prefix('.').unwrap_or(said));
                text.push('\n');
            }
        }
    }
}
