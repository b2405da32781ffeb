//! Mails about changes to accounts, sent beside requests and never within one.
//!
//! A mail is in the database from the moment of its change until a server took it, so it survives restarts, and may
//! come twice when one happens between the two; its `Message-ID` is the same then. Any replica sends it.
//!
//! A server that takes one mail and not another is asked for that one ever more rarely. A server that takes none, since
//! it is away, is not who it should be, or does not let us in, is left alone for a while, and all mails wait. Then our
//! password and the authorities are read anew: they may be what was wrong.

mod settings;
mod text;
mod transport;

use std::time::Duration;

use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::{AsyncTransport as _, Message};
use pushkeys_keys::{ErrorReport, Hint};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::settings::Settings;
use self::text::{Places, Text};
use self::transport::Transport;
pub(crate) use self::transport::{PrepareError, check};
use crate::store::{Store, StoreError, WaitingMail};

/// How long one mail may take on its way to the server.
const SEND_TIME_MAX: Duration = Duration::from_mins(1);
/// For how long nobody else takes a mail that is being sent.
const LEASE: Duration = Duration::from_mins(2);
/// How often the queue is looked at when nothing tells of a change: another replica may have made one.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The least time between two looks, however many changes are made.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Time until the second attempt, which doubles with each one, up to the longest.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const DELAY_MAX: Duration = Duration::from_hours(4);
/// The longest time for which a server that takes no mail is left alone, which begins with [`FIRST_DELAY`] too.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// After how many days a mail is given up.
const AGE_HOURS_MAX: i64 = 3 * 24;
/// RFC 3834: no answer is wanted.
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

const _: () = assert!(SEND_TIME_MAX.as_secs() < LEASE.as_secs(), "nobody else sends what is being sent");

/// Why one mail was not sent.
#[derive(Debug, Error)]
enum SendError {
    #[error("the address is none that mail is sent to")]
    Address(#[from] lettre::address::AddressError),
    #[error("cannot write the mail")]
    Message(#[from] lettre::error::Error),
    #[error("the mail server took too long")]
    TooSlow,
    // What it says holds its cause already.
    #[error("{error}")]
    Smtp {
        error: lettre::transport::smtp::Error,
        #[source]
        hint: Option<Hint>,
    },
}

impl SendError {
    /// Whether another attempt could do no better: there is no such mailbox.
    fn is_final(&self) -> bool {
        match self {
            Self::Address(_) | Self::Message(_) => true,
            Self::TooSlow => false,
            Self::Smtp { error, .. } => matches!(transport::status(error), Some(550 | 551 | 553)),
        }
    }

    /// Whether no other mail could be sent either: the server did not answer, is not who it should be, or did not let
    /// us in.
    fn is_of_server(&self) -> bool {
        match self {
            Self::Address(_) | Self::Message(_) => false,
            Self::TooSlow => true,
            Self::Smtp { error, .. } => {
                matches!(transport::status(error), None | Some(421 | 432 | 454 | 530 | 534 | 535 | 538))
            }
        }
    }
}

/// Sends what waits in the store.
pub(crate) struct Sender {
    store: Store,
    settings: Settings,
    console: Option<String>,
    transport: Transport,
}

impl Sender {
    /// A sender to the server of `settings`, whose mails lead to the console at `console`.
    pub(crate) fn new(
        store: Store,
        settings: &Settings,
        console: Option<String>,
    ) -> Result<Self, PrepareError> {
        let transport = transport::prepare(settings)?;
        Ok(Self { store, settings: settings.clone(), console, transport })
    }

    /// Sends until `stopping`. What is on its way then is sent again after the next start, unless it arrived.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.send_all() => {}
        }
    }

    async fn send_all(&mut self) {
        let mut commits = self.store.commits();
        // How often the server took no mail, one time after the other.
        let mut absences = 0;
        loop {
            match self.store.take_mail(LEASE).await {
                Ok(Some(mail)) => {
                    absences = self.deliver(&mail, absences).await;
                    if absences > 0 {
                        sleep(backoff(absences, PAUSE_MAX)).await;
                        self.prepare_again();
                    }
                }
                Ok(None) => {
                    // Whether a change or the time ended it, the queue is looked at.
                    let _ = timeout(LOOK_EVERY, commits.changed()).await;
                    sleep(LOOK_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!("mails cannot be read: {}", ErrorReport::of(&error));
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    fn prepare_again(&mut self) {
        match transport::prepare(&self.settings) {
            Ok(transport) => self.transport = transport,
            Err(error) => tracing::warn!("mails go on with the files of before: {}", ErrorReport::of(&error)),
        }
    }

    /// Sends `mail`, or lets it wait; gives how often the server has taken none by then.
    async fn deliver(&self, mail: &WaitingMail, absences: u64) -> u64 {
        let (sent, id, host) = (self.send(mail).await, mail.id.as_str(), self.settings.host.as_str());
        let is_absent = sent.as_ref().is_err_and(SendError::is_of_server);
        if absences > 0 && !is_absent {
            tracing::info!(host, "the mail server takes mail again: `{host}`");
        }
        let absences = if is_absent { absences.saturating_add(1) } else { 0 };
        let noted = match sent {
            Ok(()) => {
                tracing::info!(mail = id, "a mail was sent: `{id}`");
                self.store.drop_mail(id).await
            }
            Err(error) if error.is_final() || is_too_old(mail) => {
                tracing::warn!(mail = id, "a mail was given up: `{id}`: {}", ErrorReport::of(&error));
                self.store.drop_mail(id).await
            }
            Err(error) if is_absent => {
                let again = backoff(absences, PAUSE_MAX).as_secs();
                let error = ErrorReport::of(&error);
                tracing::warn!(
                    host,
                    "the mail server takes no mail, and is asked again in {again} s: `{host}`: {error}"
                );
                let (attempts, delay) = after_absence(absences, mail.attempts);
                self.store.delay_mail(id, attempts, delay).await
            }
            Err(error) => self.try_later(mail, &error).await,
        };
        if let Err(error) = noted {
            tracing::error!(mail = id, "what became of a mail cannot be noted: {}", ErrorReport::of(&error));
        }
        absences
    }

    async fn try_later(&self, mail: &WaitingMail, error: &SendError) -> Result<(), StoreError> {
        let delay = backoff(mail.attempts, DELAY_MAX);
        let noted = self.store.delay_mail(&mail.id, mail.attempts, delay).await;
        tracing::warn!(
            mail = mail.id,
            attempts = mail.attempts,
            "a mail was not sent, and is tried again in {} s: {}",
            delay.as_secs(),
            ErrorReport::of(error),
        );
        noted
    }

    async fn send(&self, mail: &WaitingMail) -> Result<(), SendError> {
        let message = self.message(mail)?;
        let sent = timeout(SEND_TIME_MAX, self.transport.send(message)).await;
        sent.map_err(|_| SendError::TooSlow)?.map(drop).map_err(|error| {
            let hint = transport::hint(&error);
            SendError::Smtp { error, hint }
        })
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

/// How often a mail counts as tried, and how long it waits, once the server has not taken it, and no other either, so
/// often. The first time it may be this very mail that the server cannot bear; then others are taken before its turn
/// comes again, and its turns become rare. From the second time on it is not the mail's fault.
fn after_absence(absences: u64, attempts: u64) -> (u64, Duration) {
    if absences > 1 {
        (attempts.saturating_sub(1), backoff(absences, PAUSE_MAX))
    } else {
        (attempts, backoff(attempts, DELAY_MAX))
    }
}

/// How long to wait after so many attempts, at most `max`.
fn backoff(attempts: u64, max: Duration) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(max)
}

fn is_too_old(mail: &WaitingMail) -> bool {
    Timestamp::now().duration_since(mail.change.at).as_hours() >= AGE_HOURS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_and_never_cease_before_their_time() {
        assert_eq!(backoff(1, DELAY_MAX), FIRST_DELAY);
        assert_eq!(backoff(2, DELAY_MAX), FIRST_DELAY * 2);
        assert_eq!(backoff(100, DELAY_MAX), DELAY_MAX);
        assert_eq!(backoff(u64::MAX, PAUSE_MAX), PAUSE_MAX);
    }

    #[test]
    fn an_outage_makes_no_mail_late_and_a_mail_that_the_server_cannot_bear_holds_up_no_other() {
        // A long outage: the same mail is taken from the queue again and again.
        let mut attempts = 0;
        for absences in 1..1_000 {
            let (counted, delay) = after_absence(absences, attempts + 1);
            assert!(delay <= PAUSE_MAX);
            attempts = counted;
        }
        assert_eq!(attempts, 1);
        // One mail among others that are taken, so that the server is never away twice.
        let mut attempts = 0;
        for _ in 0..20 {
            (attempts, _) = after_absence(1, attempts + 1);
        }
        assert_eq!(after_absence(1, attempts), (20, DELAY_MAX));
    }
}
