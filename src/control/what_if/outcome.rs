//! The differences between two moments: who moves where, and what that does to regions.
//!
//! Two [`Placed`] come in, whose clients are the same in the same order; an [`Outcome`] goes out, the
//! object that the API, `--json` and the tables of the command line are made of.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::steer::figure::rounded;
use crate::steer::health::effective::EffectiveState;
use crate::steer::policy::eligible::ServiceCondition;

use super::placed::{Clients, Counted, Placed, PlacedRegion};

/// Below this part of some clients, a move is rounding.
const LEAST_PART: f64 = 1e-9;

/// The effects of a change.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    pub counted: Counted,
    pub before: Totals,
    pub after: Totals,
    /// The part of the demand after that is answered with another region than before.
    pub moved: f64,
    /// The same as a part of the whole, 0 to 1.
    pub moved_ratio: f64,
    /// The largest first.
    pub moves: Vec<Move>,
    /// By name, those of both.
    pub regions: Vec<RegionOutcome>,
    /// Regions that would have more than they can take.
    pub over_capacity: Vec<String>,
    /// Demand of which no service is left, or that is nowhere.
    pub unanswered: f64,
    /// Services whose condition changes, or would not be normal.
    pub services: Vec<ServiceOutcome>,
    /// Remarks: what there is to know besides.
    pub notes: Vec<String>,
}

/// The whole of one moment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub amount: f64,
    /// The mean over all that is answered; `None`: nothing is.
    pub rtt_ms: Option<f64>,
    /// Dollars per million requests, likewise.
    pub cost: Option<f64>,
    /// Load beyond what regions can take, where that is known.
    pub beyond_capacity: f64,
    /// The way clients are shared out: `planned`, or `by price` and why.
    pub by: String,
}

/// Demand that one region loses to another. `None`: nobody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    pub from: Option<String>,
    pub to: Option<String>,
    pub amount: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RegionOutcome {
    /// Qualified.
    pub name: String,
    /// `None`: not there then.
    pub before: Option<RegionMoment>,
    pub after: Option<RegionMoment>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RegionMoment {
    #[serde(rename = "state")]
    pub effective: EffectiveState,
    pub load: f64,
    pub capacity: Option<f64>,
    /// Load over capacity; `None` where places were counted, or no capacity is known.
    pub utilisation: Option<f64>,
    /// The load that it last reported.
    pub reported: Option<f64>,
    pub price_ms: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOutcome {
    pub name: String,
    /// The fence it is of, such as `rule 2`; `None`: clients that no rule is for.
    pub fence: Option<String>,
    /// `None`: not there then.
    pub before: Option<ServiceCondition>,
    pub after: Option<ServiceCondition>,
}

/// The changes from one to the other.
pub fn compare(before: &Placed, after: &Placed) -> Outcome {
    let moves = moves(before, after);
    let moved = sum(moves.iter().map(|one| one.amount));
    let amount = sum(after.clients.iter().map(|clients| clients.amount));
    let regions = regions(before, after);
    let over = |region: &RegionOutcome| {
        region.after.as_ref().and_then(|after| after.utilisation).is_some_and(|utilisation| utilisation > 1.0)
    };
    let unanswered = after.clients.iter().filter(|clients| clients.on.is_empty()).map(|clients| clients.amount);
    Outcome {
        counted: after.counted,
        before: totals(before),
        after: totals(after),
        moved,
        moved_ratio: if amount > 0.0 { moved / amount } else { 0.0 },
        moves,
        over_capacity: regions.iter().filter(|region| over(region)).map(|region| region.name.clone()).collect(),
        regions,
        unanswered: sum(unanswered),
        services: services(before, after),
        notes: notes(after),
    }
}

/// Of nothing, the library's is -0, which nobody wants to read.
fn sum(amounts: impl Iterator<Item = f64>) -> f64 {
    amounts.fold(0.0, |sum, amount| sum + amount)
}

fn notes(after: &Placed) -> Vec<String> {
    let mut notes = after.notes.clone();
    if after.counted == Counted::Places {
        notes.push(why_places(after));
    }
    if after.left_out > 0 {
        notes.push(format!("places were not counted for {} more services", after.left_out));
    }
    notes
}

/// The facts that are known where demand is not.
fn why_places(after: &Placed) -> String {
    let reported: Vec<f64> = after.regions.iter().filter_map(|region| region.reported).collect();
    let all = grouped(reported.iter().fold(0.0, |sum, load| sum + load));
    let known = match (after.asked, reported.is_empty()) {
        (false, false) => {
            format!("no queries were answered yet, so where clients are is not known; regions report {all} in all")
        }
        (false, true) => {
            "no demand is known: no queries were answered yet, and no region has reported a load".to_owned()
        }
        (true, true) => "no demand is known: queries were answered, but no region has reported a load".to_owned(),
        (true, false) => {
            format!("what regions report, {all} in all, was not made sense of yet: that takes half a minute of queries")
        }
    };
    format!("{known}: places are counted, each as one")
}

/// `38,500`.
fn grouped(value: f64) -> String {
    let digits = rounded(value, 0);
    let start = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits.char_indices().flat_map(|(at, digit)| start(at).then_some(',').into_iter().chain([digit])).collect()
}

fn totals(placed: &Placed) -> Totals {
    let (mut answered, mut rtt, mut cost) = (0.0, 0.0, 0.0);
    for clients in &placed.clients {
        for on in &clients.on {
            let amount = clients.amount * on.part;
            answered += amount;
            rtt += amount * on.rtt_ms;
            cost += amount * placed.regions.get(on.region).map_or(0.0, |region| region.cost);
        }
    }
    let mean = |sum: f64| (answered > 0.0).then(|| sum / answered);
    let beyond = |region: &PlacedRegion| (region.load - region.capacity.unwrap_or(f64::INFINITY)).max(0.0);
    Totals {
        amount: sum(placed.clients.iter().map(|clients| clients.amount)),
        rtt_ms: mean(rtt),
        cost: mean(cost),
        beyond_capacity: match placed.counted {
            Counted::Demand => sum(placed.regions.iter().map(beyond)),
            Counted::Places => 0.0,
        },
        by: placed.by.clone(),
    }
}

/// The moves, where what each region loses of some clients goes to those that gain, in proportion.
fn moves(before: &Placed, after: &Placed) -> Vec<Move> {
    let mut sums: BTreeMap<(Option<&str>, Option<&str>), f64> = BTreeMap::new();
    for (old, new) in before.clients.iter().zip(&after.clients) {
        let (old, amount, new) = (parts(before, old), new.amount, parts(after, new));
        let (lost, gained) = (surplus(&old, &new), surplus(&new, &old));
        let all: f64 = gained.iter().map(|(_, part)| part).sum();
        for (from, lost) in &lost {
            for (to, gained) in &gained {
                *sums.entry((*from, *to)).or_default() += amount * lost * gained / all;
            }
        }
    }
    let owned = |name: Option<&str>| name.map(str::to_owned);
    let one =
        |((from, to), amount): ((Option<&str>, Option<&str>), f64)| Move { from: owned(from), to: owned(to), amount };
    let mut moves: Vec<Move> = sums.into_iter().map(one).collect();
    moves.sort_by(|one, other| other.amount.total_cmp(&one.amount));
    moves
}

type Parts<'a> = BTreeMap<Option<&'a str>, f64>;

/// The parts that regions have in one and not in the other.
fn surplus<'a>(one: &Parts<'a>, other: &Parts<'_>) -> Vec<(Option<&'a str>, f64)> {
    let more = |(name, part): (&Option<&'a str>, &f64)| {
        let more = part - other.get(name).copied().unwrap_or(0.0);
        (more > LEAST_PART).then_some((*name, more))
    };
    one.iter().filter_map(more).collect()
}

/// Each region's part of some clients by its name; nobody's, where nobody answers them.
fn parts<'a>(placed: &'a Placed, clients: &Clients) -> Parts<'a> {
    if clients.on.is_empty() {
        return BTreeMap::from([(None, 1.0)]);
    }
    let name = |region: usize| placed.regions.get(region).map(|region| region.name.as_str());
    clients.on.iter().map(|on| (name(on.region), on.part)).collect()
}

fn regions(before: &Placed, after: &Placed) -> Vec<RegionOutcome> {
    let by_name = |placed: &Placed| -> BTreeMap<String, RegionMoment> {
        let moment = |region: &PlacedRegion| RegionMoment {
            effective: region.effective,
            load: region.load,
            capacity: region.capacity,
            utilisation: region.capacity.filter(|_| placed.counted == Counted::Demand).map(|all| region.load / all),
            reported: region.reported,
            price_ms: region.price_ms,
        };
        placed.regions.iter().map(|region| (region.name.clone(), moment(region))).collect()
    };
    let (mut before, mut after) = (by_name(before), by_name(after));
    let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    let one = |name: String| RegionOutcome { before: before.remove(&name), after: after.remove(&name), name };
    names.into_iter().map(one).collect()
}

fn services(before: &Placed, after: &Placed) -> Vec<ServiceOutcome> {
    let by_name = |placed: &Placed| -> BTreeMap<(String, Option<String>), ServiceCondition> {
        let fences = placed.services.iter().flat_map(|service| {
            let named = |(rule, condition): (&String, &ServiceCondition)| {
                ((service.name.clone(), Some(rule.clone())), *condition)
            };
            service.fences_out.iter().map(named)
        });
        fences.chain(placed.services.iter().map(|service| ((service.name.clone(), None), service.condition))).collect()
    };
    let (before, after) = (by_name(before), by_name(after));
    // Fences that are not out are not told of: those of a service that is there are normal.
    let condition = |of: &BTreeMap<(String, Option<String>), ServiceCondition>, key: &(String, Option<String>)| {
        let there = of.contains_key(&(key.0.clone(), None));
        of.get(key).copied().or_else(|| (there && key.1.is_some()).then_some(ServiceCondition::Normal))
    };
    let names: BTreeSet<&(String, Option<String>)> = before.keys().chain(after.keys()).collect();
    let one = |key: &(String, Option<String>)| {
        let (before, after) = (condition(&before, key), condition(&after, key));
        let shaky = after.is_some_and(|condition| condition != ServiceCondition::Normal);
        let (name, fence) = key.clone();
        (before != after || shaky).then_some(ServiceOutcome { name, fence, before, after })
    };
    names.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::health::effective::Override;

    #[test]
    fn where_demand_is_not_known_what_is_known_is_said() {
        let region = |reported| PlacedRegion {
            name: "seoul@gslb.example".into(),
            effective: EffectiveState::Up,
            operator_override: Override::Auto,
            load: 0.0,
            capacity: None,
            configured: None,
            reported,
            used: 1.0,
            evidence: true,
            offered: 1.0,
            shed: 0.0,
            over_limit: false,
            price_ms: 0.0,
            cost: 0.0,
        };
        let said = |asked: bool, reported: [Option<f64>; 2]| {
            let placed = Placed {
                generation: 0,
                counted: Counted::Places,
                by: String::new(),
                asked,
                left_out: 0,
                notes: Vec::new(),
                regions: reported.map(region).into(),
                services: Vec::new(),
                clients: Vec::new(),
            };
            notes(&placed).join("\n")
        };
        let known = "no queries were answered yet, so where clients are is not known; regions report 38,500 in all: \
                     places are counted, each as one";
        assert_eq!(said(false, [Some(38_000.0), Some(500.0)]), known);
        assert!(said(false, [Some(0.0), None]).contains("regions report 0 in all"), "idle is not silent");
        assert!(
            said(false, [None, None]).starts_with("no demand is known: no queries were answered yet, and no region")
        );
        assert!(said(true, [None, None]).contains("queries were answered, but no region has reported"));
        assert!(said(true, [None, Some(999.6)]).starts_with("what regions report, 1,000 in all, was not"));
        assert_eq!([0.0, 999.0, 1e6, 123_456.0].map(grouped), ["0", "999", "1,000,000", "123,456"]);
    }
}
