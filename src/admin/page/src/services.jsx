// Services: a list where there are several, and of the chosen one its plan: who goes where, and why.
import { useState } from "preact/hooks";
import { Bar, MOOD, Word, age, fixed, number, percent, share, trimmed, way } from "./words.jsx";

// From so many on, they are searched.
const MANY = 9;
// Names at once: whoever has more types a part of one.
const MOST_NAMES = 200;

export function Services({ status, flows, chosen, onChoose, short, onChange }) {
  const [wanted, setWanted] = useState("");
  const { services } = status;
  const shown = services.filter((one) => one.name.includes(wanted.trim().toLowerCase()));
  const one = services.find((of) => of.name === chosen);
  return (
    <>
      <h2 id="services-head">{services.length === 1 ? "Service" : "Services"}{services.length > 1 && <span class="faint"> {services.filter((of) => of.condition === "normal").length} of {services.length} normal</span>}</h2>
      {services.length === 0 && <p class="faint">no zone has a service</p>}
      <div class={services.length > 1 ? "master" : ""}>
        {services.length > 1 && <div>
          {services.length >= MANY && <label class="inline">Find <input type="search" value={wanted} onInput={(event) => setWanted(event.target.value)} /></label>}
          <ul class="list">{shown.slice(0, MOST_NAMES).map((of) => (
            <li key={of.name}><button class="choice" aria-pressed={of.name === chosen} onClick={() => onChoose(of.name)}>
              <span class="text">{trimmed(of.name)}</span> <Word of={of.condition} /></button></li>))}
            {shown.length > MOST_NAMES && <li class="faint">and {shown.length - MOST_NAMES} more: type a part of the name</li>}
            {shown.length === 0 && <li class="faint">none is called so</li>}
          </ul>
        </div>}
        {one && <Plan of={one} flows={flows?.service === trimmed(one.name).toLowerCase() ? flows : null} short={short} onChange={onChange} />}
      </div>
    </>
  );
}

const ttl = ({ least, most }) => (least < most ? `${least}–${most} s` : `${least} s`);

function Plan({ of, flows, short, onChange }) {
  const rows = flows ? gathered(flows) : null;
  return (
    <div class="plan">
      <div class="row wrap">
        <h3>{trimmed(of.name)} <Word of={of.condition} /></h3>
        <p class="faint">policy {of.policy} · TTL now {of.answered_ttl_s ? ttl(of.answered_ttl_s) : `${of.ttl_s} s`}; {of.ttl_s} s when calm, {of.failover_ttl_s} s near a failover</p>
      </div>
      {of.fences_out.map((fence) => <p key={fence.rule}><Word of={fence.condition} /> for the clients of {fence.rule} alone</p>)}
      {of.stages?.length > 0 && <Stages of={of} onChange={onChange} />}
      {of.canary && <Canary of={of} onChange={onChange} />}
      {of.rollback && <p class="rollback"><button type="button" class="quiet" onClick={() => onChange({ kind: "rollback", service: of.name, stage: of.stage, canary: of.canary?.share ?? null, to: of.rollback })}>Roll back to {way(of.rollback)}…</button></p>}
      <div class="scroll" tabindex="0" role="region" aria-label={`Plan of ${trimmed(of.name)}`}><table class="stacked">
        <thead><tr><th>Region</th><th>State</th><th>Clients</th><th class="number">{flows?.counted === "places" ? "Places" : "Demand"}</th><th class="number">Mean RTT</th><th>Why</th></tr></thead>
        <tbody>{sorted(of.regions, rows).map((region) => {
          const row = rows?.get(region.name);
          const part = row && flows.amount > 0 ? row.amount / flows.amount : row ? 0 : region.mean_share;
          return (
            <tr key={region.name}>
              <th scope="row" class="text">{short(region.name)}</th>
              <td data-label="State"><Word of={region.state} /></td>
              <td data-label="Clients" class="share">{part === null || part === undefined ? "not counted" : <><span>{percent(part)}</span><Bar part={part} mood={region.state === "up" ? "calm" : MOOD[region.state]} /></>}</td>
              <td data-label={flows?.counted === "places" ? "Places" : "Demand"} class="number">{row ? number(row.amount) : "–"}</td>
              <td data-label="Mean RTT" class="number">{row?.rtt ? `${fixed(row.rtt, 0)} ms` : "–"}</td>
              <td data-label="Why" class="why">{row ? why(row, region, of, short) : "asking…"}</td>
            </tr>);
        })}</tbody>
      </table></div>
      {flows && <p class="faint">Shared out {flows.by === "planned" ? "by the plan" : flows.by}.{flows.unanswered > 0 && ` ${number(flows.unanswered)} are answered by nobody.`}{flows.notes.map((note) => ` ${note}.`)}</p>}
    </div>
  );
}

// From so many on, those with most clients come first.
const MANY_ROWS = 13;

function sorted(regions, rows) {
  if (!rows || regions.length < MANY_ROWS) return regions;
  const amount = (region) => rows.get(region.name)?.amount ?? 0;
  return [...regions].sort((a, b) => amount(b) - amount(a));
}

// By region: what it has, what it would have were everybody sent to the nearest, and from whom the difference comes.
function gathered(flows) {
  const rows = new Map(flows.regions.map((region) => [region.name, { amount: 0, rtt: 0, timed: 0, near: 0, from: new Map(), to: new Map() }]));
  const add = (map, key, amount) => map.set(key, (map.get(key) ?? 0) + amount);
  for (const { region, nearest, amount, rtt_ms } of flows.places.flatMap((place) => place.ways)) {
    const name = flows.regions[region].name;
    const row = rows.get(name);
    row.amount += amount;
    if (rtt_ms !== null) {
      row.rtt += rtt_ms * amount;
      row.timed += amount;
    }
    if (nearest === null || nearest === region) {
      row.near += amount;
      continue;
    }
    const near = flows.regions[nearest].name;
    add(row.from, near, amount);
    add(rows.get(near).to, name, amount);
  }
  for (const row of rows.values()) row.rtt = row.timed > 0 ? row.rtt / row.timed : 0;
  return rows;
}

function why(row, region, service, short) {
  const state = (name) => service.regions.find((one) => one.name === name)?.state;
  const told = (map, withState) => [...map].sort((a, b) => b[1] - a[1]).slice(0, 4)
    .map(([name, amount]) => `${short(name)}${withState && state(name) !== "up" ? ` (${state(name)})` : ""} ${number(amount)}`).join(", ");
  const small = row.amount * 1e-3;
  const parts = [];
  if (row.near > small && row.from.size === 0) parts.push("nearest to all of them");
  else if (row.near > small) parts.push(`nearest to ${percent(row.near / row.amount)} of them`);
  if (row.from.size) parts.push(`the rest passed a nearer one: ${told(row.from, true)}`.replace(/^the rest/, row.near > small ? "the rest" : "all"));
  if (row.to.size) parts.push(`${row.near > small ? "some of" : region.state === "up" ? "all of" : `${region.state}: all of`} those it is nearest to go to ${told(row.to, false)}`);
  if (!parts.length) parts.push(region.state === "up" ? "nearest to nobody who asks" : `${region.state}: nobody is sent there`);
  return parts.join("; ");
}

function Stages({ of, onChange }) {
  const [stage, setStage] = useState("");
  const others = of.stages.filter((name) => name !== of.stage);
  const wanted = others.includes(stage) ? stage : others[0];
  return (
    <form class="stages" onSubmit={(event) => { event.preventDefault(); onChange({ kind: "service", service: of.name, stage: wanted }); }}>
      <p>On stage <strong>{of.stage}</strong>{of.switched ? ", switched by an operator" : ", as the zone file says"}.</p>
      {others.length > 0 && <>
        <label class="inline">To stage <select value={wanted} onChange={(event) => setStage(event.target.value)}>{others.map((name) => <option key={name}>{name}</option>)}</select></label>
        <button>Switch…</button></>}
      {of.switched && <button type="button" class="quiet" onClick={() => onChange({ kind: "service", service: of.name, file: of.file_stage ?? null })}>As the file says…</button>}
    </form>
  );
}

// As a release goes: a few first, then all.
const STEPS = [1, 5, 25, 100];

function Canary({ of, onChange }) {
  const [typed, setTyped] = useState("");
  const { to, share: now, file_share, shifted } = of.canary;
  const next = STEPS.find((step) => step > now * 100 + 1e-9) ?? 0;
  const wanted = typed === "" ? next : Number(typed);
  const fits = Number.isFinite(wanted) && wanted >= 0 && wanted <= 100;
  const ask = (more) => onChange({ kind: "canary", service: of.name, canaryOf: to, now, ...more });
  return (
    <form class="stages" onSubmit={(event) => { event.preventDefault(); if (fits) ask({ share: wanted / 100 }); }}>
      <p>Canary: <strong>{share(now)}</strong> of clients to {to}{shifted ? <>, shifted by {shifted.by}{shifted.ends_in_s !== null && `, for ${age(shifted.ends_in_s)} yet`}{shifted.note && <>: <q class="text">{shifted.note}</q></>}; the zone file says {share(file_share)}.</> : ", as the zone file says."}</p>
      <label class="inline">To <input class="part" type="number" min="0" max="100" step="any" value={typed} placeholder={String(next)} onInput={(event) => setTyped(event.target.value)} list="canary-steps" aria-label="Part of clients, in per cent" /> %</label>
      <datalist id="canary-steps">{STEPS.map((step) => <option key={step} value={step} />)}</datalist>
      <button disabled={!fits}>Shift…</button>
      {shifted && <button type="button" class="quiet" onClick={() => ask({ share: null, file: file_share })}>As the file says…</button>}
    </form>
  );
}
