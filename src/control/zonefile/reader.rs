//! Entries become records: directives, owners, TTLs and classes (RFC 1035 section 5.1).
//!
//! Comes in: the text of a zone. Goes out: its records and every mistake. RDATA is read by
//! [`rdata`]; what a zone may hold as a whole is the business of `check`.

use std::sync::Arc;

use super::fields::{Fields, Origin, read_name, unescaped};
use super::generate::Template;
use super::lexer::{Entry, Lexer, Token};
use super::mistake::{BoundedDiagnostics, Mistake, shown};
use super::rdata;
use super::text::{
    Include, MAX_GENERATED_IN_ALL, MAX_INCLUDE_DEPTH, MAX_RECORDS, MAX_ZONE_BYTES, MAX_ZONE_MEMORY, MasterText,
    NoInclude, Parsed, ZoneRecord,
};
use crate::control::diagnostic::{Diagnostic, nearest};
use crate::model::{Name, Record, RecordType, Ttl};

const DIRECTIVES: [&str; 4] = ["$ORIGIN", "$TTL", "$INCLUDE", "$GENERATE"];

/// Reads the records of a master file, in the order they are written.
///
/// A record that states no TTL gets that of `$TTL`, else `default_ttl`, else the last one
/// stated, else the SOA's minimum. `origin` is what relative names are relative to until
/// `$ORIGIN` says otherwise.
pub fn parse(text: MasterText<'_>, origin: &Name, default_ttl: Option<Ttl>, include: &mut dyn Include) -> Parsed {
    let text = &text;
    let mut reader = Reader::new(text, &Start::new(origin), default_ttl, include);
    match reader.count_bytes(text.text.len(), 0..0) {
        Ok(()) => _ = reader.read_text(text),
        Err(mistake) => reader.report.add(mistake.within(text)),
    }
    Parsed { records: reader.records, diagnostics: reader.report.into_diagnostics() }
}

/// The settings that a piece of text begins with, or leaves to the next. Each piece begins with an owner.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub origin: Name,
    /// Of `$TTL`.
    pub ttl: Option<Ttl>,
    /// The last one an entry stated.
    pub last_ttl: Option<Ttl>,
    pub soa_minimum: Option<Ttl>,
}

impl Start {
    /// That of a whole text.
    pub fn new(origin: &Name) -> Start {
        Start { origin: origin.clone(), ttl: None, last_ttl: None, soa_minimum: None }
    }

    /// Tells whether any piece is read alike from both, letter by letter.
    pub fn is_same_as(&self, other: &Start) -> bool {
        self.has_directives_of(other) && self.last_ttl == other.last_ttl && self.soa_minimum == other.soa_minimum
    }

    /// Tells whether names and `$TTL` mean the same.
    pub fn has_directives_of(&self, other: &Start) -> bool {
        self.origin.as_wire() == other.origin.as_wire() && self.ttl == other.ttl
    }
}

/// The measures that a zone has limits for, each of a piece of its text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub records: usize,
    /// Of text, and of what it generates.
    pub bytes: usize,
    pub memory: usize,
    pub generated: u64,
}

impl Counts {
    pub fn add(&mut self, more: Counts) {
        self.records = self.records.saturating_add(more.records);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.memory = self.memory.saturating_add(more.memory);
        self.generated = self.generated.saturating_add(more.generated);
    }

    pub fn are_within_limits(&self) -> bool {
        self.records <= MAX_RECORDS
            && self.bytes <= MAX_ZONE_BYTES
            && self.memory <= MAX_ZONE_MEMORY
            && self.generated <= MAX_GENERATED_IN_ALL
    }
}

/// A piece of a text without mistakes.
#[derive(Debug)]
pub(super) struct ReadPiece {
    pub records: Vec<ZoneRecord>,
    pub warnings: Vec<Diagnostic>,
    pub end: Start,
    pub counts: Counts,
    /// The TTL or the SOA's minimum that it began with was looked for.
    pub leans_on_start: bool,
    /// It leaves TTL and SOA's minimum as they were.
    keeps: (bool, bool),
}

impl ReadPiece {
    /// Where it leaves off if it began with this, which differs in nothing that it looked for.
    pub fn end_after(&self, start: &Start) -> Start {
        let (keeps_ttl, keeps_minimum) = self.keeps;
        Start {
            last_ttl: if keeps_ttl { start.last_ttl } else { self.end.last_ttl },
            soa_minimum: if keeps_minimum { start.soa_minimum } else { self.end.soa_minimum },
            ..self.end.clone()
        }
    }
}

/// The cause why a piece cannot be read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// A parenthesis is open at its end.
    Open,
    /// It holds a mistake.
    Mistaken,
}

/// Reads a piece of a text that includes no file.
pub(super) fn read_piece(text: &MasterText<'_>, start: &Start, default_ttl: Option<Ttl>) -> Result<ReadPiece, Unread> {
    let mut none = NoInclude;
    let mut reader = Reader::new(text, start, default_ttl, &mut none);
    reader.bytes = text.text.len();
    let ends_open = reader.read_text(text);
    if ends_open || reader.report.has_errors() {
        return Err(if ends_open { Unread::Open } else { Unread::Mistaken });
    }
    let Reader { scope, soa_minimum, bytes, generated, memory, records, report, leans, states, .. } = reader;
    let counts = Counts { records: records.len(), bytes, memory, generated };
    let end = Start { origin: scope.origin.name, ttl: scope.ttl, last_ttl: scope.last_ttl, soa_minimum };
    let keeps = (!states.0, !states.1);
    Ok(ReadPiece { records, warnings: report.into_diagnostics(), end, counts, leans_on_start: leans, keeps })
}

/// The settings that directives and entries make for those that follow; an included file has its own.
#[derive(Clone)]
struct Scope {
    origin: Origin,
    /// Of `$TTL`.
    ttl: Option<Ttl>,
    /// The last one an entry stated.
    last_ttl: Option<Ttl>,
    owner: Option<Name>,
}

struct Reader<'i> {
    scope: Scope,
    default_ttl: Option<Ttl>,
    soa_minimum: Option<Ttl>,
    /// The file being read and those that include it, outermost first, by path.
    open_files: Vec<String>,
    /// Text read and generated so far, all files.
    bytes: usize,
    /// Records generated so far.
    generated: u64,
    /// The memory that the records so far are estimated to take, in octets.
    memory: usize,
    /// A limit was met: nothing further is read.
    stopped: bool,
    /// One missing TTL often means that all are missing.
    missing_ttl_told: bool,
    include: &'i mut dyn Include,
    records: Vec<ZoneRecord>,
    report: BoundedDiagnostics,
    /// A TTL, and an SOA's minimum, were stated.
    states: (bool, bool),
    /// Such a one was looked for before any was stated.
    leans: bool,
}

impl<'i> Reader<'i> {
    fn new(text: &MasterText<'_>, start: &Start, default_ttl: Option<Ttl>, include: &'i mut dyn Include) -> Reader<'i> {
        let Start { origin, ttl, last_ttl, soa_minimum } = start.clone();
        Reader {
            scope: Scope { origin: Origin::new(origin), ttl, last_ttl, owner: None },
            default_ttl,
            soa_minimum,
            open_files: vec![text.file.path.clone()],
            bytes: 0,
            generated: 0,
            memory: 0,
            stopped: false,
            missing_ttl_told: false,
            include,
            records: Vec::new(),
            report: BoundedDiagnostics::default(),
            states: (false, false),
            leans: false,
        }
    }

    /// Tells whether a parenthesis was left open.
    fn read_text(&mut self, text: &MasterText<'_>) -> bool {
        let mut lexer = Lexer::new(text.text);
        for entry in lexer.by_ref() {
            if let Err(mistake) = entry.and_then(|entry| self.entry(text, &entry)) {
                self.report.add(mistake.within(text));
            }
            if self.stopped || self.report.is_full() {
                break;
            }
        }
        lexer.ends_open()
    }

    fn entry(&mut self, text: &MasterText<'_>, entry: &Entry<'_>) -> Result<(), Mistake> {
        match entry.tokens.split_first() {
            Some((first, rest)) if !entry.starts_blank && !first.quoted && first.text.starts_with('$') => {
                self.directive(text, first, rest)
            }
            Some(_) => self.record(text, entry),
            None => Ok(()),
        }
    }

    fn directive(&mut self, text: &MasterText<'_>, word: &Token<'_>, arguments: &[Token<'_>]) -> Result<(), Mistake> {
        let mut warnings = Vec::new();
        let mut fields = Fields::new(arguments, word.range.end, &self.scope.origin, &mut warnings);
        match word.text.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                let origin = fields.name("origin")?;
                fields.finish("$ORIGIN")?;
                self.scope.origin = Origin::new(origin);
            }
            "$TTL" => {
                let ttl = read_ttl(fields.expect("TTL", "a time such as `1h`")?)?;
                fields.finish("$TTL")?;
                self.scope.ttl = Some(ttl);
            }
            "$INCLUDE" => {
                let path = fields.expect("file", "the file to include")?.clone();
                let origin = fields.peek().is_some().then(|| fields.name("origin")).transpose()?;
                fields.finish("$INCLUDE")?;
                self.include(text, &path, origin)?;
            }
            "$GENERATE" => {
                let template = Template::read(&mut fields)?;
                self.generate(text, &template)?;
            }
            _ => return Err(unknown_directive(word)),
        }
        self.warn(text, warnings);
        Ok(())
    }

    fn include(&mut self, text: &MasterText<'_>, path: &Token<'_>, origin: Option<Name>) -> Result<(), Mistake> {
        let refuse =
            |label: String| Mistake::new(path.range.clone(), format!("cannot include {}", shown(path.text)), label);
        if self.open_files.len() > MAX_INCLUDE_DEPTH {
            return Err(refuse(format!("files are included more than {MAX_INCLUDE_DEPTH} deep")));
        }
        let octets = unescaped(path)?;
        let name = std::str::from_utf8(&octets).map_err(|_| refuse("the path is not UTF-8".into()))?;
        let file: Arc<_> = self.include.read(name, text.file).map_err(refuse)?;
        if self.open_files.contains(&file.path) {
            return Err(refuse("it includes itself".into()));
        }
        self.count_bytes(file.text.len(), path.range.clone())?;
        let origin = origin.map_or_else(|| self.scope.origin.clone(), Origin::new);
        let inner = Scope { origin, owner: None, ..self.scope.clone() };
        let outer = std::mem::replace(&mut self.scope, inner);
        self.open_files.push(file.path.clone());
        self.read_text(&MasterText::whole(&file));
        self.open_files.pop();
        self.scope = outer;
        Ok(())
    }

    /// Reads each generated entry as if it were written; stops at the first mistake, which the
    /// others would repeat.
    fn generate(&mut self, text: &MasterText<'_>, template: &Template) -> Result<(), Mistake> {
        self.generated += template.count();
        if self.generated > MAX_GENERATED_IN_ALL {
            self.stopped = true;
            let label = format!("with this one {}, at most {MAX_GENERATED_IN_ALL}", self.generated);
            return Err(Mistake::new(template.range.clone(), "the zone generates too many records", label));
        }
        let owner = self.scope.owner.clone();
        for value in template.values() {
            let line = template.line(value)?;
            self.count_bytes(line.len(), template.range.clone())?;
            let place = (text.locate)(template.range.clone());
            let generated = MasterText { file: text.file, text: &line, locate: &|_| place.clone() };
            for entry in Lexer::new(&line) {
                entry.and_then(|entry| self.record(&generated, &entry)).map_err(|mut mistake| {
                    mistake.range = template.range.clone();
                    mistake.label = format!("for {value}: {}", mistake.label);
                    mistake
                })?;
            }
        }
        self.scope.owner = owner;
        Ok(())
    }

    fn record(&mut self, text: &MasterText<'_>, entry: &Entry<'_>) -> Result<(), Mistake> {
        let mut warnings = Vec::new();
        let (owner, rest) = self.owner(entry, &mut warnings)?;
        // A mistake further on must not give the next lines to another owner.
        self.scope.owner = Some(owner.clone());
        let head = Head::read(entry, rest)?;
        let mut fields = Fields::new(head.rdata, head.type_range.end, &self.scope.origin, &mut warnings);
        let wire = rdata::read(head.rtype, &mut fields)?;
        let ttl = self.ttl(&head, &wire)?;
        self.warn(text, warnings);
        let record = Record { owner, rtype: head.rtype, ttl, rdata: wire.into() };
        self.count_record(&record, entry.range())?;
        self.records.push(ZoneRecord { record, span: text.span(entry.range()), ttl_stated: head.ttl.is_some() });
        Ok(())
    }

    fn owner<'e, 't>(
        &self,
        entry: &'e Entry<'t>,
        warnings: &mut Vec<Mistake>,
    ) -> Result<(Name, &'e [Token<'t>]), Mistake> {
        match entry.tokens.split_first() {
            Some((first, rest)) if !entry.starts_blank => Ok((read_name(first, &self.scope.origin, warnings)?, rest)),
            _ => match &self.scope.owner {
                Some(owner) => Ok((owner.clone(), &entry.tokens)),
                None => Err(Mistake::new(
                    entry.range(),
                    "there is no owner yet",
                    "a line that begins with a blank continues the owner before it",
                )
                .help("begin the owner in the first column")),
            },
        }
    }

    /// Explicit, else `$TTL`, else the caller's default, else the last one stated (RFC 1035
    /// section 5.1), else the SOA's minimum.
    fn ttl(&mut self, head: &Head<'_, '_>, wire: &[u8]) -> Result<Ttl, Mistake> {
        if head.rtype == RecordType::SOA
            && let Some(minimum) = wire.last_chunk::<4>()
        {
            self.soa_minimum = Some(Ttl::saturating(u32::from_be_bytes(*minimum)));
            self.states.1 = true;
        }
        if head.ttl.is_some() {
            self.scope.last_ttl = head.ttl;
            self.states.0 = true;
        }
        let scope = &self.scope;
        let is_given = head.ttl.or(scope.ttl).or(self.default_ttl).is_some();
        self.leans |= !is_given && !self.states.0;
        let known = head.ttl.or(scope.ttl).or(self.default_ttl).or(scope.last_ttl).or(self.soa_minimum);
        match known {
            Some(ttl) => Ok(ttl),
            None if self.missing_ttl_told => Ok(Ttl::default()),
            None => {
                self.missing_ttl_told = true;
                Err(Mistake::new(head.type_range.clone(), "the TTL is missing", "expected a TTL before the type")
                    .help("or state one for all records: `$TTL 1h`"))
            }
        }
    }

    fn warn(&mut self, text: &MasterText<'_>, warnings: Vec<Mistake>) {
        for warning in warnings {
            self.report.add(warning.within(text));
        }
    }

    /// Before the record is kept. Text alone does not bound them: names are relative to long origins.
    fn count_record(&mut self, record: &Record, range: std::ops::Range<usize>) -> Result<(), Mistake> {
        // Measured: what a record costs from here to its snapshot, beside its owner and RDATA.
        const BESIDE: usize = 400;
        self.memory += BESIDE + 3 * record.owner.as_wire().len() + 2 * record.rdata.len();
        let (message, label) = if self.records.len() >= MAX_RECORDS {
            (format!("the zone has more than {MAX_RECORDS} records"), "the first one too many")
        } else if self.memory > MAX_ZONE_MEMORY {
            let message = format!("the zone's records take more than {} MiB of memory", MAX_ZONE_MEMORY >> 20);
            (message, "from here on")
        } else {
            return Ok(());
        };
        self.stopped = true;
        Err(Mistake::new(range, message, label).help("divide it into several zones"))
    }

    fn count_bytes(&mut self, more: usize, range: std::ops::Range<usize>) -> Result<(), Mistake> {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes <= MAX_ZONE_BYTES {
            return Ok(());
        }
        self.stopped = true;
        let message = format!("the zone is larger than {} MiB", MAX_ZONE_BYTES >> 20);
        Err(Mistake::new(range, message, "with what is included and generated"))
    }
}

/// The fields between an entry's owner and its RDATA.
struct Head<'e, 't> {
    ttl: Option<Ttl>,
    rtype: RecordType,
    type_range: std::ops::Range<usize>,
    rdata: &'e [Token<'t>],
}

impl<'e, 't> Head<'e, 't> {
    /// `[TTL] [class] type` or `[class] [TTL] type`.
    fn read(entry: &Entry<'_>, tokens: &'e [Token<'t>]) -> Result<Head<'e, 't>, Mistake> {
        let (mut ttl, mut class_seen) = (None, false);
        for (at, token) in tokens.iter().enumerate() {
            if !token.quoted && token.text.starts_with(|c: char| c.is_ascii_digit()) {
                let value = read_ttl(token)?;
                if ttl.replace(value).is_some() {
                    return Err(Mistake::new(token.range.clone(), "a second TTL", "expected the type here"));
                }
            } else if !token.quoted && is_class(token.text, tokens.get(at + 1)) {
                check_class(token, class_seen)?;
                class_seen = true;
            } else {
                let rtype = read_type(token, entry)?;
                return Ok(Head { ttl, rtype, type_range: token.range.clone(), rdata: &tokens[at + 1..] });
            }
        }
        let end = entry.range().end;
        Err(Mistake::new(end..end, "the record type is missing", "expected a type such as `A` here"))
    }
}

fn read_ttl(token: &Token<'_>) -> Result<Ttl, Mistake> {
    Ttl::parse(token.text).filter(|_| !token.quoted).ok_or_else(|| {
        let label = "expected seconds up to 2147483647, or a time such as `1h30m`";
        Mistake::new(token.range.clone(), format!("{} is not a TTL", shown(token.text)), label)
    })
}

/// `ANY` is a class only where something that can be a type follows; else it is the type.
fn is_class(text: &str, next: Option<&Token<'_>>) -> bool {
    let generic = text.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("CLASS"));
    let named =
        ["IN", "CH", "CS", "HS", "NONE", "CHAOS", "HESIOD"].iter().any(|known| known.eq_ignore_ascii_case(text));
    let any = text.eq_ignore_ascii_case("ANY") && next.is_some_and(|next| next.text.parse::<RecordType>().is_ok());
    generic || named || any
}

fn check_class(token: &Token<'_>, seen: bool) -> Result<(), Mistake> {
    if seen {
        return Err(Mistake::new(token.range.clone(), "a second class", "expected the type here"));
    }
    if token.text.eq_ignore_ascii_case("IN") || token.text.eq_ignore_ascii_case("CLASS1") {
        return Ok(());
    }
    Err(Mistake::new(token.range.clone(), format!("the class {} is not served", shown(token.text)), "expected `IN`"))
}

fn read_type(token: &Token<'_>, entry: &Entry<'_>) -> Result<RecordType, Mistake> {
    let refuse =
        |label: &str| Mistake::new(token.range.clone(), format!("{} is no record type", shown(token.text)), label);
    if token.quoted {
        return Err(refuse("types are not quoted"));
    }
    let Ok(rtype) = token.text.parse::<RecordType>() else {
        let mistake = refuse("expected a TTL, `IN` or a record type");
        let data_types = RecordType::mnemonics().filter(|name| name.parse().is_ok_and(RecordType::is_data));
        return Err(match nearest(token.text, data_types) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None if entry.starts_blank => mistake
                .help("a line that begins with a blank has no owner: begin owners and directives in the first column"),
            None => mistake.help("other types are written `TYPEnnn \\# length hex` (RFC 3597)"),
        });
    };
    let message = match rtype {
        _ if !rtype.is_data() => format!("{rtype} is for queries and messages, not for zones"),
        RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::NSEC3PARAM => {
            format!("{rtype} records are not taken from files")
        }
        _ => return Ok(rtype),
    };
    let label =
        if rtype.is_data() { "signed zones are not served; load the unsigned zone" } else { "expected a data type" };
    Err(Mistake::new(token.range.clone(), message, label))
}

fn unknown_directive(word: &Token<'_>) -> Mistake {
    let mistake = Mistake::new(
        word.range.clone(),
        format!("unknown directive {}", shown(word.text)),
        "expected `$ORIGIN`, `$TTL`, `$INCLUDE` or `$GENERATE`",
    );
    match nearest(word.text, DIRECTIVES) {
        Some(near) => mistake.help(format!("did you mean `{near}`?")),
        None => mistake.help("an owner that begins with `$` is written `\\$`"),
    }
}
