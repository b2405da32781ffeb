//! The address of a client that comes through proxies.
//!
//! Each proxy appends the address of its own peer to what it received, so only the end of the list is to be trusted: as
//! far to the left as the addresses are those of trusted proxies. Everything before that is the client's own text, of any
//! bytes, and must have no influence. So lists are read from their end, byte by byte and line by line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The most elements of a list that are read: proxies between a client and us.
const HOPS_MAX: usize = 16;

/// The header to which trusted proxies append the address of their peer. The other one is the client's, and is ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum ProxyHeader {
    /// `203.0.113.7, 10.0.0.1`
    #[default]
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// RFC 7239: `for=203.0.113.7, for="[2001:db8::1]:4711";proto=https`
    Forwarded,
}

/// The proxies that are trusted to tell the address of their peer.
#[derive(Debug, Clone)]
pub(crate) struct TrustedProxies {
    addresses: Vec<IpAddr>,
    header: ProxyHeader,
}

impl TrustedProxies {
    /// Those at `addresses`, which append to `header`.
    pub(crate) fn new(addresses: &[IpAddr], header: ProxyHeader) -> Self {
        Self { addresses: addresses.iter().map(IpAddr::to_canonical).collect(), header }
    }

    /// Whether a trusted proxy is at `address`.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }

    /// The address of the client: that of the connection, or, if that is a trusted proxy, the last one in the header that
    /// is not.
    pub(crate) fn client(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut hops = self.header.hops(headers).take(HOPS_MAX);
        let mut address = connection.to_canonical();
        while self.contains(address) {
            // A proxy that does not know its peer, or does not say it, is all that is known of the client.
            let Some(Some(hop)) = hops.next() else { break };
            address = hop.to_canonical();
        }
        address
    }
}

impl ProxyHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => axum::http::header::FORWARDED,
        }
    }

    /// The elements of all lines, the last one first.
    fn hops(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let lines: Vec<&[u8]> = headers.get_all(self.name()).iter().map(HeaderValue::as_bytes).collect();
        let elements = lines.into_iter().rev().flat_map(move |line| match self {
            Self::XForwardedFor => Elements { rest: Some(line), has_quotes: false },
            Self::Forwarded => Elements { rest: Some(line), has_quotes: true },
        });
        // Empty elements are to be ignored (RFC 9110, section 5.6.1).
        elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).map(
            move |element| match self {
                Self::XForwardedFor => node(element),
                Self::Forwarded => forwarded_for(element),
            },
        )
    }
}

/// The elements of a list, from its end.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
    /// Whether a comma between quotes does not end an element.
    has_quotes: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut is_quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            match byte {
                b'"' if self.has_quotes && !is_escaped(rest, at) => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    let (before, element) = rest.split_at(at);
                    self.rest = Some(before);
                    return element.get(1..);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

/// Whether the byte at `at` follows an odd number of backslashes.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text.iter().take(at).rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// What `for=` in an element of `Forwarded` says.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let (mut found, mut is_quoted, mut begin) = (None, false, 0);
    for at in 0..=element.len() {
        match element.get(at) {
            Some(b'"') if !is_escaped(element, at) => {
                is_quoted = !is_quoted;
                continue;
            }
            Some(b';') if !is_quoted => {}
            None => {}
            Some(_) => continue,
        }
        let parameter = element.get(begin..at)?.trim_ascii();
        begin = at + 1;
        let Some((name, value)) = parameter.split_at_checked(b"for=".len()) else { continue };
        if name.eq_ignore_ascii_case(b"for=") && found.replace(value).is_some() {
            return None;
        }
    }
    if is_quoted { None } else { node(found?) }
}

/// The address in `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`, between
/// quotes or not.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return is_port(port).then_some(address.into());
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, _) = text.split_once(':')?;
    let port = text.get(address.len()..)?;
    let address: Ipv4Addr = address.parse().ok()?;
    is_port(port).then_some(address.into())
}

/// Nothing, or a colon and a port, which RFC 7239 lets a proxy obfuscate.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.parse::<u16>().is_ok() || port.starts_with('_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(header: ProxyHeader, connection: &str, lines: &[&[u8]]) -> IpAddr {
        let trusted = TrustedProxies::new(&[address("10.0.0.1"), address("10.0.0.2")], header);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), HeaderValue::from_bytes(line).unwrap());
        }
        trusted.client(address(connection), &headers)
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_its_peer() {
        let check = |connection: &str, lines: &[&[u8]], expected: &str| {
            let found = client(ProxyHeader::XForwardedFor, connection, lines);
            assert_eq!(found, address(expected), "{connection} {lines:?}");
        };
        check("192.0.2.1", &[b"198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &[b"198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &[b"198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &[b"203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &[b"203.0.113.9", b"198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &[b"198.51.100.7,, ,"], "198.51.100.7");
        check("10.0.0.1", &[b"\xff, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &[b"198.51.100.7", b"\xff\"[, 192.0.2.77"], "192.0.2.77");
        check("10.0.0.1", &[b"198.51.100.7:4711"], "198.51.100.7");
        check("10.0.0.1", &[b"2001:db8::7"], "2001:db8::7");
        check("10.0.0.1", &[b"[2001:db8::7]"], "2001:db8::7");
        check("10.0.0.1", &[b"[2001:db8::7]:4711"], "2001:db8::7");
        check("10.0.0.1", &[b"::ffff:198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[b"unknown"], "10.0.0.1");
        check("10.0.0.1", &[b"198.51.100.7:port"], "10.0.0.1");
        check("10.0.0.1", &[&b"10.0.0.2,".repeat(100)], "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_with_its_parameters_and_quotes() {
        let check = |lines: &[&[u8]], expected: &str| {
            let found = client(ProxyHeader::Forwarded, "10.0.0.1", lines);
            assert_eq!(found, address(expected), "{lines:?}");
        };
        check(&[b"for=198.51.100.7"], "198.51.100.7");
        check(&[b"For=\"198.51.100.7:4711\";proto=https; by=10.0.0.1"], "198.51.100.7");
        check(&[b"proto=https;for=\"[2001:db8::7]:4711\""], "2001:db8::7");
        check(&[b"for=203.0.113.9, for=198.51.100.7, for=10.0.0.2"], "198.51.100.7");
        check(&[b"for=203.0.113.9", b"for=198.51.100.7"], "198.51.100.7");
        check(&[b"for=198.51.100.7;host=\"a,for=203.0.113.9;b=c\""], "198.51.100.7");
        check(&[b"for=198.51.100.7;host=\"a\\\",for=203.0.113.9;b=\""], "198.51.100.7");
        check(&[b"for=\", for=198.51.100.7"], "198.51.100.7");
        check(&[b"for=203.0.113.9;for=198.51.100.7"], "10.0.0.1");
        check(&[b"for=_hidden"], "10.0.0.1");
        check(&[b"proto=https"], "10.0.0.1");
    }

    #[test]
    fn a_header_that_the_proxy_does_not_append_to_is_ignored() {
        let trusted = TrustedProxies::new(&[address("10.0.0.1")], ProxyHeader::XForwardedFor);
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", HeaderValue::from_static("for=203.0.113.9"));
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
        assert_eq!(trusted.client(address("10.0.0.1"), &headers), address("198.51.100.7"));
    }

    /// What a client can put into a header.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(b'"'),
            Just(b','),
            Just(b'\\'),
            Just(b'['),
            Just(b';'),
            Just(b'='),
            Just(b'\t'),
            0x20..=0x7e_u8,
            0x80..=0xff_u8
        ];
        proptest::collection::vec(byte, 0..40)
    }

    fn peer() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
            any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into())
        ]
        .prop_filter(
            "a client",
            |address: &IpAddr| !matches!(address.to_canonical(), IpAddr::V4(v4) if v4.octets()[0] == 10),
        )
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_changes_its_address(
            sent in proptest::collection::vec(line(), 0..4), peer in peer(), is_own_line: bool, has_port: bool
        ) {
            let port = if has_port { ":4711" } else { "" };
            let node = match peer {
                IpAddr::V4(address) => format!("{address}{port}"),
                IpAddr::V6(address) => format!("[{address}]{port}"),
            };
            for (header, appended) in
                [(ProxyHeader::XForwardedFor, node.clone()), (ProxyHeader::Forwarded, format!("for=\"{node}\""))]
            {
                let mut lines = sent.clone();
                match lines.last_mut() {
                    // As nginx does.
                    Some(last) if !is_own_line => last.extend([b", ", appended.as_bytes()].concat()),
                    // As HAProxy does.
                    _ => lines.push(appended.clone().into_bytes()),
                }
                let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(client(header, "10.0.0.1", &lines), peer.to_canonical());
            }
        }
    }
}
