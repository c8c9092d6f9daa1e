//! Who has to know of a swap at the moment it happens: copies of the snapshot kept elsewhere, which must
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
    pub(super) fn tell(&self, generation: u64, swap: impl FnOnce()) {
        let followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.iter().for_each(|follower| follower.before(generation));
        swap();
        followers.iter().for_each(|follower| follower.after());
    }
}
