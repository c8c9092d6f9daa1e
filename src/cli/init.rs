//! `meridian init`: a first configuration, by a few answers or flags.
//!
//! What was answered is checked as files before any is written.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use crate::control::config::{self, Files, Loaded};
use crate::control::diagnostic::Diagnostic;
use crate::control::import::draft::quoted;
use crate::model::Name;

use super::delegation;
use super::import::write;
use super::output::{self, Failure, Outcome};
use super::source::check_databases;

/// Octets of an answer at most.
const MAX_ANSWER: u64 = 4_096;

/// Write a first configuration: a main file and a zone
///
/// Asks on a terminal what the flags do not say. The files have comments on what to do next, and nothing that is there
/// is overwritten.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian init
  meridian init --zone gslb.example.com --ns ns1=192.0.2.53 --ns ns2=198.51.100.53 \\
    --region fra=203.0.113.10,50.11,8.68 --region sin=203.0.113.20,1.35,103.99 --out meridian --yes")]
pub struct Init {
    /// The zone that clients ask for names in, such as gslb.example.com
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// A server of that zone: ns1=192.0.2.53, or a whole name such as ns.example.net; may be given several times
    #[arg(long, value_name = "NAME[=ADDR]")]
    ns: Vec<NameServer>,
    /// A place where the service runs, its address and its latitude and longitude; may be given several times
    #[arg(long, value_name = "NAME=ADDR[,LAT,LON]")]
    region: Vec<FirstRegion>,
    /// A MaxMind-format database; may be given several times
    #[arg(long, value_name = "FILE")]
    geoip: Vec<PathBuf>,
    /// The directory for the files
    #[arg(long, value_name = "DIR", default_value = "meridian")]
    out: PathBuf,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
}

/// `ns1=192.0.2.53`, or a name alone.
#[derive(Clone, Debug)]
struct NameServer {
    name: String,
    address: Option<IpAddr>,
}

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<NameServer, String> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name, Some(address.parse().map_err(|_| format!("`{address}` is no address"))?)),
            None => (text, None),
        };
        match name.is_empty() || name.contains(char::is_whitespace) {
            true => Err("expected a name, such as ns1=192.0.2.53".to_owned()),
            // With dots inside it is whole: nobody means ns1.gslb.example.com below gslb.example.com.
            false if name.contains('.') => Ok(NameServer { name: format!("{}.", name.trim_end_matches('.')), address }),
            false => Ok(NameServer { name: name.to_owned(), address }),
        }
    }
}

/// `fra=203.0.113.10,50.11,8.68`: addresses, then a place.
#[derive(Clone, Debug)]
struct FirstRegion {
    name: String,
    addresses: Vec<IpAddr>,
    place: Option<(f64, f64)>,
}

impl FromStr for FirstRegion {
    type Err = String;

    fn from_str(text: &str) -> Result<FirstRegion, String> {
        const EXPECTED: &str = "expected such as fra=203.0.113.10,50.11,8.68";
        let (name, rest) = text.split_once('=').ok_or(EXPECTED)?;
        let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
        let addresses: Vec<IpAddr> = parts.iter().map_while(|part| part.parse().ok()).collect();
        let degrees = |part: &str, most: f64| part.parse::<f64>().ok().filter(|degrees| degrees.abs() <= most);
        let place = match &parts[addresses.len()..] {
            [] => None,
            [latitude, longitude] => Some(degrees(latitude, 90.0).zip(degrees(longitude, 180.0)).ok_or(EXPECTED)?),
            _ => return Err(EXPECTED.to_owned()),
        };
        match addresses.is_empty() || name.is_empty() {
            true => Err(EXPECTED.to_owned()),
            false => Ok(FirstRegion { name: name.to_owned(), addresses, place }),
        }
    }
}

impl Init {
    pub fn run(self) -> Outcome {
        let answered = self.answered()?;
        let zone = answered.zone.clone().unwrap_or_default();
        let zone = zone.trim_end_matches('.').to_lowercase();
        let origin =
            Name::parse_absolute(&zone).map_err(|error| Failure::new(format!("`{zone}` is no zone: {error}")))?;
        if origin.parent().is_none() || zone.contains(['/', '\\']) {
            return Err(Failure::new(format!("`{zone}` is no zone to begin with")));
        }
        let made = Made {
            main: answered.main_file()?,
            zone_path: format!("zones/{zone}.toml").into(),
            zone: answered.zone_file(&zone),
        };
        let loaded = config::load_from(&made, Path::new("meridian.toml")).map_err(|diagnostics| {
            let errors: Vec<Diagnostic> = diagnostics.into_iter().filter(Diagnostic::is_error).collect();
            Failure::of_files(&errors).help("nothing was written: what was answered makes no configuration")
        })?;
        check_databases(&loaded.config.geoip.databases, &loaded.model.networks).map_err(Failure::all)?;
        let files = [("meridian.toml".into(), made.main), (made.zone_path, made.zone)];
        let main = write(&files, &answered.out)?;
        output::print(&next_steps(&main, &zone, &loaded))
    }

    /// What the flags say, and answers to the rest.
    fn answered(mut self) -> Outcome<Init> {
        let asks = !self.yes && io::stdin().is_terminal();
        if asks {
            self.ask();
        }
        let missing: Vec<&str> =
            [("--zone", self.zone.is_none()), ("--ns", self.ns.is_empty()), ("--region", self.region.is_empty())]
                .into_iter()
                .filter_map(|(flag, missing)| missing.then_some(flag))
                .collect();
        match missing.as_slice() {
            [] => Ok(self),
            missing => Err(Failure::new(format!("not said: {}", missing.join(", ")))
                .help("see `meridian init --help`")
                .mistyped()),
        }
    }

    fn ask(&mut self) {
        if self.zone.is_none() {
            self.zone = ask("The zone for your names, such as gslb.example.com: ", |text| Ok(text.to_owned()));
        }
        let more = |what: &str, example: &str, there: usize| {
            format!("{what} {}, such as {example} (empty: no more): ", there + 1)
        };
        if self.ns.is_empty() {
            while let Some(server) = ask(&more("Name server", "ns1=192.0.2.53", self.ns.len()), str::parse) {
                self.ns.push(server);
            }
        }
        if self.region.is_empty() {
            let example = "fra=203.0.113.10,50.11,8.68 (address, latitude, longitude)";
            while let Some(region) = ask(&more("Region", example, self.region.len()), str::parse) {
                self.region.push(region);
            }
        }
        if self.geoip.is_empty() {
            let question = "A MaxMind-format database that says where clients are (empty: none yet): ";
            self.geoip.extend(ask(question, |text| Ok(PathBuf::from(text))));
        }
    }

    fn main_file(&self) -> Outcome<String> {
        let mut text = "\
# Meridian's main file. Everything has a default; `meridian check` tells every mistake at once.
# For editors: `meridian config schema > meridian.schema.json`, and `#:schema ./meridian.schema.json` as the first line here.

# listen.dns   = [\"0.0.0.0:53\", \"[::]:53\"]   # where DNS is answered
# listen.admin = \"127.0.0.1:8053\"            # dashboard, API and metrics: on this machine alone
"
        .to_owned();
        let absolute = |path: &PathBuf| std::path::absolute(path).map(|path| quoted(&path.display().to_string()));
        let databases: Result<Vec<String>, io::Error> = self.geoip.iter().map(absolute).collect();
        let databases = databases.map_err(|error| Failure::new(format!("a database's path: {error}")))?;
        match databases.as_slice() {
            [] => text.push_str("\n# Where clients are: without a database all are answered alike.\n# geoip = [\"/var/lib/GeoIP/GeoLite2-City.mmdb\"]\n"),
            databases => drop(write!(text, "\n# Where clients are. Replaced files are picked up.\ngeoip = [{}]\n", databases.join(", "))),
        }
        Ok(text)
    }

    // Writing to a String cannot fail: what `writeln!` returns is dropped.

    fn zone_file(&self, zone: &str) -> String {
        let mut text =
            format!("# The zone {zone}: its own records, its regions, and the names that are steered among them.\n\n");
        let first = self.ns.first().map(|server| server.name.as_str()).unwrap_or_default();
        let _ = writeln!(
            text,
            "origin  = {}\nttl     = \"5m\"\nrecords = '''\n@ SOA {first} hostmaster 1 1h 10m 1w 60",
            quoted(zone)
        );
        for server in &self.ns {
            let _ = writeln!(text, "@ NS {}", server.name);
        }
        for (server, address) in self.ns.iter().filter_map(|server| Some((server, server.address?))) {
            let _ = writeln!(text, "{} {} {address}", server.name, if address.is_ipv4() { "A" } else { "AAAA" });
        }
        text.push_str("'''\n");
        for region in &self.region {
            region.write(&mut text);
        }
        let names: Vec<String> = self.region.iter().map(|region| quoted(&region.name)).collect();
        let _ = write!(
            text,
            "\n# www.{zone}: to the nearest region that has room, by distance, load and cost. Others: docs/policies.md.\n\
             [service.www]\npolicy  = \"score\"\nregions = [{}]\n",
            names.join(", ")
        );
        text
    }
}

impl FirstRegion {
    fn write(&self, text: &mut String) {
        let (latitude, longitude) = self.place.unwrap_or_default();
        let unsaid = if self.place.is_none() { "     # say where it is" } else { "" };
        let addresses: Vec<String> = self.addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let _ = write!(
            text,
            "\n[region.{}]\nlocation  = {{ latitude = {latitude:?}, longitude = {longitude:?} }}{unsaid}\n\
             endpoints = [{{ address = [{}] }}]\n\
             check.tcp = {{ port = 443 }}     # better: check.https = {{ url = \"https://{{address}}/health\", host = \"www.example.com\" }}\n\
             # load_report.haproxy = {{ url = \"http://{{address}}:8404/stats;csv\", proxy = \"web\" }}     # how loaded it is\n",
            quoted(&self.name),
            addresses.join(", ")
        );
    }
}

/// An answer; asked again where it is none. `None`: nothing was said.
fn ask<T>(question: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    loop {
        eprint!("{question}");
        let mut line = String::new();
        io::stdin().lock().take(MAX_ANSWER).read_line(&mut line).ok()?;
        match line.trim() {
            "" => return None,
            answer => match read(answer) {
                Ok(answer) => return Some(answer),
                Err(why) => eprintln!("{why}"),
            },
        }
    }
}

/// The files before they are written.
struct Made {
    main: String,
    zone_path: PathBuf,
    zone: String,
}

impl Files for Made {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path {
            path if path == Path::new("meridian.toml") => Ok(self.main.clone()),
            path if path == self.zone_path => Ok(self.zone.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![self.zone_path.clone()])
    }
}

fn next_steps(main: &Path, zone: &str, loaded: &Loaded) -> String {
    let file = main.display();
    let delegation =
        loaded.model.zones.first().map(|zone| delegation::delegation(zone, &loaded.model)).unwrap_or_default();
    format!(
        "Written: {file}, and the zone beside it. Next:\n\n\
         1. Look at both, and at what is not said yet:    meridian check --config {file}\n\
         2. Why a client gets its region:                 meridian explain www.{zone} --client 192.0.2.7 --config {file}\n\
         3. Answer:                                       meridian serve --config {file}\n\
         4. Ask it:                                       dig @127.0.0.1 www.{zone}\n\
         5. Have resolvers find it, in the parent zone:\n\n{delegation}"
    )
}
