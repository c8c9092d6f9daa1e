//! The age of news that the plan in force does not heed: it waits for a plan, is in one that is being made, or in one
//! that is to be agreed on.

use std::time::Instant;

/// The oldest news of each stage.
#[derive(Debug, Default)]
pub(super) struct Unheeded {
    waiting: Option<Instant>,
    under_way: Option<Instant>,
    proposed: Option<Instant>,
}

impl Unheeded {
    /// News has come.
    pub fn note(&mut self, at: Instant) {
        self.waiting = older(self.waiting, Some(at));
    }

    /// A plan is being made, of all that was heard so far.
    pub fn begin(&mut self) {
        self.under_way = older(self.under_way, self.waiting.take());
    }

    /// It holds, or there is none to be made of it.
    pub fn heeded(&mut self) {
        self.under_way = None;
    }

    /// It holds once it is agreed on.
    pub fn proposed(&mut self) {
        self.proposed = older(self.proposed, self.under_way.take());
    }

    pub fn agreed(&mut self) {
        self.proposed = None;
    }

    /// No plan under way or proposed comes to hold.
    pub fn lost(&mut self) {
        self.waiting = self.since();
        (self.under_way, self.proposed) = (None, None);
    }

    /// The time of the oldest; `None`: all is heeded.
    pub fn since(&self) -> Option<Instant> {
        older(self.waiting, older(self.under_way, self.proposed))
    }
}

fn older(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn news_is_unheeded_until_a_plan_that_was_made_of_it_holds() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut news = Unheeded::default();
        assert_eq!(news.since(), None);
        news.note(at(3));
        news.note(at(4));
        news.begin();
        news.note(at(9));
        assert_eq!(news.since(), Some(at(3)));
        news.proposed();
        assert_eq!(news.since(), Some(at(3)), "it is not agreed on");
        news.agreed();
        assert_eq!(news.since(), Some(at(9)));
        news.begin();
        news.lost();
        news.note(at(20));
        assert_eq!(news.since(), Some(at(9)), "it waits again");
        news.begin();
        news.heeded();
        assert_eq!(news.since(), None);
    }
}
