//! Zones as they were read last: a reload reads what changed.
//!
//! ```text
//!   zone file ─▶ the files it was made of: as they were? ─ yes ─▶ what was made of it
//!                       (size, times, inode; else its digest) ─ no ──▶ read, and made to share what is as before
//! ```
//!
//! Kept is a zone without its text. Places in the text, which mistakes are shown at, keep the lines they are on.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::dependencies::Named;
use super::files::{ReadFile, Sources, Stamp};
use super::zone::ZoneParts;
use crate::control::diagnostic::Diagnostic;
use crate::control::zonefile::Before;
use crate::model::name::canonical_order;
use crate::model::{Region, ZoneId, ZoneNode, ZoneNodes};

/// Zones by their files.
#[derive(Debug, Default)]
pub struct KeptZones {
    zones: HashMap<Arc<Path>, Arc<KeptZone>, FixedState>,
}

/// Zones in the order of a list, and their files as they are now.
#[derive(Default)]
pub struct LookedAt<'k> {
    /// With where the stamps of its files are.
    zones: Vec<Option<(&'k Arc<KeptZone>, Range<usize>)>>,
    stamps: Vec<Option<Stamp>>,
}

#[derive(Debug)]
struct KeptZone {
    /// The zone's file first, then all that it led to.
    files: Vec<ReadFile>,
    /// Zone files might name programs.
    programs: bool,
    first_region: usize,
    parts: Arc<ZoneParts>,
}

impl KeptZones {
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, zones: usize) {
        self.zones.reserve(zones);
    }

    /// The zones of these files, with all their files as they are now.
    pub fn look_at(&self, paths: &[PathBuf], sources: &Sources<'_>) -> LookedAt<'_> {
        let mut end = 0;
        let zones = paths.iter().map(|path| {
            let zone = self.zones.get(path.as_path())?;
            end += zone.files.len();
            Some((zone, end - zone.files.len()..end))
        });
        let zones: Vec<_> = zones.collect();
        let stamps = sources.stamps(zones.iter().flatten().flat_map(|(zone, _)| &zone.files));
        LookedAt { zones, stamps }
    }

    /// What was made of a zone's records.
    pub fn records(&self, path: &Path) -> Option<Before<'_>> {
        self.zones.get(path)?.parts.before()
    }

    /// Keeps a zone that was read just now from these files in `next`. Its records share memory with those it had.
    pub fn keep(
        &self,
        path: &Path,
        first_region: usize,
        sources: &Sources<'_>,
        parts: &mut ZoneParts,
        next: &mut KeptZones,
    ) {
        let before = self.zones.get(path).and_then(|zone| zone.parts.zone.as_ref());
        if let Some((old, _)) = before
            && let Some((new, _)) = &mut parts.zone
            && old.origin == new.origin
            && !new.nodes.shares_places_with(&old.nodes)
            && let Some(settled) = settled(&old.nodes, &new.nodes)
        {
            new.nodes = settled;
        }
        let files = sources.take_reads();
        let parts = Arc::new(without_text(parts));
        let kept = KeptZone { files, programs: sources.may_run_programs(), first_region, parts };
        next.zones.insert(path.into(), Arc::new(kept));
    }
}

impl LookedAt<'_> {
    /// The parts of the zone at this place of the list, if it is as it was; they are kept on in `next`.
    pub fn unchanged(
        &self,
        at: usize,
        id: ZoneId,
        first_region: usize,
        sources: &Sources<'_>,
        next: &mut KeptZones,
    ) -> Option<Arc<ZoneParts>> {
        let (zone, range) = self.zones.get(at)?.as_ref()?;
        let has_ids = !zone.parts.regions.is_empty() || !zone.parts.services.is_empty();
        if zone.programs != sources.may_run_programs() || (has_ids && zone.first_region != first_region) {
            return None;
        }
        let now = self.stamps.get(range.clone())?;
        let files = zone.files.iter().zip(now).map(|(file, now)| sources.unchanged(file, *now));
        let files = files.collect::<Option<Vec<_>>>()?;
        let is_same = zone.parts.is_of(id) && files.iter().zip(&zone.files).all(|(now, then)| now.has_stamp_of(then));
        let kept = if is_same { Arc::clone(zone) } else { Arc::new(zone.with(files, id)) };
        let parts = kept.parts.clone();
        next.zones.insert(kept.files.first()?.path(), kept);
        Some(parts)
    }
}

impl KeptZone {
    /// The same with its files as they are now, as the zone of this id.
    fn with(&self, files: Vec<ReadFile>, id: ZoneId) -> KeptZone {
        let mut parts = self.parts.clone();
        if !parts.is_of(id) {
            let ZoneParts { regions, services, .. } = Arc::make_mut(&mut parts);
            let ids = regions.iter_mut().map(|Region { zone, .. }| zone);
            ids.chain(services.iter_mut().map(|(service, _)| &mut service.zone)).for_each(|of| *of = id);
        }
        KeptZone { files, programs: self.programs, first_region: self.first_region, parts }
    }
}

/// The new nodes as the old ones with changes. `None` where most are others.
fn settled(old: &ZoneNodes, new: &ZoneNodes) -> Option<ZoneNodes> {
    const FEW: usize = 1_000;
    const PART: usize = 16;
    let most = FEW.max(old.len() / PART);
    let mut changes: Vec<(&[u8], Option<ZoneNode<'_>>)> = Vec::new();
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => match a.labels() == b.labels() {
                true => Ordering::Equal,
                false => canonical_order(a.labels(), b.labels()),
            },
        };
        let was = if order == Ordering::Greater { None } else { before.next() };
        let is = if order == Ordering::Less { None } else { after.next() };
        match (was, is) {
            (Some(was), Some(is)) if was.has_records_of(&is) => continue,
            (_, Some(is)) => changes.push((is.labels(), Some(is))),
            (Some(was), None) => changes.push((was.labels(), None)),
            (None, None) => break,
        }
        if changes.len() > most {
            return None;
        }
    }
    if changes.is_empty() {
        return Some(old.clone());
    }
    old.replaced(changes.into_iter())
}

/// The same parts, whose places have the lines they are on and no more of the text.
fn without_text(parts: &ZoneParts) -> ZoneParts {
    let named = |named: &Named| Named { name: named.name.clone(), span: named.span.excerpt() };
    ZoneParts {
        zone: parts.zone.as_ref().map(|(zone, span)| (zone.clone(), span.excerpt())),
        regions: parts.regions.clone(),
        services: parts.services.iter().map(|(service, span)| (service.clone(), span.excerpt())).collect(),
        depends_on: parts.depends_on.iter().map(|(id, names)| (*id, names.iter().map(named).collect())).collect(),
        diagnostics: parts.diagnostics.iter().map(Diagnostic::excerpt).collect(),
        known: parts.known.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::io;

    use super::super::files::Files;
    use super::super::{Loaded, load_with};
    use super::*;
    use crate::model::{Name, RecordType};

    const SOA: &str = "@ SOA ns1 h 1 1h 10m 1w 60\n@ NS ns1\n@ NS ns.other.test.\nns1 A 192.0.2.53\n";

    /// Files with their stamps, and which were read.
    #[derive(Default)]
    struct Shelf {
        files: BTreeMap<PathBuf, (String, Option<Stamp>)>,
        read: RefCell<Vec<String>>,
    }

    impl Shelf {
        fn put(&mut self, name: &str, text: impl Into<String>, stamp: Option<u64>) {
            self.files.insert(name.into(), (text.into(), stamp.map(Stamp::numbered)));
        }

        fn load(&self, kept: &mut KeptZones) -> Loaded {
            self.read.borrow_mut().clear();
            let mut next = KeptZones::default();
            let loaded = load_with(self, Path::new("m.toml"), Some((&*kept, &mut next)));
            *kept = next;
            loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
        }

        /// What was read last, the main file aside.
        fn zones_read(&self) -> Vec<String> {
            self.read.borrow().iter().filter(|name| *name != "m.toml").cloned().collect()
        }
    }

    impl Files for Shelf {
        fn read(&self, path: &Path) -> io::Result<String> {
            self.read.borrow_mut().push(path.display().to_string());
            let found = self.files.get(path).map(|(text, _)| text.clone());
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn stamp(&self, path: &Path) -> Option<Stamp> {
            self.files.get(path)?.1
        }

        fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(self.files.keys().filter(|file| file.starts_with(path)).cloned().collect())
        }
    }

    fn shelf() -> Shelf {
        let mut shelf = Shelf::default();
        shelf.put("m.toml", "", None);
        shelf.put("zones/a.toml", format!("origin = \"a.test\"\nttl = 60\nrecords = '''\n{SOA}'''\n"), Some(1));
        shelf.put("zones/b.toml", "origin = \"b.test\"\nttl = 60\nrecords_file = \"b.records\"\n", Some(1));
        shelf.put("zones/b.records", format!("{SOA}$INCLUDE b.more\n"), Some(1));
        shelf.put("zones/b.more", "host A 192.0.2.1\n", Some(1));
        shelf
    }

    fn host(loaded: &Loaded) -> Option<Vec<u8>> {
        let name = Name::parse_absolute("host.b.test").expect("a name");
        Some(loaded.model.zones[1].rrset(&name, RecordType::A)?.rdatas().next()?.to_vec())
    }

    #[test]
    fn what_did_not_change_is_not_read() {
        let (shelf, mut kept) = (shelf(), KeptZones::default());
        let first = shelf.load(&mut kept);
        let second = shelf.load(&mut kept);
        assert_eq!(shelf.zones_read(), [""; 0]);
        assert_eq!(first.files, second.files);
        assert!(first.model.zones.iter().zip(&second.model.zones).all(|(a, b)| a.nodes.is_same_as(&b.nodes)));
    }

    #[test]
    fn an_included_file_belongs_to_its_zone() {
        let (mut shelf, mut kept) = (shelf(), KeptZones::default());
        shelf.load(&mut kept);
        shelf.put("zones/b.more", "host A 192.0.2.2\n", Some(2));
        let loaded = shelf.load(&mut kept);
        assert!(!shelf.zones_read().contains(&"zones/a.toml".to_owned()));
        assert_eq!(host(&loaded), Some(vec![192, 0, 2, 2]));
    }

    /// Written twice within one tick of the clock, to the same length: nothing but the octets tells.
    #[test]
    fn a_file_written_lately_is_known_by_its_octets_alone() {
        let (mut shelf, mut kept) = (shelf(), KeptZones::default());
        shelf.put("zones/b.more", "host A 192.0.2.1\n", None);
        let first = shelf.load(&mut kept);
        let second = shelf.load(&mut kept);
        assert_eq!(shelf.zones_read(), ["zones/b.more"], "read, and found as it was");
        assert!(first.model.zones[1].nodes.is_same_as(&second.model.zones[1].nodes));
        shelf.put("zones/b.more", "host A 192.0.2.7\n", None);
        assert_eq!(host(&shelf.load(&mut kept)), Some(vec![192, 0, 2, 7]));
        // Old enough by now, it is not read a second time.
        shelf.put("zones/b.more", "host A 192.0.2.7\n", Some(9));
        shelf.load(&mut kept);
        shelf.load(&mut kept);
        assert_eq!(shelf.zones_read(), [""; 0]);
    }

    #[test]
    fn regions_keep_their_numbers_or_are_numbered_anew() {
        let (mut shelf, mut kept) = (shelf(), KeptZones::default());
        let steered = |origin: &str, regions: usize| {
            let names: Vec<String> = (0..regions).map(|region| format!("r{region}")).collect();
            let tables: String = names
                .iter()
                .map(|name| format!("[region.{name}]\nlocation = {{ country = \"KR\" }}\nendpoints = [{{ address = \"192.0.2.9\" }}]\n"))
                .collect();
            let head = format!("origin = \"{origin}\"\nttl = 60\nrecords = '''\n{SOA}'''\n");
            format!("{head}{tables}[service.www]\nregions = {names:?}\n")
        };
        shelf.put("zones/0.toml", steered("first.test", 1), Some(1));
        shelf.put("zones/c.toml", steered("last.test", 2), Some(1));
        shelf.load(&mut kept);
        // One region more in front: others have other numbers.
        shelf.put("zones/0.toml", steered("first.test", 2), Some(2));
        let loaded = shelf.load(&mut kept);
        assert_eq!(shelf.zones_read(), ["zones/0.toml", "zones/c.toml"]);
        let last = loaded.model.services.last().expect("a service");
        assert_eq!(last.regions.iter().map(|id| id.0).collect::<Vec<_>>(), [2, 3]);
        // One zone less in front: they keep theirs, and are of another zone.
        shelf.files.remove(Path::new("zones/a.toml"));
        let loaded = shelf.load(&mut kept);
        assert_eq!(shelf.zones_read(), [""; 0]);
        let last = loaded.model.services.last().expect("a service");
        assert_eq!(loaded.model.zone(last.zone).origin, Name::parse_absolute("last.test").expect("a name"));
        assert!(loaded.model.regions.iter().skip(2).all(|region| region.zone == last.zone));
    }

    #[test]
    fn warnings_are_told_again_without_the_text() {
        let (mut shelf, mut kept) = (shelf(), KeptZones::default());
        let odd = "origin = \"c.test\"\nttl = 60\nrecords = '''\n@ SOA ns1 h 1 1h 10m 1w 60\n\n@ NS ns.b.test.\n'''\n";
        shelf.put("zones/c.toml", odd, Some(1));
        let first = shelf.load(&mut kept);
        let second = shelf.load(&mut kept);
        let told = |loaded: &Loaded| loaded.diagnostics.iter().map(|told| told.render(false)).collect::<Vec<_>>();
        assert_eq!((told(&first).len(), shelf.zones_read().len()), (1, 0));
        assert_eq!(told(&first), told(&second));
        let file = &second.diagnostics[0].span.as_ref().expect("a place").file;
        assert_eq!(file.text, "@ NS ns.b.test.");
    }
}
