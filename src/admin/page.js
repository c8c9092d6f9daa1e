// Polls /v1/status and /v1/events and shows them; asks /v1/explain. Every text from the server goes through
// textContent: what a probe saw comes from outside.
"use strict";

const POLL_MS = 2000;
const $ = (id) => document.getElementById(id);

function el(tag, kind, ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  for (const child of children) {
    if (child !== null && child !== undefined) element.append(child); // strings become text nodes
  }
  return element;
}

// What to think of a word, beside the word itself: never the colour alone.
const MOOD = {
  up: "good", suspect: "warn", down: "bad", drain: "calm", unknown: "warn",
  normal: "good", full: "warn", unproven: "warn", panic: "bad", only_draining: "warn", all_withdrawn: "bad",
};
const word = (text, mood) => el("span", `word ${mood ?? MOOD[text] ?? "none"}`, text.replaceAll("_", " "));

function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}
// What rounds to nothing is 0, never -0: adding 0 takes the sign away.
const rounded = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits + 0;
const fixed = (value, digits) => rounded(value, digits).toFixed(digits);
const number = (value) => rounded(value, 1).toLocaleString("en", { maximumFractionDigits: 1 });
const percent = (part) => `${fixed(part * 100, part > 0 && part < 0.1 ? 1 : 0)} %`;

function bar(part, mood) {
  const fill = el("div");
  fill.style.width = `${Math.min(100, Math.max(0, part * 100))}%`;
  const track = el("div", `bar ${mood}`, fill);
  track.setAttribute("aria-hidden", "true"); // the figures are beside it as text
  return track;
}

function load(region) {
  const { configured, load, capacity, utilisation, age_s, stale, heard, since_s, doubt, cure, error, reading } = region.load;
  if (!configured && load === null) return el("p", "faint", "no load report");
  const parts = [];
  if (load === null) {
    parts.push(el("p", "", word("load unknown", "warn")));
  } else {
    const of = capacity === null ? "" : ` of ${number(capacity)} (${percent(utilisation)})`;
    const when = stale ? word(`stale, ${age(age_s)} old`, "warn") : el("span", "faint", `${age(age_s)} ago`);
    parts.push(el("div", "row", el("span", "", `load ${number(load)}${of}`), when));
    if (utilisation !== null) {
      const mood = stale ? "none" : utilisation > 0.95 ? "bad" : utilisation > 0.85 ? "warn" : "good";
      parts.push(bar(utilisation, mood));
    }
  }
  if (heard === "never" && configured) parts.push(el("p", "faint", "never reported: a part of the configured capacity is planned with"));
  if (heard === "doubted") {
    parts.push(el("p", "", word("doubted", "warn"), ` for ${age(since_s)}; ${doubt}${cure === null ? "" : ` (${cure})`}`));
  }
  if (heard === "failing") parts.push(el("p", "", word("failing", "warn"), ` for ${age(since_s)}`));
  if (reading !== null && heard === "believed") parts.push(...readings(reading, load));
  if (error) parts.push(el("p", "faint text", `load report: ${error}`));
  return el("div", "", ...parts);
}

// What the figures of a feed are taken for, where that is not what they say.
function readings({ unit, others, gain, jumped_s, restless }, load) {
  const differs = (factor) => Math.abs(factor - 1) > 0.05;
  const since = jumped_s === null ? "" : ` since a jump ${age(jumped_s)} ago`;
  const told = [
    restless ? "its load swings, and counts in the mean of 20 min" : null,
    differs(gain) ? `its figures count × ${fixed(gain, 2)}${since}: it says so many times what there is` : null,
    differs(unit) ? `one client counts ${fixed(unit, 3)} there` : null,
    others > 0.05 * load * Math.max(gain, 0.05) ? `${number(others)} of the load came otherwise than by answers` : null,
  ].filter(Boolean);
  return told.length ? [el("p", "faint", told.join("; "))] : [];
}

function endpoint(of) {
  const verdict = of.verdict === null ? word("not probed", "none") : word(of.verdict);
  const since = of.restored ? ` as of ${age(of.probe_age_s)} ago, before the restart` : of.since_s === null ? "" : ` for ${age(of.since_s)}`;
  const probe = of.last_probe === "" ? null
    : el("div", "faint text", `probed ${age(of.probe_age_s)} ago: ${of.last_probe}`);
  return el("li", "",
    el("div", "row", el("span", "text", `${of.label} · ${of.layer.toUpperCase()} · weight ${of.weight}`),
      el("span", "", verdict, el("span", "faint", since))),
    probe, ...(of.probes ?? []).filter((one) => one.verdict !== of.verdict).map(dissent));
}

// One of an endpoint's probes that says another thing than all of them together.
function dissent(of) {
  const name = [of.ipv6 ? "IPv6" : "", of.check].filter((part) => part !== "").join(" ");
  const verdict = of.verdict === null ? word("not probed", "none") : word(of.verdict);
  const watched = of.role === "watch_only" ? ", only watched" : "";
  return el("div", "text", `${name} `, verdict, el("span", "faint", `${watched} ${of.last_probe}`));
}

function drain(of) {
  if (of === null) return null;
  const when = of.safe ? "safe: no answer sends clients there any more"
    : of.safe_in_s === null ? "not safe: still answered, since there is no other region"
    : `safe in ${age(of.safe_in_s)} at the earliest; until then at most ${percent(of.may_come)} of its clients may still come, by the age of answers`;
  const load = of.load_ratio === null ? "" : `; its load is ${percent(of.load_ratio)} of what it was when the drain began`;
  return el("p", "", word("drain", of.safe ? "good" : "calm"), ` ${when}${load}`);
}

function region(of) {
  const probed = of.endpoints.some((endpoint) => endpoint.verdict !== null);
  const said = of.override === "auto" ? null
    : el("p", "", "by override", ...(probed ? ["; its probes say ", word(of.verdict)] : []));
  const calm = [
    of.held_s === null ? null : el("p", "", word("held", "bad"), ` its probes say down, but too many regions went at once: still answered, for ${age(of.held_s)} yet or until an override`),
    of.damped_s === null ? null : el("p", "", word("damped", "warn"), ` it went down too often: out for ${age(of.damped_s)} yet`),
    of.failed_dependency === null ? null : el("p", "", word("dependency", "bad"), ` depends on ${of.failed_dependency}, which ${of.failed_dependency.includes("@") ? "is not up" : "has no region up"}`),
    of.delayed_s === null ? null : el("p", "", word("delayed", "warn"), ` its probes took it down and say up again: back in ${age(of.delayed_s)}`),
    of.awaits_resume_s === null ? null : el("p", "", word("awaits resume", "warn"), ` its probes took it down ${age(of.awaits_resume_s)} ago: \`meridian region auto ${of.name}\` lets it back`),
    of.offered < (of.degraded?.offered ?? 1) ? el("p", "", word("slow start", "warn"), ` at ${percent(of.offered)} of its capacity`) : null,
    of.degraded ? el("p", "", word("degraded", "warn"), ` ${percent(of.degraded.offered)} of its capacity: ${of.degraded.why.join("; ")}`) : null,
    drain(of.drain),
  ];
  const planned = of.planned_load === null ? "" : ` · planned load ${number(of.planned_load)}`;
  const changed = of.changed_s === null ? "" : ` · changed ${age(of.changed_s)} ago`;
  return el("article", MOOD[of.state],
    el("header", "", el("h3", "", of.name), word(of.state)),
    el("p", "faint", `${of.location} · price ${fixed(of.price_ms, 1)} ms${planned}${changed}`),
    said, ...calm, load(of), el("ul", "", ...of.endpoints.map(endpoint)));
}

const ttl = ({ least, most }) => (least < most ? `${least}–${most} s` : `${least} s`);

function service(of) {
  const rows = of.regions.map((r) => {
    const share = r.mean_share === null ? "not counted" : `${percent(r.mean_share)} · ${number(r.places)} places`;
    return el("li", "",
      el("div", "row", el("span", "text", r.name, " ", word(r.state)), el("span", "faint", share)),
      r.mean_share === null ? null : bar(r.mean_share, "calm"));
  });
  return el("article", MOOD[of.condition],
    el("header", "", el("h3", "", of.name), word(of.condition)),
    el("p", "faint", `policy ${of.policy}${of.stage ? ` ${of.stage}${of.switched ? ", switched" : ""}` : ""} · TTL now ${ttl(of.answered_ttl_s)}; ${of.ttl_s} s when calm, ${of.failover_ttl_s} s near a failover`),
    ...of.fences_out.map((fence) => el("p", "", word(fence.condition), ` for the clients of ${fence.rule} alone`)),
    el("p", "faint", "mean share over places · places where it leads"),
    el("ul", "", ...rows));
}

/** What answers go by where a database is bad. */

function alarms(status) {
  const found = [];
  for (const of of status.summary.troubles) {
    if (of.level === "ok") continue;
    const since = of.since_s === null ? "" : `, for ${age(of.since_s)}`;
    const until = of.until_s === null ? "" : `; for ${age(of.until_s)} yet`;
    found.push(el("div", of.level === "panic" ? "alarm" : "alarm mild", el("strong", "", of.of), `${since}: ${of.what}${until}`));
  }
  if (!status.last_load.ok) found.push(el("div", "alarm mild", el("pre", "", status.last_load.mistakes.join("\n\n"))));
  return found;
}

const WORDS = { ok: "good", degraded: "warn", panic: "bad" };

function summary(of) {
  const since = of.since_s === null ? "" : ` for ${age(of.since_s)}`;
  $("summary").replaceChildren(word(of.state, WORDS[of.state]), since);
}

const MOST_EVENTS = 50;
const CAUSE = {
  probes: "by its probes", override: "by an operator", damped: "it went down too often", held: "too many regions went at once",
  lifted: "that has ended", reload: "another configuration",
};
let events = []; // oldest first
let lastEvent = null;

async function news() {
  const latest = `/v1/events?limit=${MOST_EVENTS}`;
  let found = await ask(lastEvent === null ? latest : `${latest}&after=${lastEvent}`);
  if (found.left_out > 0 && lastEvent !== null) {
    events = []; // the newest are wanted, not those that come next
    found = await ask(latest);
  }
  lastEvent = found.last_id;
  events = [...events, ...found.events].slice(-MOST_EVENTS);
  $("none").hidden = events.length > 0;
  $("events").replaceChildren(...events.map(event).reverse());
}

// The worse of an event's words decides its colour.
function mood(of) {
  if (of.cause === "held" || of.after === "cut_off") return "bad";
  return of.kind === "reload" || of.kind === "server" || of.kind === "node" || of.after === null ? "none" : MOOD[of.after] ?? "none";
}

function moved(told, shares) {
  if (!shares?.length) return null;
  return `clients ${told} ${shares.map((to) => `${to.region.split("@")[0]} ${percent(to.share)}`).join(", ")}`;
}

function regionEvent(of) {
  const last = of.probes.filter((probe) => probe.verdict === "down" && probe.last_probe !== "")
    .sort((a, b) => (a.age_s ?? Infinity) - (b.age_s ?? Infinity))[0];
  const lifted = of.lifted ? `${of.lifted}: ` : "";
  return [
    `${lifted}${CAUSE[of.cause] ?? of.cause.replaceAll("_", " ")}`,
    of.for_s ? `for ${age(of.for_s)}` : null,
    `${of.endpoints_down} of ${of.endpoints} endpoint${of.endpoints === 1 ? "" : "s"} down`,
    last ? `last: ${last.last_probe}` : null,
    of.starts_slowly ? "it starts slowly" : null,
    moved("go to", of.clients_go_to), moved("come from", of.clients_come_from),
  ].filter(Boolean).join("; ");
}

function event(of) {
  const when = el("time", "faint", `${age(Math.max(0, Date.now() - Date.parse(of.at)) / 1000)} ago · ${of.at.slice(0, 19).replace("T", " ")} UTC`);
  when.dateTime = of.at;
  const state = (text, absent) => (text === null ? word(absent, "none") : word(text));
  const subject = of.kind === "region" ? `region ${of.region} ` : of.kind === "service" ? `service ${of.service} `
    : of.kind === "server" ? `this server, by ${of.family} `
    : of.kind === "node" ? `this node drains${of.drained ? "" : " no more"}` : "another configuration";
  const what = of.kind === "reload" || of.kind === "node" ? null : el("span", "", state(of.after, "gone"), el("span", "faint", of.before === null ? ", new" : `, was ${of.before.replaceAll("_", " ")}`));
  const detail = of.kind === "region" ? regionEvent(of)
    : of.kind === "service" ? (of.fence ? `for the clients of ${of.fence} alone` : "")
    : of.kind === "node" ? "an operator says so"
    : of.kind === "server" ? of.why ?? (of.for_s === undefined ? "" : `after ${age(of.for_s)}`)
    : `regions: ${of.regions_new} new, ${of.regions_gone} gone; services: ${of.services_new} new, ${of.services_gone} gone`;
  return el("li", mood(of), el("div", "row", el("span", "text", subject, what), when),
    detail === "" ? null : el("div", "faint text", detail));
}

let names = "";
let alarmed = "";

function show(status) {
  $("facts").textContent = `${status.version} · up ${age(status.uptime_s)} · snapshot ${status.generation}, `
    + `${age(status.snapshot_age_s)} old · ${status.reloads} reload${status.reloads === 1 ? "" : "s"} · ${number(status.atlas.places)} places`
    + ` · clients shared out ${planning(status.planning)}`;
  $("regions").replaceChildren(...status.regions.map(region));
  $("services").replaceChildren(...status.services.map(service));
  summary(status.summary);
  const trouble = alarms(status);
  const text = trouble.map((one) => one.textContent.replaceAll(/\d+(\.\d)? (s|min|h|d)\b/g, "")).join();
  if (text !== alarmed) { // a reader aloud says it once
    alarmed = text;
    $("alarms").replaceChildren(...trouble);
  }
  const bad = status.regions.filter((r) => r.state !== "up").length;
  document.title = bad + trouble.length ? `(${bad + trouble.length}) Meridian` : "Meridian";
  const known = status.services.map((s) => s.name).join();
  if (known !== names) {
    names = known;
    $("names").replaceChildren(...status.services.map((s) => {
      const option = el("option");
      option.value = s.name.replace(/\.$/, "");
      return option;
    }));
    if ($("name").value === "" && status.services.length) $("name").value = status.services[0].name.replace(/\.$/, "");
  }
}

// Of this tab alone, and never in a URL.
const TOKEN = "meridian-admin-token";

async function ask(target) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const response = await fetch(target, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
  const body = await response.json();
  if (response.status === 401) lock(token);
  if (!response.ok) throw Object.assign(new Error(body.error), { details: body.details });
  $("unlock").hidden = true;
  return body;
}

// Asks for a token, and forgets the one that was refused.
function lock(refused) {
  if (refused !== null && refused === sessionStorage.getItem(TOKEN)) {
    sessionStorage.removeItem(TOKEN);
    $("locked").textContent = "That was not the admin token.";
  }
  $("unlock").hidden = false;
}

let lastSeen = null;

async function refresh() {
  if (!document.hidden) {
    try {
      show(await ask("/v1/status"));
      await news();
      lastSeen = Date.now();
      $("poll").replaceChildren(word("live", "good"));
      document.body.classList.remove("lost");
    } catch (error) {
      const since = lastSeen === null ? "" : `; below is the state of ${age((Date.now() - lastSeen) / 1000)} ago`;
      $("poll").replaceChildren(word("not answering", "bad"), ` (${error.message})${since}`);
      document.body.classList.add("lost");
      document.title = "(!) Meridian";
    }
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, POLL_MS);
}

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  // A header takes no more than printable ASCII: anything else is not the token.
  sessionStorage.setItem(TOKEN, $("token").value.trim().replaceAll(/[^\x21-\x7e]/g, "?"));
  $("token").value = "";
  refresh();
});

const TTL_REASON = {
  calm: "all is calm", suspect: "the region may be failing", aftermath: "a region changed in the last minutes",
  panic: "no region is surely up", busy: "the region fills up", full: "the region is nearly full", reduced: "another region is out",
};
const SCOPE_REASON = {
  ignores_location: "the service answers all places alike", place: "the widest network in one place",
  split: "clients of the place are shared out",
};

function planning(of) {
  const error = of.error === null ? "" : `: ${of.error}`;
  if (of.age_s === null) return `by price, without a plan${error}`;
  const demand = of.demand === null ? "" : `, for a demand of ${number(of.demand)}`;
  const kept = of.kept_near === null ? "" : `; ${number(of.kept_near.places)} places, ${percent(of.kept_near.part)} of demand, are kept near, since the load of ${of.kept_near.regions.join(", ")} is not believed`;
  return `by a plan made ${age(of.age_s)} ago${demand}${kept}${error === "" ? "" : `; no newer plan${error}`}`;
}

function table(explanation) {
  const heads = ["Region", "State", "RTT", "Latency", "Price", "Cost", "Bias", "Stays", "Total", "Planned", "Share", "Why not"];
  const milliseconds = (value) => el("td", "number", fixed(value, 1));
  const rows = explanation.regions.map((r) => {
    const chosen = r.region === explanation.chosen.region;
    const said = r.override === "auto" ? null : " (override)";
    return el("tr", chosen ? "chosen" : "",
      el("td", "", chosen ? `▸ ${r.region}` : r.region),
      el("td", "", word(r.state), said),
      milliseconds(r.score.rtt.ms), milliseconds(r.score.latency_ms), milliseconds(r.score.load_ms),
      milliseconds(r.score.cost_ms), milliseconds(r.bias_ms), milliseconds(r.stays_ms), milliseconds(r.total_ms),
      el("td", "number", r.planned_share === null ? "–" : percent(r.planned_share)), el("td", "number", percent(r.share)), el("td", "why", r.excluded ?? ""));
  });
  const head = el("tr", "", ...heads.map((text, i) => el("th", i >= 2 && i <= 10 ? "number" : "", text)));
  return el("div", "scroll", el("table", "", el("thead", "", head), el("tbody", "", ...rows)));
}

function explained(report) {
  const { explanation, answer } = report;
  const parts = [];
  if (report.note) parts.push(el("p", "", report.note));
  if (explanation) {
    const { client, chosen } = explanation;
    parts.push(el("p", "", "A client at ", el("strong", "", client.location), ` (${client.address}, by ${client.seen_by}) gets `,
      el("strong", "", chosen.region), `, endpoint ${chosen.endpoint}, for ${chosen.ttl_s} s: ${TTL_REASON[chosen.ttl_reason]}.`,
      chosen.scope === null ? "" : ` Shared by its /${chosen.scope}: ${SCOPE_REASON[chosen.scope_reason]}.`));
    if (explanation.kept_near !== null) {
      parts.push(el("p", "", word("kept near", "warn"), ` the load of ${explanation.kept_near.region} is not believed: nobody here is sent ${fixed(explanation.kept_near.max_detour_ms, 0)} ms farther for it`));
    }
    parts.push(table(explanation));
    for (const { region, load } of explanation.regions) {
      if (load === null) continue;
      const told = load.doubt === null ? readings(load.reading ?? { unit: 1, others: 0, gain: 1, jumped_s: null, restless: false }, load.load)
        : [el("p", "faint", load.doubt, load.cure === null ? "" : ` (${load.cure})`)];
      for (const line of told) line.prepend(`${region}: `);
      parts.push(...told);
    }
    parts.push(el("p", "faint", `Times in milliseconds; latency + price + cost + bias − stays = total. Clients are shared out ${planning(report.planning)}.`));
  }
  const flags = [answer.rcode, answer.authoritative ? "authoritative" : null, answer.truncated ? "truncated" : null,
    `${answer.octets} octets`].filter(Boolean).join(" · ");
  parts.push(el("pre", "records", [`; ${flags}`, ...answer.answer, ...answer.authority.map((r) => `; authority: ${r}`)].join("\n")));
  return parts;
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const query = new URLSearchParams({ name: $("name").value.trim(), client: $("client").value.trim(), type: $("type").value, by: $("by").value });
  try {
    $("explained").replaceChildren(...explained(await ask(`/v1/explain?${query}`)));
  } catch (error) {
    const details = (error.details ?? []).filter((line) => line.startsWith("did you mean"));
    $("explained").replaceChildren(el("div", "alarm", error.message, details.length ? el("pre", "", details.join("\n")) : null));
  }
});

poll();
