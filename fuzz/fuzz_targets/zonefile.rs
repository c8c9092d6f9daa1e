//! Any text as a zone: no panic, every diagnostic renders, and what was read reads again.
//!
//! `cargo +nightly fuzz run zonefile`. The text also serves as the file it may include.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use meridian::control::diagnostic::{SourceFile, Span};
use meridian::control::zonefile::{Include, MasterText, NoInclude, Strictness, check, parse};
use meridian::model::{Name, Ttl};

struct Itself<'a>(&'a str);

impl Include for Itself<'_> {
    fn read(&mut self, path: &str, _from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        Ok(SourceFile::new(path, self.0))
    }
}

fuzz_target!(|text: &str| {
    let file = SourceFile::new("zone", text);
    let Ok(origin) = Name::parse_absolute("example.com") else { return };
    let ttl = Some(Ttl::saturating(60));
    let parsed = parse(MasterText::whole(&file), &origin, ttl, &mut Itself(text));
    for diagnostic in &parsed.diagnostics {
        diagnostic.render(false);
    }
    for zone_record in parsed.records.iter().take(100) {
        let record = &zone_record.record;
        let hex: String = record.rdata.iter().map(|octet| format!("{octet:02x}")).collect();
        let generic =
            format!("{} {} TYPE{} \\# {} {hex}\n", record.owner, record.ttl, record.rtype.0, record.rdata.len());
        let again = SourceFile::new("again", generic);
        let again = parse(MasterText::whole(&again), &origin, None, &mut NoInclude);
        assert_eq!(again.records.first().map(|zone_record| &zone_record.record), Some(record));
    }
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        check(&origin, &Span::new(&file, 0..0), &parsed.records, &[], strictness);
    }
});
