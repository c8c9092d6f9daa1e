//! `meridian geoip`: where addresses are, and databases made from tables.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::atlas::build::{COLUMNS, build_mmdb};
use crate::atlas::{Atlas, Database};
use crate::control::bounded_file;
use crate::demo::source::database as demo_database;
use crate::model::Prefix;

use super::arguments::ConfigFile;
use super::output::{self, Failure, Outcome, count};
use super::source::FileSource;

/// Look up where addresses are, or make a database
#[derive(Args)]
pub struct Geoip {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Lookup(Lookup),
    Build(Build),
}

impl Geoip {
    pub fn run(&self) -> Outcome {
        match &self.action {
            Action::Lookup(lookup) => lookup.run(),
            Action::Build(build) => build.run(),
        }
    }
}

/// Show where addresses are, as the server sees it
///
/// Takes the databases and networks of the configuration, or the databases named.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian geoip lookup 127.82.0.1 --demo
  meridian geoip lookup 192.0.2.7 2001:db8::1 --config meridian.toml
  meridian geoip lookup 192.0.2.7 --database GeoLite2-City.mmdb --database GeoLite2-ASN.mmdb --json")]
struct Lookup {
    /// The addresses to look up
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// A MaxMind-format database; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "demo"])]
    database: Vec<PathBuf>,
    /// Look into the demo's built-in database
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    #[command(flatten)]
    file: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The location of one address.
#[derive(Serialize)]
struct AddressLocation {
    address: IpAddr,
    /// The widest network around the address that has this same place throughout.
    network: String,
    continent: Option<&'static str>,
    country: Option<String>,
    subdivision: Option<String>,
    city: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    /// The coordinates are the middle of the country: no database tells closer.
    centroid: bool,
    asn: Option<u32>,
}

impl Lookup {
    fn run(&self) -> Outcome {
        let atlas = self.atlas()?;
        let found: Vec<AddressLocation> = self.addresses.iter().map(|&address| find(&atlas, address)).collect();
        if self.json {
            return output::print_json(&found);
        }
        output::print(&found.iter().map(render).collect::<Vec<_>>().join("\n"))
    }

    fn atlas(&self) -> Outcome<Atlas> {
        if !self.demo && self.database.is_empty() {
            let prepared = FileSource::new(&self.file.config).prepare_whole();
            let other = "or look elsewhere: --config FILE, --database FILE, --demo";
            return prepared.map(|prepared| prepared.atlas).map_err(|failure| failure.help(other));
        }
        let databases = if self.demo {
            Ok(vec![demo_database()])
        } else {
            self.database.iter().map(|path| Database::read(path)).collect::<Result<Vec<_>, _>>()
        };
        let built = databases.and_then(|databases| Atlas::build(&databases, &[]));
        built.map_err(|error| Failure::new(error.to_string()))
    }
}

fn find(atlas: &Atlas, address: IpAddr) -> AddressLocation {
    let found = atlas.locate(address);
    let location = atlas.location(found.place);
    let coordinates = atlas.coordinates(found.place);
    AddressLocation {
        address,
        network: Prefix::containing(address, found.scope).to_string(),
        continent: location.continent.map(|continent| continent.code()),
        country: location.country.map(|country| country.to_string()),
        subdivision: location.subdivision.map(String::from),
        city: location.city.map(String::from),
        latitude: coordinates.map(|at| at.latitude()),
        longitude: coordinates.map(|at| at.longitude()),
        centroid: coordinates.is_some() && location.coordinates.is_none(),
        asn: location.asn,
    }
}

fn render(found: &AddressLocation) -> String {
    let mut text = format!("{}\n  network      {}\n", found.address, found.network);
    let words = [found.continent, found.country.as_deref(), found.subdivision.as_deref(), found.city.as_deref()];
    let place = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  place        {}", if place.is_empty() { "unknown" } else { &place });
    if let (Some(latitude), Some(longitude)) = (found.latitude, found.longitude) {
        let centroid = if found.centroid { " (the middle of the country)" } else { "" };
        let _ = writeln!(text, "  coordinates  {latitude:.4} {longitude:.4}{centroid}");
    }
    if let Some(asn) = found.asn {
        let _ = writeln!(text, "  network of   AS{asn}");
    }
    text
}

/// Make a MaxMind-format database from a table of networks
///
/// Shows every mistake of the table at once. The old file is replaced only by a whole new one.
#[derive(Args)]
#[command(after_help = "\
Example:
  meridian geoip build networks.csv networks.mmdb

The table, with empty cells where nothing is known, and # comments:
  network,continent,country,subdivision,city,latitude,longitude,asn
  192.0.2.0/24,AS,KR,11,Seoul,37.5665,126.978,64496
  2001:db8::/32,,DE,,,,,

Networks may nest: the longest prefix holds. The same table with the same --build-epoch
gives the same bytes.")]
struct Build {
    /// The table to read
    csv: PathBuf,
    /// The database to write
    out: PathBuf,
    /// The time written into the file, in seconds since 1970. Default: now
    #[arg(long, value_name = "SECONDS")]
    build_epoch: Option<u64>,
}

/// The largest table read: some ten million networks.
const MAX_TABLE_BYTES: u64 = 1 << 30;

impl Build {
    fn run(&self) -> Outcome {
        let table = self.csv.display();
        let text = bounded_file::read_text(&self.csv, MAX_TABLE_BYTES)
            .map_err(|error| Failure::new(format!("cannot read {table}: {error}")))?;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let bytes = build_mmdb(&text, self.build_epoch.unwrap_or_else(now)).map_err(|mistakes| {
            let help = format!("the columns are {}", COLUMNS.join(","));
            Failure::all(mistakes.iter().map(|mistake| format!("{table}: {mistake}"))).help(help)
        })?;
        let out = self.out.display();
        // What the server would refuse is not written.
        let database = Database { path: out.to_string(), bytes };
        let atlas = Atlas::build(std::slice::from_ref(&database), &[])
            .map_err(|error| Failure::new(format!("{table} makes no usable database: {error}")))?;
        replace(&self.out, &database.bytes).map_err(|error| Failure::new(format!("cannot write {out}: {error}")))?;
        let networks: u64 = atlas.summary().databases.iter().map(|database| database.networks).sum();
        let places = count(atlas.place_count().saturating_sub(1), "place");
        output::print(&format!("{out}: {networks} networks, {places}, {} bytes\n", database.bytes.len()))
    }
}

/// Writes beside the file, then renames: a server that watches it never reads half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    let mut fresh_name = name.to_owned();
    fresh_name.push(format!(".new-{}", std::process::id()));
    let fresh = path.with_file_name(fresh_name);
    let written = write_whole(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // Whatever of it is there is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
