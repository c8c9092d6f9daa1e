//! `meridian check`: the loader itself, without sockets.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;

use crate::atlas::AtlasSummary;
use crate::control::bounded_file::{self, Secret};
use crate::control::config::events::Target;
use crate::control::config::{self, Config, Loaded};
use crate::control::diagnostic::Diagnostic;
use crate::control::events::receivers::read_webhook_secret;
use crate::control::overrides::OverrideStore;
use crate::control::probe::icmp_refusal;
use crate::control::rum::LEAST_KEY;
use crate::model::Model;

use super::arguments::ConfigFile;
use super::output::{self, Failure, Outcome, count};
use super::source::check_databases;

/// Load everything, open no socket, and show every mistake at once
///
/// Reads the configuration, all zones, their records, the GeoIP databases and the overrides kept, as
/// `serve` would. What `check` finds good, `serve` and `reload` take.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian check --config /etc/meridian/meridian.toml
  meridian check -c meridian.toml && systemctl reload meridian

Exit code: 0 without errors (there may be warnings), 1 with errors.")]
pub struct Check {
    #[command(flatten)]
    file: ConfigFile,
}

impl Check {
    pub fn run(&self) -> Outcome {
        let report = report(&self.file.config);
        output::print_styled(&report.render(output::color_on_stdout()))?;
        if report.errors() == 0 { Ok(()) } else { Err(Failure::told()) }
    }
}

struct CheckReport {
    diagnostics: Vec<Diagnostic>,
    /// The summary of what was loaded, in a line, where it could be.
    summary: String,
}

fn report(path: &Path) -> CheckReport {
    let Loaded { config, model, mut diagnostics, .. } = match config::load(path) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return CheckReport { diagnostics, summary: String::new() },
    };
    let mut summary = String::new();
    match check_databases(&config.geoip.databases, &model.networks) {
        Ok(atlas) => summary = what_is_there(&model, &atlas),
        Err(mistakes) => diagnostics.extend(mistakes.into_iter().map(Diagnostic::error)),
    }
    if config.geoip.databases.is_empty() && model.networks.is_empty() {
        diagnostics.push(no_places());
    }
    diagnostics.extend(check_overrides(&config, &model));
    diagnostics.extend(check_secrets(&config));
    diagnostics.extend(icmp_refusal(&model).map(no_pings));
    CheckReport { diagnostics, summary }
}

/// The files with secrets: what is wrong with them, and which others may read.
fn check_secrets(config: &Config) -> Vec<Diagnostic> {
    let key = config.rum.key_file.as_deref().filter(|_| config.listen.rum.is_some());
    let key = key.map(|path| bounded_file::read_secret(path, "the RUM key", LEAST_KEY)).transpose();
    let told = |secret: Result<Option<Secret>, String>| match secret {
        Ok(secret) => secret?.warning.map(Diagnostic::warning),
        Err(error) => Some(Diagnostic::error(error)),
    };
    let hooks = config.receivers.iter().filter_map(|receiver| {
        let Target::Webhook(webhook) = &receiver.to else { return None };
        Some(read_webhook_secret(webhook.secret_file.as_deref()?).map(Some))
    });
    [crate::daemon::admin_token(config), key].into_iter().chain(hooks).filter_map(told).collect()
}

fn no_places() -> Diagnostic {
    Diagnostic::warning("no database and no network says where clients are: all are answered alike")
        .help("name a MaxMind-format file: geoip = [\"GeoLite2-City.mmdb\"]; or your own networks: [[network]]")
}

fn no_pings(why: &str) -> Diagnostic {
    Diagnostic::warning(format!("`check.icmp` cannot be asked by this user: {why}"))
        .help("a server has no capabilities, so root cannot either; `0 2147483647` lets everyone: endpoints stay unproven until then")
}

fn check_overrides(config: &Config, model: &Model) -> Vec<Diagnostic> {
    let overrides = match OverrideStore::new(&config.state).load() {
        Ok(kept) => kept.overrides,
        Err(error) => return vec![Diagnostic::error(error.to_string())],
    };
    let unknown = overrides.iter().filter(|(region, _)| model.find_regions(region).is_empty());
    unknown
        .map(|(region, said)| {
            let said = said.as_str();
            Diagnostic::warning(format!("the override `{said}` of the region {region} applies to nothing")).help(
                "it will hold again when a region of that name is back; to forget it, stop the server and take it \
                       out of overrides.json in the state directory, together with the file's `sha256`",
            )
        })
        .collect()
}

fn what_is_there(model: &Model, atlas: &AtlasSummary) -> String {
    let records: usize = model.zones.iter().map(|zone| zone.nodes.record_count()).sum();
    [
        count(model.zones.len(), "zone"),
        count(records, "record"),
        count(model.regions.len(), "region"),
        count(model.services.len(), "service"),
        format!("{} from {}", count(atlas.places, "place"), count(atlas.databases.len(), "database")),
    ]
    .join(", ")
}

impl CheckReport {
    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            let _ = writeln!(text, "{}\n", diagnostic.render(color));
        }
        let (errors, warnings) = (self.errors(), self.diagnostics.len() - self.errors());
        let _ = match (errors, warnings) {
            (0, 0) => writeln!(text, "{}: ok", self.summary),
            (0, warnings) => writeln!(text, "{}: ok, with {}", self.summary, count(warnings, "warning")),
            (errors, warnings) => writeln!(text, "{}, {}", count(errors, "error"), count(warnings, "warning")),
        };
        text
    }
}
