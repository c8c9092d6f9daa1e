//! The configuration: TOML files become a validated [`Model`] and the settings beside it.
//!
//! ```text
//!    meridian.toml ──▶ settings ─▶ Config, networks ─┐
//!    zones/*.toml ──▶ zone ─┬▶ region, service ──────┼─▶ Loaded, or every mistake in all files
//!                           └▶ zonefile: records ────┘
//! ```
//!
//! A path comes in; [`Loaded`] or a list of [`Diagnostic`]s goes out. Loading is whole or not at
//! all: one error anywhere and there is no model. `meridian check` is this and nothing more.
//! Sockets, databases and the writing of state are left to others.
//!
//! In the order text meets them:
//!
//! - [`files`]: where text comes from; [`kept`]: what was made of it before
//! - [`reader`], [`set_aside`], [`duration`], [`text`]: TOML with typed values and exact places
//! - [`server`]: the server's own settings, and their defaults
//! - [`settings`], [`network`], [`location`], [`steering`], [`health`], [`rum`], [`xdp`], [`events`], [`cluster`],
//!   [`logs`]: the main file
//! - [`zone`], [`region`], [`check`], [`load_report`], [`known_regions`], [`service`], [`policy`], [`geo`]: a zone file
//! - [`dependencies`]: which regions of all zones depend on which
//!
//! [`schema`] describes the files for editors, and is the reference of all settings.

mod check;
mod cluster;
mod dependencies;
pub mod duration;
pub mod events;
mod files;
mod geo;
mod health;
mod kept;
mod known_regions;
mod load_report;
pub mod location;
pub mod logs;
mod network;
mod policy;
pub mod reader;
mod region;
mod rum;
pub mod schema;
mod server;
mod service;
mod set_aside;
mod settings;
mod steering;
mod text;
mod xdp;
mod zone;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::FixedState;

pub use files::{Disk, Facts, Files, MAX_FILE_BYTES, Stamp, mark_of};
pub use known_regions::MAX_REGIONS;
pub use logs::{ClientsShown, Dnstap, DnstapReader, Log, LogFormat, QueryLog};
pub use rum::RumSettings;
pub use server::{AdminSocket, AdminTls, Config, Geoip, Limits, Listen, ReloadWhen, Udp};

use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::{Model, Name, Service, ZoneId};
use files::Sources;
use health::Health;
use kept::KeptZones;
use settings::Settings;
use zone::ZoneParts;
pub use zone::is_zone_file;

/// Services of all zones together at most.
pub const MAX_SERVICES: usize = 10_000;
/// Zones at most.
pub const MAX_ZONES: usize = 10_000;

/// Mistakes told before the remaining zone files are left unread: thousands of wrong files, most
/// likely generated ones, share the same few mistakes.
const MAX_TOLD: usize = 10_000;
/// Warnings told of all zone files together; the rest are counted. Ten thousand right files may deserve one each.
const MAX_WARNINGS: usize = 2_000;

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub model: Model,
    /// Warnings only.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that was read, the main file first, each once.
    pub files: Vec<PathBuf>,
    /// How they were just before they were read, where a [`Loader`] did.
    pub facts: Option<Facts>,
}

/// Loads the main file at `path` and everything it leads to.
///
/// # Errors
/// All mistakes of all files, and the warnings beside them, in the order the files were read.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    load_from(&Disk, path)
}

/// What the main file says of the server's own log, for whoever needs a log before everything is loaded. Mistakes are
/// left for [`load`] to tell.
pub fn log_settings(path: &Path) -> Log {
    let sources = Sources::new(&Disk, path);
    let Ok(file) = sources.open(path) else { return Log::default() };
    reader::read_document(&file, "the configuration", |root| root.or("log", Log::default(), logs::log)).0
}

/// [`load`], with text from anywhere.
///
/// # Errors
/// As [`load`].
pub fn load_from(files: &dyn Files, path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(files, path, None)
}

/// Zones that were read before, and those to keep for the next time.
type Kept<'k> = Option<(&'k KeptZones, &'k mut KeptZones)>;

fn load_with(files: &dyn Files, path: &Path, kept: Kept<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let sources = Sources::new(files, path);
    let sources = if kept.is_some() { sources.noting() } else { sources };
    let main = sources.open(path).map_err(|error| vec![unreadable(error, path)])?;
    let (settings, mut diagnostics) =
        reader::read_document(&main, "the configuration", |root| settings::read(root, &sources));
    let Settings { config, networks, default_location, steering, health } = settings;
    let Health { references, vote } = health;
    let mut model = Model { networks, default_location, steering, references, vote, ..Model::default() };
    sources.take_reads();
    read_zones(&sources, &config.zones, &mut model, &mut diagnostics, kept);
    let (files, facts) = sources.into_read();
    in_order_of_files(&mut diagnostics, &files);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    Ok(Loaded { config, model, diagnostics, files, facts })
}

/// Loads the same main file again and again, each time as if for the first time; zones that did not change are not
/// read again.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    kept: Mutex<KeptZones>,
}

impl Loader {
    pub fn new(path: &Path) -> Loader {
        Loader { path: path.to_owned(), kept: Mutex::default() }
    }

    /// [`load`], by what is kept of the time before. What is kept changes where this succeeds.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = KeptZones::default();
        match load_with(&Disk, &self.path, Some((&*kept, &mut next))) {
            Ok(loaded) => {
                *kept = next;
                Ok(loaded)
            }
            // Once more from the text alone: mistakes are shown with all of it.
            Err(_) if !kept.is_empty() => {
                let nothing = KeptZones::default();
                load_with(&Disk, &self.path, Some((&nothing, &mut KeptZones::default())))
            }
            Err(mistakes) => Err(mistakes),
        }
    }
}

const NAME_A_FILE: &str = "name the main file, for example: meridian check --config /etc/meridian/meridian.toml";

/// The error; where there is no such file, another may be meant.
fn unreadable(error: String, path: &Path) -> Diagnostic {
    match path.is_file() {
        true => Diagnostic::error(error),
        false => Diagnostic::error(error).help(NAME_A_FILE),
    }
}

fn read_zones(
    sources: &Sources<'_>,
    directory: &Path,
    model: &mut Model,
    diagnostics: &mut Vec<Diagnostic>,
    mut kept: Kept<'_>,
) {
    let paths = zone_files(sources, directory, diagnostics);
    let looked_at = kept.as_ref().map(|(before, _)| before.look_at(&paths, sources)).unwrap_or_default();
    if let Some((_, next)) = &mut kept {
        next.reserve(paths.len());
    }
    let (mut errors, mut warnings, mut depends_on) = (0, 0, Vec::new());
    let mut all = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        if errors >= MAX_TOLD {
            let unread = paths.len() - index;
            diagnostics.push(Diagnostic::error(format!("too many mistakes: {unread} zone files were not looked at")));
            break;
        }
        let id = ZoneId(u32::try_from(model.zones.len()).unwrap_or(u32::MAX));
        let unchanged =
            kept.as_mut().and_then(|(_, next)| looked_at.unchanged(index, id, model.regions.len(), sources, next));
        let parts = match unchanged.map_or_else(|| zone_parts(sources, path, id, model.regions.len(), &mut kept), Ok) {
            Ok(parts) => parts,
            Err(error) => {
                diagnostics.push(Diagnostic::error(error));
                errors += 1;
                continue;
            }
        };
        depends_on.extend(parts.depends_on.iter().cloned());
        let told = parts.diagnostics.iter().filter(|diagnostic| {
            let count = if diagnostic.is_error() { &mut errors } else { &mut warnings };
            *count += 1;
            diagnostic.is_error() || *count <= MAX_WARNINGS
        });
        diagnostics.extend(told.cloned());
        model.regions.extend(parts.regions.iter().cloned());
        model.services.extend(parts.services.iter().map(|(service, _)| service.clone()));
        model.zones.extend(parts.zone.iter().map(|(zone, _)| zone.clone()));
        all.push(parts);
    }
    let origins = origins(&all, diagnostics);
    if warnings > MAX_WARNINGS {
        let more = warnings - MAX_WARNINGS;
        diagnostics.push(Diagnostic::warning(format!("and {more} more warnings in all zone files")));
    }
    let places = all.iter().flat_map(|parts| &parts.services).map(|(_, span)| span);
    for (service, span) in model.services.iter().zip(places) {
        diagnostics.extend(in_another_zone(service, span, model, &origins));
    }
    if errors == 0 {
        // A name that seems unknown may be one that could not be read.
        model.dependencies = dependencies::resolve(model, &depends_on, diagnostics);
    }
    report_too_many(model, diagnostics);
}

/// The places of origins.
type Origins<'p> = HashMap<&'p Name, &'p Span, FixedState>;

/// The origin of each zone. Reports two that are the same.
fn origins<'p>(all: &'p [Arc<ZoneParts>], diagnostics: &mut Vec<Diagnostic>) -> Origins<'p> {
    let mut origins: Origins<'p> = HashMap::with_capacity_and_hasher(all.len(), FixedState::default());
    for (zone, span) in all.iter().filter_map(|parts| parts.zone.as_ref()) {
        if let Some(first) = origins.insert(&zone.origin, span) {
            let twice = Diagnostic::error(format!("two files are for the zone {}", zone.origin));
            diagnostics.push(twice.at(span.clone(), "again here").related(first.clone(), "first here"));
        }
    }
    origins
}

/// What a zone file is made of, as it is read.
fn zone_parts(
    sources: &Sources<'_>,
    path: &Path,
    id: ZoneId,
    first_region: usize,
    kept: &mut Kept<'_>,
) -> Result<Arc<ZoneParts>, String> {
    let file = sources.open(path)?;
    let records = kept.as_ref().and_then(|(before, _)| before.records(path));
    let mut parts = zone::read(&file, id, first_region, sources, records);
    if let Some((before, next)) = kept {
        before.keep(path, first_region, sources, &mut parts, next);
    }
    Ok(Arc::new(parts))
}

/// A service whose name belongs to a zone inside its own: that zone answers there.
fn in_another_zone(service: &Service, span: &Span, model: &Model, origins: &Origins<'_>) -> Option<Diagnostic> {
    let own = &model.zones.get(service.zone.index())?.origin;
    let above = std::iter::successors(Some(service.name.clone()), Name::parent);
    let inner = above.take_while(|name| name != own).find_map(|name| origins.get_key_value(&name));
    let (origin, place) = inner.filter(|_| service.name.is_at_or_below(own))?;
    let error = Diagnostic::error(format!("the service {} is in the zone {origin}", service.name));
    let label = "would never be answered: define it in that zone's file";
    Some(error.at(span.clone(), label).related((*place).clone(), "that zone"))
}

/// The zone files by name. Reports a directory that is not there, or holds none.
fn zone_files(sources: &Sources<'_>, directory: &Path, diagnostics: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let shown = directory.display();
    let help = format!("write a zone file such as {}", directory.join("gslb.example.com.toml").display());
    let mut paths = match sources.list(directory, zone::is_zone_file) {
        Ok(paths) => paths,
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let why = if missing { "it does not exist".to_owned() } else { error.to_string() };
            let error = Diagnostic::error(format!("cannot read the zones directory {shown}: {why}"));
            diagnostics.push(match missing {
                true => error.help(format!("create it and {help}, or set `zones` in the main file")),
                false => error,
            });
            return Vec::new();
        }
    };
    if paths.is_empty() {
        diagnostics.push(Diagnostic::error(format!("the zones directory {shown} holds no *.toml file")).help(help));
    }
    if paths.len() > MAX_ZONES {
        let found = paths.len();
        diagnostics.push(Diagnostic::error(format!("{shown} holds {found} zones, expected at most {MAX_ZONES}")));
        paths.truncate(MAX_ZONES);
    }
    paths
}

fn report_too_many(model: &Model, diagnostics: &mut Vec<Diagnostic>) {
    for (what, found, most) in
        [("regions", model.regions.len(), MAX_REGIONS), ("services", model.services.len(), MAX_SERVICES)]
    {
        if found > most {
            diagnostics.push(Diagnostic::error(format!("the zones have {found} {what}, expected at most {most}")));
        }
    }
}

/// Sorts by file as read, then by place; what has no place comes last.
fn in_order_of_files(diagnostics: &mut [Diagnostic], files: &[PathBuf]) {
    if diagnostics.len() < 2 {
        return;
    }
    let order: HashMap<Cow<'_, str>, usize> =
        files.iter().enumerate().map(|(index, path)| (path.to_string_lossy(), index)).collect();
    diagnostics.sort_by_key(|diagnostic| match &diagnostic.span {
        Some(span) => (order.get(&*span.file.path).copied().unwrap_or(usize::MAX), span.range.start),
        None => (usize::MAX, usize::MAX),
    });
}
