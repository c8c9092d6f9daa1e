//! The stage a service is on, where an operator switched it: what is asked for and what was before
//! come in, what holds from now on goes out. Keeping it is left to `control::switches`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{GroupId, Model, Service, ServiceId};
use crate::steer::health::effective::RegionState;

/// The switches of operators, by [`Model::service_key`].
pub type Switches = BTreeMap<String, Switch>;

/// A service that is on another stage than its file says, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The stage its clients are sent to.
    pub stage: String,
    /// The one before: where a rollback leads.
    pub before: String,
}

/// The switch an operator may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchTo {
    Stage(String),
    /// To the stage before the last switch.
    Rollback,
    /// To what the file says, whatever that becomes.
    File,
}

/// The reason why a service stays on its stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("`{service}` has no stages to switch between")]
    NoStages { service: String },
    #[error("`{service}` has no stage `{stage}`; there are: {known}")]
    UnknownStage { service: String, stage: String, known: String },
    #[error("`{service}` was not switched: there is nothing to go back to")]
    NothingBefore { service: String },
    #[error("no region of stage `{stage}` is up: {regions}; to switch all the same, force it")]
    NothingUp { stage: String, regions: String },
}

/// The switch that holds for a service once this was done; `None`: what the file says. Refuses a stage without
/// any region that is up, unless it is forced.
pub fn next(
    model: &Model,
    states: &[RegionState],
    id: ServiceId,
    current: Option<&Switch>,
    to: &SwitchTo,
    force: bool,
) -> Result<Option<Switch>, Refusal> {
    let service = model.service(id);
    let name = model.service_key(id);
    let Some(now) = active(service, current) else { return Err(Refusal::NoStages { service: name }) };
    let wanted = match to {
        SwitchTo::Stage(stage) => stage.clone(),
        SwitchTo::Rollback => match current {
            Some(switch) => switch.before.clone(),
            None => return Err(Refusal::NothingBefore { service: name }),
        },
        SwitchTo::File => active(service, None).unwrap_or_default(),
    };
    let Some(stage) = service.policies.stage(&wanted) else {
        let known = service.policies.stage_names().collect::<Vec<_>>().join(", ");
        return Err(Refusal::UnknownStage { service: name, stage: wanted, known });
    };
    if !force && wanted != now {
        check_up(model, states, service, stage, &wanted)?;
    }
    match to {
        SwitchTo::File => Ok(None),
        _ if wanted == now => Ok(current.cloned()),
        _ => Ok(Some(Switch { stage: wanted, before: now })),
    }
}

/// The stages in force, of services that are still there and still have them.
pub fn in_force(model: &Model, switches: &Switches) -> BTreeMap<ServiceId, GroupId> {
    if switches.is_empty() {
        return BTreeMap::new();
    }
    let of_service = |id: ServiceId| {
        let switch = switches.get(&model.service_key(id))?;
        Some((id, model.service(id).policies.stage(&switch.stage)?))
    };
    model.service_ids().filter_map(of_service).collect()
}

/// The name of the stage a service is on; `None` where it has none.
pub fn active(service: &Service, switch: Option<&Switch>) -> Option<String> {
    let said = switch.and_then(|switch| service.policies.stage(&switch.stage));
    let stage = service.policies.active_stage(said)?;
    Some(service.policies.group(stage).name.to_string())
}

fn check_up(
    model: &Model,
    states: &[RegionState],
    service: &Service,
    stage: GroupId,
    name: &str,
) -> Result<(), Refusal> {
    let regions = service.policies.regions_below(stage, None);
    let effective = |region: &crate::model::RegionId| states.get(region.index()).map(|state| state.effective);
    if regions.iter().any(|region| effective(region).is_some_and(|effective| effective.is_eligible())) {
        return Ok(());
    }
    let shown = |region: &crate::model::RegionId| {
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

    #[test]
    fn a_switch_is_taken_back_by_a_rollback_and_again_by_another() {
        let (model, states) = world();
        let switch = |current: Option<&Switch>, to: SwitchTo| next(&model, &states, ServiceId(0), current, &to, false);
        let stage = |name: &str| SwitchTo::Stage(name.into());
        let green = Switch { stage: "green".into(), before: "blue".into() };
        let blue = Switch { stage: "blue".into(), before: "green".into() };
        assert_eq!(switch(None, stage("green")), Ok(Some(green.clone())));
        assert_eq!(switch(Some(&green), stage("green")), Ok(Some(green.clone())), "there already");
        assert_eq!(switch(Some(&green), SwitchTo::Rollback), Ok(Some(blue.clone())));
        assert_eq!(switch(Some(&blue), SwitchTo::Rollback), Ok(Some(green.clone())));
        assert_eq!(switch(Some(&green), SwitchTo::File), Ok(None));
        assert_eq!(switch(None, stage("blue")), Ok(None), "as the file says");
        assert!(matches!(switch(None, SwitchTo::Rollback), Err(Refusal::NothingBefore { .. })));
        assert!(
            matches!(switch(None, stage("grey")), Err(Refusal::UnknownStage { known, .. }) if known == "blue, green")
        );
    }

    #[test]
    fn a_stage_with_nothing_up_is_refused_unless_forced() {
        let (model, mut states) = world();
        states[1].effective = EffectiveState::Down;
        let to = SwitchTo::Stage("green".into());
        let refused = next(&model, &states, ServiceId(0), None, &to, false).expect_err("nothing up");
        assert_eq!(
            refused.to_string(),
            "no region of stage `green` is up: new is down; to switch all the same, force it"
        );
        assert!(next(&model, &states, ServiceId(0), None, &to, true).is_ok());
    }

    #[test]
    fn switches_hold_by_name_and_those_of_what_is_gone_do_not() {
        let (mut model, _) = world();
        let switch = |stage: &str| Switch { stage: stage.into(), before: "blue".into() };
        let switches = Switches::from([("www.gslb.example".to_owned(), switch("green"))]);
        assert_eq!(in_force(&model, &switches), BTreeMap::from([(ServiceId(0), GroupId(1))]));
        assert_eq!(active(&model.services[0], switches.get("www.gslb.example")).as_deref(), Some("green"));
        assert_eq!(active(&model.services[0], Some(&switch("gone"))).as_deref(), Some("blue"));
        model.services[0].policies = PolicyTree::flat(Policy::Score, &[RegionId(0)]);
        assert!(in_force(&model, &switches).is_empty());
        let refused = next(&model, &[], ServiceId(0), None, &SwitchTo::Rollback, false);
        assert!(matches!(refused, Err(Refusal::NoStages { .. })));
    }
}
