//! Fuzzes reports of uses: an accepted report has one text, which fits a datagram.

#![no_main]

use pushkeys_cache::{USED_BYTES_MAX, Used};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(used) = Used::parse(data) {
        let text = used.to_text();
        assert_eq!(text.as_bytes(), data, "a use is said in one way");
        assert!(text.len() <= USED_BYTES_MAX && !text.contains(['\n', '\0', '\u{1b}']));
        assert_eq!(Used::parse(text.as_bytes()), Ok(used));
    }
});
