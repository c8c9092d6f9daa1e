//! Measurements kept over restarts: `latency.json` in the state directory.
//!
//! A file that cannot be read, or is not ours, stops nothing: it is told, set aside for whoever wants
//! to look, and measuring begins anew. Times are an aid, not a promise.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::control::state_file::{Content, StateFile, StateFileError};
use crate::control::troubles::{StateName, Troubles};
use crate::steer::latency::rtt::ClientGroup;

use super::sketch::Sketch;
use super::store::{Import, Store};

/// The file of measurements in a state directory.
pub type MeasurementFile = StateFile<Stored>;

/// A store's content, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// [`StateFile`]'s.
    #[serde(default, skip_serializing, rename = "sha256")]
    _sha256: IgnoredAny,
    version: u32,
    counted: Vec<(String, String, Sketch)>,
    imported: Vec<(String, String, Figure)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    ms: f64,
    samples: u32,
    at: u64,
}

impl Content for Stored {
    const NAME: StateName = StateName::Measurements;
    const VERSION: u32 = 1;
    /// As large as a file of as much as is kept can get, with room.
    const MAX_BYTES: u64 = 512 << 20;
    const INDENTED: bool = false;
    const OF: &'static str = "measurements";
    const WITHOUT: &'static str = "measure anew";
    const INSTEAD: &'static str = "round trips are measured anew";
    const TOO_LARGE: &'static str = "";

    fn version(&self) -> u32 {
        self.version
    }
}

/// Everything that is to be kept, sealed for [`StateFile::replace`].
pub fn sealed(file: &MeasurementFile, store: &Store) -> Result<Vec<u8>, StateFileError> {
    let figure = |Import { ms, samples, at }: Import| Figure { ms, samples, at };
    file.seal(&Stored {
        _sha256: IgnoredAny,
        version: Stored::VERSION,
        counted: store.sketches().map(|(group, region, s)| (group.to_string(), region.into(), s.clone())).collect(),
        imported: store.imports().map(|(group, region, i)| (group.to_string(), region.into(), figure(i))).collect(),
    })
}

/// Takes back what was kept; nothing, where nothing was. What cannot be used is set aside, and told.
///
/// # Errors
/// Why it could not be read. The store is as it was.
pub fn restore(store: &mut Store, file: &MeasurementFile, now: u64, troubles: &Troubles) -> Result<(), String> {
    let Some(stored) = file.load_at_start(troubles).map_err(|error| unusable(file, &error.reason()))? else {
        return Ok(());
    };
    take(store, stored, now).map_err(|why| {
        file.set_aside(troubles, &why);
        unusable(file, &why)
    })
}

/// [`restore`], for a look alone: the file stays where it is.
pub fn look(store: &mut Store, file: &MeasurementFile, now: u64) -> Result<(), String> {
    let taken = match file.load() {
        Ok(Some(stored)) => take(store, stored, now),
        Ok(None) => Ok(()),
        Err(error) => Err(error.reason()),
    };
    taken.map_err(|why| unusable(file, &why))
}

fn unusable(file: &MeasurementFile, why: &str) -> String {
    format!("{} cannot be used, and measuring begins anew: {why}", file.path().display())
}

fn take(store: &mut Store, stored: Stored, now: u64) -> Result<(), String> {
    let group = |text: String| text.parse::<ClientGroup>().map_err(|error| format!("`{text}` is {error}"));
    let counted = stored.counted.into_iter().map(|(of, region, sketch)| Ok((group(of)?, region, sketch)));
    let counted = counted.collect::<Result<Vec<_>, String>>()?;
    let figure = |Figure { ms, samples, at }: Figure| {
        let sound = ms.is_finite() && ms > 0.0;
        sound.then_some(Import { ms, samples, at }).ok_or_else(|| format!("{ms} ms is no time"))
    };
    let imported = stored.imported.into_iter().map(|(of, region, f)| Ok((group(of)?, region, figure(f)?)));
    store.import(&imported.collect::<Result<Vec<_>, String>>()?, true)?;
    store.restore(counted, now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::control::rum::store::{Beliefs, Whereabouts};
    use crate::control::troubles::TroubleKind;
    use crate::model::Coordinates;

    const NOW: u64 = 1_790_000_000;

    fn store() -> Store {
        Store::new(Beliefs { half_life_s: 86_400, min_samples: [20, 50, 100] })
    }

    #[test]
    fn what_was_measured_and_imported_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = MeasurementFile::new(&directory.path().join("made/when/needed"));
        let mut before = store();
        let country = "KR".parse().ok();
        let client = Whereabouts { asn: Some(4766), country, at: None };
        let region = ("seoul@gslb.example", Coordinates::new(37.0, 127.0).expect("coordinates"));
        for address in ["192.0.2.1", "2001:db8::1"] {
            before.count(address.parse().expect("an address"), &client, region, 41.5, NOW).expect("counted");
        }
        let import = Import { ms: 12.5, samples: 7, at: NOW - 5 };
        let group: ClientGroup = "203.0.113.0/24".parse().expect("a group");
        before.import(&[(group, "seoul@gslb.example".into(), import)], false).expect("taken");
        file.replace(&sealed(&file, &before).expect("sealed")).expect("kept");
        let mut after = store();
        restore(&mut after, &file, NOW, &Troubles::default()).expect("back");
        let rows = |store: &Store| {
            let mut rows = store.rows(NOW);
            rows.sort_by_key(|row| row.group);
            rows
        };
        assert_eq!(rows(&after), rows(&before));
        assert_eq!(rows(&after).len(), 5);
    }

    #[test]
    fn files_from_before_checksums_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = MeasurementFile::new(directory.path());
        let text = r#"{"version":1,"counted":[],"imported":[["KR","a@z",{"ms":1.5,"samples":9,"at":1}]]}"#;
        fs::write(file.path(), text).expect("written");
        let mut store = store();
        restore(&mut store, &file, NOW, &Troubles::default()).expect("back");
        assert_eq!(store.sizes().1, 1);
    }

    #[test]
    fn a_file_that_is_not_ours_is_told_and_set_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = MeasurementFile::new(directory.path());
        let path = file.path();
        restore(&mut store(), &file, NOW, &Troubles::default()).expect("nothing was kept");
        for wrong in [
            "",
            "{",
            r#"{"version":2,"counted":[],"imported":[]}"#,
            r#"{"version":1,"counted":[],"imported":[["nowhere","a@z",{"ms":1,"samples":1,"at":1}]]}"#,
            r#"{"version":1,"counted":[],"imported":[["KR","a@z",{"ms":-1,"samples":1,"at":1}]]}"#,
        ] {
            fs::write(path, wrong).expect("written");
            let mut store = store();
            let troubles = Troubles::default();
            let told = restore(&mut store, &file, NOW, &troubles).expect_err(wrong);
            assert!(told.contains("latency.json cannot be used"), "{told}");
            assert!(troubles.has(StateName::Measurements, TroubleKind::SetAside) && !path.exists(), "{wrong}");
            assert_eq!(store.sizes(), (0, 0), "{wrong}");
        }
    }
}
