//! A mail server that keeps what comes, or refuses it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A client that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A mail as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Of the envelope.
    pub recipient: String,
    /// Headers and body, as they were sent, with lines that end in `\n`.
    pub text: String,
}

impl Mail {
    /// The value of a header that stands in one line.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\n\n").next().unwrap_or_default();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Debug, Default)]
struct World {
    mails: Vec<Mail>,
    /// What `RCPT TO` is answered with.
    refusal: Option<String>,
    refused: usize,
}

/// The server.
#[derive(Debug)]
pub struct Smtp {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Smtp {
    /// Starts a server that takes everything.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let world = Arc::<Mutex<World>>::default();
        let serving = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = Arc::clone(&serving);
                thread::spawn(move || converse(&stream, &world));
            }
        });
        Self { address, world }
    }

    /// The server's `[smtp]` for it.
    #[must_use]
    pub fn settings(&self) -> String {
        format!(
            "[smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"pushkeys <keys@example.com>\"\n\
             contact = \"support@example.com\"\n",
            self.address.port()
        )
    }

    /// Recipients are answered with this line from now on; `None`: they are taken.
    pub fn refuses(&self, answer: Option<&str>) {
        self.lock().refusal = answer.map(str::to_owned);
    }

    /// All that came.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.lock().mails.clone()
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

fn converse(stream: &TcpStream, world: &Mutex<World>) {
    let _ = stream.set_read_timeout(Some(SILENCE_MAX));
    let mut reader = BufReader::new(stream);
    let mut stream = stream;
    let mut say = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes()).is_ok();
    let mut recipient = String::new();
    let mut line = String::new();
    let mut is_heard = say("220 mail.example.com");
    while is_heard {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let command = line.trim_end().to_ascii_uppercase();
        is_heard = if command.starts_with("RCPT TO:") {
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

/// Lines until a single dot; a dot that was doubled is one again.
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
