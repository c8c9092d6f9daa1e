//! The way a client came to its regions, group by group: for people.
//!
//! The alternatives of each group come from [`Picker::alternatives`], and what the client takes of them from
//! [`choice::cell`](crate::steer::choice::cell): the functions that answers are made with. The words are all that is
//! new.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alternative::Alternative;
use super::route::Route;
use super::{Client, Picker};
use crate::model::{Child, Group, GroupId, Policy, RegionId, Weight};
use crate::steer::choice::cell::{Asker, Branch, Foremost, Pick, Regions, Shed, half, split};
use crate::steer::choice::pick::Identity;
use crate::steer::figure::{percent, rounded, whole_percent};

/// One group that a client came through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The number of groups above it. From 0.
    pub depth: usize,
    /// Its name; `None`: the service itself.
    pub group: Option<String>,
    pub policy: Cow<'static, str>,
    /// The reason that brought the client here, where it is not simply that all clients begin here.
    pub because: Option<String>,
    /// In the order of the file.
    pub children: Vec<Passed>,
}

/// A region or group that was taken or passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Passed {
    pub name: String,
    pub taken: bool,
    pub why: String,
}

impl Picker<'_> {
    /// The groups a client at a site, sent this way, came through.
    pub fn walk(&self, site: usize, route: &Route, asker: &Asker) -> Vec<Step> {
        let entry = self.entry_of(route);
        let client = Client { site, route, eligible: entry.eligible };
        let is_kept = self.cell(site, route).pick.regions_as(asker, Shed::Heeded).is_some();
        let shed = if is_kept { Shed::Heeded } else { Shed::Ignored };
        let mut walk = Walk { picker: self, client, asker, shed, steps: Vec::new() };
        let mut because = route.rule.map(|rule| self.rule_in_words(usize::from(rule)));
        for &group in entry.groups {
            if walk.step(group, 0, because, None) {
                break;
            }
            because = Some("the rule has nothing for this client".to_owned());
        }
        walk.steps
    }

    fn rule_in_words(&self, index: usize) -> String {
        let fence = self.service.policies.rules.get(index).is_some_and(|rule| rule.fence);
        let fenced = if fence { ", a fence: they never leave it" } else { "" };
        format!("rule {} is for these clients{fenced}", index + 1)
    }
}

/// One client on its way.
struct Walk<'w, 'a> {
    picker: &'w Picker<'a>,
    client: Client<'w>,
    asker: &'w Asker,
    /// True where regions may shed the client.
    shed: Shed,
    steps: Vec<Step>,
}

/// A group as the client finds it.
struct Visit<'v> {
    id: GroupId,
    group: &'v Group,
    parent: Option<Identity>,
    alternatives: Vec<Alternative>,
    /// The alternative that the client takes; `None`: there is none, or all of them shed the client.
    taken: Option<usize>,
    /// By child: whether the client takes it.
    takes: Vec<bool>,
}

const NOTHING: &str = "nothing eligible";
const SHEDS: &str = "sheds this client for its load";

impl<'w> Walk<'w, '_> {
    /// False where nothing below the group is eligible, or all of it sheds the client.
    fn step(&mut self, id: GroupId, depth: usize, because: Option<String>, parent: Option<Identity>) -> bool {
        let visit = self.visit(id, parent);
        let group = visit.group;
        let passed = |(child, &taken): ((usize, &Child), &bool)| {
            let why = self.why(&visit, child);
            Passed { name: self.name(child.1), taken, why }
        };
        let children = group.children.iter().enumerate().zip(&visit.takes).map(passed).collect();
        let own = Some(&*group.name).filter(|name| !name.is_empty()).map(in_words);
        self.steps.push(Step { depth, group: own, policy: group.policy.as_str().into(), because, children });
        let taken = group.children.iter().zip(&visit.takes).filter(|(_, taken)| **taken);
        for (child, _) in taken {
            if let Child::Group(inner) = child {
                let parent = if visit.hashes() { Some(self.picker.among(child, parent)) } else { parent };
                self.step(*inner, depth + 1, None, parent);
            }
        }
        visit.taken.is_some()
    }

    fn visit(&self, id: GroupId, parent: Option<Identity>) -> Visit<'w> {
        let group = self.picker.service.policies.group(id);
        let alternatives: Vec<Alternative> = self.picker.alternatives(id, &self.client, parent).collect();
        let takes = alternatives.iter().map(|alternative| self.takes(alternative, group, parent));
        let (taken, takes) = match takes.enumerate().find(|(_, takes)| takes.contains(&true)) {
            Some((taken, takes)) => (Some(taken), takes),
            None => (None, vec![false; group.children.len()]),
        };
        Visit { id, group, parent, alternatives, taken, takes }
    }

    /// By child of the group: whether the client takes it of this alternative.
    fn takes(&self, alternative: &Alternative, group: &Group, parent: Option<Identity>) -> Vec<bool> {
        let children = group.children.iter();
        let hashed = |to: &[Identity]| {
            let is_hashed_to = |child: &Child| to.contains(&self.picker.among(child, parent));
            group.children.iter().map(is_hashed_to).collect()
        };
        let (asker, shed) = (self.asker, self.shed);
        match alternative {
            Alternative::One(one, pick) => {
                let is_kept = self.is_kept(pick);
                children.map(|child| is_kept && child == one).collect()
            }
            Alternative::Split(by, branches) => {
                let taken = split(branches, *by, asker, shed, &mut Regions::none());
                hashed(taken.map(|taken| branches[taken].identity).as_slice())
            }
            Alternative::Many(answers, branches) => {
                hashed(&Foremost::of(branches, *answers, asker, shed).identities().collect::<Vec<_>>())
            }
            Alternative::Cohort { share, salt, of } => {
                let is_inside = asker.key.is_in_cohort(*salt, share.get());
                let of = of.each_ref().map(Option::as_ref);
                let taken = half(of, is_inside, asker, shed, &mut Regions::none());
                (0..children.len()).map(|index| taken == Some(index)).collect()
            }
        }
    }

    /// Tells whether some region of these does not shed the client.
    fn is_kept(&self, pick: &Pick) -> bool {
        pick.regions_as(self.asker, self.shed).is_some()
    }

    fn name(&self, child: &Child) -> String {
        match child {
            Child::Region(region) => self.picker.inputs.model.region(*region).name.to_string(),
            Child::Group(inner) => in_words(&self.picker.service.policies.group(*inner).name),
        }
    }

    /// The reason why a child was taken, or passed over.
    fn why(&self, visit: &Visit<'_>, (index, child): (usize, &Child)) -> String {
        if !self.picker.has(child, &self.client) {
            return NOTHING.to_owned();
        }
        let is_taken = visit.takes.get(index) == Some(&true);
        match &visit.group.policy {
            Policy::Failover | Policy::Geo(_) => self.why_in_order(visit, child, is_taken).to_owned(),
            Policy::Weighted(_) | Policy::Sticky(_) | Policy::Multi { .. } => self.why_hashed(visit, child, is_taken),
            Policy::Score | Policy::Nearest | Policy::Latency => self.why_by_figure(visit, child),
            Policy::Canary { share } => self.why_canary(visit, index, *share),
            Policy::Stage { .. } => self.why_stage(visit, child, is_taken).to_owned(),
        }
    }

    fn why_in_order(&self, visit: &Visit<'_>, child: &Child, is_taken: bool) -> &'static str {
        let at = visit.alternatives.iter().position(|one| matches!(one, Alternative::One(of, _) if of == child));
        match (is_taken, self.shed) {
            (true, Shed::Heeded) => "the first that has something",
            (true, Shed::Ignored) => "the first that has something; all that have shed this client",
            (false, _) if visit.taken.is_none_or(|taken| at < Some(taken)) => SHEDS,
            (false, _) => "not needed: one before it has something",
        }
    }

    fn why_hashed(&self, visit: &Visit<'_>, child: &Child, is_taken: bool) -> String {
        let branches = visit.branches();
        let identity = self.picker.among(child, visit.parent);
        let Some(branch) = branches.iter().find(|branch| branch.identity == identity) else {
            return "its weight is 0".to_owned();
        };
        let sum: f64 = branches.iter().map(|branch| branch.weight.get()).sum();
        let share = format!("{} of clients", percent(branch.weight.get() / sum, 0));
        match visit.takes.iter().filter(|taken| **taken).count() {
            several @ 2.. if is_taken => format!("among the {several} this client hashes to"),
            _ if is_taken => format!("this client hashes to it, as {share} do"),
            _ if self.is_kept(&branch.pick) => format!("{share} hash to it; this one does not"),
            _ => SHEDS.to_owned(),
        }
    }

    fn why_by_figure(&self, visit: &Visit<'_>, child: &Child) -> String {
        let pick = self.picker.pick(visit.id, &self.client, visit.parent);
        let is_below = |region: &RegionId| match child {
            Child::Region(own) => own == region,
            Child::Group(inner) => self.picker.shape.below[inner.index()].contains(region),
        };
        let fractions = pick.as_ref().map(Pick::fractions).unwrap_or_default();
        let part: f64 = fractions.iter().filter(|(region, _)| is_below(region)).map(|(_, part)| part).sum();
        let ms = self.picker.figure_ms(visit.group, child, &self.client);
        format!("{} ms; {} of clients here", rounded(ms, 1), percent(part, 0))
    }

    fn why_canary(&self, visit: &Visit<'_>, index: usize, in_file: Weight) -> String {
        let shifted = self.picker.shape.canary;
        let share = shifted.unwrap_or(in_file);
        let is_inside = self.asker.key.is_in_cohort(self.picker.shape.names[visit.id.index()], share.get());
        let has_both = visit.group.children.iter().all(|child| self.picker.has(child, &self.client));
        let cohort = || {
            let is = if is_inside { "is" } else { "is not" };
            let by = match shifted {
                Some(_) => format!(", as an operator shifted it; the file says {}", whole_percent(in_file.get())),
                None => String::new(),
            };
            format!("this client {is} among the {} of the canary{by}", whole_percent(share.get()))
        };
        let why = match (&visit.takes[..], index) {
            ([true, _], 0) if has_both => return cohort(),
            ([false, _], 0) if has_both && !is_inside => return cohort(),
            ([true, _], 0) => "nothing else is eligible",
            ([true, _], _) => "the canary has this client",
            ([_, true], 1) if !has_both => "the canary has nothing eligible",
            ([_, true], 1) if is_inside => "the canary sheds this client",
            ([_, true], 1) => "all but the canary's clients",
            _ => SHEDS,
        };
        why.to_owned()
    }

    fn why_stage(&self, visit: &Visit<'_>, child: &Child, is_taken: bool) -> &'static str {
        let active = self.picker.service.policies.active_child(visit.group, self.picker.shape.stage);
        match active {
            Some(active) if *child != Child::Group(active) => "not active",
            Some(_) if !is_taken => SHEDS,
            _ if self.picker.shape.stage.is_some() => "an operator switched to it",
            _ => "active in the file",
        }
    }
}

impl Visit<'_> {
    /// Those that the client is hashed to one of, or some of.
    fn branches(&self) -> &[Branch] {
        match self.alternatives.first() {
            Some(Alternative::Split(_, branches) | Alternative::Many(_, branches)) => branches,
            _ => &[],
        }
    }

    /// Tells whether the client was hashed to the children it takes, so that it is hashed anew within them.
    fn hashes(&self) -> bool {
        let taken = self.taken.and_then(|taken| self.alternatives.get(taken));
        matches!(taken, Some(Alternative::Split(..) | Alternative::Many(..)))
    }
}

/// The service's own policy, beneath a canary, has no name.
fn in_words(name: &str) -> String {
    if name.is_empty() { "all others".to_owned() } else { name.to_owned() }
}
