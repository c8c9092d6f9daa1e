//! `[[events.webhook]]` and `[[events.command]]` of the main file: who is told of events. A [`Value`] comes in, [`Receiver`]s go out.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::files::{Sources, path};
use super::reader::{Table, Value};
use crate::control::diagnostic::Diagnostic;
use crate::control::events::event::Severity;

/// Receivers of one kind at most: each has a task and a request of its own.
const MAX_RECEIVERS: usize = 16;
/// Each event is held against each of them.
const MAX_REGIONS_NAMED: usize = 100;
const MAX_NAME: usize = 64;
const WEBHOOK: &str = "an array of tables, [[events.webhook]]";
const COMMANDS: &str = "an array of tables, [[events.command]]";
const COMMAND: &str = "command = [\"/usr/local/bin/on-event\"]";
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT: usize = 4_096;
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
const URL: &str = "url = \"https://hooks.example.com/meridian\"";

/// Whom to tell of which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name in the log, the status and the state directory, unique. Default: where a webhook goes, without its path.
    pub name: String,
    pub to: Target,
    /// Events of these regions alone, by bare or qualified name; empty: all events.
    pub regions: Vec<String>,
    /// Events at least as severe. Default [`Severity::Info`], which all are.
    pub least: Severity,
}

/// The way events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Webhook(Webhook),
    Command(EventCommand),
}

/// A program that is given events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCommand {
    /// An absolute path.
    pub program: String,
    pub arguments: Vec<String>,
    /// The time it may take, 100 ms to 5 min. Default 10 s.
    pub timeout: Duration,
}

/// A URL that events are sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `http` or `https`. Its path and password are secrets, as chat services have it.
    pub url: String,
    pub format: Format,
    /// The file with the secret that bodies are signed with, 16 characters or more. Default none: they are not.
    pub secret_file: Option<PathBuf>,
    /// The certificates that are trusted, as PEM. Default: the system's.
    pub ca_pem: Option<String>,
}

/// The form of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Events as in the admin API.
    #[default]
    Generic,
    /// A text, as Slack and those alike take it.
    Slack,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &origin(&self.url)).finish_non_exhaustive()
    }
}

/// `https://hooks.example.com`: as much of a URL as may be shown.
pub fn origin(url: &str) -> String {
    reqwest::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// A receiver, and the place of its name where it has one of its own.
type Named<'a> = (Option<Value<'a>>, Receiver);

pub fn read(value: Value<'_>, sources: &Sources<'_>) -> Option<Vec<Receiver>> {
    value.table("`events`", |t| {
        let mut found = t.get("webhook").and_then(|v| webhooks(v, sources)).unwrap_or_default();
        found.extend(t.get("command").and_then(|v| commands(v, sources)).unwrap_or_default());
        Some(named_apart(found))
    })
}

fn webhooks<'a>(value: Value<'a>, sources: &Sources<'_>) -> Option<Vec<Named<'a>>> {
    let items = value.array(WEBHOOK, MAX_RECEIVERS)?.into_iter();
    Some(items.filter_map(|item| item.table("a webhook", |t| webhook(t, sources))).collect())
}

fn commands<'a>(value: Value<'a>, sources: &Sources<'_>) -> Option<Vec<Named<'a>>> {
    if !sources.may_run_programs() {
        let refused = Diagnostic::error("events may not run programs").at(value.span(), "`allow_exec` is not true");
        value.report().push(refused.help("write `allow_exec = true` in the main file"));
    }
    let items = value.array(COMMANDS, MAX_RECEIVERS)?.into_iter();
    Some(items.filter_map(|item| item.table("a command", command)).collect())
}

fn command<'a>(table: &Table<'a>) -> Option<Named<'a>> {
    let command = table.require("command", COMMAND).and_then(program);
    let timeout = table.or("timeout", TIMEOUT, |v| v.duration(TIMEOUTS));
    let rest = receiver(table);
    let (program, arguments) = command?;
    Some(rest(Target::Command(EventCommand { program: program.clone(), arguments, timeout }), program))
}

fn program(value: Value<'_>) -> Option<(String, Vec<String>)> {
    let argument = |item: Value<'_>| {
        item.text("an argument", |text| match text.len() {
            0..=MAX_ARGUMENT if !text.contains('\0') => Ok(text.to_owned()),
            _ => Err("holds a NUL, or more than 4,096 octets"),
        })
    };
    let items = value.array("an array such as [\"/usr/local/bin/on-event\"]", MAX_ARGUMENTS)?.into_iter().map(argument);
    let items: Vec<String> = items.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
    match items.split_first() {
        Some((program, arguments)) if program.starts_with('/') => Some((program.clone(), arguments.to_vec())),
        _ => value.error("`command` does not begin with a program", "expected an absolute path as its first item"),
    }
}

fn webhook<'a>(table: &Table<'a>, sources: &Sources<'_>) -> Option<Named<'a>> {
    const FORMATS: [(&str, Format); 2] = [("generic", Format::Generic), ("slack", Format::Slack)];
    let url = table.require("url", URL).and_then(url);
    let format = table.or("format", Format::default(), |v| v.choice(&FORMATS));
    let secret_file = table.get("secret_file").and_then(|v| path(v, sources));
    let ca_pem = table.get("ca_file").and_then(|v| ca_pem(v, sources));
    let rest = receiver(table);
    let url = url?;
    let default = origin(&url);
    Some(rest(Target::Webhook(Webhook { url, format, secret_file, ca_pem }), default))
}

/// The keys that all receivers have.
fn receiver<'a>(table: &Table<'a>) -> impl FnOnce(Target, String) -> Named<'a> + use<'a> {
    const LEAST: [(&str, Severity); 3] =
        [("info", Severity::Info), ("warning", Severity::Warning), ("error", Severity::Error)];
    let named = table.get("name");
    let name = named.and_then(name);
    let regions = table.or("regions", Vec::new(), regions);
    let least = table.or("least", Severity::Info, |v| v.choice(&LEAST));
    move |to, default| (named, Receiver { name: name.unwrap_or(default), to, regions, least })
}

/// Who has no name of its own and is called as one before is numbered; one name given twice is a mistake.
fn named_apart(found: Vec<Named<'_>>) -> Vec<Receiver> {
    let mut taken = HashSet::new();
    for (named, receiver) in &found {
        if named.is_some_and(|_| !taken.insert(receiver.name.clone()))
            && let Some(named) = named
        {
            named.error::<()>(format!("two receivers are called `{}`", receiver.name), "again here");
        }
    }
    let apart = |(named, mut receiver): Named<'_>| {
        if named.is_none() {
            let first = receiver.name.clone();
            let mut number = 1;
            while !taken.insert(receiver.name.clone()) {
                number += 1;
                receiver.name = format!("{first} ({number})");
            }
        }
        receiver
    };
    found.into_iter().map(apart).collect()
}

fn name(value: Value<'_>) -> Option<String> {
    value.text("a name such as \"on call\"", |text| match text.len() {
        1..=MAX_NAME if text.chars().all(crate::model::shown::is_seen) => Ok(text.to_owned()),
        _ => Err("expected 1 to 64 octets of visible text"),
    })
}

/// Nothing that is quoted here may be the URL: it is as good as a password.
fn url(value: Value<'_>) -> Option<String> {
    let text = value.string("a URL")?;
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(text.to_owned()),
        Ok(_) => value.error("the URL does not begin with http:// or https://", "no webhook"),
        Err(error) => value.error(format!("not a URL: {error}"), "no webhook"),
    }
}

fn regions(value: Value<'_>) -> Option<Vec<String>> {
    let items = value.one_or_many("an array of regions such as [\"seoul\"]", MAX_REGIONS_NAMED)?;
    let region = |text: &str| if text.is_empty() { Err("the name is empty") } else { Ok(text.to_owned()) };
    Some(items.into_iter().filter_map(|item| item.text("a region's name", region)).collect())
}

fn ca_pem(value: Value<'_>, sources: &Sources<'_>) -> Option<String> {
    value.text("a PEM file with certificates", |path| {
        let file = sources.open(&sources.resolve(path))?;
        let mut certificates = CertificateDer::pem_slice_iter(file.text.as_bytes()).peekable();
        match certificates.peek().is_some() && certificates.all(|each| each.is_ok()) {
            true => Ok(file.text.clone()),
            false => Err(format!("{} holds no certificates in PEM", file.path)),
        }
    })
}
