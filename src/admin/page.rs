//! The dashboard: files that were built from `page/src` and are embedded here. Hold no data themselves: the page
//! fetches what it shows from the API.
//!
//! ```text
//!   page/src ── npm run build ──▶ page/dist (committed) ── include_bytes! ──▶ GET /, GET /page/FILE
//! ```
//!
//! Its Content-Security-Policy allows scripts and styles of this server alone, none that are inline, and no text to
//! become markup: whatever an endpoint puts into a probe's outcome stays text.

use axum::extract::Path;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::Problem;

/// Files the page is made of, and documents that it links to.
pub const FILE_ROUTE: &str = "/page/{file}";

/// `GET /`.
pub async fn page(headers: HeaderMap) -> Response {
    served(&FILES[0], &headers)
}

/// `GET /page/FILE`.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => served(file, &headers),
        None => Problem::new(StatusCode::NOT_FOUND, "the page has no such file").into_response(),
    }
}

struct File {
    name: &'static str,
    kind: &'static str,
    whole: &'static [u8],
    /// The same, compressed.
    gzip: Option<&'static [u8]>,
}

macro_rules! built {
    ($name:literal, $kind:literal) => {
        File {
            name: $name,
            kind: $kind,
            whole: include_bytes!(concat!("page/dist/", $name)),
            gzip: Some(include_bytes!(concat!("page/dist/", $name, ".gz"))),
        }
    };
}

macro_rules! document {
    ($name:literal) => {
        File {
            name: $name,
            kind: "text/plain; charset=utf-8",
            whole: include_bytes!(concat!("../../docs/", $name)),
            gzip: None,
        }
    };
}

/// The page itself first.
const FILES: &[File] = &[
    built!("index.html", "text/html; charset=utf-8"),
    built!("app.js", "text/javascript; charset=utf-8"),
    built!("app.css", "text/css; charset=utf-8"),
    File {
        name: "THIRD-PARTY.txt",
        kind: "text/plain; charset=utf-8",
        whole: include_bytes!("page/dist/THIRD-PARTY.txt"),
        gzip: None,
    },
    document!("configuration.md"),
    document!("dashboard.md"),
    document!("events.md"),
    document!("health-checks.md"),
    document!("load-reports.md"),
    document!("policies.md"),
    document!("reference.md"),
    document!("status.md"),
    document!("what-if.md"),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The file, compressed where the browser takes it so; 304 where it has it already.
fn served(file: &File, asked: &HeaderMap) -> Response {
    let packed = file.gzip.filter(|_| takes_gzip(asked));
    let body = packed.unwrap_or(file.whole);
    let tag = tag(body);
    // Kept by the browser, but asked about every time: after an upgrade nobody sees yesterday's page.
    let mut headers = vec![
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    if knows(asked, &tag) {
        return (StatusCode::NOT_MODIFIED, map(headers)).into_response();
    }
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static(file.kind)));
    if packed.is_some() {
        headers.push((header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    }
    (map(headers), body).into_response()
}

fn map(headers: Vec<(HeaderName, HeaderValue)>) -> HeaderMap {
    headers.into_iter().collect()
}

/// A strong validator (RFC 9110 section 8.8.3): another one for the compressed form.
fn tag(body: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, body);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12]))
}

/// Whether one of If-None-Match's tags is this one (RFC 9110 section 13.1.2).
fn knows(asked: &HeaderMap, tag: &str) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// Whether `gzip` is among what is accepted, not with a weight of 0 (RFC 9110 section 12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let accepted = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=").parse().unwrap_or(1.0);
        name.trim().eq_ignore_ascii_case("gzip") && weight > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    fn text(name: &str) -> &'static str {
        let file = FILES.iter().find(|file| file.name == name).expect("a file");
        std::str::from_utf8(file.whole).expect("text")
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        let html = text("index.html");
        for inline in ["<style", " style=", " onclick", " onload", "javascript:", "http:", "https:"] {
            assert!(!html.contains(inline), "{inline}");
        }
        assert!(html.matches("<script").count() == 1 && html.contains("<script src=\"/page/app.js\""), "{html}");
        assert!(html.contains("<link rel=\"stylesheet\" href=\"/page/app.css\">"), "{html}");
        assert!(!text("app.css").contains("url(") && !text("app.css").contains("@import"));
        assert!(!POLICY.contains("unsafe"));
    }

    /// The sources, since a library may have a word that it is never asked to use; the policy forbids it to.
    #[test]
    fn text_from_the_server_never_becomes_markup() {
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page/src");
        let mut seen = 0;
        for entry in std::fs::read_dir(sources).expect("a folder") {
            let path = entry.expect("an entry").path();
            let source = std::fs::read_to_string(&path).expect("text");
            seen += usize::from(path.extension().is_some_and(|kind| kind == "jsx"));
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "dangerously"] {
                assert!(!source.contains(word), "{word} in {}", path.display());
            }
        }
        assert!(seen > 3, "the sources are not where they were");
    }

    #[test]
    fn the_whole_page_stays_small() {
        let built = FILES.iter().filter(|file| file.gzip.is_some());
        let (whole, packed) = built.fold((0, 0), |(whole, packed), file| {
            (whole + file.whole.len(), packed + file.gzip.map_or(0, <[u8]>::len))
        });
        assert!(whole < 250_000 && packed < 100_000, "{whole} octets, {packed} compressed");
    }

    #[test]
    fn a_browser_that_has_the_file_is_not_sent_it_again() {
        let first = served(&FILES[1], &asked(&[("accept-encoding", "br, gzip;q=0.8")]));
        assert_eq!(first.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = first.headers()[header::ETAG].to_str().expect("text");
        let again =
            served(&FILES[1], &asked(&[("accept-encoding", "gzip"), ("if-none-match", &format!("\"x\", W/{tag}"))]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[header::ETAG], tag);
        let plain = served(&FILES[1], &asked(&[("accept-encoding", "gzip;q=0, identity"), ("if-none-match", tag)]));
        assert_eq!((plain.status(), plain.headers().get(header::CONTENT_ENCODING)), (StatusCode::OK, None));
    }
}
