// How figures and states are said, the same everywhere.

// What to think of a word, beside the word itself: never the colour alone.
export const MOOD = {
  up: "good", suspect: "warn", down: "bad", drain: "calm", unknown: "warn",
  normal: "good", full: "warn", unproven: "warn", panic: "bad", only_draining: "warn", all_withdrawn: "bad",
  ok: "good", degraded: "warn", cut_off: "bad", connected: "good",
};
export const SIGN = { up: "✓", suspect: "!", down: "×", drain: "–", unknown: "?" };

export function Word({ of, mood, children }) {
  const text = children ?? String(of).replaceAll("_", " ");
  return <span class={`word ${mood ?? MOOD[of] ?? "none"}`}>{text}</span>;
}

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}
// What rounds to nothing is 0, never -0: adding 0 takes the sign away.
const rounded = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits + 0;
export const fixed = (value, digits) => (value === null || !Number.isFinite(value) ? "–" : rounded(value, digits).toFixed(digits));
export const number = (value) => rounded(value, Math.abs(value) < 100 ? 1 : 0).toLocaleString("en", { maximumFractionDigits: 1 });
export const percent = (part) => `${fixed(part * 100, part > 0 && part < 0.1 ? 1 : 0)}\u00a0%`;

/** A part that somebody has said, with the digits they have said it with. */
export const share = (part) => `${Math.round(part * 1e8) / 1e6}\u00a0%`;
/** The way a service's clients are sent, as far as operators have a say in it. */
export const way = ({ stage, canary }) => [stage !== null && `stage ${stage}`, canary !== null && `a canary of ${share(canary)}`].filter(Boolean).join(" with ");

export const bare = (name) => name.split("@")[0];
/** Names without their zone where that leaves none alike. */
export function shortNames(names) {
  const count = new Map();
  for (const name of names) count.set(bare(name), (count.get(bare(name)) ?? 0) + 1);
  return new Map(names.map((name) => [name, count.get(bare(name)) === 1 ? bare(name) : name]));
}
export const trimmed = (service) => service.replace(/\.$/, "");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** A bar with a fill, and a mark where another figure stands. Figures are beside it as text. */
export function Bar({ part, mood, mark }) {
  const width = (of) => `${Math.min(100, Math.max(0, of * 100))}%`;
  return (
    <div class={`bar ${mood}`} aria-hidden="true">
      <div class="fill" style={{ width: width(part) }} />
      {mark !== undefined && mark !== null && <div class="mark" style={{ left: width(mark) }} />}
    </div>
  );
}

/** The mood of a region's bar: its state first, then how full it is. */
export function fullness(region) {
  if (region.state !== "up") return MOOD[region.state] ?? "none";
  const { utilisation, stale } = region.load;
  if (utilisation === null || stale) return "none";
  return utilisation > 0.95 ? "bad" : utilisation > 0.85 ? "warn" : "good";
}

/** How clients are shared out, in a sentence without its subject. */
export function planned(of) {
  const error = of.error === null ? "" : `: ${of.error}`;
  if (of.age_s === null) return `by price, without a plan${error}`;
  const demand = of.demand === null ? "" : `, for a demand of ${number(of.demand)}`;
  const kept = of.kept_near === null ? "" : `; ${plural(of.kept_near.places, "place")} are kept near, since the load of ${of.kept_near.regions.join(", ")} is not believed`;
  return `by a plan made ${age(of.age_s)} ago${demand}${kept}${error === "" ? "" : `; no newer plan${error}`}`;
}
