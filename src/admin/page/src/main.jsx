// The page: its parts, and what they are told.
import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { onLocked, text, unlock } from "./api.js";
import { Chart, useHistory } from "./chart.jsx";
import { Confirm } from "./control.jsx";
import { Events } from "./events.jsx";
import { Explain } from "./explain.jsx";
import { watch } from "./live.js";
import { WorldMap } from "./map.jsx";
import { Regions } from "./regions.jsx";
import { Services } from "./services.jsx";
import { Word, age, planned, plural, shortNames, trimmed } from "./words.jsx";

const DOCUMENTS = ["dashboard", "status", "configuration", "policies", "health-checks", "load-reports", "events", "what-if"];

/** The same, with one drain farther than in the last status. */
function drained(state, { region, drain }) {
  if (!state.status) return state;
  const regions = state.status.regions.map((one) => (one.name === region ? { ...one, drain } : one));
  return { ...state, status: { ...state.status, regions } };
}

function App() {
  const [state, setState] = useState({ status: null, events: [], flows: null, error: null, at: null });
  const [locked, setLocked] = useState(null);
  const [service, setService] = useState(null);
  const [region, setRegion] = useState(null);
  const [change, setChange] = useState(null);
  const [place, setPlace] = useState(null);
  const [said, setSaid] = useState("");
  const live = useRef(null);
  useEffect(() => {
    onLocked(setLocked);
    live.current = watch((news) => {
      if (news.status) setLocked(null);
      setState((before) => (news.drain ? drained(before, news.drain) : { ...before, ...news }));
    });
    return () => live.current.stop();
  }, []);
  const { status, events, flows, flowsError, error, at } = state;
  const history = useHistory(status, at);
  const names = useMemo(() => shortNames(status?.regions.map((one) => one.name) ?? []), [status?.regions.map((one) => one.name).join()]);
  const short = (name) => names.get(name) ?? name;
  const chosen = service !== null && status?.services.some((one) => one.name === service) ? service : status?.services[0]?.name ?? null;
  useEffect(() => { if (status) live.current.choose(chosen === null ? null : trimmed(chosen)); }, [chosen, status !== null]);
  useEffect(() => { document.title = title(status, error); }, [status, error]);

  const pick = (name) => {
    setRegion(name);
    const card = document.getElementById(`region-${name}`);
    card?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    card?.focus({ preventScroll: true });
  };
  const done = (words) => {
    const of = change.region && document.getElementById(`region-${change.region}`);
    setChange(null);
    setSaid(words);
    // The button that was pressed goes with what it did: the focus stays at its card.
    setTimeout(() => of?.focus({ preventScroll: true }), 50);
    live.current.changed();
  };
  return (
    <>
      <Head status={status} error={error} at={at} />
      <main class={error && status ? "lost" : ""}>
        {locked !== null && <Unlock told={locked} onToken={(token) => { unlock(token); live.current.refresh(); }} />}
        <p class="visually-hidden" role="status">{said}</p>
        {said !== "" && <p class="said">{said} <button class="plain" onClick={() => setSaid("")}>Close</button></p>}
        {status === null && error !== null && locked === null && <p class="alarm" role="alert">The server does not answer: {error.message}. It is asked again every 2 s.</p>}
        {status && <>
          <Troubles status={status} short={short} />
          <div class="split">
            <section aria-labelledby="map-head" class="panel">
              <WorldMap status={status} flows={flows} error={flowsError} service={chosen} short={short} region={region}
                onRegion={pick} onPlace={(one) => { setPlace({ ...one }); document.getElementById("explain").scrollIntoView({ block: "nearest" }); }} />
            </section>
            <section aria-labelledby="events-head" class="panel tall">
              <h2 id="events-head">Events</h2>
              <Events events={events} short={short} />
            </section>
          </div>
          <section aria-labelledby="regions-head">
            <Regions status={status} short={short} chosen={region} onChange={setChange} />
          </section>
          <div class={status.services.length === 1 ? "split even" : "rows"}>
            <section aria-labelledby="services-head" class="panel">
              <Services status={status} flows={flows} chosen={chosen} onChoose={setService} short={short} onChange={setChange} />
            </section>
            <section aria-labelledby="chart-head" class="panel">
              <h2 id="chart-head">Utilisation, as reported</h2>
              <Chart history={history} short={short} />
            </section>
          </div>
          <section aria-labelledby="explain-head" class="panel" id="explain">
            <h2 id="explain-head">Explain an answer</h2>
            <Explain services={status.services} chosen={chosen} places={flows?.places ?? []} picked={place} short={short} />
          </section>
          <Words />
        </>}
      </main>
      <Confirm change={change} short={short} onDone={done} onCancel={() => setChange(null)} />
    </>
  );
}

function title(status, error) {
  if (error) return "(!) Meridian";
  const troubles = status?.summary?.troubles.filter((one) => one.level !== "ok").length ?? 0;
  return troubles ? `(${troubles}) Meridian` : "Meridian";
}

function Head({ status, error, at }) {
  const summary = status?.summary;
  const [viewed, setViewed] = useState(null);
  return (
    <header class="top">
      <h1>Meridian</h1>
      {summary && !error && <p class="health"><Word of={summary.state}>{summary.state.toUpperCase()}</Word>{summary.since_s !== null && ` for ${age(summary.since_s)}`}</p>}
      <p role="status" class="poll">
        {error?.status === 401 ? <Word mood="warn">locked</Word> : error ? <><Word mood="bad">not answering</Word> ({error.message}){at !== null && `; below is the state of ${age((Date.now() - at) / 1000)} ago`}</>
          : status ? <Word mood="good">live</Word> : "asking…"}
      </p>
      {status && <p class="faint facts">{status.version} · up {age(status.uptime_s)} · snapshot {status.generation} · {plural(status.reloads, "reload")} · {plural(status.atlas.places, "place")}</p>}
      <nav aria-label="Besides">
        <button class="plain" onClick={() => setViewed("/metrics")}>Metrics</button>
        <button class="plain" onClick={() => setViewed("/v1/status")}>JSON</button>
        <details class="menu">
          <summary>Documents</summary>
          <ul>{DOCUMENTS.map((name) => <li key={name}><a href={`/page/${name}.md`} target="_blank" rel="noopener">{name}</a></li>)}
            <li><a href="/page/THIRD-PARTY.txt" target="_blank" rel="noopener">licences</a></li></ul>
        </details>
      </nav>
      <Viewer target={viewed} onClose={() => setViewed(null)} />
    </header>
  );
}

// A link would not carry the token.
function Viewer({ target, onClose }) {
  const dialog = useRef(null);
  const [content, setContent] = useState("");
  useEffect(() => {
    if (target === null) return;
    setContent("asking…");
    dialog.current.showModal();
    text(target).then((got) => setContent(target.startsWith("/v1/") ? JSON.stringify(JSON.parse(got), null, 2) : got))
      .catch((error) => setContent(error.message));
  }, [target]);
  return (
    <dialog ref={dialog} onClose={onClose} class="wide" aria-label={target ?? "nothing"}>
      <div class="row"><h2>GET {target}</h2><button onClick={() => dialog.current.close()}>Close</button></div>
      <pre tabindex="0">{content}</pre>
    </dialog>
  );
}

function Unlock({ told, onToken }) {
  return (
    <form class="panel asking" onSubmit={(event) => { event.preventDefault(); onToken(event.target.elements.token.value); event.target.reset(); }}>
      <label>Admin token <input name="token" type="password" required autocomplete="off" spellcheck={false} /></label>
      <button>Unlock</button>
      <p class="faint" role="alert">{told || "This server asks for a token."} It is kept in this tab alone, until the tab is closed.</p>
    </form>
  );
}

const MOST_TROUBLES = 4;

function Troubles({ status, short }) {
  const [all, setAll] = useState(false);
  const troubles = status.summary?.troubles ?? [];
  const { last_load: load, planning } = status;
  const shown = all ? troubles : troubles.slice(0, MOST_TROUBLES);
  const level = { ok: "calm", degraded: "warn", panic: "bad" };
  return (
    <>
      <p class="visually-hidden" role="alert">{troubles.filter((one) => one.level !== "ok").map((one) => `${one.level}: ${short(one.of)}`).join(", ")}</p>
      <ul class="troubles" aria-label="What is wrong">
        {shown.map((one) => (
          <li key={`${one.of} ${one.what}`} class={level[one.level]}><div>
            <Word mood={level[one.level]}>{one.level === "ok" ? "note" : one.level}</Word> <strong>{short(one.of)}</strong>{one.since_s !== null && `, for ${age(one.since_s)}`}: {one.what}{one.until_s !== null && `; for ${age(one.until_s)} yet`}
          </div></li>))}
      </ul>
      {troubles.length > MOST_TROUBLES && <button class="plain" onClick={() => setAll(!all)}>{all ? "Fewer" : `${troubles.length - MOST_TROUBLES} more`}</button>}
      {!load.ok && <div class="alarm" role="alert"><strong>The last reload was refused</strong>, {age(load.age_s)} ago; the configuration before it is served.<pre>{load.mistakes.join("\n")}</pre></div>}
      {planning && <p class="faint planning">Clients are shared out {planned(planning)}.</p>}
    </>
  );
}

function Words() {
  return (
    <details class="panel words">
      <summary>The words on this page</summary>
      <dl>
        <dt>Reported load</dt><dd>Its region's own figure, as its load report said it last, in whatever unit the region counts.</dd>
        <dt>Planned load</dt><dd>The load that the plan sends to the region: demand, as estimated from answers and believed reports. It differs from the reported load while reports are new, not believed, or lag behind, and after clients were moved.</dd>
        <dt>Demand</dt><dd>The clients of a place, in the unit that most regions report in. Where no region reports, or nobody has asked yet, each place of the database counts as one.</dd>
        <dt>Not believed</dt><dd>A report that its clients do not explain. The region then is not planned by it, until more reports bear it out: few clients are sent farther for it.</dd>
        <dt>Price</dt><dd>Milliseconds that one client more costs there, by the plan: a full region is dear, and clients in between go elsewhere.</dd>
        <dt>Share of places</dt><dd>The part of all places in the database whose clients the region gets, each place alike.</dd>
        <dt>Drain</dt><dd>No new clients; those it has stay until their answers have run out. “Safe” says when.</dd>
      </dl>
    </details>
  );
}

render(<App />, document.getElementById("app"));
