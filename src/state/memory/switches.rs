//! The words of operators on services: the stage one was switched to, the part of clients its canary was shifted to, and
//! what each was before. What is asked for and what holds come in, what holds from now on goes out. Keeping it is left to
//! `control::switches`.
//!
//! A shift is of one canary. Where the file has another, or none, it does not hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Child, GroupId, Model, RegionId, Service, ServiceId, Switched, Weight};
use crate::steer::health::effective::RegionState;

/// The words of operators on services, by [`Model::service_key`].
pub type Switches = BTreeMap<String, Switch>;

/// A service of which an operator said something.
// No field is ever left out: it also goes from node to node, in a form without names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Switch {
    /// The stage its clients are sent to; `None`: as the file says.
    pub stage: Option<String>,
    /// The stage before the last switch: where its rollback leads. `None`: it was never switched.
    pub before: Option<String>,
    /// The part of clients its canary gets; `None`: as the file says.
    pub canary: Option<Shift>,
    /// The same before the last shift.
    pub canary_before: Option<Shift>,
    /// The one that was said last: what a rollback of the service undoes.
    pub last: Last,
}

/// A part of clients for a canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// 0 to 1.
    pub share: f64,
    /// The canary it is of: the group or the regions that its clients are sent to, as in the file.
    pub of: String,
    /// Who said so, as the record of changes has it.
    pub by: String,
    pub said_unix_ms: u64,
    /// For people.
    #[serde(default)]
    pub note: Option<String>,
    /// When it ends by itself; `None`: never.
    #[serde(default)]
    pub until_unix_ms: Option<u64>,
}

/// The kind of an operator's word on a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Last {
    #[default]
    Stage,
    Canary,
}

/// The word that an operator may ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum SwitchTo {
    Stage(String),
    /// To the stage before the last switch.
    Rollback,
    /// To the stage that the file says, whatever that becomes.
    File,
    /// A part of clients for the canary. Its [`Shift::of`] is filled in.
    Canary(Shift),
    /// The part of clients that the file says, whatever that becomes.
    CanaryOfFile,
    /// Stage and canary as they were before the last switch or shift.
    Undo,
}

/// The reason why a service stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("`{service}` has no stages to switch between")]
    NoStages { service: String },
    #[error("`{service}` has no stage `{stage}`; there are: {known}")]
    UnknownStage { service: String, stage: String, known: String },
    #[error("`{service}` has no canary; a zone file gives it one: canary = {{ regions = [\"new\"], share = 0.01 }}")]
    NoCanary { service: String },
    #[error("{share} is no part of clients: expected 0 to 1")]
    BadShare { share: String },
    #[error("`{service}` was not switched: there is nothing to go back to")]
    NothingBefore { service: String },
    #[error("no region of stage `{stage}` is up: {regions}; to switch all the same, force it")]
    NothingUp { stage: String, regions: String },
}

/// The facts that a word on a service is judged by.
pub struct Facts<'a> {
    pub model: &'a Model,
    /// Indexed by [`RegionId`].
    pub states: &'a [RegionState],
    pub unix_ms: u64,
}

impl Facts<'_> {
    /// The word that holds for a service once this was done; `None`: nothing was ever said. Refuses a stage without any
    /// region that is up, unless it is forced.
    pub fn next(
        &self,
        id: ServiceId,
        current: Option<&Switch>,
        to: &SwitchTo,
        force: bool,
    ) -> Result<Option<Switch>, Refusal> {
        match to {
            SwitchTo::Canary(shift) => self.shifted(id, current, Some(shift)),
            SwitchTo::CanaryOfFile => self.shifted(id, current, None),
            SwitchTo::Undo => match current.map(|current| current.last) {
                Some(Last::Canary) => self.shifted_back(id, current),
                Some(Last::Stage) => self.switched(id, current, &SwitchTo::Rollback, force),
                None => Err(Refusal::NothingBefore { service: self.model.service_key(id) }),
            },
            to => self.switched(id, current, to, force),
        }
    }

    fn switched(
        &self,
        id: ServiceId,
        current: Option<&Switch>,
        to: &SwitchTo,
        force: bool,
    ) -> Result<Option<Switch>, Refusal> {
        let (service, name) = (self.model.service(id), self.model.service_key(id));
        let Some(now) = active(service, current) else { return Err(Refusal::NoStages { service: name }) };
        let wanted = match to {
            SwitchTo::Stage(stage) => stage.clone(),
            SwitchTo::Rollback => match current.and_then(|current| current.before.clone()) {
                Some(before) => before,
                None => return Err(Refusal::NothingBefore { service: name }),
            },
            _ => active(service, None).unwrap_or_default(),
        };
        let Some(stage) = service.policies.stage(&wanted) else {
            let known = service.policies.stage_names().collect::<Vec<_>>().join(", ");
            return Err(Refusal::UnknownStage { service: name, stage: wanted, known });
        };
        if !force && wanted != now {
            check_up(self.model, self.states, service, stage, &wanted)?;
        }
        let is_said = current.is_some_and(|current| current.stage.is_some());
        let stage = match to {
            SwitchTo::File if !is_said => return Ok(current.cloned()),
            SwitchTo::File => None,
            _ if wanted == now => return Ok(current.cloned()),
            _ => Some(wanted),
        };
        let current = current.cloned().unwrap_or_default();
        Ok(Some(Switch { stage, before: Some(now), last: Last::Stage, ..current }))
    }

    fn shifted(&self, id: ServiceId, current: Option<&Switch>, to: Option<&Shift>) -> Result<Option<Switch>, Refusal> {
        let service = self.model.service(id);
        let Some(of) = canary_of(self.model, service) else {
            return Err(Refusal::NoCanary { service: self.model.service_key(id) });
        };
        if let Some(Shift { share, .. }) = to.filter(|to| canary_share(to.share).is_none()) {
            return Err(Refusal::BadShare { share: share.to_string() });
        }
        let now = shift(self.model, service, current, self.unix_ms).cloned();
        let canary = to.map(|to| Shift { of, ..to.clone() });
        let current = current.cloned();
        match (&now, &canary) {
            (None, None) => Ok(current),
            // Said anew of the same part: for longer, or with another note. What was before stays so.
            (Some(now), Some(then)) if now.share == then.share => {
                Ok(Some(Switch { canary, ..current.unwrap_or_default() }))
            }
            _ => Ok(Some(Switch { canary, canary_before: now, last: Last::Canary, ..current.unwrap_or_default() })),
        }
    }

    fn shifted_back(&self, id: ServiceId, current: Option<&Switch>) -> Result<Option<Switch>, Refusal> {
        let service = self.model.service(id);
        if canary_of(self.model, service).is_none() {
            return Err(Refusal::NoCanary { service: self.model.service_key(id) });
        }
        let now = shift(self.model, service, current, self.unix_ms).cloned();
        let back =
            |current: &Switch| Switch { canary: current.canary_before.clone(), canary_before: now, ..current.clone() };
        Ok(current.map(back))
    }
}

impl Switch {
    /// The same without anything said of a canary; `None`: nothing is left of it.
    pub fn without_canary(&self) -> Option<Switch> {
        let Switch { stage, before, .. } = self.clone();
        let is_said = stage.is_some() || before.is_some();
        is_said.then(|| Switch { stage, before, ..Switch::default() })
    }

    fn speaks_of_canary(&self) -> bool {
        self.canary.is_some() || self.canary_before.is_some()
    }
}

/// What holds now, of services that are still there and still have stages and canaries to say it of.
pub fn in_force(model: &Model, switches: &Switches, unix_ms: u64) -> BTreeMap<ServiceId, Switched> {
    if switches.is_empty() {
        return BTreeMap::new();
    }
    let of_service = |id: ServiceId| {
        let (service, switch) = (model.service(id), switches.get(&model.service_key(id))?);
        let stage = switch.stage.as_ref().and_then(|stage| service.policies.stage(stage));
        let canary = shift(model, service, Some(switch), unix_ms).and_then(|shift| canary_share(shift.share));
        let switched = Switched { stage, canary };
        (switched != Switched::default()).then_some((id, switched))
    };
    model.service_ids().filter_map(of_service).collect()
}

/// When the next shift ends by itself, after this moment.
pub fn next_end_ms(switches: &Switches, unix_ms: u64) -> Option<u64> {
    let ends = switches.values().filter_map(|switch| switch.canary.as_ref()?.until_unix_ms);
    ends.filter(|end| *end > unix_ms).min()
}

/// The services whose canary is not in the files any more, or is another one, though something was said of it.
pub fn lost_canaries(model: &Model, switches: &Switches) -> Vec<String> {
    let is_lost = |(name, switch): &(&String, &Switch)| {
        let of = match *model.find_services(name) {
            [id] => canary_of(model, model.service(id)),
            _ => None,
        };
        let mut shifts = switch.canary.iter().chain(&switch.canary_before);
        switch.speaks_of_canary() && shifts.any(|shift| of.as_ref() != Some(&shift.of))
    };
    switches.iter().filter(is_lost).map(|(name, _)| name.clone()).collect()
}

/// The name of the stage a service is on; `None` where it has none.
pub fn active(service: &Service, switch: Option<&Switch>) -> Option<String> {
    let said = switch.and_then(|switch| service.policies.stage(switch.stage.as_ref()?));
    let stage = service.policies.active_stage(said)?;
    Some(service.policies.group(stage).name.to_string())
}

/// The part of clients that a service's canary gets; `None`: it has none.
pub fn active_canary(model: &Model, service: &Service, switch: Option<&Switch>, unix_ms: u64) -> Option<Weight> {
    let said = shift(model, service, switch, unix_ms).and_then(|shift| canary_share(shift.share));
    let in_file = service.policies.canary_share()?;
    Some(said.unwrap_or(in_file))
}

/// The shift that holds: of this canary, and not over yet.
pub fn shift<'a>(model: &Model, service: &Service, switch: Option<&'a Switch>, unix_ms: u64) -> Option<&'a Shift> {
    let shift = switch?.canary.as_ref()?;
    let holds = canary_of(model, service).is_some_and(|of| of == shift.of);
    (holds && shift.until_unix_ms.is_none_or(|until| unix_ms < until)).then_some(shift)
}

/// A part of clients; `None`: it is not from 0 to 1.
pub fn canary_share(share: f64) -> Option<Weight> {
    Weight::new(share).filter(|share| share.get() <= 1.0)
}

/// The canary a service has, as people know it: the stage or group, or the regions that its clients are sent to.
pub fn canary_of(model: &Model, service: &Service) -> Option<String> {
    let tree = &service.policies;
    let canary = tree.canary()?;
    let group = tree.group(canary);
    if !group.name.contains(' ') {
        return Some(group.name.to_string());
    }
    let name = |child: &Child| match child {
        Child::Region(region) => &*model.region(*region).name,
        Child::Group(group) => &*tree.group(*group).name,
    };
    Some(group.children.iter().map(name).collect::<Vec<_>>().join(", "))
}

fn check_up(
    model: &Model,
    states: &[RegionState],
    service: &Service,
    stage: GroupId,
    name: &str,
) -> Result<(), Refusal> {
    let regions = service.policies.regions_below(stage, None);
    let effective = |region: &RegionId| states.get(region.index()).map(|state| state.effective);
    if regions.iter().any(|region| effective(region).is_some_and(|effective| effective.is_eligible())) {
        return Ok(());
    }
    let shown = |region: &RegionId| {
        let effective = effective(region).map_or("unknown", |effective| effective.as_str());
        format!("{} is {effective}", model.region(*region).name)
    };
    Err(Refusal::NothingUp {
        stage: name.to_owned(),
        regions: regions.iter().map(shown).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Child, Group, Name, Policy, PolicyTree, Region, RegionId, Zone, ZoneId};
    use crate::steer::health::effective::EffectiveState;

    fn world() -> (Model, Vec<RegionState>) {
        let origin = Name::parse_absolute("gslb.example").expect("a name");
        let at = crate::model::Coordinates::new(0.0, 0.0).expect("coordinates");
        let region = |name: &str| Region::new(name, ZoneId(0), at, Vec::new());
        let name = Name::parse("www", &origin).expect("a name");
        let mut service = Service::flat(name, ZoneId(0), Policy::Score, vec![RegionId(0), RegionId(1)]);
        let stage = |name: &str, region| Group {
            name: name.into(),
            policy: Policy::Score,
            children: vec![Child::Region(RegionId(region))],
        };
        let root = Group {
            name: "".into(),
            policy: Policy::Stage { active: 0 },
            children: vec![Child::Group(GroupId(0)), Child::Group(GroupId(1))],
        };
        let groups = vec![stage("blue", 0), stage("green", 1), root];
        service.policies = PolicyTree { groups, root: GroupId(2), rules: Vec::new() };
        let model = Model {
            zones: vec![Zone { origin, nodes: Default::default() }],
            regions: vec![region("old"), region("new")],
            services: vec![service],
            ..Model::default()
        };
        (model, vec![RegionState::unprobed(1); 2])
    }

    fn facts<'a>(model: &'a Model, states: &'a [RegionState]) -> Facts<'a> {
        Facts { model, states, unix_ms: NOW }
    }

    const NOW: u64 = 1_795_000_000_000;

    fn stage(stage: Option<&str>, before: &str) -> Switch {
        Switch { stage: stage.map(str::to_owned), before: Some(before.into()), ..Switch::default() }
    }

    fn to(share: f64) -> SwitchTo {
        SwitchTo::Canary(part(share))
    }

    fn part(share: f64) -> Shift {
        let (of, by) = (String::new(), "alice".into());
        Shift { share, of, by, said_unix_ms: NOW, note: None, until_unix_ms: None }
    }

    /// The same world, whose second stage is tried by some.
    fn with_canary() -> (Model, Vec<RegionState>) {
        let (mut model, states) = world();
        let share = Weight::new(0.01).expect("a share");
        let children = vec![Child::Group(GroupId(1)), Child::Group(GroupId(2))];
        let tree = &mut model.services[0].policies;
        tree.groups.push(Group { name: "the canary".into(), policy: Policy::Canary { share }, children });
        tree.root = GroupId(3);
        (model, states)
    }

    #[test]
    fn a_switch_is_taken_back_by_a_rollback_and_again_by_another() {
        let (model, states) = world();
        let switch =
            |current: Option<&Switch>, to: SwitchTo| facts(&model, &states).next(ServiceId(0), current, &to, false);
        let to = |name: &str| SwitchTo::Stage(name.into());
        let (green, blue) = (stage(Some("green"), "blue"), stage(Some("blue"), "green"));
        assert_eq!(switch(None, to("green")), Ok(Some(green.clone())));
        assert_eq!(switch(Some(&green), to("green")), Ok(Some(green.clone())), "there already");
        for back in [SwitchTo::Rollback, SwitchTo::Undo] {
            assert_eq!(switch(Some(&green), back.clone()), Ok(Some(blue.clone())));
            assert_eq!(switch(Some(&blue), back.clone()), Ok(Some(green.clone())));
            assert!(matches!(switch(None, back), Err(Refusal::NothingBefore { .. })));
        }
        let as_in_file = stage(None, "green");
        assert_eq!(switch(Some(&green), SwitchTo::File), Ok(Some(as_in_file.clone())));
        assert_eq!(switch(Some(&as_in_file), SwitchTo::Undo), Ok(Some(green)), "that is taken back, too");
        assert_eq!(switch(None, to("blue")), Ok(None), "as the file says");
        assert_eq!(switch(None, SwitchTo::File), Ok(None));
        assert!(matches!(switch(None, to("grey")), Err(Refusal::UnknownStage { known, .. }) if known == "blue, green"));
        assert!(matches!(switch(None, SwitchTo::CanaryOfFile), Err(Refusal::NoCanary { .. })));
    }

    #[test]
    fn a_stage_with_nothing_up_is_refused_unless_forced() {
        let (model, mut states) = world();
        states[1].effective = EffectiveState::Down;
        let to = SwitchTo::Stage("green".into());
        let next = |force| facts(&model, &states).next(ServiceId(0), None, &to, force);
        assert_eq!(
            next(false).expect_err("nothing up").to_string(),
            "no region of stage `green` is up: new is down; to switch all the same, force it"
        );
        assert!(next(true).is_ok());
    }

    #[test]
    fn a_canary_is_shifted_step_by_step_and_one_step_back_and_forth() {
        let (model, states) = with_canary();
        let facts = facts(&model, &states);
        let next =
            |current: Option<&Switch>, to: SwitchTo| facts.next(ServiceId(0), current, &to, false).expect("it takes");
        let share = |of: &Option<Switch>| {
            active_canary(&model, &model.services[0], of.as_ref(), NOW).map(Weight::get).expect("a canary")
        };
        assert_eq!(share(&None), 0.01, "the file's");
        assert_eq!(next(None, SwitchTo::CanaryOfFile), None, "nothing to delete");
        let first = next(None, to(0.05));
        let second = next(first.as_ref(), to(0.25));
        assert_eq!((share(&first), share(&second)), (0.05, 0.25));
        let back = next(second.as_ref(), SwitchTo::Undo);
        assert_eq!((share(&back), share(&next(back.as_ref(), SwitchTo::Undo))), (0.05, 0.25));
        assert_eq!(share(&next(first.as_ref(), SwitchTo::Undo)), 0.01, "nothing was said before");
        let deleted = next(second.as_ref(), SwitchTo::CanaryOfFile);
        assert_eq!((share(&deleted), share(&next(deleted.as_ref(), SwitchTo::Undo))), (0.01, 0.25));
        let again = next(second.as_ref(), SwitchTo::Canary(Shift { note: Some("calm".into()), ..part(0.25) }));
        assert_eq!(share(&next(again.as_ref(), SwitchTo::Undo)), 0.05, "the same part again is no step");
        assert_eq!(again.and_then(|again| again.canary?.note).as_deref(), Some("calm"));
    }

    #[test]
    fn a_rollback_undoes_what_was_said_last_and_leaves_the_other() {
        let (model, states) = with_canary();
        let facts = facts(&model, &states);
        let next =
            |current: Option<&Switch>, to: SwitchTo| facts.next(ServiceId(0), current, &to, false).expect("it takes");
        let shifted = next(None, to(0.5));
        let both = next(shifted.as_ref(), SwitchTo::Stage("green".into()));
        let undone = next(both.as_ref(), SwitchTo::Undo).expect("said");
        assert_eq!((undone.stage.as_deref(), undone.canary.map(|shift| shift.share)), (Some("blue"), Some(0.5)));
        let both = next(both.as_ref(), to(1.0));
        let undone = next(both.as_ref(), SwitchTo::Undo).expect("said");
        assert_eq!((undone.stage.as_deref(), undone.canary.map(|shift| shift.share)), (Some("green"), Some(0.5)));
        let only_stage = next(both.as_ref(), SwitchTo::Rollback).expect("said");
        assert_eq!((only_stage.stage.as_deref(), only_stage.canary.map(|of| of.share)), (Some("blue"), Some(1.0)));
    }

    #[test]
    fn shares_are_from_0_to_1() {
        let (model, states) = with_canary();
        for share in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            let refused = facts(&model, &states).next(ServiceId(0), None, &to(share), true);
            assert!(matches!(refused, Err(Refusal::BadShare { .. })), "{share}");
        }
        for share in [0.0, 1.0] {
            assert!(facts(&model, &states).next(ServiceId(0), None, &to(share), false).is_ok());
        }
        // What stands in a file that somebody edited does not hold either.
        let wild = Shift { of: "green".into(), ..part(7.0) };
        let switches =
            Switches::from([("www.gslb.example".to_owned(), Switch { canary: Some(wild), ..Switch::default() })]);
        assert!(in_force(&model, &switches, NOW).is_empty());
    }

    #[test]
    fn a_shift_ends_by_itself_and_with_the_canary_it_was_of() {
        let (mut model, states) = with_canary();
        let until = Shift { until_unix_ms: Some(NOW + 5_000), ..part(0.5) };
        let said = facts(&model, &states).next(ServiceId(0), None, &SwitchTo::Canary(until), false);
        let switches = Switches::from([("www.gslb.example".to_owned(), said.expect("it takes").expect("said"))]);
        let half = Switched { stage: None, canary: Weight::new(0.5) };
        assert_eq!(in_force(&model, &switches, NOW + 4_999), BTreeMap::from([(ServiceId(0), half)]));
        assert_eq!(next_end_ms(&switches, NOW), Some(NOW + 5_000));
        assert!(in_force(&model, &switches, NOW + 5_000).is_empty());
        assert_eq!(next_end_ms(&switches, NOW + 5_000), None);
        assert!(lost_canaries(&model, &switches).is_empty());
        model.services[0].policies.groups[3].children[0] = Child::Group(GroupId(0));
        assert!(in_force(&model, &switches, NOW).is_empty(), "it is another canary");
        assert_eq!(lost_canaries(&model, &switches), ["www.gslb.example"]);
        model.services[0].policies.root = GroupId(2);
        assert!(in_force(&model, &switches, NOW).is_empty(), "there is none");
        assert_eq!(lost_canaries(&model, &switches), ["www.gslb.example"]);
        assert_eq!(switches["www.gslb.example"].without_canary(), None);
        model.services.clear();
        assert_eq!(lost_canaries(&model, &switches), ["www.gslb.example"]);
    }

    #[test]
    fn switches_hold_by_name_and_those_of_what_is_gone_do_not() {
        let (mut model, _) = world();
        let switch = |name: &str| stage(Some(name), "blue");
        let switches = Switches::from([("www.gslb.example".to_owned(), switch("green"))]);
        let green = Switched { stage: Some(GroupId(1)), canary: None };
        assert_eq!(in_force(&model, &switches, NOW), BTreeMap::from([(ServiceId(0), green)]));
        assert_eq!(active(&model.services[0], switches.get("www.gslb.example")).as_deref(), Some("green"));
        assert_eq!(active(&model.services[0], Some(&switch("gone"))).as_deref(), Some("blue"));
        model.services[0].policies = PolicyTree::flat(Policy::Score, &[RegionId(0)]);
        assert!(in_force(&model, &switches, NOW).is_empty());
        let refused = facts(&model, &[]).next(ServiceId(0), None, &SwitchTo::Rollback, false);
        assert!(matches!(refused, Err(Refusal::NoStages { .. })));
    }
}
