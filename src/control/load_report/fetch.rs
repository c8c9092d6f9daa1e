//! One fetch of a load report, bounded in time and size: a GET, or a question to a stats socket.
//!
//! A feed that hangs costs only itself. Connections, and the first [`SMALL_BODY`] of each answer,
//! wait for nobody else; there are at most as many as regions. Only what is longer takes one of
//! [`MOST_LARGE`] places, so that all bodies together stay within some 100 MiB.

use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::redirect::Policy;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::probe::fault::{OwnFaults, own_fault};
use crate::control::probe::outcome::chain;
use crate::control::probe::resolve::Resolver;
use crate::control::probe::tls::{Trust, client_config};
use crate::model::{LoadFormat, Scrape, ScrapeAddress};

use super::LoadError;

/// The longest body taken, in octets: HAProxy's statistics of 8,000 servers.
pub(super) const MOST_BODY: usize = 4 * 1024 * 1024;
/// A body up to this length takes no place, in octets: all but the statistics of large balancers.
pub(super) const SMALL_BODY: usize = 64 * 1024;
/// Longer bodies at once.
pub(super) const MOST_LARGE: usize = 8;

/// The command sent to HAProxy's stats socket (its management guide, section 9.3). It answers and closes.
const SHOW_STAT: &[u8] = b"show stat\n";

/// Prometheus' text format is asked for by name: some exporters prefer another.
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain;version=0.0.4,text/plain;q=0.5,*/*;q=0.1");

/// Fetches load reports. Certificates are verified by the system's roots; proxies named in the
/// environment are not used: the figures are to be this region's own.
pub(super) struct Fetcher {
    client: Result<reqwest::Client, LoadError>,
    resolver: Resolver,
    large: Arc<Semaphore>,
    /// Scrapes that could not be made.
    pub(super) faults: Arc<OwnFaults>,
}

/// A whole answer, and its place among the large ones while it lives.
pub(super) struct Body {
    pub(super) octets: Vec<u8>,
    place: Option<OwnedSemaphorePermit>,
}

impl Fetcher {
    pub(super) fn new() -> Fetcher {
        let resolver = Resolver::default();
        let client = client(resolver.clone()).map_err(LoadError::Fetch);
        let (large, faults) = (Arc::new(Semaphore::new(MOST_LARGE)), Arc::new(OwnFaults::new("a scrape")));
        Fetcher { client, resolver, large, faults }
    }

    /// The body of a 2xx answer, or all that a socket says. A user and password in the URL become
    /// basic authentication.
    pub(super) async fn fetch(&self, scrape: &Scrape) -> Result<Body, LoadError> {
        let fetching = async {
            match &scrape.from {
                ScrapeAddress::Http(url) => self.get(url, &scrape.format).await,
                ScrapeAddress::Tcp { host, port } => {
                    let addresses = self.resolver.lookup(host.clone(), *port).await.map_err(not_reached)?;
                    self.ask(TcpStream::connect(addresses.as_slice()).await.map_err(not_reached)?).await
                }
                ScrapeAddress::Unix(path) => self.ask(UnixStream::connect(path).await.map_err(not_reached)?).await,
            }
        };
        tokio::time::timeout(scrape.timeout, fetching).await.unwrap_or_else(|_| Err(late(scrape.timeout)))
    }

    #[cfg(test)]
    pub(super) fn free_places(&self) -> usize {
        self.large.available_permits()
    }

    async fn get(&self, url: &str, format: &LoadFormat) -> Result<Body, LoadError> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let mut request = client.get(url);
        if matches!(format, LoadFormat::Prometheus { .. }) {
            request = request.header(ACCEPT, PROMETHEUS_TEXT);
        }
        let mut response = request.send().await.map_err(not_fetched)?;
        if !response.status().is_success() {
            return Err(LoadError::Status(response.status().as_u16()));
        }
        let mut body = Body { octets: Vec::new(), place: None };
        while let Some(chunk) = response.chunk().await.map_err(not_fetched)? {
            body.take(&chunk, &self.large).await?;
        }
        Ok(body)
    }

    /// Asks a stats socket, and reads until it closes.
    async fn ask(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Body, LoadError> {
        stream.write_all(SHOW_STAT).await.map_err(not_reached)?;
        let (mut body, mut chunk) = (Body { octets: Vec::new(), place: None }, vec![0; 16 * 1024]);
        loop {
            match stream.read(&mut chunk).await.map_err(not_reached)? {
                0 => return Ok(body),
                length => body.take(chunk.get(..length).unwrap_or_default(), &self.large).await?,
            }
        }
    }
}

impl Body {
    async fn take(&mut self, chunk: &[u8], large: &Arc<Semaphore>) -> Result<(), LoadError> {
        let length = self.octets.len() + chunk.len();
        if length > MOST_BODY {
            return Err(LoadError::TooLong(MOST_BODY));
        }
        if length > SMALL_BODY && self.place.is_none() {
            // The semaphore is never closed; the scrape's timeout ends the wait.
            self.place = large.clone().acquire_owned().await.ok();
        }
        self.octets.extend_from_slice(chunk);
        Ok(())
    }
}

fn client(resolver: Resolver) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(Trust::System)?)
        .dns_resolver(BoundedResolver(resolver))
        .no_proxy()
        .redirect(Policy::none())
        // A connection kept open would count as a session of the balancer that is asked.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("meridian-load/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}

fn late(timeout: Duration) -> LoadError {
    LoadError::Fetch(format!("no answer in time: waited {} ms", timeout.as_millis()))
}

fn not_reached(error: std::io::Error) -> LoadError {
    own_fault(&error).map_or_else(|| LoadError::Fetch(chain(&error)), LoadError::Own)
}

/// Without its URL, which may hold a password.
fn not_fetched(error: reqwest::Error) -> LoadError {
    let error = error.without_url();
    own_fault(&error).map_or_else(|| LoadError::Fetch(chain(&error)), LoadError::Own)
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
