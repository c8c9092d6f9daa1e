// The only place that fetches. Sends the token, where the server wants one, and says plainly why it refuses.

// Of this tab alone, and never in a URL.
const TOKEN = "meridian-admin-token";
const PATIENCE_MS = 10_000;
// A what-if takes as long as a plan.
const LONG_PATIENCE_MS = 55_000;

export class Refused extends Error {
  constructor(status, message, details) {
    super(message);
    this.status = status;
    this.details = details ?? [];
  }
}

const IN_WORDS = {
  403: "Not allowed with this token",
  412: "Somebody else changed this meanwhile: look again, then repeat it",
};

let locked = () => {};
/** Calls `tell` with a message when a token is needed. */
export const onLocked = (tell) => (locked = tell);

export function unlock(token) {
  // A header takes no more than printable ASCII: anything else is not the token.
  sessionStorage.setItem(TOKEN, token.trim().replaceAll(/[^\x21-\x7e]/g, "?"));
}

async function response(target, { method = "GET", body, patience = PATIENCE_MS, signal, headers: more = {} } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...more };
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(target, {
    method, headers, cache: "no-store", signal: signal ?? AbortSignal.timeout(patience),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 401) {
    const wasRefused = token !== null && token === sessionStorage.getItem(TOKEN);
    if (wasRefused) sessionStorage.removeItem(TOKEN);
    locked(wasRefused ? "That was not a token of this server." : "");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    const said = told.error ?? `status ${answer.status}`;
    const words = IN_WORDS[answer.status];
    throw new Refused(answer.status, words ? `${words}: ${said}` : said, told.details);
  }
  return answer;
}

export const get = async (target) => (await response(target)).json();
export const text = async (target) => (await response(target)).text();
/** The version of what is there, for a change that is to take only while it is still so. */
export const versionOf = async (target) => (await response(target)).headers.get("etag");
export const post = async (target, body, version = null) => {
  const headers = version === null ? {} : { "If-Match": version };
  return (await response(target, { method: "POST", body, headers, patience: LONG_PATIENCE_MS })).json();
};

/** Server-sent events as they come, `{ event, id, data }`, until the stream ends or `signal` ends it. */
export async function* stream(target, after, signal) {
  const headers = { Accept: "text/event-stream" };
  if (after !== null) headers["Last-Event-ID"] = String(after);
  const answer = await response(target, { signal, headers });
  let left = "";
  for (const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (left + value).split("\n\n");
    left = frames.pop();
    for (const frame of frames) {
      const fields = frame.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
      const { event, id, data } = Object.fromEntries(fields);
      if (data !== undefined) yield { event, id, data: JSON.parse(data) };
    }
  }
}
export const flowsOf = async (service) =>
  (await response(service ? `/v1/flows?service=${encodeURIComponent(service)}` : "/v1/flows", { patience: LONG_PATIENCE_MS })).json();
