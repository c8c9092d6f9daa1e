//! The protocol of `meridian simulate --stdio`: the world and its events line by line in, answers
//! line by line out, so that anyone can drive a simulation and score it.
//!
//! ```text
//! once         REGION i name lat lon cost capacity   a region, i from 0, no spaces in its name
//!              LOC j country lat lon name            a client location, j from 0; country `-`: none
//!              R j i ms                              an RTT estimate; may also come later
//!              TTL seconds    SEED n    START
//! each second  T t                                   seconds, never going back
//!              P i 0|1                               what a probe of region i sent from now on would find
//!              L i load capacity                     a load report arrives; `nan`: none
//!              Q j key ecs                           a query: apparent location, up to 16 hex digits, 0|1
//!              END                                   asks for the answers
//! answer       A i ttl                               one per Q, in order
//! ```
//!
//! With several nodes, `Q`, `P` and `L` may have a node's number, from 0, at the end. A query without one is node 0's; what
//! a probe would find, and a load report, are then what that node alone sees, else what all of them do. Nodes share what
//! they see as servers of one cluster do, through a store and messages that never fail and take no time.
//!
//! Empty lines and those that begin with `#` are passed over. A second without queries needs no
//! `END`. The first mistake ends the simulation, told with its line.
//!
//! With a state directory, a simulation that ends at any moment is taken up by the next one with that
//! directory, as a server that was killed: `T` is the wall clock then, and must not go back from the one
//! to the other.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::model::{Coordinates, Ttl};

use super::lines::{LineError, Lines, Words, shown};
use super::nodes::{MAX_NODES, Nodes};
use super::world::{MAX_LOCATIONS, MAX_REGIONS};
use super::{ClientLocation, Site, World, WorldError};

/// The reason why a simulation ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("the input ends after line {line}, before `START`")]
    NoStart { line: u64 },
    #[error("the input ends after line {line}, with queries that no `END` asked the answers of")]
    NoEnd { line: u64 },
    #[error("cannot write the answers: {0}")]
    Output(#[from] io::Error),
}

/// Plays what comes in until it ends.
pub fn run(input: impl Read, output: impl Write) -> Result<(), StdioError> {
    run_with(input, output, 1, None)
}

/// The state that a simulation keeps, and for whom.
pub struct State<'a> {
    pub directory: &'a Path,
    /// Is told how the start went, and of a save that failed.
    pub tell: &'a mut dyn FnMut(&str),
}

/// [`run`], of so many nodes (up to [`MAX_NODES`]), which keep what a server keeps over a restart, if anything is said of
/// that: each of several in a directory of its own below.
pub fn run_with(
    input: impl Read,
    output: impl Write,
    nodes: usize,
    state: Option<State<'_>>,
) -> Result<(), StdioError> {
    let mut lines = Lines::new(input);
    let mut opening = Opening::default();
    while !opening.complete {
        match take(&mut lines, |words| opening.line(words))? {
            Some(()) => {}
            None => return Err(StdioError::NoStart { line: lines.number() }),
        }
    }
    let started = opening.start(nodes.min(MAX_NODES));
    let nodes = started.map_err(|error| StdioError::Line { line: lines.number(), what: error.to_string() })?;
    let mut play = Play { nodes, began: None, output, answers: Vec::new(), state };
    while let Some(step) = take(&mut lines, |words| play.line(words))? {
        if step == Step::Flush {
            play.flush()?;
        }
    }
    if !play.answers.is_empty() {
        return Err(StdioError::NoEnd { line: lines.number() });
    }
    Ok(())
}

/// Gives one line's words to `reader`; `None` at the end of the input.
fn take<T>(
    lines: &mut Lines<impl Read>,
    reader: impl FnOnce(Words<'_>) -> Result<T, String>,
) -> Result<Option<T>, StdioError> {
    let outcome = match lines.next_line() {
        Ok(None) => return Ok(None),
        Ok(Some(line)) => reader(Words(line)),
        Err(error @ LineError::TooLong) => Err(error.to_string()),
        Err(error @ LineError::Read(_)) => Err(error.to_string()),
    };
    outcome.map(Some).map_err(|what| StdioError::Line { line: lines.number(), what })
}

/// The lines before `START`.
#[derive(Default)]
struct Opening {
    world: World,
    /// Location, region, milliseconds.
    rtts: Vec<(usize, usize, f64)>,
    complete: bool,
}

impl Opening {
    fn line(&mut self, mut words: Words<'_>) -> Result<(), String> {
        match words.word() {
            b"REGION" => self.region(&mut words)?,
            b"LOC" => return self.location(&mut words),
            b"R" => {
                let estimate = rtt(&mut words, self.world.locations.len(), self.world.regions.len())?;
                if self.rtts.len() >= MAX_LOCATIONS * MAX_REGIONS {
                    return Err("more RTT estimates than there can be".into());
                }
                self.rtts.push(estimate);
            }
            b"TTL" => self.world.ttl = Ttl::saturating(whole(&mut words, "the seconds of a TTL", 0x7fff_ffff)? as u32),
            b"SEED" => self.world.seed = whole(&mut words, "the seed, a whole number", u64::MAX)?,
            b"START" => self.complete = true,
            b"" => {}
            word if word.starts_with(b"#") => return Ok(()),
            word => return Err(unknown(word, "REGION, LOC, R, TTL, SEED or START")),
        }
        words.end()
    }

    fn region(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        in_order(words, "REGION", self.world.regions.len(), MAX_REGIONS)?;
        let name = words.text("the region's name")?;
        let at = coordinates(words)?;
        let cost = words.number_in("the cost in dollars per million requests, 0 to 1e6", 0.0..=1e6)?;
        let capacity = words.number_in("the capacity, above 0", f64::MIN_POSITIVE..=1e15)?;
        self.world.regions.push(Site { name, at, cost, capacity });
        Ok(())
    }

    fn location(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        in_order(words, "LOC", self.world.locations.len(), MAX_LOCATIONS)?;
        let country = match words.text("the country's two letters, or `-`")? {
            none if none == "-" => None,
            code => Some(code.parse().map_err(|error| format!("`{}`: {error}", shown(code.as_bytes())))?),
        };
        let at = coordinates(words)?;
        self.world.locations.push(ClientLocation { country, at, name: words.rest() });
        Ok(())
    }

    fn start(self, count: usize) -> Result<Nodes, WorldError> {
        let mut nodes = Nodes::start(&self.world, count)?;
        for (location, region, ms) in self.rtts {
            nodes.each(|simulation| simulation.measure_rtt(location, region, ms));
        }
        Ok(nodes)
    }
}

/// The lines after `START`.
struct Play<'a, W> {
    nodes: Nodes,
    /// The first `T`: virtual time counts from there.
    began: Option<f64>,
    output: W,
    answers: Vec<u8>,
    state: Option<State<'a>>,
}

/// The step after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Go,
    /// Hand out the answers.
    Flush,
}

/// Answers wait for `END` up to this many octets: some three million.
const MOST_WAITING: usize = 32 << 20;

/// Virtual time ends here, in seconds: a few thousand years.
const LATEST: f64 = 1e11;

impl<W: Write> Play<'_, W> {
    fn line(&mut self, mut words: Words<'_>) -> Result<Step, String> {
        let mut step = Step::Go;
        match words.word() {
            b"Q" => step = self.query(&mut words)?,
            b"T" => {
                // Whoever needs no answers may leave out `END`; none is lost.
                step = Step::Flush;
                self.time(&mut words)?;
            }
            b"P" => {
                let (region, alive) = (self.region(&mut words)?, words.flag("0 or 1")?);
                let node = self.node(&mut words)?;
                self.nodes.tell(node, |simulation| simulation.set_alive(region, alive));
            }
            b"L" => {
                let region = self.region(&mut words)?;
                let load = words.number("the load, or `nan`")?;
                let capacity = words.number("the capacity, or `nan`")?;
                let (capacity, node) = ((!capacity.is_nan()).then_some(capacity), self.node(&mut words)?);
                self.nodes.report_load(node, region, load, capacity);
            }
            b"R" => {
                let (location, region, ms) = rtt(&mut words, self.nodes.locations(), self.nodes.regions())?;
                self.nodes.each(|simulation| simulation.measure_rtt(location, region, ms));
            }
            b"END" => {
                self.nodes.end_second();
                step = Step::Flush;
            }
            b"" => {}
            word if word.starts_with(b"#") => return Ok(Step::Go),
            word => return Err(unknown(word, "T, P, L, R, Q or END")),
        }
        words.end().map(|()| step)
    }

    fn time(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let t = words.number_in("the time in seconds, 0 to 1e11", 0.0..=LATEST)?;
        let Some(began) = self.began else {
            // No second is over yet: one that ended here would be probed before anything is said of it.
            self.begin(t);
            return Ok(());
        };
        let since = Duration::from_secs_f64((t - began).max(0.0));
        if t < began || since < self.nodes.time() {
            return Err("time goes back".into());
        }
        self.nodes.end_second();
        self.nodes.set_time(since);
        Ok(())
    }

    fn begin(&mut self, t: f64) {
        self.began = Some(t);
        if let Some(state) = &self.state {
            self.nodes.keep_in(state.directory, Duration::from_secs_f64(t));
        }
    }

    fn region(&self, words: &mut Words<'_>) -> Result<usize, String> {
        if self.began.is_none() {
            return Err("nothing happens before the first `T`".into());
        }
        known(words, "region", self.nodes.regions())
    }

    /// The node that the rest of a line names; `None`: none.
    fn node(&self, words: &mut Words<'_>) -> Result<Option<usize>, String> {
        if words.0.trim_ascii_start().is_empty() {
            return Ok(None);
        }
        known(words, "node", self.nodes.len()).map(Some)
    }

    fn query(&mut self, words: &mut Words<'_>) -> Result<Step, String> {
        if self.began.is_none() {
            return Err("nothing is asked before the first `T`".into());
        }
        let location = known(words, "location", self.nodes.locations())?;
        let key = words.hex("a key of up to 16 hexadecimal digits")?;
        let by_subnet = words.flag("0 or 1 for ECS")?;
        let node = self.node(words)?.unwrap_or(0);
        let answer = self.nodes.query(node, location, key, by_subnet).ok_or("this cannot be decided")?;
        self.answers.extend_from_slice(b"A ");
        push_number(&mut self.answers, answer.region as u64);
        self.answers.push(b' ');
        push_number(&mut self.answers, u64::from(answer.ttl_s));
        self.answers.push(b'\n');
        Ok(if self.answers.len() >= MOST_WAITING { Step::Flush } else { Step::Go })
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(state) = &mut self.state {
            self.nodes.take_notices().iter().for_each(|notice| (state.tell)(notice));
        }
        if !self.answers.is_empty() {
            self.output.write_all(&self.answers)?;
            self.output.flush()?;
            self.answers.clear();
        }
        Ok(())
    }
}

fn in_order(words: &mut Words<'_>, what: &str, next: usize, most: usize) -> Result<(), String> {
    match words.index("a number from 0")? {
        number if number != next => Err(format!("{what} {number}: the next is {next}; they come in order")),
        number if number >= most => Err(format!("{what} {number}: there may be {most}")),
        _ => Ok(()),
    }
}

fn known(words: &mut Words<'_>, what: &str, count: usize) -> Result<usize, String> {
    match words.index("a number from 0")? {
        number if number < count => Ok(number),
        number => Err(format!("there is no {what} {number}: they are 0 to {}", count.saturating_sub(1))),
    }
}

fn rtt(words: &mut Words<'_>, locations: usize, regions: usize) -> Result<(usize, usize, f64), String> {
    let (location, region) = (known(words, "location", locations)?, known(words, "region", regions)?);
    Ok((location, region, words.number_in("a round-trip time in milliseconds, 0 to 1e5", 0.0..=1e5)?))
}

fn coordinates(words: &mut Words<'_>) -> Result<Coordinates, String> {
    let latitude = words.number_in("a latitude of -90 to 90", -90.0..=90.0)?;
    let longitude = words.number_in("a longitude of -180 to 180", -180.0..=180.0)?;
    Coordinates::new(latitude, longitude).ok_or_else(|| "no place on Earth".into())
}

fn whole(words: &mut Words<'_>, what: &str, most: u64) -> Result<u64, String> {
    let word = words.word();
    let number = std::str::from_utf8(word).ok().and_then(|text| text.parse::<u64>().ok());
    number.filter(|&number| number <= most).ok_or_else(|| format!("expected {what}, found `{}`", shown(word)))
}

fn unknown(word: &[u8], known: &str) -> String {
    format!("expected {known}, found `{}`", shown(word))
}

fn push_number(text: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: &str = "\
        REGION 0 seoul 37.5 127 0.9 100\n\
        REGION 1 virginia 38 -78 0.4 100\n\
        LOC 0 KR 37.5 127 Seoul\n\
        LOC 1 US 38 -78 Washington D.C.\n";

    fn play(text: &str) -> Result<String, String> {
        let mut output = Vec::new();
        run(text.as_bytes(), &mut output).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(output).expect("text"))
    }

    /// The answers to what comes after `START`.
    fn after_start(text: &str) -> Result<String, String> {
        play(&format!("{WORLD}START\n{text}"))
    }

    #[test]
    fn queries_are_answered_in_order() {
        let answers = after_start("T 0\nP 0 1\nP 1 1\nQ 0 00000000000000ff 1\nQ 1 ff 0\nEND\n");
        assert_eq!(answers.as_deref(), Ok("A 0 30\nA 1 30\n"));
    }

    #[test]
    fn a_second_without_queries_needs_no_end_and_none_is_lost() {
        assert_eq!(after_start("T 0\nT 1\nEND\nT 2\n\n# nothing\nT 3\n").as_deref(), Ok(""));
        assert_eq!(after_start("T 0\nQ 0 1 1\nT 1\n").as_deref(), Ok("A 0 30\n"));
        assert_eq!(play(&format!("{WORLD}START")).as_deref(), Ok(""));
    }

    #[test]
    fn the_ttl_is_as_asked_and_short_after_a_death() {
        let text = "TTL 20\nSEED 5\nSTART\nT 100\nQ 0 1 1\nEND\nT 105\nP 0 0\nQ 0 1 1\nEND\nT 112\nQ 0 1 1\nEND\n";
        assert_eq!(play(&format!("{WORLD}{text}")).as_deref(), Ok("A 0 20\nA 0 5\nA 1 5\n"));
    }

    #[test]
    fn a_region_that_is_dead_in_the_first_second_is_never_answered() {
        let seconds = (1..10).map(|t| format!("T {t}\nQ 0 1 1\nEND\n")).collect::<String>();
        let answers = after_start(&format!("T 0\nP 0 0\nQ 0 1 1\nEND\n{seconds}")).expect("answers");
        assert_eq!(answers, "A 1 15\n".repeat(10));
    }

    #[test]
    fn loads_may_be_no_numbers() {
        let reports = "L 0 nan nan\nL 1 50 nan\nL 0 -1 5\nL 1 inf 0\nL 0 90 100\n";
        assert_eq!(after_start(&format!("T 0\n{reports}Q 0 1 1\nEND\n")).as_deref(), Ok("A 0 15\n"));
    }

    #[test]
    fn an_input_that_ends_too_soon_is_told() {
        assert_eq!(play(""), Err("the input ends after line 0, before `START`".into()));
        assert_eq!(play(WORLD), Err("the input ends after line 4, before `START`".into()));
        let broken_off = after_start("T 0\nQ 0 1 1\n");
        assert_eq!(
            broken_off,
            Err("the input ends after line 7, with queries that no `END` asked the answers of".into())
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, mistake) in [
            ("REGION 1 x 0 0 0 1", "line 1: REGION 1: the next is 0; they come in order"),
            ("REGION 0 x 0 0 0 0", "line 1: expected the capacity, above 0, found `0`"),
            ("REGION 0 x 91 0 0 1", "line 1: expected a latitude of -90 to 90, found `91`"),
            ("REGION 0", "line 1: the region's name is missing"),
            ("\n\nLOC 0 KOR 0 0 x", "line 3: `KOR`: not a two-letter country code (ISO 3166-1)"),
            ("R 0 0 5", "line 1: there is no location 0: they are 0 to 0"),
            ("TTL -1", "line 1: expected the seconds of a TTL, found `-1`"),
            ("TTL 4294967296", "line 1: expected the seconds of a TTL, found `4294967296`"),
            ("START now", "line 1: `now` is one word too many"),
            ("START", "line 1: there is no region: at least one `REGION` comes before `START`"),
            ("HELLO \u{7}", "line 1: expected REGION, LOC, R, TTL, SEED or START, found `HELLO`"),
        ] {
            assert_eq!(play(text), Err(mistake.into()), "{text}");
        }
        for (text, mistake) in [
            ("Q 0 1 1", "line 6: nothing is asked before the first `T`"),
            ("P 0 1", "line 6: nothing happens before the first `T`"),
            ("T x", "line 6: expected the time in seconds, 0 to 1e11, found `x`"),
            ("T 5\nT 4", "line 7: time goes back"),
            ("T 0\nQ 2 1 1", "line 7: there is no location 2: they are 0 to 1"),
            ("T 0\nQ 0 xyz 1", "line 7: expected a key of up to 16 hexadecimal digits, found `xyz`"),
            ("T 0\nQ 0 1", "line 7: 0 or 1 for ECS is missing"),
            ("T 0\nP 2 1", "line 7: there is no region 2: they are 0 to 1"),
            ("T 0\nP 0 2", "line 7: expected 0 or 1, found `2`"),
            ("T 0\nL 0 1", "line 7: the capacity, or `nan` is missing"),
            ("T 0\nR 0 0 -5", "line 7: expected a round-trip time in milliseconds, 0 to 1e5, found `-5`"),
            ("T 0\nSTART", "line 7: expected T, P, L, R, Q or END, found `START`"),
        ] {
            assert_eq!(after_start(text), Err(mistake.into()), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 65_535, u64::MAX] {
            let mut text = Vec::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string().into_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_panic(octets: Vec<u8>, cut in 0usize..200) {
            let _ = run(&octets[..], Vec::new());
            let mut text = format!("{WORLD}START\nT 0\nP 0 1\nL 0 5 10\nQ 0 1 1\nEND\n").into_bytes();
            text.truncate(cut);
            text.extend(octets);
            let _ = run(&text[..], Vec::new());
        }
    }
}
