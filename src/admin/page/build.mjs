// Builds dist/ from src/: one script, one style sheet, one HTML file, each compressed as well, and the licences of
// what is in them. With --check nothing is written: it fails where dist/ is not what the sources make.
import { readFile, readdir, writeFile, mkdir } from "node:fs/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { build } from "esbuild";
import { geoPath } from "d3-geo";
import { merge, mesh } from "topojson-client";
import { projection } from "./src/projection.js";

const here = new URL("./", import.meta.url);
const read = (path) => readFile(new URL(path, here));
const text = async (path) => (await read(path)).toString();

// Land and borders are drawn once, here: the browser gets two paths and needs neither the geometry nor its library.
async function world() {
  const topology = JSON.parse(await text("node_modules/world-atlas/countries-110m.json"));
  const countries = topology.objects.countries;
  countries.geometries = countries.geometries.filter((country) => country.id !== "010"); // Antarctica
  const path = geoPath(projection).digits(1);
  const land = short(path(merge(topology, countries.geometries)));
  const borders = short(path(mesh(topology, countries, (a, b) => a !== b)));
  return `export const land = ${JSON.stringify(land)};\nexport const borders = ${JSON.stringify(borders)};\n`;
}

// Absolute lines as steps in tenths: a third of the text.
function short(path) {
  const tenths = (text) => Math.round(Number(text) * 10);
  let [x, y] = [0, 0];
  return path.split("M").slice(1).map((line) => {
    const isClosed = line.endsWith("Z");
    const steps = line.replace("Z", "").split("L").map((point) => {
      const [toX, toY] = point.split(",").map(tenths);
      const step = [toX - x, toY - y];
      [x, y] = [toX, toY];
      return step;
    });
    const [from, ...rest] = steps;
    const moved = rest.filter(([dx, dy]) => dx !== 0 || dy !== 0);
    const start = `m${from[0]} ${from[1]}`;
    // Closing leads back to where the line began, and the next one starts from there.
    if (isClosed) [x, y] = [x - sum(rest, 0), y - sum(rest, 1)];
    return moved.length ? `${start}l${moved.flat().join(" ").replaceAll(" -", "-")}${isClosed ? "z" : ""}` : start;
  }).join("");
}

const sum = (steps, of) => steps.reduce((whole, step) => whole + step[of], 0);

const geometry = {
  name: "world",
  setup(of) {
    of.onResolve({ filter: /^world$/ }, () => ({ path: "world", namespace: "world" }));
    of.onLoad({ filter: /.*/, namespace: "world" }, async () => ({ contents: await world(), loader: "js" }));
  },
};

async function bundled(entry) {
  const { outputFiles } = await build({
    entryPoints: [new URL(entry, here).pathname], bundle: true, minify: true, write: false, legalComments: "none",
    format: "iife", target: ["chrome111", "firefox113", "safari16.4"], jsx: "automatic", jsxImportSource: "preact",
    charset: "utf8", plugins: [geometry],
  });
  return Buffer.from(outputFiles[0].contents);
}

async function licences() {
  const own = JSON.parse(await text("package.json")).devDependencies;
  // d3-geo brings what it uses of d3-array, which brings internmap; world-atlas' data is from Natural Earth.
  const embedded = ["d3-array", "d3-geo", "internmap", "preact", "topojson-client", "uplot", "world-atlas"];
  const parts = ["What is embedded in the dashboard, beside Meridian's own sources. The map's geometry is made with Natural Earth,\n"
    + "which is in the public domain (naturalearthdata.com), by way of world-atlas.\n"];
  for (const name of embedded) {
    const { version, license } = JSON.parse(await text(`node_modules/${name}/package.json`));
    if (own[name] && own[name] !== version) throw new Error(`${name} ${version} is installed, package.json says ${own[name]}`);
    const licence = (await text(`node_modules/${name}/LICENSE`)).trim();
    parts.push(`${"-".repeat(72)}\n${name} ${version} (${license})\n\n${licence}\n`);
  }
  return Buffer.from(parts.join("\n"));
}

const files = {
  "index.html": await read("src/index.html"),
  "app.js": await bundled("src/main.jsx"),
  "app.css": await bundled("src/style.css"),
  "THIRD-PARTY.txt": await licences(),
};
const isServedPacked = (name) => !name.endsWith(".txt");

if (process.argv.includes("--check")) {
  const stale = [];
  for (const [name, content] of Object.entries(files)) {
    const known = await read(`dist/${name}`).catch(() => null);
    if (!known?.equals(content)) stale.push(name);
    // Compressors differ from version to version: what they unpack to is what counts.
    if (!isServedPacked(name)) continue;
    const packed = await read(`dist/${name}.gz`).then(gunzipSync).catch(() => null);
    if (!packed?.equals(content)) stale.push(`${name}.gz`);
  }
  for (const name of await readdir(new URL("dist/", here))) {
    if (!(name.replace(/\.gz$/, "") in files)) stale.push(`${name} (nothing makes it)`);
  }
  if (stale.length) {
    console.error(`not what the sources make: ${stale.join(", ")}; run npm run build`);
    process.exit(1);
  }
  console.log("dist/ is what the sources make");
} else {
  await mkdir(new URL("dist/", here), { recursive: true });
  let [whole, packed] = [0, 0];
  for (const [name, content] of Object.entries(files)) {
    await writeFile(new URL(`dist/${name}`, here), content);
    if (!isServedPacked(name)) continue;
    const gzip = gzipSync(content, { level: 9 });
    await writeFile(new URL(`dist/${name}.gz`, here), gzip);
    whole += content.length;
    packed += gzip.length;
    console.log(`${name}: ${content.length} octets, ${gzip.length} compressed`);
  }
  console.log(`in all: ${whole} octets, ${packed} compressed`);
}
