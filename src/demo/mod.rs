//! The demo: a whole deployment on one machine, with everything embedded.
//!
//! ```text
//!   zones/gslb.example.toml ─┐                       ┌─▶ five regions' balancers (HTTP)
//!   examples/demo/*.toml ────┼─▶ source ─▶ Demo ─────┤        ▲ probes, load reports
//!   geoip/demo.mmdb ─────────┘                       └─▶ Daemon (DNS, admin)
//! ```
//!
//! [`Options`] come in; a running [`Demo`] goes out. It needs no file, listens on loopback alone
//! and leaves nothing behind. What people read about it is printed by `cli`.
//!
//! - [`source`]: the embedded configuration
//! - [`balancer`]: a region's own server
//! - [`scratch`]: the directory for overrides, gone with the demo

pub mod balancer;
pub mod scratch;
pub mod source;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::control::reload::prepare;
use crate::daemon::Daemon;
use crate::model::{EndpointTarget, Model};
use balancer::{Balancer, Listeners, RegionSite};
use scratch::Scratch;
pub use source::{DemoSource, Options};

/// A running demo.
pub struct Demo {
    pub daemon: Daemon,
    /// In the order of the zone file.
    pub balancers: Vec<Balancer>,
    /// Removed when the demo is dropped.
    _scratch: Scratch,
}

impl Demo {
    /// Starts the regions, then the server; returns when every region has been probed once.
    ///
    /// # Errors
    /// Which address could not be had, and why.
    pub async fn start(options: Options) -> Result<Demo, Vec<String>> {
        let scratch = Scratch::new().map_err(|error| vec![error])?;
        let sites = sites(&DemoSource::new(options.clone(), scratch.path()).model()?);
        let listeners = Listeners::bind(sites, options.region_port).await.map_err(|error| vec![error])?;
        let options = Options { region_port: listeners.port(), ..options };
        let source = Arc::new(DemoSource::new(options, scratch.path()));
        let prepared = prepare(&*source)?;
        let balancers = listeners.serve();
        let daemon = Daemon::start(source, prepared).await?;
        Ok(Demo { daemon, balancers, _scratch: scratch })
    }

    /// Stops answering, then the regions. After it, all sockets are free again.
    pub async fn stop(self) {
        self.daemon.stop().await;
        for balancer in self.balancers {
            balancer.stop().await;
        }
    }
}

/// One site per region: its first endpoint's first address.
fn sites(model: &Model) -> Vec<RegionSite> {
    let site = |region: &crate::model::Region| match &region.endpoints.first()?.target {
        EndpointTarget::Addresses(addresses) => Some(RegionSite {
            name: region.name.to_string(),
            address: *addresses.first()?,
            capacity: region.capacity.unwrap_or(1.0),
        }),
        EndpointTarget::Host(_) => None,
    };
    model.regions.iter().filter_map(site).collect()
}

/// Where the demo's server listens unless told otherwise.
pub const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5300);
/// See [`DNS`].
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8053);
/// The port of the regions' balancers unless told otherwise.
pub const REGION_PORT: u16 = 8080;
