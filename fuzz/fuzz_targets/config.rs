//! Any text as a configuration: refused with diagnostics that render, at least one of them an error, or served
//! from: a snapshot is published, an image for the kernel is made of it, and the names of its services are
//! answered alike by the fast path and the full path, before and after every region was taken down.
//!
//! Files are parts of the text, each after a line `=== NAME`; what comes before is the main file.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::control::config::{self, Files, Loaded};
use meridian::control::diagnostic::Diagnostic;
use meridian::query::counters::CounterSet;
use meridian::query::kernel::image::Image;
use meridian::query::{Client, Transport, answer, answer_in_full};
use meridian::state::{News, Publisher, Snapshot};
use meridian::steer::health::effective::Override;
use meridian_fuzz::dns::Ask;
use meridian_fuzz::{client, multiplies};

/// More than this is no use: each costs a plan, or time in the kernel's image.
const MOST_SERVICES: usize = 16;
const MOST_NAMES: usize = 1_000;

struct Parts<'a>(BTreeMap<PathBuf, &'a str>);

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Parts<'a> {
        let (main, rest) = text.split_once("\n=== ").unwrap_or((text, ""));
        let named = rest.split("\n=== ").filter_map(|part| part.split_once('\n'));
        let named = named.map(|(name, text)| (Path::new("zones").join(name.trim_start_matches('/')), text));
        Parts(named.chain([(PathBuf::from("meridian.toml"), main)]).collect())
    }
}

impl Files for Parts<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }
}

fuzz_target!(|text: &str| {
    if multiplies(text) {
        return;
    }
    match config::load_from(&Parts::of(text), Path::new("meridian.toml")) {
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(Diagnostic::is_error), "refused without a reason");
            render(&diagnostics);
        }
        Ok(loaded) => {
            assert!(!loaded.diagnostics.iter().any(Diagnostic::is_error), "taken in spite of errors");
            render(&loaded.diagnostics);
            serve(loaded);
        }
    }
});

fn render(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        assert!(!diagnostic.render(false).is_empty() && !diagnostic.to_string().is_empty());
    }
}

fn serve(Loaded { config, model, .. }: Loaded) {
    let names: usize = model.zones.iter().map(|zone| zone.nodes.len()).sum();
    if model.services.len() > MOST_SERVICES || names > MOST_NAMES {
        return;
    }
    let Ok(atlas) = Atlas::build(&[], &model.networks) else { panic!("networks that were read make an atlas") };
    let regions: Vec<String> = model.region_ids().map(|id| model.qualified_region_name(id)).collect();
    let (now, nsid) = (clock::read(), config.nsid.unwrap_or_default());
    let mut publisher = Publisher::new(model, atlas, &nsid, config.seed, BTreeMap::new(), now);
    look_at(&publisher.shared().load_full());
    for region in &regions {
        publisher.apply(News::set_override(region.as_str(), Override::Down), now);
    }
    publisher.publish(now);
    look_at(&publisher.shared().load_full());
}

fn look_at(snapshot: &Snapshot) {
    let mut image = Image::default();
    if let Some(update) = image.update(snapshot) {
        assert_eq!(update.generation, snapshot.generation);
        assert!(image.names() <= snapshot.names.iter().count(), "more names than there are");
    }
    let counters = CounterSet::new().shared();
    for name in snapshot.model.services.iter().map(|service| &service.name).chain([&snapshot.model.zones[0].origin]) {
        for qtype in [1, 28, 65, 255] {
            let mut ask = Ask::new(".", "A");
            (ask.name, ask.qtype) = (name.as_wire().to_vec(), qtype);
            let packet = ask.edns(|opt| opt.payload = 1_232).wire();
            let asker = Client { address: client(usize::from(qtype % 7)), transport: Transport::Udp };
            let [mut fast, mut full] = [[0; 1_232]; 2];
            let lengths = [
                answer(snapshot, &packet, asker, &mut fast, &counters),
                answer_in_full(snapshot, &packet, asker, &mut full, &counters),
            ];
            assert!(
                lengths[0] > 0 && fast[..lengths[0]] == full[..lengths[1]],
                "{name} {qtype}: {fast:02x?}\n{full:02x?}"
            );
        }
    }
}
