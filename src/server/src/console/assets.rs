//! Style sheet, script and icon, which are part of the program and served under names that contain a digest.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::secret::TokenDigest;

/// Browsers may keep them, since other contents have another name.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Characters of the digest in a name.
const MARK_CHARACTERS: usize = 12;

/// The paths of the files.
pub(super) struct Assets {
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
}

struct File {
    name: &'static str,
    extension: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const STYLE: File = File {
    name: "console",
    extension: "css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../assets/console.css"),
};
const SCRIPT: File = File {
    name: "console",
    extension: "js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../assets/console.js"),
};
const ICON: File = File {
    name: "icon",
    extension: "svg",
    media_type: "image/svg+xml",
    content: include_str!("../../assets/icon.svg"),
};

/// The paths, computed once.
pub(super) fn assets() -> &'static Assets {
    static ASSETS: LazyLock<Assets> =
        LazyLock::new(|| Assets { style: STYLE.path(), script: SCRIPT.path(), icon: ICON.path() });
    &ASSETS
}

impl File {
    fn path(&self) -> String {
        let mark: String = TokenDigest::of(self.content).to_hex().chars().take(MARK_CHARACTERS).collect();
        format!("/assets/{}-{mark}.{}", self.name, self.extension)
    }
}

/// `GET /assets/{file}`
pub(super) async fn show(Path(wanted): Path<String>) -> Response {
    let path = format!("/assets/{wanted}");
    let assets = assets();
    let known = [(&assets.style, STYLE), (&assets.script, SCRIPT), (&assets.icon, ICON)];
    match known.into_iter().find(|(known, _)| **known == path) {
        Some((_, file)) => {
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(file.media_type)), (CACHE_CONTROL, KEPT)];
            (headers, file.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
