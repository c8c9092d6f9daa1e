//! gdnsd's zone files: records as they are, and names with DYNA or DYNC as services.

use std::path::Path;

use super::resources::Resources;
use crate::control::import::draft::{ServiceDraft, ZoneDraft};
use crate::control::import::vscf::Place;
use crate::model::Ttl;

/// Reads a zone file into the zone. `ecs`: whether client subnets are looked at at all.
pub fn read(text: &str, path: &Path, ecs: bool, zone: &mut ZoneDraft, resources: &mut Resources<'_>) {
    let file: std::sync::Arc<str> = path.display().to_string().into();
    let mut zone_file = ZoneFile {
        origin: format!("{}.", zone.origin.trim_end_matches('.')),
        owner: None,
        written: None,
        ttl: zone.ttl,
    };
    for entry in entries(text) {
        let at = Place { file: file.clone(), line: entry.line, column: 1 };
        zone_file.entry(&entry, &at, ecs, zone, resources);
    }
}

/// A record or directive: its text with its line ends, and its words.
struct Entry<'t> {
    text: &'t str,
    /// Where it begins.
    line: usize,
    /// Quotes and comments are no words; parentheses are left out.
    words: Vec<&'t str>,
}

/// Where the reading is.
struct ZoneFile {
    /// With its dot.
    origin: String,
    /// The last one, as it was written.
    owner: Option<String>,
    /// The last one that stands in the records made.
    written: Option<String>,
    /// Of names that say none, in seconds.
    ttl: u32,
}

impl ZoneFile {
    fn entry(&mut self, entry: &Entry<'_>, at: &Place, ecs: bool, zone: &mut ZoneDraft, resources: &mut Resources<'_>) {
        let Some(first) = entry.words.first() else { return zone.records.push_str(entry.text) };
        if first.eq_ignore_ascii_case("$include") {
            return resources.left.push(
                &at.file,
                at.line,
                entry.text.trim(),
                "included files are not read: put the file's text here",
            );
        }
        if first.eq_ignore_ascii_case("$origin") {
            self.origin = self.absolute(entry.words.get(1).copied().unwrap_or("@"), &zone.origin);
            zone.records.push_str(&format!("$ORIGIN {}\n", self.origin));
            return;
        }
        if first.starts_with('$') {
            let ttl = entry.words.get(1).and_then(|ttl| Ttl::parse(ttl)).filter(|_| first.eq_ignore_ascii_case("$ttl"));
            self.ttl = ttl.map_or(self.ttl, Ttl::as_secs);
            return zone.records.push_str(entry.text);
        }
        let has_owner = !entry.text.starts_with([' ', '\t']);
        if has_owner {
            self.owner = Some((*first).to_owned());
        }
        let rest = if has_owner { &entry.words[1..] } else { &entry.words[..] };
        let dynamic =
            rest.iter().take(3).position(|word| ["DYNA", "DYNC"].iter().any(|kind| word.eq_ignore_ascii_case(kind)));
        match dynamic {
            Some(kind) => {
                self.service(&rest[..kind], rest.get(kind + 1).copied().unwrap_or_default(), at, ecs, zone, resources)
            }
            None => self.record(entry, has_owner, zone),
        }
    }

    /// Keeps a record, with its owner where that would be lost with the one before.
    fn record(&mut self, entry: &Entry<'_>, has_owner: bool, zone: &mut ZoneDraft) {
        if !has_owner && self.owner != self.written {
            zone.records.push_str(self.owner.as_deref().unwrap_or("@"));
        }
        self.written = self.owner.clone();
        let mut begin = 0;
        for word in entry.words.iter().filter(|word| is_of_the_zone(word)) {
            let at = word.as_ptr() as usize - entry.text.as_ptr() as usize;
            zone.records.push_str(&entry.text[begin..at]);
            zone.records.push_str(&self.absolute(word, &zone.origin));
            begin = at + word.len();
        }
        zone.records.push_str(&entry.text[begin..]);
        if !entry.text.ends_with('\n') {
            zone.records.push('\n');
        }
    }

    fn service(
        &self,
        before: &[&str],
        reference: &str,
        at: &Place,
        ecs: bool,
        zone: &mut ZoneDraft,
        resources: &mut Resources<'_>,
    ) {
        let owner = self.absolute(self.owner.as_deref().unwrap_or("@"), &zone.origin);
        let (ttl, least) = before.iter().find_map(|word| ttls(word)).unwrap_or((self.ttl, self.ttl / 2));
        let Some(name) = relative(&owner, &zone.origin) else {
            return resources.left.push(&at.file, at.line, owner, "is outside the zone");
        };
        let Some(answered) = resources.answered(reference, at, zone) else { return };
        if zone.services.iter().any(|service| service.name == name) {
            return resources.left.push(&at.file, at.line, name, "has two of DYNA and DYNC");
        }
        let (root, rules) = (answered.pick, answered.rules);
        let ecs = ecs && answered.ecs;
        zone.services.push(ServiceDraft { name, ttl: Some(ttl), failover_ttl: Some(least.min(ttl)), ecs, root, rules });
    }

    fn absolute(&self, name: &str, zone: &str) -> String {
        let zone = format!("{}.", zone.trim_end_matches('.'));
        match name {
            "@" => self.origin.clone(),
            name if is_of_the_zone(name) => format!("{}{zone}", &name[..name.len() - 2]),
            name if name.ends_with('.') => name.to_owned(),
            name if self.origin == "." => format!("{name}."),
            name => format!("{name}.{}", self.origin),
        }
    }
}

/// A name that gdnsd completes with the zone's.
fn is_of_the_zone(word: &str) -> bool {
    ["@Z", "@F"].iter().any(|zone| word == *zone || word.strip_suffix(zone).is_some_and(|before| before.ends_with('.')))
}

/// What a name has before the origin; `@` where that is nothing.
fn relative(name: &str, origin: &str) -> Option<String> {
    let (name, origin) = (name.trim_end_matches('.'), origin.trim_end_matches('.'));
    if name.eq_ignore_ascii_case(origin) {
        return Some("@".to_owned());
    }
    if origin.is_empty() {
        return Some(name.to_owned());
    }
    let cut = name.len().checked_sub(origin.len() + 1)?;
    let (before, tail) = (name.get(..cut)?, name.get(cut..)?);
    tail.strip_prefix('.').filter(|tail| tail.eq_ignore_ascii_case(origin)).map(|_| before.to_owned())
}

/// `MAX[/MIN]`; the least is half of the most unless said.
fn ttls(word: &str) -> Option<(u32, u32)> {
    let (most, least) = word.split_once('/').map_or((word, None), |(most, least)| (most, Some(least)));
    let most = Ttl::parse(most)?.as_secs();
    let least = match least {
        Some(least) => Ttl::parse(least)?.as_secs(),
        None => most / 2,
    };
    Some((most, least))
}

/// The entries of a master file: lines, but for those in parentheses or quotes.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let (mut entries, mut words) = (Vec::new(), Vec::new());
    let (mut begin, mut line, mut begin_line) = (0, 1, 1);
    let (mut depth, mut quoted, mut comment, mut escaped) = (0usize, false, false, false);
    let mut word: Option<usize> = None;
    for (at, char) in text.char_indices() {
        let ends_word =
            !escaped && !quoted && (char.is_ascii_whitespace() || matches!(char, '(' | ')' | ';' | '"')) || comment;
        if let Some(from) = word.filter(|_| ends_word) {
            words.push(&text[from..at]);
            word = None;
        }
        match char {
            _ if escaped => escaped = false,
            '\\' if !comment => {
                escaped = true;
                word = word.or(Some(at).filter(|_| !quoted));
            }
            '"' if !comment => quoted = !quoted,
            ';' if !quoted => comment = true,
            '(' if !quoted && !comment => depth += 1,
            ')' if !quoted && !comment => depth = depth.saturating_sub(1),
            '\n' => comment = false,
            char if !char.is_ascii_whitespace() && !quoted && !comment => word = word.or(Some(at)),
            _ => {}
        }
        if char == '\n' {
            line += 1;
            if depth == 0 && !quoted {
                entries.push(Entry { text: &text[begin..=at], line: begin_line, words: std::mem::take(&mut words) });
                (begin, begin_line) = (at + 1, line);
            }
        }
    }
    words.extend(word.map(|from| &text[from..]));
    if begin < text.len() {
        entries.push(Entry { text: &text[begin..], line: begin_line, words });
    }
    entries
}
