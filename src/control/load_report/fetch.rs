//! One GET of a load report, bounded in time and size.

use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use crate::control::probe::outcome::chain;
use crate::control::probe::resolve::Resolver;
use crate::control::probe::tls::{Trust, client_config};

use super::LoadError;

/// The longest body taken, in octets.
pub(super) const MOST_BODY: usize = 1024 * 1024;

/// Fetches load reports. Certificates are verified by the system's roots; proxies named in the
/// environment are not used: the figures are to be this region's own.
pub(super) struct Fetcher {
    client: Result<reqwest::Client, LoadError>,
}

impl Fetcher {
    pub(super) fn new() -> Fetcher {
        Fetcher { client: client().map_err(LoadError::Fetch) }
    }

    /// The body of a 2xx answer. A user and password in the URL become basic authentication.
    pub(super) async fn fetch(&self, url: &str, timeout: Duration) -> Result<Vec<u8>, LoadError> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let mut response = client.get(url).timeout(timeout).send().await.map_err(not_fetched)?;
        if !response.status().is_success() {
            return Err(LoadError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(not_fetched)? {
            if body.len() + chunk.len() > MOST_BODY {
                return Err(LoadError::TooLong(MOST_BODY));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(Trust::System)?)
        .dns_resolver(BoundedResolver(Resolver::default()))
        .no_proxy()
        .redirect(Policy::none())
        // A connection kept open would count as a session of the balancer that is asked.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("meridian-load/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}

/// Without its URL, which may hold a password.
fn not_fetched(error: reqwest::Error) -> LoadError {
    let late = error.is_timeout();
    let text = chain(&error.without_url());
    LoadError::Fetch(if late { format!("no answer in time: {text}") } else { text })
}

struct BoundedResolver(Resolver);

impl Resolve for BoundedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            // Port 0: reqwest puts in the URL's.
            let found = resolver.lookup(name.as_str().to_owned(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
