//! Any text as a zone: no panic, every diagnostic of reading and checking it renders, and what was read
//! reads again. A zone without mistakes has a SOA at its origin.
//!
//! The text also serves as the file it may include.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use meridian::control::diagnostic::{Diagnostic, SourceFile, Span};
use meridian::control::zonefile::{Include, MasterText, NoInclude, ServiceOwner, Strictness, check, parse};
use meridian::model::{Name, RecordType, Ttl, Zone};
use meridian_fuzz::multiplies;

/// The text, as often as it may be included.
struct Itself<'a>(&'a str, usize);

impl Include for Itself<'_> {
    fn read(&mut self, path: &str, _from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        self.1 = self.1.checked_sub(1).ok_or("not again")?;
        Ok(SourceFile::new(path, self.0))
    }
}

fuzz_target!(|text: &str| {
    if multiplies(text) {
        return;
    }
    let file = SourceFile::new("zone", text);
    let Ok(origin) = Name::parse_absolute("example.com") else { return };
    let ttl = Some(Ttl::saturating(60));
    let parsed = parse(MasterText::whole(&file), &origin, ttl, &mut Itself(text, 3));
    render(&parsed.diagnostics);
    for zone_record in parsed.records.iter().take(100) {
        let record = &zone_record.record;
        let hex: String = record.rdata.iter().map(|octet| format!("{octet:02x}")).collect();
        let generic =
            format!("{} {} TYPE{} \\# {} {hex}\n", record.owner, record.ttl, record.rtype.0, record.rdata.len());
        let again = SourceFile::new("again", generic);
        let again = parse(MasterText::whole(&again), &origin, None, &mut NoInclude);
        assert_eq!(again.records.first().map(|zone_record| &zone_record.record), Some(record));
    }
    let start = Span::new(&file, 0..0);
    let service = |name: &str, host: Option<&str>| {
        let name = Name::parse_absolute(name).ok()?;
        let hosts = host.and_then(|host| Some((Name::parse_absolute(host).ok()?, start.clone())));
        Some(ServiceOwner {
            name,
            span: start.clone(),
            hosts: hosts.into_iter().collect(),
            has_addresses: true,
            https: true,
        })
    };
    let aliased = service("*.hosted.example.com", Some("www.example.com"));
    let services: Vec<ServiceOwner> = [service("www.example.com", None), aliased].into_iter().flatten().collect();
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let (nodes, diagnostics) = check(&origin, &start, &parsed.records, &services, strictness);
        render(&diagnostics);
        if !parsed.diagnostics.iter().chain(&diagnostics).any(Diagnostic::is_error) {
            let zone = Zone { origin: origin.clone(), nodes };
            assert!(zone.rrset(&origin, RecordType::SOA).is_some(), "a zone without SOA passed");
        }
    }
});

fn render(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        assert!(!diagnostic.render(false).is_empty() && !diagnostic.to_string().is_empty());
    }
}
