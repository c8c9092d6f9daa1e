//! One verdict from those of several checks of an endpoint.
//!
//! Pure: the say of each check and its verdict come in, in any order.

use crate::model::CheckRole;

use super::verdict::Verdict;

/// The verdict where `needed` of the voting checks must pass, and all that must; `None`: no check has a say.
///
/// It is that of the `needed`th best of those that vote, or of the worst of those that must pass where that is worse: so
/// `needed` of 1 is "any" and of all is "all". A check without a verdict is not proven.
pub fn combined(checks: impl IntoIterator<Item = (CheckRole, Option<Verdict>)>, needed: usize) -> Option<Verdict> {
    let (mut votes, mut musts) = (Vec::new(), Vec::new());
    for (role, verdict) in checks {
        let verdict = verdict.unwrap_or(Verdict::Unknown);
        match role {
            CheckRole::Vote => votes.push(verdict),
            CheckRole::MustPass => musts.push(verdict),
            CheckRole::WatchOnly => {}
        }
    }
    votes.sort_by_key(|verdict| std::cmp::Reverse(verdict.goodness()));
    let voted = votes.get(needed.clamp(1, votes.len().max(1)) - 1).copied();
    voted.into_iter().chain(musts).min_by_key(|verdict| verdict.goodness())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use CheckRole::{MustPass, Vote, WatchOnly};
    use Verdict::{Down, Suspect, Unknown, Up};

    #[test]
    fn so_many_must_pass_and_those_that_must() {
        let of = |votes: &[Verdict], needed| combined(votes.iter().map(|v| (Vote, Some(*v))), needed);
        assert_eq!(of(&[Up, Down], 2), Some(Down), "all");
        assert_eq!(of(&[Up, Suspect], 2), Some(Suspect));
        assert_eq!(of(&[Up, Unknown], 2), Some(Unknown));
        assert_eq!(of(&[Up, Down], 1), Some(Up), "any");
        assert_eq!(of(&[Suspect, Down, Up], 2), Some(Suspect), "two of three");
        assert_eq!(of(&[Down, Down, Up], 2), Some(Down));
        assert_eq!(combined([(Vote, Some(Up)), (MustPass, Some(Down))], 1), Some(Down));
        assert_eq!(combined([(MustPass, Some(Up)), (Vote, Some(Down)), (Vote, Some(Up))], 1), Some(Up));
        assert_eq!(combined([(Vote, Some(Up)), (WatchOnly, Some(Down))], 1), Some(Up));
        assert_eq!(combined([(WatchOnly, Some(Down))], 0), None);
        assert_eq!(combined([(Vote, None)], 1), Some(Unknown));
        assert_eq!(combined([], 1), None);
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Up), Just(Suspect), Just(Unknown), Just(Down)]
    }

    proptest! {
        #[test]
        fn it_serves_exactly_where_enough_do_and_no_order_matters(
            mut votes in prop::collection::vec(any_verdict(), 1..6), needed in 1usize..6, must in any_verdict(),
        ) {
            let needed = needed.min(votes.len());
            let serving = votes.iter().filter(|v| v.serves()).count();
            let all = |votes: &[Verdict]| {
                let votes = votes.iter().map(|v| (Vote, Some(*v)));
                combined(votes.chain([(MustPass, Some(must))]), needed)
            };
            let verdict = all(&votes);
            prop_assert_eq!(verdict.is_some_and(Verdict::serves), serving >= needed && must.serves());
            votes.reverse();
            prop_assert_eq!(verdict, all(&votes));
        }
    }
}
