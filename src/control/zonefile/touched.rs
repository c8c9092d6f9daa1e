//! The names that a change of others may matter to, by the rules that [`mod@super::check`] checks a name by.
//!
//! Comes in: names as they were and as they are, and the nodes of before. Goes out: the names to be checked again, or
//! nothing where a change reaches far: a delegation that comes or goes above others, a DNAME. Rather too many than too
//! few: a name that is checked again without need is found as it was.
//!
//! A name that comes or goes takes the names between it and the nearest one above that stays with it. Whatever leads to
//! one of these or below may end elsewhere from now on, be it by a wildcard. A name that stays, and has other addresses
//! or another alias, matters to what leads to itself.

use std::collections::{HashMap, HashSet};

use super::check::ZoneFacts;
use super::rdata::first_name;
use super::text::ZoneRecord;
use crate::model::{Name, RecordType, ZoneNode, ZoneNodes};

/// More names than this are not checked again one by one.
const MOST: usize = 4_000;
/// The types whose names a zone is checked for.
const LEADING: [RecordType; 4] = [RecordType::NS, RecordType::CNAME, RecordType::MX, RecordType::SRV];

/// A name as it was, and its records as they are.
pub(super) struct Change<'w> {
    pub was: Option<ZoneNode<'w>>,
    pub is: Vec<&'w ZoneRecord>,
}

/// The names that changes matter to.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub names: Vec<Name>,
    /// Those, and changed ones, that are below a delegation and a server of some delegation.
    pub glue_names: HashSet<Name>,
}

/// Labels before the origin, in lower case.
type Labels = Box<[u8]>;

/// The places that names may lead to and find otherwise than before.
#[derive(Default)]
struct Places {
    /// Themselves.
    names: HashSet<Labels>,
    /// And all below.
    trees: HashSet<Labels>,
}

impl Touched {
    /// By these changes, of all names that differ from `nodes`. `None` where one reaches too far.
    pub fn by(
        changes: &HashMap<Name, Change<'_>>,
        facts: &ZoneFacts<'_>,
        nodes: &ZoneNodes,
        has_cuts: bool,
    ) -> Option<Touched> {
        let mut touched = Touched::default();
        let (mut places, mut flips, mut goes) = (Places::default(), Vec::new(), HashSet::new());
        for (name, change) in changes {
            let labels = lower_labels(name, facts.origin)?;
            if change.is(RecordType::DNAME) {
                return None;
            }
            if !labels.is_empty() {
                let reach = Reach { changes, facts, nodes };
                touched.by_delegation(name, &labels, change, &reach, &mut places)?;
            }
            match (&change.was, change.is.is_empty()) {
                (Some(_), true) => {
                    goes.insert(labels.clone());
                    flips.push(labels);
                }
                (None, false) => flips.push(labels),
                _ if change.answers_otherwise(has_cuts) => places.put_name(labels),
                _ => {}
            }
        }
        for labels in &flips {
            places.put_tree(labels, nodes, &goes);
        }
        if !places.names.is_empty() || !places.trees.is_empty() {
            touched.find_leading(&places, facts.origin, nodes)?;
        }
        touched.find_glue(changes, facts.origin, nodes);
        Some(touched)
    }

    /// What changes at a delegation: its coming, its going, its servers.
    fn by_delegation(
        &mut self,
        name: &Name,
        labels: &[u8],
        change: &Change<'_>,
        reach: &Reach<'_>,
        places: &mut Places,
    ) -> Option<()> {
        let (was, is) = (change.was(RecordType::NS), change.is(RecordType::NS));
        if was != is {
            if reach.has_below(name, labels) {
                return None;
            }
            places.trees.insert(labels.into());
        }
        if change.differs_in(RecordType::NS) {
            let old = change.was.into_iter().flat_map(|node| node.sets()).filter(|set| set.rtype == RecordType::NS);
            let old = old.flat_map(|set| set.rdatas().map(<[u8]>::to_vec).collect::<Vec<_>>());
            let new = change.is.iter().filter(|record| record.record.rtype == RecordType::NS);
            for rdata in old.chain(new.map(|record| record.record.rdata.to_vec())) {
                let server = first_name(RecordType::NS, &rdata)?;
                if server.is_at_or_below(reach.facts.origin) {
                    self.names.push(server);
                }
            }
        }
        Some(())
    }

    /// Finds the names whose records lead to these places.
    fn find_leading(&mut self, places: &Places, origin: &Name, nodes: &ZoneNodes) -> Option<()> {
        let (mut lower, origin_octets) = (Vec::new(), origin.to_lowercase());
        for node in nodes.iter() {
            let mut leads = node
                .sets()
                .filter_map(|set| Some((set, target_at(set.rtype)?)))
                .flat_map(|(set, at)| set.rdatas().filter_map(move |rdata| rdata.get(at..)));
            let is_touched = |target: &[u8]| {
                lower.clear();
                lower.extend(target.iter().map(u8::to_ascii_lowercase));
                lower.strip_suffix(origin_octets.as_wire()).is_some_and(|labels| places.hold(labels))
            };
            if leads.any(is_touched) {
                self.names.push(node.name(origin));
                if self.names.len() > MOST {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Finds which of the names below delegations, or at them, are servers of any delegation.
    fn find_glue(&mut self, changes: &HashMap<Name, Change<'_>>, origin: &Name, nodes: &ZoneNodes) {
        let is_cut = |labels: &[u8]| {
            let node = nodes.find(labels).ok().and_then(|at| nodes.places().get(at)).map(|&place| nodes.at(place));
            !labels.is_empty() && node.is_some_and(|node| node.set(RecordType::NS).is_some())
        };
        let is_below = |name: &&Name| {
            let labels = lower_labels(name, origin).unwrap_or_default();
            suffixes(&labels).any(is_cut) || changes.get(*name).is_some_and(|change| change.is(RecordType::NS))
        };
        let below: HashSet<&Name> = changes.keys().chain(&self.names).filter(is_below).collect();
        if below.is_empty() {
            return;
        }
        let servers = nodes.iter().filter(|node| !node.labels().is_empty());
        let servers = servers.filter_map(|node| Some((node, node.set(RecordType::NS)?)));
        let servers = servers.filter(|(node, _)| !changes.contains_key(&node.name(origin)));
        let servers = servers.flat_map(|(_, set)| set.rdatas()).filter_map(|rdata| first_name(RecordType::NS, rdata));
        self.glue_names = servers.filter(|server| below.contains(&server)).collect();
    }
}

/// The names that a delegation may be above.
struct Reach<'w> {
    changes: &'w HashMap<Name, Change<'w>>,
    facts: &'w ZoneFacts<'w>,
    nodes: &'w ZoneNodes,
}

impl Reach<'_> {
    fn has_below(&self, name: &Name, labels: &[u8]) -> bool {
        let next = self.nodes.find(labels).map_or_else(|at| at, |at| at + 1);
        let next = self.nodes.places().get(next).map(|&place| self.nodes.at(place).labels());
        let services = self.facts.services.iter().map(|service| &service.name);
        next.is_some_and(|next| suffixes(next).any(|suffix| suffix == labels))
            || self.changes.keys().chain(services).any(|other| other != name && other.is_at_or_below(name))
    }
}

impl Change<'_> {
    fn was(&self, rtype: RecordType) -> bool {
        self.was.is_some_and(|node| node.set(rtype).is_some())
    }

    fn is(&self, rtype: RecordType) -> bool {
        self.is.iter().any(|record| record.record.rtype == rtype)
    }

    /// Tells whether the records of a type are others, or are in another order.
    fn differs_in(&self, rtype: RecordType) -> bool {
        let set = self.was.and_then(|node| node.set(rtype));
        let was = set.into_iter().flat_map(|set| set.rdatas());
        let is = self.is.iter().filter(|record| record.record.rtype == rtype).map(|record| &*record.record.rdata);
        !was.eq(is)
    }

    /// Tells whether what leads to this name may find something else.
    fn answers_otherwise(&self, has_cuts: bool) -> bool {
        const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];
        let (was, is) = (ADDRESSES.iter().any(|&of| self.was(of)), ADDRESSES.iter().any(|&of| self.is(of)));
        // How long a referral is depends on its glue.
        was != is || self.differs_in(RecordType::CNAME) || has_cuts && ADDRESSES.iter().any(|&of| self.differs_in(of))
    }
}

impl Places {
    fn put_name(&mut self, labels: Labels) {
        if let Some(above) = labels.strip_prefix(b"\x01*") {
            self.trees.insert(above.into());
        } else {
            self.names.insert(labels);
        }
    }

    /// A name that comes or goes, with what is there for its sake alone.
    fn put_tree(&mut self, labels: &[u8], nodes: &ZoneNodes, goes: &HashSet<Labels>) {
        let stays = |above: &[u8]| {
            let first = nodes.find(above).unwrap_or_else(|at| at);
            let from = nodes.places().iter().skip(first).map(|&place| nodes.at(place).labels());
            let mut below = from.take_while(|below| suffixes(below).any(|suffix| suffix == above));
            above.is_empty() || below.any(|below| !goes.contains(below))
        };
        let mut highest = labels;
        for above in suffixes(labels).skip(1) {
            if stays(above) {
                break;
            }
            highest = above;
        }
        let tree = if highest == labels { labels.strip_prefix(b"\x01*").unwrap_or(labels) } else { highest };
        self.trees.insert(tree.into());
    }

    fn hold(&self, labels: &[u8]) -> bool {
        self.names.contains(labels) || suffixes(labels).any(|suffix| self.trees.contains(suffix))
    }
}

/// The names around those that are checked, by which they are judged: those they lead to, those above, and, for each of
/// them, one that shows that it is there.
pub(super) fn around<'n>(
    records: &[&ZoneRecord],
    checked: &HashSet<Name>,
    facts: &ZoneFacts<'_>,
    nodes: &'n ZoneNodes,
    most: usize,
) -> Option<Vec<ZoneNode<'n>>> {
    let origin = facts.origin;
    let mut open: Vec<Name> = checked.iter().cloned().collect();
    let leading = records.iter().filter(|record| LEADING.contains(&record.record.rtype));
    open.extend(leading.filter_map(|record| first_name(record.record.rtype, &record.record.rdata)));
    for service in facts.services {
        open.push(service.name.clone());
        open.extend(service.hosts.iter().map(|(host, _)| host.clone()));
    }
    let mut around = Around { nodes, origin, checked, seen: HashSet::new(), taken: HashSet::new(), found: Vec::new() };
    while let Some(name) = open.pop() {
        let Some(labels) = lower_labels(&name, origin) else { continue };
        for above in suffixes(&labels) {
            if !around.seen.insert(above.into()) {
                break; // and so all above it
            }
            around.show(above);
            around.take(above, &mut open);
            around.take(&[b"\x01*", above].concat(), &mut open);
            if around.seen.len() > 4 * most {
                return None;
            }
        }
    }
    Some(around.found)
}

struct Around<'n, 'a> {
    nodes: &'n ZoneNodes,
    origin: &'a Name,
    checked: &'a HashSet<Name>,
    seen: HashSet<Labels>,
    /// Places of nodes.
    taken: HashSet<u32>,
    found: Vec<ZoneNode<'n>>,
}

impl Around<'_, '_> {
    fn put(&mut self, place: u32) {
        if self.taken.insert(place) {
            self.found.push(self.nodes.at(place));
        }
    }

    /// The node of a name, and the name that it is an alias of.
    fn take(&mut self, labels: &[u8], open: &mut Vec<Name>) {
        let Some(&place) = self.nodes.find(labels).ok().and_then(|at| self.nodes.places().get(at)) else { return };
        let node = self.nodes.at(place);
        if self.checked.contains(&node.name(self.origin)) {
            return;
        }
        let alias = node.set(RecordType::CNAME).and_then(|set| first_name(RecordType::CNAME, set.rdatas().next()?));
        open.extend(alias);
        self.put(place);
    }

    /// A node at or below a name, which is there because of it.
    fn show(&mut self, labels: &[u8]) {
        let first = self.nodes.find(labels).unwrap_or_else(|at| at);
        for &place in self.nodes.places().iter().skip(first) {
            let node = self.nodes.at(place);
            if !suffixes(node.labels()).any(|suffix| suffix == labels) {
                return;
            }
            if !self.checked.contains(&node.name(self.origin)) {
                return self.put(place);
            }
        }
    }
}

/// The place in RDATA of the name that a zone is checked for.
fn target_at(rtype: RecordType) -> Option<usize> {
    match rtype {
        RecordType::NS | RecordType::CNAME => Some(0),
        RecordType::MX => Some(2),
        RecordType::SRV => Some(6),
        _ => None,
    }
}

/// The labels of a name before the origin; `None` where it is outside.
pub(super) fn labels_of<'n>(name: &'n Name, origin: &Name) -> Option<&'n [u8]> {
    let before = name.as_wire().len().checked_sub(origin.as_wire().len())?;
    name.as_wire().get(..before).filter(|_| name.is_at_or_below(origin))
}

fn lower_labels(name: &Name, origin: &Name) -> Option<Labels> {
    Some(labels_of(name, origin)?.to_ascii_lowercase().into())
}

/// Labels, and what they end in, down to nothing.
fn suffixes(labels: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = Some(labels);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.split_first().and_then(|(&len, rest)| rest.get(usize::from(len)..));
        Some(this)
    })
}
