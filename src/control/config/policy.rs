//! The way a service picks: `policy` and `regions` of `[service.NAME]`, its groups, stages, rules and
//! canary. The service's table and the regions of its zone come in, a [`PolicyTree`] goes out.
//!
//! ```text
//!   [service.www]              policy, regions ──────────────▶ the root
//!   [service.www.group.NAME]   policy, regions ──────────────▶ groups that `regions` may name
//!   [service.www.stage.NAME]   policy, regions ─ active ─────▶ groups to switch between: the root
//!   [[service.www.rule]]       clients, regions or group, fence
//!   canary = { share, regions or group }
//! ```

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::geo;
use super::known_regions::{KnownRegion, KnownRegions, MAX_REGIONS, NAME, unfit_name};
use super::reader::{Entry, Table, Value, list};
use crate::control::diagnostic::{Diagnostic, Span, nearest};
use crate::model::policy::{MAX_ANSWERS, MAX_DEPTH};
use crate::model::{Child, Group, GroupId, Policy, PolicyTree, RegionId, Rule, Weight};

/// Children of a group at most: all regions there may be.
const MAX_CHILDREN: usize = MAX_REGIONS;
/// Groups of a service at most, stages among them.
const MAX_GROUPS: usize = 1_024;
/// Rules of a service at most.
const MAX_RULES: usize = 1_024;
/// Ways in which a service's regions may be reached at most: groups that stand in several groups
/// multiply them, and each is looked at for every place.
const MAX_WAYS: usize = 4_096;

pub const REGIONS: &str = "an array of regions such as [\"seoul\", \"virginia\"]";

/// The keys of a group's own policy.
const OWN_KEYS: [&str; 4] = ["policy", "regions", "geo", "answers"];

/// A policy as its word says, before what it needs besides is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Score,
    Nearest,
    Latency,
    Geo,
    Weighted,
    Failover,
    Sticky,
    Multi,
}

const WORDS: [(&str, Word); 8] = [
    ("score", Word::Score),
    ("nearest", Word::Nearest),
    ("latency", Word::Latency),
    ("geo", Word::Geo),
    ("weighted", Word::Weighted),
    ("failover", Word::Failover),
    ("sticky", Word::Sticky),
    ("multi", Word::Multi),
];

impl Word {
    fn has_shares(self) -> bool {
        matches!(self, Word::Weighted | Word::Sticky | Word::Multi)
    }

    fn as_str(self) -> &'static str {
        WORDS.iter().find(|(_, word)| *word == self).map_or("", |(text, _)| text)
    }
}

/// Reads how the service picks, and the regions it may be answered with, in the order they are first
/// named. `None` where it cannot be told, which is reported.
pub fn read(entry: &Entry<'_>, table: &Table<'_>, known: &KnownRegions<'_>) -> Option<(PolicyTree, Vec<RegionId>)> {
    let (groups, stages) = (entries_of(table, "group"), entries_of(table, "stage"));
    let mut reading = Reading::new(entry, known, groups.iter().chain(&stages));
    for group in groups.iter().chain(&stages) {
        let what = format!("group `{}`", group.value.name);
        let read = group.value.table(what, |table| reading.group(table, group.span(), group.value.name.into()));
        reading.groups.push(read);
    }
    let main = if table.get("stage").is_some() { reading.stages(table, &stages) } else { reading.main(table) };
    // All is read before the first failure counts: each part reports its own mistakes.
    let rules = reading.rules(table);
    let root = reading.canary(table, main);
    reading.warn_of_unused(&stages);
    let tree = PolicyTree { groups: reading.groups.into_iter().collect::<Option<_>>()?, root: root?, rules: rules? };
    bounded(entry, &tree)?;
    let regions = regions_of(&tree);
    Some((tree, regions))
}

fn entries_of<'a>(table: &Table<'a>, key: &'static str) -> Vec<Entry<'a>> {
    let expected = "tables of groups, such as [service.www.group.asia]";
    table.get(key).and_then(|value| value.entries(expected)).unwrap_or_default()
}

/// The parts of one service that have been read so far.
struct Reading<'a> {
    entry: &'a Entry<'a>,
    known: &'a KnownRegions<'a>,
    /// Groups and stages that have names.
    named: BTreeMap<&'a str, Named>,
    /// By [`GroupId`]; `None`: too wrong to be one. Those with names come first.
    groups: Vec<Option<Group>>,
}

struct Named {
    id: GroupId,
    span: Span,
    used: Cell<bool>,
}

/// A child as the file names it.
struct NamedChild<'a> {
    name: &'a str,
    child: Child,
    share: f64,
}

impl<'a> Reading<'a> {
    fn new(
        entry: &'a Entry<'a>,
        known: &'a KnownRegions<'a>,
        groups: impl Iterator<Item = &'a Entry<'a>>,
    ) -> Reading<'a> {
        let mut named: BTreeMap<&'a str, Named> = BTreeMap::new();
        let report = entry.value.report();
        for (index, group) in groups.enumerate() {
            let (name, span) = (group.value.name, group.span());
            if let Some(unfit) = unfit_name("group", name) {
                report.push(unfit.at(span.clone(), NAME));
            }
            if let Some(region) = known.get(name) {
                let both = Diagnostic::error(format!("`{name}` is a region and a group"));
                report.push(both.at(span.clone(), "a group").related(region.span.clone(), "a region"));
            }
            let id = GroupId(u16::try_from(index).unwrap_or(u16::MAX)); // too many are refused below
            if let Some(first) = named.get(name) {
                let both = Diagnostic::error(format!("`{name}` is a group and a stage"));
                report.push(both.at(span.clone(), "again here").related(first.span.clone(), "first here"));
                continue;
            }
            named.insert(name, Named { id, span, used: Cell::new(false) });
        }
        Reading { entry, known, named, groups: Vec::new() }
    }

    fn add(&mut self, group: Option<Group>) -> GroupId {
        self.groups.push(group);
        GroupId(u16::try_from(self.groups.len() - 1).unwrap_or(u16::MAX)) // too many are refused
    }

    /// The policy of the service itself.
    fn main(&mut self, table: &Table<'_>) -> Option<GroupId> {
        if let Some(active) = table.get("active") {
            active.error::<()>("there are no stages", "expected tables such as [service.www.stage.blue]");
        }
        let group = self.group(table, self.entry.span(), "".into());
        let complete = group.is_some();
        let id = self.add(group);
        complete.then_some(id)
    }

    /// The stages, one of which is active, in place of a policy of the service's own.
    fn stages(&mut self, table: &Table<'_>, stages: &[Entry<'_>]) -> Option<GroupId> {
        for key in OWN_KEYS {
            if let Some(value) = table.get(key) {
                value
                    .error::<()>(format!("a service with stages has no `{key}` of its own"), "move it into the stages");
            }
        }
        let names: Vec<&str> = stages.iter().map(|stage| stage.value.name).collect();
        let choices: Vec<(&str, usize)> = names.iter().copied().zip(0..).collect();
        let active = table.require("active", "active = \"blue\"").and_then(|v| v.choice(&choices))?;
        let children = names.iter().filter_map(|name| Some(Child::Group(self.named.get(name)?.id))).collect();
        let policy = Policy::Stage { active: u16::try_from(active).ok()? };
        Some(self.add(Some(Group { name: "".into(), policy, children })))
    }

    /// The part of clients that a canary gets, before all others.
    fn canary(&mut self, table: &Table<'_>, main: Option<GroupId>) -> Option<GroupId> {
        let Some(value) = table.get("canary") else { return main };
        let read = value.table_like("`canary`", "a table such as { regions = [\"new\"], share = 0.1 }", |table| {
            let share = table.require("share", "share = 0.1");
            let share = share.and_then(|v| v.number("a part of clients from 0 to 1", |n| (0.0..=1.0).contains(&n)));
            let group = self.group_or_regions(table, value.span(), "canary clients");
            Some((Weight::new(share?)?, group?))
        });
        let (share, canary) = read?;
        let children = vec![Child::Group(canary), Child::Group(main?)];
        Some(self.add(Some(Group { name: "the canary".into(), policy: Policy::Canary { share }, children })))
    }

    fn rules(&mut self, table: &Table<'_>) -> Option<Vec<Rule>> {
        let Some(value) = table.get("rule") else { return Some(Vec::new()) };
        let items = value.array("tables: [[service.www.rule]]", MAX_RULES)?;
        let mut rules = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let rule = item.table("a rule", |table| {
                let clients = table.require("clients", "clients = { country = [\"KR\"] }").and_then(clients);
                let group = self.group_or_regions(table, item.span(), &format!("rule {}", index + 1));
                let fence = table.or("fence", false, |v| v.boolean());
                Some(Rule { clients: clients?, group: group?, fence })
            });
            rules.push(rule);
        }
        rules.into_iter().collect()
    }

    /// `group = "asia"`, or `regions` with a policy, for a group that has no name in the file.
    fn group_or_regions(&mut self, table: &Table<'_>, at: Span, name: &str) -> Option<GroupId> {
        let key = table.one_of(&["regions", "group"])?;
        if key.name == "regions" {
            let group = self.group(table, at, name.into());
            let complete = group.is_some();
            let id = self.add(group);
            return complete.then_some(id);
        }
        for key in OWN_KEYS.iter().filter(|key| **key != "regions") {
            if let Some(value) = table.get(key) {
                value.error::<()>(format!("`{key}` belongs to the group"), "not beside `group`");
            }
        }
        let name = key.string("the name of a group")?;
        let Some(named) = self.named.get(name) else {
            key.report().push_missing(self.unknown("group", name, key.span()));
            return None;
        };
        named.used.set(true);
        Some(named.id)
    }

    /// A policy and its children.
    fn group(&self, table: &Table<'_>, at: Span, name: Box<str>) -> Option<Group> {
        // `None`: there is no such policy, and what it would look at is not known.
        let word = table.get("policy").map_or(Some(Word::Score), |v| v.choice(&WORDS));
        let regions = table.require("regions", "regions = [\"seoul\", \"virginia\"]");
        let (geo, answers) = (table.get("geo"), table.get("answers"));
        let may_share = word.is_none_or(Word::has_shares);
        let children = regions.and_then(|v| self.children(v, may_share))?;
        let word = word?;
        if word == Word::Score {
            self.warn_of_unchecked(&children, at.clone());
        }
        if children.len() > 1 && children.iter().all(|child| child.share == 0.0) {
            let alike = Diagnostic::warning("all shares are 0").at(at.clone(), "all regions get the same share");
            table.report().push(alike.help("`regions = [\"a\", \"b\"]` says so plainly"));
        }
        let names: Vec<&str> = children.iter().map(|child| child.name).collect();
        let weights = || children.iter().filter_map(|child| Weight::new(child.share)).collect();
        let unread = |value: Option<Value<'_>>| {
            if let Some(value) = value {
                let label = format!("policy `{}` does not look at it", word.as_str());
                let unread = Diagnostic::warning(format!("`{}` has no effect", value.name));
                value.report().push(unread.at(value.span(), label));
            }
        };
        if word != Word::Geo {
            unread(geo);
        }
        if word != Word::Multi {
            unread(answers);
        }
        let policy = match word {
            Word::Score => Policy::Score,
            Word::Nearest => Policy::Nearest,
            Word::Latency => Policy::Latency,
            Word::Failover => Policy::Failover,
            Word::Weighted => Policy::Weighted(weights()),
            Word::Sticky => Policy::Sticky(weights()),
            Word::Geo => Policy::Geo(geo::read(geo, table, at, &names).unwrap_or_default()),
            Word::Multi => {
                let most = answers.map_or(Some(2), |v| v.small(1..=MAX_ANSWERS as u64));
                Policy::Multi { answers: most.unwrap_or(2), weights: weights() }
            }
        };
        Some(Group { name, policy, children: children.into_iter().map(|child| child.child).collect() })
    }

    /// `regions = ["a", "b"]`, all alike; or, where there are shares, `regions = { a = 3, b = 1 }`.
    fn children<'v>(&self, value: Value<'v>, may_share: bool) -> Option<Vec<NamedChild<'v>>> {
        if value.is_empty() {
            return value.error("there must be at least one region", format!("expected {REGIONS}"));
        }
        let mut named = Vec::new();
        if value.is_table() {
            if !may_share {
                let label = format!("found a table, expected {REGIONS}");
                let which = "`policy = \"weighted\"`, `\"sticky\"` and `\"multi\"`";
                value.error::<()>(format!("regions have shares only under {which}"), label);
            }
            for entry in value.entries(REGIONS)? {
                let share = entry.value.number("a share from 0 to 1000000", |n| (0.0..=1e6).contains(&n));
                named.push((entry.value.name, entry.span(), share.unwrap_or(0.0)));
            }
        } else {
            for item in value.array(REGIONS, MAX_CHILDREN)? {
                let Some(name) = item.string("the name of a region") else { continue };
                named.push((name, item.span(), 1.0));
            }
        }
        Some(self.resolve(value, named))
    }

    /// The named regions and groups, each once. Marks them as used.
    fn resolve<'v>(&self, value: Value<'_>, named: Vec<(&'v str, Span, f64)>) -> Vec<NamedChild<'v>> {
        let mut children = Vec::new();
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (name, span, share) in named {
            let Some((child, used)) = self.find(name) else {
                value.report().push_missing(self.unknown("region", name, span));
                continue;
            };
            if let Some(first) = seen.insert(name, span.clone()) {
                let twice = Diagnostic::error(format!("region `{name}` is there twice"));
                value.report().push(twice.at(span, "again here").related(first, "first here"));
                continue;
            }
            used.set(true);
            children.push(NamedChild { name, child, share });
        }
        children
    }

    fn find(&self, name: &str) -> Option<(Child, &Cell<bool>)> {
        let group = self.named.get(name).map(|named| (Child::Group(named.id), &named.used));
        group.or_else(|| self.known.get(name).map(|region| (Child::Region(region.id), &region.used)))
    }

    fn unknown(&self, what: &str, name: &str, span: Span) -> Diagnostic {
        /// Names in a message at most.
        const SHOWN: usize = 8;
        let label = if what == "region" { "no [region] of this file is so called" } else { "no group is so called" };
        let unknown = Diagnostic::error(format!("unknown {what} `{name}`")).at(span, label);
        let groups = self.named.keys().copied();
        let regions = self.known.keys().copied().filter(|_| what == "region");
        if let Some(meant) = nearest(name, groups.clone().chain(regions.clone())) {
            return unknown.help(format!("did you mean `{meant}`?"));
        }
        let quoted = |name: &str| format!("`{name}`");
        match what {
            "region" => unknown.help(format!("regions of this file: {}", list(regions.take(SHOWN).map(quoted)))),
            _ => unknown.help(format!("groups of this service: {}", list(groups.take(SHOWN).map(quoted)))),
        }
    }

    /// A score steers around regions that are down only where something looks.
    fn warn_of_unchecked(&self, children: &[NamedChild<'_>], at: Span) {
        let region = |child: &NamedChild<'_>| -> Option<&KnownRegion<'_>> { self.known.get(child.name) };
        let is_region = |child: &&NamedChild<'_>| matches!(child.child, Child::Region(_));
        let regions = children.iter().filter(is_region).filter_map(region);
        let names: Vec<_> = regions.filter(|r| !r.has_check).map(|region| format!("`{}`", region.name)).collect();
        if names.is_empty() {
            return;
        }
        let service = self.entry.value.name;
        let warning = Diagnostic::warning(format!("service `{service}` has regions that are never checked"))
            .at(at, format!("always taken to be up: {}", names.join(", ")))
            .help("add `check.http`, `check.https` or `check.tcp` to the region");
        self.entry.value.report().push(warning);
    }

    fn warn_of_unused(&self, stages: &[Entry<'_>]) {
        let is_stage = |name: &str| stages.iter().any(|stage| stage.value.name == name);
        for (name, named) in self.named.iter().filter(|(name, named)| !named.used.get() && !is_stage(name)) {
            let unused = Diagnostic::warning(format!("nothing uses group `{name}`"));
            self.entry.value.report().push(unused.at(named.span.clone(), "no `regions`, rule or canary names it"));
        }
    }
}

/// The clients that a rule is for.
fn clients(value: Value<'_>) -> Option<BTreeSet<crate::model::GeoPlace>> {
    value.table_like("`clients`", "a table such as { country = [\"KR\"] }", |table| {
        let mut places = BTreeSet::new();
        for (key, expected, place) in geo::KINDS {
            let Some(value) = table.get(key) else { continue };
            for item in value.one_or_many(expected, geo::MAX_PLACES).unwrap_or_default() {
                // An AS number may be written as a number, too.
                let read = match item.as_str() {
                    None if key == "asn" => {
                        item.integer(1..=u64::from(u32::MAX)).map(|asn| crate::model::GeoPlace::Asn(asn as u32))
                    }
                    _ => item.text(expected, place),
                };
                places.extend(read);
            }
        }
        if places.is_empty() {
            let nobody = Diagnostic::error("a rule for nobody");
            table.report().push_missing(nobody.at(table.span(), "expected such as { country = [\"KR\"] }"));
        }
        (!places.is_empty()).then_some(places)
    })
}

/// Refuses groups inside of themselves, too deep or in too many places.
fn bounded(entry: &Entry<'_>, tree: &PolicyTree) -> Option<()> {
    let mut measured: Vec<Option<Measure>> = vec![None; tree.groups.len()];
    let refuse = |message: String| -> Option<()> {
        let refused = Diagnostic::error(format!("the groups of service `{}` {message}", entry.value.name));
        entry.value.report().push(refused.at(entry.span(), "this service"));
        None
    };
    if tree.groups.len() > MAX_GROUPS + MAX_RULES {
        return refuse(format!("are {}, expected at most {MAX_GROUPS}", tree.groups.len()));
    }
    let mut ways = 0;
    for id in (0..tree.groups.len()).map(|index| GroupId(index as u16)) {
        match measure(tree, id, &mut measured, &mut Vec::new()) {
            Ok(measure) if measure.depth > MAX_DEPTH => {
                return refuse(format!("are nested {} deep, expected at most {MAX_DEPTH}", measure.depth));
            }
            Ok(measure) => ways += if tree.entries().any(|entry| entry == id) { measure.ways } else { 0 },
            Err(way) => {
                let names: Vec<_> = way.iter().map(|id| format!("`{}`", tree.group(*id).name)).collect();
                return refuse(format!("go in a circle: {}", names.join(" → ")));
            }
        }
    }
    if ways > MAX_WAYS {
        return refuse(format!("lead to regions in {ways} ways, expected at most {MAX_WAYS}"));
    }
    Some(())
}

#[derive(Clone, Copy)]
struct Measure {
    /// Of groups the operator nests: stages and canaries hold others by their nature.
    depth: usize,
    ways: usize,
}

/// Measures how deep a group is, and in how many ways it leads to regions; or finds the circle it is in.
fn measure(
    tree: &PolicyTree,
    id: GroupId,
    known: &mut Vec<Option<Measure>>,
    above: &mut Vec<GroupId>,
) -> Result<Measure, Vec<GroupId>> {
    if let Some(measure) = known[id.index()] {
        return Ok(measure);
    }
    if let Some(first) = above.iter().position(|other| *other == id) {
        return Err(above[first..].iter().copied().chain([id]).collect());
    }
    above.push(id);
    let group = tree.group(id);
    let (mut depth, mut ways) = (0, 0usize);
    for child in &group.children {
        match *child {
            Child::Region(_) => ways = ways.saturating_add(1),
            Child::Group(inner) => {
                let inner = measure(tree, inner, known, above)?;
                depth = depth.max(inner.depth);
                ways = ways.saturating_add(inner.ways);
            }
        }
    }
    above.pop();
    let nests = !matches!(group.policy, Policy::Canary { .. } | Policy::Stage { .. });
    let measure = Measure { depth: depth + usize::from(nests), ways };
    known[id.index()] = Some(measure);
    Ok(measure)
}

/// All regions, in the order in which the service, its rules and its canary come to them.
fn regions_of(tree: &PolicyTree) -> Vec<RegionId> {
    fn gather(tree: &PolicyTree, group: &Group, regions: &mut Vec<RegionId>, seen: &mut HashSet<RegionId>) {
        for child in &group.children {
            match *child {
                Child::Region(region) if seen.insert(region) => regions.push(region),
                Child::Region(_) => {}
                Child::Group(inner) => gather(tree, tree.group(inner), regions, seen),
            }
        }
    }
    let (mut regions, mut seen) = (Vec::new(), HashSet::new());
    for group in std::iter::once(tree.main()).chain(tree.entries().map(|id| tree.group(id))) {
        gather(tree, group, &mut regions, &mut seen);
    }
    regions
}
