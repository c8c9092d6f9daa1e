//! Health over real networks: a region is cut off, the server itself is, one family of addresses is, all is lost. For each,
//! the answers, the status, the events and the times.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::networks::{Heard, Networks, REFERENCE, SERVER, ipv4, ipv6, region};
use support::server::wait_until;

const EACH_SECOND: &str = "interval = \"1s\"";
/// Longer than anything takes to go down by its own failures at that pace.
const LONG: Duration = Duration::from_secs(6);
/// For what is to end well at some time, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The answers that lead to these regions: A, then AAAA.
fn leads_to(a: u8, aaaa: u8) -> (Vec<String>, Vec<String>) {
    (vec![ipv4(a)], vec![ipv6(aaaa)])
}

fn answers(networks: &Networks) -> (Vec<String>, Vec<String>) {
    (networks.answer("A"), networks.answer("AAAA"))
}

fn only(heard: &[Heard], expected: &(Vec<String>, Vec<String>)) {
    assert!(heard.iter().all(|heard| heard.answers == *expected), "{heard:#?}");
}

/// Region, state before and after, cause; of what happened after the first `known` events.
fn region_events(networks: &Networks, known: usize) -> Vec<(String, String, String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let events = networks.events().into_iter().skip(known).filter(|event| event["kind"] == "region");
    events.map(|e| (text(&e["region"]), text(&e["before"]), text(&e["after"]), text(&e["cause"]))).collect()
}

/// The families by which the server says that it reaches nobody, and why.
fn cut_off(networks: &Networks) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let status = networks.status();
    let told = status["probing"]["cut_off"].as_array().expect("a list");
    told.iter().map(|of| (text(&of["family"]), text(&of["why"]))).collect()
}

fn families(networks: &Networks) -> Vec<String> {
    cut_off(networks).into_iter().map(|(family, _)| family).collect()
}

/// Cuts the first region and gives the time until both answers have left it.
fn cut_the_first_region(networks: &Networks) -> Duration {
    let known = networks.events().len();
    networks.cut(1);
    let took = wait_until("both families leave the region", PATIENCE, || answers(networks) == leads_to(2, 2));
    assert_eq!(region(&networks.status(), 1)["state"], "down");
    let events = region_events(networks, known);
    assert!(events.iter().all(|(region, ..)| region == "r1@gslb.example"), "{events:?}");
    assert!(events.iter().any(|(_, _, after, cause)| (&**after, &**cause) == ("down", "probes")), "{events:?}");
    assert_eq!(families(networks), [""; 0], "the references answer");
    took
}

#[test]
fn a_region_that_is_cut_leaves_both_families_answers_within_seven_seconds_and_comes_back() {
    // Probes every 5 s, three of which must fail.
    let Some(networks) = Networks::start(true, "", "timeout = \"2s\"") else { return };
    assert_eq!(answers(&networks), leads_to(1, 1));
    // What an endpoint's answers usually take is known by then.
    let probed = Duration::from_secs(26);
    std::thread::sleep(probed);
    let took = cut_the_first_region(&networks);
    println!("answers left the region after {took:?}");
    // At most 6.8 s, and the machine may be busy.
    assert!(took < Duration::from_millis(7500), "{took:?}");
    networks.heal(1);
    let took = wait_until("it comes back", PATIENCE, || answers(&networks) == leads_to(1, 1));
    println!("it came back after {took:?}");
}

/// Cuts the server off and heals it, with so many failures that take a region down.
fn cut_off_and_back(fall: u8, cut: fn(&Networks), heal: fn(&Networks), whys: &[&str]) {
    let Some(networks) = Networks::start(true, "", &format!("{EACH_SECOND}, fall = {fall}")) else { return };
    let (known, asking) = (networks.events().len(), networks.keep_asking());
    cut(&networks);
    let took = wait_until("it is known for both families", PATIENCE, || families(&networks) == ["IPv4", "IPv6"]);
    println!("{whys:?}, fall = {fall}: both families are known to be cut off after {took:?}");
    assert!(networks.command(&["status"]).contains("CUT OFF by IPv4: "));
    // IPv6 connections are not given up for what a router says.
    let told = cut_off(&networks);
    assert!(whys.iter().any(|why| told[0].1.contains(why)), "{told:?}");
    for family in ["ipv4", "ipv6"] {
        assert_eq!(networks.metric(&format!("meridian_prober_cut_off{{family=\"{family}\"}}")), 1.0);
    }
    std::thread::sleep(LONG);
    heal(&networks);
    let took = wait_until("it is over", PATIENCE, || families(&networks).is_empty());
    println!("{whys:?}, fall = {fall}: over after {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    // What was asked in vain is late now.
    std::thread::sleep(Duration::from_secs(3));
    only(&asking.end(), &leads_to(1, 1));
    let events = region_events(&networks, known);
    assert!(events.iter().all(|(_, _, after, _)| after == "suspect" || after == "up"), "{events:?}");
    for family in ["IPv4", "IPv6"] {
        let all = networks.events();
        let of = all.iter().skip(known).filter(|event| event["kind"] == "server" && event["family"] == family);
        let told: Vec<_> = of.map(|event| (&event["before"], &event["after"], event["why"].is_string())).collect();
        let (connected, cut) = (&"connected".into(), &"cut_off".into());
        assert_eq!(told, [(connected, cut, true), (cut, connected, false)], "{all:#?}");
    }
    assert!(networks.log().contains("this server is cut off: no IPv4 reference answers"));
    assert!(networks.log().contains("this server is cut off no more"));
}

#[test]
fn a_server_that_is_cut_off_in_silence_takes_nothing_down_and_says_so_until_it_is_not() {
    for fall in [1, 3] {
        cut_off_and_back(fall, |networks| networks.cut(SERVER), |networks| networks.heal(SERVER), &["waited 1000 ms"]);
    }
}

#[test]
fn a_server_whose_router_says_that_it_leads_nowhere_takes_nothing_down() {
    // Linux gives an IPv4 connection up for what a router says, but not while the call that opens it still runs (a router
    // on the same machine answers that soon), and routers say it to one sender once a second at most.
    let whys = ["no route to the endpoint", "waited 1000 ms"];
    cut_off_and_back(1, Networks::reject_all, Networks::accept_all, &whys);
}

#[test]
fn a_server_whose_own_interface_is_down_takes_nothing_down_with_references_and_without() {
    for with_references in [true, false] {
        // A machine without a route for IPv6 learns nothing of it; only IPv4 shows that it should have one.
        let lost: &[&str] = if with_references { &["IPv4", "IPv6"] } else { &["IPv4"] };
        let Some(networks) = Networks::start(with_references, "", &format!("{EACH_SECOND}, fall = 1")) else { return };
        let (known, asking) = (networks.events().len(), networks.keep_asking());
        networks.unplug(SERVER);
        let took = wait_until("it is known", PATIENCE, || families(&networks) == lost);
        println!("references {with_references}: known after {took:?}, {:?}", cut_off(&networks));
        std::thread::sleep(LONG);
        networks.plug_in(SERVER);
        let took = wait_until("it is over", PATIENCE, || families(&networks).is_empty());
        println!("references {with_references}: over after {took:?}");
        std::thread::sleep(Duration::from_secs(3));
        only(&asking.end(), &leads_to(1, 1));
        let events = region_events(&networks, known);
        assert!(events.iter().all(|(_, _, after, _)| after == "suspect" || after == "up"), "{events:?}");
    }
}

#[test]
fn a_server_that_is_cut_off_and_has_no_references_answers_every_query() {
    let Some(networks) = Networks::start(false, "", EACH_SECOND) else { return };
    let asking = networks.keep_asking();
    networks.cut(SERVER);
    wait_until("probes fail", PATIENCE, || region(&networks.status(), 1)["state"] == "down");
    std::thread::sleep(LONG);
    let heard = asking.end();
    assert!(heard.iter().all(|heard| !heard.answers.0.is_empty()), "{heard:#?}");
    networks.heal(SERVER);
    wait_until("all is as it was", PATIENCE, || answers(&networks) == leads_to(1, 1));
}

#[test]
fn a_server_whose_ipv6_is_cut_goes_on_to_answer_it_with_references_and_without() {
    for with_references in [true, false] {
        let Some(networks) = Networks::start(with_references, "", EACH_SECOND) else { return };
        let asking = networks.keep_asking();
        networks.cut_ipv6(SERVER);
        if with_references {
            wait_until("it is known", PATIENCE, || families(&networks) == ["IPv6"]);
        } else {
            wait_until("it is doubted", PATIENCE, || networks.command(&["status"]).contains("IPv6 DOUBTED"));
        }
        std::thread::sleep(LONG);
        let status = networks.status();
        for number in 1..=3 {
            let region = region(&status, number);
            assert_eq!(region["state"], "up");
            assert_eq!(
                (&region["ipv6"] == "down", &region["ipv6_doubted"] == true),
                (!with_references, !with_references)
            );
        }
        networks.heal_ipv6(SERVER);
        wait_until("it is over", PATIENCE, || {
            families(&networks).is_empty() && !networks.command(&["status"]).contains("DOUBTED")
        });
        let heard = asking.end();
        let other = |heard: &&Heard| heard.answers != leads_to(1, 1);
        let most = if with_references { 0 } else { 1 };
        // Without references one endpoint may be down before the others are seen to fail: until then its AAAA is empty.
        assert!(heard.iter().filter(other).count() <= most, "{heard:#?}");
        assert!(heard.iter().filter(other).all(|heard| heard.answers == (vec![ipv4(1)], vec![])), "{heard:#?}");
    }
}

#[test]
fn ipv6_that_one_region_refuses_costs_its_aaaa_answers_alone() {
    let Some(mut networks) = Networks::start(true, "", EACH_SECOND) else { return };
    let known = networks.events().len();
    networks.close_at(&ipv6(1));
    let took = wait_until("AAAA is empty", PATIENCE, || answers(&networks) == (vec![ipv4(1)], vec![]));
    println!("AAAA was empty after {took:?}");
    let status = networks.status();
    assert_eq!((&region(&status, 1)["state"], &region(&status, 1)["ipv6"]), (&"up".into(), &"down".into()));
    assert_eq!(families(&networks), [""; 0]);
    networks.open_at(1, &ipv6(1));
    wait_until("AAAA is back", PATIENCE, || answers(&networks) == leads_to(1, 1));
    let causes: Vec<String> = region_events(&networks, known).into_iter().map(|(.., cause)| cause).collect();
    assert_eq!(causes, ["ipv6", "ipv6"]);
}

#[test]
fn where_all_regions_are_down_every_query_is_answered_and_everything_says_panic() {
    let Some(mut networks) = Networks::start(true, "", EACH_SECOND) else { return };
    let known = networks.events().len();
    (1..=3).for_each(|number| networks.close(number));
    let began = Instant::now();
    let condition = |networks: &Networks| networks.status()["services"][0]["condition"].clone();
    let asker = networks.asker();
    let mut asked = 0;
    while condition(&networks) != "panic" {
        assert!(began.elapsed() < PATIENCE, "no panic: {:#?}\n{}", networks.events(), networks.command(&["status"]));
        assert!(!asker.ask("A").is_empty());
    }
    println!("panic after {:?}", began.elapsed());
    while asked < 1000 {
        assert_eq!((asker.ask("A"), asker.ask("AAAA")), leads_to(1, 1));
        asked += 2;
    }
    assert_eq!(networks.metric("meridian_services{condition=\"panic\"}"), 1.0);
    assert!(networks.log().contains("PANIC"), "{}", networks.log());
    let events = networks.events();
    assert!(events.iter().skip(known).any(|of| of["kind"] == "service" && of["after"] == "panic"), "{events:#?}");
    let client = ["explain", "www.gslb.example", "--client", "192.0.2.0/24", "--live"];
    let explained = networks.command(&client);
    assert!(explained.to_lowercase().contains("panic"), "{explained}");
    assert_eq!(families(&networks), [""; 0]);
    networks.open(2);
    wait_until("the region that is back has all", PATIENCE, || answers(&networks) == leads_to(2, 2));
    networks.close(REFERENCE);
}
