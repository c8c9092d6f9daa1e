//! `[log]`, `[query_log]` and `[dnstap]` of the main file: what is written down, and where. A [`Value`] comes in; settings go out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;

use super::files::{Sources, path};
use super::reader::{Table, Value};
use crate::control::rotated_file::RotatedFile;

/// The log of the server itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Default [`LogFormat::Text`]. The command line goes before this, and so for `level`.
    pub format: Option<LogFormat>,
    /// Default `info`.
    pub level: Option<Targets>,
}

/// The form of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object per line.
    Json,
}

/// The log of queries. At least one of `file` and `stdout` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLog {
    /// 100 MB unless said otherwise, 1 MB to 1 TB, and 4 full files beside it, 0 to 100.
    pub file: Option<RotatedFile>,
    /// Default false.
    pub stdout: bool,
    /// One query in so many, 1 to 1,000,000. Default 1: each.
    pub one_in: u32,
    /// Lines in a second at most, 1 to 1,000,000. Default 1,000: a line takes some 5 µs of another thread.
    pub per_second: u32,
    pub clients: ClientsShown,
}

/// What is shown of a client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientsShown {
    #[default]
    Whole,
    /// Its /24 or /48.
    Network,
}

/// Messages to other programs, by dnstap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dnstap {
    pub to: DnstapReader,
    /// Default `None`: `nsid`, or the machine's name.
    pub identity: Option<String>,
    /// Default `None`: `meridian` and its version.
    pub version: Option<String>,
    /// One query in so many, 1 to 1,000,000. Default 1: each.
    pub one_in: u32,
}

/// Where the reader of dnstap listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnstapReader {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const CLIENTS: [(&str, ClientsShown); 2] = [("whole", ClientsShown::Whole), ("network", ClientsShown::Network)];
const READER: &str = "\"unix:PATH\" or \"tcp:ADDRESS:PORT\"";
const MOST_IDENTITY: usize = 255;

pub fn log(value: Value<'_>) -> Option<Log> {
    value.table("`log`", |t| {
        Some(Log {
            format: t.get("format").and_then(|v| v.choice(&FORMATS)),
            level: t.get("level").and_then(|v| v.text("levels such as \"info\"", levels)),
        })
    })
}

/// Reads `info`, or `info,meridian::control::probe=debug`.
///
/// # Errors
/// The word that is no level.
pub fn levels(text: &str) -> Result<Targets, String> {
    // The filter itself takes any one word as the name of a part of the program.
    let words = ["off", "error", "warn", "info", "debug", "trace"];
    for item in text.split(',') {
        let level = item.rsplit_once('=').map_or(item, |(_, level)| level);
        if !words.contains(&level.to_lowercase().as_str()) {
            return Err(format!("`{level}` is none of {}", words.join(", ")));
        }
    }
    text.to_lowercase().parse().map_err(|error| format!("{error}"))
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        let found = FORMATS.iter().find(|(word, _)| *word == text);
        found.map(|(_, format)| *format).ok_or_else(|| format!("`{text}` is none of text, json"))
    }
}

pub fn query_log(value: Value<'_>, sources: &Sources<'_>) -> Option<QueryLog> {
    value.table("`query_log`", |t| {
        let most_octets = t.or("file_octets", 100_000_000, |v| v.integer(1_000_000..=1_000_000_000_000));
        let files = t.or("files", 4, |v| v.small(0..=100));
        let file = t.get("file").map(|v| path(v, sources));
        let log = QueryLog {
            file: file.clone().flatten().map(|path| RotatedFile { path, most_octets, files }),
            stdout: t.or("stdout", false, |v| v.boolean()),
            one_in: one_in(t),
            per_second: t.or("per_second", 1_000, |v| v.small(1..=1_000_000)),
            clients: t.or("clients", ClientsShown::default(), |v| v.choice(&CLIENTS)),
        };
        if file.is_none() && !log.stdout {
            return t.require("file", "file = \"query.jsonl\", or stdout = true").and(None);
        }
        Some(log)
    })
}

pub fn dnstap(value: Value<'_>, sources: &Sources<'_>) -> Option<Dnstap> {
    value.table("`dnstap`", |t| {
        let to = t
            .require("to", "to = \"unix:/run/dnstap.sock\"")
            .and_then(|v| v.text(READER, |text| reader(text, sources)));
        let (identity, version) = (t.get("identity").and_then(identity), t.get("version").and_then(identity));
        let one_in = one_in(t);
        Some(Dnstap { to: to?, identity, version, one_in })
    })
}

fn one_in(table: &Table<'_>) -> u32 {
    table.or("one_in", 1, |v| v.small(1..=1_000_000))
}

fn reader(text: &str, sources: &Sources<'_>) -> Result<DnstapReader, String> {
    match text.split_once(':') {
        Some(("unix", path)) if !path.is_empty() => Ok(DnstapReader::Unix(sources.resolve(path))),
        Some(("tcp", address)) => {
            address.parse().map(DnstapReader::Tcp).map_err(|_| format!("`{address}` is no address with a port"))
        }
        _ => Err("it says neither of a socket nor of an address".to_owned()),
    }
}

fn identity(value: Value<'_>) -> Option<String> {
    value.text("1 to 255 octets of text", |text| match text.len() {
        1..=MOST_IDENTITY => Ok(text.to_owned()),
        0 => Err("the text is empty"),
        _ => Err("the text is longer than 255 octets"),
    })
}
