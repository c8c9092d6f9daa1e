//! The verdict on one probe where several vantages judge together: nodes that probe the same endpoints from elsewhere.
//!
//! Pure: what each vantage says comes in, in any order; the common verdict goes out. Vantages whose own network is likely
//! to be the matter are left out before, by [`super::cut_off`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{ProbeId, VoteRule};

use super::verdict::Verdict;

/// The verdicts of one vantage, by names. Small where all is well: what is not listed is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vantage {
    /// The regions it judges, by qualified name. The number stands for the endpoints and probes it has there: of a region
    /// that it has another number for, it says nothing.
    pub judges: Arc<BTreeMap<Arc<str>, u64>>,
    /// All verdicts but `up`, by qualified region name, endpoint label and probe. A probe without a verdict yet is listed
    /// as unknown.
    pub exceptions: BTreeMap<Arc<str>, Exceptions>,
}

/// The verdicts on one region's probes that are not up, by `Endpoint::label`.
pub type Exceptions = BTreeMap<Arc<str>, BTreeMap<ProbeId, Verdict>>;

impl Vantage {
    /// Tells whether it judges this region, with these endpoints and probes.
    pub fn judges(&self, region: &str, number: u64) -> bool {
        self.judges.get(region) == Some(&number)
    }

    /// The verdict on a probe of a region that it judges; `None`: it cannot judge it.
    pub fn says(&self, region: &str, endpoint: &str, probe: &ProbeId) -> Option<Verdict> {
        let exceptions = self.exceptions.get(region).and_then(|of| of.get(endpoint));
        let said = exceptions.and_then(|of| of.get(probe)).copied().unwrap_or(Verdict::Up);
        can_judge(said).then_some(said)
    }
}

/// Tells whether a vantage with this verdict has something to say.
pub fn can_judge(verdict: Verdict) -> bool {
    verdict != Verdict::Unknown
}

/// So many of the vantages that can judge say this, and that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub up: usize,
    pub suspect: usize,
    pub down: usize,
}

impl Tally {
    /// Counts verdicts; those that say nothing are left out.
    pub fn of(verdicts: impl IntoIterator<Item = Option<Verdict>>) -> Tally {
        let mut tally = Tally::default();
        for verdict in verdicts.into_iter().flatten() {
            match verdict {
                Verdict::Up => tally.up += 1,
                Verdict::Suspect => tally.suspect += 1,
                Verdict::Down => tally.down += 1,
                Verdict::Unknown => {}
            }
        }
        tally
    }

    /// The number of vantages that can judge.
    pub fn judging(self) -> usize {
        self.up + self.suspect + self.down
    }

    /// The common verdict; `None` where nobody can judge, or each goes by its own.
    pub fn verdict(self, rule: VoteRule) -> Option<Verdict> {
        let falls = match rule {
            VoteRule::Majority => self.down * 2 > self.judging(),
            VoteRule::Any => self.down > 0,
            VoteRule::Own => return None,
        };
        match self {
            _ if self.judging() == 0 => None,
            _ if falls => Some(Verdict::Down),
            // While it is open, answers live for a short time only.
            Tally { suspect: 0, down: 0, .. } => Some(Verdict::Up),
            _ => Some(Verdict::Suspect),
        }
    }

    /// The common verdict by heartbeats: each reaches one vantage alone, so that the one that heard it decides.
    pub fn verdict_by_heartbeats(self, rule: VoteRule) -> Option<Verdict> {
        match self {
            _ if rule == VoteRule::Own || self.judging() == 0 => None,
            Tally { up: 1.., .. } => Some(Verdict::Up),
            Tally { suspect: 1.., .. } => Some(Verdict::Suspect),
            _ => Some(Verdict::Down),
        }
    }

    /// For people: `2 of 3 vantages say down`, `up by 2 of 3 vantages`.
    pub fn told(self, voted: Verdict) -> String {
        let all = self.judging();
        let vantages = if all == 1 { "vantage" } else { "vantages" };
        let says = |count: usize| if count == 1 { "says" } else { "say" };
        match (voted, self) {
            (Verdict::Up, _) => format!("up by {} of {all} {vantages}", self.up),
            (_, Tally { down: 0, suspect, .. }) => format!("{suspect} of {all} {vantages} {} suspect", says(suspect)),
            (_, Tally { down, .. }) => format!("{down} of {all} {vantages} {} down", says(down)),
        }
    }
}

/// The vote on one probe, where it is not plainly up at all vantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// `None`: nobody can judge, so that this node's own verdict stays.
    pub verdict: Option<Verdict>,
    pub tally: Tally,
    /// Another vantage than this node says down.
    pub down_elsewhere: bool,
    /// This node's own verdict does not count: its network is likely to be the matter.
    pub is_cut_off: bool,
}

/// This node's own finding, where the vote stands in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnFinding {
    pub verdict: Option<Verdict>,
    pub since: Option<Instant>,
    /// As many vantages say what.
    pub tally: Tally,
}

/// The vantages that judge one region, and their word on it as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionVote {
    /// This node among them; those that are cut off are not.
    pub judging: usize,
    /// Of these, those to which the region is down.
    pub down: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Verdict::{Down, Suspect, Unknown, Up};

    fn voted(rule: VoteRule, verdicts: &[Verdict]) -> Option<Verdict> {
        Tally::of(verdicts.iter().copied().map(Some)).verdict(rule)
    }

    #[test]
    fn more_than_half_of_those_who_can_judge_take_it_down() {
        use VoteRule::{Any, Majority, Own};
        for (verdicts, majority, any) in [
            (&[Up, Up, Up][..], Some(Up), Some(Up)),
            (&[Up, Up, Down], Some(Suspect), Some(Down)),
            (&[Up, Down, Down], Some(Down), Some(Down)),
            (&[Up, Down], Some(Suspect), Some(Down)),
            (&[Suspect, Down, Down, Up], Some(Suspect), Some(Down)),
            (&[Up, Suspect, Up], Some(Suspect), Some(Suspect)),
            (&[Up, Unknown, Down, Down], Some(Down), Some(Down)),
            (&[Unknown, Up], Some(Up), Some(Up)),
            (&[Unknown, Unknown], None, None),
            (&[], None, None),
        ] {
            assert_eq!(voted(Majority, verdicts), majority, "{verdicts:?}");
            assert_eq!(voted(Any, verdicts), any, "{verdicts:?}");
            assert_eq!(voted(Own, verdicts), None, "{verdicts:?}: each by its own");
        }
    }

    #[test]
    fn whoever_hears_a_heartbeat_decides() {
        for rule in [VoteRule::Majority, VoteRule::Any] {
            let of = |verdicts: &[Verdict]| Tally::of(verdicts.iter().copied().map(Some)).verdict_by_heartbeats(rule);
            assert_eq!(of(&[Down, Up, Down]), Some(Up));
            assert_eq!(of(&[Down, Suspect, Down]), Some(Suspect));
            assert_eq!(of(&[Down, Unknown, Down]), Some(Down));
            assert_eq!(of(&[Unknown]), None);
        }
        assert_eq!(Tally { up: 1, ..Tally::default() }.verdict_by_heartbeats(VoteRule::Own), None);
    }

    #[test]
    fn the_count_is_a_sentence() {
        let tally = |up, suspect, down| Tally { up, suspect, down };
        assert_eq!(tally(1, 0, 2).told(Down), "2 of 3 vantages say down");
        assert_eq!(tally(2, 0, 1).told(Suspect), "1 of 3 vantages says down");
        assert_eq!(tally(2, 1, 0).told(Suspect), "1 of 3 vantages says suspect");
        assert_eq!(tally(2, 0, 0).told(Up), "up by 2 of 2 vantages");
        assert_eq!(tally(0, 0, 1).told(Down), "1 of 1 vantage says down");
    }

    #[test]
    fn what_a_vantage_does_not_list_is_up_and_what_it_does_not_know_it_does_not_judge() {
        let (region, probe) = (Arc::<str>::from("seoul@gslb.example"), ProbeId::default());
        let listed: Exceptions = [("a", Down), ("b", Unknown)]
            .into_iter()
            .map(|(endpoint, verdict)| (endpoint.into(), BTreeMap::from([(probe.clone(), verdict)])))
            .collect();
        let vantage = Vantage {
            judges: Arc::new(BTreeMap::from([(region.clone(), 7)])),
            exceptions: BTreeMap::from([(region.clone(), listed)]),
        };
        assert!(vantage.judges(&region, 7) && !vantage.judges(&region, 8) && !vantage.judges("oslo@gslb.example", 7));
        let says = |endpoint| vantage.says(&region, endpoint, &probe);
        assert_eq!((says("a"), says("b"), says("c")), (Some(Down), None, Some(Up)));
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Up), Just(Suspect), Just(Unknown), Just(Down)]
    }

    proptest! {
        #[test]
        fn one_that_lies_among_three_never_changes_what_the_others_agree_on(
            agreed in prop_oneof![Just(Up), Just(Suspect), Just(Down)], lie in any_verdict(),
        ) {
            let verdict = voted(VoteRule::Majority, &[agreed, lie, agreed]).expect("two can judge");
            prop_assert_eq!(verdict.serves(), agreed.serves());
            prop_assert!(verdict == agreed || verdict == Suspect, "{:?} {:?}: a shorter life at most", agreed, verdict);
        }

        #[test]
        fn no_order_matters_and_one_alone_gets_its_own_verdict(
            mut verdicts in prop::collection::vec(any_verdict(), 1..8), any: bool, own in any_verdict(),
        ) {
            let rule = if any { VoteRule::Any } else { VoteRule::Majority };
            let before = voted(rule, &verdicts);
            verdicts.reverse();
            prop_assert_eq!(before, voted(rule, &verdicts));
            prop_assert_eq!(voted(rule, &[own]), can_judge(own).then_some(own));
        }
    }
}
