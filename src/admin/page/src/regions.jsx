// Region cards: state and why, load beside what is planned, endpoints, and what an operator can do.
import { useState } from "preact/hooks";
import { Bar, MOOD, SIGN, Word, age, fixed, fullness, number, percent, plural } from "./words.jsx";

// From so many on, they are searched.
const MANY = 9;
// Cards at once, unless more are asked for; those in trouble first then.
const MOST_CARDS = 60;

export function Regions({ status, short, chosen, onChange }) {
  const [wanted, setWanted] = useState("");
  const [onlyBad, setOnlyBad] = useState(false);
  const [all, setAll] = useState(false);
  const many = status.regions.length >= MANY;
  const shown = !many ? status.regions : status.regions.filter((one) =>
    (one.name.includes(wanted.trim().toLowerCase()) || one.location.toLowerCase().includes(wanted.trim().toLowerCase())) && !(onlyBad && one.state === "up"));
  const cut = shown.length > MOST_CARDS && !all;
  const cards = cut ? [...shown].sort((a, b) => (a.state === "up") - (b.state === "up")).slice(0, MOST_CARDS) : shown;
  const up = status.regions.filter((one) => one.state === "up").length;
  return (
    <>
      <div class="row wrap">
        <h2 id="regions-head">Regions <span class="faint">{up} of {status.regions.length} up</span></h2>
        {many && <div class="tools">
          <label class="inline">Find <input type="search" value={wanted} onInput={(event) => setWanted(event.target.value)} /></label>
          <label class="inline"><input type="checkbox" checked={onlyBad} onChange={(event) => setOnlyBad(event.target.checked)} /> not up only</label>
        </div>}
      </div>
      {status.regions.length === 0 && <p class="faint">no zone has a region</p>}
      {status.regions.length > 0 && shown.length === 0 && <p class="faint">none is like that</p>}
      <div class="cards">{cards.map((one) => <Card key={one.name} of={one} short={short} chosen={chosen === one.name} onChange={onChange} />)}</div>
      {cut && <p><button class="plain" onClick={() => setAll(true)}>All {shown.length} regions</button></p>}
    </>
  );
}

function Card({ of, short, chosen, onChange }) {
  const name = short(of.name);
  const ask = (override, back = false) => onChange({ kind: "region", region: of.name, override, back, verdict: of.verdict });
  return (
    <article id={`region-${of.name}`} tabindex="-1" class={`${MOOD[of.state] ?? "none"} ${chosen ? "chosen" : ""}`} aria-label={`region ${name}, ${of.state}`}>
      <div class="row"><h3>{name}</h3><span class="state"><span class={`sign ${MOOD[of.state] ?? "none"}`} aria-hidden="true">{SIGN[of.state]}</span> <Word of={of.state} /></span></div>
      <p class="faint">{of.location}{of.changed_s !== null && ` · changed ${age(of.changed_s)} ago`}</p>
      <Why of={of} />
      {of.drain && <Draining of={of.drain} />}
      <Load of={of} />
      <Endpoints of={of} />
      <div class="actions">
        {of.override === "auto" && isKeptOut(of) && <button onClick={() => ask("auto", true)} aria-label={`Let ${name} back`}>Let it back…</button>}
        {of.override !== "auto" && <button onClick={() => ask("auto")} aria-label={`Lift the override of ${name}`}>Lift override…</button>}
        {of.override !== "drain" && <button class="quiet" onClick={() => ask("drain")} aria-label={`Drain ${name}`}>Drain…</button>}
        {of.override !== "down" && <button class="quiet" onClick={() => ask("down")} aria-label={`Take ${name} down`}>Down…</button>}
        {of.override !== "up" && <button class="quiet" onClick={() => ask("up")} aria-label={`Force ${name} up`}>Up…</button>}
      </div>
    </article>
  );
}

// The word of an operator ends these at once.
const isKeptOut = (of) => of.awaits_resume_s !== null || of.damped_s !== null || of.delayed_s !== null;

// What made it so, and what holds it there.
function Why({ of }) {
  const probed = of.endpoints.some((endpoint) => endpoint.verdict !== null);
  const lines = [
    of.override !== "auto" && [null, <>by override{probed && <>; its probes say <Word of={of.verdict} /></>}</>],
    of.held_s !== null && ["bad", "held", `its probes say down, but too many regions went at once: still answered, for ${age(of.held_s)} yet or until an override`],
    of.damped_s !== null && ["warn", "damped", `it went down too often: out for ${age(of.damped_s)} yet`],
    of.failed_dependency !== null && ["bad", "dependency", `depends on ${of.failed_dependency}, which ${of.failed_dependency.includes("@") ? "is not up" : "has no region up"}`],
    of.delayed_s !== null && ["warn", "delayed", `its probes took it down and say up again: back in ${age(of.delayed_s)}`],
    of.awaits_resume_s !== null && ["warn", "awaits resume", `its probes took it down ${age(of.awaits_resume_s)} ago: “Let it back” does`],
    of.offered < (of.degraded?.offered ?? 1) && ["warn", "slow start", `at ${percent(of.offered)} of its capacity`],
    of.degraded && ["warn", "degraded", `${percent(of.degraded.offered)} of its capacity: ${of.degraded.why.join("; ")}`],
    of.ipv6 === "down" && ["bad", "IPv6 down", of.ipv6_doubted ? "and answered all the same: nobody's is reached from here" : "its AAAA answers are empty"],
    of.drain && [of.drain.safe ? "good" : "calm", "drain", drained(of.drain)],
  ].filter(Boolean);
  return lines.map(([mood, word, text]) => (mood === null ? <p key="override">{word}</p> : <p key={word}><Word mood={mood}>{word}</Word> {text}</p>));
}

// Full when nobody can come any more.
function Draining({ of }) {
  const gone = of.safe ? 1 : 1 - of.may_come;
  return (
    <div class="draining">
      <Bar part={gone} mood={of.safe ? "good" : "calm"} />
      <p class="faint">{of.safe ? "drained" : `${percent(gone)} drained`}{!of.safe && of.safe_in_s !== null && `, ${age(of.safe_in_s)} left`}</p>
    </div>
  );
}

function drained(of) {
  const when = of.safe ? "safe: no answer sends clients there any more"
    : of.safe_in_s === null ? "not safe: still answered, since there is no other region"
    : `safe in ${age(of.safe_in_s)} at the earliest; until then at most ${percent(of.may_come)} of its clients may still come`;
  const load = of.load_ratio === null ? "" : `; its load is ${percent(of.load_ratio)} of what it was when the drain began`;
  return when + load;
}

// A report younger than this needs no word on its age.
const OLD_S = 15;
// From so far apart on, a reader asks why.
const APART = 1.25;

function Load({ of }) {
  const { configured, load, capacity, utilisation, age_s, stale, heard, since_s, doubt, cure, error, reading } = of.load;
  const planned = of.planned_load;
  const told = heard === "believed" && reading !== null ? readings(reading, load ?? 0) : [];
  if (!configured && load === null) return <><p class="faint">no load report</p>{planned !== null && <p>planned load {number(planned)}</p>}</>;
  const apart = planned !== null && load !== null && Math.max(planned, 1) / Math.max(load, 1) > APART || Math.max(load ?? 1, 1) / Math.max(planned ?? load ?? 1, 1) > APART;
  const over = planned !== null && capacity !== null && planned > capacity;
  return (
    <>
      {load === null ? <p><Word mood="warn">load unknown</Word></p>
        : <dl class="figures">
          <div><dt>Reported</dt><dd>{number(load)}{capacity !== null && ` of ${number(capacity)}`}{utilisation !== null && ` (${percent(utilisation)})`} {stale ? <Word mood="warn">stale, {age(age_s)} old</Word> : age_s >= OLD_S && <span class="faint">{age(age_s)} ago</span>}</dd></div>
          {planned !== null && <div><dt>Planned</dt><dd>{number(planned)}{capacity !== null && capacity > 0 && ` (${percent(planned / capacity)})`}{over && <> <Word mood="warn">more than it can take</Word></>}</dd></div>}
          <div><dt>Price</dt><dd>{fixed(of.price_ms, 1)} ms</dd></div>
        </dl>}
      {utilisation !== null && <Bar part={utilisation} mood={fullness(of)} mark={planned !== null && capacity > 0 ? planned / capacity : null} />}
      {heard === "never" && configured && <p><Word mood="warn">never reported</Word> a part of the configured capacity is planned with</p>}
      {heard === "doubted" && <p class="notice"><Word mood="warn">not believed</Word> for {age(since_s)}, so it does not decide: {String(doubt).replace(/^not believed( yet)?: /, "")}{cure === null ? "" : ` (${cure})`}</p>}
      {heard === "failing" && <p class="notice"><Word mood="warn">reports fail</Word> for {age(since_s)}</p>}
      {heard === "new" && planned !== null && <p class="notice"><Word mood="warn">not believed yet</Word> its reports are new: the plan goes by its clients alone</p>}
      {told.map((line) => <p class="faint" key={line}>{line}</p>)}
      {apart && told.length === 0 && <p class="faint">{apartBecause(of)}</p>}
      {error && <p class="notice text"><Word mood="warn">load report</Word> {error}</p>}
    </>
  );
}

function apartBecause(of) {
  if (of.state === "down" || of.state === "drain") return "Planned and reported differ: nobody new is sent there, and those it has leave by and by.";
  if (of.load.heard !== "believed") return "Planned and reported differ: the plan goes by demand as estimated from answers, since this report does not decide.";
  return "Planned and reported differ: the plan goes by demand, which reports follow as answers run out.";
}

/** What the figures of a feed are taken for, where that is not what they say. */
export function readings({ unit, others, gain, jumped_s, restless }, load) {
  const differs = (factor) => Math.abs(factor - 1) > 0.05;
  const since = jumped_s === null ? "" : ` since a jump ${age(jumped_s)} ago`;
  return [
    restless && "its load swings, and counts in the mean of 20 min",
    differs(gain) && `its figures count × ${fixed(gain, 2)}${since}: it says so many times what there is`,
    differs(unit) && `one client counts ${fixed(unit, 3)} there`,
    others > 0.05 * load * Math.max(gain, 0.05) && `${number(others)} of the load came otherwise than by answers`,
  ].filter(Boolean);
}

// Endpoints that are not up are always shown; the others on demand.
function Endpoints({ of }) {
  const bad = of.endpoints.filter((one) => one.verdict !== "up" && one.verdict !== null);
  return (
    <>
      {bad.length > 0 && <ul class="endpoints">{bad.map((one, at) => <Endpoint key={`${one.label} ${at}`} of={one} />)}</ul>}
      <details><summary>{plural(of.endpoints.length, "endpoint")}, {of.endpoints.filter((one) => one.verdict === "up").length} up</summary>
        <ul class="endpoints">{of.endpoints.map((one, at) => <Endpoint key={`${one.label} ${at}`} of={one} />)}</ul>
        {of.vote && <p class="faint">down to {of.vote.down} of {of.vote.judging} vantages</p>}
      </details>
    </>
  );
}

function Endpoint({ of }) {
  const since = of.restored ? ` as of ${age(of.probe_age_s)} ago, before the restart` : of.since_s === null ? "" : ` for ${age(of.since_s)}`;
  return (
    <li>
      <div class="row"><span class="text">{of.label} · {of.layer.toUpperCase()} · weight {of.weight}</span>
        <span>{of.verdict === null ? <Word mood="none">not probed</Word> : <Word of={of.verdict} />}<span class="faint">{since}</span></span></div>
      {of.last_probe !== "" && <div class="faint text">probed {age(of.probe_age_s)} ago: {of.last_probe}</div>}
      {(of.probes ?? []).filter((one) => one.verdict !== of.verdict).map((one) => (
        <div class="text" key={`${one.check} ${one.ipv6}`}>{one.ipv6 && "IPv6 "}{one.check} <Word of={one.verdict ?? "not probed"} /> <span class="faint">{one.role === "watch_only" && "only watched "}{one.last_probe}</span></div>))}
    </li>
  );
}
