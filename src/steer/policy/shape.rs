//! The two halves of a service's policies at work: what they are whatever the regions' health, and how the regions
//! stand now.
//!
//! A [`Shape`] is made once for all services alike. A [`Standing`] is small and made anew with every news of a region:
//! what is answered at once follows from it, before any table of cells has been made again.

use super::eligible::{Eligible, FenceOut, ServiceCondition};
use super::route::Router;
use crate::model::{Child, Group, GroupId, Policy, PolicyTree, RegionId, Service, Switched, Weight};
use crate::steer::choice::pick::Identity;
use crate::steer::health::effective::RegionState;
use crate::steer::planner::score_group::ScoreGroup;

/// A tree of policies, ready to be asked.
#[derive(Debug)]
pub struct Shape {
    pub router: Router,
    /// The stage an operator switched to; `None`: as the file says.
    pub(super) stage: Option<GroupId>,
    /// The part of clients an operator shifted the canary to; `None`: as the file says.
    pub(super) canary: Option<Weight>,
    /// By group: every region that may be reached through it.
    pub(super) below: Vec<Vec<RegionId>>,
    /// By group: who it is among others that clients are hashed to.
    pub(super) names: Vec<Identity>,
    /// By group: what the planner knows it as; `None` where it does not plan it.
    pub(super) score_groups: Vec<Option<ScoreGroup>>,
    /// For clients that no rule is for; then for those of each rule.
    pub(super) entries: Vec<EntryShape>,
    compares_groups: bool,
    /// The regions of a service that goes by their scores and nothing else.
    pub(super) scored: Option<Box<[RegionId]>>,
}

/// The groups where some clients begin.
#[derive(Debug)]
pub struct EntryShape {
    /// Tried in this order.
    pub(super) groups: Vec<GroupId>,
    /// All that may be reached from there; several times where several ways lead there.
    regions: Vec<RegionId>,
    /// The rule it is of where that is a fence.
    fence: Option<u16>,
}

impl Shape {
    pub fn of(service: &Service, switched: Switched, seed: u64) -> Shape {
        let (tree, Switched { stage, canary }) = (&service.policies, switched);
        let groups = || (0..tree.groups.len()).map(|index| GroupId(index as u16)); // as many groups as ids
        let below: Vec<Vec<RegionId>> = groups().map(|id| tree.regions_below(id, stage)).collect();
        let entry = |groups: Vec<GroupId>, fence| {
            let regions = groups.iter().flat_map(|id| &below[id.index()]).copied().collect();
            EntryShape { groups, regions, fence }
        };
        let root = std::iter::once(entry(vec![tree.root], None));
        let rules = tree.rules.iter().zip(0..).map(|(rule, index)| match rule.fence {
            true => entry(vec![rule.group], Some(index)),
            false => entry(vec![rule.group, tree.root], None),
        });
        Shape {
            router: Router::of(tree),
            stage,
            canary,
            entries: root.chain(rules).collect(),
            below,
            names: tree.groups.iter().map(|group| Identity::of(seed, &format!("group/{}", group.name))).collect(),
            score_groups: groups().map(|id| ScoreGroup::of(service, tree.group(id))).collect(),
            scored: scored(tree),
            compares_groups: tree.groups.iter().any(compares_groups),
        }
    }

    /// Tells whether a region that is lost can move clients who did not have it: groups are compared by the best of
    /// their regions, which may be another then.
    pub fn compares_groups(&self) -> bool {
        self.compares_groups
    }

    /// The regions of each entry, and whose fence it is: shapes alike in it stand alike.
    pub fn entries(&self) -> impl Iterator<Item = (&[RegionId], Option<u16>)> {
        self.entries.iter().map(|entry| (&entry.regions[..], entry.fence))
    }
}

fn scored(tree: &PolicyTree) -> Option<Box<[RegionId]>> {
    let group = tree.group(tree.root);
    let region = |child: &Child| match child {
        Child::Region(region) => Some(*region),
        Child::Group(_) => None,
    };
    let by_score = group.policy == Policy::Score && !tree.locates();
    group.children.iter().map(region).collect::<Option<_>>().filter(|_| by_score)
}

fn compares_groups(group: &Group) -> bool {
    group.policy.measures() && group.children.iter().any(|child| matches!(child, Child::Group(_)))
}

/// The regions of a shape as they stand: which may be answered now, to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// As the entries of the shape.
    pub(super) entries: Box<[Eligible]>,
    /// The condition for clients that no rule is for.
    pub condition: ServiceCondition,
    /// The fences whose own clients are on anything but [`ServiceCondition::Normal`], in the order of the rules.
    pub fences_out: Vec<FenceOut>,
    /// The regions that are answered to some of its clients though they are withdrawn, for want of others; sorted.
    pub last_resort: Vec<RegionId>,
    /// All clients are on [`ServiceCondition::Normal`].
    pub is_normal: bool,
}

impl Standing {
    pub fn of(shape: &Shape, states: &[RegionState]) -> Standing {
        let entries: Box<[Eligible]> = shape.entries.iter().map(|entry| Eligible::of(&entry.regions, states)).collect();
        let fences = shape.entries.iter().zip(&entries).filter_map(|(entry, eligible)| Some((entry.fence?, eligible)));
        let out = fences.map(|(rule, eligible)| FenceOut { rule, condition: eligible.condition });
        let at_last = entries.iter().filter(|eligible| eligible.condition.is_last_resort());
        let mut last_resort: Vec<RegionId> = at_last.flat_map(|eligible| eligible.regions()).collect();
        last_resort.sort_unstable();
        last_resort.dedup();
        Standing {
            condition: entries.first().map_or(ServiceCondition::Normal, |eligible| eligible.condition),
            fences_out: out.filter(|fence| fence.condition != ServiceCondition::Normal).collect(),
            last_resort,
            is_normal: entries.iter().all(|eligible| eligible.condition == ServiceCondition::Normal),
            entries,
        }
    }

    /// Tells whether a region may be answered to some client.
    pub fn answers(&self, region: RegionId) -> bool {
        self.entries.iter().any(|eligible| eligible.has(region))
    }

    /// The eligible regions for clients that no rule is for.
    pub fn of_all(&self) -> Option<&Eligible> {
        self.entries.first()
    }
}
