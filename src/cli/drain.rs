//! `meridian region drain --wait`: begins a drain, and tells how far it has come until it is safe.
//!
//! ```text
//!   say `drain` ─▶ the live stream ───────────────────┬─▶ a line now and then ─▶ safe: 0, too late: 1
//!                  status, once a second, without one ┘
//! ```

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::admin::api::OverrideReply;
use crate::admin::client::{AdminClient, ClientError};
use crate::admin::status::DrainStatus;
use crate::control::config::duration;
use crate::steer::figure::percent;
use crate::steer::health::effective::Override;

use super::live::Server;
use super::output::{self, Failure, Outcome};

/// The time between two questions to the server, where it has no place for a stream.
const POLL: Duration = Duration::from_secs(1);
/// A stream says something every 10 s.
const SILENCE: Duration = Duration::from_secs(25);
/// A line at least so often, so that nobody takes a wait for a hang.
const LINE: Duration = Duration::from_secs(10);
/// And whenever so much less is left, as a part of all.
const STEP: f64 = 0.05;

/// What `region drain` takes besides the region.
#[derive(Args)]
pub struct Waiting {
    /// Wait until no answer sends clients there any more, and tell how many may still come
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long, such as 90s or 30m; the drain goes on
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration, requires = "wait")]
    timeout: Duration,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "expected a duration such as 90s, 30m or 1h30m".to_owned())
}

/// Drains the region, by bare or qualified name.
pub fn run(server: &Server, region: &str, waiting: &Waiting, (here, tag): (bool, Option<&str>)) -> Outcome {
    let done = server.ask(async |server| server.say(region, Override::Drain, here, tag).await)?;
    match waiting.json {
        true => print_line(&json!(done))?,
        false => output::print(&led_to(&done))?,
    }
    if !waiting.wait {
        return Ok(());
    }
    match server.ask(async |server| wait(server, &done, waiting).await)?? {
        Ended::Safe => Ok(()),
        Ended::Late => Err(Failure::new(format!(
            "{} is not safe after {}; it goes on draining",
            done.region,
            duration::show(waiting.timeout)
        ))
        .help("wait again with the same command; `meridian region list` shows how far it is")),
        Ended::Over => Err(Failure::new(format!("{} drains no more: somebody said otherwise", done.region))),
    }
}

enum Ended {
    Safe,
    Late,
    Over,
}

async fn wait(server: &AdminClient, done: &OverrideReply, waiting: &Waiting) -> Result<Outcome<Ended>, ClientError> {
    let mut watch = Watch { done, as_json: waiting.json, told: None };
    let whole = async {
        loop {
            if let Some(ended) = follow(server, &mut watch).await? {
                return Ok(ended);
            }
            // A stream that was refused or has ended: the server may be restarting, and the drain goes on over that.
            match server.status().await {
                Err(ClientError::CannotConnect { .. }) => {}
                status => {
                    if let Some(ended) = watch.hear(drain_of(&status?, &done.region)) {
                        return Ok(ended);
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(waiting.timeout, whole).await {
        Ok(ended) => ended,
        Err(_) => Ok(Ok(Ended::Late)),
    }
}

/// Follows the server's stream; `None`: there is none, or it ended before the drain did.
async fn follow(server: &AdminClient, watch: &mut Watch<'_>) -> Result<Option<Outcome<Ended>>, ClientError> {
    let mut stream = match server.live(None).await {
        Ok(stream) => stream,
        // All streams are taken, or a proxy lets none through.
        Err(ClientError::Refused { status: 404 | 405 | 503, .. } | ClientError::CannotConnect { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // A stream that breaks off, or falls silent, is as good as none.
    while let Ok(Ok(Some(frame))) = tokio::time::timeout(SILENCE, stream.next()).await {
        let Ok(data) = serde_json::from_str::<Value>(&frame.data) else { continue };
        let ended = match &*frame.event {
            "status" => watch.hear(drain_of(&data, &watch.done.region)),
            "drain" if data["region"] == watch.done.region => watch.hear(read(&data["drain"])),
            _ => None,
        };
        if ended.is_some() {
            return Ok(ended);
        }
    }
    Ok(None)
}

/// What is waited for, and what was told of it.
struct Watch<'a> {
    done: &'a OverrideReply,
    as_json: bool,
    told: Option<(Instant, DrainStatus)>,
}

impl Watch<'_> {
    /// Hears how far the drain has come, and tells it now and then; `None`: it goes on.
    fn hear(&mut self, drain: Option<(&Value, DrainStatus)>) -> Option<Outcome<Ended>> {
        let Some((json, drain)) = drain else { return Some(Ok(Ended::Over)) };
        let is_news = self.told.as_ref().is_none_or(|(at, last)| at.elapsed() >= LINE || has_moved(last, &drain));
        if is_news || drain.safe {
            if let Err(failure) = tell(self.done, json, &drain, self.as_json) {
                return Some(Err(failure));
            }
            if drain.safe {
                return Some(Ok(Ended::Safe));
            }
            self.told = Some((Instant::now(), drain));
        }
        None
    }
}

/// The region's drain in a server's status, and what is shown of it; `None` where it does not drain.
fn drain_of<'a>(status: &'a Value, region: &str) -> Option<(&'a Value, DrainStatus)> {
    let mut regions = status.get("regions")?.as_array()?.iter();
    read(regions.find(|of| of["name"] == region)?.get("drain")?)
}

fn read(json: &Value) -> Option<(&Value, DrainStatus)> {
    Some((json, serde_json::from_value(json.clone()).ok()?))
}

fn has_moved(last: &DrainStatus, now: &DrainStatus) -> bool {
    let load = |drain: &DrainStatus| drain.load_ratio.unwrap_or(0.0);
    (last.may_come - now.may_come).abs() >= STEP || (load(last) - load(now)).abs() >= STEP
}

fn tell(done: &OverrideReply, json: &Value, drain: &DrainStatus, as_json: bool) -> Outcome {
    if !as_json {
        return output::print(&format!("  {}\n", in_words(drain)));
    }
    let mut line = json.clone();
    line["region"] = json!(done.region);
    print_line(&line)
}

fn print_line(json: &Value) -> Outcome {
    output::print(&format!("{json}\n"))
}

/// What an override has led to, in lines.
pub fn led_to(done: &OverrideReply) -> String {
    let mut text = format!("{}: override {}, now {}\n", done.region, done.operator_override.as_str(), done.effective);
    for sentence in &done.follows {
        let _ = writeln!(text, "  {sentence}"); // a String takes all
    }
    text
}

/// Who may still come decides that it is safe; what is left of the load tells who is still connected.
fn in_words(drain: &DrainStatus) -> String {
    let load = match drain.load_ratio {
        Some(ratio) => format!("its load is {} of what it was when the drain began", percent(ratio, 0)),
        None => "what is left of its load is not known".to_owned(),
    };
    match drain.safe_in_s {
        _ if drain.safe => format!("safe: no answer sends clients there any more, which decides it; {load}"),
        Some(seconds) => format!(
            "clients that may still come: at most {}, by the age of answers; {load}; safe in {} at the earliest, \
             when the last answer that names it has run out, whatever its load",
            percent(drain.may_come, 0),
            output::duration(seconds)
        ),
        None => format!("not safe: still answered, since no other region can be; {load}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(safe: bool, safe_in_s: Option<f64>, may_come: f64, load_ratio: Option<f64>) -> DrainStatus {
        DrainStatus { since_unix_s: 0, safe, safe_at_unix_s: None, safe_in_s, may_come, load_ratio }
    }

    #[test]
    fn a_drain_is_told_in_words() {
        let drain = |safe, safe_in_s, load_ratio| in_words(&drain(safe, safe_in_s, 0.35, load_ratio));
        assert_eq!(
            drain(false, Some(30.0), Some(1.0)),
            "clients that may still come: at most 35 %, by the age of answers; its load is 100 % of what it was when the \
             drain began; safe in 30 s at the earliest, when the last answer that names it has run out, whatever its load"
        );
        assert_eq!(
            drain(true, Some(0.0), Some(0.4)),
            "safe: no answer sends clients there any more, which decides it; its load is 40 % of what it was when the \
             drain began"
        );
        assert!(drain(false, Some(30.0), None).contains("; what is left of its load is not known; safe in 30 s"));
        assert!(drain(false, None, Some(1.0)).starts_with("not safe: still answered"));
    }

    #[test]
    fn either_figure_that_moves_is_news() {
        let drain = |may_come, load_ratio| drain(false, Some(30.0), may_come, load_ratio);
        let last = drain(0.5, Some(1.0));
        assert!(!has_moved(&last, &drain(0.48, Some(0.97))));
        assert!(has_moved(&last, &drain(0.44, Some(1.0))) && has_moved(&last, &drain(0.5, Some(0.9))));
    }

    #[test]
    fn a_region_that_does_not_drain_has_none() {
        let status = json!({ "regions": [{ "name": "a@b", "drain": null }, { "name": "c@d" }] });
        assert!(["a@b", "c@d", "e@f"].iter().all(|region| drain_of(&status, region).is_none()));
        assert!(drain_of(&json!(7), "a@b").is_none());
    }
}
