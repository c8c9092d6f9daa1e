// One client's answer, and why: by an address, or by a place of the map.
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "./api.js";
import { readings } from "./regions.jsx";
import { Word, fixed, percent, planned, trimmed } from "./words.jsx";

const TTL_REASON = {
  calm: "all is calm", suspect: "the region may be failing", aftermath: "a region changed in the last minutes",
  panic: "no region is surely up", busy: "the region fills up", full: "the region is nearly full", reduced: "another region is out",
};
const SCOPE_REASON = {
  ignores_location: "the service answers all places alike", place: "the widest network in one place",
  split: "clients of the place are shared out",
};

export function Explain({ services, chosen, places, picked, short }) {
  const [name, setName] = useState(null);
  const [client, setClient] = useState("");
  const [type, setType] = useState("A");
  const [by, setBy] = useState("ecs");
  const [result, setResult] = useState(null);
  const latest = useRef(0);
  const asked = name ?? trimmed(chosen ?? "");
  const named = places.filter((place) => place.address !== null && place.name !== null).sort((a, b) => a.name.localeCompare(b.name));

  const ask = async (address) => {
    const turn = ++latest.current;
    const query = new URLSearchParams({ name: asked.trim(), client: address.trim(), type, by });
    const got = await get(`/v1/explain?${query}`).then((report) => ({ report }), (error) => ({ error }));
    if (turn === latest.current) setResult(got);
  };
  const take = (address) => {
    setClient(address);
    ask(address);
  };
  useEffect(() => { if (picked?.address) take(picked.address); }, [picked]);
  useEffect(() => { setName(null); }, [chosen]);
  // The place with most clients is an example of what there is to see.
  const first = places.find((place) => place.address !== null)?.address;
  useEffect(() => { if (first && asked && client === "" && latest.current === 0) take(first); }, [first, asked]);

  return (
    <>
      <form id="ask" onSubmit={(event) => { event.preventDefault(); ask(client); }}>
        <label>Name <input id="name" list="names" required spellcheck={false} autocapitalize="off" placeholder="www.gslb.example" value={asked} onInput={(event) => setName(event.target.value)} /></label>
        <datalist id="names">{services.slice(0, 500).map((one) => <option key={one.name} value={trimmed(one.name)} />)}</datalist>
        <label>Client <input id="client" required spellcheck={false} placeholder="192.0.2.7 or 192.0.2.0/24" value={client} onInput={(event) => setClient(event.target.value)} /></label>
        <label>or a place <select id="place" value={named.some((place) => place.address === client) ? client : ""} onChange={(event) => event.target.value && take(event.target.value)}>
          <option value="">{named.length ? "choose…" : "none is known"}</option>
          {named.map((place) => <option key={place.address} value={place.address}>{place.name}</option>)}
        </select></label>
        <label class="narrow">Type <select id="type" value={type} onChange={(event) => setType(event.target.value)}><option>A</option><option>AAAA</option><option>HTTPS</option></select></label>
        <label>Seen by <select id="by" value={by} onChange={(event) => setBy(event.target.value)}>
          <option value="ecs">client subnet (ECS)</option><option value="source">source address</option></select></label>
        <button>Explain</button>
      </form>
      <div id="explained" aria-live={latest.current > 1 ? "polite" : "off"}>{result === null ? <p class="faint">Type an address, or pick a place here or on the map.</p>
        : result.error ? <Failed error={result.error} /> : <Report of={result.report} short={short} />}</div>
    </>
  );
}

function Failed({ error }) {
  const details = (error.details ?? []).filter((line) => line.startsWith("did you mean"));
  return <div class="alarm">{error.message}{details.length > 0 && <pre>{details.join("\n")}</pre>}</div>;
}

function Report({ of, short }) {
  const { explanation, answer, note } = of;
  const flags = [answer.rcode, answer.authoritative && "authoritative", answer.truncated && "truncated", `${answer.octets} octets`].filter(Boolean).join(" · ");
  const records = [`; ${flags}`, ...answer.answer, ...answer.authority.map((line) => `; authority: ${line}`)].join("\n");
  return (
    <>
      {note && <p>{note}</p>}
      {explanation && <Reasons of={explanation} short={short} />}
      {explanation && <p class="faint">Times in milliseconds; latency + price + cost + bias − stays = total. Clients are shared out {planned(of.planning)}.</p>}
      <pre class="records" tabindex="0" aria-label="The answer's records">{records}</pre>
    </>
  );
}

function Reasons({ of, short }) {
  const { client, chosen, kept_near: near, regions } = of;
  const told = regions.flatMap(({ region, load }) => {
    if (load === null) return [];
    if (!load.doubt && region !== chosen.region) return [];
    const lines = load.doubt ? [load.doubt + (load.cure ? ` (${load.cure})` : "")] : load.reading ? readings(load.reading, load.load) : [];
    return lines.map((line) => [`${short(region)}: ${line}`, Boolean(load.doubt)]);
  });
  return (
    <>
      <p>A client at <strong>{client.location}</strong> ({client.address}, by {client.seen_by}) gets <strong class="got">{short(chosen.region)}</strong>, endpoint {chosen.endpoint}, for {chosen.ttl_s} s: {TTL_REASON[chosen.ttl_reason] ?? chosen.ttl_reason}.
        {chosen.scope !== null && ` Shared by its /${chosen.scope}: ${SCOPE_REASON[chosen.scope_reason] ?? chosen.scope_reason}.`}</p>
      {near !== null && <p><Word mood="warn">kept near</Word> the load of {short(near.region)} is not believed: nobody here is sent {fixed(near.max_detour_ms, 0)} ms farther for it</p>}
      <div class="scroll" tabindex="0" role="region" aria-label="Regions and their scores"><table class="stacked">
        <thead><tr><th>Region</th><th>State</th><th class="number">Share</th><th class="number">Total</th><th class="reason">Why not</th><th class="number">RTT</th><th class="number">Latency</th><th class="number">Price</th><th class="number">Cost</th><th class="number">Bias</th><th class="number">Stays</th><th class="number">Planned</th></tr></thead>
        <tbody>{regions.map((one) => {
          const is = one.region === chosen.region;
          const cell = (label, value) => <td data-label={label} class="number">{value}</td>;
          return (
            <tr key={one.region} class={is ? "chosen" : ""}>
              <th scope="row" class="text">{is && "▸ "}{short(one.region)}</th>
              <td data-label="State"><Word of={one.state} />{one.override !== "auto" && " (override)"}</td>
              {cell("Share", percent(one.share))}
              {cell("Total", fixed(one.total_ms, 1))}
              <td data-label="Why not" class="why">{one.excluded ?? (is ? "chosen" : "")}</td>
              {cell("RTT", fixed(one.score.rtt.ms, 1))}
              {cell("Latency", fixed(one.score.latency_ms, 1))}
              {cell("Price", fixed(one.score.load_ms, 1))}
              {cell("Cost", fixed(one.score.cost_ms, 1))}
              {cell("Bias", fixed(one.bias_ms, 1))}
              {cell("Stays", fixed(one.stays_ms, 1))}
              {cell("Planned", one.planned_share === null ? "–" : percent(one.planned_share))}
            </tr>);
        })}</tbody>
      </table></div>
      {told.map(([line, doubted]) => <p key={line} class={doubted ? "notice" : "faint"}>{doubted && <Word mood="warn">not believed</Word>} {line.replace(/not believed( yet)?: /, "")}</p>)}
    </>
  );
}
