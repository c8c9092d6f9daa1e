//! Warm restarts: what is known is kept every half a minute, and taken up at the next start, so that a restart
//! changes no answers.
//!
//! ```text
//!   Publisher ─▶ Kept ─▶ postcard ─▶ container ─▶ steering.kept: all of it, every half a minute
//!       ▲                                  │  └─▶ health.kept: regions alone, with every change of their health
//!       │                                  │ at the next start: whole, right, of a version that is known, young
//!       └──────────────────────────────────┘ else a cold start, and the reason
//! ```
//!
//! Its own age decides whether a file is used: what was known longer ago than [`MAX_AGE`] misleads. Regions are taken
//! from the younger of the two, so that a crash right after a region went down does not bring it back. Nothing else
//! depends on these files; operators' words have files of their own.
//!
//! - [`container`]: a file from outside
//! - [`earlier`]: what earlier versions wrote
//! - [`keeper`]: when they are written, on another thread

pub mod container;
pub mod earlier;
pub mod keeper;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::state::Publisher;
use crate::state::memory::kept::{Kept, Restored};
use crate::steer::kept::Clock;

use super::aside;
use super::atomic_file::{AtomicFile, FileError};
use super::troubles::{StateName, TroubleKind, Troubles};
use container::Unusable;
use earlier::{Kept2, Kept3};

/// Of [`Kept`] as it is written: anything that is changed in it takes the next number.
pub const VERSION: u32 = 4;
/// The oldest that is still read; see [`earlier`].
const OLDEST: u32 = 2;
/// From one save to the next.
pub const PERIOD: Duration = Duration::from_secs(30);
/// What is older is not taken up. Within it clients are about where they were, and plans about right; beyond it
/// most will have asked others, and a region's load may be anything.
pub const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// Largest file written and read back: half as much again as 200,000 flows, 400,000 planned
/// places and 1,024 regions take (39 MB).
const MAX_BYTES: u64 = 64 << 20;

/// The files in a state directory.
#[derive(Clone, Debug)]
pub struct WarmStore {
    whole: AtomicFile,
    /// Of the same form, without a plan.
    health: AtomicFile,
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All that is known.
    Whole,
    /// Regions alone.
    Health,
}

/// Why nothing is taken up, or kept.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} cannot be used: {error}")]
    Unusable { path: PathBuf, error: Unusable },
    #[error("{path} cannot be used: its body makes no sense: {error}")]
    Senseless { path: PathBuf, error: postcard::Error },
    #[error("{path} is {age_s} s old, and nothing older than {} s is taken up", MAX_AGE.as_secs())]
    TooOld { path: PathBuf, age_s: u64 },
    #[error("{path} was written {ahead_s} s from now, so one of the clocks was wrong")]
    FromTheFuture { path: PathBuf, ahead_s: u64 },
    #[error("what is known cannot be written down: {0}")]
    Unwritable(postcard::Error),
    #[error("the server is stopping: {0}")]
    Stopped(String),
}

/// How a start went.
#[derive(Debug)]
pub enum WarmStart {
    /// Nothing was kept: the first start.
    First,
    /// Nothing of it was taken up.
    Cold(WarmError),
    Warm {
        /// From the save to now.
        age: Duration,
        restored: Restored,
        /// Why one of the two files was of no use.
        lost: Option<WarmError>,
    },
}

impl WarmStore {
    /// In this state directory, which is made when something is first kept.
    pub fn new(state_directory: &Path) -> WarmStore {
        let file = |name| AtomicFile::new(state_directory.join(name), MAX_BYTES);
        WarmStore { whole: file(StateName::Steering.as_str()), health: file("health.kept") }
    }

    /// Keeps exactly this, as of a time by the wall clock. When it returns, all of it survives a crash of the machine.
    ///
    /// # Errors
    /// The disk's, or there is too much of it; what was kept before is still there.
    pub fn save(&self, part: Part, kept: &Kept, unix_ms: u64) -> Result<(), WarmError> {
        let body = postcard::to_stdvec(kept).map_err(WarmError::Unwritable)?;
        Ok(self.file(part).replace(&container::seal(VERSION, unix_ms, &body))?)
    }

    /// What was kept, and when; `None` where nothing was.
    ///
    /// # Errors
    /// Why it cannot be used; the file stays as it is.
    pub fn load(&self, part: Part, unix_ms: u64) -> Result<Option<(Kept, u64)>, WarmError> {
        self.read(part, |saved_at_ms| check_age(self.file(part).path(), saved_at_ms, unix_ms))
    }

    /// The same, where `check` takes the time of its save.
    fn read(
        &self,
        part: Part,
        check: impl FnOnce(u64) -> Result<(), WarmError>,
    ) -> Result<Option<(Kept, u64)>, WarmError> {
        let file = self.file(part);
        let path = || file.path().to_owned();
        let Some(octets) = file.read()? else { return Ok(None) };
        let opened = container::open(&octets, OLDEST..=VERSION);
        let opened = opened.map_err(|error| WarmError::Unusable { path: path(), error })?;
        check(opened.saved_at_ms)?;
        let kept = match opened.version {
            OLDEST => postcard::from_bytes::<Kept2>(opened.body).map(Kept::from),
            3 => postcard::from_bytes::<Kept3>(opened.body).map(Kept::from),
            _ => postcard::from_bytes(opened.body),
        };
        let kept = kept.map_err(|error| WarmError::Senseless { path: path(), error })?;
        Ok(Some((kept, opened.saved_at_ms)))
    }

    /// Takes up what was kept, where it is young enough and right. See [`Publisher::restore`] for when to call it.
    pub fn restore(&self, publisher: &mut Publisher, clock: Clock) -> WarmStart {
        let load = |part| match self.load(part, clock.unix_ms()) {
            Ok(found) => (found, None),
            Err(error) => (None, Some(error)),
        };
        let ((whole, whole_lost), (health, health_lost)) = (load(Part::Whole), load(Part::Health));
        let lost = whole_lost.or(health_lost);
        let ((kept, saved_at_ms), lost) = match (whole, health, lost) {
            (None, None, None) => return WarmStart::First,
            (None, None, Some(error)) => {
                self.restore_taken_down(publisher, clock);
                return WarmStart::Cold(error);
            }
            (whole, health, lost) => (younger(whole, health), lost),
        };
        let age = Duration::from_millis(clock.unix_ms().saturating_sub(saved_at_ms));
        WarmStart::Warm { age, restored: publisher.restore(&kept, &clock.not_before(saved_at_ms)), lost }
    }

    /// Takes up from files of any age which regions their probes took down, and were not let back yet: no pause is an
    /// operator's word.
    fn restore_taken_down(&self, publisher: &mut Publisher, clock: Clock) {
        let read = |part| self.read(part, |_| Ok(())).ok().flatten();
        let (kept, saved_at_ms) = younger(read(Part::Whole), read(Part::Health));
        let kept = kept.taken_down();
        if !kept.regions.is_empty() {
            publisher.restore(&kept, &clock.not_before(saved_at_ms));
        }
    }

    /// After a start: what was corrupt is set aside instead of being written over, and told. A file of another version
    /// or age is none: that is an upgrade, or a long pause.
    pub fn keep_corrupt(&self, start: &WarmStart, troubles: &Troubles) {
        let lost = match start {
            WarmStart::Cold(error) | WarmStart::Warm { lost: Some(error), .. } => Some(error),
            WarmStart::First | WarmStart::Warm { lost: None, .. } => None,
        };
        match lost {
            None | Some(WarmError::Unusable { error: Unusable::Version { .. }, .. }) => {}
            Some(error @ (WarmError::Unusable { path, .. } | WarmError::Senseless { path, .. })) => {
                if let Err(failed) = aside::set_aside(path) {
                    let error = format!("{error}; nor can it be set aside: {failed}");
                    troubles.begin(StateName::Steering, TroubleKind::Unreadable, &error, COLD);
                }
            }
            Some(error @ WarmError::File(_)) => {
                troubles.begin(StateName::Steering, TroubleKind::Unreadable, &error.to_string(), COLD);
            }
            Some(_) => {}
        }
        for path in [self.whole.path(), self.health.path()] {
            if let Some(aside) = aside::newest_aside(path) {
                let error = format!("{} was not as it was written, and is now {}", path.display(), aside.display());
                troubles.begin(StateName::Steering, TroubleKind::SetAside, &error, COLD_ONCE);
            }
        }
    }

    fn file(&self, part: Part) -> &AtomicFile {
        match part {
            Part::Whole => &self.whole,
            Part::Health => &self.health,
        }
    }
}

/// The regions of the younger, with what else there is, and when it was saved.
fn younger(whole: Option<(Kept, u64)>, health: Option<(Kept, u64)>) -> (Kept, u64) {
    match (whole, health) {
        (Some((whole, whole_at)), Some((health, health_at))) if health_at >= whole_at => {
            (Kept { planning: whole.planning, ..health }, health_at)
        }
        (Some(kept), _) | (None, Some(kept)) => kept,
        (None, None) => (Kept::default(), 0),
    }
}

fn check_age(path: &Path, saved_at_ms: u64, unix_ms: u64) -> Result<(), WarmError> {
    let (age, ahead) = (unix_ms.saturating_sub(saved_at_ms), saved_at_ms.saturating_sub(unix_ms));
    let most = MAX_AGE.as_millis() as u64;
    if age > most {
        return Err(WarmError::TooOld { path: path.to_owned(), age_s: age / 1000 });
    }
    // A clock that was set back by a little is forgiven, and counts as having stood still.
    if ahead > most {
        return Err(WarmError::FromTheFuture { path: path.to_owned(), ahead_s: ahead / 1000 });
    }
    Ok(())
}
const COLD: &str = "the start was a cold one";
const COLD_ONCE: &str = "the start after that was a cold one; remove it when nobody wants to look, and restart";

impl WarmStart {
    /// Says it in the log; of a first start there is nothing to say.
    pub fn tell(&self) {
        match self {
            WarmStart::First => {}
            WarmStart::Cold(_) | WarmStart::Warm { lost: Some(_), .. } => warn!("{self}"),
            WarmStart::Warm { .. } => info!("{self}"),
        }
    }
}

impl std::fmt::Display for WarmStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WarmStart::First => f.write_str("a first start: nothing was kept"),
            WarmStart::Cold(error) => write!(f, "a cold start: {error}"),
            WarmStart::Warm { age, restored: Restored { regions, flows, places }, lost } => {
                let age_s = age.as_secs();
                write!(
                    f,
                    "a warm start: took up {regions} regions, demand from {flows} sites and a plan for {places} \
                     locations, kept {age_s} s ago"
                )?;
                lost.iter().try_for_each(|lost| write!(f, "; but {lost}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::memory::damping::kept::KeptDamping;
    use crate::state::memory::kept::{KeptEndpoint, KeptLoad, KeptRegion};
    use crate::state::memory::planning::kept_form::KeptPlanning;
    use crate::steer::health::verdict::Verdict;

    const NOW_MS: u64 = 1_790_000_000_000;
    const SECOND: u64 = 1000;

    fn kept() -> Kept {
        let endpoint = KeptEndpoint {
            label: "192.0.2.1".into(),
            verdict: Verdict::Suspect,
            since_ms: Some(NOW_MS),
            probed_at_ms: None,
            last_probe: "refused".into(),
            connect_ms: Some(0.5),
            failures: 2,
            check: Some(7),
        };
        let region = KeptRegion {
            name: "seoul@gslb.example".into(),
            endpoints: vec![endpoint],
            load: Some(KeptLoad { load: 1.5, capacity: None, at_ms: NOW_MS }),
            interval_s: Some(9.5),
            price_ms: 2.5,
            published_price_ms: 2.0,
            over_limit: true,
            shed: 0.25,
            damping: KeptDamping::sample(),
        };
        Kept { regions: vec![region], planning: Some(KeptPlanning::sample()) }
    }

    #[test]
    fn what_was_kept_comes_back_with_its_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = WarmStore::new(&directory.path().join("made/when/needed"));
        assert!(store.load(Part::Whole, NOW_MS).expect("nothing yet").is_none());
        store.save(Part::Whole, &kept(), NOW_MS).expect("kept");
        assert_eq!(store.load(Part::Whole, NOW_MS + 5).expect("back"), Some((kept(), NOW_MS)));
        fs::write(directory.path().join("made/when/needed/steering.kept.new"), "half").expect("a leftover of a crash");
        assert!(store.load(Part::Whole, NOW_MS).expect("the old one").is_some());
    }

    #[test]
    fn what_is_too_old_or_from_the_future_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = WarmStore::new(directory.path());
        store.save(Part::Whole, &kept(), NOW_MS).expect("kept");
        for good in [NOW_MS, NOW_MS + 900 * SECOND, NOW_MS - 900 * SECOND] {
            assert!(store.load(Part::Whole, good).expect("good").is_some());
        }
        let told = |now| store.load(Part::Whole, now).expect_err("refused").to_string();
        assert!(told(NOW_MS + 901 * SECOND).contains("is 901 s old, and nothing older than 900 s"));
        assert!(told(NOW_MS - 901 * SECOND).contains("901 s from now, so one of the clocks was wrong"));
        assert!(told(0).contains("from now") && told(u64::MAX).contains("s old"));
    }

    #[test]
    fn what_is_not_ours_is_refused_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, file) = (WarmStore::new(directory.path()), directory.path().join("steering.kept"));
        let body = postcard::to_stdvec(&kept()).expect("octets");
        for octets in [
            Vec::new(),
            b"{\"version\":1,\"overrides\":{}}".to_vec(),
            container::seal(VERSION + 1, NOW_MS, &body),
            container::seal(VERSION, NOW_MS, &body[..body.len() - 1]),
            container::seal(VERSION, NOW_MS, &[0xff; 100]),
        ] {
            fs::write(&file, octets).expect("written");
            let error = store.load(Part::Whole, NOW_MS).expect_err("refused").to_string();
            assert!(error.contains("steering.kept cannot be used"), "{error}");
        }
        fs::remove_file(&file).expect("removed");
        fs::create_dir(&file).expect("a directory in its place");
        assert!(matches!(store.load(Part::Whole, NOW_MS), Err(WarmError::File(FileError::NotAFile { .. }))));
        assert!(matches!(store.save(Part::Whole, &kept(), NOW_MS), Err(WarmError::File(FileError::Io { .. }))));
    }

    #[test]
    fn what_is_corrupt_is_set_aside_and_another_version_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, file) = (WarmStore::new(directory.path()), directory.path().join("steering.kept"));
        let body = postcard::to_stdvec(&kept()).expect("octets");
        for (octets, aside) in [
            (container::seal(VERSION + 1, NOW_MS, &body), false),
            (container::seal(VERSION, NOW_MS, &body), false),
            (b"torn".to_vec(), true),
            (container::seal(VERSION, NOW_MS, &[0xff; 100]), true),
        ] {
            fs::write(&file, &octets).expect("written");
            let start = store.load(Part::Whole, NOW_MS).map_or_else(WarmStart::Cold, |_| WarmStart::First);
            let troubles = Troubles::default();
            store.keep_corrupt(&start, &troubles);
            assert_eq!((troubles.has(StateName::Steering, TroubleKind::SetAside), file.exists()), (aside, !aside));
        }
        let asides = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(asides, 2);
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = WarmStore::new(directory.path());
        let mut large = kept();
        large.regions[0].name = "x".repeat(MAX_BYTES as usize);
        assert!(matches!(store.save(Part::Whole, &large, NOW_MS), Err(WarmError::File(FileError::TooLarge { .. }))));
        assert!(store.load(Part::Whole, NOW_MS).expect("nothing").is_none());
    }

    #[test]
    fn as_much_as_there_may_be_has_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = WarmStore::new(directory.path());
        let mut largest = Kept { planning: Some(KeptPlanning::largest()), ..kept() };
        largest.regions = vec![largest.regions[0].clone(); 1024];
        store.save(Part::Whole, &largest, NOW_MS).expect("it fits");
        let bytes = fs::metadata(directory.path().join("steering.kept")).expect("kept").len();
        assert!(bytes < MAX_BYTES * 3 / 4, "{bytes}");
        assert!(store.load(Part::Whole, NOW_MS).expect("back").is_some_and(|(kept, _)| kept == largest));
    }

    /// As the programs of these versions wrote them.
    #[test]
    fn the_files_of_versions_before_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut expected = kept();
        expected.regions[0].damping = KeptDamping::sample_of_before();
        for octets in [&include_bytes!("version_3.kept")[..], include_bytes!("version_2.kept")] {
            fs::write(directory.path().join("steering.kept"), octets).expect("written");
            let (found, _) = WarmStore::new(directory.path()).load(Part::Whole, NOW_MS).expect("read").expect("kept");
            assert_eq!(found, expected);
            (expected.regions[0].endpoints[0].failures, expected.regions[0].endpoints[0].check) = (0, None);
        }
    }

    #[test]
    fn however_old_the_file_a_region_that_awaits_an_operator_still_does() {
        use crate::model::{Check, CheckKind, Policy, Resume};
        use crate::state::{EndpointNews, News};
        use crate::steer::testing::World;
        let directory = tempfile::tempdir().expect("a directory");
        let store = WarmStore::new(directory.path());
        let now = std::time::Instant::now();
        let publisher = |clock: Clock| {
            let World { mut model, atlas, .. } = World::two_coasts(Policy::Failover);
            for region in &mut model.regions {
                (region.checks, region.resume) = (Some(Check::new(CheckKind::Tcp { port: 80 }).into()), Resume::Manual);
            }
            Publisher::new(model, atlas, "", 0, Default::default(), clock)
        };
        let waits = |publisher: &Publisher| publisher.shared().load_full().states[0].waits_for_resume();
        let clock = Clock::new(now, NOW_MS);
        let mut before = publisher(clock);
        before.assume_up(clock);
        for verdict in [Verdict::Down, Verdict::Up] {
            let news = EndpointNews::of_only_probe("west@gslb.example", "192.0.2.0", verdict);
            before.apply(News::Probe(news), clock);
            before.publish(clock);
        }
        assert!(waits(&before));
        store.save(Part::Health, &before.kept_health(&clock), NOW_MS).expect("kept");
        for pause_s in [10, 901, 90_000] {
            let clock = Clock::new(now, NOW_MS + pause_s * SECOND);
            let mut after = publisher(clock);
            let is_cold = matches!(store.restore(&mut after, clock), WarmStart::Cold(WarmError::TooOld { .. }));
            assert_eq!(is_cold, pause_s > 900);
            after.assume_up(clock);
            assert!(waits(&after), "after {pause_s} s");
        }
    }

    #[test]
    fn regions_are_those_of_the_younger_file_and_one_file_alone_will_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = WarmStore::new(directory.path());
        let of = |name: &str| {
            let mut kept = kept();
            kept.regions[0].name = name.into();
            kept
        };
        let (whole, health) = (of("whole"), Kept { planning: None, ..of("health") });
        let told = |health_at: Option<u64>, whole_at: Option<u64>| {
            let (kept, at) = younger(whole_at.map(|at| (whole.clone(), at)), health_at.map(|at| (health.clone(), at)));
            (kept.regions[0].name.clone(), kept.planning.is_some(), at)
        };
        assert_eq!(told(Some(5), Some(4)), ("health".into(), true, 5));
        assert_eq!(told(Some(4), Some(5)), ("whole".into(), true, 5));
        assert_eq!(told(None, Some(5)), ("whole".into(), true, 5));
        assert_eq!(told(Some(4), None), ("health".into(), false, 4));
        store.save(Part::Health, &health, NOW_MS).expect("kept");
        assert!(store.load(Part::Whole, NOW_MS).expect("nothing").is_none());
        assert_eq!(store.load(Part::Health, NOW_MS).expect("back"), Some((health.clone(), NOW_MS)));
    }

    /// The octets of version 4. Whoever finds this failing has changed what is written: take the next `VERSION`, and have
    /// [`earlier`] read this one.
    #[test]
    fn the_form_of_the_file_is_that_of_its_version() {
        let octets = postcard::to_stdvec(&kept()).expect("octets");
        let digest = ring::digest::digest(&ring::digest::SHA256, &octets);
        let text: String = digest.as_ref().iter().take(8).map(|octet| format!("{octet:02x}")).collect();
        assert_eq!((VERSION, octets.len(), text.as_str()), (4, 939, "c363bb36c95b1a90"));
    }
}
