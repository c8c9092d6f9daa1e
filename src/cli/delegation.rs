//! `meridian delegation`: the records to put into the parent zone, so that resolvers come here.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;

use crate::control::config;
use crate::control::diagnostic::nearest;
use crate::model::{Model, Name, RecordType, RrSet, Zone};

use super::arguments::ConfigFile;
use super::output::{self, Failure, Outcome};

/// Print the records that delegate a zone to these servers, for the parent zone
///
/// The NS records, and glue: the addresses of those name servers that lie inside the zone, which resolvers
/// could not find otherwise.
#[derive(Args)]
#[command(after_help = "\
Example:
  meridian delegation gslb.example.com --config /etc/meridian/meridian.toml")]
pub struct Delegation {
    /// The zone to delegate, such as gslb.example.com
    zone: String,
    #[command(flatten)]
    file: ConfigFile,
}

impl Delegation {
    pub fn run(&self) -> Outcome {
        let origin = Name::parse_absolute(&self.zone)
            .map_err(|error| Failure::new(format!("`{}` is not a name: {error}", self.zone)))?;
        let loaded = config::load(&self.file.config).map_err(|diagnostics| Failure::of_files(&diagnostics))?;
        let model = loaded.model;
        match model.zones.iter().find(|zone| zone.origin == origin) {
            Some(zone) => output::print(&delegation(zone, &model)),
            None => Err(unknown(&origin, &model)),
        }
    }
}

fn unknown(origin: &Name, model: &Model) -> Failure {
    let origins: Vec<String> = model.zones.iter().map(|zone| zone.origin.to_string()).collect();
    let failure = Failure::new(format!("no zone {origin} is configured"));
    match nearest(&origin.to_string(), origins.iter().map(String::as_str)) {
        Some(near) => failure.help(format!("did you mean {near}?")),
        None => failure.help(format!("there are: {}", origins.join(", "))),
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

/// The records for the parent zone, with comments.
pub fn delegation(zone: &Zone, model: &Model) -> String {
    let origin = &zone.origin;
    let Some(parent) = origin.parent() else {
        return "; The root zone has no parent: resolvers find it by their root hints.\n".to_owned();
    };
    let mut text = format!(
        "; Put these into the zone {parent} (at its DNS provider, or at the registrar where {origin} is registered),\n\
         ; and nothing else there at or below {origin}\n"
    );
    let servers = name_servers(zone);
    for (ttl, server) in &servers {
        let _ = writeln!(text, "{origin}\t{ttl}\tIN\tNS\t{server}");
    }
    for (_, server) in servers.iter().filter(|(_, server)| server.is_at_or_below(origin)) {
        glue(&mut text, server, model);
    }
    for (_, server) in servers.iter().filter(|(_, server)| !server.is_at_or_below(origin)) {
        let _ = writeln!(text, "; {server} lies outside {origin}: no glue, its own zone has its addresses.");
    }
    text.push_str(
        "; No DS record: this zone is not signed. Put none there before it is, or validating resolvers fail.\n",
    );
    text
}

/// The name servers of the apex with their TTL in seconds.
fn name_servers(zone: &Zone) -> Vec<(u32, Name)> {
    let Some(set) = zone.rrset(&zone.origin, RecordType::NS) else { return Vec::new() };
    set.rdatas().filter_map(|rdata| Some((set.ttl.as_secs(), Name::from_wire(rdata).ok()?))).collect()
}

/// The addresses of a name, from whichever zone here has them.
fn glue(text: &mut String, server: &Name, model: &Model) {
    let before = text.len();
    for zone in model.zones.iter().filter(|zone| server.is_at_or_below(&zone.origin)) {
        for rtype in [RecordType::A, RecordType::AAAA] {
            let Some(set) = zone.rrset(server, rtype) else { continue };
            for address in addresses(&set) {
                let line = format!("{server}\t{}\tIN\t{rtype}\t{address}\n", set.ttl.as_secs());
                if !text[before..].contains(&line) {
                    text.push_str(&line);
                }
            }
        }
    }
    if text.len() == before {
        let _ = writeln!(text, "; {server} needs glue, and has no address in these zones: resolvers cannot use it.");
    }
}

fn addresses(set: &RrSet<'_>) -> Vec<String> {
    let address = |rdata: &[u8]| match rdata.len() {
        4 => <[u8; 4]>::try_from(rdata).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
        _ => <[u8; 16]>::try_from(rdata).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
    };
    set.rdatas().filter_map(address).collect()
}
