//! Where the feed is served, what its streams are called, and how much of them there may be.

/// The longest line of either stream in bytes, without its newline: the longest key that
/// [`pushkeys_keys::ValidKey`] reads, names of a service that bounds them less than we do, and room for escapes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The most logins that one entry may name.
pub const LOGINS_MAX: usize = 16;

/// Where a snapshot is served, below the base URL of the key service.
pub const SNAPSHOT_PATH: &str = "/v1/feed/snapshot";

/// Where changes are served, below the base URL of the key service.
pub const CHANGES_PATH: &str = "/v1/feed/changes";

/// Where a host tells what it has applied, below the base URL of the key service: `{"cursor":"epoch-sequence"}`.
pub const APPLIED_PATH: &str = "/v1/feed/applied";

/// The media type of a snapshot.
pub const SNAPSHOT_MEDIA_TYPE: &str = "application/x-ndjson";

/// The media type of the changes (WHATWG HTML, section 9.2).
pub const CHANGES_MEDIA_TYPE: &str = "text/event-stream";

/// The request header that says after which event a stream is to go on.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// The query parameter of snapshot and changes in which a host names, separated by commas, what it understands besides the
/// first version of the feed.
pub const WITH_PARAMETER: &str = "with";

/// The word of [`WITH_PARAMETER`] for chain values and digests. Only who sends it gets them.
pub const WITH_CHAIN: &str = "chain";

const _: () = assert!(pushkeys_keys::KEY_TEXT_BYTES_MAX * 2 < LINE_BYTES_MAX, "a line holds the longest key");

/// Where a host says which keys were used, below the base URL of the key service.
pub const USAGE_PATH: &str = "/v1/feed/usage";

/// Where a host says what it has revoked, below the base URL of the key service.
pub const REVOKED_PATH: &str = "/v1/feed/revoked";

/// Where a host reports the host keys of its sshd, below the base URL of the key service.
pub const HOST_KEYS_PATH: &str = "/v1/feed/host-keys";

/// The maximum number of host keys of one host.
pub const HOST_KEYS_MAX: usize = 16;

/// The media type of reports and of their answers.
pub const REPORT_MEDIA_TYPE: &str = "application/json";

/// One report has at most so many items.
pub const REPORT_ITEMS_MAX: usize = 1024;

/// The longest report in bytes.
pub const REPORT_BYTES_MAX: usize = 512 * 1024;

const _: () = assert!(HOST_KEYS_MAX * (pushkeys_keys::KEY_TEXT_BYTES_MAX + 8) < REPORT_BYTES_MAX);
