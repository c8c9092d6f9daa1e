//! `check.dns`: the question to a name server, and what its response must be.

use crate::control::config::reader::Table;
use crate::model::{DnsCheck, Name, RecordType};

pub fn read(table: &Table<'_>) -> Option<DnsCheck> {
    let port = table.or("port", 53, |v| v.small(1..=65_535));
    let name = table
        .require("name", "name = \"www.example.com\"")
        .and_then(|v| v.text("a name such as \"www.example.com\"", Name::parse_absolute));
    let rtype = table.or("type", RecordType::A, |v| v.text("a record type such as \"SOA\"", record_type));
    let rcode = table.or("rcode", 0, |v| v.choice(&DnsCheck::RCODES));
    // Other responses than NOERROR seldom have answers.
    let wants_answer = table.or("answer", rcode == 0, |v| v.boolean());
    let recursive = table.or("recursive", false, |v| v.boolean());
    Some(DnsCheck { port, name: name?, rtype, rcode, wants_answer, recursive })
}

/// A type one question can be about: transfers take many messages.
fn record_type(text: &str) -> Result<RecordType, &'static str> {
    match text.parse() {
        Ok(rtype) if rtype == RecordType::ANY || RecordType::is_data(rtype) => Ok(rtype),
        Ok(_) => Err("no type that is asked for in a query"),
        Err(_) => Err("not a record type"),
    }
}
