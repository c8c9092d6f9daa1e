//! The checks whether records make a zone: the rules that no single line can break.
//!
//! Comes in: the records with their places, and the services that live in the same zone. Goes
//! out: the nodes of `model::Zone`, and every broken rule with the places that matter.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use super::mistake;
use super::mistake::BoundedDiagnostics;
use super::rdata::{canonical, first_name};
use super::size::{MAX_ANSWER, too_long_a_referral, too_long_an_answer};
use super::targets::{ServiceOwner, Target, Targets};
use super::text::{Strictness, ZoneRecord};
use super::tree::{Node, Tree};
use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::{Name, OwnedSet, RecordType, RrSet, Ttl, ZoneNodes, ZoneNodesBuilder};

/// The TTL beyond which caches rarely keep anything (RFC 8767 section 4): longer is mostly a slip.
const LONG_TTL: Ttl = Ttl::saturating(7 * 86_400);

/// Checks a zone as a whole. Where a diagnostic is an error, the zone must be refused and the
/// nodes not be used. They are in canonical order, keyed in lower case, with duplicates dropped, and
/// without what no answer may hold: records outside the zone, below a delegation or a DNAME.
///
/// `origin_span` is where mistakes are shown that have no record, such as a missing SOA. Records
/// that [`super::parse`] could not read are missing here: after its errors, some of these follow
/// from them.
pub fn check(
    origin: &Name,
    origin_span: &Span,
    records: &[ZoneRecord],
    services: &[ServiceOwner],
    strictness: Strictness,
) -> (ZoneNodes, Vec<Diagnostic>) {
    let facts = ZoneFacts { origin, origin_span, services, strictness };
    let Checked { nodes, diagnostics, .. } = check_nodes(&facts, records.iter(), None);
    (nodes, diagnostics)
}

/// The facts about a zone that its records are checked by.
#[derive(Clone, Copy)]
pub(super) struct ZoneFacts<'z> {
    pub origin: &'z Name,
    pub origin_span: &'z Span,
    pub services: &'z [ServiceOwner],
    pub strictness: Strictness,
}

/// The names that are checked and become nodes, where not all are. The records of the others are there for these.
pub(super) struct Part<'p> {
    pub names: &'p HashSet<Name>,
    /// Those of them below a delegation that some delegation names as a server.
    pub glue_names: HashSet<Name>,
}

/// A zone that was checked.
pub(super) struct Checked {
    pub nodes: ZoneNodes,
    pub diagnostics: Vec<Diagnostic>,
    /// The names that something is told of for their records.
    pub told: Vec<Name>,
    /// Names can be checked again without all others: each record is in the nodes, none redirects or leads in a
    /// circle, and nothing was left untold.
    pub is_divisible: bool,
    /// There are delegations.
    pub has_cuts: bool,
}

/// [`check`], of all names or of a part.
pub(super) fn check_nodes<'r>(
    facts: &ZoneFacts<'r>,
    records: impl Iterator<Item = &'r ZoneRecord>,
    part: Option<Part<'_>>,
) -> Checked {
    let &ZoneFacts { origin, origin_span, services, strictness } = facts;
    let (inside, outside): (Vec<_>, Vec<_>) = records.partition(|record| record.record.owner.is_at_or_below(origin));
    let tree = Tree::new(origin, inside.into_iter());
    let mut glue_names = glue_names(&tree);
    let names = part.map(|part| {
        glue_names.extend(part.glue_names);
        part.names
    });
    let begin = || Check {
        origin,
        origin_span,
        strictness,
        tree: &tree,
        targets: Targets::new(origin, &tree, services),
        glue_names: &glue_names,
        report: BoundedDiagnostics::default(),
        goes_round: false,
    };
    let mut whole = begin();
    for record in &outside {
        whole.outside(record);
    }
    whole.apex();
    for service in services {
        whole.service(service);
    }
    let threads = if tree.len() < FEW { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
    // Circles are told once, by the first name of each.
    let parts = if threads == 1 || whole.goes_round { None } else { check_parts(&begin, tree.parts(threads), names) };
    let mut done = CheckedNodes { are_all_used: outside.is_empty(), ..CheckedNodes::default() };
    match parts {
        Some(parts) => {
            for (check, part) in parts {
                whole.report.append(check.report);
                done.append(part);
            }
        }
        None => whole.nodes(0..tree.len(), names, &mut done),
    }
    let Check { report, goes_round, .. } = whole;
    let CheckedNodes { nodes, told, has_cuts, are_all_used } = done;
    let is_divisible = are_all_used && !goes_round && !report.is_full_of_warnings() && !report.has_errors();
    let diagnostics = mistake::in_order(report.into_diagnostics());
    Checked { nodes: nodes.finish(), diagnostics, told, is_divisible, has_cuts }
}

/// Fewer names than this are checked by one thread. Tests have few.
const FEW: usize = if cfg!(test) { 2 } else { 20_000 };

/// Nodes in a row that were checked.
#[derive(Default)]
struct CheckedNodes {
    nodes: ZoneNodesBuilder,
    told: Vec<Name>,
    has_cuts: bool,
    /// All records are in the nodes, and none is a DNAME.
    are_all_used: bool,
}

impl CheckedNodes {
    /// Takes up those that stand behind all of these.
    fn append(&mut self, more: CheckedNodes) {
        self.nodes.append(more.nodes);
        self.told.extend(more.told);
        self.has_cuts |= more.has_cuts;
        self.are_all_used &= more.are_all_used;
    }
}

/// Checks parts of a tree on threads of their own. `None` where one meets a circle of aliases: others may, too.
fn check_parts<'r>(
    begin: &(dyn Fn() -> Check<'r> + Sync),
    parts: Vec<Range<usize>>,
    names: Option<&HashSet<Name>>,
) -> Option<Vec<(Check<'r>, CheckedNodes)>> {
    let check = |part: Range<usize>| {
        let (mut check, mut done) = (begin(), CheckedNodes { are_all_used: true, ..CheckedNodes::default() });
        check.nodes(part, names, &mut done);
        (check, done)
    };
    let check = &check;
    let parts: Vec<(Check<'r>, CheckedNodes)> = thread::scope(|scope| {
        let each: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || check(part))).collect();
        each.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    parts.iter().all(|(check, _)| !check.goes_round).then_some(parts)
}

struct Check<'r> {
    origin: &'r Name,
    origin_span: &'r Span,
    strictness: Strictness,
    tree: &'r Tree<'r>,
    targets: Targets<'r>,
    /// All names that delegations name as servers.
    glue_names: &'r HashSet<Name>,
    report: BoundedDiagnostics,
    /// Aliases were found to lead in a circle.
    goes_round: bool,
}

impl<'r> Check<'r> {
    fn add(&mut self, diagnostic: Diagnostic) {
        self.report.add(diagnostic);
    }

    /// A broken rule of which other servers make the best.
    fn fault(&self, message: impl Into<String>) -> Diagnostic {
        match self.strictness {
            Strictness::Strict => Diagnostic::error(message),
            Strictness::Lenient => Diagnostic::warning(message),
        }
    }

    fn add_fault(&mut self, record: &ZoneRecord, message: String, label: &str) {
        let fault = self.fault(message);
        self.add(fault.at(record.span.clone(), label));
    }

    fn outside(&mut self, record: &ZoneRecord) {
        let label = format!("not at or below {}", self.origin);
        self.add_fault(record, format!("{} is outside the zone", record.record.owner), &label);
    }

    /// One SOA (RFC 1035 section 5.2) and at least one name server, at the apex.
    fn apex(&mut self) {
        let apex = self.tree.find(self.origin);
        let count = |rtype| apex.map_or(0, |node| node.records.iter().filter(|r| r.record.rtype == rtype).count());
        if count(RecordType::SOA) == 0 {
            self.add(
                Diagnostic::error(format!("the zone {} has no SOA record", self.origin))
                    .at(self.origin_span.clone(), "expected one at the apex")
                    .help("@ SOA ns1 hostmaster 1 1h 10m 1w 60"),
            );
        }
        let servers = count(RecordType::NS);
        if servers == 0 {
            let fault = self.fault(format!("the zone {} has no NS record", self.origin));
            self.add(fault.at(self.origin_span.clone(), "expected name servers at the apex"));
        }
        if let (1, Some(only)) = (servers, apex.and_then(|node| node.first(RecordType::NS))) {
            let message = "the zone has one name server";
            let label = "a second one elsewhere keeps the zone reachable (RFC 2182)";
            self.add(Diagnostic::warning(message).at(only.span.clone(), label));
        }
    }

    /// Checks nodes in a row, all or those with these names.
    fn nodes(&mut self, part: Range<usize>, names: Option<&HashSet<Name>>, done: &mut CheckedNodes) {
        let (tree, origin, mut sets) = (self.tree, self.origin, Vec::new());
        for (node, cover) in tree.nodes_covered(part) {
            if names.is_some_and(|names| !names.contains(node.name)) {
                continue;
            }
            done.has_cuts |= tree.is_cut(&node);
            let before = self.report.len();
            self.node(node, cover, &mut sets);
            if self.report.len() > before {
                done.told.push(node.name.clone());
            }
            let wire = node.name.as_wire();
            let labels = wire.get(..wire.len() - origin.as_wire().len()).unwrap_or_default();
            let mut used = 0;
            let is_used = |set: &RrSet<'_>| self.is_used(&node, cover.as_ref(), set.rtype);
            done.nodes.push(labels, sets.iter().map(OwnedSet::as_set).filter(is_used).inspect(|_| used += 1));
            done.are_all_used &= used == sets.len() && node.first(RecordType::DNAME).is_none();
        }
    }

    /// Checks a node, and gives its sets, used or not: they take the place of those before.
    fn node(&mut self, node: Node<'r>, cover: Option<Node<'r>>, sets: &mut Vec<OwnedSet>) {
        let count = node.sets().count();
        sets.resize_with(count, OwnedSet::default);
        for (records, set) in node.sets().zip(&mut *sets) {
            self.set(records, set);
        }
        let node = &node;
        self.belongs_at_this_name(node);
        self.wildcard(node);
        match &cover {
            Some(cover) if cover.name == node.name => self.delegation(node, sets),
            Some(cover) => self.covered(node, cover),
            None => {
                self.alone(node);
                self.authoritative(node);
            }
        }
    }

    /// Tells whether answers may hold this set: below a zone cut only glue (RFC 1034 section 4.2.1), below a
    /// DNAME nothing (RFC 6672 section 2.4).
    fn is_used(&self, node: &Node<'_>, cover: Option<&Node<'_>>, rtype: RecordType) -> bool {
        let at_apex = node.name == self.origin;
        match (cover, rtype) {
            (Some(cover), _) if !self.tree.is_cut(cover) => false,
            (Some(_), RecordType::A | RecordType::AAAA) => true,
            (Some(cover), RecordType::NS) => cover.name == node.name && !node.name.is_wildcard(),
            (Some(cover), RecordType::DS) => cover.name == node.name,
            (Some(_), _) => false,
            (None, RecordType::SOA) => at_apex,
            (None, RecordType::DS) => !at_apex,
            (None, _) => true,
        }
    }

    /// One RRset: TTLs, duplicates, and how many records it may hold.
    fn set(&mut self, records: &[&'r ZoneRecord], into: &mut OwnedSet) {
        let first = records[0]; // chunks are not empty
        let rtype = first.record.rtype;
        into.begin(rtype, self.ttl(records));
        let count = self.distinct(records, into);
        if count > 1 && matches!(rtype, RecordType::SOA | RecordType::CNAME | RecordType::DNAME) {
            let second = records[1..].iter().find(|r| r.record.rdata != first.record.rdata).unwrap_or(&first);
            self.add(
                Diagnostic::error(format!("{} has more than one {rtype} record", first.record.owner))
                    .at(second.span.clone(), "only one may be")
                    .related(first.span.clone(), "the first"),
            );
        }
        if let Some(octets) = too_long_an_answer(&first.record.owner, &into.as_set()) {
            let what = match count {
                1 => format!("the {rtype} record of {} fits no message", first.record.owner),
                count => format!("the {count} {rtype} records of {} fit no message", first.record.owner),
            };
            self.never_fits(first, what, octets);
        }
    }

    fn never_fits(&mut self, record: &ZoneRecord, message: String, octets: usize) {
        let label = format!("an answer of {octets} octets, at most {MAX_ANSWER} can be sent");
        let help = "it would be truncated over TCP too, and never arrive: spread the records over several names";
        self.add(Diagnostic::error(message).at(record.span.clone(), label).help(help));
    }

    /// Appends the RDATA of one RRset, each once. Gives how many.
    fn distinct(&mut self, records: &[&'r ZoneRecord], into: &mut OwnedSet) -> usize {
        if let [only] = records {
            into.push(&only.record.rdata);
            return 1;
        }
        let mut seen: HashMap<_, &ZoneRecord> = HashMap::with_capacity(records.len());
        for record in records {
            let rtype = record.record.rtype;
            match seen.entry(canonical(rtype, &record.record.rdata)) {
                Entry::Vacant(place) => {
                    place.insert(record);
                    into.push(&record.record.rdata);
                }
                Entry::Occupied(twin) => self.add(
                    Diagnostic::warning(format!("this {rtype} record is written twice"))
                        .at(record.span.clone(), "kept once")
                        .related(twin.get().span.clone(), "the first"),
                ),
            }
        }
        seen.len()
    }

    /// RFC 2181 section 5.2: "the TTLs of all RRs in an RRSet must be the same"; where they are not, "as if all
    /// TTLs in the RRSet had been set to the value of the lowest TTL".
    fn ttl(&mut self, records: &[&'r ZoneRecord]) -> Ttl {
        let first = records[0];
        let rtype = first.record.rtype;
        if let Some(other) = records.iter().find(|record| record.record.ttl != first.record.ttl) {
            let told = |record: &ZoneRecord| {
                format!("{} s{}", record.record.ttl, if record.ttl_stated { "" } else { ", by default" })
            };
            let fault = self.fault(format!("the TTLs of the {rtype} records of {} differ", first.record.owner));
            self.add(
                fault
                    .at(other.span.clone(), told(other))
                    .related(first.span.clone(), told(first))
                    .help("records of one name and type have one TTL (RFC 2181 section 5.2)"),
            );
        }
        if first.record.ttl > LONG_TTL {
            let label = format!("{} s; few caches keep anything that long", first.record.ttl);
            self.add(Diagnostic::warning("a TTL above one week").at(first.span.clone(), label));
        }
        records.iter().map(|record| record.record.ttl).min().unwrap_or(first.record.ttl)
    }

    fn belongs_at_this_name(&mut self, node: &Node<'r>) {
        if let Some(soa) = node.first(RecordType::SOA).filter(|_| node.name != self.origin) {
            self.add_fault(soa, format!("an SOA record at {}", node.name), "expected only at the apex");
        }
        if let Some(ds) = node.first(RecordType::DS) {
            // RFC 4035 section 2.4: DS "at a delegation point", on the parent's side.
            if node.name == self.origin {
                self.add_fault(ds, "a DS record at the apex".into(), "belongs into the parent zone");
            } else if node.first(RecordType::NS).is_none() {
                self.add_fault(ds, "a DS record without a delegation".into(), "expected NS records beside it");
            }
        }
    }

    /// RFC 1034 section 3.6.2: "If a CNAME RR is present at a node, no other data should be present".
    fn alone(&mut self, node: &Node<'r>) {
        let Some(alias) = node.first(RecordType::CNAME) else { return };
        if let Some(other) = node.records.iter().find(|record| record.record.rtype != RecordType::CNAME) {
            let label = format!("{} stands beside it", other.record.rtype);
            self.add(
                Diagnostic::error(format!("the CNAME of {} is not alone", node.name))
                    .at(alias.span.clone(), label)
                    .related(other.span.clone(), "the other record"),
            );
        }
    }

    fn wildcard(&mut self, node: &Node<'r>) {
        if !node.name.is_wildcard() {
            return;
        }
        if let Some(ns) = node.first(RecordType::NS) {
            self.add_fault(ns, "a wildcard cannot delegate".into(), "undefined by RFC 4592 section 4.2");
        }
        if let Some(dname) = node.first(RecordType::DNAME) {
            let warning = Diagnostic::warning("a DNAME record at a wildcard");
            self.add(warning.at(dname.span.clone(), "resolvers disagree on it (RFC 4592 section 4.4)"));
        }
    }

    /// A node that answers for itself.
    fn authoritative(&mut self, node: &Node<'r>) {
        let mail = node.records.iter().filter(|record| record.record.rtype == RecordType::MX).count();
        for record in node.records {
            let rtype = record.record.rtype;
            let Some(name) = first_name(rtype, &record.record.rdata) else { continue };
            match rtype {
                RecordType::NS => self.name_server(node, record, &name),
                RecordType::MX | RecordType::SRV if !name.is_root() => self.host(record, &name),
                RecordType::CNAME => self.alias(record, &name),
                RecordType::DNAME => self.redirection(record, &name),
                RecordType::MX if mail > 1 => {
                    let label = "says there is no mail (RFC 7505 section 3)";
                    let warning = Diagnostic::warning("a null MX record beside others");
                    self.add(warning.at(record.span.clone(), label));
                }
                _ => {}
            }
        }
    }

    /// The parent's side of a delegation: name servers, DS, and glue.
    fn delegation(&mut self, node: &Node<'r>, sets: &[OwnedSet]) {
        self.referral_fits(node, sets);
        for record in node.records {
            match record.record.rtype {
                RecordType::NS => {
                    if let Some(name) = first_name(RecordType::NS, &record.record.rdata) {
                        self.name_server(node, record, &name);
                    }
                }
                RecordType::DS => {}
                _ => self.occluded(record, node),
            }
        }
    }

    fn referral_fits(&mut self, node: &Node<'r>, sets: &[OwnedSet]) {
        let mut sets = sets.iter().map(OwnedSet::as_set);
        let (Some(ns), Some(first)) = (sets.find(|set| set.rtype == RecordType::NS), node.first(RecordType::NS)) else {
            return;
        };
        let servers: BTreeSet<Name> = ns.rdatas().filter_map(|rdata| first_name(RecordType::NS, rdata)).collect();
        let found: Vec<Node<'r>> = servers.iter().filter_map(|server| self.tree.find(server)).collect();
        let addresses = |node: &Node<'r>| -> Vec<(&'r Name, OwnedSet)> {
            let of_addresses = |set: &&'r [&'r ZoneRecord]| {
                set.first().is_some_and(|first| matches!(first.record.rtype, RecordType::A | RecordType::AAAA))
            };
            let sets = node.sets().filter(of_addresses);
            sets.map(|set| (node.name, glue_set(set))).collect()
        };
        let glue: Vec<(&Name, OwnedSet)> = found.iter().flat_map(addresses).collect();
        if too_long_an_answer(node.name, &ns).is_some() {
            return; // told of the set itself
        }
        if let Some(octets) = too_long_a_referral(node.name, &ns, &glue) {
            self.never_fits(first, format!("the referral to {} fits no message with its glue", node.name), octets);
        }
    }

    fn covered(&mut self, node: &Node<'r>, cover: &Node<'r>) {
        if self.tree.is_cut(cover) {
            for record in node.records {
                self.occluded(record, cover);
            }
            return;
        }
        // RFC 6672 section 2.4: "Resource records MUST NOT exist at any subdomain of the owner of a DNAME RR".
        if let (Some(record), Some(dname)) = (node.records.first(), cover.first(RecordType::DNAME)) {
            let fault = self.fault(format!("{} is below a DNAME record", node.name));
            self.add(
                fault
                    .at(record.span.clone(), "never answered")
                    .related(dname.span.clone(), "everything below is another name"),
            );
        }
    }

    /// A record at or below a delegation: only glue is ever used.
    fn occluded(&mut self, record: &ZoneRecord, cut: &Node<'r>) {
        let Some(ns) = cut.first(RecordType::NS) else { return };
        let message = format!("{} is delegated", cut.name);
        let is_address = matches!(record.record.rtype, RecordType::A | RecordType::AAAA);
        let diagnostic = match is_address {
            true if self.glue_names.contains(&record.record.owner) => return,
            true => Diagnostic::warning(message).at(record.span.clone(), "never answered: no name server is called so"),
            false => self.fault(message).at(record.span.clone(), "never answered: it belongs into the delegated zone"),
        };
        self.add(diagnostic.related(ns.span.clone(), "the delegation"));
    }

    /// RFC 2181 section 10.3: an NS record's name "must not be an alias", and must have addresses.
    fn name_server(&mut self, node: &Node<'r>, record: &ZoneRecord, name: &Name) {
        match self.targets.of(name) {
            Target::Elsewhere | Target::Addresses => {}
            Target::Service(service) if node.name == self.origin => {
                let warning = Diagnostic::warning(format!("the name server {name} is a service"))
                    .at(record.span.clone(), "its addresses change, glue in the parent zone does not")
                    .related(service.span.clone(), "the service");
                self.add(warning.help("name a server with A and AAAA records, which `meridian delegation` prints"));
            }
            Target::Service(_) => {}
            Target::Alias(span) => {
                let error = self
                    .fault(format!("the name server {name} is an alias"))
                    .at(record.span.clone(), "expected a name with addresses (RFC 2181 section 10.3)");
                self.add(error.related(span.clone(), "the alias"));
            }
            // Whoever asks there is sent on to that delegation's own servers and finds them.
            Target::Delegated(cut) if self.tree.is_cut(node) && cut != node.name => {}
            Target::Delegated(_) | Target::Nothing => {
                let glue = if self.tree.is_cut(node) { "its glue is missing" } else { "expected in this zone" };
                let fault = self.fault(format!("the name server {name} has no address"));
                self.add(fault.at(record.span.clone(), glue).help(format!("add A and AAAA records for {name}")));
            }
        }
    }

    /// The name of an MX or SRV record: no alias (RFC 2181 section 10.3, RFC 2782).
    fn host(&mut self, record: &ZoneRecord, name: &Name) {
        let rtype = record.record.rtype;
        let warning = |what: &str| Diagnostic::warning(format!("the {rtype} target {name} {what}"));
        match self.targets.of(name) {
            Target::Alias(span) => {
                let warning = warning("is an alias").at(record.span.clone(), "expected a name with addresses");
                self.add(warning.related(span.clone(), "the alias"));
            }
            Target::Nothing => self.add(warning("has no address").at(record.span.clone(), "not in this zone")),
            Target::Elsewhere | Target::Addresses | Target::Service(_) | Target::Delegated(_) => {}
        }
    }

    fn alias(&mut self, record: &ZoneRecord, name: &Name) {
        if name == &record.record.owner {
            self.add_fault(record, format!("{name} is an alias of itself"), "leads nowhere");
        } else if let Some(circle) = self.targets.new_circle(&record.record.owner) {
            self.goes_round = true;
            self.add_fault(record, "aliases lead in a circle".into(), &arrows(&circle));
        } else if name.is_at_or_below(self.origin) && !self.targets.exists(name) {
            let warning = Diagnostic::warning(format!("the target {name} does not exist"));
            self.add(warning.at(record.span.clone(), "not in this zone"));
        }
    }

    /// A DNAME record stands for an alias at every name below it.
    fn redirection(&mut self, record: &ZoneRecord, target: &Name) {
        let owner = &record.record.owner;
        if target.is_at_or_below(owner) {
            self.add_fault(record, format!("{owner} is redirected to itself, or below"), "leads nowhere");
        } else if let Ok(below) = owner.prepend(b"x")
            && let Some(circle) = self.targets.new_circle(&below)
        {
            self.goes_round = true;
            self.add_fault(record, "aliases lead in a circle".into(), &arrows(&circle));
        }
    }

    /// A service owns its name: nothing static may answer in its place.
    fn service(&mut self, service: &ServiceOwner) {
        let name = &service.name;
        let refuse = |message: String, label: &str| Diagnostic::error(message).at(service.span.clone(), label);
        if !name.is_at_or_below(self.origin) {
            let label = format!("not at or below {}", self.origin);
            return self.add(refuse(format!("the service {name} is outside the zone"), &label));
        }
        if let Some(first) = self.targets.service(name).filter(|first| first.span != service.span) {
            let span = first.span.clone();
            return self
                .add(refuse(format!("two services are called {name}"), "the second").related(span, "the first"));
        }
        if service.answers_aliases() && name == self.origin {
            let label = "an endpoint with a host name is answered as a CNAME, which cannot be at the apex";
            return self.add(refuse(format!("the service {name} is at the apex"), label));
        }
        if let Some(cover) = self.tree.cover(name) {
            let (what, record) = match cover.first(RecordType::NS).filter(|_| self.tree.is_cut(&cover)) {
                Some(ns) => ("delegated", Some(ns)),
                None => ("below a DNAME record", cover.first(RecordType::DNAME)),
            };
            let mut error = refuse(format!("the service {name} is {what}"), "would never be answered");
            if let Some(record) = record {
                error = error.related(record.span.clone(), "here");
            }
            return self.add(error);
        }
        self.beside_service(service);
        for (host, place) in &service.hosts {
            self.endpoint(service, host, place);
        }
    }

    /// A host name that a service answers with: whoever gets it must get on from there.
    fn endpoint(&mut self, service: &ServiceOwner, host: &Name, place: &Span) {
        let (name, related) = (&service.name, (service.span.clone(), "the service"));
        let told = match self.targets.of(host) {
            Target::Nothing if !self.targets.exists(host) => {
                let label = "not in this zone: clients would be sent to a name that is not there";
                Diagnostic::error(format!("the endpoint {host} of {name} does not exist")).at(place.clone(), label)
            }
            Target::Nothing => Diagnostic::warning(format!("the endpoint {host} of {name} has no address"))
                .at(place.clone(), "in this zone"),
            Target::Alias(_) if host == name => Diagnostic::error(format!("the service {name} is an alias of itself"))
                .at(place.clone(), "leads nowhere"),
            Target::Alias(_) => match self.targets.new_circle(host) {
                Some(circle) => {
                    self.goes_round = true;
                    Diagnostic::error(format!("the endpoint {host} of {name} leads in a circle"))
                        .at(place.clone(), arrows(&circle))
                }
                None if self.targets.is_endless(host) => return, // told where it was found
                None if self.targets.leads_back(host, service) => {
                    Diagnostic::warning(format!("the endpoint {host} of {name} may lead in a circle"))
                        .at(place.clone(), "back to the service, for some clients")
                }
                None => return,
            },
            _ => return,
        };
        self.add(told.related(related.0, related.1));
    }

    fn beside_service(&mut self, service: &ServiceOwner) {
        let Some(node) = self.tree.find(&service.name) else { return };
        let collides = |record: &&&ZoneRecord| match record.record.rtype {
            _ if service.answers_aliases() => true,
            RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::DNAME => true,
            RecordType::HTTPS => service.https,
            _ => false,
        };
        let Some(record) = node.records.iter().find(collides) else { return };
        let rtype = record.record.rtype;
        let label = match service.answers_aliases() {
            true => "it answers CNAMEs, which stand alone",
            false => "it answers these itself",
        };
        self.add(
            Diagnostic::error(format!("the service {} collides with a static {rtype} record", service.name))
                .at(service.span.clone(), label)
                .related(record.span.clone(), "the record"),
        );
    }
}

/// A chain of aliases as messages show it: whole if short, else its beginning.
fn arrows(chain: &[Name]) -> String {
    const LONGEST: usize = 8;
    let mut names: Vec<String> = chain.iter().take(LONGEST).map(ToString::to_string).collect();
    if chain.len() > LONGEST {
        names.push("…".into());
    }
    names.join(" → ")
}

fn glue_set(records: &[&ZoneRecord]) -> OwnedSet {
    let mut set = OwnedSet::default();
    if let Some(first) = records.first() {
        set.begin(first.record.rtype, first.record.ttl);
    }
    records.iter().for_each(|record| set.push(&record.record.rdata));
    set
}

fn glue_names(tree: &Tree<'_>) -> HashSet<Name> {
    let cuts = tree.nodes().filter(|node| node.first(RecordType::NS).is_some());
    cuts.flat_map(|node| node.records)
        .filter(|record| record.record.rtype == RecordType::NS)
        .filter_map(|record| first_name(RecordType::NS, &record.record.rdata))
        .collect()
}

#[cfg(test)]
mod tests;
