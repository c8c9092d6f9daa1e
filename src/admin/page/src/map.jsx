// The world: regions with their state and use, and where clients are and are sent.
import { geoPath } from "d3-geo";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { borders, land } from "world";
import { HEIGHT, WIDTH, projection } from "./projection.js";
import { MOOD, SIGN, fullness, number, percent, plural, trimmed } from "./words.jsx";

const path = geoPath(projection).digits(1);
const MOST_LINES = 400;
const RING = 9;

export function WorldMap({ status, flows, error, service, short, region, onRegion, onPlace }) {
  const [frame, width] = useWidth();
  const [over, setOver] = useState(null);
  const scale = width / WIDTH;
  const regions = useMemo(() => placed(status, flows), [status, flows]);
  const lines = useMemo(() => (flows ? linesOf(flows) : []), [flows]);
  const dots = useMemo(() => (flows ? dotsOf(flows) : []), [flows]);
  const labels = labelled(regions, short, scale);
  const looked = over?.region ?? null;
  const elsewhere = flows ? lines.filter((line) => line.past).reduce((sum, line) => sum + line.amount, 0) : 0;
  return (
    <>
      <div class="row wrap">
        <h2 id="map-head">Clients and regions{service ? ` of ${trimmed(service)}` : ""}</h2>
        <p class="faint">{flows === null ? (error ?? "asking where clients are…") : summary(flows, elsewhere)}</p>
      </div>
      <div ref={frame} class="map">
        <svg width={width} height={HEIGHT * scale} role="group" aria-label="World map. Regions are buttons; the places of clients are listed below, under Explain.">
          <g transform={`scale(${scale})`}>
            <g transform="scale(.1)"><path class="land" d={land} /><path class="borders" d={borders} /></g>
            {lines.map((line) => (
              <path key={line.key} d={line.d} class={`flow ${line.past ? "past" : ""} ${looked !== null && looked !== line.region ? "dim" : ""}`}
                stroke-width={line.width} />))}
          </g>
          {dots.map((dot) => (
            <circle key={dot.key} cx={dot.x * scale} cy={dot.y * scale} r={Math.max(1.8, dot.r * Math.sqrt(scale))} class={`place ${dot.place.ways.length ? "" : "lost"}`}
              onClick={() => dot.place.address && onPlace(dot.place)} onMouseEnter={() => setOver({ place: dot.place, x: dot.x, y: dot.y })} onMouseLeave={() => setOver(null)} />))}
          {regions.map((one) => (
            <Marker key={one.name} of={one} scale={scale} label={labels.get(one.name)} chosen={region === one.name} short={short}
              onOver={(is) => setOver(is ? { region: one.index, of: one, x: one.x, y: one.y } : null)} onPick={() => onRegion(one.name)} />))}
        </svg>
        {over && <Tip over={over} scale={scale} width={width} flows={flows} short={short} />}
      </div>
      <ul class="legend" aria-label="Legend">
        <li><svg width="18" height="18" aria-hidden="true"><circle cx="9" cy="9" r="6" class="core good" /></svg>region up; the ring is its use</li>
        <li><svg width="18" height="18" aria-hidden="true"><circle cx="9" cy="9" r="6" class="core bad" /></svg>× down</li>
        <li><svg width="18" height="18" aria-hidden="true"><circle cx="9" cy="9" r="6" class="core calm" /></svg>– drained</li>
        <li><svg width="22" height="18" aria-hidden="true"><path d="M1 9H21" class="flow" stroke-width="3" /></svg>to the nearest region</li>
        <li><svg width="22" height="18" aria-hidden="true"><path d="M1 9H21" class="flow past" stroke-width="3" /></svg>past the nearest</li>
        <li><svg width="12" height="18" aria-hidden="true"><circle cx="6" cy="9" r="3.5" class="place" /></svg>clients: click to explain</li>
      </ul>
    </>
  );
}

function summary(flows, elsewhere) {
  const amount = flows.counted === "demand" ? `demand ${number(flows.amount)}` : `${plural(flows.amount, "place")}, each as one: no demand is known`;
  const past = flows.amount > 0 ? `; ${percent(elsewhere / flows.amount)} sent past the nearest region` : "";
  const unanswered = flows.unanswered > 0 ? `; ${number(flows.unanswered)} unanswered` : "";
  return amount + past + unanswered;
}

function useWidth() {
  const frame = useRef(null);
  const [width, setWidth] = useState(WIDTH);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(200, Math.floor(entry.contentRect.width))));
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
  return [frame, width];
}

// Regions with what is known of them, where they are. Those at one place stand beside each other.
function placed(status, flows) {
  if (!flows) return [];
  const known = new Map(status.regions.map((one) => [one.name, one]));
  const taken = new Map();
  return flows.regions.flatMap((at, index) => {
    const state = known.get(at.name);
    const point = projection([at.longitude, at.latitude]);
    if (!state || !point) return [];
    const cell = `${Math.round(point[0] / 6)} ${Math.round(point[1] / 6)}`;
    const before = taken.get(cell) ?? 0;
    taken.set(cell, before + 1);
    const turn = before * 2.4;
    const off = before === 0 ? 0 : 12 + before;
    return [{ name: at.name, index, state, x: point[0] + Math.cos(turn) * off, y: point[1] + Math.sin(turn) * off, longitude: at.longitude, latitude: at.latitude }];
  });
}

function linesOf(flows) {
  const most = Math.max(...flows.places.map((place) => place.amount), 1e-9);
  const ways = flows.places.flatMap((place, at) => (place.latitude === null ? [] : place.ways.map((way) => ({ at, place, way }))));
  ways.sort((a, b) => b.way.amount - a.way.amount);
  return ways.slice(0, MOST_LINES).flatMap(({ at, place, way }) => {
    const to = flows.regions[way.region];
    const d = path({ type: "LineString", coordinates: [[place.longitude, place.latitude], [to.longitude, to.latitude]] });
    if (!d) return [];
    const width = Math.max(0.6, 5 * Math.sqrt(way.amount / most));
    return [{ key: `${at} ${way.region} ${way.nearest}`, d, width, region: way.region, past: way.nearest !== null && way.nearest !== way.region, amount: way.amount }];
  });
}

function dotsOf(flows) {
  const most = Math.max(...flows.places.map((place) => place.amount), 1e-9);
  return flows.places.flatMap((place, key) => {
    const point = place.latitude === null ? null : projection([place.longitude, place.latitude]);
    return point ? [{ key, x: point[0], y: point[1], r: 2 + 5 * Math.sqrt(place.amount / most), place }] : [];
  });
}

// Names where there is room for them: in the order of the regions, those in trouble first.
function labelled(regions, short, scale) {
  const worst = [...regions].sort((a, b) => (a.state.state === "up") - (b.state.state === "up"));
  const boxes = regions.map((one) => [one.x * scale - RING, one.y * scale - RING, one.x * scale + RING, one.y * scale + RING, one.name]);
  const labels = new Map();
  for (const one of worst) {
    const text = short(one.name).length > 18 ? `${short(one.name).slice(0, 17)}…` : short(one.name);
    const wide = text.length * 7.4;
    const [x, y] = [one.x * scale, one.y * scale];
    const choices = [[x + 13, y + 4, "start"], [x - 13, y + 4, "end"], [x, y - 14, "middle"], [x, y + 23, "middle"]];
    for (const [at, base, anchor] of choices) {
      const left = anchor === "start" ? at : anchor === "end" ? at - wide : at - wide / 2;
      const box = [left, base - 12, left + wide, base + 4];
      if (box[0] < 2 || box[2] > WIDTH * scale - 2 || box[1] < 0) continue;
      if (boxes.some((other) => other[4] !== one.name && box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      boxes.push([...box, ""]);
      labels.set(one.name, { text, x: at, y: base, anchor });
      break;
    }
  }
  return labels;
}

function Marker({ of, scale, label, chosen, short, onOver, onPick }) {
  const { state, load } = of.state;
  const mood = MOOD[state] ?? "none";
  const [x, y] = [of.x * scale, of.y * scale];
  const used = load.utilisation;
  const around = 2 * Math.PI * RING;
  const said = `${short(of.name)}: ${state}${used === null ? "" : `, ${percent(used)} of its capacity used`}. Shows its card.`;
  const pressed = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onPick();
  };
  return (
    <g class={`region ${chosen ? "chosen" : ""}`} role="button" tabindex="0" aria-label={said} onClick={onPick} onKeyDown={pressed}
      onMouseEnter={() => onOver(true)} onMouseLeave={() => onOver(false)} onFocus={() => onOver(true)} onBlur={() => onOver(false)}>
      <circle cx={x} cy={y} r="14" class="halo" />
      <circle cx={x} cy={y} r={RING} class="ring" />
      {used !== null && <circle cx={x} cy={y} r={RING} class={`use ${fullness(of.state)}`} transform={`rotate(-90 ${x} ${y})`}
        stroke-dasharray={`${around * Math.min(1, used)} ${around}`} />}
      <circle cx={x} cy={y} r="6" class={`core ${mood}`} />
      {state !== "up" && <text x={x} y={y + 4} class="sign" text-anchor="middle">{SIGN[state] ?? "?"}</text>}
      {label && <text x={label.x} y={label.y} class="name" text-anchor={label.anchor}>{label.text}</text>}
    </g>
  );
}

function Tip({ over, scale, width, flows, short }) {
  const [x, y] = [over.x * scale, over.y * scale];
  const side = x > width / 2 ? { right: `${width - x + 14}px` } : { left: `${x + 14}px` };
  return <div class="tip" style={{ ...side, top: `${Math.max(0, y - 10)}px` }} aria-hidden="true">{over.place ? <PlaceTip of={over.place} flows={flows} short={short} /> : <RegionTip of={over.of} short={short} />}</div>;
}

function PlaceTip({ of, flows, short }) {
  return (
    <>
      <strong>{of.name ?? "a place without a name"}</strong> · {flows.counted === "demand" ? `demand ${number(of.amount)}` : plural(of.amount, "place")}
      {of.ways.slice(0, 5).map((way) => (
        <div key={`${way.region} ${way.nearest}`}>{percent(of.amount > 0 ? way.amount / of.amount : 0)} to {short(flows.regions[way.region].name)}
          {way.rtt_ms !== null && `, ${number(way.rtt_ms)} ms`}{way.nearest !== null && way.nearest !== way.region && `; nearest is ${short(flows.regions[way.nearest].name)}`}</div>))}
      {of.ways.length === 0 && <div>nobody answers them</div>}
    </>
  );
}

function RegionTip({ of, short }) {
  const { load, capacity, utilisation } = of.state.load;
  return (
    <>
      <strong>{short(of.name)}</strong> · {of.state.state}
      <div>{load === null ? "load unknown" : `reports ${number(load)}${capacity === null ? "" : ` of ${number(capacity)}`}${utilisation === null ? "" : ` (${percent(utilisation)})`}`}</div>
      {of.state.planned_load !== null && <div>planned {number(of.state.planned_load)}</div>}
    </>
  );
}
