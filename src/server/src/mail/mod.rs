//! Mails about changes to accounts, sent beside requests and never within one.
//!
//! A mail is in the database from the moment of its change until a server took it, so it survives restarts, and may
//! come twice when one happens between the two; its `Message-ID` is the same then. Any replica sends it.

mod settings;
mod text;

use std::time::Duration;

use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::settings::{Settings, Tls};
use self::text::{Places, Text};
use crate::config::ConfigError;
use crate::log::chain;
use crate::store::{Store, StoreError, WaitingMail};

/// How long one mail may take on its way to the server, and each word of the two.
const SEND_TIME_MAX: Duration = Duration::from_mins(1);
const WORD_TIME_MAX: Duration = Duration::from_secs(20);
/// For how long nobody else takes a mail that is being sent.
const LEASE: Duration = Duration::from_mins(2);
/// How often the queue is looked at when nothing tells of a change: another replica may have made one.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The least time between two looks, however many changes are made.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Time until the second attempt, which doubles with each one, up to the longest.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const DELAY_MAX: Duration = Duration::from_hours(4);
/// After how many days a mail is given up.
const AGE_HOURS_MAX: i64 = 3 * 24;
/// RFC 3834: no answer is wanted.
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

const _: () = assert!(SEND_TIME_MAX.as_secs() < LEASE.as_secs(), "nobody else sends what is being sent");

/// Why mails cannot be sent.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// Our password at the mail server.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system's certificates cannot be read, or the server's name is none.
    #[error("cannot prepare a connection to the mail server `{host}`")]
    Tls {
        /// The server.
        host: String,
        /// What went wrong.
        source: lettre::transport::smtp::Error,
    },
}

/// Why one mail was not sent.
#[derive(Debug, Error)]
enum SendError {
    #[error("the address is none that mail is sent to")]
    Address(#[from] lettre::address::AddressError),
    #[error("cannot write the mail")]
    Message(#[from] lettre::error::Error),
    #[error("the mail server took too long")]
    TooSlow,
    #[error("the mail server did not take it")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

impl SendError {
    /// Whether another attempt could do no better: there is no such mailbox.
    fn is_final(&self) -> bool {
        match self {
            Self::Address(_) | Self::Message(_) => true,
            Self::TooSlow => false,
            Self::Smtp(error) => {
                error.status().is_some_and(|code| matches!(u16::from(code), 550 | 551 | 553))
            }
        }
    }
}

/// Sends what waits in the store.
pub struct Sender {
    store: Store,
    settings: Settings,
    console: Option<String>,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Sender {
    /// A sender to the server of `settings`, whose mails lead to the console at `console`.
    pub fn new(store: Store, settings: &Settings, console: Option<String>) -> Result<Self, PrepareError> {
        let host = settings.host.clone();
        let failed = |source| PrepareError::Tls { host: host.clone(), source };
        let parameters = || TlsParameters::new(host.clone()).map_err(failed);
        let (tls, usual_port) = match settings.tls {
            Tls::Starttls => (LettreTls::Required(parameters()?), 587),
            Tls::Implicit => (LettreTls::Wrapper(parameters()?), 465),
            Tls::None => (LettreTls::None, 25),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port.unwrap_or(usual_port))
            .tls(tls)
            .timeout(Some(WORD_TIME_MAX));
        if let Some((username, password)) = settings.credentials()? {
            builder = builder.credentials(Credentials::new(username, password));
        }
        Ok(Self { store, settings: settings.clone(), console, transport: builder.build() })
    }

    /// Sends until `stopping`. What is on its way then is sent again after the next start, unless it arrived.
    pub async fn run(self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.send_all() => {}
        }
    }

    async fn send_all(&self) {
        let mut commits = self.store.commits();
        loop {
            match self.store.take_mail(LEASE).await {
                Ok(Some(mail)) => self.deliver(&mail).await,
                Ok(None) => {
                    // Whether a change or the time ended it, the queue is looked at.
                    let _ = timeout(LOOK_EVERY, commits.changed()).await;
                    sleep(LOOK_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!("mails cannot be read: {}", chain(&error));
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn deliver(&self, mail: &WaitingMail) {
        let id = mail.id.as_str();
        let noted = match self.send(mail).await {
            Ok(()) => {
                tracing::info!(mail = id, "a mail was sent");
                self.store.drop_mail(id).await
            }
            Err(error) if error.is_final() || is_too_old(mail) => {
                tracing::warn!(mail = id, "a mail was given up: {}", chain(&error));
                self.store.drop_mail(id).await
            }
            Err(error) => self.try_later(mail, &error).await,
        };
        if let Err(error) = noted {
            tracing::error!(mail = id, "what became of a mail cannot be noted: {}", chain(&error));
        }
    }

    async fn try_later(&self, mail: &WaitingMail, error: &SendError) -> Result<(), StoreError> {
        let delay = delay(mail.attempts);
        tracing::warn!(
            mail = mail.id,
            attempts = mail.attempts,
            "a mail was not sent, and is tried again in {} s: {}",
            delay.as_secs(),
            chain(error),
        );
        self.store.delay_mail(&mail.id, delay).await
    }

    async fn send(&self, mail: &WaitingMail) -> Result<(), SendError> {
        let message = self.message(mail)?;
        timeout(SEND_TIME_MAX, self.transport.send(message)).await.map_err(|_| SendError::TooSlow)??;
        Ok(())
    }

    fn message(&self, mail: &WaitingMail) -> Result<Message, SendError> {
        let places = Places { console: self.console.as_deref(), contact: self.settings.contact.as_deref() };
        let Text { subject, body } = Text::of(mail, &places);
        let domain = self.settings.from.email.domain();
        let message = Message::builder()
            .from(self.settings.from.clone())
            .to(mail.recipient.parse()?)
            .message_id(Some(format!("<{}@{domain}>", mail.id)))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN);
        Ok(message.body(body)?)
    }
}

/// How long a mail waits after so many attempts.
fn delay(attempts: u64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(DELAY_MAX)
}

fn is_too_old(mail: &WaitingMail) -> bool {
    Timestamp::now().duration_since(mail.change.at).as_hours() >= AGE_HOURS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_and_never_cease_before_their_time() {
        assert_eq!(delay(1), FIRST_DELAY);
        assert_eq!(delay(2), FIRST_DELAY * 2);
        assert_eq!(delay(100), DELAY_MAX);
        assert_eq!(delay(u64::MAX), DELAY_MAX);
    }
}
