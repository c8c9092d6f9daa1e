//! The vantages that have lost their own network: they see most endpoints down, and the others see these up.
//!
//! Pure, and the same at every node: what all vantages say comes in, who is cut off goes out. Nothing depends on the order
//! or on the names of vantages. One part of addresses is judged at a time: whoever lacks IPv6 still judges IPv4.

use std::collections::BTreeSet;

use crate::model::RegionId;

use super::verdict::Verdict;

/// One endpoint, as each vantage sees it, in one order throughout; `None`: it cannot judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub region: RegionId,
    pub verdicts: Vec<Option<Verdict>>,
}

/// The figures by which a vantage is cut off, in endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// Those that it sees down: more than half of `judged`.
    pub down: usize,
    pub judged: usize,
    /// Those of `down` that more than half of the others see up: more than half of them, in two regions or more.
    pub disputed: usize,
    /// The other vantages that were believed when this one was found out.
    pub others: usize,
}

impl CutOff {
    /// For people: `it sees 9 of 10 endpoints down that 2 others see up`.
    pub fn told(&self) -> String {
        let CutOff { down, judged, disputed, others } = *self;
        let others = if others == 1 { "1 other sees".to_owned() } else { format!("{others} others see") };
        match disputed == down {
            true => format!("it sees {down} of {judged} endpoints down that {others} up"),
            false => format!("it sees {down} of {judged} endpoints down, {disputed} of which {others} up"),
        }
    }

    /// The endpoints of all it judges that it is alone with.
    fn blindness(&self) -> f64 {
        self.disputed as f64 / self.judged.max(1) as f64
    }
}

/// Of each vantage, why it is cut off; `None`: it is not. As long as `calm`.
///
/// `sightings` are the endpoints that somebody does not see up; `calm` is the number of all others that each vantage
/// judges. The blindest goes first, with all that are as blind, for it is no witness against the next. At most half of the
/// vantages go: who is left would be too few to contradict the others. Where all see most endpoints down, nobody goes.
pub fn cut_off(sightings: &[Sighting], calm: &[usize]) -> Vec<Option<CutOff>> {
    let seen: Vec<Seen> = calm.iter().enumerate().map(|(vantage, calm)| Seen::of(vantage, *calm, sightings)).collect();
    let judging = seen.iter().filter(|of| of.judged > 0).count();
    let mut out: Vec<Option<CutOff>> = vec![None; calm.len()];
    if seen.iter().all(|of| of.judged == 0 || of.is_mostly_down()) {
        return out;
    }
    loop {
        let believed: Vec<usize> = (0..calm.len()).filter(|&of| out[of].is_none() && seen[of].judged > 0).collect();
        let blind = |&of: &usize| Some((of, disputed(of, &seen[of], sightings, &believed)?));
        let blind: Vec<(usize, CutOff)> = believed.iter().filter_map(blind).collect();
        let Some(worst) = blind.iter().map(|(_, of)| of.blindness()).reduce(f64::max) else { return out };
        let going = || blind.iter().filter(|(_, of)| of.blindness() >= worst);
        let gone = judging - believed.len();
        if (gone + going().count()) * 2 > judging {
            return out;
        }
        going().for_each(|(of, why)| out[*of] = Some(*why));
    }
}

/// What one vantage sees.
struct Seen {
    down: usize,
    judged: usize,
}

impl Seen {
    fn of(vantage: usize, calm: usize, sightings: &[Sighting]) -> Seen {
        let verdicts = || sightings.iter().filter_map(|of| of.verdicts.get(vantage).copied().flatten());
        Seen { down: verdicts().filter(|said| *said == Verdict::Down).count(), judged: calm + verdicts().count() }
    }

    fn is_mostly_down(&self) -> bool {
        self.down * 2 > self.judged
    }
}

/// The case against one vantage; `None` where there is none.
fn disputed(vantage: usize, seen: &Seen, sightings: &[Sighting], believed: &[usize]) -> Option<CutOff> {
    if !seen.is_mostly_down() {
        return None;
    }
    let says = |sighting: &Sighting, of: usize| sighting.verdicts.get(of).copied().flatten();
    let others = believed.iter().filter(|&&of| of != vantage);
    let count = others.clone().count();
    let is_disputed = |sighting: &&Sighting| {
        let up = others.clone().filter(|&&of| says(sighting, of) == Some(Verdict::Up)).count();
        says(sighting, vantage) == Some(Verdict::Down) && up * 2 > count
    };
    let disputed: Vec<RegionId> = sightings.iter().filter(is_disputed).map(|of| of.region).collect();
    let regions: BTreeSet<RegionId> = disputed.iter().copied().collect();
    let is_case = disputed.len() * 2 > seen.down && regions.len() >= 2;
    is_case.then_some(CutOff { down: seen.down, judged: seen.judged, disputed: disputed.len(), others: count })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Verdict::{Down, Suspect, Unknown, Up};

    /// A letter for each endpoint, a line for each vantage: `u`p, `s`uspect, `d`own, or nothing to say. Each endpoint is
    /// a region.
    fn found(lines: &[&str]) -> Vec<Option<CutOff>> {
        let says = |letter: u8| match letter {
            b'u' => Some(Up),
            b's' => Some(Suspect),
            b'd' => Some(Down),
            _ => None,
        };
        let endpoints = lines.first().map_or(0, |line| line.len());
        let sightings: Vec<Sighting> = (0..endpoints)
            .map(|at| Sighting {
                region: RegionId(at as u16),
                verdicts: lines.iter().map(|line| says(line.as_bytes()[at])).collect(),
            })
            .collect();
        cut_off(&sightings, &vec![0; lines.len()])
    }

    fn who(lines: &[&str]) -> Vec<usize> {
        found(lines).iter().enumerate().filter_map(|(at, of)| of.map(|_| at)).collect()
    }

    #[test]
    fn whoever_sees_most_down_that_the_others_see_up_is_cut_off() {
        assert_eq!(who(&["dddddddddu", "uuuuuuuuuu", "uuuuuuuuuu"]), [0]);
        let told = found(&["dddddddddu", "uuuuuuuuuu", "uuuuuuuuuu"])[0].expect("one").told();
        assert_eq!(told, "it sees 9 of 10 endpoints down that 2 others see up");
        let told = found(&["dddu", "uudu"])[0].expect("one").told();
        assert_eq!(told, "it sees 3 of 4 endpoints down, 2 of which 1 other sees up");
    }

    #[test]
    fn whoever_sees_as_much_as_half_up_or_is_not_contradicted_votes() {
        let none: [usize; 0] = [];
        assert_eq!(who(&["dduu", "uuuu", "uuuu"]), none, "half is not most");
        assert_eq!(who(&["ddd", "ddd", "uuu"]), none, "one of two others is no majority");
        assert_eq!(who(&["ddd", "ddd", "ddd"]), none);
        assert_eq!(who(&["ddd", "sss", "sss"]), none, "they begin to fail for the others as well");
        assert_eq!(who(&["ddd", "uuu", "..."]), [0], "one that judges nothing is no witness");
        assert_eq!(who(&["ddd", "uuu", "..u"]), none, "one that cannot tell yet does not agree");
        assert_eq!(who(&["d", "u", "u"]), none, "one target is not most of the network");
        assert_eq!(who(&["ddd"]), none);
        assert_eq!(who(&[]), none);
        assert_eq!(who(&["dddddduuuuu", "uuuuudddddd", "uuuuudddddd"]), none, "all see most down");
    }

    #[test]
    fn endpoints_of_one_region_prove_nothing_and_calm_ones_count() {
        let of = |region, verdicts: &[Verdict]| Sighting {
            region: RegionId(region),
            verdicts: verdicts.iter().copied().map(Some).collect(),
        };
        let (first, second) = (of(0, &[Down, Up]), of(1, &[Down, Up]));
        assert_eq!(cut_off(&[first.clone(), first.clone(), first.clone()], &[0, 0]), [None, None]);
        let both = [first, second];
        assert!(cut_off(&both, &[1, 1])[0].is_some());
        assert_eq!(cut_off(&both, &[2, 2]), [None, None], "half of four");
    }

    #[test]
    fn the_blindest_goes_first_and_at_most_half_go() {
        assert_eq!(who(&["dddddd", "ddddus", "uuuuuu", "uuuuuu", "uuuuuu"]), [0, 1]);
        assert_eq!(
            who(&["dddddduuuu", "uuuudddddd", "uuuuuuuuuu"]),
            [0, 1][..0],
            "one alone does not overrule two that are as blind"
        );
        assert_eq!(who(&["dddddddd", "uudddddd", "uuuuuuuu", "uuuuuuuu"]), [0, 1]);
    }

    fn lines(endpoints: usize) -> impl Strategy<Value = Vec<String>> {
        let letter = prop_oneof![Just('u'), Just('d'), Just('d'), Just('s'), Just('.')];
        let line = prop::collection::vec(letter, endpoints).prop_map(|of| of.into_iter().collect());
        prop::collection::vec(line, 1..6)
    }

    proptest! {
        #[test]
        fn the_order_of_vantages_does_not_matter_and_half_stay(of in lines(7), by in 0usize..6) {
            let of: Vec<&str> = of.iter().map(String::as_str).collect();
            let (mut expected, mut turned) = (found(&of), of.clone());
            let by = by % of.len();
            turned.rotate_left(by);
            expected.rotate_left(by);
            prop_assert_eq!(found(&turned), expected);
            let gone = who(&of).len();
            prop_assert!(gone * 2 <= of.len(), "{} of {}", gone, of.len());
        }

        #[test]
        fn two_that_agree_on_everything_are_never_cut_off_by_a_third(
            agreed in prop::collection::vec(prop_oneof![Just(Up), Just(Down), Just(Suspect), Just(Unknown)], 7),
            lie in prop::collection::vec(prop_oneof![Just(Up), Just(Down), Just(Suspect), Just(Unknown)], 7),
        ) {
            let says = |verdict: Verdict| (verdict != Unknown).then_some(verdict);
            let rows: Vec<Sighting> = agreed.iter().zip(&lie).enumerate().map(|(at, (&agreed, &lie))| Sighting {
                region: RegionId(at as u16),
                verdicts: vec![says(agreed), says(lie), says(agreed)],
            }).collect();
            let found = cut_off(&rows, &[0; 3]);
            prop_assert!(found[0].is_none() && found[2].is_none(), "{:?}", found);
        }
    }
}
