//! A text that is edited at random is read as if it were the first time: by pieces, by all cores, and by what changed.

use std::fmt::Write as _;

use fastrand::Rng;

use super::*;
use crate::control::diagnostic::SourceFile;
use crate::control::zonefile::{NoInclude, check, parse};

/// Pieces of few lines, so that small texts have many.
const FINE: Grain = Grain { least: 48, lines: 2 };
const ROUNDS: u64 = 40;
const EDITS: usize = 25;

const NAMES: [&str; 20] = [
    "@", "a", "b", "a.b", "*.b", "c.a.b", "*", "sub", "x.sub", "ns.sub", "y.x.sub", "d", "y.d", "m.n.o", "n.o",
    "*.n.o", "svc", "q.r", "B", "w.m.n.o",
];

fn a_line(rng: &mut Rng) -> String {
    let (name, target) = (NAMES[rng.usize(..NAMES.len())], NAMES[rng.usize(..NAMES.len())]);
    let number = rng.u8(..4);
    let ttl = ["", "", "", "60 ", "1h IN "][rng.usize(..5)];
    let plain = rng.u16(..400);
    match rng.u8(..40) {
        0 => format!("{name} {ttl}NS {target}"),
        1 => format!("{name} {ttl}MX {number} {target}"),
        2 => format!("{name} {ttl}SRV {number} 0 80 {target}"),
        3 | 4 => format!("{name} {ttl}CNAME {target}"),
        5 => format!("{name} {ttl}TXT \"text ; ({number}\""),
        6 => format!("{name} {ttl}TXT ( one ; a comment ) \"\nh1 A x\n\t{number} )"),
        7 => format!(" {ttl}A 192.0.2.{number}"),
        8 => "; a comment (".into(),
        9 => format!("$TTL {}", 60 + number),
        10 => format!("$ORIGIN sub.z.test.\nin A 192.0.2.9\n$ORIGIN {}.test.", ["z", "Z"][rng.usize(..2)]),
        11 => format!("$GENERATE 1-{} g$ A 192.0.2.$", number + 1),
        12 => String::new(),
        13 => format!("{name} A 192.0.2.{number}\r"),
        14 => format!("{name} DS 1 8 2 {:064}", number),
        15 => format!("h{plain}.z.test A 192.0.2.{number}"),
        16..20 => format!("{name} {ttl}A 192.0.2.{number}"),
        _ => format!("h{plain} {ttl}A 192.0.2.{number}"),
    }
}

fn a_mistake(rng: &mut Rng) -> &'static str {
    ["a A (", ")", "a A 192.0.2.256", "x TXT \"open", "a DNAME b", "elsewhere.test. A 192.0.2.1", "@ SOA a b 1 2 3 4 5"]
        [rng.usize(..7)]
}

struct Text {
    rng: Rng,
    lines: Vec<String>,
}

impl Text {
    fn new(seed: u64) -> Text {
        let mut rng = Rng::with_seed(seed);
        let mut lines: Vec<String> = Vec::new();
        if rng.bool() {
            lines.push("$TTL 300".into());
        }
        lines.push("@ SOA ns1 host (\n 1 ; serial\n 1h 10m\n1w 60 )".into());
        lines.extend(["@ NS ns1", "ns1 A 192.0.2.53", "sub NS ns.sub", "ns.sub A 192.0.2.54"].map(String::from));
        if rng.bool() {
            lines.push("@ NS ns.other.test.".into());
        }
        for host in 0..rng.usize(40..160) {
            lines.push(format!("h{host} A 192.0.2.{}", host % 250));
        }
        Text { rng, lines }
    }

    fn edit(&mut self) {
        let at = self.rng.usize(..self.lines.len());
        let rng = &mut self.rng;
        match rng.u8(..24) {
            0..6 => self.lines.insert(at, a_line(rng)),
            6..12 => drop(self.lines.remove(at)),
            12..15 => self.lines[at] = a_line(rng),
            15..19 => self.lines[at] = self.lines[at].replace("192.0.2.", &format!("192.0.{}.", rng.u8(..3))),
            19 => {
                let line = self.lines.remove(at);
                let to = rng.usize(..self.lines.len());
                self.lines.insert(to, line);
            }
            20 => self.lines.insert(at, a_mistake(rng).into()),
            21 => self.lines[0] = format!("$TTL {}", rng.u8(60..62)),
            22 => self.lines.iter_mut().for_each(|line| *line = line.replace("\n 1 ;", "\n 2 ;")),
            _ => (0..rng.usize(..9)).for_each(|_| self.lines.insert(at, a_line(rng))),
        }
    }

    fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").expect("a string takes everything");
            text
        })
    }
}

fn shown(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect()
}

fn services(rng: &mut Rng, file: &Arc<SourceFile>, origin: &Name) -> Vec<ServiceOwner> {
    let name = |text: &str| Name::parse(text, origin).expect("a name");
    let span = Span::new(file, 0..0);
    let service = |of: &str, hosts: &[&str]| ServiceOwner {
        name: name(of),
        span: span.clone(),
        hosts: hosts.iter().map(|host| (name(host), span.clone())).collect(),
        has_addresses: false,
        https: false,
    };
    match rng.u8(..3) {
        0 => vec![service("svc", &["h1", "a.b"])],
        1 => vec![service("*.svc.deep", &[])],
        _ => Vec::new(),
    }
}

#[test]
fn edited_text_is_read_as_if_for_the_first_time() {
    let origin = Name::parse_absolute("z.test").expect("a name");
    let toml = SourceFile::new("z.toml", "origin = \"z.test\"\n");
    let (mut by_pieces, mut again, mut refused) = (0, 0, 0);
    for seed in 0..ROUNDS {
        let mut text = Text::new(seed);
        let strictness = if text.rng.bool() { Strictness::Lenient } else { Strictness::Strict };
        let default_ttl = text.rng.bool().then(|| Ttl::parse("5m")).flatten();
        let services = services(&mut text.rng, &toml, &origin);
        let mut before: Option<(Arc<Known>, ZoneNodes)> = None;
        let mut sound = text.lines.clone();
        for edit in 0..EDITS {
            let file = SourceFile::new("z.zone", text.text());
            let origin_span = &Span::new(&toml, 0..6);
            let whole = MasterText::whole(&file);
            let zone =
                ZoneText { text: whole, origin: &origin, origin_span, default_ttl, services: &services, strictness };
            let parsed = parse(whole, &origin, default_ttl, &mut NoInclude);
            let (nodes, of_zone) = check(&origin, origin_span, &parsed.records, &services, strictness);
            let expected = (shown(&parsed.diagnostics), shown(&of_zone));
            let cold = read_in(FINE, &zone, &mut NoInclude, None);
            let known = before.as_ref().map(|(known, nodes)| Before { known, nodes });
            let facts = ZoneFacts { origin: &origin, origin_span, services: &services, strictness };
            let is_again = known.is_some_and(|known| read_again(&whole, &facts, default_ttl, known).is_some());
            let warm = read_in(FINE, &zone, &mut NoInclude, known);
            for read in [&cold, &warm] {
                let at = || format!("{seed} {edit} again {is_again}\n{}", file.text);
                assert_eq!((shown(&read.of_text), shown(&read.of_zone)), expected, "{}", at());
                assert_eq!(read.nodes, nodes, "{}", at());
            }
            let is_refused = parsed.diagnostics.iter().chain(&of_zone).any(Diagnostic::is_error);
            by_pieces += u32::from(cold.known.is_some());
            again += u32::from(is_again);
            refused += u32::from(is_refused);
            if !is_refused {
                before = warm.known.clone().map(|known| (known, warm.nodes.clone()));
                sound = text.lines.clone();
            } else if text.rng.u8(..4) > 0 {
                // Else the next edit may mend it, or may not.
                text.lines = sound.clone();
            }
            text.edit();
        }
    }
    assert!(again > 200 && refused > 80, "{by_pieces} by pieces, {again} again, {refused} refused");
}
