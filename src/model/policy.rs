//! Policies: how a service picks among regions, and among groups of regions that have a policy of
//! their own.
//!
//! ```text
//!   [service.www]  failover ─┬─ group asia:   weighted ─┬─ seoul 3
//!                            │                          └─ tokyo 1
//!                            └─ group europe: nearest  ─┬─ frankfurt
//!                                                       └─ london
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use super::{Continent, CountryCode, Prefix, RegionId};

/// Levels of groups at most that an operator may nest.
pub const MAX_DEPTH: usize = 4;
/// Regions in one answer at most.
pub const MAX_ANSWERS: usize = 8;

/// A service's groups, and where its clients begin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyTree {
    /// Indexed by [`GroupId`]. No group is below itself; each path ends at regions.
    pub groups: Vec<Group>,
    /// The group where clients begin that no rule is for.
    pub root: GroupId,
    /// In the order they are tried: the first that a client fits decides.
    pub rules: Vec<Rule>,
}

/// Indexes [`PolicyTree::groups`] of the tree it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);

impl GroupId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The words of operators on one service, in place of what its file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Switched {
    /// The stage it was switched to; `None`: as the file says.
    pub stage: Option<GroupId>,
    /// The part of clients that its canary was shifted to, 0 to 1; `None`: as the file says.
    pub canary: Option<Weight>,
}

/// A policy and what it picks among.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// As the operator calls it; empty for the service itself. Those that have no name in the file
    /// have one with a space, such as `rule 1`. None twice in a tree.
    pub name: Box<str>,
    pub policy: Policy,
    /// In the order of the file; at least one, none twice.
    pub children: Vec<Child>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    Region(RegionId),
    Group(GroupId),
}

/// The way a group picks among its children, of those that have an eligible region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Lowest sum of latency, priced load and cost, in milliseconds.
    Score,
    /// The least great-circle distance.
    Nearest,
    /// The least round-trip time: measured where it is, else by distance.
    Latency,
    /// The first in the order of the file.
    Failover,
    /// Shares by weight, as many as children; all 0 means all alike.
    Weighted(Vec<Weight>),
    /// As weighted, but by the client's network alone, also where only a resolver's address is known.
    Sticky(Vec<Weight>),
    /// The first of those the operator lists for the client's place.
    Geo(GeoRules),
    /// So many regions in one answer, 1 to [`MAX_ANSWERS`]; those of more weight more often.
    Multi { answers: u8, weights: Vec<Weight> },
    /// Two children: this part of clients, 0 to 1, goes to the first, the others to the second. Or the part that an
    /// operator shifted it to since.
    Canary { share: Weight },
    /// The one of the children at this place, or the one an operator switched to since.
    Stage { active: u16 },
}

impl Policy {
    pub fn as_str(&self) -> &'static str {
        match self {
            Policy::Score => "score",
            Policy::Nearest => "nearest",
            Policy::Latency => "latency",
            Policy::Failover => "failover",
            Policy::Weighted(_) => "weighted",
            Policy::Sticky(_) => "sticky",
            Policy::Geo(_) => "geo",
            Policy::Multi { .. } => "multi",
            Policy::Canary { .. } => "canary",
            Policy::Stage { .. } => "stage",
        }
    }

    /// Tells whether it asks how far regions are.
    pub fn measures(&self) -> bool {
        matches!(self, Policy::Score | Policy::Nearest | Policy::Latency)
    }
}

/// The lists of the `geo` policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GeoRules {
    /// Children, by their place in the group, in the order they are tried; none of the lists is empty.
    pub rules: BTreeMap<GeoPlace, Vec<u16>>,
    /// Tried after a rule's, and for clients no rule fits. May be empty.
    pub default: Vec<u16>,
}

/// The places that rules can name of a client, the closest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GeoPlace {
    Network(Prefix),
    Asn(u32),
    /// ISO 3166-2: the country, and the code's part after it.
    Subdivision(CountryCode, Box<str>),
    Country(CountryCode),
    Continent(Continent),
}

/// Certain clients get what this group picks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// A client fits that is in any of these; at least one.
    pub clients: BTreeSet<GeoPlace>,
    pub group: GroupId,
    /// These clients never leave these regions, even where all are down. Without it the service's
    /// own policy follows where none is eligible.
    pub fence: bool,
}

/// A finite number, 0 or more, that can be compared and hashed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weight(f64);

impl Weight {
    pub const ONE: Weight = Weight(1.0);

    /// `None` where it is negative, infinite or not a number.
    pub fn new(number: f64) -> Option<Weight> {
        (number.is_finite() && number >= 0.0).then_some(Weight(number + 0.0)) // makes -0.0 be 0.0
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Weight {
    fn eq(&self, other: &Weight) -> bool {
        self.0 == other.0
    }
}

impl Eq for Weight {}

impl Hash for Weight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PolicyTree {
    /// One policy over these regions, and nothing nested.
    pub fn flat(policy: Policy, regions: &[RegionId]) -> PolicyTree {
        let children = regions.iter().map(|&region| Child::Region(region)).collect();
        let root = Group { name: "".into(), policy, children };
        PolicyTree { groups: vec![root], root: GroupId(0), rules: Vec::new() }
    }

    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.index()]
    }

    /// The service's own policy: beneath the canary, where there is one.
    pub fn main(&self) -> &Group {
        let root = self.group(self.root);
        match (&root.policy, root.children.get(1)) {
            (Policy::Canary { .. }, Some(Child::Group(main))) => self.group(*main),
            _ => root,
        }
    }

    /// The part of clients that the file gives to the canary; `None`: there is no canary.
    pub fn canary_share(&self) -> Option<Weight> {
        match self.group(self.root).policy {
            Policy::Canary { share } => Some(share),
            _ => None,
        }
    }

    /// The group that the canary's clients are sent to; `None`: there is no canary.
    pub fn canary(&self) -> Option<GroupId> {
        self.canary_share()?;
        match self.group(self.root).children.first()? {
            Child::Group(canary) => Some(*canary),
            Child::Region(_) => None,
        }
    }

    /// The group whose children are stages to switch between, if there is one.
    pub fn stages(&self) -> Option<&Group> {
        Some(self.main()).filter(|group| matches!(group.policy, Policy::Stage { .. }))
    }

    /// The stages by name, in the order of the file.
    pub fn stage_names(&self) -> impl Iterator<Item = &str> {
        let children = self.stages().map(|group| group.children.as_slice()).unwrap_or_default();
        children.iter().filter_map(|child| match child {
            Child::Group(id) => Some(&*self.group(*id).name),
            Child::Region(_) => None,
        })
    }

    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<GroupId> {
        self.stages()?.children.iter().find_map(|child| match child {
            Child::Group(id) if *self.group(*id).name == *name => Some(*id),
            _ => None,
        })
    }

    /// The stage whose turn it is: the one an operator switched to where it is still there, else as
    /// the file says. `None` where there are no stages.
    pub fn active_stage(&self, switched_to: Option<GroupId>) -> Option<GroupId> {
        self.active_child(self.stages()?, switched_to)
    }

    /// The active one of a group's stages; `None` where the group has none.
    pub fn active_child(&self, group: &Group, switched_to: Option<GroupId>) -> Option<GroupId> {
        let Policy::Stage { active } = group.policy else { return None };
        let said = switched_to.filter(|stage| group.children.contains(&Child::Group(*stage)));
        said.or_else(|| match group.children.get(usize::from(active))? {
            Child::Group(stage) => Some(*stage),
            Child::Region(_) => None,
        })
    }

    /// Every region that clients may get from here, each once, in the order of their ids. Of stages,
    /// those of the active one.
    pub fn regions_below(&self, id: GroupId, switched_to: Option<GroupId>) -> Vec<RegionId> {
        let mut regions = Vec::new();
        self.gather(id, switched_to, &mut regions);
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    fn gather(&self, id: GroupId, switched_to: Option<GroupId>, into: &mut Vec<RegionId>) {
        let group = self.group(id);
        if let Some(stage) = self.active_child(group, switched_to) {
            return self.gather(stage, switched_to, into);
        }
        for child in &group.children {
            match *child {
                Child::Region(region) => into.push(region),
                Child::Group(group) => self.gather(group, switched_to, into),
            }
        }
    }

    /// The groups that clients begin at: the root, and those of rules.
    pub fn entries(&self) -> impl Iterator<Item = GroupId> + '_ {
        std::iter::once(self.root).chain(self.rules.iter().map(|rule| rule.group))
    }

    /// A rule as people know it, by its place among the rules: `rule 2`, or `rule 2 (asia)` where its group has a
    /// name in the file.
    pub fn rule_name(&self, index: u16) -> String {
        let name = format!("rule {}", usize::from(index) + 1);
        let group = self.rules.get(usize::from(index)).map_or("", |rule| &*self.group(rule.group).name);
        if group.is_empty() || group == name { name } else { format!("{name} ({group})") }
    }

    /// Tells whether some policy of it asks how far regions are.
    pub fn measures(&self) -> bool {
        self.groups.iter().any(|group| group.policy.measures())
    }

    /// Tells whether some rule or list of it asks where clients are.
    pub fn locates(&self) -> bool {
        !self.rules.is_empty() || self.groups.iter().any(|group| matches!(group.policy, Policy::Geo(_)))
    }

    /// Tells whether clients may be answered otherwise for where they are.
    pub fn depends_on_place(&self) -> bool {
        self.measures() || self.locates()
    }

    /// The networks its rules and lists name.
    pub fn networks(&self) -> impl Iterator<Item = Prefix> + '_ {
        let lists = self.groups.iter().filter_map(|group| match &group.policy {
            Policy::Geo(geo) => Some(geo.rules.keys()),
            _ => None,
        });
        let named = lists.flatten().chain(self.rules.iter().flat_map(|rule| &rule.clients));
        named.filter_map(|place| match place {
            GeoPlace::Network(prefix) => Some(*prefix),
            _ => None,
        })
    }
}
