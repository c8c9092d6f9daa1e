//! Any text as gdnsd's config and zone, and as Route 53's record sets and health checks: no panic, and what is made of it is
//! written into files whose names lead nowhere else.

#![no_main]

use std::io;
use std::path::{Component, Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use meridian::control::config::Files;
use meridian::control::import::draft::Draft;
use meridian::control::import::{gdnsd, route53};

/// A config, and a zone that stands for all other files.
struct Two<'t>(&'t str, &'t str);

impl Files for Two<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        Ok(if path == Path::new("config") { self.0 } else { self.1 }.to_owned())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        if path.ends_with("zones") { Ok(vec!["zones/example.com".into()]) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

fn held(draft: &Draft) {
    for (path, _) in draft.files() {
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((&pick, rest)) = octets.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (first, second) = text.split_once('\0').unwrap_or((text, ""));
    let made = match pick % 2 {
        0 => gdnsd::import(&Two(first, second), Path::new("config"), &[]),
        _ => {
            let checks = route53::Text { name: "checks", text: second };
            let checks = Some(&checks).filter(|checks| !checks.text.is_empty());
            route53::import(&route53::Text { name: "sets", text: first }, checks)
        }
    };
    if let Ok((draft, _)) = made {
        held(&draft);
    }
});
