//! How a client came to its regions, group by group: for people.
//!
//! Goes the way of [`Picker::pick`] once more, for one client, and says at each group who was passed
//! over and why. What is taken is worked out by the same functions; the words are all that is new.

use serde::Serialize;

use super::route::Route;
use super::{Client, Picker};
use crate::model::{Child, Group, GroupId, Policy, RegionId, Weight};
use crate::steer::choice::cell::{Asker, Pick, Regions, Shed, SplitBy};
use crate::steer::choice::pick::{Claim, Identity};
use crate::steer::figure::{percent, rounded};

/// One group that a client came through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// How many groups are above it. From 0.
    pub depth: usize,
    /// Its name; `None`: the service itself.
    pub group: Option<String>,
    pub policy: &'static str,
    /// What brought the client here, where it is not simply that all clients begin here.
    pub because: Option<String>,
    /// In the order of the file.
    pub children: Vec<Passed>,
}

/// A region or group that was taken or passed over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Passed {
    pub name: String,
    pub taken: bool,
    pub why: String,
}

impl Picker<'_> {
    /// The groups a client at a site, sent this way, came through.
    pub fn walk(&self, site: usize, route: &Route, asker: &Asker) -> Vec<Step> {
        let entry = self.entry_of(route);
        let client = Client { site, route, eligible: &entry.eligible };
        let all = Pick::first_of(entry.groups.iter().filter_map(|&group| self.pick(group, &client, None)));
        let heeded = all.is_none_or(|all| all.regions_as(asker, Shed::Heeded).is_some());
        let asking = &Asking { asker, shed: if heeded { Shed::Heeded } else { Shed::Ignored } };
        let mut steps = Vec::new();
        let mut because = route.rule.map(|rule| self.rule_in_words(usize::from(rule)));
        for &group in &entry.groups {
            if self.step(group, 0, because, &client, None, asking, &mut steps) {
                break;
            }
            because = Some("the rule has nothing for this client".to_owned());
        }
        steps
    }

    /// False where nothing below the group is eligible, or all of it sheds the client.
    #[allow(clippy::too_many_arguments)] // a recursion carries where it is
    fn step(
        &self,
        id: GroupId,
        depth: usize,
        because: Option<String>,
        client: &Client<'_>,
        parent: Option<Identity>,
        asking: &Asking<'_>,
        steps: &mut Vec<Step>,
    ) -> bool {
        let group = self.service.policies.group(id);
        let judged = self.judge(id, client, parent, asking);
        let name = |child: &Child| match child {
            Child::Region(region) => self.inputs.model.region(*region).name.to_string(),
            Child::Group(inner) => in_words(&self.service.policies.group(*inner).name),
        };
        let passed = group.children.iter().zip(&judged);
        let children = passed.map(|(child, Verdict { taken, why })| {
            let (name, why) = (name(child), why.clone());
            Passed { name, taken: *taken, why }
        });
        let policy = group.policy.as_str();
        let own = Some(&*group.name).filter(|name| !name.is_empty()).map(in_words);
        steps.push(Step { depth, group: own, policy, because, children: children.collect() });
        let taken = || group.children.iter().zip(&judged).filter(|(_, verdict)| verdict.taken);
        for (child, _) in taken() {
            if let Child::Group(inner) = child {
                let parent = if hashes(&group.policy) { Some(self.among(child, parent)) } else { parent };
                self.step(*inner, depth + 1, None, client, parent, asking, steps);
            }
        }
        taken().next().is_some()
    }

    /// What became of each child.
    fn judge(&self, id: GroupId, client: &Client<'_>, parent: Option<Identity>, asking: &Asking<'_>) -> Vec<Verdict> {
        let group = self.service.policies.group(id);
        match &group.policy {
            Policy::Failover => self.judge_in_order(group, (0..group.children.len()).collect(), client, parent, asking),
            Policy::Geo(_) => {
                let listed = self.router.preferred(id, client.route).map(usize::from);
                let order = listed.chain(0..group.children.len()).collect();
                self.judge_in_order(group, order, client, parent, asking)
            }
            Policy::Weighted(weights) | Policy::Multi { weights, .. } => {
                self.judge_hashed(id, weights, SplitBy::Key, client, parent, asking)
            }
            Policy::Sticky(weights) => self.judge_hashed(id, weights, SplitBy::Network, client, parent, asking),
            Policy::Score | Policy::Nearest | Policy::Latency => self.judge_by_outcome(id, client, parent, asking),
            Policy::Canary { share } => self.judge_canary(id, *share, client, parent, asking),
            Policy::Stage { .. } => {
                let active = self.service.policies.active_child(group, self.stage);
                let said = if self.stage.is_some() { "an operator switched to it" } else { "active in the file" };
                let of = |child: &Child| match active {
                    Some(active) if *child == Child::Group(active) => Verdict::taken(said),
                    _ => Verdict::passed("not active"),
                };
                group.children.iter().map(of).collect()
            }
        }
    }

    /// The first that has something, in this order; children may be there twice.
    fn judge_in_order(
        &self,
        group: &Group,
        order: Vec<usize>,
        client: &Client<'_>,
        parent: Option<Identity>,
        asking: &Asking<'_>,
    ) -> Vec<Verdict> {
        let picks: Vec<Option<Pick>> = group.children.iter().map(|child| self.child(child, client, parent)).collect();
        let keeps = |index: &usize| picks[*index].as_ref().is_some_and(|pick| asking.regions(pick).is_some());
        let taken = order.iter().find(|index| keeps(index)).copied();
        let place = |index: usize| order.iter().position(|&other| other == index);
        let reached = |index: usize| taken.is_none_or(|taken| place(index) < place(taken));
        let of = |(index, pick): (usize, &Option<Pick>)| match pick {
            None => Verdict::passed(NOTHING),
            Some(_) if taken == Some(index) => Verdict::taken(match asking.shed {
                Shed::Heeded => "the first that has something",
                Shed::Ignored => "the first that has something; all that have shed this client",
            }),
            Some(_) if reached(index) => Verdict::passed(SHEDS),
            Some(_) => Verdict::passed("not needed: one before it has something"),
        };
        picks.iter().enumerate().map(of).collect()
    }

    fn judge_hashed(
        &self,
        id: GroupId,
        weights: &[Weight],
        by: SplitBy,
        client: &Client<'_>,
        parent: Option<Identity>,
        asking: &Asking<'_>,
    ) -> Vec<Verdict> {
        let group = self.service.policies.group(id);
        let chosen = self.pick(id, client, parent).and_then(|pick| asking.regions(&pick));
        let several = chosen.as_ref().is_some_and(|regions| regions.as_slice().len() > 1);
        let none_weighs = !self.branches(&group.children, weights, client, parent).iter().any(|b| b.weight.get() > 0.0);
        let weight = |index: usize| match weights.get(index) {
            Some(weight) if !none_weighs => weight.get(),
            _ => 1.0,
        };
        // Of children that lead to the same region, the one that reaches furthest is the one.
        let claim = |index: usize| -> Option<(f64, RegionId)> {
            let child = &group.children[index];
            let pick = self.child(child, client, Some(self.among(child, parent)))?;
            let region = asking.regions(&pick)?.first();
            Some((Claim::of(by.key(asking.asker), self.among(child, parent), weight(index)).reach(), region))
        };
        let claims: Vec<Option<(f64, RegionId)>> = (0..group.children.len()).map(claim).collect();
        let sum: f64 = (0..claims.len()).filter(|&index| claims[index].is_some()).map(weight).sum();
        let best = |region: RegionId| {
            let of_region = claims.iter().flatten().filter(|(_, of)| *of == region);
            of_region.map(|(reach, _)| *reach).fold(0.0, f64::max)
        };
        let of = |index: usize| match claims[index] {
            None => Verdict::passed(NOTHING),
            Some(_) if weight(index) == 0.0 => Verdict::passed("its weight is 0"),
            Some((reach, region)) => {
                let share = format!("{} of clients", percent(weight(index) / sum, 0));
                let regions = chosen.as_ref().map(|regions| regions.as_slice()).unwrap_or_default();
                match regions.contains(&region) && reach >= best(region) {
                    true if several => Verdict::taken(&format!("among the {} this client hashes to", regions.len())),
                    true => Verdict::taken(&format!("this client hashes to it, as {share} do")),
                    false => Verdict::passed(&format!("{share} hash to it; this one does not, or is shed")),
                }
            }
        };
        (0..claims.len()).map(of).collect()
    }

    /// What is worked out for all clients here together: told from the outcome.
    fn judge_by_outcome(
        &self,
        id: GroupId,
        client: &Client<'_>,
        parent: Option<Identity>,
        asking: &Asking<'_>,
    ) -> Vec<Verdict> {
        let group = self.service.policies.group(id);
        let pick = self.pick(id, client, parent);
        let chosen = pick.as_ref().and_then(|pick| asking.regions(pick)).map(|regions| regions.first());
        let parts = pick.as_ref().map(Pick::fractions).unwrap_or_default();
        let regions = |child: &Child| match child {
            Child::Region(region) => vec![*region],
            Child::Group(inner) => self.below[inner.index()].clone(),
        };
        let ms = |child: &Child| {
            let count = |region| match group.policy {
                Policy::Score => self.total_ms(client.site, region),
                _ => self.far_ms(&group.policy, client.site, region) + self.service.bias_ms(region),
            };
            self.best_of(child, client, count)
        };
        let of = |child: &Child| {
            let regions = regions(child);
            if !regions.iter().any(|region| client.eligible.has(*region)) {
                return Verdict::passed(NOTHING);
            }
            let part: f64 = parts.iter().filter(|(region, _)| regions.contains(region)).map(|(_, part)| part).sum();
            let why = format!("{} ms; {} of clients here", rounded(ms(child), 1), percent(part, 0));
            match chosen.is_some_and(|chosen| regions.contains(&chosen)) {
                true => Verdict::taken(&why),
                false => Verdict::passed(&why),
            }
        };
        group.children.iter().map(of).collect()
    }

    fn judge_canary(
        &self,
        id: GroupId,
        share: Weight,
        client: &Client<'_>,
        parent: Option<Identity>,
        asking: &Asking<'_>,
    ) -> Vec<Verdict> {
        let group = self.service.policies.group(id);
        let picks: Vec<Option<Pick>> = group.children.iter().map(|child| self.child(child, client, parent)).collect();
        let is_inside = asking.asker.key.is_in_cohort(self.names[id.index()], share.get());
        let percent = 100.0 * share.get();
        let cohort = if is_inside { "is" } else { "is not" };
        let cohort = format!("this client {cohort} among the {percent} % of the canary");
        let keeps = |pick: &Pick| asking.regions(pick).is_some();
        let of_main = |pick: &Pick, why: &str| if keeps(pick) { Verdict::taken(why) } else { Verdict::passed(SHEDS) };
        match &picks[..] {
            [Some(canary), Some(_)] if is_inside && keeps(canary) => {
                vec![Verdict::taken(&cohort), Verdict::passed("the canary has this client")]
            }
            [Some(_), Some(main)] if is_inside => {
                vec![Verdict::passed(SHEDS), of_main(main, "the canary sheds this client")]
            }
            [Some(_), Some(main)] => vec![Verdict::passed(&cohort), of_main(main, "all but the canary's clients")],
            [Some(canary), None] => vec![of_main(canary, "nothing else is eligible"), Verdict::passed(NOTHING)],
            [None, Some(main)] => vec![Verdict::passed(NOTHING), of_main(main, "the canary has nothing eligible")],
            _ => picks.iter().map(|_| Verdict::passed(NOTHING)).collect(),
        }
    }

    fn rule_in_words(&self, index: usize) -> String {
        let fence = self.service.policies.rules.get(index).is_some_and(|rule| rule.fence);
        let fenced = if fence { ", a fence: they never leave it" } else { "" };
        format!("rule {} is for these clients{fenced}", index + 1)
    }
}

/// Who is being led, and whether regions may shed it.
struct Asking<'a> {
    asker: &'a Asker,
    shed: Shed,
}

impl Asking<'_> {
    /// The regions it gets of these; `None`: all of them shed it.
    fn regions(&self, pick: &Pick) -> Option<Regions> {
        pick.regions_as(self.asker, self.shed)
    }
}

struct Verdict {
    taken: bool,
    why: String,
}

const NOTHING: &str = "nothing eligible";
const SHEDS: &str = "sheds this client for its load";

impl Verdict {
    fn taken(why: &str) -> Verdict {
        Verdict { taken: true, why: why.to_owned() }
    }

    fn passed(why: &str) -> Verdict {
        Verdict { taken: false, why: why.to_owned() }
    }
}

/// Whether clients are hashed to its children, so that they are hashed anew within.
fn hashes(policy: &Policy) -> bool {
    use Policy::{Latency, Multi, Nearest, Score, Sticky, Weighted};
    matches!(policy, Weighted(_) | Sticky(_) | Multi { .. } | Score | Nearest | Latency)
}

/// The service's own policy, beneath a canary, has no name.
fn in_words(name: &str) -> String {
    if name.is_empty() { "all others".to_owned() } else { name.to_owned() }
}
