//! The standing of a region's load reports, in words: what `status` and `explain` say where it is worth a line.

use crate::steer::explain::{HeardRow, ReadingRow};
use crate::steer::figure::rounded;

use super::output::duration;

/// A part of a load, or a factor's distance from 1, that is worth telling.
const NOTABLE: f64 = 0.05;

impl HeardRow {
    /// One word, where it is not believed as it stands: `doubted`, `failing`.
    pub fn word(&self) -> Option<&str> {
        self.heard.as_deref().filter(|word| matches!(*word, "doubted" | "failing"))
    }

    /// All that is worth a line; `None`: its reports are believed as they stand. Load and capacity as reported.
    pub fn told(&self, load: Option<f64>, capacity: Option<f64>) -> Option<String> {
        // What others have is told of figures that count; of a figure that is doubted nobody knows.
        let load = load.filter(|_| self.heard.as_deref() == Some("believed"));
        let parts = [self.trouble(), self.reading.as_ref().and_then(|reading| reading.told(load, capacity))];
        let told: Vec<String> = parts.into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn trouble(&self) -> Option<String> {
        let since = self.since_s.map_or(String::new(), |since| format!(" for {}", duration(since)));
        let error = self.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        Some(match self.heard.as_deref()? {
            "never" => "its load was never reported: a part of its configured capacity is planned with".to_owned(),
            "stale" => format!("its reports are stale{since}, less and less of its capacity is planned with{error}"),
            "failing" => format!("its reports fail{since}{error}"),
            "doubted" => {
                let doubt = self.doubt.as_deref().unwrap_or("not believed");
                let cure = self.cure.as_ref().map_or(String::new(), |cure| format!(" ({cure})"));
                format!("{doubt}{cure},{since}{error}")
            }
            _ => return None,
        })
    }
}

impl ReadingRow {
    fn told(&self, load: Option<f64>, capacity: Option<f64>) -> Option<String> {
        let differs = |factor: f64| (factor - 1.0).abs() > NOTABLE;
        let gain = differs(self.gain).then(|| {
            let since = self.jumped_s.map_or(String::new(), |ago| format!(" since a jump {} ago", duration(ago)));
            format!("its figures count × {}{since}: it says so many times what there is", rounded(self.gain, 2))
        });
        let unit = differs(self.unit).then(|| format!("one client counts {} there", rounded(self.unit, 3)));
        let others = load.filter(|load| self.others > NOTABLE * load * self.gain.max(NOTABLE)).map(|load| {
            format!("{} of its load of {} came otherwise than by answers", rounded(self.others, 0), rounded(load, 0))
        });
        let leapt = self.capacity.zip(capacity).filter(|(held, said)| differs(said / held));
        let leapt = leapt.map(|(held, _)| format!("a capacity of {} is held", rounded(held, 0)));
        let swings = self.restless.then(|| "its load swings, and counts in the mean of 20 min".to_owned());
        let told: Vec<String> = [swings, gain, unit, others, leapt].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(value: serde_json::Value) -> Option<String> {
        let heard: HeardRow = serde_json::from_value(value).expect("as the API has it");
        heard.told(Some(1000.0), Some(2000.0))
    }

    #[test]
    fn what_is_believed_as_it_stands_is_not_worth_a_line() {
        let plain = json!({ "unit": 1.0, "others": 20.0, "gain": 1.0, "jumped_s": null, "capacity": 2000.0 });
        assert_eq!(told(json!({ "heard": "believed", "reading": plain })), None);
        assert_eq!(told(json!({ "heard": "new", "reading": null })), None);
        assert_eq!(told(json!({})), None, "an older server's");
    }

    #[test]
    fn what_is_not_is_told_with_why_and_since_when() {
        let doubted =
            json!({ "heard": "doubted", "since_s": 40.0, "doubt": "not believed: units", "cure": "per cent?" });
        assert_eq!(told(doubted).as_deref(), Some("not believed: units (per cent?), for 40 s"));
        let failing = json!({ "heard": "failing", "since_s": 7.0, "error": "refused" });
        assert_eq!(told(failing).as_deref(), Some("its reports fail for 7 s: refused"));
        let odd = json!({ "unit": 1.0, "others": 300.0, "gain": 1.9, "jumped_s": 600.0, "capacity": 1000.0,
            "restless": true });
        let text = told(json!({ "heard": "believed", "reading": odd })).expect("worth a line");
        for part in [
            "its load swings",
            "× 1.90 since a jump 10 min ago",
            "300 of its load of 1000",
            "a capacity of 1000 is held",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
