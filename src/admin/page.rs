//! The status page: one self-contained HTML file that polls the API. Holds no data itself.
//!
//! Its Content-Security-Policy allows exactly the style and the script in it, by their hashes, and
//! requests to this server: whatever text an endpoint puts into a probe's outcome stays text.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// `GET /`.
pub async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, PAGE.policy.as_str())], Html(PAGE.html.as_str()))
}

struct Page {
    html: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let (style, script) = (include_str!("page.css"), include_str!("page.js"));
    let html = include_str!("page.html").replace("{{style}}", style).replace("{{script}}", script);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        sha256(style),
        sha256(script),
    );
    Page { html, policy }
});

/// SHA-256 in base64, by the hash the TLS library brings: no other one is needed here.
fn sha256(text: &str) -> String {
    match TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => STANDARD.encode(suite.common.hash_provider.hash(text.as_bytes())),
        _ => String::new(), // no hash allows nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_what_is_in_the_page_and_nothing_inline_besides() {
        // FIPS 180-4's example.
        assert_eq!(sha256("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        let html = &PAGE.html;
        for (tag, source) in [("style", "style-src"), ("script", "script-src")] {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let inside = html.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).expect(tag).0;
            assert!(PAGE.policy.contains(&format!("{source} 'sha256-{}'", sha256(inside))), "{tag}");
            assert_eq!(html.matches(&format!("<{tag}")).count(), 1, "one {tag}");
        }
        assert!(!html.contains("{{") && !html.contains(" style=") && !html.contains("onclick"));
    }

    #[test]
    fn text_from_the_server_never_becomes_markup() {
        let script = include_str!("page.js");
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"] {
            assert!(!script.contains(word), "{word}");
        }
    }
}
