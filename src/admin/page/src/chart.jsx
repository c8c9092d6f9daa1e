// Utilisation over time, since the page was opened: the server keeps no such history.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { percent } from "./words.jsx";

// Two hours at a look every 2 s.
const MOST_MOMENTS = 3600;
const MOST_LINES = 8;

/** `{ times, lines }`: seconds since 1970, and by region the parts of capacity then. Grows with every status. */
export function useHistory(status, at) {
  const kept = useRef({ times: [], lines: new Map(), seen: 0 });
  useEffect(() => {
    if (!status || !at) return;
    const { times, lines } = kept.current;
    times.push(at / 1000);
    for (const region of status.regions) {
      if (!lines.has(region.name)) lines.set(region.name, new Array(times.length - 1).fill(null));
      lines.get(region.name).push(region.load.stale ? null : region.load.utilisation);
    }
    for (const line of lines.values()) while (line.length < times.length) line.push(null);
    if (times.length > MOST_MOMENTS) {
      times.shift();
      for (const line of lines.values()) line.shift();
    }
  }, [at]);
  return { ...kept.current, moment: at };
}

const COLOURS = {
  light: ["#2456a6", "#a3480c", "#17733f", "#8a2d8f", "#6b5900", "#b3261e", "#0b6d78", "#4d4d4d"],
  dark: ["#8ab4f8", "#ffab70", "#5fd08d", "#e0a3ff", "#e6d15c", "#ff8a80", "#5fd0dd", "#c8ccd1"],
};
const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];

export function Chart({ history, short }) {
  const box = useRef(null);
  const plot = useRef(null);
  const dark = useDark();
  const last = (line) => line[line.length - 1] ?? -1;
  const known = [...history.lines].filter(([, line]) => line.some((part) => part !== null));
  const drawn = known.sort((a, b) => last(b[1]) - last(a[1])).slice(0, MOST_LINES).map(([name]) => name).sort();
  const identity = `${dark} ${drawn.join()}`;
  const data = [history.times, ...drawn.map((name) => history.lines.get(name))];
  useEffect(() => {
    if (!drawn.length) return undefined;
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--faint").trim();
    const line = style.getPropertyValue("--line").trim();
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const made = new uPlot({
      width: box.current.clientWidth, height: 230, legend: { live: true },
      scales: { y: { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.05)] } },
      axes: [{ ...axis, space: 80, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 54, values: (_, ticks) => ticks.map((part) => `${Math.round(part * 100)} %`) }],
      series: [{ label: "time", value: (_, at) => (at === null ? "–" : clock(at)) },
        ...drawn.map((name, index) => ({
          label: short(name).slice(0, 24), stroke: COLOURS[dark ? "dark" : "light"][index], dash: DASHES[index % DASHES.length], width: 1.8,
          points: { show: false }, value: (_, part) => (part === null ? "–" : percent(part)),
        }))],
    }, data, box.current);
    plot.current = made;
    const observer = new ResizeObserver(([entry]) => made.setSize({ width: Math.floor(entry.contentRect.width), height: 230 }));
    observer.observe(box.current);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [identity]);
  useEffect(() => {
    plot.current?.setData(data);
    // Nobody points at a moment: the latest.
    if (plot.current && plot.current.cursor.idx == null) plot.current.setLegend({ idx: history.times.length - 1 });
  }, [history.moment, identity]);
  return (
    <>
      {drawn.length === 0 && <p class="faint">No region reports its load and its capacity.</p>}
      <div ref={box} class="chart" role="img" aria-label={`Utilisation since this page was opened: ${drawn.map((name) => `${short(name)} ${history.lines.get(name).at(-1) === null ? "unknown" : percent(history.lines.get(name).at(-1))}`).join(", ")}`} />
      <p class="faint">Since this page was opened{known.length > MOST_LINES && `; the ${MOST_LINES} fullest of ${known.length} regions`}. For longer, scrape the metrics.</p>
    </>
  );
}

function useDark() {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const changed = () => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}
