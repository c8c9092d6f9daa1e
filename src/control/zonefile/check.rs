//! Whether records make a zone: the rules that no single line can break.
//!
//! Comes in: the records with their places, and the services that live in the same zone. Goes
//! out: the nodes of `model::Zone`, and every broken rule with the places that matter.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::mistake;
use super::mistake::Report;
use super::rdata::{canonical, first_name};
use super::text::ZoneRecord;
use super::tree::{Node, Tree};
use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::{Name, Record, RecordType, RrSet, Ttl};

/// What caches rarely keep anyway (RFC 8767 section 4): longer is mostly a slip.
const LONG_TTL: Ttl = Ttl::saturating(7 * 86_400);

/// The longest message (RFC 1035 section 4.2.2).
const MAX_MESSAGE: usize = u16::MAX as usize;

/// A service's name, defined elsewhere in the zone's TOML.
#[derive(Clone, Debug)]
pub struct ServiceOwner {
    /// Absolute.
    pub name: Name,
    pub span: Span,
    /// It answers CNAMEs: nothing may stand beside it.
    pub has_host_endpoint: bool,
    /// It answers HTTPS records too.
    pub https: bool,
}

/// Checks a zone as a whole. Where a diagnostic is an error, the zone must be refused and the
/// nodes not be used. They are in canonical order, keyed in lower case, with duplicates dropped.
///
/// `origin_span` is where mistakes are shown that have no record, such as a missing SOA. Records
/// that [`super::parse`] could not read are missing here: after its errors, some of these follow
/// from them.
pub fn check(
    origin: &Name,
    origin_span: &Span,
    records: &[ZoneRecord],
    services: &[ServiceOwner],
) -> (BTreeMap<Name, Vec<RrSet>>, Vec<Diagnostic>) {
    let (inside, outside): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record.record.owner.is_at_or_below(origin));
    let tree = Tree::new(origin, inside.into_iter());
    let glue_names = glue_names(&tree);
    let service_names = services.iter().rev().map(|service| (&service.name, service)).collect();
    let names_of_services = services.iter().flat_map(|service| names_above(&service.name, origin)).collect();
    let report = Report::default();
    let mut check = Check { origin, origin_span, tree: &tree, glue_names, service_names, names_of_services, report };
    for record in outside {
        check.outside(record);
    }
    check.apex();
    let nodes = tree.nodes_covered().map(|(node, cover)| (node.name.to_lowercase(), check.node(node, cover))).collect();
    for service in services {
        check.service(service);
    }
    (nodes, mistake::in_order(check.report.into_diagnostics()))
}

struct Check<'r> {
    origin: &'r Name,
    origin_span: &'r Span,
    tree: &'r Tree<'r>,
    /// All names that delegations name as servers.
    glue_names: HashSet<Name>,
    /// The first service of each name.
    service_names: HashMap<&'r Name, &'r ServiceOwner>,
    /// The services' names and all above them, up to the origin.
    names_of_services: HashSet<Name>,
    report: Report,
}

/// What a name in RDATA leads to.
enum Target<'r> {
    /// Outside the zone: nothing is known.
    Elsewhere,
    Addresses,
    /// An alias (CNAME, DNAME or a service of host names), and where it is made one.
    Alias(&'r Span),
    /// Below this delegation, without glue.
    Delegated(&'r Name),
    Nothing,
}

impl<'r> Check<'r> {
    fn add(&mut self, diagnostic: Diagnostic) {
        self.report.add(diagnostic);
    }

    fn error(&mut self, record: &ZoneRecord, message: String, label: &str) {
        self.add(Diagnostic::error(message).at(record.span.clone(), label));
    }

    fn outside(&mut self, record: &ZoneRecord) {
        let message = format!("{} is outside the zone", record.record.owner);
        let label = format!("not at or below {}", self.origin);
        self.add(Diagnostic::error(message).at(record.span.clone(), label));
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
            self.add(
                Diagnostic::error(format!("the zone {} has no NS record", self.origin))
                    .at(self.origin_span.clone(), "expected name servers at the apex"),
            );
        }
        if let (1, Some(only)) = (servers, apex.and_then(|node| node.first(RecordType::NS))) {
            let message = "the zone has one name server";
            let label = "a second one elsewhere keeps the zone reachable (RFC 2182)";
            self.add(Diagnostic::warning(message).at(only.span.clone(), label));
        }
    }

    fn node(&mut self, node: &Node<'r>, cover: Option<&Node<'r>>) -> Vec<RrSet> {
        let sets: Vec<RrSet> = node.sets().map(|set| self.set(set)).collect();
        self.soa_at_the_apex_only(node);
        self.alone(node);
        self.wildcard(node);
        match cover {
            Some(cover) if cover.name == node.name => self.delegation(node),
            Some(cover) => self.covered(node, cover),
            None => self.authoritative(node),
        }
        sets
    }

    /// One RRset: TTLs, duplicates, and how many records it may hold.
    fn set(&mut self, records: &[&'r ZoneRecord]) -> RrSet {
        let first = records[0]; // chunks are not empty
        let (rtype, ttl) = (first.record.rtype, first.record.ttl);
        self.ttls(records);
        let rdatas = self.distinct(records);
        self.fits_a_message(first, &rdatas);
        if rdatas.len() > 1 && matches!(rtype, RecordType::SOA | RecordType::CNAME | RecordType::DNAME) {
            let second = records[1..].iter().find(|r| r.record.rdata != first.record.rdata).unwrap_or(&first);
            self.add(
                Diagnostic::error(format!("{} has more than one {rtype} record", first.record.owner))
                    .at(second.span.clone(), "only one may be")
                    .related(first.span.clone(), "the first"),
            );
        }
        RrSet { rtype, ttl, rdatas }
    }

    /// What is longer than a message would be truncated even over TCP, and never be answered.
    fn fits_a_message(&mut self, first: &ZoneRecord, rdatas: &[Box<[u8]>]) {
        let Record { owner, rtype, .. } = &first.record;
        // Header, question, and each owner as a pointer. Names in RDATA may become pointers, too,
        // so that only the rest is sure.
        let name = |rdata: &[u8]| first_name(*rtype, rdata).map_or(0, |name| name.as_wire().len().saturating_sub(2));
        let records: usize = rdatas.iter().map(|rdata| 12 + rdata.len() - name(rdata)).sum();
        let octets = 12 + owner.as_wire().len() + 4 + records;
        if octets <= MAX_MESSAGE {
            return;
        }
        let message = match rdatas.len() {
            1 => format!("the {rtype} record of {owner} fits no message"),
            count => format!("the {count} {rtype} records of {owner} fit no message"),
        };
        self.error(first, message, &format!("{octets} octets, at most {MAX_MESSAGE} can be answered"));
    }

    /// The RDATA of one RRset, each once.
    fn distinct(&mut self, records: &[&'r ZoneRecord]) -> Vec<Box<[u8]>> {
        if let [only] = records {
            return vec![only.record.rdata.clone()];
        }
        let mut seen: HashMap<_, &ZoneRecord> = HashMap::with_capacity(records.len());
        let mut rdatas = Vec::with_capacity(records.len());
        for record in records {
            let rtype = record.record.rtype;
            match seen.entry(canonical(rtype, &record.record.rdata)) {
                Entry::Vacant(place) => {
                    place.insert(record);
                    rdatas.push(record.record.rdata.clone());
                }
                Entry::Occupied(twin) => self.add(
                    Diagnostic::warning(format!("this {rtype} record is written twice"))
                        .at(record.span.clone(), "kept once")
                        .related(twin.get().span.clone(), "the first"),
                ),
            }
        }
        rdatas
    }

    /// RFC 2181 section 5.2: "the TTLs of all RRs in an RRSet must be the same".
    fn ttls(&mut self, records: &[&'r ZoneRecord]) {
        let first = records[0];
        let rtype = first.record.rtype;
        if let Some(other) = records.iter().find(|record| record.record.ttl != first.record.ttl) {
            let told = |record: &ZoneRecord| {
                format!("{} s{}", record.record.ttl, if record.ttl_stated { "" } else { ", by default" })
            };
            self.add(
                Diagnostic::error(format!("the TTLs of the {rtype} records of {} differ", first.record.owner))
                    .at(other.span.clone(), told(other))
                    .related(first.span.clone(), told(first))
                    .help("records of one name and type have one TTL (RFC 2181 section 5.2)"),
            );
        }
        if first.record.ttl > LONG_TTL {
            let label = format!("{} s; few caches keep anything that long", first.record.ttl);
            self.add(Diagnostic::warning("a TTL above one week").at(first.span.clone(), label));
        }
    }

    fn soa_at_the_apex_only(&mut self, node: &Node<'r>) {
        if let Some(soa) = node.first(RecordType::SOA).filter(|_| node.name != self.origin) {
            self.error(soa, format!("an SOA record at {}", node.name), "expected only at the apex");
        }
        if let Some(ds) = node.first(RecordType::DS) {
            // RFC 4035 section 2.4: DS "at a delegation point", on the parent's side.
            if node.name == self.origin {
                self.error(ds, "a DS record at the apex".into(), "belongs into the parent zone");
            } else if node.first(RecordType::NS).is_none() {
                self.error(ds, "a DS record without a delegation".into(), "expected NS records beside it");
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
            self.error(ns, "a wildcard cannot delegate".into(), "undefined by RFC 4592 section 4.2");
        }
        if let Some(dname) = node.first(RecordType::DNAME) {
            let warning = Diagnostic::warning("a DNAME record at a wildcard");
            self.add(warning.at(dname.span.clone(), "resolvers disagree on it (RFC 4592 section 4.4)"));
        }
    }

    /// A node that answers for itself.
    fn authoritative(&mut self, node: &Node<'r>) {
        let mail = node.records.iter().filter(|record| record.record.rtype == RecordType::MX).count();
        for record in &node.records {
            let rtype = record.record.rtype;
            let Some(name) = first_name(rtype, &record.record.rdata) else { continue };
            match rtype {
                RecordType::NS => self.name_server(node, record, &name),
                RecordType::MX | RecordType::SRV if !name.is_root() => self.host(record, &name),
                RecordType::CNAME => self.alias(record, &name),
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
    fn delegation(&mut self, node: &Node<'r>) {
        for record in &node.records {
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

    fn covered(&mut self, node: &Node<'r>, cover: &Node<'r>) {
        if self.tree.is_cut(cover) {
            for record in &node.records {
                self.occluded(record, cover);
            }
            return;
        }
        // RFC 6672 section 2.4: "Resource records MUST NOT exist at any subdomain of the owner of a DNAME RR".
        if let (Some(record), Some(dname)) = (node.records.first(), cover.first(RecordType::DNAME)) {
            self.add(
                Diagnostic::error(format!("{} is below a DNAME record", node.name))
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
            false => {
                Diagnostic::error(message).at(record.span.clone(), "never answered: it belongs into the delegated zone")
            }
        };
        self.add(diagnostic.related(ns.span.clone(), "the delegation"));
    }

    /// RFC 2181 section 10.3: an NS record's name "must not be an alias", and must have addresses.
    fn name_server(&mut self, node: &Node<'r>, record: &ZoneRecord, name: &Name) {
        match self.target(name) {
            Target::Elsewhere | Target::Addresses => {}
            Target::Alias(span) => {
                let error = Diagnostic::error(format!("the name server {name} is an alias"))
                    .at(record.span.clone(), "expected a name with addresses (RFC 2181 section 10.3)");
                self.add(error.related(span.clone(), "the alias"));
            }
            // Whoever asks there is sent on to that delegation's own servers and finds them.
            Target::Delegated(cut) if self.tree.is_cut(node) && cut != node.name => {}
            Target::Delegated(_) | Target::Nothing => {
                let glue = if self.tree.is_cut(node) { "its glue is missing" } else { "expected in this zone" };
                self.add(
                    Diagnostic::error(format!("the name server {name} has no address"))
                        .at(record.span.clone(), glue)
                        .help(format!("add A and AAAA records for {name}")),
                );
            }
        }
    }

    /// The name of an MX or SRV record: no alias (RFC 2181 section 10.3, RFC 2782).
    fn host(&mut self, record: &ZoneRecord, name: &Name) {
        let rtype = record.record.rtype;
        let warning = |what: &str| Diagnostic::warning(format!("the {rtype} target {name} {what}"));
        match self.target(name) {
            Target::Alias(span) => {
                let warning = warning("is an alias").at(record.span.clone(), "expected a name with addresses");
                self.add(warning.related(span.clone(), "the alias"));
            }
            Target::Nothing => self.add(warning("has no address").at(record.span.clone(), "not in this zone")),
            Target::Elsewhere | Target::Addresses | Target::Delegated(_) => {}
        }
    }

    fn alias(&mut self, record: &ZoneRecord, name: &Name) {
        let inside = name.is_at_or_below(self.origin);
        let known = || {
            self.tree.find(name).is_some()
                || self.service_answering(name).is_some()
                || self.tree.cover(name).is_some()
                || self.tree.answering(name).is_some()
        };
        if name == &record.record.owner {
            self.error(record, format!("{name} is an alias of itself"), "leads nowhere");
        } else if inside && !known() {
            let warning = Diagnostic::warning(format!("the target {name} does not exist"));
            self.add(warning.at(record.span.clone(), "not in this zone"));
        }
    }

    fn target(&self, name: &Name) -> Target<'r> {
        if !name.is_at_or_below(self.origin) {
            return Target::Elsewhere;
        }
        if let Some(service) = self.service_answering(name) {
            return if service.has_host_endpoint { Target::Alias(&service.span) } else { Target::Addresses };
        }
        let tree: &'r Tree<'r> = self.tree;
        if let Some(cover) = tree.cover(name) {
            return match cover.first(RecordType::DNAME) {
                Some(dname) if !tree.is_cut(cover) => Target::Alias(&dname.span),
                _ if tree.find(name).is_some_and(Node::has_addresses) => Target::Addresses,
                _ => Target::Delegated(cover.name),
            };
        }
        let Some(node) = tree.answering(name) else { return Target::Nothing };
        match node.first(RecordType::CNAME) {
            Some(alias) => Target::Alias(&alias.span),
            None if node.has_addresses() => Target::Addresses,
            None => Target::Nothing,
        }
    }

    /// The service that answers for a name in the zone: at it, or at the wildcard of its closest
    /// encloser (RFC 4592 section 3.3.1).
    fn service_answering(&self, name: &Name) -> Option<&'r ServiceOwner> {
        let exists = |name: &Name| self.tree.contains(name) || self.names_of_services.contains(name);
        if exists(name) {
            return self.service_names.get(name).copied();
        }
        let encloser = std::iter::successors(name.parent(), Name::parent).find(exists)?;
        let wildcard = Name::parse("*", &encloser).ok()?;
        self.service_names.get(&wildcard).copied()
    }

    /// A service owns its name: nothing static may answer in its place.
    fn service(&mut self, service: &ServiceOwner) {
        let name = &service.name;
        let refuse = |message: String, label: &str| Diagnostic::error(message).at(service.span.clone(), label);
        if !name.is_at_or_below(self.origin) {
            let label = format!("not at or below {}", self.origin);
            return self.add(refuse(format!("the service {name} is outside the zone"), &label));
        }
        if let Some(first) = self.service_names.get(name).filter(|first| first.span != service.span) {
            let span = first.span.clone();
            return self
                .add(refuse(format!("two services are called {name}"), "the second").related(span, "the first"));
        }
        if service.has_host_endpoint && name == self.origin {
            let label = "an endpoint with a host name is answered as a CNAME, which cannot be at the apex";
            return self.add(refuse(format!("the service {name} is at the apex"), label));
        }
        if let Some(cover) = self.tree.cover(name) {
            let (what, record) = match cover.first(RecordType::NS).filter(|_| self.tree.is_cut(cover)) {
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
    }

    fn beside_service(&mut self, service: &ServiceOwner) {
        let Some(node) = self.tree.find(&service.name) else { return };
        let collides = |record: &&&ZoneRecord| match record.record.rtype {
            _ if service.has_host_endpoint => true,
            RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::DNAME => true,
            RecordType::HTTPS => service.https,
            _ => false,
        };
        let Some(record) = node.records.iter().find(collides) else { return };
        let rtype = record.record.rtype;
        let label = match service.has_host_endpoint {
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

/// A name and those above it that are in the zone; none for a name outside.
fn names_above(name: &Name, origin: &Name) -> impl Iterator<Item = Name> {
    std::iter::successors(Some(name.clone()), Name::parent).take_while(|name| name.is_at_or_below(origin))
}

fn glue_names(tree: &Tree<'_>) -> HashSet<Name> {
    let cuts = tree.nodes().iter().filter(|node| node.first(RecordType::NS).is_some());
    cuts.flat_map(|node| &node.records)
        .filter(|record| record.record.rtype == RecordType::NS)
        .filter_map(|record| first_name(RecordType::NS, &record.record.rdata))
        .collect()
}

#[cfg(test)]
mod tests;
