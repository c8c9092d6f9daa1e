//! An etcd in memory: for simulations in virtual time, and for tests.
//!
//! In: transactions, leases, and the time as a [`Duration`] since the store began. Out: what a real etcd would say, the
//! same in each run: no clock, no chance. `tests/etcd.rs` holds it against a real one.
//!
//! Leases end at their very moment here; a real etcd takes up to a second more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::store::{Change, Condition, Entry, LeaseId, Listing, Operation, Outcome, Revision, StoreError, Transaction};

/// Changes that are kept for those who ask, unless told otherwise.
pub const MOST_HISTORY: usize = 10_000;
/// etcd gives no lease less time, with its usual settings.
pub const LEAST_TTL: Duration = Duration::from_secs(2);

/// The store. Every call fails while it is away.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    id: u64,
    revision: Revision,
    entries: BTreeMap<String, Held>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: i64,
    /// By revision; those of one revision in the order of its operations.
    history: VecDeque<Change>,
    most_history: usize,
    /// Changes up to this revision may be missing from the history.
    compacted: Revision,
    /// The latest moment told.
    now: Duration,
    away: bool,
    full: bool,
}

/// A key's value, and the lease it goes with.
#[derive(Clone, Debug)]
struct Held {
    entry: Entry,
    lease: Option<LeaseId>,
}

#[derive(Clone, Debug)]
struct Lease {
    ttl: Duration,
    over_at: Duration,
    keys: BTreeSet<String>,
}

impl MemoryStore {
    /// An empty store, with a number that tells it from others.
    pub fn new(id: u64) -> MemoryStore {
        MemoryStore {
            id,
            revision: 1,
            entries: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
            history: VecDeque::new(),
            most_history: MOST_HISTORY,
            compacted: 0,
            now: Duration::ZERO,
            away: false,
            full: false,
        }
    }

    /// Keeps this many changes instead of [`MOST_HISTORY`].
    pub fn with_history(mut self, most: usize) -> MemoryStore {
        self.most_history = most;
        self
    }

    /// The revision now; 1 while nothing was ever changed.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All keys that begin so, by key.
    ///
    /// # Errors
    /// [`StoreError::Away`]
    pub fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.reached()?;
        let below = self.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let entries = below.map(|(_, held)| held.entry.clone()).collect();
        Ok(Listing { entries, revision: self.revision, store: self.id })
    }

    /// Does all of a transaction or nothing.
    ///
    /// # Errors
    /// As [`Transaction::check`]; [`StoreError::LeaseOver`]: a put is under a lease that is not there;
    /// [`StoreError::Refused`]: it puts something, and the store is full. All of them change nothing.
    pub fn commit(&mut self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.reached()?;
        transaction.check()?;
        let puts = |operation: &Operation| matches!(operation, Operation::Put { .. });
        if transaction.operations.iter().any(puts) {
            self.has_space()?;
        }
        if !transaction.conditions.iter().all(|condition| self.holds(condition)) {
            let found = transaction.conditions.iter().map(|condition| self.entry(condition.key()).cloned()).collect();
            return Ok(Outcome::Refused { found, revision: self.revision });
        }
        let leases = transaction.operations.iter().filter_map(|operation| match operation {
            Operation::Put { lease, .. } => *lease,
            Operation::Delete { .. } => None,
        });
        for lease in leases {
            self.leases.get(&lease).ok_or(StoreError::LeaseOver)?;
        }
        self.apply(transaction.operations);
        Ok(Outcome::Done(self.revision))
    }

    /// A new lease for this long: whole seconds, rounded up, at least [`LEAST_TTL`].
    ///
    /// # Errors
    /// [`StoreError::Refused`]: the store is full.
    pub fn grant(&mut self, ttl: Duration, now: Duration) -> Result<LeaseId, StoreError> {
        self.advance(now);
        self.reached()?;
        self.has_space()?;
        let ttl = Duration::from_secs(ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0))).max(LEAST_TTL);
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.leases.insert(lease, Lease { ttl, over_at: self.now.saturating_add(ttl), keys: BTreeSet::new() });
        Ok(lease)
    }

    /// Gives a lease all of its time again.
    ///
    /// # Errors
    /// [`StoreError::LeaseOver`]
    pub fn keep_alive(&mut self, lease: LeaseId, now: Duration) -> Result<(), StoreError> {
        self.advance(now);
        self.reached()?;
        let held = self.leases.get_mut(&lease).ok_or(StoreError::LeaseOver)?;
        held.over_at = self.now.saturating_add(held.ttl);
        Ok(())
    }

    /// Ends a lease, with its keys, in one revision.
    ///
    /// # Errors
    /// [`StoreError::LeaseOver`]: it is no more.
    pub fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.reached()?;
        self.end(lease)
    }

    /// Lets time pass: leases that are over take their keys with them, in the order of their ends, each in one revision.
    /// Time passes also while the store is away.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let over = self.leases.iter().filter(|(_, lease)| lease.over_at <= self.now);
        let mut over: Vec<(Duration, LeaseId)> = over.map(|(&id, lease)| (lease.over_at, id)).collect();
        over.sort_unstable();
        for (_, lease) in over {
            // It was there a moment ago.
            let _ = self.end(lease);
        }
    }

    /// What a new leader does: all leases have their whole time again.
    pub fn elect(&mut self) {
        for lease in self.leases.values_mut() {
            lease.over_at = self.now.saturating_add(lease.ttl);
        }
    }

    /// What was changed below a prefix after a revision, without that one.
    ///
    /// # Errors
    /// [`StoreError::Compacted`]: some of it is not known any more.
    pub fn changes_since(&self, prefix: &str, revision: Revision) -> Result<Vec<Change>, StoreError> {
        self.reached()?;
        if revision < self.compacted {
            return Err(StoreError::Compacted(revision));
        }
        let first = self.history.partition_point(|change| change.revision() <= revision);
        Ok(self.history.range(first..).filter(|change| change.key().starts_with(prefix)).cloned().collect())
    }

    /// Forgets the changes up to this revision.
    pub fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision.min(self.revision));
        let kept = self.history.partition_point(|change| change.revision() <= self.compacted);
        self.history.drain(..kept);
    }

    /// A fault: nobody reaches the store.
    pub fn set_away(&mut self, away: bool) {
        self.away = away;
    }

    /// A fault: no space is left. Reads, deletions and leases that are there go on.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    fn reached(&self) -> Result<(), StoreError> {
        if self.away { Err(StoreError::Away("out of reach".into())) } else { Ok(()) }
    }

    fn has_space(&self) -> Result<(), StoreError> {
        let refused = || StoreError::Refused("etcdserver: mvcc: database space exceeded".into());
        if self.full { Err(refused()) } else { Ok(()) }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).map(|held| &held.entry)
    }

    fn holds(&self, condition: &Condition) -> bool {
        // A key that is not there has revision 0, as etcd has it.
        let revisions = self.entry(condition.key()).map_or((0, 0), |entry| (entry.created, entry.modified));
        match condition {
            Condition::Absent(_) => revisions.0 == 0,
            Condition::Created(_, revision) => revisions.0 == *revision,
            Condition::Unmodified(_, revision) => revisions.1 == *revision,
        }
    }

    /// One revision for all of them, or none where nothing changes.
    fn apply(&mut self, operations: Vec<Operation>) {
        let revision = self.revision + 1;
        for operation in operations {
            let change = match operation {
                Operation::Put { key, value, lease } => Some(Change::Put(self.put(key, value, lease, revision))),
                Operation::Delete { key } => self.delete(key, revision),
            };
            if let Some(change) = change {
                self.revision = revision;
                self.history.push_back(change);
            }
        }
        self.bound_history();
    }

    fn put(&mut self, key: String, value: Vec<u8>, lease: Option<LeaseId>, revision: Revision) -> Entry {
        let before = self.entries.remove(&key);
        self.detach(&key, before.as_ref());
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.insert(key.clone());
        }
        let created = before.map_or(revision, |held| held.entry.created);
        let entry = Entry { key: key.clone(), value, created, modified: revision };
        self.entries.insert(key, Held { entry: entry.clone(), lease });
        entry
    }

    fn delete(&mut self, key: String, revision: Revision) -> Option<Change> {
        let before = self.entries.remove(&key)?;
        self.detach(&key, Some(&before));
        Some(Change::Deleted { key, revision })
    }

    /// A key is under one lease at most: the one of its last put.
    fn detach(&mut self, key: &str, held: Option<&Held>) {
        let lease = held.and_then(|held| held.lease);
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.remove(key);
        }
    }

    fn end(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        let ended = self.leases.remove(&lease).ok_or(StoreError::LeaseOver)?;
        self.apply(ended.keys.into_iter().map(|key| Operation::Delete { key }).collect());
        Ok(())
    }

    /// Whole revisions go.
    fn bound_history(&mut self) {
        while self.history.len() > self.most_history {
            let oldest = self.history.front().map_or(self.revision, Change::revision);
            self.compact(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn put(key: &str, value: &str, lease: Option<LeaseId>) -> Operation {
        Operation::Put { key: key.into(), value: value.into(), lease }
    }

    fn delete(key: &str) -> Operation {
        Operation::Delete { key: key.into() }
    }

    fn all(operations: impl Into<Vec<Operation>>) -> Transaction {
        Transaction { conditions: vec![], operations: operations.into() }
    }

    fn entry(key: &str, value: &str, created: Revision, modified: Revision) -> Entry {
        Entry { key: key.into(), value: value.into(), created, modified }
    }

    fn deleted(key: &str, revision: Revision) -> Change {
        Change::Deleted { key: key.into(), revision }
    }

    fn keys(store: &MemoryStore) -> Vec<String> {
        store.list("").expect("a listing").entries.into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn puts_of_one_transaction_share_a_revision_and_what_changes_nothing_has_none() {
        let mut store = MemoryStore::new(7);
        assert_eq!(store.commit(all([put("a/1", "x", None), put("a/2", "y", None)])), Ok(Outcome::Done(2)));
        assert_eq!(store.commit(all([put("a/1", "z", None)])), Ok(Outcome::Done(3)));
        assert_eq!(store.commit(all([delete("a/9")])), Ok(Outcome::Done(3)));
        assert_eq!(store.commit(all([])), Ok(Outcome::Done(3)));
        assert_eq!(store.commit(all([put("b", "", None)])), Ok(Outcome::Done(4)));
        let listing = store.list("a/").expect("a listing");
        assert_eq!((listing.revision, listing.store), (4, 7));
        assert_eq!(listing.entries, [entry("a/1", "z", 2, 3), entry("a/2", "y", 2, 2)]);
        assert_eq!(store.commit(all([delete("a/1")])), Ok(Outcome::Done(5)));
        assert_eq!(store.commit(all([put("a/1", "n", None)])), Ok(Outcome::Done(6)));
        assert_eq!(store.list("a/1").expect("a listing").entries, [entry("a/1", "n", 6, 6)]);
    }

    #[test]
    fn a_condition_that_does_not_hold_leaves_all_as_it_was_and_tells_what_is_there() {
        let mut store = MemoryStore::new(1);
        store.commit(all([put("a", "x", None)])).expect("done");
        store.commit(all([put("a", "y", None)])).expect("done");
        let found = Outcome::Refused { found: vec![Some(entry("a", "y", 2, 3)), None], revision: 3 };
        for (condition, holds) in [
            (Condition::Absent("a".into()), false),
            (Condition::Created("a".into(), 2), true),
            (Condition::Created("a".into(), 3), false),
            (Condition::Unmodified("a".into(), 3), true),
            (Condition::Unmodified("a".into(), 2), false),
        ] {
            let conditions = vec![condition.clone(), Condition::Absent("b".into())];
            let mut tried = store.clone();
            let outcome = tried.commit(Transaction { conditions, operations: vec![put("b", "", None)] });
            assert_eq!(outcome, Ok(if holds { Outcome::Done(4) } else { found.clone() }), "{condition:?}");
            assert_eq!(tried.revision(), if holds { 4 } else { 3 });
        }
    }

    #[test]
    fn a_lease_that_is_over_takes_its_keys_in_one_revision() {
        let mut store = MemoryStore::new(1);
        let (long, short) = (store.grant(s(10), s(0)).expect("a lease"), store.grant(s(5), s(0)).expect("a lease"));
        let puts = [put("b", "", Some(short)), put("a", "", Some(short)), put("c", "", Some(long)), put("d", "", None)];
        store.commit(all(puts)).expect("done");
        store.advance(s(5) - Duration::from_millis(1));
        assert_eq!(keys(&store), ["a", "b", "c", "d"]);
        assert_eq!(store.keep_alive(long, s(5)), Ok(()));
        assert_eq!((keys(&store), store.revision()), (vec!["c".to_owned(), "d".into()], 3));
        assert_eq!(store.changes_since("", 2), Ok(vec![deleted("a", 3), deleted("b", 3)]));
        assert_eq!(store.keep_alive(short, s(5)), Err(StoreError::LeaseOver));
        assert_eq!(store.commit(all([put("a", "", Some(short))])), Err(StoreError::LeaseOver));
        assert_eq!(store.revoke(short), Err(StoreError::LeaseOver));
        store.advance(s(14));
        assert_eq!(store.revoke(long), Ok(()));
        assert_eq!((keys(&store), store.revision()), (vec!["d".to_owned()], 4));
        assert!(store.grant(Duration::MAX, s(14)).is_ok());
        let unused = store.grant(Duration::from_millis(1), s(14)).expect("a lease");
        store.advance(s(16) - Duration::from_nanos(1));
        assert_eq!(store.keep_alive(unused, s(15)), Ok(()));
        store.advance(s(18));
        assert_eq!((store.revoke(unused), store.revision()), (Err(StoreError::LeaseOver), 4));
    }

    #[test]
    fn leases_that_end_together_have_a_revision_each_and_an_election_gives_them_time() {
        let mut store = MemoryStore::new(1);
        for (key, ttl) in [("late", 9), ("early", 5)] {
            let lease = store.grant(s(ttl), s(0)).expect("a lease");
            store.commit(all([put(key, "", Some(lease))])).expect("done");
        }
        store.advance(s(4));
        store.elect();
        store.advance(s(8));
        assert_eq!(keys(&store).len(), 2);
        store.advance(s(60));
        assert_eq!(store.changes_since("", 3), Ok(vec![deleted("early", 4), deleted("late", 5)]));
    }

    #[test]
    fn a_put_moves_a_key_to_its_lease_or_away_from_any() {
        let mut store = MemoryStore::new(1);
        let (first, second) = (store.grant(s(5), s(0)).expect("a lease"), store.grant(s(5), s(0)).expect("a lease"));
        store.commit(all([put("moved", "", Some(first)), put("freed", "", Some(first))])).expect("done");
        store.commit(all([put("moved", "", Some(second)), put("freed", "", None)])).expect("done");
        store.revoke(first).expect("revoked");
        assert_eq!((keys(&store).len(), store.revision()), (2, 3));
        store.commit(all([delete("moved")])).expect("done");
        store.commit(all([put("moved", "", None)])).expect("done");
        store.revoke(second).expect("revoked");
        assert_eq!(keys(&store), ["freed", "moved"]);
    }

    #[test]
    fn history_is_bounded_by_whole_revisions() {
        let mut store = MemoryStore::new(1).with_history(3);
        store.commit(all([put("a", "", None), put("b", "", None)])).expect("done");
        store.commit(all([put("c", "", None)])).expect("done");
        assert_eq!(store.changes_since("", 0).map(|changes| changes.len()), Ok(3));
        store.commit(all([put("c", "1", None)])).expect("done");
        assert_eq!(store.changes_since("", 1), Err(StoreError::Compacted(1)));
        let kept = [Change::Put(entry("c", "", 3, 3)), Change::Put(entry("c", "1", 3, 4))];
        assert_eq!(store.changes_since("c", 2), Ok(kept.to_vec()));
        assert_eq!(store.changes_since("a", 2), Ok(vec![]));
        store.compact(4);
        assert_eq!(
            (store.changes_since("", 4), store.changes_since("", 3)),
            (Ok(vec![]), Err(StoreError::Compacted(3)))
        );
    }

    #[test]
    fn faults_change_nothing_but_what_may_be_done() {
        let mut store = MemoryStore::new(1);
        let lease = store.grant(s(5), s(0)).expect("a lease");
        store.commit(all([put("a", "", Some(lease))])).expect("done");
        store.set_full(true);
        assert!(matches!(store.commit(all([put("b", "", None)])), Err(StoreError::Refused(_))));
        assert!(matches!(store.grant(s(5), s(1)), Err(StoreError::Refused(_))));
        assert_eq!(store.keep_alive(lease, s(1)), Ok(()));
        assert_eq!(store.commit(all([delete("a")])), Ok(Outcome::Done(3)));
        store.set_full(false);
        store.commit(all([put("a", "", Some(lease))])).expect("done");
        store.set_away(true);
        let away = |error: Option<StoreError>| matches!(error, Some(StoreError::Away(_)));
        assert!(away(store.list("").err()) && away(store.commit(all([])).err()) && away(store.revoke(lease).err()));
        assert!(away(store.grant(s(5), s(2)).err()) && away(store.keep_alive(lease, s(2)).err()));
        assert!(away(store.changes_since("", 1).err()));
        store.advance(s(6));
        store.set_away(false);
        assert_eq!((keys(&store).len(), store.revision()), (0, 5));
    }

    #[test]
    fn what_no_etcd_takes_is_refused() {
        let mut store = MemoryStore::new(1);
        let many = |count: usize| all((0..count).map(|number| put(&number.to_string(), "", None)).collect::<Vec<_>>());
        for refused in [many(129), all([put("", "", None)]), all([put("a", "", None), delete("a")])] {
            assert!(matches!(store.commit(refused), Err(StoreError::Refused(_))));
        }
        assert_eq!(store.commit(many(128)), Ok(Outcome::Done(2)));
    }
}
