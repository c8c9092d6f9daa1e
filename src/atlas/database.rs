//! A database file: its bytes in, one place for every address out, or why it cannot be trusted.
//!
//! The search tree is walked whole and every record it names is read once, so what is corrupt is
//! found when the file is loaded, not by a query. The walk is our own: it needs every leaf in
//! order, the gaps too, and a bound on work for trees that share branches (a few kilobytes can
//! name 2^128 networks). Metadata is read by `maxminddb`, records by [`super::record`].
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>. A tree of IPv6 holds IPv4 under `::/96`.
//! Other branches that lead to the same node (`::ffff:0:0/96`, `2002::/16`, `2001::/32`) are
//! aliases, and are left out: IPv4 is looked up as IPv4.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader};

use super::data::Data;
use super::places::Collector;
use super::record::Record;
use super::sources::Detail;
use super::steps::{Address, Steps};
use super::tree::Tree;

/// A database file already read into memory: never mapped, since a file that someone truncates
/// under a map kills the process.
#[derive(Clone)]
pub struct Database {
    /// As the operator named it.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// The reason why a database was refused. Each says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AtlasError {
    /// It is missing, not readable, or not a file.
    #[error("cannot read the database {path}: {reason}; check the path and its permissions")]
    Read { path: String, reason: String },
    /// It is not in the MaxMind DB format, or cut short: metadata stands at the end.
    #[error("{path} is not a whole MaxMind database: {reason}; the download may have been cut short, fetch it again")]
    NotADatabase { path: String, reason: String },
    /// Its tree or a record makes no sense.
    #[error("the database {path} is corrupt: {reason}; fetch it again")]
    Corrupt { path: String, reason: String },
    /// It is whole, but no record says anything of where or whose a network is.
    #[error("the database {path} ({kind}) says nothing of places: a City, Country or ASN database is needed")]
    NothingKnown { path: String, kind: String },
    /// More than an atlas may hold.
    #[error("the database {path} is too large: {what} above the limit of {limit}; use a smaller edition")]
    TooLarge { path: String, what: &'static str, limit: u64 },
}

impl AtlasError {
    /// The path of the database, as in [`Database::path`].
    pub fn path(&self) -> &str {
        match self {
            AtlasError::Read { path, .. }
            | AtlasError::NotADatabase { path, .. }
            | AtlasError::Corrupt { path, .. }
            | AtlasError::NothingKnown { path, .. }
            | AtlasError::TooLarge { path, .. } => path,
        }
    }
}

/// Largest file read. The largest sold is below 2 GB.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Most steps a walk takes. The largest trees sold have about 20 million nodes.
const MAX_STEPS: u64 = 50_000_000;

/// Most distinct places over all databases and networks.
pub const MAX_PLACES: u64 = 20_000_000;

/// Most bytes of names over all databases.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Values that may be looked at for each record. Real ones have below a hundred; shared parts are
/// counted with each.
const VALUES_PER_RECORD: u64 = 1024;

/// Megabytes of octets help nobody.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({}, {} bytes)", self.path, self.bytes.len())
    }
}

impl Database {
    /// Reads the whole file. Blocks.
    pub fn read(path: &Path) -> Result<Database, AtlasError> {
        let name = path.display().to_string();
        let refuse = |reason: String| AtlasError::Read { path: name.clone(), reason };
        // Without waiting: a named pipe nobody writes to would hold up every refresh for good.
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = open.map_err(|error| refuse(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if !metadata.is_file() {
            return Err(refuse("not a regular file".into()));
        }
        let mut bytes = Vec::with_capacity(metadata.len().min(MAX_FILE_BYTES) as usize);
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(AtlasError::TooLarge { path: name, what: "its size in bytes", limit: MAX_FILE_BYTES });
        }
        Ok(Database { path: name, bytes })
    }
}

/// The content of one database, in numbers of a [`Collector`].
pub struct Contents {
    pub v4: Steps<u32>,
    pub v6: Steps<u128>,
    pub closeness: Closeness,
    /// Such as `GeoLite2-City`.
    pub kind: String,
    /// Seconds since 1970.
    pub build_epoch: u64,
    /// Leaves of the tree with a record, aliases left out.
    pub networks: u64,
}

/// The closeness with which a database tells where a network is; the closer comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    City,
    Country,
    /// No places, only who runs the network.
    Asn,
}

/// Reads all of a database, as closely as is wanted. Fails where anything in it cannot be trusted.
pub fn read_contents(database: &Database, wanted: Detail, collector: &mut Collector) -> Result<Contents, AtlasError> {
    let path = &database.path;
    let reader = Reader::from_source(database.bytes.as_slice())
        .map_err(|error| AtlasError::NotADatabase { path: path.clone(), reason: reason(error) })?;
    let (node_count, record_bits) = (reader.metadata().node_count as usize, reader.metadata().record_size);
    let (tree, data) = Tree::of(&database.bytes, node_count, record_bits.into())
        .map_err(|reason| AtlasError::Corrupt { path: path.clone(), reason: reason.into() })?;
    let mut walk = Walk {
        path,
        tree: &tree,
        data: Data::new(data, 0),
        wanted,
        collector,
        last: (0, 0),
        places: HashMap::with_hasher(Spread::default()),
        steps_left: MAX_STEPS.min(4096 + 4 * node_count as u64),
        networks: 0,
        closeness: None,
    };
    // IPv4 first: places are then numbered as the atlas numbers them.
    let is_v6 = reader.metadata().ip_version == 6;
    let ipv4_root = if is_v6 { tree.ipv4_root() } else { 0 };
    let v4 = walk.family::<u32>(ipv4_root, None)?;
    let v6 = if is_v6 { walk.family::<u128>(0, Some(ipv4_root))? } else { Steps::constant(0) };
    let (networks, closeness) = (walk.networks, walk.closeness);
    let kind = reader.metadata().database_type.clone();
    let Some(closeness) = closeness else {
        return Err(AtlasError::NothingKnown { path: path.clone(), kind });
    };
    Ok(Contents { v4, v6, closeness, kind, build_epoch: reader.metadata().build_epoch, networks })
}

/// One walk over the leaves of a database.
struct Walk<'a> {
    path: &'a str,
    tree: &'a Tree<'a>,
    data: Data<'a>,
    wanted: Detail,
    collector: &'a mut Collector,
    /// The record met last, and its place: neighbours are often alike.
    last: (usize, u32),
    /// By the record that names the data.
    places: HashMap<u32, u32, Spread>,
    steps_left: u64,
    networks: u64,
    /// That of the closest of the records read; `None` while none says anything.
    closeness: Option<Closeness>,
}

impl Walk<'_> {
    /// All leaves under `root`, in order. `ipv4` is left out: under `::/96` and as an alias.
    fn family<A: Address>(&mut self, root: usize, ipv4: Option<usize>) -> Result<Steps<A>, AtlasError> {
        let ipv4 = ipv4.filter(|&node| node < self.tree.node_count);
        let mut steps = Steps::constant(0);
        let mut open = vec![(root, 0u8, A::default())];
        while let Some((mut record, mut depth, address)) = open.pop() {
            while record < self.tree.node_count && Some(record) != ipv4 {
                if depth >= A::BITS {
                    return Err(self.corrupt("its tree is deeper than an address has bits".into()));
                }
                self.step()?;
                let (left, right) = self.tree.records(record);
                open.push((right, depth + 1, address.with_bit(depth)));
                (record, depth) = (left, depth + 1);
            }
            self.step()?;
            steps.push(address, if Some(record) == ipv4 { 0 } else { self.leaf(record)? });
        }
        Ok(steps)
    }

    fn step(&mut self) -> Result<(), AtlasError> {
        if self.steps_left == 0 {
            let reason = "its tree runs in circles or names far more networks than it has nodes";
            return Err(self.corrupt(reason.into()));
        }
        self.steps_left -= 1;
        Ok(())
    }

    /// The place of a leaf; 0 where it is empty.
    fn leaf(&mut self, record: usize) -> Result<u32, AtlasError> {
        if record == self.tree.node_count {
            return Ok(0);
        }
        self.networks += 1;
        if record != self.last.0 {
            let known = self.places.get(&(record as u32)).copied(); // records have at most 32 bits
            let place = if let Some(place) = known { place } else { self.read(record)? };
            self.last = (record, place);
        }
        Ok(self.last.1)
    }

    /// Reads the data that a record of the tree names.
    fn read(&mut self, record: usize) -> Result<u32, AtlasError> {
        let at = self.tree.data_at(record);
        let at = at.ok_or_else(|| self.corrupt("a network's data would lie within its tree".into()))?;
        self.data.allow(VALUES_PER_RECORD);
        // Until it is known how closely the database tells, everything is read.
        let close = self.closeness == Some(Closeness::City);
        let found = Record::read(&mut self.data, at, if close { self.wanted } else { Detail::ALL });
        let record_read = found.map_err(|damage| self.corrupt(damage.to_string()))?;
        self.closeness = [self.closeness, closeness_of(&record_read)].into_iter().flatten().min();
        let place = self.collector.add_record(&record_read.limited_to(self.wanted));
        self.places.insert(record as u32, place);
        self.within_limits()?;
        Ok(place)
    }

    fn within_limits(&self) -> Result<(), AtlasError> {
        for (what, count, limit) in [
            ("its number of places", self.collector.len() as u64, MAX_PLACES),
            ("its names in bytes", self.collector.text_bytes() as u64, MAX_TEXT_BYTES),
        ] {
            if count > limit {
                return Err(AtlasError::TooLarge { path: self.path.to_owned(), what, limit });
            }
        }
        Ok(())
    }

    fn corrupt(&self, reason: String) -> AtlasError {
        AtlasError::Corrupt { path: self.path.to_owned(), reason }
    }
}

/// Hashes records of the tree, which are looked up once per network: one multiplication instead of the
/// thorough hash of the standard library. Its factor differs from run to run, so that no file can be made
/// whose records collide.
#[derive(Clone)]
struct Spread {
    factor: u64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread { factor: RandomState::new().hash_one(0) | 1 }
    }
}

impl BuildHasher for Spread {
    type Hasher = SpreadHasher;

    fn build_hasher(&self) -> SpreadHasher {
        SpreadHasher { factor: self.factor, hash: 0 }
    }
}

struct SpreadHasher {
    factor: u64,
    hash: u64,
}

impl Hasher for SpreadHasher {
    fn write_u32(&mut self, number: u32) {
        let product = u128::from(self.hash ^ u64::from(number) << 32 ^ u64::from(number)) * u128::from(self.factor);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|&octet| self.write_u32(octet.into()));
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

fn closeness_of(record: &Record) -> Option<Closeness> {
    if record.city.is_some() || record.coordinates().is_some() {
        Some(Closeness::City)
    } else if record.country().is_some() || record.continent.is_some() {
        Some(Closeness::Country)
    } else {
        record.asn.map(|_| Closeness::Asn)
    }
}

/// The reason of a failure, without the words that [`AtlasError`] says itself.
fn reason(error: MaxMindDbError) -> String {
    match error {
        MaxMindDbError::InvalidDatabase { message, offset: Some(offset) } => format!("{message} (at byte {offset})"),
        MaxMindDbError::InvalidDatabase { message, offset: None } => message,
        other => other.to_string(),
    }
}
