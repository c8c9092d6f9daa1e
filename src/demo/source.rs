//! The demo's configuration: files of this repository, embedded, with the addresses of this run.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::atlas::{DEMO_DATABASE, Database};
use crate::control::config::{self, Config, Files, Loaded};
use crate::control::reload::ConfigSource;
use crate::model::{CheckKind, LoadReport, LoadSource, MemberCheck, Model, Region, Scrape, ScrapeAddress};

/// The main file, as the embedded files know it.
const MAIN: &str = "examples/demo/meridian.toml";
/// The directory the main file says zones are in.
const ZONES: &str = "examples/demo/../../zones";
/// The port written in the zone file, replaced by that of this run.
const WRITTEN_PORT: &str = ":8080/";

const FILES: [(&str, &str); 2] = [
    (MAIN, include_str!("../../examples/demo/meridian.toml")),
    ("examples/demo/../../zones/gslb.example.toml", include_str!("../../zones/gslb.example.toml")),
];

/// What may differ between runs. Port 0: whichever is free.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP and TCP. Default 127.0.0.1:5300.
    pub dns: SocketAddr,
    /// Default 127.0.0.1:8053.
    pub admin: SocketAddr,
    /// The same at all regions. Default 8080.
    pub region_port: u16,
    /// Between probes, and between load reports. Default `None`: as in the zone file, 2 s.
    pub interval: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { dns: super::DNS, admin: super::ADMIN, region_port: super::REGION_PORT, interval: None }
    }
}

/// Loads what is embedded, the same every time.
pub struct DemoSource {
    options: Options,
    state: PathBuf,
}

impl DemoSource {
    /// `state` is the directory for overrides.
    pub fn new(options: Options, state: &Path) -> DemoSource {
        DemoSource { options, state: state.to_owned() }
    }

    /// The model alone.
    pub fn model(&self) -> Result<Model, Vec<String>> {
        self.load().map(|loaded| loaded.model)
    }

    fn adapt(&self, config: &mut Config) {
        config.listen.dns = vec![self.options.dns];
        config.listen.admin = Some(self.options.admin);
        config.state.clone_from(&self.state);
        // Embedded: there is no file to watch.
        config.geoip.databases.clear();
    }

    fn adapt_region(&self, region: &mut Region) {
        for MemberCheck { check, .. } in region.checks.iter_mut().flat_map(|checks| &mut checks.members) {
            if let CheckKind::Http(http) = &mut check.kind {
                http.port = self.options.region_port;
            }
            check.interval = self.options.interval.unwrap_or(check.interval);
            check.timeout = check.timeout.min(check.interval);
        }
        if let Some(report) = &mut region.load_report {
            if let LoadSource::Scraped(Scrape { from: ScrapeAddress::Http(url), .. }) = &mut report.source {
                *url = url.replace(WRITTEN_PORT, &format!(":{}/", self.options.region_port));
            }
            report.interval = self.options.interval.unwrap_or(report.interval);
            report.max_age = report.interval * LoadReport::STALE_INTERVALS;
        }
    }
}

impl ConfigSource for DemoSource {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        let told = |diagnostics: Vec<_>| diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut loaded = config::load_from(&Embedded, Path::new(MAIN)).map_err(told)?;
        self.adapt(&mut loaded.config);
        for region in &mut loaded.model.regions {
            self.adapt_region(region);
        }
        Ok(loaded)
    }

    fn embedded(&self) -> Vec<Database> {
        vec![database()]
    }
}

/// The embedded database of where the demo's clients are.
pub fn database() -> Database {
    Database { path: "geoip/demo.mmdb (embedded)".to_owned(), bytes: DEMO_DATABASE.to_vec() }
}

struct Embedded;

impl Files for Embedded {
    fn read(&self, path: &Path) -> io::Result<String> {
        let found = FILES.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        if path != Path::new(ZONES) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(FILES.iter().map(|(name, _)| PathBuf::from(name)).filter(|name| name.parent() == Some(path)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;

    fn load(options: Options) -> Loaded {
        DemoSource::new(options, Path::new("state")).load().expect("the embedded files are without mistakes")
    }

    #[test]
    fn what_is_embedded_loads_without_a_warning() {
        let loaded = load(Options::default());
        assert_eq!(loaded.diagnostics, []);
        let origins: Vec<_> = loaded.model.zones.iter().map(|zone| zone.origin.to_string()).collect();
        assert_eq!(origins, [Name::parse_absolute("gslb.example").expect("a name").to_string()]);
        assert_eq!(loaded.model.regions.len(), 5);
    }

    #[test]
    fn a_repaired_region_has_all_its_clients_back_within_half_a_minute() {
        let model = load(Options::default()).model;
        for region in &model.regions {
            let check = region.check().expect("a check");
            let proven = check.interval * check.rise;
            let forgotten = Duration::from_secs(model.services[0].failover_ttl.as_secs().into());
            let back = proven + region.slow_start + forgotten;
            assert!(back <= Duration::from_secs(30), "{}: {back:?}", region.name);
        }
    }

    #[test]
    fn the_files_of_the_repository_are_those_embedded() {
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join(MAIN);
        let (disk, embedded) = (config::load(&main).expect("sound files"), load(Options::default()));
        assert_eq!(disk.config.listen, embedded.config.listen);
        assert_eq!(disk.model.regions.len(), embedded.model.regions.len());
        assert!(disk.config.geoip.databases.iter().all(|path| path.exists()));
    }

    #[test]
    fn every_check_and_report_goes_to_the_port_of_this_run() {
        let options = Options { region_port: 4242, interval: Some(Duration::from_millis(100)), ..Options::default() };
        for region in load(options).model.regions {
            let check = region.check().expect("a check").clone();
            let report = region.load_report.expect("a report");
            assert!(matches!(&check.kind, CheckKind::Http(http) if http.port == 4242));
            let LoadSource::Scraped(scrape) = report.source else { panic!("scraped") };
            assert_eq!(format!("{:?}", scrape.from).matches(":4242/load").count(), 1, "{:?}", scrape.from);
            assert_eq!((report.interval, report.max_age), (Duration::from_millis(100), Duration::from_millis(300)));
            assert!(check.timeout <= check.interval);
        }
    }
}
