//! The user's files as a source of configuration, and their mistakes as people read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::atlas::{Atlas, AtlasSummary, Database};
use crate::control::clock;
use crate::control::config::{self, Loaded, Loader, RumSettings};
use crate::control::overrides::OverrideStore;
use crate::control::reload::{ConfigSource, Prepared, prepare, prepare_to_serve, prepare_whole};
use crate::control::rum;
use crate::control::switches::SwitchStore;
use crate::model::{Location, Prefix};
use crate::state::{News, Publisher, Snapshot};
use crate::steer::latency::rtt::Measured;

use super::output::{Failure, Outcome};

/// Files from a main file on. Its mistakes are lines, fit for the log.
pub struct FileSource {
    path: PathBuf,
    loader: Loader,
}

impl FileSource {
    pub fn new(path: &Path) -> FileSource {
        FileSource { path: path.to_owned(), loader: Loader::new(path) }
    }

    /// Everything loaded, or every mistake with its excerpt.
    pub fn prepare(&self) -> Result<Prepared, Failure> {
        prepare(self).map_err(|mistakes| self.shown(mistakes))
    }

    /// The same for a start: bad databases are done without where that may be.
    pub fn prepare_to_serve(&self) -> Result<Prepared, Failure> {
        prepare_to_serve(self).map_err(|mistakes| self.shown(mistakes))
    }

    /// As [`FileSource::prepare`], with all that databases say of places, needed or not.
    pub fn prepare_whole(&self) -> Result<Prepared, Failure> {
        prepare_whole(self).map_err(|mistakes| self.shown(mistakes))
    }

    fn shown(&self, mistakes: Vec<String>) -> Failure {
        match config::load(&self.path) {
            // Read once more, for the excerpts.
            Err(diagnostics) => Failure::of_files(&diagnostics),
            Ok(_) => Failure::all(mistakes),
        }
    }
}

impl ConfigSource for FileSource {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        self.loader.load().map_err(|diagnostics| {
            let (errors, warnings): (Vec<_>, Vec<_>) = diagnostics.iter().partition(|diagnostic| diagnostic.is_error());
            warnings.iter().for_each(|warning| warn!("{warning}"));
            errors.iter().map(ToString::to_string).collect()
        })
    }

    fn tells_facts(&self) -> bool {
        true
    }
}

/// What would be served from these files, if every region were up.
pub fn snapshot(prepared: Prepared) -> Outcome<Arc<Snapshot>> {
    let Prepared { loaded: Loaded { config, model, .. }, atlas, .. } = prepared;
    let kept = OverrideStore::new(&config.state).load().map_err(|error| Failure::new(error.to_string()))?;
    let (nsid, now) = (config.nsid.unwrap_or_default(), clock::read());
    let mut publisher = Publisher::new(model, atlas, &nsid, config.seed, kept.overrides, now);
    let switches = SwitchStore::new(&config.state).load().map_err(|error| Failure::new(error.to_string()))?;
    publisher.apply(News::Switches(switches), now);
    publisher.apply(News::Measured(Arc::new(measurements(&config.rum, &config.state)?)), now);
    publisher.assume_up(now);
    Ok(publisher.shared().load_full())
}

fn measurements(settings: &RumSettings, state: &Path) -> Outcome<Measured> {
    rum::kept_measurements(settings, state, rum::unix_now()).map_err(Failure::new)
}

/// What the databases hold together, or what is wrong with each of them.
pub fn check_databases(paths: &[PathBuf], networks: &[(Prefix, Location)]) -> Result<AtlasSummary, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut databases = Vec::new();
    for path in paths {
        match Database::read(path) {
            Ok(database) => databases.push(database),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    match Atlas::build(&databases, networks) {
        Ok(atlas) if mistakes.is_empty() => return Ok(atlas.summary().clone()),
        Ok(_) => {}
        // It tells of the first alone: each is asked for its own.
        Err(together) => {
            let before = mistakes.len();
            let alone = databases.into_iter().filter_map(|database| Atlas::build(&[database], &[]).err());
            mistakes.extend(alone.map(|error| error.to_string()));
            if mistakes.len() == before {
                mistakes.push(together.to_string());
            }
        }
    }
    Err(mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_beside_a_mistake_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        let main = folder.path().join("meridian.toml");
        std::fs::write(&main, "seed = -1").expect("written");
        let zone = "origin = \"a.example\"\nrecords = \"@ SOA ns1 h 1 1h 10m 1w 60\\n@ NS ns.b.example.\"\n";
        std::fs::write(folder.path().join("zones/a.toml"), zone).expect("written");
        let all = config::load(&main).expect_err("a mistake");
        assert_eq!(all.len(), 2, "one name server alone is warned of: {all:?}");
        let mistakes = FileSource::new(&main).load().expect_err("a mistake");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("`seed`"), "{mistakes:?}");
    }
}
