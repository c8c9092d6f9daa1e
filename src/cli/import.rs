//! `meridian import`: configurations of other servers, as far as they map.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::control::bounded_file;
use crate::control::config::{self, Disk};
use crate::control::diagnostic::Diagnostic;
use crate::control::import::draft::Draft;
use crate::control::import::left::Leftovers;
use crate::control::import::{gdnsd, route53};

use super::exit::Exit;
use super::output::{self, Failure, Outcome, count};

/// Make a configuration of another server's
///
/// Writes a main file and zone files. What has no counterpart, or another meaning here, is listed with its place.
#[derive(Args)]
pub struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    Gdnsd(Gdnsd),
    Route53(Route53),
}

const EXIT: &str = "
Exit code: 0 all was carried over, 3 something was left, 1 nothing was written.";

/// From gdnsd: its config file, and zone files
#[derive(Args)]
#[command(after_help = format!("\
Examples:
  meridian import gdnsd /etc/gdnsd/config --out meridian/
  meridian import gdnsd config zones/example.com --out meridian/
{EXIT}"))]
struct Gdnsd {
    /// gdnsd's config file
    config: PathBuf,
    /// Zone files, each named as its zone; without any, all in `zones` beside the config file
    zones: Vec<PathBuf>,
    #[command(flatten)]
    out: Out,
}

/// From Route 53: what its list-resource-record-sets prints
#[derive(Args)]
#[command(after_help = format!("\
Example:
  aws route53 list-resource-record-sets --hosted-zone-id Z1 > sets.json
  aws route53 list-health-checks > checks.json
  meridian import route53 sets.json --health-checks checks.json --out meridian/
{EXIT}"))]
struct Route53 {
    /// The record sets of one hosted zone, in JSON
    file: PathBuf,
    /// What `aws route53 list-health-checks` prints
    #[arg(long, value_name = "FILE")]
    health_checks: Option<PathBuf>,
    #[command(flatten)]
    out: Out,
}

#[derive(Args)]
struct Out {
    /// The directory for the files, which are not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Import {
    pub fn run(&self) -> Outcome {
        let (made, out) = match &self.from {
            From::Gdnsd(from) => (gdnsd::import(&Disk, &from.config, &from.zones), &from.out.out),
            From::Route53(from) => (from.made(), &from.out.out),
        };
        let (draft, left) = made.map_err(Failure::new)?;
        let written = write(&draft.files(), out)?;
        let mut text: String = left.told.iter().map(|left| format!("{left}\n")).collect();
        if left.untold > 0 {
            text.push_str(&format!("and {} more\n", left.untold));
        }
        text.push_str(&summary(&draft, &left, out));
        output::print(&text)?;
        check(&written)?;
        if left.told.is_empty() { Ok(()) } else { Err(Failure::told_with(Exit::Degraded)) }
    }
}

impl Route53 {
    fn made(&self) -> Result<(Draft, Leftovers), String> {
        let read = |path: &Path| {
            bounded_file::read_text(path, route53::MAX_OCTETS)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let (sets, checks) = (read(&self.file)?, self.health_checks.as_deref().map(read).transpose()?);
        let name = self.file.display().to_string();
        let checks_name = self.health_checks.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let checks = checks.as_ref().map(|text| route53::Text { name: &checks_name, text });
        route53::import(&route53::Text { name: &name, text: &sets }, checks.as_ref())
    }
}

fn summary(draft: &Draft, left: &Leftovers, out: &Path) -> String {
    let regions = draft.zones.iter().map(|zone| zone.regions.len()).sum();
    let services = draft.zones.iter().map(|zone| zone.services.len()).sum();
    let made = [count(draft.zones.len(), "zone"), count(regions, "region"), count(services, "service")].join(", ");
    format!("{made} in {}; {} left\n", out.display(), left.told.len() + left.untold)
}

/// Writes new files, and none where one of them is there already. The main file's path.
pub fn write(files: &[(PathBuf, String)], out: &Path) -> Outcome<PathBuf> {
    if let Some((there, _)) = files.iter().find(|(path, _)| out.join(path).exists()) {
        let failure = Failure::new(format!("{} is there already", out.join(there).display()));
        return Err(failure.help("nothing was written: name another directory"));
    }
    for (path, text) in files {
        let path = out.join(path);
        let write = || -> io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(out))?;
            fs::OpenOptions::new().write(true).create_new(true).open(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(files.first().map(|(path, _)| out.join(path)).unwrap_or_default())
}

/// Tells the mistakes of what was written: of the source, or of what has been made of it.
pub fn check(main: &Path) -> Outcome {
    match config::load(main) {
        Ok(_) => Ok(()),
        Err(diagnostics) => {
            let errors: Vec<Diagnostic> = diagnostics.into_iter().filter(Diagnostic::is_error).collect();
            Err(Failure::of_files(&errors).help("the files are written; mend them, and ask `meridian check`"))
        }
    }
}
