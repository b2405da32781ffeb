//! The signature base string of OAuth 1.0a (RFC 5849, section 3.4.1).

use std::borrow::Cow;

use axum::http::Method;

use crate::percent;

/// The base string of a request to `url`, which has no query, with the raw `query` and the decoded `parameters` of header
/// and form. `None`: the query cannot be decoded.
pub(super) fn base_string(
    method: &Method,
    url: &str,
    query: &str,
    parameters: &[(String, String)],
) -> Option<String> {
    let mut encoded: Vec<(String, String)> =
        parameters.iter().map(|(name, value)| (percent::encode(name), percent::encode(value))).collect();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        encoded.push((percent::encode(&decode_form(name)?), percent::encode(&decode_form(value)?)));
    }
    // By encoded name and then by encoded value, as bytes.
    encoded.sort_unstable();
    let pairs: Vec<String> = encoded.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parts = [method.as_str(), url, &pairs.join("&")];
    Some(parts.map(percent::encode).join("&"))
}

/// A query is encoded like a form, in which `+` is a space.
fn decode_form(encoded: &str) -> Option<String> {
    let encoded: Cow<'_, str> =
        if encoded.contains('+') { encoded.replace('+', "%20").into() } else { encoded.into() };
    percent::decode(&encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
        parameters.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// RFC 5849, section 3.4.1.1. The last two parameters are those of its form.
    #[test]
    fn the_example_of_the_standard_gives_its_base_string() {
        let parameters = owned(&[
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
            ("c2", ""),
            ("a3", "2 q"),
        ]);
        let made = base_string(
            &Method::POST,
            "http://example.com/request",
            "b5=%3D%253D&a3=a&c%40=&a2=r%20b",
            &parameters,
        );
        let expected = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D\
            %25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a\
            %26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7";
        assert_eq!(made.as_deref(), Some(expected));
    }

    /// RFC 5849, section 1.2: the request for the photograph.
    #[test]
    fn a_query_is_part_of_the_parameters_and_not_of_the_url() {
        let parameters = owned(&[
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_token", "nnch734d00sl2jdk"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131202"),
            ("oauth_nonce", "chapoH"),
        ]);
        let made = base_string(
            &Method::GET,
            "http://photos.example.net/photos",
            "file=vacation.jpg&size=original",
            &parameters,
        );
        let expected = "GET&http%3A%2F%2Fphotos.example.net%2Fphotos&file%3Dvacation.jpg%26\
            oauth_consumer_key%3Ddpf43f3p2l4k3l03%26oauth_nonce%3DchapoH%26oauth_signature_method%3DHMAC-SHA1%26\
            oauth_timestamp%3D137131202%26oauth_token%3Dnnch734d00sl2jdk%26size%3Doriginal";
        assert_eq!(made.as_deref(), Some(expected));
    }

    #[test]
    fn a_query_that_cannot_be_decoded_has_no_base_string() {
        assert_eq!(base_string(&Method::GET, "http://a/", "a=%zz", &[]), None);
        assert!(base_string(&Method::GET, "http://a/", "a=%7A", &[]).is_some());
    }
}
