//! An account that uses as many resources as its limits allow. Others are not affected, so nothing is excused.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use serde_json::Value;

use super::abuse::{ADDRESS, Flood, address, ask, blocking_status, client, replica};
use super::{Choice, End, Fault, USUAL, Victim};
use crate::world::World;

const WAITING: u32 = 100;
const ASKING: u32 = 16;
/// Connected hosts that have not applied the last change, so that every wait takes its maximum time.
const SILENT_HOSTS: u32 = 5_000;
/// More than the service stores for one account, and more than it stores in total.
const NONCES: u64 = 275_000;
/// Almost the maximum of a signed request's time in the future, so that its nonce is stored for the maximum time.
const AHEAD_S: i64 = 290;
const NONCE_TIME_MAX: Duration = Duration::from_mins(6);
/// More changes than are stored for an account.
const TRACES: u64 = 10_600;
const TRACE_TIME_MAX: Duration = Duration::from_secs(100);
/// A slow machine makes fewer.
const FLOOD_TIME_MAX: Duration = Duration::from_secs(90);
/// The change with a stolen token that has to stay in the account's activity.
const TRACE: &str = "not-mine";
const TRACE_AFTER: u64 = 300;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "abuse-account",
        about: "one account: changes that wait for 5,000 hosts on many connections, or lists as fast as they come",
        victim: Victim::Replica,
        variants: &["waits", "lists"],
        seconds: (8, 12),
        begin: flood,
        ..USUAL
    },
    Fault {
        name: "abuse-nonces",
        about: "one account signs 275,000 requests, most of them over its limit; others sign all the same. Takes minutes: \
                only by name",
        victim: Victim::Replica,
        seconds: (1, 2),
        weight: 0,
        begin: nonces,
        ..USUAL
    },
    Fault {
        name: "abuse-evidence",
        about: "a stolen token adds a key and makes 10,600 changes, so that the account's history forgets the key. Takes a \
                minute: only by name",
        victim: Victim::Replica,
        seconds: (1, 2),
        weight: 0,
        begin: evidence,
        ..USUAL
    },
];

fn flood(world: &mut World, choice: &Choice) -> End {
    let (url, _) = replica(world, choice);
    let (token, key) = (world.eve.token().to_owned(), Value::from(world.eve_key.as_str()).to_string());
    let client = client(ADDRESS);
    if choice.variant == "lists" {
        let flood = Flood::start(ASKING, move |_, answers| {
            let request = client.get(format!("{url}/v2/self/keys")).bearer_auth(&token);
            Box::pin(ask(request, answers))
        });
        return flood.end();
    }
    world.database.add_silent_hosts(SILENT_HOSTS);
    let flood = Flood::start(WAITING, move |_, answers| {
        let request = client.put(format!("{url}/v2/self/keys/a?wait=5s")).bearer_auth(&token);
        let request = request.header("Content-Type", "application/json").body(key.clone());
        Box::pin(ask(request, answers))
    });
    let end = flood.end();
    Box::new(move |world| {
        end(world);
        world.database.remove_silent_hosts();
    })
}

/// An account's credential for signed requests.
#[derive(Clone)]
struct Signer {
    token: String,
    secret: String,
}

impl Signer {
    /// A new credential of `account`.
    fn of(world: &mut World, account: &str) -> Self {
        let added = world.replica(0).service.administers(&["token", "add", account, "--json"]).output();
        let added: Value = serde_json::from_str(&added).expect("JSON");
        let text = |field: &str| added.get(field).and_then(Value::as_str).expect("a credential").to_owned();
        Self { token: text("oauth_token"), secret: text("oauth_secret") }
    }

    /// The header of a request for the account, signed as in RFC 5849, by the public consumer of clever-tools.
    /// Its time is `ahead_s` seconds in the future.
    fn header(&self, url: &str, nonce: &str, ahead_s: i64) -> String {
        const CONSUMER: (&str, &str) = ("T5nFjKeHH4AIlEveuGhB5S3xg8T19e", "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT");
        let Self { token, secret } = self;
        let at = jiff::Timestamp::now().as_second() + ahead_s;
        let parameters = format!(
            "oauth_consumer_key={}&oauth_nonce={nonce}&oauth_signature_method=HMAC-SHA512&oauth_timestamp={at}&oauth_token={token}",
            CONSUMER.0
        );
        let base = format!("GET&{}&{}", encoded(&format!("{url}/v2/self")), encoded(&parameters));
        let key = hmac::Key::new(hmac::HMAC_SHA512, format!("{}&{secret}", CONSUMER.1).as_bytes());
        let signature = encoded(&BASE64.encode(hmac::sign(&key, base.as_bytes()).as_ref()));
        format!(
            "OAuth oauth_consumer_key=\"{}\", oauth_token=\"{token}\", oauth_signature_method=\"HMAC-SHA512\", \
             oauth_timestamp=\"{at}\", oauth_nonce=\"{nonce}\", oauth_signature=\"{signature}\"",
            CONSUMER.0
        )
    }
}

/// Percent-encoded as in RFC 5849.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn nonces(world: &mut World, choice: &Choice) -> End {
    let (url, _) = replica(world, choice);
    let (eve, other) = (Signer::of(world, "eve"), Signer::of(world, "user-1"));
    // Each from its own address, so that no address exceeds its limit.
    let clients: Vec<_> = (0..ASKING).map(|number| client(address(number))).collect();
    let sent = Arc::new(AtomicU64::new(0));
    let (counted, to) = (Arc::clone(&sent), url.clone());
    let flood = Flood::start(ASKING, move |task, answers| {
        let client = clients.get(task as usize).expect("a client each");
        let number = counted.fetch_add(1, Ordering::Relaxed);
        let header = eve.header(&to, &format!("n{number}"), AHEAD_S);
        Box::pin(ask(client.get(format!("{to}/v2/self")).header("Authorization", header), answers))
    });
    world.expects(
        "another account's signed requests are answered beside 275,000 nonces",
        NONCE_TIME_MAX,
        move |_| {
            let number = sent.load(Ordering::Relaxed);
            let header = other.header(&url, &format!("mine{number}"), 0);
            match blocking_status(&format!("{url}/v2/self"), &header) {
                Some(200) if number > NONCES => Ok(()),
                Some(200) => Err(format!("only {number} requests were sent")),
                status => Err(format!("after {number} requests of another account: {status:?}")),
            }
        },
    );
    flood.end()
}

fn evidence(world: &mut World, choice: &Choice) -> End {
    let (url, _) = replica(world, choice);
    let (token, key) = (world.eve.token().to_owned(), Value::from(world.eve_key.as_str()).to_string());
    let other = Value::from(world.eve_other_key.as_str()).to_string();
    let client = client(ADDRESS);
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let flood = Flood::start(ASKING, move |_, answers| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        // Each is a change, since the expiry differs.
        let expiry =
            format!("20{:02}-01-01T00:{:02}:{:02}Z", 30 + number % 60, number / 60 % 60, number / 3_600 % 60);
        let (path, body) = if number == TRACE_AFTER {
            (format!("{url}/v2/self/keys/{TRACE}"), other.clone())
        } else {
            (format!("{url}/v2/self/keys/a?expires_at={expiry}"), key.clone())
        };
        let request =
            client.put(path).bearer_auth(&token).header("Content-Type", "application/json").body(body);
        Box::pin(ask(request, answers))
    });
    let answers = Arc::clone(&flood.answers);
    let began = Instant::now();
    world.expects(
        "the key that a stolen token added stays in the account's history",
        TRACE_TIME_MAX,
        move |world| {
            let made = answers
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .get("200")
                .copied()
                .unwrap_or(0);
            let is_told = world.database.has_trace(TRACE);
            if made < TRACES && began.elapsed() < FLOOD_TIME_MAX {
                return Err(format!("only {made} changes were made"));
            }
            if is_told { Ok(()) } else { Err(format!("after {made} changes it is gone from there")) }
        },
    );
    let end = flood.end();
    Box::new(move |world| {
        end(world);
        let _ = world.eve.tries_to_remove(TRACE);
    })
}
