//! The dashboard in a real browser: the demo runs in this process, Chromium opens its page.
//!
//! It is read by what the page shows, and held against what the server answers. Skipped where no browser is
//! installed.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use meridian::admin::client::AdminClient;
use meridian::demo::{Demo, Options};
use meridian::steer::health::effective::Override;
use serde_json::json;
use support::browser::{Browser, chromium};
use support::dns::{self, Ask};
use support::server::Server;
use support::tools;
use tokio::runtime::Runtime;

/// A demo and a browser that shows its page.
struct Shown {
    demo: Option<Demo>,
    dns: SocketAddr,
    browser: Browser,
    runtime: Runtime,
    _profile: tempfile::TempDir,
}

impl Shown {
    fn start() -> Option<Shown> {
        let Some(chromium) = chromium() else {
            tools::skip(tools::Need::Program, "chromium is not installed");
            return None;
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options { dns: any, admin: any, region_port: 0, interval: Some(Duration::from_millis(200)) };
        let demo = runtime.block_on(Demo::start(options)).expect("a demo on free ports");
        let admin = demo.daemon.admin.expect("an admin API");
        let dns = *demo.daemon.dns.first().expect("an address");
        let profile = tempfile::tempdir().expect("a folder");
        let mut browser = Browser::start(&chromium, profile.path());
        browser.look(1440, 900, "light");
        browser.open(&format!("http://{admin}/"));
        browser.wait("five region cards", "document.querySelectorAll('article').length === 5");
        Some(Shown { demo: Some(demo), dns, browser, runtime, _profile: profile })
    }

    /// The region that the page says a client gets, once it says so of this one.
    fn explained(&mut self, client: &str) -> String {
        let set = format!(
            "(() => {{ const input = document.getElementById('client'); input.value = {}; \
             input.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()",
            json!(client)
        );
        self.browser.value(&set);
        // The page takes what was typed before it hears the button.
        self.browser.value("new Promise((next) => setTimeout(next))");
        self.browser.value("document.querySelector('#ask button').click()");
        let network = client.rsplit_once('.').expect("an IPv4 address").0;
        let told = format!("document.querySelector('#explained').innerText.includes('({network}.0, by ecs)')");
        self.browser.wait("the explanation", &told);
        self.browser.text("document.querySelector('#explained .got').textContent")
    }

    /// The address that a client is answered.
    fn answered(&self, subnet: &str) -> String {
        dns::udp(self.dns, &Ask::new("www.gslb.example", "A").subnet(subnet)).data().join(" ")
    }

    fn click(&mut self, name: &str) {
        let button = format!("document.querySelector('button[aria-label={}]')", json!(name));
        self.browser.wait(name, &format!("{button} !== null"));
        self.browser.value(&format!("{button}.click()"));
    }

    /// Waits for the preview, and returns what it says.
    fn preview(&mut self) -> String {
        self.browser.wait("the preview", "document.querySelector('dialog[open] #preview strong') !== null");
        self.browser.text("document.querySelector('#preview').innerText")
    }

    fn state_of(&mut self, region: &str) -> String {
        self.browser.text(&format!(
            "document.getElementById('region-{region}@gslb.example').getAttribute('aria-label').split(', ')[1]"
        ))
    }
}

const SEOUL: &str = "127.200.82.1";

#[test]
fn a_region_is_drained_in_the_browser_and_answers_move() {
    let Some(mut shown) = Shown::start() else { return };
    shown.browser.wait("the map's regions", "document.querySelectorAll('.map .region').length === 5");
    shown.browser.wait("the places of clients", "document.querySelectorAll('.map .place').length > 50");
    assert_eq!(shown.explained("127.82.0.1"), "seoul");
    assert_eq!(shown.answered("127.82.0.0/24"), SEOUL);

    shown.click("Drain seoul");
    let preview = shown.preview();
    assert!(preview.contains("would move") && preview.contains("seoul →"), "{preview}");
    assert_eq!(shown.answered("127.82.0.0/24"), SEOUL, "asking changes nothing");
    // Whoever changes their mind leaves by the keyboard.
    shown.browser.press("Escape");
    shown.browser.wait("no question", "document.querySelector('dialog[open]') === null");
    assert_eq!(shown.state_of("seoul"), "up");

    shown.click("Drain seoul");
    shown.preview();
    shown.browser.value("document.querySelector('dialog[open] .actions button:last-child').click()");
    shown.browser.wait("the drain", "document.querySelector('.said')?.innerText.includes('seoul is draining now')");
    shown
        .browser
        .wait("it on the card", "document.querySelector('article[aria-label=\"region seoul, drain\"]') !== null");
    shown.browser.wait("the focus at the card", "document.activeElement.id === 'region-seoul@gslb.example'");
    assert_ne!(shown.answered("127.82.0.0/24"), SEOUL);
    // A bar tells how far it is, second by second, without a status for each.
    const BAR: &str =
        "parseFloat(document.querySelector('article[aria-label=\"region seoul, drain\"] .draining .fill').style.width)";
    shown.browser.wait("its progress", &format!("{BAR} > 0 && {BAR} < 100"));
    let before = shown.browser.value(BAR).as_f64().expect("a width");
    shown.browser.wait("more of it", &format!("{BAR} > {before} + 2"));
    assert_ne!(shown.explained("127.82.1.1"), "seoul");
    shown.browser.wait("the event", "document.querySelector('.events').innerText.includes('seoul drain')");

    // And back, with keys alone: Cancel has the focus, the next is the one that does it.
    shown.browser.value("document.querySelector('button[aria-label=\"Lift the override of seoul\"]').focus()");
    shown.browser.press("Enter");
    shown.preview();
    shown.browser.wait("Cancel in focus", "document.activeElement.innerText === 'Cancel'");
    shown.browser.press("Tab");
    shown.browser.press("Enter");
    shown.browser.wait("it up again", "document.querySelector('article[aria-label=\"region seoul, up\"]') !== null");
    assert_eq!(shown.explained("127.82.2.1"), "seoul");
    assert_eq!(shown.answered("127.82.0.0/24"), SEOUL);
    assert!(shown.browser.complaints.is_empty(), "{:#?}", shown.browser.complaints);

    // Without its server the page says so, and keeps what it knew.
    let demo = shown.demo.take().expect("running");
    shown.runtime.block_on(demo.stop());
    shown.browser.wait("the loss", "document.querySelector('.poll').innerText.includes('not answering')");
    assert_eq!(shown.browser.value("document.querySelectorAll('article').length"), 5);
}

#[test]
fn the_page_hears_of_changes_by_a_stream_and_takes_nobodys_back_unseen() {
    let Some(mut shown) = Shown::start() else { return };
    let admin = shown.demo.as_ref().and_then(|demo| demo.daemon.admin).expect("an admin API");
    let client = AdminClient::new(admin, None).expect("a client");
    const ASKED: &str =
        "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/v1/status')).length";
    // Asking again and again would be every 2 s.
    let still = (0..5).any(|_| {
        let before = shown.browser.value(ASKED);
        std::thread::sleep(Duration::from_secs(5));
        shown.browser.value(ASKED) == before
    });
    assert!(still, "it goes on to ask");
    let before = shown.browser.value(ASKED);
    shown.runtime.block_on(client.set_override("sydney", Override::Drain)).expect("taken");
    shown.browser.wait("the drain", "document.querySelector('article[aria-label=\"region sydney, drain\"]') !== null");
    assert_eq!(shown.browser.value(ASKED), before, "without asking");

    shown.click("Drain seoul");
    shown.preview();
    shown.runtime.block_on(client.set_override("seoul", Override::Down)).expect("taken");
    shown.browser.value("document.querySelector('dialog[open] .actions button:last-child').click()");
    let told = "document.querySelector('dialog[open] [role=alert]')?.innerText.includes('Somebody else changed this meanwhile')";
    shown.browser.wait("the refusal", told);
    let status = shown.runtime.block_on(client.status()).expect("status");
    let regions = status["regions"].as_array().expect("a list");
    let seoul = regions.iter().find(|region| region["name"] == "seoul@gslb.example").expect("seoul");
    assert_eq!(seoul["override"], "down", "the other's word holds");
}

/// Every text that is seen, whose contrast with what is behind it is below WCAG 2.2's AA (4.5, large ones 3); what is
/// drawn in the map has its own outline.
const FAINT_TEXTS: &str = r"(() => {
  const rgb = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ({ r, g, b }) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (of) => { for (; of; of = of.parentElement) { const c = rgb(getComputedStyle(of).backgroundColor); if (c.a === 1) return c; } return { r: 255, g: 255, b: 255 }; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  while (walker.nextNode()) {
    const of = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || of.closest('svg, noscript, .visually-hidden') || !of.checkVisibility()) continue;
    const style = getComputedStyle(of);
    const [a, b] = [light(rgb(style.color)), light(behind(of))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.push(`${walker.currentNode.data.trim()}: ${style.color}`);
  }
  return faint.join('\n');
})()";

/// Buttons and fields that a screen reader has no name for.
const NAMELESS: &str = r"[...document.querySelectorAll('button, input, select, summary, [role=button], dialog[open], svg[role]')]
  .filter((one) => !(one.innerText?.trim() || one.getAttribute('aria-label') || one.labels?.length || one.getAttribute('aria-labelledby')))
  .map((one) => one.outerHTML.slice(0, 80)).join('\n')";

#[test]
fn the_page_is_readable_in_light_and_dark_and_on_a_phone() {
    let Some(mut shown) = Shown::start() else { return };
    shown.explained("127.55.0.1");
    for (width, height, colours) in [(1440, 900, "light"), (1440, 900, "dark"), (390, 844, "light"), (390, 844, "dark")]
    {
        let browser = &mut shown.browser;
        browser.look(width, height, colours);
        let ground = format!(
            "(getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 128) === {}",
            colours == "dark"
        );
        browser.wait("the colours", &ground);
        let fits = format!("document.documentElement.scrollWidth <= {width} && innerWidth === {width}");
        browser.wait("no scrolling to the side", &fits);
        let faint = browser.text(FAINT_TEXTS);
        assert!(faint.is_empty(), "{width} {colours}:\n{faint}");
        // What decides is in sight: the total, and why not.
        for label in ["Total", "Why not"] {
            let seen = format!(
                "(() => {{ const box = document.querySelector('#explained td[data-label={}]').getBoundingClientRect(); \
                 return box.width > 0 && box.left >= 0 && box.right <= {width}; }})()",
                json!(label)
            );
            assert_eq!(browser.value(&seen), json!(true), "{label} at {width}");
        }
    }
    assert_eq!(shown.browser.text(NAMELESS), "");
    assert!(shown.browser.complaints.is_empty(), "{:#?}", shown.browser.complaints);
}

#[test]
fn a_region_that_is_down_looks_down() {
    let Some(mut shown) = Shown::start() else { return };
    let broken =
        shown.demo.as_ref().expect("running").balancers.iter().find(|one| one.name == "sydney").expect("sydney");
    let mut stream = TcpStream::connect(broken.address).expect("connected");
    let request = format!("POST /break HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", broken.address);
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("an answer");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    shown.browser.wait("it down", "document.querySelector('article[aria-label=\"region sydney, down\"]') !== null");
    let bar = "document.querySelector('article[aria-label=\"region sydney, down\"] .bar')";
    shown.browser.wait("its bar", &format!("{bar} !== null"));
    assert_eq!(shown.browser.text(&format!("{bar}.className")), "bar bad");
    assert!(shown.browser.text("document.querySelector('.troubles').innerText").contains("sydney"));
    let card = shown.browser.text("document.querySelector('article[aria-label=\"region sydney, down\"]').innerText");
    assert!(card.contains("503"), "what its probe saw: {card}");
    assert!(shown.browser.complaints.is_empty(), "{:#?}", shown.browser.complaints);
}

/// A service that tries two of its regions, and may be switched.
const RELEASES: &str = r#"
origin = "gslb.example"
records = """
@ SOA ns1 hostmaster 1 1h 10m 1w 60
@ NS ns1
ns1 A 192.0.2.53
"""
[region.old]
location = { country = "DE" }
endpoints = [{ address = "192.0.2.1" }]
[region.new]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.2" }]
[service.www]
active = "blue"
canary = { group = "green", share = 0.01 }
[service.www.stage.blue]
regions = ["old"]
[service.www.stage.green]
regions = ["new"]
"#;

#[test]
fn a_canary_is_shifted_and_rolled_back_in_the_browser() {
    let Some(chromium) = chromium() else {
        return tools::skip(tools::Need::Program, "chromium is not installed");
    };
    let server = Server::start("", &[("gslb.example.toml", RELEASES)]);
    let profile = tempfile::tempdir().expect("a folder");
    let mut browser = Browser::start(&chromium, profile.path());
    browser.look(1440, 900, "light");
    browser.open(&format!("http://{}/", server.admin));
    let says = |text: &str| format!("document.querySelector('.plan')?.innerText.includes({})", json!(text));
    let press = |browser: &mut Browser, button: &str| {
        let found = format!(
            "[...document.querySelectorAll('.plan button')].find((one) => one.innerText === {})",
            json!(button)
        );
        browser.wait(button, &format!("{found} !== undefined"));
        browser.value(&format!("{found}.click()"));
        browser.wait("the preview", "document.querySelector('dialog[open] #preview strong') !== null");
        let preview = browser.text("document.querySelector('dialog[open]').innerText");
        browser.value("document.querySelector('dialog[open] .actions button:last-child').click()");
        browser.wait("no question", "document.querySelector('dialog[open]') === null");
        preview
    };
    browser.wait("the file's figure", &says("Canary: 1\u{a0}% of clients to green, as the zone file says."));
    assert!(!browser.text("document.querySelector('.plan').innerText").contains("Roll back"), "nothing to take back");
    // The next step is offered, another part may be typed.
    let preview = press(&mut browser, "Shift…");
    assert!(preview.contains("Give the canary of www.gslb.example 5\u{a0}% of clients?"), "{preview}");
    assert!(preview.contains("old → new"), "{preview}");
    browser.wait(
        "the shift",
        &says("Canary: 5\u{a0}% of clients to green, shifted by local; the zone file says 1\u{a0}%."),
    );
    browser.value(
        "(() => { const input = document.querySelector('.plan input.part'); input.value = '60'; \
         input.dispatchEvent(new Event('input', { bubbles: true })); })()",
    );
    browser.value("new Promise((next) => setTimeout(next))");
    press(&mut browser, "Shift…");
    browser.wait("most of them", &says("Canary: 60\u{a0}% of clients to green"));
    browser.wait("the event", "document.querySelector('.events').innerText.includes('canary 60\u{a0}%, was 5\u{a0}%')");
    assert_eq!(browser.text(NAMELESS), "");
    assert_eq!(browser.text(FAINT_TEXTS), "");
    let preview = press(&mut browser, "Roll back to stage blue with a canary of 5\u{a0}%…");
    assert!(preview.contains("new → old"), "{preview}");
    browser.wait("the step before", &says("Canary: 5\u{a0}% of clients to green"));
    press(&mut browser, "Switch…");
    browser.wait("the other stage", &says("On stage green, switched by an operator."));
    press(&mut browser, "Roll back to stage blue with a canary of 5\u{a0}%…");
    browser.wait("the stage before", &says("On stage blue"));
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    for (width, colours) in [(1440, "dark"), (390, "light")] {
        browser.look(width, 900, colours);
        browser.wait("no scrolling to the side", &format!("document.documentElement.scrollWidth <= {width}"));
        assert_eq!(browser.text(FAINT_TEXTS), "", "{width}");
    }
}
