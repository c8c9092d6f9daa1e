//! Who may ask the admin API, and the headers every answer has.
//!
//! With a token, whoever presents it. Without one the API listens on loopback only, and the
//! danger is the browser on this machine, which any web page can make ask: then the Host header
//! must name this machine (against DNS rebinding). What changes something must come from our own
//! page or from no page at all (against cross-site requests), token or not.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Answerable without a token: says only that the process lives, for supervisors without secrets.
pub const ALIVE: &str = "/healthz";

/// The status page: a browser cannot present a token before it has the page that asks for one. The
/// page holds no data; what it shows it fetches from the API, with the token.
pub const PAGE: &str = "/";

/// Answerable without a token on this machine: whether the node should be announced, for routers' scripts.
pub const READY: &str = "/ready";

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The secret callers present, if there is one.
pub type Token = Arc<Option<String>>;

/// Lets a request through, or tells why not. Adds the security headers either way.
pub async fn guard(State(token): State<Token>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Peer>().is_some_and(|Peer(peer)| peer.to_canonical().is_loopback());
    let caller = Caller { local, headers: request.headers() };
    let refused = check(token.as_deref(), request.method(), request.uri().path(), &caller).err();
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        // "A server generating a 401 response MUST send a WWW-Authenticate header field" (RFC 9110
        // section 15.5.2).
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"meridian\""));
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Who asks.
struct Caller<'a> {
    /// On this machine.
    local: bool,
    headers: &'a HeaderMap,
}

fn check(token: Option<&str>, method: &Method, path: &str, caller: &Caller<'_>) -> Result<(), Problem> {
    let headers = caller.headers;
    // "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
    // that lacks a Host header field and to any [...] that contains more than one" (RFC 9112
    // section 3.2).
    let host = single(headers, &header::HOST).ok_or_else(|| Problem::bad_request("one Host header is needed"))?;
    let reads = method == Method::GET || method == Method::HEAD;
    match token {
        Some(_) if reads && (path == ALIVE || path == PAGE) => {}
        // Those elsewhere show the token; a browser on this machine must not be led here by another name.
        Some(_) if reads && path == READY && caller.local && !headers.contains_key(header::AUTHORIZATION) => {
            check_host(host)?;
        }
        Some(token) => check_token(token, headers)?,
        None => check_host(host)?,
    }
    if !reads {
        check_origin(host, headers)?;
    }
    Ok(())
}

fn check_token(token: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let presented = single(headers, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    match presented {
        Some((scheme, presented)) if scheme.eq_ignore_ascii_case("Bearer") && same(token, presented.trim()) => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, "this is not the admin token")),
        None => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "an `Authorization: Bearer` header with the admin token is needed",
        )),
    }
}

/// Whether two secrets are equal, in a time that depends on the presented one's length alone.
fn same(secret: &str, presented: &str) -> bool {
    let (secret, presented) = (secret.as_bytes(), presented.as_bytes());
    let at = |index: usize| secret.get(index).copied().unwrap_or(0);
    let differing = presented.iter().enumerate().fold(0, |sum, (index, octet)| sum | (octet ^ at(index)));
    std::hint::black_box(differing) == 0 && secret.len() == presented.len()
}

fn check_host(host: &str) -> Result<(), Problem> {
    let authority: Option<Authority> = host.parse().ok().filter(|_| !host.contains('@'));
    let name = authority.as_ref().map_or("", Authority::host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let ours = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    };
    if ours {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        format!(
            "the Host `{host}` is not this machine: without an admin token, ask by a loopback address or localhost"
        ),
    ))
}

fn check_origin(host: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = Problem::new(StatusCode::FORBIDDEN, "the request was made by another site's page");
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(foreign);
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let at = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match at {
        Some((_, from)) if from.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(foreign),
    }
}

/// The header's value, where it is there once and is text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// For whatever a browser may make of an answer. The status page brings a policy of its own.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    fn status(token: Option<&str>, method: Method, path: &str, of: &[(&'static str, &str)]) -> u16 {
        asked_by(false, token, method, path, of)
    }

    fn asked_by(local: bool, token: Option<&str>, method: Method, path: &str, of: &[(&'static str, &str)]) -> u16 {
        match check(token, &method, path, &Caller { local, headers: &headers(of) }) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn without_a_token_only_this_machine_may_be_named() {
        let ours = ["localhost", "LOCALHOST:8053", "localhost.:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8053"];
        let foreign = ["evil.example", "evil.example:8053", "192.0.2.1", "[2001:db8::1]:80", "localhost.evil.example"];
        let odd = [
            "",
            ":",
            "[",
            "[]:1",
            "::1:",
            "127.0.0.1.evil.example",
            "localhost:1:2",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
        ];
        for host in ours {
            assert_eq!(status(None, Method::GET, "/", &[("host", host)]), 200, "{host}");
        }
        for host in foreign.iter().chain(&odd) {
            assert_eq!(status(None, Method::GET, "/", &[("host", host)]), 403, "{host:?}");
        }
        assert_eq!(status(None, Method::GET, "/", &[]), 400);
        let mut twice = headers(&[("host", "localhost")]);
        twice.append("host", HeaderValue::from_static("localhost"));
        assert!(check(None, &Method::GET, "/", &Caller { local: true, headers: &twice }).is_err());
    }

    #[test]
    fn a_token_opens_all_and_nothing_like_it_does() {
        let secret = "0123456789abcdef";
        let ask =
            |value: &str| status(Some(secret), Method::GET, "/v1/status", &[("host", "h"), ("authorization", value)]);
        assert_eq!(ask("Bearer 0123456789abcdef"), 200);
        assert_eq!(ask("bearer 0123456789abcdef"), 200);
        let wrong =
            ["Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer 0123456789abcdeF"];
        for value in wrong.iter().chain(&["Basic 0123456789abcdef", "0123456789abcdef", "Bearer 0123456789abcdef\0"]) {
            let Ok(_) = value.parse::<HeaderValue>() else { continue };
            assert_eq!(ask(value), 401, "{value:?}");
        }
        for open in [ALIVE, PAGE] {
            assert_eq!(status(Some(secret), Method::GET, open, &[("host", "h")]), 200);
            assert_eq!(status(Some(secret), Method::POST, open, &[("host", "h")]), 401);
        }
        for like in ["//", "/?", "/.", "/./", "/%2f", "/healthz/", "/v1/status", ""] {
            assert_eq!(status(Some(secret), Method::GET, like, &[("host", "h")]), 401, "{like}");
        }
    }

    #[test]
    fn scripts_on_this_machine_need_no_token_for_readiness_alone() {
        let secret = Some("0123456789abcdef");
        let ask = |local, method, path, host| asked_by(local, secret, method, path, &[("host", host)]);
        assert_eq!(ask(true, Method::GET, READY, "127.0.0.1:8053"), 200);
        assert_eq!(ask(false, Method::GET, READY, "127.0.0.1:8053"), 401);
        assert_eq!(ask(true, Method::GET, READY, "evil.example"), 403);
        assert_eq!(ask(true, Method::POST, READY, "localhost"), 401);
        assert_eq!(ask(true, Method::GET, "/readyz", "localhost"), 401);
        assert_eq!(ask(true, Method::POST, "/v1/node/drain", "localhost"), 401);
        let wrong = [("host", "localhost"), ("authorization", "Bearer 0123456789abcdeX")];
        assert_eq!(asked_by(true, secret, Method::GET, READY, &wrong), 401);
    }

    #[test]
    fn other_sites_pages_change_nothing() {
        let post = |of: &[(&'static str, &str)]| {
            let mut all = vec![("host", "127.0.0.1:8053")];
            all.extend_from_slice(of);
            status(None, Method::POST, "/v1/reload", &all)
        };
        assert_eq!(post(&[]), 200);
        assert_eq!(post(&[("origin", "http://127.0.0.1:8053"), ("sec-fetch-site", "same-origin")]), 200);
        assert_eq!(post(&[("sec-fetch-site", "none")]), 200);
        for site in ["cross-site", "same-site", ""] {
            assert_eq!(post(&[("sec-fetch-site", site)]), 403, "{site:?}");
        }
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8054", "http://127.0.0.1", ""] {
            assert_eq!(post(&[("origin", origin)]), 403, "{origin:?}");
        }
    }
}
