//! A configuration that is one zone: its text in, what the loader makes of it out.

use std::io;
use std::path::{Path, PathBuf};

use meridian::control::config::{self, Files, Loaded};
use meridian::control::diagnostic::Diagnostic;
use meridian::model::Model;

/// One zone, and no other file.
pub struct OneZone(pub String);

impl OneZone {
    pub fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        config::load_from(self, Path::new("meridian.toml"))
    }

    /// The model of a zone that is as it should be.
    pub fn model(&self) -> Model {
        self.load().unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).model
    }
}

impl Files for OneZone {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("meridian.toml") => Ok(String::new()),
            Some("zones/a.toml") => Ok(self.0.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["zones/a.toml".into()])
    }
}
