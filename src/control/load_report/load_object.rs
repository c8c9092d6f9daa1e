//! Load objects in Akamai's XML (GTM load feedback):
//!
//! ```text
//! <load-object domain="example.akadns.net" timestamp="2026-11-21T04:30:00Z" version="1">
//!   <datacenter name="seoul" datacenterId="100">
//!     <resource name="connections">
//!       <current-load>20</current-load> <target-load>25</target-load> <max-load>30</max-load>
//!     </resource>
//!   </datacenter>
//! </load-object>
//! ```
//!
//! The hard limit is called `max-load` by Akamai's API and `capacity` in its files. Entities other
//! than XML's own five are never expanded, and no DTD is read.

use std::time::SystemTime;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::control::probe::outcome::excerpt;
use crate::model::LoadObjectCapacity;

use super::health::HealthSample;
use super::{LoadError, LoadSample, figure, time};

const EXPECTED: &str = "a load object in XML";

/// The one of a document's resources that is meant; `None`: the only one there is.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// By name or number.
    pub(super) datacenter: Option<&'a str>,
    pub(super) resource: Option<&'a str>,
}

/// Reads the load of one resource, its limit as the capacity (the other limit where the one
/// asked for is not there), and the timestamp.
pub(super) fn read(
    text: &str,
    wanted: Wanted<'_>,
    capacity: LoadObjectCapacity,
    now: SystemTime,
) -> Result<LoadSample, LoadError> {
    let document = Document::read(text)?;
    let at = document.timestamp.as_deref().map(|text| time::of_text("timestamp", text, now)).transpose()?;
    let resource = document.find(wanted)?;
    let load = resource.current.as_deref().ok_or_else(|| LoadError::Missing("current-load".into()))?;
    let (target, max) = (("target-load", &resource.target), ("max-load", &resource.max));
    let limits = match capacity {
        LoadObjectCapacity::Max => [max, target],
        LoadObjectCapacity::Target => [target, max],
    };
    let limit = limits.into_iter().find_map(|(name, text)| Some((name, text.as_deref()?)));
    let limit = limit.map(|(name, text)| Ok((name, figure::number(name, text)?))).transpose()?;
    Ok(LoadSample { at, ..figure::sample(("current-load", figure::number("current-load", load)?), limit)? })
}

/// Reads the two elements that may stand beside the load and that no others know: `healthy` and `errors`, 0 to 1.
pub(super) fn health(text: &str, wanted: Wanted<'_>) -> Result<HealthSample, LoadError> {
    let document = Document::read(text)?;
    let resource = document.find(wanted)?;
    let share = |name: &'static str, text: &Option<String>| {
        text.as_deref().map(|text| Ok((name, figure::number(name, text)?))).transpose()
    };
    HealthSample::of_shares(share("healthy", &resource.healthy)?, share("errors", &resource.errors)?)
}

/// The parts of a document that matter.
#[derive(Default)]
struct Document {
    timestamp: Option<String>,
    resources: Vec<Resource>,
}

/// One resource at one datacenter; figures as written.
#[derive(Default)]
struct Resource {
    name: String,
    /// Its name and its number, where they are there.
    datacenter: [Option<String>; 2],
    current: Option<String>,
    target: Option<String>,
    max: Option<String>,
    healthy: Option<String>,
    errors: Option<String>,
}

impl Document {
    fn read(text: &str) -> Result<Document, LoadError> {
        let mut reader = Reader::from_str(text);
        let (mut document, mut place) = (Document::default(), DocumentPosition::default());
        loop {
            match reader.read_event().map_err(not_xml)? {
                Event::Start(element) => place.enter(&element, &mut document, text)?,
                Event::Empty(element) => {
                    place.enter(&element, &mut document, text)?;
                    place.leave(&mut document);
                }
                Event::End(_) => place.leave(&mut document),
                Event::Text(text) => place.leaf_text.push_str(&text.xml10_content()),
                Event::CData(text) => place.leaf_text.push_str(&text.xml10_content()),
                // No number has one.
                Event::GeneralRef(_) => place.leaf_text.push('&'),
                Event::Eof if place.elements.is_empty() && place.seen => return Ok(document),
                Event::Eof => return Err(figure::unreadable(EXPECTED, text)),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    fn find(&self, wanted: Wanted<'_>) -> Result<&Resource, LoadError> {
        let there = |resource: &&Resource| {
            wanted.datacenter.is_none_or(|name| resource.datacenter.iter().any(|is| is.as_deref() == Some(name)))
        };
        let named = |resource: &&Resource| wanted.resource.is_none_or(|name| resource.name == name);
        let mut found = self.resources.iter().filter(there).filter(named);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(self.none(wanted)),
            (Some(_), Some(_)) => {
                let why = "several resources fit: say which `datacenter` and `resource`".to_owned();
                Err(LoadError::Unreadable { expected: "one figure", why })
            }
        }
    }

    fn none(&self, wanted: Wanted<'_>) -> LoadError {
        let datacenters = self.resources.iter().flat_map(|resource| resource.datacenter.iter().flatten());
        match (wanted.datacenter, wanted.resource) {
            (Some(name), _) if !datacenters.clone().any(|datacenter| datacenter == name) => {
                figure::no_such("datacenter", name, datacenters.map(String::as_str))
            }
            (_, Some(name)) => {
                figure::no_such("resource", name, self.resources.iter().map(|resource| resource.name.as_str()))
            }
            _ => LoadError::Missing("resource".into()),
        }
    }
}

/// Elements inside one another at most.
const MOST_NESTED: usize = 16;

/// The reader's place in the document.
#[derive(Default)]
struct DocumentPosition {
    /// Names of the elements around it, outermost first.
    elements: Vec<String>,
    datacenter: [Option<String>; 2],
    /// The text of the element it is in, so far.
    leaf_text: String,
    /// The root has been there.
    seen: bool,
}

impl DocumentPosition {
    fn enter(&mut self, element: &BytesStart<'_>, document: &mut Document, text: &str) -> Result<(), LoadError> {
        let name = element.local_name().as_ref().to_owned();
        self.leaf_text.clear();
        match (self.elements.len(), name.as_str()) {
            (0, "load-object") if !self.seen => {
                self.seen = true;
                document.timestamp = attribute(element, "timestamp")?;
            }
            (0, _) => return Err(figure::unreadable(EXPECTED, text)),
            (1, "datacenter") => {
                let number = attribute(element, "datacenterId")?;
                self.datacenter = [attribute(element, "name")?, number];
            }
            (2, "resource") if self.elements.last().is_some_and(|parent| parent == "datacenter") => {
                let name = attribute(element, "name")?.unwrap_or_default();
                document.resources.push(Resource { name, datacenter: self.datacenter.clone(), ..Resource::default() });
            }
            (MOST_NESTED.., _) => {
                let why = format!("its elements are nested more than {MOST_NESTED} deep");
                return Err(LoadError::Unreadable { expected: EXPECTED, why });
            }
            _ => {}
        }
        self.elements.push(name);
        Ok(())
    }

    fn leave(&mut self, document: &mut Document) {
        let Some(name) = self.elements.pop() else { return };
        let in_resource = self.elements.len() == 3 && self.elements.last().is_some_and(|parent| parent == "resource");
        let text = std::mem::take(&mut self.leaf_text);
        let Some(resource) = document.resources.last_mut().filter(|_| in_resource) else { return };
        match name.as_str() {
            "current-load" => resource.current = Some(text),
            "target-load" => resource.target = Some(text),
            "max-load" | "capacity" => resource.max = Some(text),
            "healthy" => resource.healthy = Some(text),
            "errors" => resource.errors = Some(text),
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, LoadError> {
    let found = element.try_get_attribute(name).map_err(not_xml)?;
    found.map(|found| Ok(found.normalized_value(XmlVersion::Explicit1_0).map_err(not_xml)?.into_owned())).transpose()
}

fn not_xml(error: impl std::fmt::Display) -> LoadError {
    LoadError::Unreadable { expected: EXPECTED, why: excerpt(&error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::load_report::Errors;
    use LoadObjectCapacity::{Max, Target};
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    const ONE: &str = r#"<?xml version="1.0"?>
<load-object domain="example.akadns.net" timestamp="2026-11-21T04:28:00Z" version="1" xmlns="http://www.akamai.com/FirstPoint/load-balancing">
    <!-- one minute old -->
    <datacenter datacenterId="100">
        <resource name="connections">
            <current-load> 20 </current-load>
            <target-load>25</target-load>
            <max-load>30</max-load>
        </resource>
    </datacenter>
</load-object>"#;

    const SEVERAL: &str = r#"<l:load-object xmlns:l="urn:x"><datacenter name="d3" datacenterId='7'>
        <resource name="web"><hostname>a</hostname><current-load>11</current-load><capacity>5000</capacity></resource>
        <resource name="db"><current-load><![CDATA[3]]></current-load></resource></datacenter>
        <datacenter name="d&amp;4"><resource name="web"><current-load>1</current-load></resource><resource name="x"/></datacenter>
        </l:load-object>"#;

    fn now() -> SystemTime {
        time::of_text("now", "2026-11-21T04:30:00Z", UNIX_EPOCH + Duration::from_secs(4_000_000_000)).expect("a time")
    }

    fn of(text: &str, datacenter: Option<&str>, resource: Option<&str>) -> Result<(f64, Option<f64>), LoadError> {
        let wanted = Wanted { datacenter, resource };
        read(text, wanted, Max, now()).map(|sample| (sample.load, sample.capacity))
    }

    #[test]
    fn load_limit_and_timestamp_are_read() {
        let of = |capacity| read(ONE, Wanted { datacenter: None, resource: None }, capacity, now());
        let at = Some(now() - Duration::from_secs(120));
        assert_eq!(of(Max), Ok(LoadSample { load: 20.0, capacity: Some(30.0), at }));
        assert_eq!(of(Target), Ok(LoadSample { load: 20.0, capacity: Some(25.0), at }));
    }

    #[test]
    fn two_more_elements_tell_of_health() {
        let of = |more: &str| {
            let text = ONE.replace("<target-load>", &format!("{more}<target-load>"));
            health(&text, Wanted { datacenter: None, resource: None }).map(|sample| (sample.up, sample.errors))
        };
        assert_eq!(of("<healthy>0.75</healthy><errors> 0.01 </errors>"), Ok((Some(0.75), Errors::Share(0.01))));
        assert_eq!(of(""), Ok((None, Errors::Unknown)));
        for lie in ["-0.1", "1.5", "NaN", "most"] {
            assert!(
                of(&format!("<healthy>{lie}</healthy>")).is_err() && of(&format!("<errors>{lie}</errors>")).is_err()
            );
        }
    }

    #[test]
    fn the_one_that_is_meant_is_found() {
        assert_eq!(of(ONE, Some("100"), Some("connections")), Ok((20.0, Some(30.0))));
        assert_eq!(of(SEVERAL, Some("d3"), Some("web")), Ok((11.0, Some(5000.0))));
        assert_eq!(of(SEVERAL, Some("7"), Some("db")), Ok((3.0, None)));
        assert_eq!(of(SEVERAL, Some("d&4"), Some("web")), Ok((1.0, None)));
        assert_eq!(of(SEVERAL, None, Some("db")), Ok((3.0, None)));
        let error = |datacenter, resource| of(SEVERAL, datacenter, resource).expect_err("none").to_string();
        assert!(error(None, Some("web")).contains("say which"), "{}", error(None, Some("web")));
        assert_eq!(error(Some("d5"), None), "no datacenter `d5` in the report; there are: d3, 7, d&4");
        assert_eq!(error(None, Some("wed")), "no resource `wed` in the report; there are: web, db, x");
        assert_eq!(error(None, Some("x")), "there is no `current-load`");
    }

    #[test]
    fn without_the_limit_asked_for_the_other_one_is_taken() {
        let max_only = ONE.replace("target-load", "other");
        let wanted = Wanted { datacenter: None, resource: None };
        assert_eq!(read(&max_only, wanted, Target, now()).map(|sample| sample.capacity), Ok(Some(30.0)));
    }

    #[test]
    fn what_is_no_load_object_is_refused() {
        let deep = format!("<load-object>{}", "<a>".repeat(20));
        for text in [
            "",
            "text",
            "<html></html>",
            "<load-object>",
            "<load-object></datacenter>",
            "<load-object/><load-object/>",
            "<!DOCTYPE x [<!ENTITY a \"1\">]>",
            &deep,
        ] {
            assert!(matches!(of(text, None, None), Err(LoadError::Unreadable { .. })), "{text}");
        }
        assert_eq!(of("<load-object/>", None, None), Err(LoadError::Missing("resource".into())));
    }

    #[test]
    fn a_lying_feed_is_refused() {
        for lie in ["-1", "NaN", "1e16", "many", "&x;", "2&#48;"] {
            assert!(of(&ONE.replace(" 20 ", lie), None, None).is_err(), "{lie}");
            assert!(of(&ONE.replace(">30<", &format!(">{lie}<")), None, None).is_err(), "{lie}");
        }
        for timestamp in ["yesterday", "2026-11-21T04:32:00Z"] {
            assert!(of(&ONE.replace("2026-11-21T04:28:00Z", timestamp), None, None).is_err(), "{timestamp}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_true_sample_or_an_error(
            text in "(</?(load-object|datacenter|resource|current-load)( name='[ -~]{0,3}')?/?>|[0-9]{1,3}|[ -~]){0,20}",
        ) {
            if let Ok((load, _)) = of(&text, None, None) {
                prop_assert!((0.0..=figure::MOST).contains(&load));
            }
        }

        #[test]
        fn a_document_cut_short_is_an_error(cut in 0..ONE.len()) {
            prop_assert!(of(&ONE[..cut], None, None).is_err());
        }
    }
}
