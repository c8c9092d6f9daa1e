//! A database file: its bytes in, one place for every address out, or why it cannot be trusted.
//!
//! The search tree is walked whole and every record it names is read once, so what is corrupt is
//! found when the file is loaded, not by a query. The walk is our own: it needs every leaf in
//! order, the gaps too, and a bound on work for trees that share branches (a few kilobytes can
//! name 2^128 networks). Metadata and records are read by `maxminddb`.
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>. A tree of IPv6 holds IPv4 under `::/96`.
//! Other branches that lead to the same node (`::ffff:0:0/96`, `2002::/16`, `2001::/32`) are
//! aliases, and are left out: IPv4 is looked up as IPv4.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader};

use super::places::Collector;
use super::record::Record;
use super::steps::{Address, Steps};
use crate::model::Location;

/// A database file already read into memory: never mapped, since a file that someone truncates
/// under a map kills the process.
#[derive(Clone)]
pub struct Database {
    /// As the operator named it.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// Why a database was refused. Each says which file and what to do.
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

/// Largest file read. The largest sold is below 2 GB.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Most steps a walk takes. The largest trees sold have about 20 million nodes.
const MAX_STEPS: u64 = 50_000_000;

/// Most distinct places over all databases and networks.
pub const MAX_PLACES: u64 = 20_000_000;

/// Most bytes of names over all databases.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Zero bytes between the tree and the data.
const SEPARATOR_BYTES: usize = 16;

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

/// What one database says, in numbers of a [`Collector`].
pub struct Contents {
    pub v4: Steps<u32>,
    pub v6: Steps<u128>,
    pub detail: Detail,
    /// Such as `GeoLite2-City`.
    pub kind: String,
    /// Seconds since 1970.
    pub build_epoch: u64,
    /// Leaves of the tree with a record, aliases left out.
    pub networks: u64,
}

/// How closely a database tells where a network is; the closer comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    City,
    Country,
    /// No places, only who runs the network.
    Asn,
}

/// Reads all of a database. Fails where anything in it cannot be trusted.
pub fn read_contents(database: &Database, collector: &mut Collector) -> Result<Contents, AtlasError> {
    let path = &database.path;
    let reader = Reader::from_source(database.bytes.as_slice())
        .map_err(|error| AtlasError::NotADatabase { path: path.clone(), reason: reason(error) })?;
    let tree = Tree::of(database, &reader)?;
    let mut walk = Walk {
        path,
        reader: &reader,
        tree: &tree,
        collector,
        places: HashMap::new(),
        steps_left: MAX_STEPS.min(4096 + 4 * tree.node_count as u64),
        networks: 0,
        detail: None,
    };
    let (ipv4_root, v6) = if reader.metadata().ip_version == 6 {
        let root = tree.ipv4_root();
        (root, walk.family::<u128>(0, Some(root))?)
    } else {
        (0, Steps::constant(0))
    };
    let v4 = walk.family::<u32>(ipv4_root, None)?;
    let (networks, detail) = (walk.networks, walk.detail);
    let kind = reader.metadata().database_type.clone();
    let Some(detail) = detail else {
        return Err(AtlasError::NothingKnown { path: path.clone(), kind });
    };
    Ok(Contents { v4, v6, detail, kind, build_epoch: reader.metadata().build_epoch, networks })
}

/// The search tree: nodes of two records each. A record below `node_count` is a node, one equal
/// to it is empty, one above it is the place of data.
struct Tree<'a> {
    bytes: &'a [u8],
    node_count: usize,
    /// 24, 28 or 32; a node has twice as many.
    record_bits: usize,
}

impl<'a> Tree<'a> {
    /// Fails where the tree reaches beyond the file or no separator follows it.
    fn of(database: &'a Database, reader: &Reader<&[u8]>) -> Result<Tree<'a>, AtlasError> {
        let corrupt = |reason: &str| AtlasError::Corrupt { path: database.path.clone(), reason: reason.to_owned() };
        let node_count = reader.metadata().node_count as usize;
        let record_bits = usize::from(reader.metadata().record_size);
        let end = node_count * record_bits / 4;
        let bytes = database.bytes.get(..end).ok_or_else(|| corrupt("the tree reaches beyond the file"))?;
        let separator = database.bytes.get(end..end + SEPARATOR_BYTES);
        if separator.is_none_or(|separator| separator.iter().any(|&byte| byte != 0)) {
            return Err(corrupt("no separator follows the tree"));
        }
        Ok(Tree { bytes, node_count, record_bits })
    }

    /// The left (0) and right (1) records of a node; `node < node_count`.
    fn records(&self, node: usize) -> (usize, usize) {
        let at = node * self.record_bits / 4;
        let node = &self.bytes[at..at + self.record_bits / 4];
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte));
        match self.record_bits {
            24 => (number(&node[..3]), number(&node[3..])),
            // The byte in the middle holds the upper four bits of both.
            28 => {
                let (left, right) = (usize::from(node[3] >> 4), usize::from(node[3] & 0x0f));
                (left << 24 | number(&node[..3]), right << 24 | number(&node[4..]))
            }
            _ => (number(&node[..4]), number(&node[4..])),
        }
    }

    /// The record of `::/96`, or of the wider network that holds it.
    fn ipv4_root(&self) -> usize {
        let mut record = 0;
        for _ in 0..96 {
            if record >= self.node_count {
                break;
            }
            record = self.records(record).0;
        }
        record
    }
}

/// One walk over the leaves of a database.
struct Walk<'a> {
    path: &'a str,
    reader: &'a Reader<&'a [u8]>,
    tree: &'a Tree<'a>,
    collector: &'a mut Collector,
    /// By the record that names the data.
    places: HashMap<usize, u32>,
    steps_left: u64,
    networks: u64,
    /// The closest of the records read; `None` while none says anything.
    detail: Option<Detail>,
}

impl Walk<'_> {
    /// All leaves under `root`, in order. `ipv4` is left out: under `::/96` and as an alias.
    fn family<A: Address>(&mut self, root: usize, ipv4: Option<usize>) -> Result<Steps<A>, AtlasError> {
        let ipv4 = ipv4.filter(|&node| node < self.tree.node_count);
        let mut steps = Steps::constant(0);
        let mut open = vec![(root, 0u8, A::default())];
        while let Some((record, depth, address)) = open.pop() {
            self.steps_left = self.steps_left.checked_sub(1).ok_or_else(|| {
                self.corrupt("its tree runs in circles or names far more networks than it has nodes".into())
            })?;
            if Some(record) == ipv4 {
                steps.push(address, 0);
            } else if record >= self.tree.node_count {
                steps.push(address, self.leaf(record, address)?);
            } else if depth >= A::BITS {
                return Err(self.corrupt("its tree is deeper than an address has bits".into()));
            } else {
                let (left, right) = self.tree.records(record);
                open.push((right, depth + 1, address.with_bit(depth)));
                open.push((left, depth + 1, address));
            }
        }
        Ok(steps)
    }

    /// The place of a leaf that begins at `address`; 0 where it is empty.
    fn leaf<A: Address>(&mut self, record: usize, address: A) -> Result<u32, AtlasError> {
        if record == self.tree.node_count {
            return Ok(0);
        }
        self.networks += 1;
        if let Some(&place) = self.places.get(&record) {
            return Ok(place);
        }
        let found = self.reader.lookup(address.to_ip()).and_then(|found| found.decode::<Record>());
        let location = found.map_err(|error| self.corrupt(reason(error)))?.unwrap_or_default().to_location();
        self.detail = [self.detail, detail_of(&location)].into_iter().flatten().min();
        let place = self.collector.add(&location);
        self.places.insert(record, place);
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

fn detail_of(location: &Location) -> Option<Detail> {
    if location.city.is_some() || location.coordinates.is_some() {
        Some(Detail::City)
    } else if location.country.is_some() || location.continent.is_some() {
        Some(Detail::Country)
    } else {
        location.asn.map(|_| Detail::Asn)
    }
}

/// What went wrong, without the words that [`AtlasError`] says itself.
fn reason(error: MaxMindDbError) -> String {
    match error {
        MaxMindDbError::InvalidDatabase { message, offset: Some(offset) } => format!("{message} (at byte {offset})"),
        MaxMindDbError::InvalidDatabase { message, offset: None } => message,
        other => other.to_string(),
    }
}
