//! `meridian canary`: another part of clients for a service's canary, on a running server.

use std::time::Duration;

use clap::Args;

use crate::admin::switch::{ShiftBody, Shifted};
use crate::control::config::duration;
use crate::steer::figure::whole_percent;

use super::live::Server;
use super::output::{self, Outcome};
use super::tag::IfMatch;

/// Shift a service's canary to another part of its clients
///
/// Who is among 1 % is among 25 %: a canary that grows moves nobody back. What was said holds, also over reloads and
/// restarts, until it is said otherwise, its time is over, or the zone file has no such canary any more.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian what-if --canary www=5%           who would move
  meridian canary www 5% --note 'release 7'
  meridian canary www 25% --for 2h           then what the file says, unless somebody says otherwise
  meridian canary www 100%
  meridian canary www --file                 the part that the zone file says
  meridian rollback www                      back to the part before")]
pub struct Canary {
    /// The service: its whole name, or what comes before the origin
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The part of clients, such as 25% or 0.25; 0% is nobody
    #[arg(value_name = "PART", required_unless_present = "file", conflicts_with = "file", value_parser = part)]
    part: Option<f64>,
    /// Take the part that the zone file says
    #[arg(long)]
    file: bool,
    /// Say why, for whoever looks at the status
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    note: Option<String>,
    /// Have it hold for this long only, such as 30m or 2h
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "file", value_parser = parse_duration)]
    lasting: Option<Duration>,
    /// Say so at this node of a cluster alone, while etcd is away: all take it up when etcd is back
    #[arg(long)]
    here: bool,
    #[command(flatten)]
    if_match: IfMatch,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as 90s, 30m or 1h30m".to_owned();
    duration::parse(text).filter(|lasting| !lasting.is_zero()).ok_or_else(expected)
}

/// `25%` or `0.25`. A bare 25 would be a guess, as would 1 for 1 %.
pub fn part(text: &str) -> Result<f64, String> {
    let expected = || format!("`{text}` is no part of clients: expected 0% to 100%, or 0 to 1, such as 25% or 0.25");
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share.ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(expected)
}

impl Canary {
    pub fn run(&self) -> Outcome {
        let for_s = self.lasting.map(|lasting| lasting.as_secs_f64());
        let (share, file, note, here) = (self.part, self.file, self.note.clone(), self.here);
        let body = ShiftBody { share, file, note, for_s, here };
        let tag = self.if_match.tag.as_deref();
        let done = self.server.ask(async |server| server.shift(&self.service, &body, tag).await)?;
        if self.json { output::print_json(&done) } else { output::print(&in_words(&done)) }
    }
}

fn in_words(done: &Shifted) -> String {
    let Shifted { service, share, before, cached_for_s } = done;
    if share == before {
        return format!("{service}: the canary has {} of clients, as before\n", whole_percent(*share));
    }
    format!(
        "{service}: the canary has {} of clients, was {}\n  \
         those who move may keep their answers for {cached_for_s} s yet\n  \
         back: meridian rollback {service}\n",
        whole_percent(*share),
        whole_percent(*before)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_per_cent_or_fractions() {
        for (text, share) in [("25%", 0.25), ("0.25", 0.25), ("0%", 0.0), ("100%", 1.0), ("1", 1.0), ("0.5%", 0.005)] {
            assert_eq!(part(text), Ok(share), "{text}");
        }
        for text in ["25", "-1%", "101%", "1.5", "", "%", "nan", "inf%", "a half"] {
            assert!(part(text).is_err(), "{text}");
        }
    }
}
