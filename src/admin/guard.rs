//! Who may ask the admin API, and the headers every answer has.
//!
//! With tokens, whoever presents one, with the role it has. Without any the API listens on loopback only, and the
//! danger is the browser on this machine, which any web page can make ask: then the Host header
//! must name this machine (against DNS rebinding). What changes something must come from our own
//! page or from no page at all (against cross-site requests), token or not.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::control::access::{Role, SharedTokens};

use super::problem::Problem;

/// Answerable without a token: says only that the process lives, for supervisors without secrets.
pub const ALIVE: &str = "/healthz";

/// The dashboard: a browser cannot present a token before it has the page that asks for one. The
/// page holds no data; what it shows it fetches from the API, with the token.
pub const PAGE: &str = "/";

/// What the page is made of lies below this.
pub const PAGE_FILES: &str = "/page/";

/// Answerable without a token on this machine: whether the node should be announced, for routers' scripts.
pub const READY: &str = "/ready";

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Address(IpAddr),
    /// A user of this machine, by the socket whose permissions say who may ask.
    User(u32),
}

impl Peer {
    /// The address by which connections are counted; that of users is nobody else's.
    pub fn place(self) -> IpAddr {
        match self {
            Peer::Address(address) => address,
            Peer::User(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// An address, or `unix`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => address.to_canonical().fmt(f),
            Peer::User(_) => f.write_str("unix"),
        }
    }
}

/// Whom the certificate of a connection names, where one was asked for (`admin.client_ca`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified(pub Arc<str>);

/// Who may ask. Without a token and a file of tokens: whoever asks on loopback.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The one that opens all (`admin.token_file`).
    pub token: Option<String>,
    /// Those with names and roles (`admin.tokens_file`).
    pub tokens: SharedTokens,
}

/// Who asks, as far as is known, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub name: Arc<str>,
    pub role: Role,
}

impl Caller {
    fn new(name: impl Into<Arc<str>>, role: Role) -> Caller {
        Caller { name: name.into(), role }
    }

    /// Those who show nothing, where nothing is asked for.
    pub fn nobody() -> Caller {
        Caller::new("nobody", Role::Read)
    }
}

/// Lets a request through with its caller, or tells why not. Adds the security headers either way.
pub async fn guard(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let (peer, certified) = (request.extensions().get().copied(), request.extensions().get().cloned());
    let asker = Asker { peer, certified, headers: request.headers() };
    let mut response = match check(&access, request.method(), request.uri().path(), &asker) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
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

/// What is seen of who asks.
struct Asker<'a> {
    peer: Option<Peer>,
    certified: Option<Certified>,
    headers: &'a HeaderMap,
}

impl Asker<'_> {
    /// On this machine.
    fn is_local(&self) -> bool {
        matches!(self.peer, Some(Peer::Address(address)) if address.to_canonical().is_loopback())
    }
}

fn check(access: &Access, method: &Method, path: &str, asker: &Asker<'_>) -> Result<Caller, Problem> {
    let headers = asker.headers;
    // "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
    // that lacks a Host header field and to any [...] that contains more than one" (RFC 9112
    // section 3.2).
    let host = single(headers, &header::HOST).ok_or_else(|| Problem::bad_request("one Host header is needed"))?;
    let reads = method == Method::GET || method == Method::HEAD;
    let is_guarded = access.token.is_some() || access.tokens.load().is_some();
    let caller = match asker.peer {
        // No browser gets here.
        Some(Peer::User(user)) => return Ok(Caller::new(format!("uid {user}"), Role::Admin)),
        _ if !is_guarded => match &asker.certified {
            Some(Certified(name)) => Caller::new(name.clone(), Role::Admin),
            None => {
                check_host(host)?;
                Caller::new("local", Role::Admin)
            }
        },
        _ if reads && (path == ALIVE || is_page(path)) => Caller::nobody(),
        // Those elsewhere show the token; a browser on this machine must not be led here by another name.
        _ if reads && path == READY && asker.is_local() && !headers.contains_key(header::AUTHORIZATION) => {
            check_host(host)?;
            Caller::nobody()
        }
        _ => check_token(access, headers)?,
    };
    if !reads {
        check_origin(host, headers)?;
    }
    Ok(caller)
}

/// The page, or one of its files: nothing deeper.
fn is_page(path: &str) -> bool {
    path == PAGE || path.strip_prefix(PAGE_FILES).is_some_and(|file| !file.contains('/'))
}

fn check_token(access: &Access, headers: &HeaderMap) -> Result<Caller, Problem> {
    let presented = single(headers, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let Some((scheme, presented)) = presented else {
        let error = "an `Authorization: Bearer` header with the admin token is needed";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, error));
    };
    let presented = presented.trim();
    let is_bearer = scheme.eq_ignore_ascii_case("Bearer");
    if is_bearer && access.token.as_deref().is_some_and(|token| same(token, presented)) {
        return Ok(Caller::new("token", Role::Admin));
    }
    let tokens = access.tokens.load();
    let known = tokens.as_ref().as_ref().filter(|_| is_bearer).and_then(|tokens| tokens.find(presented));
    let known = known.map(|(name, role)| Caller::new(name, role));
    known.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "this is not the admin token, nor anybody's"))
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

/// For whatever a browser may make of an answer. The dashboard brings a policy of its own.
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
    use crate::control::access::{self, NewToken, Tokens};

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    fn access(token: Option<&str>) -> Access {
        Access { token: token.map(str::to_owned), ..Access::default() }
    }

    fn status(token: Option<&str>, method: Method, path: &str, of: &[(&'static str, &str)]) -> u16 {
        asked_by(false, token, method, path, of)
    }

    fn asked_by(local: bool, token: Option<&str>, method: Method, path: &str, of: &[(&'static str, &str)]) -> u16 {
        let peer = local.then_some(Peer::Address(IpAddr::from([127, 0, 0, 1])));
        match check(&access(token), &method, path, &Asker { peer, certified: None, headers: &headers(of) }) {
            Ok(_) => 200,
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
        assert!(
            check(&access(None), &Method::GET, "/", &Asker { peer: None, certified: None, headers: &twice }).is_err()
        );
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
        for open in [ALIVE, PAGE, "/page/app.js"] {
            assert_eq!(status(Some(secret), Method::GET, open, &[("host", "h")]), 200);
            assert_eq!(status(Some(secret), Method::POST, open, &[("host", "h")]), 401);
        }
        for like in [
            "//",
            "/?",
            "/.",
            "/./",
            "/%2f",
            "/healthz/",
            "/v1/status",
            "",
            "/page",
            "/pages/app.js",
            "/page/../v1/status",
        ] {
            assert_eq!(status(Some(secret), Method::GET, like, &[("host", "h")]), 401, "{like}");
        }
    }

    #[test]
    fn tokens_have_names_and_roles_and_a_reload_opens_nothing() {
        let alice = NewToken::make("alice", Role::Operate).expect("made");
        let access = Access::default();
        let caller = |peer, bearer: &str| {
            let headers = headers(&[("host", "gslb1.example"), ("authorization", &format!("Bearer {bearer}"))]);
            check(&access, &Method::POST, "/v1/reload", &Asker { peer, certified: None, headers: &headers }).ok()
        };
        assert_eq!(caller(None, &alice.secret), None, "nobody is known: only loopback may ask");
        access::renew(&access.tokens, Some(Tokens::parse(&alice.lines).expect("tokens")));
        assert_eq!(caller(None, &alice.secret), Some(Caller::new("alice", Role::Operate)));
        assert_eq!(caller(None, "meridian_x"), None);
        assert_eq!(caller(Some(Peer::User(7)), ""), Some(Caller::new("uid 7", Role::Admin)));
        access::renew(&access.tokens, None);
        assert_eq!(caller(None, &alice.secret), None);
        let local = headers(&[("host", "localhost")]);
        let asker = Asker { peer: None, certified: None, headers: &local };
        assert!(check(&access, &Method::GET, "/v1/status", &asker).is_err(), "it was guarded, and stays so");
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
