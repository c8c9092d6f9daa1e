// What changed and why, the newest first.
import { MOOD, Word, age, percent, share } from "./words.jsx";

const CAUSE = {
  probes: "by its probes", override: "by an operator", damped: "it went down too often", held: "too many regions went at once",
  lifted: "that has ended", reload: "another configuration", ended: "the time it was said for is over",
};

export function Events({ events, short }) {
  if (!events.length) return <p class="faint">none yet</p>;
  return <ol class="events" tabindex="0" aria-label="Events, the newest first">{events.map((one) => <Event key={one.id} of={one} short={short} />)}</ol>;
}

// The worse of an event's words decides its colour.
function mood(of) {
  if (of.cause === "held" || of.after === "cut_off") return "bad";
  return of.kind === "reload" || of.kind === "node" || of.kind === "switch" || of.after === null ? "none" : MOOD[of.after] ?? "none";
}

function subject(of, short) {
  if (of.kind === "region") return short(of.region);
  if (of.kind === "service") return of.service;
  if (of.kind === "switch") return `${of.service}: ${switched(of)}`;
  if (of.kind === "server") return `this server, by ${of.family}`;
  if (of.kind === "node") return `this node drains${of.drained ? "" : " no more"}`;
  return "another configuration";
}

function switched({ stage, canary }) {
  const said = (part) => (part === null ? "none" : share(part));
  return [stage && `stage ${stage[1]}, was ${stage[0]}`, canary && `canary ${said(canary[1])}, was ${said(canary[0])}`].filter(Boolean).join("; ");
}

function moved(told, shares, short) {
  return shares?.length ? `clients ${told} ${shares.map((to) => `${short(to.region)} ${percent(to.share)}`).join(", ")}` : null;
}

function regionDetail(of, short) {
  const last = of.probes.filter((probe) => probe.verdict === "down" && probe.last_probe !== "")
    .sort((a, b) => (a.age_s ?? Infinity) - (b.age_s ?? Infinity))[0];
  return [
    `${of.lifted ? `${of.lifted}: ` : ""}${CAUSE[of.cause] ?? of.cause.replaceAll("_", " ")}`,
    of.for_s ? `for ${age(of.for_s)}` : null,
    of.endpoints_down > 0 ? `${of.endpoints_down} of ${of.endpoints} endpoint${of.endpoints === 1 ? "" : "s"} down` : null,
    last ? `last: ${last.last_probe}` : null,
    of.starts_slowly ? "it starts slowly" : null,
    moved("go to", of.clients_go_to, short), moved("come from", of.clients_come_from, short),
  ].filter(Boolean).join("; ");
}

function detail(of, short) {
  switch (of.kind) {
    case "region": return regionDetail(of, short);
    case "service": return of.fence ? `for the clients of ${of.fence} alone` : "";
    case "switch": return `${of.cause === "reload" ? "what an operator said is dropped: the files are others" : CAUSE[of.cause]}${of.by ? ` (${of.by})` : ""}${of.note ? `: ${of.note}` : ""}`;
    case "node": return "an operator says so";
    case "server": return of.why ?? (of.for_s === undefined ? "" : `after ${age(of.for_s)}`);
    default: return `regions: ${of.regions_new} new, ${of.regions_gone} gone; services: ${of.services_new} new, ${of.services_gone} gone`;
  }
}

function Event({ of, short }) {
  const passed = Math.max(0, Date.now() - Date.parse(of.at)) / 1000;
  const stateful = of.kind === "region" || of.kind === "service" || of.kind === "server";
  const more = detail(of, short);
  return (
    <li class={mood(of)}>
      <div class="text"><strong>{subject(of, short)}</strong>{stateful && <> {of.after === null ? <Word mood="none">gone</Word> : <Word of={of.after} />}<span class="faint">{of.before === null ? ", new" : `, was ${String(of.before).replaceAll("_", " ")}`}</span></>}</div>
      <div class="faint text"><time dateTime={of.at} title={`${of.at.slice(0, 19).replace("T", " ")} UTC`}>{age(passed)} ago, {of.at.slice(11, 19)} UTC</time>{more !== "" && ` · ${more}`}</div>
    </li>
  );
}
