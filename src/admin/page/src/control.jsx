// The question before a change: what would follow from it, then yes or no.
import { useEffect, useRef, useState } from "preact/hooks";
import { post, versionOf } from "./api.js";
import { Word, fixed, number, percent, share, trimmed, way } from "./words.jsx";

const REGION = {
  drain: ["Drain", "Sends no new clients there. Those it has stay until their answers have run out. Holds, also over restarts, until it is lifted."],
  down: ["Take down", "Sends nobody there from now on, as if it had failed. Holds, also over restarts, until it is lifted."],
  up: ["Force up", "Sends clients there whatever its probes say. Holds, also over restarts, until it is lifted."],
  auto: ["Lift the override of", "From now on its probes decide again."],
};

const BACK = ["Let back", "Forgets what kept it out: it is answered again as soon as its probes say so."];

// What is asked, what it is previewed by, and how it is done.
function planOf(change, short) {
  if (change.kind === "region") {
    const { region, override, verdict, back } = change;
    const [verb, meaning] = back ? BACK : REGION[override];
    const alike = { drain: "drain", down: "kill", up: "up", auto: verdict === "down" ? "kill" : "up" }[override];
    const assumed = override === "auto" ? `Worked out as ${alike === "kill" ? "down" : "up"}, since its probes say ${verdict}.` : null;
    return {
      title: `${verb} ${short(region)}?`, meaning, assumed, whatIf: { [alike]: [region] }, yes: back ? "Let it back" : override === "auto" ? "Lift override" : verb,
      of: `/v1/regions/${encodeURIComponent(region)}`,
      send: (version) => post(`/v1/regions/${encodeURIComponent(region)}/override`, { override }, version),
      told: (reply) => `${short(region)} is ${reply.state === "drain" ? "draining" : reply.state} now: ${reply.follows.join("; ")}.`,
    };
  }
  const name = trimmed(change.service);
  const of = `/v1/services/${encodeURIComponent(name)}`;
  if (change.kind === "canary") return shiftOf(change, name, of);
  if (change.kind === "rollback") return rollbackOf(change, name, of);
  const stage = change.stage ?? change.file;
  return {
    title: change.stage ? `Switch ${name} to ${stage}?` : `Let the zone file decide the stage of ${name}?`,
    meaning: change.stage ? "Sends all of its clients to that stage's regions. Holds, also over restarts, until it is switched again." : `The file says ${stage ?? "another stage"}.`,
    assumed: null, whatIf: stage ? { switch: { [name]: stage } } : null, yes: "Switch",
    of,
    send: (version) => post(`${of}/switch`, change.stage ? { stage } : { file: true }, version),
    told: (reply) => `${trimmed(reply.service)} is on ${reply.stage}. Answers of before may be kept for ${reply.cached_for_s} s yet.`,
  };
}

const kept = (reply) => `Those who move may keep their answers for ${reply.cached_for_s} s yet.`;

function shiftOf(change, name, of) {
  const then = change.share ?? change.file;
  return {
    title: change.share === null ? `Let the zone file decide the canary of ${name}?` : `Give the canary of ${name} ${share(then)} of clients?`,
    meaning: `${share(change.now)} of its clients are sent to ${change.canaryOf} now; then it is ${share(then)}. ${then > change.now ? "Who is sent there now stays." : "Nobody else is sent there."} ${change.share === null ? "From now on the file decides." : "Holds, also over restarts, until it is said otherwise or the file has no such canary any more."}`,
    assumed: null, whatIf: { canary: { [name]: then } }, yes: "Shift", of,
    send: (version) => post(`${of}/canary`, change.share === null ? { file: true } : { share: change.share }, version),
    told: (reply) => `The canary of ${trimmed(reply.service)} has ${share(reply.share)} of clients. ${kept(reply)}`,
  };
}

function rollbackOf(change, name, of) {
  const { stage, canary } = change.to;
  const whatIf = {};
  if (stage !== null && stage !== change.stage) whatIf.switch = { [name]: stage };
  if (canary !== null && canary !== change.canary) whatIf.canary = { [name]: canary };
  return {
    title: `Roll ${name} back to ${way(change.to)}?`,
    meaning: "Takes back what was said of it last, a switch or a shift of its canary. Another rollback takes this one back.",
    assumed: null, whatIf, yes: "Roll back", of,
    send: (version) => post(`${of}/rollback`, {}, version),
    told: (reply) => `${trimmed(reply.service)} is back to ${way(reply.after)}. ${kept(reply)}`,
  };
}

export function Confirm({ change, short, onDone, onCancel }) {
  const dialog = useRef(null);
  const [preview, setPreview] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  // Of what is to be changed, as it was when the question was put: nobody's change is taken back unseen.
  const seen = useRef(null);
  const plan = change && planOf(change, short);
  useEffect(() => {
    if (change === null) {
      dialog.current.close();
      return undefined;
    }
    let wanted = true;
    setError(null);
    setBusy(false);
    setPreview({ asking: plan.whatIf !== null });
    seen.current = versionOf(plan.of).catch(() => null);
    dialog.current.showModal();
    if (plan.whatIf) {
      post("/v1/what-if", plan.whatIf).then((outcome) => wanted && setPreview({ outcome }), (failed) => wanted && setPreview({ failed }));
    }
    return () => { wanted = false; };
  }, [change]);
  const doIt = async () => {
    setBusy(true);
    setError(null);
    try {
      onDone(plan.told(await plan.send(await seen.current)));
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby="confirm-head" aria-describedby="confirm-text" onCancel={(event) => { event.preventDefault(); onCancel(); }}>
      {plan && <>
        <h2 id="confirm-head">{plan.title}</h2>
        <p id="confirm-text">{plan.meaning}</p>
        <h3>What would follow</h3>
        <div aria-live="polite" aria-busy={preview?.asking ?? false} id="preview">
          {plan.assumed && <p class="faint">{plan.assumed}</p>}
          {preview?.asking && <p>Working it out…</p>}
          {preview?.failed && <p class="alarm">It could not be worked out: {[preview.failed.message, ...preview.failed.details ?? []].join("; ")}</p>}
          {preview && !plan.whatIf && <p class="faint">There is no preview of this.</p>}
          {preview?.outcome && <Preview of={preview.outcome} short={short} />}
        </div>
        {error && <p class="alarm" role="alert">Not done: {[error.message, ...error.details ?? []].join("; ")}</p>}
        <div class="actions">
          <button type="button" class="quiet" onClick={onCancel} autofocus>Cancel</button>
          <button type="button" class={isBad(preview?.outcome) ? "danger" : ""} disabled={busy || (preview?.asking ?? false)} onClick={doIt}>{busy ? "Doing it…" : plan.yes}</button>
        </div>
      </>}
    </dialog>
  );
}

const isBad = (outcome) => Boolean(outcome && (outcome.over_capacity.length || outcome.unanswered > 0 || outcome.services.some((one) => one.after !== "normal")));
const MOST_MOVES = 6;

function Preview({ of, short }) {
  const kind = of.counted === "places" ? "places" : "demand";
  const name = (region) => (region === null ? "nobody" : short(region));
  const changed = of.regions.filter((one) => one.before && one.after && Math.abs(one.after.load - one.before.load) > 1e-3 * Math.max(1, of.after.amount));
  return (
    <>
      {of.over_capacity.map((region) => <p key={region}><Word mood="bad">over capacity</Word> {short(region)} would have more than it can take</p>)}
      {of.services.filter((one) => one.after !== null && one.after !== "normal").map((one) => <p key={one.name + one.fence}><Word mood="bad">{one.after.replaceAll("_", " ")}</Word> {one.name}{one.fence !== null && `, clients of ${one.fence}`}</p>)}
      {of.unanswered > 0 && <p><Word mood="bad">unanswered</Word> {kind} {number(of.unanswered)}</p>}
      <p><strong>{percent(of.moved_ratio)}</strong> of all {kind} would move: {number(of.moved)} of {number(of.after.amount)}.
        {of.before.rtt_ms !== null && of.after.rtt_ms !== null && ` Mean round trip: ${fixed(of.before.rtt_ms, 0)} ms now, ${fixed(of.after.rtt_ms, 0)} ms then.`}
        {of.before.cost !== null && of.after.cost !== null && ` Cost: ${fixed(of.before.cost, 2)} now, ${fixed(of.after.cost, 2)} $ per million then.`}</p>
      {of.moves.length > 0 && <ul class="moves">{of.moves.slice(0, MOST_MOVES).map((move) => <li key={`${move.from} ${move.to}`} class="row"><span class="text">{name(move.from)} → {name(move.to)}</span><span>{number(move.amount)}</span></li>)}
        {of.moves.length > MOST_MOVES && <li class="faint">and {of.moves.length - MOST_MOVES} smaller ones</li>}</ul>}
      {changed.length > 0 && <div class="scroll" tabindex="0" role="region" aria-label="Regions before and after"><table>
        <thead><tr><th>Region</th><th class="number">Now</th><th class="number">Then</th><th class="number">Used then</th></tr></thead>
        <tbody>{changed.slice(0, 12).map((one) => <tr key={one.name}><th scope="row" class="text">{short(one.name)}</th><td class="number">{number(one.before.load)}</td><td class="number">{number(one.after.load)}</td><td class="number">{one.after.utilisation === null ? "–" : percent(one.after.utilisation)}</td></tr>)}</tbody>
      </table></div>}
      {of.notes.map((note) => <p class="faint" key={note}>{note}</p>)}
    </>
  );
}
