//! `check.tcp` with `send` or `expect`, `check.udp`: the octets that are sent, and those that must come back.

use crate::control::config::reader::{Table, Value};
use crate::model::{CheckKind, ExchangeCheck};

/// Octets sent and octets expected at most.
const MAX_OCTETS: usize = 1_024;

const OCTETS: &str = "a text such as \"PING\\r\\n\", or octets such as { hex = \"16 03 01\" }";

/// A connection that must be accepted, and what is said over it.
pub fn tcp(table: &Table<'_>) -> Option<CheckKind> {
    let port = port(table);
    let (send, expect) = (table.get("send"), table.get("expect"));
    let octets = |value: Option<Value<'_>>| value.map_or(Some(Vec::new()), octets);
    let (sent, expected) = (octets(send), octets(expect));
    match (send, expect) {
        (None, None) => Some(CheckKind::Tcp { port: port? }),
        (Some(send), None) => send.error("`send` without `expect`", "no reply would be waited for: add `expect`"),
        _ => Some(CheckKind::TcpExchange(ExchangeCheck { port: port?, send: sent?, expect: expected? })),
    }
}

/// A datagram, and the one that must come back.
pub fn udp(table: &Table<'_>) -> Option<CheckKind> {
    let port = port(table);
    let send = table.require("send", "send = \"ping\"").and_then(octets);
    let expect = table.get("expect").map_or(Some(Vec::new()), octets);
    Some(CheckKind::Udp(ExchangeCheck { port: port?, send: send?, expect: expect? }))
}

fn port(table: &Table<'_>) -> Option<u16> {
    table.require("port", "port = 443")?.small(1..=65_535)
}

fn octets(value: Value<'_>) -> Option<Vec<u8>> {
    let octets = match value.is_table() {
        true => value.table_like(format!("`{}`", value.name), OCTETS, |table| {
            table.require("hex", "hex = \"16 03 01\"")?.text("pairs of hexadecimal digits", hex)
        })?,
        false => value.string(OCTETS)?.as_bytes().to_vec(),
    };
    if octets.is_empty() || octets.len() > MAX_OCTETS {
        let label = format!("found {} octets, expected 1 to {MAX_OCTETS}", octets.len());
        return value.error(format!("`{}` has no fitting length", value.name), label);
    }
    Some(octets)
}

fn hex(text: &str) -> Result<Vec<u8>, &'static str> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|char| !char.is_ascii_whitespace())
        .map(|char| char.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.ok_or("not hexadecimal digits")?;
    match digits.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err("the last octet has one digit"),
    }
}
