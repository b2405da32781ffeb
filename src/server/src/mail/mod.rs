//! E-mails about changes to accounts, sent outside of requests.
//!
//! A mail is written to the database with its change and removed once the mail server accepted it. It survives restarts,
//! and is sent twice, with the same `Message-ID`, if one happens between the two. Any replica sends it.
//!
//! A mail that the server refuses is retried at growing intervals. If the server accepts no mail at all (unreachable, not
//! authenticated, or refusing our credentials), all mails wait, and the password and CA certificates are read again before
//! the next attempt.

mod settings;
mod text;
mod transport;

use std::time::Duration;

use jiff::Timestamp;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::{AsyncTransport as _, Message};
use pushkeys_keys::{ErrorReport, Hint};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::settings::SmtpSettings;
use self::text::{Links, MailText};
use self::transport::Transport;
pub(crate) use self::transport::{SmtpSetupError, check};
use crate::store::{Store, StoreError, WaitingMail, mail_address};

/// How long sending one mail may take.
const SEND_TIME_MAX: Duration = Duration::from_mins(1);
/// How long a mail that is being sent is reserved for this replica.
const LEASE: Duration = Duration::from_mins(2);
/// How often the queue is read without a change in this process: another replica may have made one.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The least time between two reads of the queue.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Time until the second attempt; it doubles with each one, up to the longest.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const DELAY_MAX: Duration = Duration::from_hours(4);
/// The longest wait while the server accepts no mail; the first is [`FIRST_DELAY`] too.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// After how many days a mail is discarded.
const AGE_HOURS_MAX: i64 = 3 * 24;
/// RFC 3834: tells auto-responders not to reply.
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

const _: () =
    assert!(SEND_TIME_MAX.as_secs() < LEASE.as_secs(), "sending ends before another replica may send");

/// Why one mail was not sent.
#[derive(Debug, Error)]
enum SendError {
    #[error("the recipient's address is not valid")]
    Address(#[from] lettre::address::AddressError),
    #[error("cannot compose the mail")]
    Message(#[from] lettre::error::Error),
    #[error("the mail server did not answer in time")]
    TooSlow,
    #[error(
        "the mail server does not take addresses with other characters than ASCII before the `@` (SMTPUTF8)"
    )]
    NotAscii,
    // The message includes its cause.
    #[error("{error}")]
    Smtp {
        error: lettre::transport::smtp::Error,
        #[source]
        hint: Option<Hint>,
    },
}

impl SendError {
    /// Whether another attempt is pointless, for example because the mailbox does not exist.
    fn is_final(&self) -> bool {
        match self {
            Self::Address(_) | Self::Message(_) | Self::NotAscii => true,
            Self::TooSlow => false,
            Self::Smtp { error, .. } => matches!(transport::status(error), Some(550 | 551 | 553)),
        }
    }

    /// Whether no other mail could be sent either: the server is unreachable, not authenticated, or refuses our
    /// credentials.
    fn is_of_server(&self) -> bool {
        match self {
            Self::Address(_) | Self::Message(_) | Self::NotAscii => false,
            Self::TooSlow => true,
            Self::Smtp { error, .. } => {
                matches!(transport::status(error), None | Some(421 | 432 | 454 | 530 | 534 | 535 | 538))
            }
        }
    }
}

/// Sends the queued mails of the store.
pub(crate) struct Sender {
    store: Store,
    settings: SmtpSettings,
    console: Option<String>,
    transport: Transport,
}

impl Sender {
    /// Sends through the server of `settings`; mails link to the console at `console`.
    pub(crate) fn new(
        store: Store,
        settings: &SmtpSettings,
        console: Option<String>,
    ) -> Result<Self, SmtpSetupError> {
        let transport = transport::prepare(settings)?;
        Ok(Self { store, settings: settings.clone(), console, transport })
    }

    /// Sends until `stopping`. A mail that is interrupted is sent again after the next start.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.send_all() => {}
        }
    }

    async fn send_all(&mut self) {
        let mut commits = self.store.commits();
        // Consecutive attempts at which the server accepted no mail.
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
                    // A change or the time-out: the queue is read in both cases.
                    let _ = timeout(LOOK_EVERY, commits.changed()).await;
                    sleep(LOOK_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!("cannot read the queued mails: {}", ErrorReport::of(&error));
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    fn prepare_again(&mut self) {
        match transport::prepare(&self.settings) {
            Ok(transport) => self.transport = transport,
            Err(error) => tracing::warn!(
                "cannot read the files of [smtp] again, so the previous ones are used: {}",
                ErrorReport::of(&error)
            ),
        }
    }

    /// Sends `mail`, or schedules the next attempt. Returns the consecutive attempts at which the server accepted none.
    async fn deliver(&self, mail: &WaitingMail, absences: u64) -> u64 {
        let (sent, id, host) = (self.send(mail).await, mail.id.as_str(), self.settings.host.as_str());
        let is_absent = sent.as_ref().is_err_and(SendError::is_of_server);
        if absences > 0 && !is_absent {
            tracing::info!(host, "the mail server `{host}` accepts mail again");
        }
        let absences = if is_absent { absences.saturating_add(1) } else { 0 };
        let noted = match sent {
            Ok(()) => {
                tracing::info!(mail = id, "sent the mail `{id}`");
                self.store.remove_mail(id).await
            }
            Err(error) if error.is_final() || is_too_old(mail) => {
                tracing::warn!(mail = id, "discarded the mail `{id}`: {}", ErrorReport::of(&error));
                self.store.remove_mail(id).await
            }
            Err(error) if is_absent => {
                let again = backoff(absences, PAUSE_MAX).as_secs();
                let error = ErrorReport::of(&error);
                tracing::warn!(
                    host,
                    "the mail server `{host}` accepts no mail, and is tried again in {again} s: {error}"
                );
                let (attempts, delay) = after_absence(absences, mail.attempts);
                self.store.delay_mail(id, attempts, delay).await
            }
            Err(error) => self.try_later(mail, &error).await,
        };
        if let Err(error) = noted {
            tracing::error!(
                mail = id,
                "cannot record the result of sending the mail `{id}`: {}",
                ErrorReport::of(&error)
            );
        }
        absences
    }

    async fn try_later(&self, mail: &WaitingMail, error: &SendError) -> Result<(), StoreError> {
        let delay = backoff(mail.attempts, DELAY_MAX);
        let noted = self.store.delay_mail(&mail.id, mail.attempts, delay).await;
        tracing::warn!(
            mail = mail.id,
            attempts = mail.attempts,
            "could not send a mail, which is tried again in {} s: {}",
            delay.as_secs(),
            ErrorReport::of(error),
        );
        noted
    }

    async fn send(&self, mail: &WaitingMail) -> Result<(), SendError> {
        let message = self.message(mail)?;
        let is_ascii = message.envelope().to().iter().all(|address| address.to_string().is_ascii());
        let sent = timeout(SEND_TIME_MAX, self.transport.send(message)).await;
        sent.map_err(|_| SendError::TooSlow)?.map(drop).map_err(|error| {
            if error.is_client() && !is_ascii {
                return SendError::NotAscii;
            }
            let hint = transport::hint(&error);
            SendError::Smtp { error, hint }
        })
    }

    fn message(&self, mail: &WaitingMail) -> Result<Message, SendError> {
        let places = Links { console: self.console.as_deref(), contact: self.settings.contact.as_deref() };
        let MailText { subject, body } = MailText::of(mail, &places);
        let from =
            Mailbox { email: mail_address(self.settings.from.email.as_ref())?, ..self.settings.from.clone() };
        let domain = from.email.domain().to_owned();
        let message = Message::builder()
            .from(from)
            .to(mail_address(&mail.recipient)?.into())
            .message_id(Some(format!("<{}@{domain}>", mail.id)))
            .header(MIME_VERSION_1_0)
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN);
        Ok(message.body(body)?)
    }
}

/// The attempts that count for a mail, and how long it waits, after the server accepted no mail `refusals` times. The
/// first time this mail may be the cause, so the attempt counts and other mails are tried before it. From the second time
/// on it is the server, and the attempt does not count.
fn after_absence(absences: u64, attempts: u64) -> (u64, Duration) {
    if absences > 1 {
        (attempts.saturating_sub(1), backoff(absences, PAUSE_MAX))
    } else {
        (attempts, backoff(attempts, DELAY_MAX))
    }
}

/// How long to wait after `attempts`, at most `max`.
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
        // One refused mail among others that are accepted: never two failures in a row.
        let mut attempts = 0;
        for _ in 0..20 {
            (attempts, _) = after_absence(1, attempts + 1);
        }
        assert_eq!(after_absence(1, attempts), (20, DELAY_MAX));
    }
}
