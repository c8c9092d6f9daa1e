//! What is packed is there, and goes where the units say: the .deb of `[package.metadata.deb]`, and the container's file.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is packed, and where it goes.
fn assets() -> Vec<(String, String)> {
    let manifest: toml::Value = toml::from_str(&read("Cargo.toml")).expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list");
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    assets.iter().map(|asset| (text(&asset[0]), text(&asset[1]))).collect()
}

#[test]
fn all_that_the_deb_packs_is_there_or_made_by_its_script() {
    let script = read("examples/packages/deb");
    for (from, _) in assets() {
        let before_any = from.split('*').next().expect("a text");
        match before_any.strip_prefix("target/") {
            Some(made) => {
                let name = Path::new(made).file_name().and_then(|name| name.to_str()).expect("a name");
                assert!(script.contains(name), "{from}: examples/packages/deb does not make it");
            }
            None => assert!(Path::new(ROOT).join(before_any).exists(), "{from} is not there"),
        }
    }
}

#[test]
fn the_units_run_what_is_packed() {
    let service = read("examples/systemd/meridian.service");
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a program");
    let program = start.split(' ').next().expect("a path");
    let at = |from: &str| {
        let assets = assets();
        let (_, to) =
            assets.iter().find(|(packed, _)| packed == from).unwrap_or_else(|| panic!("{from} is not packed"));
        let name = Path::new(from).file_name().expect("a name");
        let to = PathBuf::from("/").join(to);
        if to.to_string_lossy().ends_with('/') { to.join(name) } else { to }
    };
    assert_eq!(at("target/release/meridian"), Path::new(program));
    let manifest: toml::Value = toml::from_str(&read("Cargo.toml")).expect("TOML");
    let units = &manifest["package"]["metadata"]["deb"]["systemd-units"];
    assert_eq!(units["unit-scripts"].as_str(), Some("examples/systemd"));
    assert_eq!(
        (units["enable"].as_bool(), units["start"].as_bool()),
        (Some(false), Some(false)),
        "nothing is configured yet"
    );
}

#[test]
fn the_containers_file_copies_what_is_there() {
    let file = read("examples/container/Containerfile");
    let mut copied = Vec::new();
    for line in file.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, sources) = words.split_last().expect("a target");
        for source in sources {
            assert!(Path::new(ROOT).join(source).exists(), "{source} is not there");
        }
        copied.extend(sources.iter().map(|source| (*source).to_owned()));
    }
    // What the program is made of, beside src.
    for needed in ["Cargo.toml", "Cargo.lock", "src", "benches", "zones", "geoip", "docs", "examples"] {
        assert!(copied.iter().any(|source| source == needed), "{needed} is not copied");
    }
}
