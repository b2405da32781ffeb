//! All keys of a service at one moment, as NDJSON between a header and a trailer.

use data_encoding::HEXLOWER;
use pushkeys_keys::Fingerprint;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::chain::Chain;
use crate::cursor::{Cursor, Position};
use crate::digest::KeySum;
use crate::entry::{Entry, EntryError, EntryFault, Text, WireLine, append, key_sum};
use crate::lines::{LineSplitter, LineTooLong};
use crate::protocol::LINE_BYTES_MAX;

/// The only format so far. A reader refuses any other.
const FORMAT: u64 = 1;
const MAGIC: &str = "snapshot";

/// Writes a snapshot piece by piece. The caller brings the entries in strictly ascending order of their
/// fingerprints' bytes.
#[derive(Debug)]
pub struct SnapshotWriter {
    digest: Sha256,
    entries: u64,
}

impl SnapshotWriter {
    /// Begins the snapshot of the state after the change `cursor`, and appends the header to `out`.
    #[must_use]
    pub fn new(cursor: &Cursor, out: &mut Vec<u8>) -> Self {
        Self::with_header(&SnapshotHeader { position: cursor.clone().into(), sum: None }, out)
    }

    /// Begins the snapshot of what `header` describes, and appends the header to `out`.
    #[must_use]
    pub fn with_header(header: &SnapshotHeader, out: &mut Vec<u8>) -> Self {
        let SnapshotHeader { position: Position { cursor, chain }, sum } = header;
        let chain = chain.as_ref().map(Chain::to_string);
        let digest = sum.as_ref().map(|sum| sum.digest.to_string());
        let header = WireHeader {
            pushkeys: MAGIC,
            format: FORMAT,
            epoch: cursor.epoch.as_str(),
            sequence: cursor.sequence,
            chain: chain.as_deref(),
            keys: sum.as_ref().map(|sum| sum.keys),
            digest: digest.as_deref(),
        };
        let mut writer = Self { digest: Sha256::new(), entries: 0 };
        writer.append_line(out, |out| append(&header, out));
        writer
    }

    /// Appends one entry to `out`.
    pub fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        self.entries += 1;
        self.append_line(out, |out| entry.append_json(out));
    }

    /// Appends one entry whose JSON, made by [`Entry::to_json`], is at hand already.
    pub fn raw_entry(&mut self, json: &[u8], out: &mut Vec<u8>) {
        self.entries += 1;
        self.append_line(out, |out| out.extend_from_slice(json));
    }

    /// Appends the trailer to `out`, without which the snapshot never happened.
    pub fn finish(self, out: &mut Vec<u8>) {
        let sha256 = HEXLOWER.encode(&self.digest.finalize());
        append(&WireTrailer { end: true, entries: self.entries, sha256: &sha256 }, out);
        out.push(b'\n');
    }

    fn append_line(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        write(out);
        out.push(b'\n');
        self.digest.update(out.get(start..).unwrap_or_default());
    }
}

/// Reads a snapshot from chunks that are cut anywhere. Until [`SnapshotReader::finish`] has said yes, nothing of it is
/// true. Every line ends with a newline, the trailer too: without it, the last line was cut short.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    lines: LineSplitter,
    content: Content,
}

/// What the lines so far have said.
#[derive(Debug, Default)]
struct Content {
    state: State,
    digest: Sha256,
    entries: u64,
    last: Option<Fingerprint>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    Body(SnapshotHeader),
    Ended(SnapshotHeader),
}

/// The first line of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The change after which the state is as the snapshot says, and the chain value after it.
    pub position: Position,
    /// All keys after that change; `None` of a service that tells no digest.
    pub sum: Option<KeySum>,
}

/// What one line of a snapshot says.
#[derive(Debug)]
pub enum SnapshotLine {
    /// The first line: what follows.
    Header(SnapshotHeader),
    /// One key.
    Entry(Entry),
    /// A line to skip and to report; its neighbours stand. If its fingerprint is that of the entry right before it, that entry is
    /// not to be used either: two answers for one key are none.
    Malformed(EntryError),
}

/// A snapshot that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The change after which the state was as the snapshot says.
    pub cursor: Cursor,
    /// The chain value after that change; `None` of a service without a chain.
    pub chain: Option<Chain>,
    /// All keys after that change, as the service counts them; `None` of a service that tells no digest.
    pub sum: Option<KeySum>,
    /// How many entries there were, malformed ones included.
    pub entries: u64,
}

/// Why a snapshot is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// An error page, or another service.
    #[error("the answer does not begin with the header of a snapshot")]
    Header,
    /// A service newer than this host.
    #[error("the snapshot has format {0}, and only format {FORMAT} is known")]
    Format(u64),
    /// Out of order.
    #[error("the entry of `{0}` is not above the one before it")]
    Order(Fingerprint),
    /// The trailer counted otherwise.
    #[error("the trailer counts {expected} entries, and {found} came")]
    Count {
        /// As the trailer says.
        expected: u64,
        /// As was counted.
        found: u64,
    },
    /// The bytes are not those that were sent.
    #[error("the digest in the trailer is not that of the bytes before it")]
    Digest,
    /// An object with `end`, but not a whole trailer.
    #[error("the trailer is malformed")]
    Trailer,
    /// More lines after the trailer.
    #[error("there is text after the trailer")]
    AfterTrailer,
    /// No trailer came: the answer was cut short.
    #[error("the answer ended after {entries} entries without a trailer line")]
    Cut {
        /// How many entries had come.
        entries: u64,
    },
    /// More than [`LINE_BYTES_MAX`].
    #[error("a line of the snapshot is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
}

impl From<LineTooLong> for SnapshotError {
    fn from(_: LineTooLong) -> Self {
        Self::LineTooLong
    }
}

impl SnapshotReader {
    /// Appends what the lines that end in `chunk` say to `read`; the trailer is left to [`SnapshotReader::finish`]. After an
    /// error the snapshot is to be thrown away.
    pub fn push(&mut self, chunk: &[u8], read: &mut Vec<SnapshotLine>) -> Result<(), SnapshotError> {
        let Self { lines, content } = self;
        lines.push(chunk, |line| {
            read.extend(content.line(line)?);
            Ok(())
        })
    }

    /// Whether the trailer came, and ended: the one proof that the snapshot is whole.
    pub fn finish(self) -> Result<Snapshot, SnapshotError> {
        let Self { lines, content: Content { state, entries, .. } } = self;
        match state {
            State::Start => Err(SnapshotError::Header),
            State::Body(_) => Err(SnapshotError::Cut { entries }),
            State::Ended(_) if !lines.remainder().is_empty() => Err(SnapshotError::AfterTrailer),
            State::Ended(SnapshotHeader { position: Position { cursor, chain }, sum }) => {
                Ok(Snapshot { cursor, chain, sum, entries })
            }
        }
    }
}

impl Content {
    /// Reads the next line, without its newline.
    fn line(&mut self, line: &[u8]) -> Result<Option<SnapshotLine>, SnapshotError> {
        match self.state {
            State::Start => self.header(line).map(Some),
            State::Body(_) => self.body(line),
            State::Ended(_) => Err(SnapshotError::AfterTrailer),
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<SnapshotLine, SnapshotError> {
        let header: WireHeader<'_> = serde_json::from_slice(line).map_err(|_| SnapshotError::Header)?;
        if header.pushkeys != MAGIC {
            return Err(SnapshotError::Header);
        }
        if header.format != FORMAT {
            return Err(SnapshotError::Format(header.format));
        }
        let epoch = header.epoch.parse().map_err(|_| SnapshotError::Header)?;
        let chain = header.chain.map(str::parse).transpose().map_err(|_| SnapshotError::Header)?;
        let sum = key_sum(header.keys, header.digest).map_err(|_| SnapshotError::Header)?;
        let position = Position { cursor: Cursor { epoch, sequence: header.sequence }, chain };
        let header = SnapshotHeader { position, sum };
        self.state = State::Body(header.clone());
        self.hash(line);
        Ok(SnapshotLine::Header(header))
    }

    fn body(&mut self, line: &[u8]) -> Result<Option<SnapshotLine>, SnapshotError> {
        let parsed = match WireLine::parse(line) {
            Ok(wire) if wire.end.is_some() => return self.trailer(&wire).map(|()| None),
            Ok(wire) => wire.into_entry(),
            Err(error) => Err(error),
        };
        self.hash(line);
        self.entries += 1;
        match parsed {
            Ok(entry) if self.last == Some(entry.fingerprint) => {
                let fingerprint = Some(entry.fingerprint);
                Ok(Some(SnapshotLine::Malformed(EntryError { fingerprint, fault: EntryFault::Twice })))
            }
            Ok(entry) if self.last.is_some_and(|last| last >= entry.fingerprint) => {
                Err(SnapshotError::Order(entry.fingerprint))
            }
            Ok(entry) => {
                self.last = Some(entry.fingerprint);
                Ok(Some(SnapshotLine::Entry(entry)))
            }
            Err(error) => Ok(Some(SnapshotLine::Malformed(error))),
        }
    }

    fn trailer(&mut self, wire: &WireLine<'_>) -> Result<(), SnapshotError> {
        let (Some(true), Some(expected), Some(Text(sha256))) = (wire.end, wire.entries, &wire.sha256) else {
            return Err(SnapshotError::Trailer);
        };
        if expected != self.entries {
            return Err(SnapshotError::Count { expected, found: self.entries });
        }
        if sha256.as_ref() != HEXLOWER.encode(&std::mem::take(&mut self.digest).finalize()) {
            return Err(SnapshotError::Digest);
        }
        if let State::Body(header) = std::mem::take(&mut self.state) {
            self.state = State::Ended(header);
        }
        Ok(())
    }

    fn hash(&mut self, line: &[u8]) {
        self.digest.update(line);
        self.digest.update(b"\n");
    }
}

#[derive(Serialize, Deserialize)]
struct WireHeader<'a> {
    pushkeys: &'a str,
    format: u64,
    epoch: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
}

#[derive(Serialize)]
struct WireTrailer<'a> {
    end: bool,
    entries: u64,
    sha256: &'a str,
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::KeyName;

    use super::*;

    fn entry(first_byte: u8) -> Entry {
        let mut digest = [0; 32];
        digest[0] = first_byte;
        Entry {
            fingerprint: Fingerprint::from_bytes(digest),
            key: "ssh-ed25519 AAAA".to_owned(),
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: None,
            name: KeyName::parse("my \"laptop\"").ok(),
            logins: None,
            expires_at: None,
        }
    }

    fn write(first_bytes: &[u8]) -> String {
        let mut out = Vec::new();
        let mut writer = SnapshotWriter::new(&"b1946ac9-4711".parse().unwrap(), &mut out);
        for &byte in first_bytes {
            writer.entry(&entry(byte), &mut out);
        }
        writer.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// What became of `chunks`: the good entries' first bytes, how many were malformed, and the end.
    fn read_chunks(chunks: &[&[u8]]) -> Result<(Vec<u8>, u32, Snapshot), SnapshotError> {
        let (mut reader, mut lines) = (SnapshotReader::default(), Vec::new());
        for chunk in chunks {
            reader.push(chunk, &mut lines)?;
        }
        let (mut good, mut malformed) = (Vec::new(), 0);
        for line in lines {
            match line {
                SnapshotLine::Entry(entry) => good.push(entry.fingerprint.as_bytes()[0]),
                SnapshotLine::Malformed(_) => malformed += 1,
                SnapshotLine::Header(_) => {}
            }
        }
        Ok((good, malformed, reader.finish()?))
    }

    fn read(text: &str) -> Result<(Vec<u8>, u32, Snapshot), SnapshotError> {
        read_chunks(&[text.as_bytes()])
    }

    /// `text` with the trailer that belongs to it, whatever its lines say.
    fn resealed(body: &str) -> String {
        let entries = body.lines().count() - 1;
        let sha256 = HEXLOWER.encode(&Sha256::digest(body));
        format!("{body}{{\"end\":true,\"entries\":{entries},\"sha256\":\"{sha256}\"}}\n")
    }

    fn body(text: &str) -> &str {
        let end = text.trim_end().rfind('\n').unwrap() + 1;
        text.split_at(end).0
    }

    #[test]
    fn a_snapshot_reads_as_it_was_written() {
        let (good, malformed, snapshot) = read(&write(&[1, 2, 200])).unwrap();
        assert_eq!((good, malformed), (vec![1, 2, 200], 0));
        let cursor = "b1946ac9-4711".parse().unwrap();
        assert_eq!(snapshot, Snapshot { cursor, chain: None, sum: None, entries: 3 });
        assert_eq!(read(&write(&[])).unwrap().2.entries, 0);
        assert!(write(&[]).starts_with(
            "{\"pushkeys\":\"snapshot\",\"format\":1,\"epoch\":\"b1946ac9\",\"sequence\":4711}\n{\"end\":true,\"entries\":0,\"sha256\":\""
        ));
    }

    #[test]
    fn a_header_tells_chain_and_digest_or_neither() {
        let chain = "e780adda8c6afdba445f1f94b4dc7bf792347cf3ecdf0a7d01aab4b6daa64b63";
        let digest = "9d1b95d8833da14db5750f1326d083c9";
        let position: Position = format!("b1946ac9-4711-{chain}").parse().unwrap();
        let sum = KeySum { keys: 2, digest: digest.parse().unwrap() };
        let mut out = Vec::new();
        SnapshotWriter::with_header(&SnapshotHeader { position: position.clone(), sum: Some(sum) }, &mut out)
            .finish(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(&format!(
            "{{\"pushkeys\":\"snapshot\",\"format\":1,\"epoch\":\"b1946ac9\",\"sequence\":4711,\"chain\":\"{chain}\",\"keys\":2,\"digest\":\"{digest}\"}}\n"
        )));
        let Position { cursor, chain: told } = position;
        let expected = Snapshot { cursor, chain: told, sum: Some(sum), entries: 0 };
        assert_eq!(read(&text).unwrap().2, expected);
        for (from, to) in
            [(chain, "e780"), (digest, "9d1b"), ("\"keys\":2,", ""), ("\"digest\"", "\"other\"")]
        {
            let header = body(&text).replace(from, to);
            assert_eq!(read(&resealed(&header)).map(|_| ()), Err(SnapshotError::Header), "{header}");
        }
    }

    #[test]
    fn a_last_line_without_its_newline_is_cut_short() {
        let text = write(&[1]);
        assert!(read(&text).is_ok());
        assert_eq!(read(text.trim_end()).map(|_| ()), Err(SnapshotError::Cut { entries: 1 }));
        assert_eq!(read(&(text + "{")).map(|_| ()), Err(SnapshotError::AfterTrailer));
    }

    #[test]
    fn where_a_chunk_is_cut_makes_no_difference() {
        let text = write(&[1, 2, 200]);
        let whole = read(&text).unwrap();
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(read_chunks(&[head, tail]).unwrap(), whole, "cut at {cut}");
        }
        assert_eq!(read_chunks(&text.as_bytes().chunks(1).collect::<Vec<_>>()).unwrap(), whole);
    }

    #[test]
    fn json_at_hand_is_the_same_snapshot() {
        let mut out = Vec::new();
        let mut writer = SnapshotWriter::new(&"b1946ac9-4711".parse().unwrap(), &mut out);
        writer.raw_entry(&entry(9).to_json(), &mut out);
        writer.finish(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), write(&[9]));
    }

    #[test]
    fn one_malformed_entry_never_hurts_its_neighbours() {
        let text = write(&[1, 2, 3]);
        for (from, to) in [("acct_7", "acct 7"), ("{\"finger", "<html>"), ("\"key\"", "\"kex\"")] {
            let mut lines: Vec<String> = body(&text).lines().map(str::to_owned).collect();
            lines[2] = lines[2].replace(from, to);
            let text = resealed(&(lines.join("\n") + "\n"));
            let (good, malformed, snapshot) = read(&text).unwrap();
            assert_eq!((good, malformed, snapshot.entries), (vec![1, 3], 1, 3), "{text}");
        }
    }

    #[test]
    fn a_snapshot_that_is_not_whole_and_right_never_happened() {
        let good = write(&[1, 2, 3]);
        let check = |text: &str, expected: SnapshotError| {
            assert_eq!(read(text).map(|_| ()), Err(expected), "{text}");
        };
        assert!(read(&resealed(body(&good))).is_ok());
        check("", SnapshotError::Header);
        check("<html>502</html>\n", SnapshotError::Header);
        check(&good.replace("\"snapshot\"", "\"other\""), SnapshotError::Header);
        check(&good.replace("b1946ac9", "B"), SnapshotError::Header);
        check(&good.replace("\"format\":1", "\"format\":2"), SnapshotError::Format(2));
        check(body(&good), SnapshotError::Cut { entries: 3 });
        check(good.split_at(good.len() - 20).0, SnapshotError::Cut { entries: 3 });
        check(&good.replace("acct_7", "acct_8"), SnapshotError::Digest);
        check(
            &good.replace("\"entries\":3", "\"entries\":2"),
            SnapshotError::Count { expected: 2, found: 3 },
        );
        check(&good.replace("\"end\":true", "\"end\":false"), SnapshotError::Trailer);
        check(&(good.clone() + &good), SnapshotError::AfterTrailer);
        check(&write(&[1, 3, 2]), SnapshotError::Order(entry(2).fingerprint));
        check(&write(&[1, 2, 1]), SnapshotError::Order(entry(1).fingerprint));
        check(&"a".repeat(LINE_BYTES_MAX + 1), SnapshotError::LineTooLong);
        let missing: Vec<&str> =
            good.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
        check(&(missing.join("\n") + "\n"), SnapshotError::Count { expected: 3, found: 2 });
    }

    #[test]
    fn a_key_that_stands_twice_is_reported_and_its_neighbours_stand() {
        let (good, malformed, snapshot) = read(&write(&[1, 2, 2, 2, 3])).unwrap();
        assert_eq!((good, malformed, snapshot.entries), (vec![1, 2, 3], 2, 5));
    }

    #[test]
    fn every_cut_is_noticed() {
        let good = write(&[1, 2]);
        for length in 0..good.len() {
            assert!(read(good.split_at(length).0).is_err(), "cut at {length}");
        }
    }
}
