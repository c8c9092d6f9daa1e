// Keeps what is shown up to date: by the server's stream, or by asking again and again where there is none. Whoever
// shows it does not see how it comes.
import { flowsOf, get, stream } from "./api.js";

const POLL_MS = 2_000;
const FLOWS_MS = 10_000;
// What a plan makes of a change is there soon after it.
const AFTER_CHANGE_MS = 4_000;
// A stream that was refused is asked for again after this.
const STREAM_AGAIN_MS = 15_000;
// The server says something every 10 s: a stream that is silent for longer is none.
const SILENCE_MS = 25_000;
const MOST_EVENTS = 100;

/** Tells of `{ status }`, `{ drain: { region, drain } }` between two of these, `{ events }` (newest first), `{ flows }` and `{ error }` until the returned `stop` is called. */
export function watch(tell) {
  let events = [];
  let lastEvent = null;
  let flowsAt = -Infinity;
  let timer = null;
  let stopped = false;
  let service; // undefined: not chosen yet
  let running = null;
  let following = null; // ends the stream there is
  let streamAt = -Infinity; // when the next one may be asked for

  function add(found) {
    const newest = events[0]?.id ?? -1;
    const fresh = found.filter((event) => event.id > newest);
    if (fresh.length || !events.length) {
      events = [...fresh.toReversed(), ...events].slice(0, MOST_EVENTS);
      tell({ events });
    }
  }

  async function news() {
    const latest = `/v1/events?limit=${MOST_EVENTS}`;
    let found = await get(lastEvent === null ? latest : `${latest}&after=${lastEvent}`);
    if (found.left_out > 0 && lastEvent !== null) {
      events = []; // the newest are wanted, not those that come next
      found = await get(latest);
    }
    lastEvent = found.last_id;
    add(found.events);
  }

  function shown(status) {
    tell({ status, at: Date.now(), error: null });
    // Not waited for: it may take long where there are many places.
    places();
  }

  async function follow() {
    const ending = following = new AbortController();
    let silent;
    const heard = () => {
      clearTimeout(silent);
      silent = setTimeout(() => ending.abort(), SILENCE_MS);
    };
    streamAt = performance.now() + STREAM_AGAIN_MS;
    try {
      heard();
      for await (const { event, data } of stream("/v1/live", lastEvent, ending.signal)) {
        heard();
        streamAt = -Infinity; // one that ends after it has served may be followed by another at once
        if (event === "status") shown(data);
        if (event === "drain") tell({ drain: data });
        if (event === "event") {
          lastEvent = Math.max(lastEvent ?? 0, data.id);
          add([data]);
        }
      }
    } catch {
      // What is wrong is told by asking.
    }
    clearTimeout(silent);
    following = null;
    if (!stopped) refresh();
  }

  async function places() {
    if (service === undefined || performance.now() - flowsAt < FLOWS_MS) return;
    flowsAt = performance.now();
    const asked = service;
    try {
      const flows = await flowsOf(asked);
      if (asked === service) tell({ flows, flowsError: null });
    } catch (error) {
      tell({ flowsError: error.message });
    }
  }

  async function once() {
    if (document.hidden) return;
    try {
      shown(await get("/v1/status"));
      await news();
      if (following === null && !stopped && performance.now() >= streamAt) follow();
    } catch (error) {
      tell({ error });
    }
  }

  function refresh() {
    clearTimeout(timer);
    running ??= once().finally(() => {
      running = null;
      if (!stopped && following === null) timer = setTimeout(refresh, POLL_MS);
    });
    return running;
  }

  const seen = () => (document.hidden ? following?.abort() : refresh());
  document.addEventListener("visibilitychange", seen);
  refresh();
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
      following?.abort();
      document.removeEventListener("visibilitychange", seen);
    },
    refresh,
    /** Something was changed from here. */
    changed() {
      setTimeout(() => { flowsAt = -Infinity; refresh(); }, AFTER_CHANGE_MS);
      return refresh();
    },
    /** The one service whose clients are wanted; null: those of all. */
    choose(name) {
      service = name;
      flowsAt = -Infinity;
      refresh();
    },
  };
}
