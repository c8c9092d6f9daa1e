// Measures how far this browser is from a service's regions, and reports it once. Sets no cookie,
// stores nothing, reads nothing of the page. Tells the page what it found by the event "meridian-rum".
function (plan) {
  "use strict";
  var script = document.currentScript;
  if (!script || !window.fetch || !window.performance || !window.Promise || !plan.regions.length) return;
  var beacon = new URL("beacon", script.src).href;
  var deadline = performance.now() + 20000;

  // A connection is made by the first fetch; those after it take one round trip each.
  function measure(region) {
    var times = [];
    function fetchOnce(left) {
      if (left < 0 || performance.now() > deadline) return times;
      var url = region.url + (region.url.indexOf("?") < 0 ? "?" : "&") + "r=" + Math.random().toString(36).slice(2);
      var abort = window.AbortController ? new AbortController() : null;
      var timer = setTimeout(function () { if (abort) abort.abort(); }, 5000);
      var begin = performance.now();
      return fetch(url, {
        mode: "no-cors", cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer",
        signal: abort ? abort.signal : undefined
      }).then(function () {
        clearTimeout(timer);
        if (left < plan.fetches) times.push(exactly(url, performance.now() - begin));
        return fetchOnce(left - 1);
      }, function () { clearTimeout(timer); return times; });
    }
    return Promise.resolve(fetchOnce(plan.fetches)).then(function (found) {
      // Nothing below 1 ms is told: browsers blur their clocks.
      return found.length ? { region: region.region, ms: Math.max(1, Math.round(Math.min.apply(null, found) * 10) / 10) } : null;
    });
  }

  // From request to response alone, where the region allows it with Timing-Allow-Origin.
  function exactly(url, around) {
    var entry = performance.getEntriesByName(url)[0];
    return entry && entry.requestStart > 0 ? entry.responseStart - entry.requestStart : around;
  }

  // One region after another, so that they do not slow each other down.
  function measureAll(left, samples) {
    if (!left.length) return samples;
    return measure(left[0]).then(function (sample) {
      return measureAll(left.slice(1), sample ? samples.concat(sample) : samples);
    });
  }

  function begin() {
    Promise.resolve(measureAll(plan.regions, [])).then(function (samples) {
      if (!samples.length) return;
      // Text is sent without asking first (a simple request), and outlives the page.
      return fetch(beacon, {
        method: "POST", body: JSON.stringify({ token: plan.token, samples: samples }),
        credentials: "omit", keepalive: true, referrerPolicy: "no-referrer"
      }).then(function (response) {
        window.dispatchEvent(new CustomEvent("meridian-rum", { detail: { samples: samples, taken: response.ok } }));
      });
    }).catch(function () {});
  }

  // The page comes first.
  if (document.readyState === "complete") setTimeout(begin, 500);
  else window.addEventListener("load", function () { setTimeout(begin, 500); });
}
