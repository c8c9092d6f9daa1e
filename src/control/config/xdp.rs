//! `listen.xdp`: interfaces on which UDP queries pass the kernel's stack by.
//!
//! The array's [`Value`] comes in; the interfaces go out. Whether they exist and what they can is left to
//! whoever opens them: an interface that is not there must not keep a server from starting.

use std::collections::HashMap;

use super::reader::{Table, Value};
use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::xdp::{Queues, XdpInterface};

/// A machine has a few; each takes threads and memory per queue.
const MAX_INTERFACES: usize = 16;
/// Receive queues of an interface at most, as many as the eBPF program has places for.
const MAX_QUEUES: u64 = 256;

const INTERFACES: &str = "an array of tables such as [{ interface = \"eth0\" }]";
const QUEUES: &str = "\"all\", or receive queues such as [0, 1]";

/// The interfaces, none twice.
pub fn read(value: Value<'_>) -> Option<Vec<XdpInterface>> {
    let mut interfaces = Vec::new();
    let mut seen: HashMap<String, Span> = HashMap::new();
    for item in value.array(INTERFACES, MAX_INTERFACES)? {
        let Some((interface, span)) = item.table("`listen.xdp`", interface) else { continue };
        if let Some(first) = seen.insert(interface.name.clone(), span.clone()) {
            let twice = Diagnostic::error(format!("the interface {:?} is there twice", interface.name));
            value.report().push(twice.at(span, "again here").related(first, "first here"));
        }
        interfaces.push(interface);
    }
    Some(interfaces)
}

fn interface(table: &Table<'_>) -> Option<(XdpInterface, Span)> {
    let name = table.require("interface", "interface = \"eth0\"");
    let queues = table.or("queues", Queues::All, queues);
    let kernel_answers = table.or("kernel_answers", false, |value| value.boolean());
    let name = name?;
    let span = name.span();
    let name = name.text("the name of an interface such as \"eth0\"", |text| match text.len() {
        1..=15 if !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) => Ok(text.to_owned()),
        _ => Err("an interface's name has 1 to 15 octets, none of them a space or a slash"),
    })?;
    Some((XdpInterface { name, queues, kernel_answers }, span))
}

/// `"all"`, a number, or an array of numbers.
fn queues(value: Value<'_>) -> Option<Queues> {
    if value.as_str() == Some("all") {
        return Some(Queues::All);
    }
    let mut queues = Vec::new();
    let items = value.one_or_many(QUEUES, MAX_QUEUES as usize)?;
    if items.is_empty() {
        return value.error("`queues` holds no queue", format!("expected {QUEUES}"));
    }
    for item in items {
        if item.as_str().is_some() {
            item.unfit::<()>(QUEUES);
            continue;
        }
        let Some(queue) = item.small::<u32>(0..=MAX_QUEUES - 1) else { continue };
        if queues.contains(&queue) {
            item.error::<()>(format!("`queues` names {queue} twice"), "again here");
        }
        queues.push(queue);
    }
    Some(Queues::Some(queues))
}

#[cfg(test)]
mod tests {
    use super::super::reader::read_document;
    use super::*;
    use crate::control::diagnostic::SourceFile;

    fn read_text(text: &str) -> (Vec<XdpInterface>, String) {
        let file = SourceFile::new("meridian.toml", text);
        let (interfaces, mistakes) = read_document(&file, "the configuration", |root| root.or("xdp", Vec::new(), read));
        (interfaces, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_interface_has_all_its_queues_unless_some_are_named() {
        let (interfaces, mistakes) = read_text(
            r#"xdp = [{ interface = "eth0" }, { interface = "eth1", queues = "all" }, { interface = "eth2", queues = [0, 3] },
                { interface = "eth3", queues = 1 }]"#,
        );
        assert_eq!(mistakes, "");
        let queues: Vec<_> = interfaces.into_iter().map(|interface| interface.queues).collect();
        assert_eq!(queues, [Queues::All, Queues::All, Queues::Some(vec![0, 3]), Queues::Some(vec![1])]);
    }

    #[test]
    fn nothing_is_answered_in_the_kernel_unless_asked_for() {
        let (interfaces, mistakes) =
            read_text(r#"xdp = [{ interface = "eth0" }, { interface = "eth1", kernel_answers = true }]"#);
        assert_eq!(mistakes, "");
        let answers: Vec<_> = interfaces.into_iter().map(|interface| interface.kernel_answers).collect();
        assert_eq!(answers, [false, true]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let (_, mistakes) = read_text(
            r#"xdp = [
                { interfaces = "eth0" },
                { interface = "a name far too long" },
                { interface = "eth1", queues = "some" },
                { interface = "eth2", queues = [] },
                { interface = "eth3", queues = [0, 256, 0] },
                { interface = "eth3" },
                { interface = "eth4", kernel_answers = "yes" },
                { interface = "eth5", kernel_answer = true },
            ]"#,
        );
        for told in [
            "`interface` is missing in `listen.xdp`",
            "did you mean `interface`?",
            "none of them a space or a slash",
            "\"all\", or receive queues such as [0, 1]",
            "`queues` holds no queue",
            "found the integer 256, expected a whole number from 0 to 255",
            "`queues` names 0 twice",
            "the interface \"eth3\" is there twice",
            "true or false",
            "did you mean `kernel_answers`?",
        ] {
            assert!(mistakes.contains(told), "{told} is missing in:\n{mistakes}");
        }
    }
}
