//! Whether an endpoint is up: a pure function of its probe history.
//!
//! In: the outcomes of probes, oldest first, and how many in a row settle the matter. Out: a
//! [`Verdict`]. When to probe and what counts as a success is left to `control::probe`.
//!
//! ```text
//!   first probe ── success ──▶ Up ◀───────── success ────────── Suspect
//!        │                   ▲ │ └─── failure (fewer than fall) ──▶ │
//!     failure                │ │ fall = 1                           │ `fall` failures in a row
//!        ▼                   │ ▼                                    ▼
//!     Unknown ── success ────┘Down ◀────────────────────────────────┘
//!        └── `fall` failures ──▲└── `rise` successes in a row ──▶ Up
//! ```

use serde::{Deserialize, Serialize};

/// What the probes say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The last probe succeeded, and the endpoint was not down before it.
    Up,
    /// It was up and the last probe failed; still handed out, with a short TTL.
    Suspect,
    /// Not handed out.
    Down,
    /// Not proven either way: it has never succeeded, nor failed often enough to be down. Handed out where nothing
    /// is up.
    Unknown,
}

impl Verdict {
    /// Whether the endpoint is proven to be good enough to be handed out.
    pub fn serves(self) -> bool {
        matches!(self, Verdict::Up | Verdict::Suspect)
    }

    /// Greater for a better one.
    pub fn goodness(self) -> u8 {
        match self {
            Verdict::Up => 3,
            Verdict::Suspect => 2,
            Verdict::Unknown => 1,
            Verdict::Down => 0,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Suspect => "suspect",
            Verdict::Down => "down",
            Verdict::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The verdict after these outcomes, oldest first (`true`: success); `None` where there are none.
///
/// The definition, which [`History`] computes step by step. The endpoint is up or down by the
/// latest of: the first success, where it was not down before, the end of `rise` successes in a row, the end of `fall`
/// failures in a row. Before any of these it is unknown. Up with a failed last probe is suspect. `rise` and `fall` of 0
/// count as 1.
pub fn verdict_of(outcomes: &[bool], rise: u32, fall: u32) -> Option<Verdict> {
    let &last = outcomes.last()?;
    let settled = |end: usize| {
        let outcome = outcomes[end - 1];
        let needed = if outcome { rise } else { fall }.max(1) as usize;
        let run = outcomes[..end].iter().rev().take_while(|&&o| o == outcome).count();
        (run >= needed).then_some(outcome)
    };
    let up = (1..=outcomes.len()).rev().find_map(settled).or_else(|| outcomes.contains(&true).then_some(true));
    Some(match (up, last) {
        (Some(true), true) => Verdict::Up,
        (Some(true), false) => Verdict::Suspect,
        (Some(false), _) => Verdict::Down,
        (None, _) => Verdict::Unknown,
    })
}

/// One endpoint's probe history, as much of it as its verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    rise: u32,
    fall: u32,
    last: Option<(Verdict, bool)>,
    streak: u32,
}

impl History {
    /// `rise` successes in a row bring an endpoint back, `fall` failures in a row take it
    /// down. 0 counts as 1.
    pub fn new(rise: u32, fall: u32) -> History {
        History { rise: rise.max(1), fall: fall.max(1), last: None, streak: 0 }
    }

    /// A history of which only the verdict is known, and how many `failures` in a row led to a doubt: 1 or more. An
    /// endpoint that is down has to begin its successes anew.
    pub fn after(rise: u32, fall: u32, verdict: Verdict, failures: u32) -> History {
        let streak = match verdict {
            Verdict::Up => 1,
            Verdict::Suspect | Verdict::Unknown => failures.max(1),
            Verdict::Down => fall.max(1),
        };
        History { last: Some((verdict, verdict == Verdict::Up)), streak, ..History::new(rise, fall) }
    }

    /// Adds the outcome of the latest probe. A first success decides at once; a first failure is one of `fall`, since it
    /// may be this server's own.
    pub fn record(&mut self, success: bool) {
        let repeats = self.last.is_some_and(|(_, before)| before == success);
        self.streak = if repeats { self.streak.saturating_add(1) } else { 1 };
        let verdict = match (self.verdict(), success) {
            (None | Some(Verdict::Unknown), false) if self.streak < self.fall => Verdict::Unknown,
            (None, true) => Verdict::Up,
            (None, false) => Verdict::Down,
            (Some(Verdict::Down), true) if self.streak < self.rise => Verdict::Down,
            (Some(_), true) => Verdict::Up,
            (Some(Verdict::Down), false) => Verdict::Down,
            (Some(_), false) if self.streak < self.fall => Verdict::Suspect,
            (Some(_), false) => Verdict::Down,
        };
        self.last = Some((verdict, success));
    }

    /// `None` before the first probe.
    pub fn verdict(&self) -> Option<Verdict> {
        self.last.map(|(verdict, _)| verdict)
    }

    /// How many of the latest probes in a row ended alike; 0 before the first.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Takes new thresholds from the next probe on; the verdict and the streak stay.
    pub fn set_thresholds(&mut self, rise: u32, fall: u32) {
        (self.rise, self.fall) = (rise.max(1), fall.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Down, Suspect, Unknown, Up};
    use proptest::prelude::*;

    /// Verdicts after each letter of `story`: `+` success, `-` failure.
    fn verdicts(story: &str, rise: u32, fall: u32) -> Vec<Verdict> {
        let mut history = History::new(rise, fall);
        let step = |c| {
            history.record(c == '+');
            history.verdict().expect("one after a probe")
        };
        story.chars().map(step).collect()
    }

    #[test]
    fn nothing_is_said_before_the_first_probe() {
        assert_eq!(History::new(3, 3).verdict(), None);
        assert_eq!(History::new(3, 3).streak(), 0);
        assert_eq!(verdict_of(&[], 3, 3), None);
    }

    #[test]
    fn a_first_success_decides_at_once_and_a_first_failure_only_with_others() {
        assert_eq!(verdicts("+", 3, 3), [Up]);
        assert_eq!(verdicts("-+", 3, 3), [Unknown, Up]);
        assert_eq!(verdicts("-+-", 3, 3), [Unknown, Up, Suspect]);
        assert_eq!(verdicts("---+", 3, 3), [Unknown, Unknown, Down, Down]);
        assert_eq!(verdicts("-+++", 3, 1), [Down, Down, Down, Up]);
    }

    #[test]
    fn fall_failures_in_a_row_take_it_down_and_are_suspect_before() {
        assert_eq!(verdicts("+---", 3, 3), [Up, Suspect, Suspect, Down]);
        assert_eq!(verdicts("+-", 3, 1), [Up, Down]);
    }

    #[test]
    fn one_success_clears_suspicion_and_failures_do_not_add_up_across_it() {
        assert_eq!(verdicts("+--+--+", 3, 3), [Up, Suspect, Suspect, Up, Suspect, Suspect, Up]);
    }

    #[test]
    fn rise_successes_in_a_row_bring_it_back_and_a_failure_starts_over() {
        assert_eq!(verdicts("---++-+++", 3, 3)[2..], [Down, Down, Down, Down, Down, Down, Up]);
    }

    #[test]
    fn zero_thresholds_count_as_one() {
        assert_eq!(verdicts("+-+", 0, 0), [Up, Down, Up]);
    }

    #[test]
    fn a_history_goes_on_from_a_verdict_alone() {
        let after = |verdict, story: &str| {
            let mut history = History::after(3, 3, verdict, 1);
            story.chars().for_each(|c| history.record(c == '+'));
            history.verdict().expect("one")
        };
        assert_eq!(["", "-", "--", "---", "+"].map(|story| after(Up, story)), [Up, Suspect, Suspect, Down, Up]);
        assert_eq!(["", "-", "--", "+"].map(|story| after(Suspect, story)), [Suspect, Suspect, Down, Up]);
        assert_eq!(["", "-", "++", "+++"].map(|story| after(Down, story)), [Down, Down, Down, Up]);
        let mut doubted = History::after(3, 3, Suspect, 2);
        doubted.record(false);
        assert_eq!((doubted.verdict(), doubted.streak()), (Some(Down), 3), "failures from before count");
    }

    #[test]
    fn new_thresholds_keep_the_verdict() {
        let mut history = History::new(3, 3);
        for success in [true, false, false] {
            history.record(success);
        }
        history.set_thresholds(3, 2);
        assert_eq!((history.verdict(), history.streak()), (Some(Suspect), 2));
        history.record(false);
        assert_eq!(history.verdict(), Some(Down));
    }

    proptest! {
        #[test]
        fn step_by_step_is_the_definition(
            outcomes in proptest::collection::vec(any::<bool>(), 0..60), rise in 0u32..6, fall in 0u32..6,
        ) {
            let mut history = History::new(rise, fall);
            for (i, &outcome) in outcomes.iter().enumerate() {
                history.record(outcome);
                prop_assert_eq!(history.verdict(), verdict_of(&outcomes[..=i], rise, fall));
            }
        }

        #[test]
        fn the_past_before_a_settling_run_does_not_matter(
            past in proptest::collection::vec(any::<bool>(), 1..40), rise in 1u32..6, fall in 1u32..6, up: bool,
        ) {
            let run = if up { rise } else { fall } as usize;
            let outcomes: Vec<bool> = past.into_iter().chain(std::iter::repeat_n(up, run)).collect();
            prop_assert_eq!(verdict_of(&outcomes, rise, fall), Some(if up { Up } else { Down }));
        }
    }
}
