//! The Explorer: the page at `/`, whose files are in this binary. Nothing of it comes from elsewhere, and its policy
//! lets nothing else in.

mod assets;

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};

use super::{
    AppState,
    caching::{EntityTag, Keep, set},
    error::Failure,
};
use crate::error::{Error, ErrorKind, Result};
use assets::{ASSETS, Asset, INDEX};

/// What the page may do: run and load what this server has, and nothing of a string that came from anybody. Sinks that
/// make markup or code of a string are closed by Trusted Types without a single policy.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const MISSING: &str = "the Explorer has no such file";

/// The routes of the page. Where it is disabled, `/` leads everybody to the documentation.
pub(super) fn routes(enabled: bool) -> Router<AppState> {
    if enabled {
        Router::new().route("/", get(root)).route("/ui/{*path}", get(file))
    } else {
        Router::new().route("/", get(async || documentation()))
    }
}

/// The page for those who ask for one, as browsers do; all others are led to the documentation.
async fn root(headers: HeaderMap) -> Result<Response, Failure> {
    let mut response = if wants_page(&headers) { INDEX.answer(&headers)? } else { documentation() };
    set(&mut response, header::VARY, "accept")?;
    Ok(response)
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let asset = asset.ok_or_else(|| Error::new(ErrorKind::RouteNotFound, MISSING))?;
    Ok(asset.answer(&headers)?)
}

fn documentation() -> Response {
    Redirect::temporary("docs/").into_response()
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

impl Asset {
    fn answer(&self, headers: &HeaderMap) -> Result<Response> {
        let tag = EntityTag::of(&[&BUILD]);
        if tag.is_known(headers) {
            return tag.unchanged(Keep::Asking);
        }
        let mut response = self.bytes.into_response();
        set(&mut response, header::CONTENT_TYPE, self.media_type())?;
        if self.is_page() {
            set(&mut response, header::CONTENT_SECURITY_POLICY, POLICY)?;
            set(&mut response, header::REFERRER_POLICY, "no-referrer")?;
        }
        tag.on(response, Keep::Asking)
    }
}

/// What names the files of this binary: the hash of all of them, so that they are taken anew together.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for asset in ASSETS.iter().chain([&INDEX]) {
        hasher.update(asset.path.as_bytes()).update(asset.bytes);
    }
    hasher.finalize().to_hex()[..16].to_owned()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_name_html_want_the_page() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("Text/HTML;q=0.3", true),
            ("*/*", false),
            ("application/json", false),
            ("text/html;q=0, */*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_page(&headers), expected, "{accept}");
        }
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn the_assets_stay_small() {
        let bytes: usize = ASSETS.iter().chain([&INDEX]).map(|asset| asset.bytes.len()).sum();
        assert!(bytes < 200_000, "{bytes} bytes of assets");
    }

    #[test]
    fn every_file_of_the_page_is_served_and_nothing_in_it_comes_from_elsewhere() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/explorer/page");
        let mut folders = vec![folder.clone()];
        let mut found = Vec::new();
        while let Some(inside) = folders.pop() {
            for entry in std::fs::read_dir(inside).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort_unstable();
        let mut served: Vec<_> = ASSETS.iter().chain([&INDEX]).map(|asset| asset.path.to_owned()).collect();
        served.sort_unstable();
        assert_eq!(served, found);
        for asset in ASSETS.iter().filter(|asset| !asset.path.starts_with("vendor/")) {
            let text = String::from_utf8_lossy(asset.bytes);
            for sink in ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://"] {
                assert!(!text.contains(sink), "{} has {sink}", asset.path);
            }
        }
    }
}
