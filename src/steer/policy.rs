//! Policies at work: what a service's tree of groups makes of a place and of the regions' states.
//!
//! ```text
//!   tree + states ─▶ Picker ─┬─▶ cell(site, route)           what clients there get
//!   (one service)            ├─▶ walk(site, route, client)   how one client came to it, for people
//!                            └─▶ score_groups(site, route)   the decisions by score that clients there come to
//! ```
//!
//! Each group either has something for a place, or nothing: no eligible region below it. Then the
//! group above takes its next child. What is left to each client, such as shares, becomes a
//! [`Pick`]; all else is settled here, once per site and route.

mod alternative;
pub mod by_score;
pub mod eligible;
mod merge;
pub mod route;
pub mod scan;
pub mod shape;
mod terms;
mod walk;

use std::iter::{from_fn, once, once_with};

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Child, Group, GroupId, Model, Policy, RegionId, Service, Weight};

pub use walk::{Passed, Step};

use self::alternative::Alternative;
use self::eligible::{Eligible, ServiceCondition};
use self::route::Route;
use self::shape::{Shape, Standing};
use super::choice::cell::{Branch, Cell, Pick, Share, SplitBy};
use super::choice::pick::Identity;
use super::health::effective::RegionState;
use super::latency::rtt::model_rtt;
use super::latency::sites::Sites;
use super::planner::Planned;
use super::planner::score_group::ScoreGroup;

/// Regions whose scores are further apart than this do not share a place's clients: the share
/// of the worse would be below e^-4, 1.8 %.
pub const TIER_MS: f64 = 20.0;
/// The softness of the choice within a tier: a region this much worse gets 1/e of the share.
const SOFTNESS_MS: f64 = 5.0;
/// Differences of scores are told apart in these steps: too fine to matter, and equal differences
/// stay equal whatever was added up to get there.
const SHARE_STEP_MS: f64 = 1.0 / 1024.0;
/// Children this near one another are equally near, and share clients alike.
const ALIKE_MS: f64 = 1e-6;

/// The inputs that every service's picks are made from.
#[derive(Clone, Copy)]
pub struct PlanInputs<'a> {
    pub model: &'a Model,
    /// Indexed by [`RegionId`].
    pub states: &'a [RegionState],
    /// Indexed by [`RegionId`].
    pub identities: &'a [Identity],
    /// `None` only where no service asks how far anything is.
    pub sites: Option<&'a Sites>,
    /// Of the same sites.
    pub planned: Option<&'a Planned>,
    pub seed: u64,
}

/// One service, ready to pick for places.
pub struct Picker<'a> {
    inputs: PlanInputs<'a>,
    service: &'a Service,
    shape: &'a Shape,
    standing: &'a Standing,
}

/// The groups where some clients begin, and what of their regions is eligible.
#[derive(Clone, Copy)]
struct Entry<'a> {
    /// Tried in this order.
    groups: &'a [GroupId],
    eligible: &'a Eligible,
}

/// The clients that a pick is made for.
struct Client<'a> {
    site: usize,
    route: &'a Route,
    eligible: &'a Eligible,
}

impl<'a> Picker<'a> {
    /// `shape` and `standing` are of this service, and of the states among the inputs.
    pub fn of(inputs: PlanInputs<'a>, service: &'a Service, shape: &'a Shape, standing: &'a Standing) -> Picker<'a> {
        Picker { inputs, service, shape, standing }
    }

    /// The way that the clients of a place are sent.
    pub fn route(&self, atlas: &Atlas, place: PlaceId) -> Route {
        self.shape.router.route(&self.service.policies, atlas, place)
    }

    /// The way that all clients are sent, where neither rules nor lists look at them.
    pub fn route_of_all(&self) -> Route {
        self.shape.router.route_of_all(&self.service.policies)
    }

    /// The fence that these clients are in, into the rules.
    pub fn fence_of(&self, route: &Route) -> Option<u16> {
        let is_fence = |rule: &u16| self.service.policies.rules.get(usize::from(*rule)).is_some_and(|rule| rule.fence);
        route.rule.filter(is_fence)
    }

    /// The cell of clients at a site that are sent this way.
    pub fn cell(&self, site: usize, route: &Route) -> Cell {
        let entry = self.entry_of(route);
        let client = Client { site, route, eligible: entry.eligible };
        let picks = entry.groups.iter().filter_map(|&group| self.pick(group, &client, None));
        // Every entry has regions, and of them some are eligible.
        let pick = Pick::first_of(picks).unwrap_or(Pick::One(self.service.regions[0]));
        Cell { pick, condition: entry.eligible.condition }
    }

    /// The decisions by score these clients come to, and the part of them each: 0 to 1, summing
    /// to 1 at most. The others are sent somewhere without one.
    pub fn score_groups(&self, site: usize, route: &Route) -> Vec<(&ScoreGroup, f64)> {
        let entry = self.entry_of(route);
        let client = Client { site, route, eligible: entry.eligible };
        let mut found = Vec::new();
        if let Some(&group) = entry.groups.iter().find(|group| self.has_any(**group, &client)) {
            self.add_score_groups(group, &client, 1.0, &mut found);
        }
        found
    }

    /// Tells whether clients of one site may come to different decisions by score, or clients of some sites
    /// to none.
    pub fn splits_score_groups(&self) -> bool {
        let below_others = |id: GroupId| self.shape.score_groups.get(id.index()).is_none_or(Option::is_none);
        self.shape.score_groups.iter().any(Option::is_some) && self.service.policies.entries().any(below_others)
    }

    fn entry_of(&self, route: &Route) -> Entry<'a> {
        let at = route.rule.map_or(0, |rule| usize::from(rule) + 1);
        let at = if at < self.standing.entries.len() { at } else { 0 };
        Entry { groups: &self.shape.entries[at].groups, eligible: &self.standing.entries[at] }
    }

    /// `None`: nothing below is eligible. `parent`: the identity of the group that clients were hashed to before this
    /// one.
    fn pick(&self, id: GroupId, client: &Client<'_>, parent: Option<Identity>) -> Option<Pick> {
        Pick::first_of(self.alternatives(id, client, parent).filter_map(Alternative::into_pick))
    }

    /// The alternatives a group has for a client, in the order it is tried; made one by one, as they are asked for.
    fn alternatives<'s>(
        &'s self,
        id: GroupId,
        client: &'s Client<'_>,
        parent: Option<Identity>,
    ) -> Box<dyn Iterator<Item = Alternative> + 's> {
        let group = self.service.policies.group(id);
        let child = move |child: &Child| self.child(child, client, parent);
        let one = move |of: &Child| Some(Alternative::One(*of, child(of)?));
        let weighed = |weights: &[Weight]| weighed(self.branches(&group.children, weights, client, parent));
        match &group.policy {
            Policy::Score => Box::new(self.by_score(id, client, parent)),
            Policy::Nearest | Policy::Latency => Box::new(self.by_nearness(group, client, parent)),
            Policy::Failover => Box::new(group.children.iter().filter_map(one)),
            Policy::Geo(_) => Box::new(self.in_order(id, client).filter_map(one)),
            Policy::Stage { .. } => {
                let active = self.service.policies.active_child(group, self.shape.stage).map(Child::Group);
                Box::new(active.into_iter().filter_map(move |active| one(&active)))
            }
            Policy::Weighted(weights) => Box::new(once(Alternative::Split(SplitBy::Key, weighed(weights)))),
            Policy::Sticky(weights) => Box::new(once(Alternative::Split(SplitBy::Network, weighed(weights)))),
            Policy::Multi { answers, weights } => Box::new(once(Alternative::Many(*answers, weighed(weights)))),
            Policy::Canary { share } => {
                let mut halves = group.children.iter().map(child);
                let of = [halves.next().flatten(), halves.next().flatten()];
                let share = self.shape.canary.unwrap_or(*share);
                Box::new(once(Alternative::Cohort { share, salt: self.shape.names[id.index()], of }))
            }
        }
    }

    fn child(&self, child: &Child, client: &Client<'_>, parent: Option<Identity>) -> Option<Pick> {
        match *child {
            Child::Region(region) => client.eligible.has(region).then(|| self.region(region, client.eligible)),
            Child::Group(group) => self.pick(group, client, parent),
        }
    }

    fn region(&self, region: RegionId, eligible: &Eligible) -> Pick {
        let shed = self.inputs.states.get(region.index()).map_or(0.0, |state| state.shed);
        match Weight::new(shed) {
            // With nothing better left, there is nowhere to shed to.
            Some(shed) if eligible.condition == ServiceCondition::Normal && shed.get() > 0.0 => {
                let salt = self.identity(region).within(Identity::of(self.inputs.seed, "shed"));
                Pick::Shedding { region, shed, salt }
            }
            _ => Pick::One(region),
        }
    }

    /// Those of the children that have something, with their weights.
    fn branches(
        &self,
        children: &[Child],
        weights: &[Weight],
        client: &Client<'_>,
        parent: Option<Identity>,
    ) -> Vec<Branch> {
        let branch = |(index, child): (usize, &Child)| {
            let weight = weights.get(index).copied().unwrap_or(Weight::ONE);
            self.branch(child, weight, client, parent)
        };
        children.iter().enumerate().filter_map(branch).collect()
    }

    /// A child among others that clients are hashed to. Inside of it they are hashed anew.
    fn branch(&self, child: &Child, weight: Weight, client: &Client<'_>, parent: Option<Identity>) -> Option<Branch> {
        let identity = self.among(child, parent);
        Some(Branch { identity, weight, pick: self.child(child, client, Some(identity))? })
    }

    /// The identity of a child among those that clients are hashed to.
    fn among(&self, child: &Child, parent: Option<Identity>) -> Identity {
        let own = match *child {
            Child::Region(region) => self.identity(region),
            Child::Group(group) => self.shape.names[group.index()],
        };
        parent.map_or(own, |parent| own.within(parent))
    }

    /// The nearest children, then those farther; those equally near share clients alike.
    fn by_nearness<'s>(
        &'s self,
        group: &'s Group,
        client: &'s Client<'_>,
        parent: Option<Identity>,
    ) -> impl Iterator<Item = Alternative> {
        let mut children: Vec<(f64, &Child)> =
            group.children.iter().map(|child| (self.figure_ms(group, child, client), child)).collect();
        children.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut left = children.into_iter().peekable();
        from_fn(move || {
            let (mut last_ms, nearest) = left.next()?;
            let mut branches = Vec::from_iter(self.branch(nearest, Weight::ONE, client, parent));
            while let Some((ms, alike)) = left.next_if(|(ms, _)| ms - last_ms <= ALIKE_MS) {
                branches.extend(self.branch(alike, Weight::ONE, client, parent));
                last_ms = ms;
            }
            Some(Alternative::Split(SplitBy::Key, branches))
        })
    }

    /// The figure that a group compares its children by, in milliseconds: of a region, or of the best
    /// eligible one in a group.
    fn figure_ms(&self, group: &Group, child: &Child, client: &Client<'_>) -> f64 {
        self.best_of(child, client, |region| match &group.policy {
            Policy::Score => self.inputs.total_ms(self.service, client.site, region),
            policy => self.far_ms(policy, client.site, region) + self.service.bias_ms(region),
        })
    }

    /// The distance of a region, in milliseconds, as this policy counts it.
    fn far_ms(&self, policy: &Policy, site: usize, region: RegionId) -> f64 {
        let Some(sites) = self.inputs.sites else { return 0.0 };
        match policy {
            Policy::Nearest => model_rtt(sites.position(site), self.inputs.model.region(region).coordinates).ms,
            _ => sites.rtt_ms(self.inputs.model, site, region),
        }
    }

    /// The least that `count` says of a region, or of the eligible ones in a group.
    fn best_of(&self, child: &Child, client: &Client<'_>, count: impl Fn(RegionId) -> f64) -> f64 {
        match *child {
            Child::Region(region) => count(region),
            Child::Group(group) => {
                let eligible = self.shape.below[group.index()].iter().filter(|region| client.eligible.has(**region));
                eligible.map(|&region| count(region)).fold(f64::INFINITY, f64::min)
            }
        }
    }

    /// The planner's shares where there are any; then tier by tier.
    fn by_score<'s>(
        &'s self,
        id: GroupId,
        client: &'s Client<'_>,
        parent: Option<Identity>,
    ) -> impl Iterator<Item = Alternative> {
        let planned = self.planned(id, client, parent);
        planned.into_iter().chain(once_with(move || self.by_tier(id, client, parent)).flatten())
    }

    fn by_tier<'s>(
        &'s self,
        id: GroupId,
        client: &'s Client<'_>,
        parent: Option<Identity>,
    ) -> impl Iterator<Item = Alternative> {
        let group = self.service.policies.group(id);
        let totals: Vec<f64> = group.children.iter().map(|child| self.figure_ms(group, child, client)).collect();
        let mut tiers = vec![NO_TIER; totals.len()];
        (0..).map_while(move |tier| {
            let best = take_tier(&totals, &mut tiers, tier)?;
            let inside = (0..totals.len()).filter(|&index| tiers[index] == tier);
            let branches = inside.filter_map(|index| {
                let behind_ms = steps_behind(totals[index], best) * SHARE_STEP_MS;
                let weight = Weight::new((-behind_ms / SOFTNESS_MS).exp())?;
                self.branch(&group.children[index], weight, client, parent)
            });
            Some(Alternative::Split(SplitBy::Key, weighed(branches.collect())))
        })
    }

    /// The planner's shares of a site's clients that come to a group; `None` where nothing is planned.
    fn shares(&self, id: GroupId, site: usize) -> Option<&'a [Share]> {
        let score_group = self.shape.score_groups.get(id.index())?.as_ref()?;
        self.inputs.planned?.shares(score_group, site)
    }

    /// The planner's shares, of the regions that are still eligible; `None` where nothing is planned.
    fn planned(&self, id: GroupId, client: &Client<'_>, parent: Option<Identity>) -> Option<Alternative> {
        let shares = self.shares(id, client.site)?;
        let branch = |&Share { region, weight }: &Share| {
            self.branch(&Child::Region(region), Weight::new(weight)?, client, parent)
        };
        Some(Alternative::Split(SplitBy::Key, weighed(shares.iter().filter_map(branch).collect())))
    }

    /// The children of a `geo` group as they are tried: the lists for the place, then in order.
    fn in_order<'s>(&'s self, id: GroupId, client: &Client<'_>) -> impl Iterator<Item = &'s Child> + use<'s, 'a> {
        let children = &self.service.policies.group(id).children;
        let listed: Vec<u16> = self.shape.router.preferred(&self.service.policies, id, client.route).collect();
        listed.into_iter().filter_map(|index| children.get(usize::from(index))).chain(children)
    }

    fn identity(&self, region: RegionId) -> Identity {
        self.inputs.identities.get(region.index()).copied().unwrap_or_default()
    }

    /// Tells whether a child has anything eligible.
    fn has(&self, child: &Child, client: &Client<'_>) -> bool {
        match *child {
            Child::Region(region) => client.eligible.has(region),
            Child::Group(group) => self.has_any(group, client),
        }
    }

    fn has_any(&self, id: GroupId, client: &Client<'_>) -> bool {
        self.shape.below[id.index()].iter().any(|region| client.eligible.has(*region))
    }

    fn add_score_groups<'s>(
        &'s self,
        id: GroupId,
        client: &Client<'_>,
        of: f64,
        found: &mut Vec<(&'s ScoreGroup, f64)>,
    ) {
        if let Some(score_group) = self.shape.score_groups.get(id.index()).and_then(Option::as_ref) {
            match found.iter_mut().find(|(known, _)| *known == score_group) {
                Some((_, part)) => *part += of,
                None => found.push((score_group, of)),
            }
            return;
        }
        for (child, part) in self.parts(id, client) {
            self.add_score_groups(child, client, of * part, found);
        }
    }

    /// The groups among a group's children that clients go on to, with the part of each.
    fn parts(&self, id: GroupId, client: &Client<'_>) -> Vec<(GroupId, f64)> {
        let group = self.service.policies.group(id);
        let has = |child: &Child| self.has(child, client);
        fn only(child: Option<&Child>) -> Vec<(&Child, f64)> {
            child.map(|child| vec![(child, 1.0)]).unwrap_or_default()
        }
        let parts: Vec<(&Child, f64)> = match &group.policy {
            Policy::Failover => only(group.children.iter().find(|child| has(child))),
            Policy::Geo(_) => only(self.in_order(id, client).find(|child| has(child))),
            Policy::Stage { .. } => {
                let stage = self.service.policies.active_child(group, self.shape.stage);
                return stage.map(|stage| (stage, 1.0)).into_iter().collect();
            }
            Policy::Score | Policy::Nearest | Policy::Latency => only(self.least(group, client)),
            Policy::Weighted(weights) | Policy::Sticky(weights) | Policy::Multi { weights, .. } => {
                let weight = |index: usize| weights.get(index).map_or(1.0, |weight| weight.get());
                let open = || group.children.iter().enumerate().filter(|(_, child)| has(child));
                let sum: f64 = open().map(|(index, _)| weight(index)).sum();
                let count = open().count() as f64;
                open().map(|(at, child)| (child, if sum > 0.0 { weight(at) / sum } else { 1.0 / count })).collect()
            }
            Policy::Canary { share } => match (group.children.first(), group.children.get(1)) {
                (Some(inside), Some(outside)) if has(inside) && has(outside) => {
                    let share = self.shape.canary.unwrap_or(*share).get();
                    vec![(inside, share), (outside, 1.0 - share)]
                }
                (inside, outside) => only(inside.filter(|child| has(child)).or(outside)),
            },
        };
        let groups = parts.into_iter().filter_map(|(child, part)| match child {
            Child::Group(group) => Some((*group, part)),
            Child::Region(_) => None,
        });
        groups.collect()
    }

    fn least<'s>(&self, group: &'s Group, client: &Client<'_>) -> Option<&'s Child> {
        let of_eligible =
            |child: &Child| if self.has(child, client) { self.figure_ms(group, child, client) } else { f64::INFINITY };
        group.children.iter().min_by(|a, b| of_eligible(a).total_cmp(&of_eligible(b)))
    }
}

/// Those that weigh anything; where none does, all of them, alike.
fn weighed(mut branches: Vec<Branch>) -> Vec<Branch> {
    if branches.iter().any(|branch| branch.weight.get() > 0.0) {
        branches.retain(|branch| branch.weight.get() > 0.0);
    } else {
        branches.iter_mut().for_each(|branch| branch.weight = Weight::ONE);
    }
    branches
}

/// Each child's tier, from 0, in the order of `totals`: the best and all within [`TIER_MS`] of it,
/// then the best of the rest and all within that of it, and so on.
///
/// Cut over *all* regions, whatever their health, so that a region that is lost moves only its own
/// clients: within a tier the others keep theirs (rendezvous), and a tier that is lost as a whole
/// had no other clients.
pub fn tiers(totals: &[f64]) -> Vec<u32> {
    let mut tiers = vec![NO_TIER; totals.len()];
    let mut tier = 0;
    while take_tier(totals, &mut tiers, tier).is_some() {
        tier += 1;
    }
    tiers
}

/// Of those in no tier yet, puts the best and all within [`TIER_MS`] of it into this one. The best
/// total; `None` where none is left.
fn take_tier(totals: &[f64], tiers: &mut [u32], tier: u32) -> Option<f64> {
    let left = || tiers.iter().zip(totals).filter(|(tier, _)| **tier == NO_TIER).map(|(_, total)| *total);
    let best = left().min_by(f64::total_cmp)?;
    let is_far = |total: f64| total - best > TIER_MS;
    for (of, _) in tiers.iter_mut().zip(totals).filter(|(of, total)| **of == NO_TIER && !is_far(**total)) {
        *of = tier;
    }
    Some(best)
}

/// No tier has this number: there are at most as many as regions.
const NO_TIER: u32 = u32::MAX;

/// The number of [`SHARE_STEP_MS`] that a total is behind the best of its tier.
fn steps_behind(total: f64, best: f64) -> f64 {
    ((total - best) / SHARE_STEP_MS).round()
}

#[cfg(test)]
mod tests;
