//! Followers that have to know of a swap at the moment it happens: copies of the snapshot kept elsewhere, which must
//! not be used any longer than the snapshot itself.

use std::sync::{Arc, Mutex, PoisonError};

/// Keeps something that was made from a snapshot.
pub trait Follower: Send + Sync {
    /// The snapshot with this generation is about to be current. What was made from those before must not
    /// be used any more when this returns. Must not wait.
    fn before(&self, generation: u64);

    /// It is current. Must not wait.
    fn after(&self);
}

/// All that follow one publisher.
#[derive(Default)]
pub struct Followers(Mutex<Vec<Arc<dyn Follower>>>);

impl Followers {
    /// Tells this one, too, from now on: not in the middle of a swap.
    pub fn add(&self, follower: Arc<dyn Follower>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
    }

    /// Makes the swap with all told before and after.
    pub(in crate::state) fn tell(&self, generation: u64, swap: impl FnOnce()) {
        let followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.iter().for_each(|follower| follower.before(generation));
        swap();
        followers.iter().for_each(|follower| follower.after());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Writes down what it was told, and which generation was current then.
    struct Diary {
        current: Arc<AtomicU64>,
        entries: Mutex<Vec<String>>,
    }

    impl Diary {
        fn write(&self, what: String) {
            let current = self.current.load(Ordering::Relaxed);
            self.entries.lock().expect("a diary").push(format!("{what}, {current} is current"));
        }
    }

    impl Follower for Diary {
        fn before(&self, generation: u64) {
            self.write(format!("before {generation}"));
        }

        fn after(&self) {
            self.write("after".to_owned());
        }
    }

    #[test]
    fn all_are_told_before_the_swap_and_after_it() {
        let current = Arc::new(AtomicU64::new(6));
        let followers = Followers::default();
        let diaries = [(); 2].map(|()| Arc::new(Diary { current: current.clone(), entries: Mutex::default() }));
        diaries.iter().for_each(|diary| followers.add(diary.clone()));
        followers.tell(7, || current.store(7, Ordering::Relaxed));
        for diary in diaries {
            let entries = diary.entries.lock().expect("a diary");
            assert_eq!(*entries, ["before 7, 6 is current", "after, 7 is current"]);
        }
    }
}
