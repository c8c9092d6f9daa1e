//! Measurements kept over restarts: `latency.json` in the state directory.
//!
//! A file that cannot be read, or is not ours, stops nothing: it is told, set aside for whoever wants
//! to look, and measuring begins anew. Times are an aid, not a promise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::control::keep;
use crate::steer::latency::rtt::ClientGroup;

use super::sketch::Sketch;
use super::store::{Import, Store};

/// Largest file read back: as large as one of as much as is kept can get, with room.
const MAX_BYTES: u64 = 512 << 20;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
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

/// The file in a state directory.
pub fn path(state: &Path) -> PathBuf {
    state.join("latency.json")
}

/// Everything that is to be kept, as text.
pub fn text(store: &Store) -> Result<Vec<u8>, serde_json::Error> {
    let figure = |Import { ms, samples, at }: Import| Figure { ms, samples, at };
    serde_json::to_vec(&Stored {
        version: VERSION,
        counted: store.sketches().map(|(group, region, s)| (group.to_string(), region.into(), s.clone())).collect(),
        imported: store.imports().map(|(group, region, i)| (group.to_string(), region.into(), figure(i))).collect(),
    })
}

/// Takes back what was kept; nothing, where nothing was. What cannot be used is set aside.
///
/// # Errors
/// Why it could not be read, and where it is now. The store is as it was.
pub fn restore(store: &mut Store, path: &Path, now: u64) -> Result<(), String> {
    look(store, path, now).map_err(|why| format!("{why}; {}", set_aside(path)))
}

/// [`restore`], for a look alone: the file stays where it is.
pub fn look(store: &mut Store, path: &Path, now: u64) -> Result<(), String> {
    let taken = match read(path) {
        Ok(Some(stored)) => take(store, stored, now),
        Ok(None) => Ok(()),
        Err(why) => Err(why),
    };
    taken.map_err(|why| format!("{} cannot be used: {why}", path.display()))
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Stored>, String> {
    match fs::metadata(path) {
        // A pipe would keep its reader waiting for ever.
        Ok(metadata) if !metadata.is_file() => return Err("it is not a regular file".to_owned()),
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(format!("it has {} bytes", metadata.len())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("version {} is not {VERSION}", stored.version));
    }
    Ok(Some(stored))
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

/// Moves a file out of the way of the next; says where it is.
fn set_aside(path: &Path) -> String {
    let aside = path.with_extension("json.unusable");
    match fs::rename(path, &aside) {
        Ok(()) => format!("it was set aside as {}, and measuring begins anew", aside.display()),
        Err(error) => {
            format!("measuring begins anew, and the next measurements replace it, since it cannot be moved: {error}")
        }
    }
}

/// Keeps a text. When this returns, it survives a crash of the machine.
pub fn save(path: &Path, text: &[u8]) -> io::Result<()> {
    keep::replace(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rum::store::{Beliefs, Whereabouts};
    use crate::model::Coordinates;

    const NOW: u64 = 1_790_000_000;

    fn store() -> Store {
        Store::new(Beliefs { half_life_s: 86_400, min_samples: [20, 50, 100] })
    }

    #[test]
    fn what_was_measured_and_imported_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = path(&directory.path().join("made/when/needed"));
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
        save(&path, &text(&before).expect("text")).expect("kept");
        let mut after = store();
        restore(&mut after, &path, NOW).expect("back");
        let rows = |store: &Store| {
            let mut rows = store.rows(NOW);
            rows.sort_by_key(|row| row.group);
            rows
        };
        assert_eq!(rows(&after), rows(&before));
        assert_eq!(rows(&after).len(), 5);
    }

    #[test]
    fn a_file_that_is_not_ours_is_told_and_set_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = path(directory.path());
        restore(&mut store(), &path, NOW).expect("nothing was kept");
        for wrong in [
            "",
            "{",
            r#"{"version":2,"counted":[],"imported":[]}"#,
            r#"{"version":1,"counted":[],"imported":[["nowhere","a@z",{"ms":1,"samples":1,"at":1}]]}"#,
            r#"{"version":1,"counted":[],"imported":[["KR","a@z",{"ms":-1,"samples":1,"at":1}]]}"#,
        ] {
            fs::write(&path, wrong).expect("written");
            let mut store = store();
            let told = restore(&mut store, &path, NOW).expect_err(wrong);
            assert!(told.contains("latency.json.unusable"), "{told}");
            assert_eq!(store.sizes(), (0, 0), "{wrong}");
            assert_eq!(fs::read_to_string(path.with_extension("json.unusable")).expect("aside"), wrong);
            assert!(!path.exists());
        }
    }
}
