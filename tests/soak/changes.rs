//! What is done to the server while it answers, each kind by a thread of its own at a bounded rate: files edited and
//! reloaded, good ones and bad ones; databases replaced; regions that die and come back; operators' words.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use meridian::admin::client::AdminClient;
use meridian::steer::health::effective::Override;
use tokio::runtime::Runtime;

use crate::asking;
use crate::facts::{AT_ONCE, Facts, PROMISE};
use crate::process::{Process, signal};
use crate::regions::{Endpoints, Mode};
use crate::world::{self, FIRST, OPEN, POISON, PROBED, REGIONS};

/// From one edit to the next.
const EDITS: Duration = Duration::from_millis(700);
/// Every so many edits, one that must be refused comes before.
const BAD_OF: u32 = 3;
/// From one database to the next; every so many times a bad one comes between.
const DATABASES: Duration = Duration::from_secs(3);
const BAD_DATABASES_OF: u32 = 5;
/// A dead region stays dead for so long, of which the last part tells.
const DEAD: Duration = PROMISE.saturating_add(Duration::from_secs(2));
const ALIVE: Duration = Duration::from_secs(1);
const WORDS: Duration = Duration::from_millis(400);
/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn start(
    server: &Process,
    endpoints: &Arc<Endpoints>,
    facts: &Arc<Facts>,
    over: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let is_over = |over: &Arc<AtomicBool>| {
        let over = over.clone();
        move || over.load(Ordering::SeqCst)
    };
    let mut editor = Editor::new(server, endpoints.port, facts);
    let mut reaper = Reaper { endpoints: endpoints.clone(), facts: facts.clone(), rng: fastrand::Rng::with_seed(3) };
    let mut operator = Operator { admin: Admin::new(server), facts: facts.clone(), rng: fastrand::Rng::with_seed(4) };
    let [first, second, third] = [over; 3].map(is_over);
    vec![
        std::thread::spawn(move || editor.run(first)),
        std::thread::spawn(move || reaper.run(second)),
        std::thread::spawn(move || operator.run(third)),
    ]
}

/// Waits until every region is up and answered, where it may be expected by a plan: nothing of what happened is left.
pub fn everything_is_whole(server: &Process, facts: &Facts, planned: bool, patience: Duration) {
    let admin = Admin::new(server);
    let (began, before) = (Instant::now(), facts.answered());
    loop {
        asking::some_of_each(server.dns, facts);
        let status = admin.status();
        let regions = status["regions"].as_array().expect("regions");
        let up = regions.iter().filter(|region| region["state"] == "up").count();
        let answered = facts.answered().iter().zip(before).all(|(now, before)| *now > before);
        if up == REGIONS && answered && (!planned || status["planning"]["by"] == "plan") {
            return;
        }
        assert!(began.elapsed() < patience, "{up} of {REGIONS} regions are up, answered {answered}: {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The admin API, for threads.
struct Admin {
    runtime: Runtime,
    client: AdminClient,
}

impl Admin {
    fn new(server: &Process) -> Admin {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Admin { runtime, client: AdminClient::new(server.admin, None).expect("a client") }
    }

    fn status(&self) -> serde_json::Value {
        self.runtime.block_on(self.client.status()).expect("the admin API answers")
    }

    fn reload(&self) -> Result<(), String> {
        self.runtime.block_on(self.client.reload(false)).map(|_| ()).map_err(|error| error.to_string())
    }

    /// A disk that is busy with something else holds words up, and they are refused: then they are said again.
    fn say(&self, region: usize, word: Override) {
        for left in (0..10).rev() {
            match self.runtime.block_on(self.client.set_override(&world::name_of(region), word)) {
                Ok(_) => return,
                Err(error) if left > 0 && error.to_string().contains("disk did not answer in time") => {
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(error) => panic!("the word takes: {error}"),
            }
        }
    }
}

/// Edits all zone files together and has them loaded.
struct Editor {
    admin: Admin,
    facts: Arc<Facts>,
    folder: PathBuf,
    port: u16,
    process: u32,
    dns: std::net::SocketAddr,
    edition: u32,
    database: u32,
    next_database: Instant,
}

impl Editor {
    fn new(server: &Process, port: u16, facts: &Arc<Facts>) -> Editor {
        Editor {
            admin: Admin::new(server),
            facts: facts.clone(),
            folder: server.folder().to_owned(),
            port,
            process: server.id(),
            dns: server.dns,
            edition: FIRST,
            database: 0,
            next_database: Instant::now() + DATABASES,
        }
    }

    fn run(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            if self.edition.is_multiple_of(BAD_OF) {
                self.bad_edit();
            }
            self.good_edit();
            if Instant::now() >= self.next_database {
                self.replace_database();
                self.next_database = Instant::now() + DATABASES;
            }
            self.facts.wait(EDITS, &is_over);
        }
    }

    /// One file after the other, as an editor does: who loads sees all of them or none.
    fn good_edit(&mut self) {
        self.edition += 1;
        self.facts.tried(self.edition);
        self.write_zones(self.edition);
        write(&self.folder.join("meridian.toml"), world::main(self.edition));
        if self.edition.is_multiple_of(2) {
            if let Err(error) = self.admin.reload() {
                self.facts.blame(format!("edition {} is not taken: {error}", self.edition));
                return;
            }
        } else {
            signal(self.process, "-HUP");
            let began = Instant::now();
            while asking::serial(self.dns, "notes0.example") != Some(self.edition) {
                if began.elapsed() > PATIENCE {
                    self.facts.blame(format!("edition {} is not answered after SIGHUP", self.edition));
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.facts.confirmed(self.edition);
        self.facts.counts.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// All files are of another edition, and one has a mistake: none of it may ever be answered.
    fn bad_edit(&mut self) {
        self.write_zones(POISON);
        let mistakes = [
            (
                "zones/notes1.example.toml",
                "origin = \"notes1.example\"\nrecords = \"\"\"\n@ NS ns1\nns1 A 1.2.3\n\"\"\"\n",
            ),
            ("zones/bad.example.toml", "origin = \"bad.example\"\nrecords = \"\"\"\n@ SOA"),
            ("meridian.toml", "listen = 7\n"),
        ];
        let (file, text) = mistakes[(self.edition / BAD_OF) as usize % mistakes.len()];
        write(&self.folder.join(file), text);
        if self.admin.reload().is_ok() {
            self.facts.blame(format!("files with a mistake in {file} were taken"));
        }
        let _ = std::fs::remove_file(self.folder.join("zones/bad.example.toml")); // it may be another's turn
        self.facts.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn write_zones(&self, edition: u32) {
        for (name, text) in world::zones(edition, self.port) {
            write(&self.folder.join("zones").join(name), text);
        }
    }

    /// As tools for that do: a new file takes the place of the old one.
    fn replace_database(&mut self) {
        self.database += 1;
        let (new, file) = (self.folder.join("geo.new"), self.folder.join("geo.mmdb"));
        let put = |octets: &[u8]| {
            write(&new, octets);
            std::fs::rename(&new, &file).expect("renamed");
        };
        if self.database.is_multiple_of(BAD_DATABASES_OF) {
            put(b"no database");
            std::thread::sleep(Duration::from_secs(1));
        }
        put(&world::database(self.database % 2));
        self.facts.counts.databases.fetch_add(1, Ordering::Relaxed);
    }
}

fn write(file: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(file, content).expect("written");
}

/// Lets one or two of the probed regions die at a time, each in another way.
struct Reaper {
    endpoints: Arc<Endpoints>,
    facts: Arc<Facts>,
    rng: fastrand::Rng,
}

impl Reaper {
    fn run(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            let mut dying: Vec<usize> = (0..PROBED - 1).collect();
            self.rng.shuffle(&mut dying);
            dying.truncate(self.rng.usize(1..=2));
            for &region in &dying {
                // A TCP check is content with whoever accepts.
                let how =
                    if region == 2 { Mode::Gone } else { [Mode::Gone, Mode::Hung, Mode::Failing][self.rng.usize(..3)] };
                self.endpoints.set(region, how);
                self.facts.goes(region, PROMISE);
                self.facts.counts.deaths.fetch_add(1, Ordering::Relaxed);
            }
            self.facts.wait(DEAD, &is_over);
            for region in dying {
                self.facts.may_be_back(region);
                self.endpoints.set(region, Mode::Good);
            }
            self.facts.wait(ALIVE, &is_over);
        }
    }
}

/// Takes regions away by a word and gives them back.
struct Operator {
    admin: Admin,
    facts: Arc<Facts>,
    rng: fastrand::Rng,
}

impl Operator {
    fn run(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            let region = PROBED + self.rng.usize(..OPEN - 1);
            self.admin.say(region, [Override::Down, Override::Drain][self.rng.usize(..2)]);
            self.facts.goes(region, AT_ONCE);
            self.facts.wait(WORDS, &is_over);
            self.facts.may_be_back(region);
            self.admin.say(region, Override::Auto);
            self.facts.counts.words.fetch_add(1, Ordering::Relaxed);
            self.facts.wait(WORDS / 2, &is_over);
        }
    }
}
