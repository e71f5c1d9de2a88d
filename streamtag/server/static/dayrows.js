/** The streams of a day: for each a table of its concepts with the time for which they were present, and a picture. */
import { duration, marksOf, mostMarks, now } from "./daytime.js";
import { fitCanvas, paint } from "./paint.js";
import { CATEGORIES, refresh, view } from "./state.js";
import { $, clamp, plural, put } from "./util.js";

const FEW = 3, // concepts of one among many streams
  MANY = 15; // of a single stream
const sections = new Map(); // by the stream's name
const visible = new Set(); // names of those on the screen
let painted = { history: null, version: 0 }; // what pictures are to show; version: changes with colours and sizes
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const name = target.dataset.stream;
      if (isIntersecting) visible.add(name);
      else visible.delete(name);
      if (isIntersecting) paintSection(name);
    }
  },
  { rootMargin: "200px" },
);
const whole = new Set(); // names of streams of which all concepts are shown

const categories = Object.keys(CATEGORIES);
const placeOf = ({ category }) => (categories.includes(category) ? categories.indexOf(category) : categories.length);
export const byCategory = (concepts) => [...concepts].sort((a, b) => placeOf(a) - placeOf(b) || 0);

/** open(name): shows one stream alone. */
export function showSections(history, open) {
  const names = history.streams.map(({ stream }) => stream);
  for (const [name, { item }] of sections)
    if (!names.includes(name)) {
      watcher.unobserve(item);
      visible.delete(name);
      sections.delete(name);
    }
  const elements = history.streams.map((stream) => {
    if (!sections.has(stream.stream)) sections.set(stream.stream, makeSection(stream.stream, open));
    const section = sections.get(stream.stream);
    fillSection(section, stream, names.length);
    return section.item;
  });
  const list = $("day-streams");
  if (elements.length !== list.children.length || elements.some((item, place) => list.children[place] !== item))
    list.replaceChildren(...elements);
}

function makeSection(name, open) {
  const item = $("day-stream").content.firstElementChild.cloneNode(true),
    section = { item };
  for (const part of ["facts", "name", "more"]) section[part] = item.querySelector(`.day-${part}`);
  for (const part of ["caption", "tbody", "canvas"]) section[part] = item.querySelector(part);
  item.dataset.stream = section.name.textContent = name;
  section.name.onclick = () => open(name);
  section.more.onclick = () => {
    if (!whole.delete(name)) whole.add(name);
    refresh();
  };
  watcher.observe(item);
  return section;
}

function fillSection(section, stream, count) {
  const isAlone = count === 1,
    few = clamp(Math.floor(MANY / count), FEW, MANY),
    isWhole = whole.has(stream.stream),
    left = stream.concepts.length - few;
  const shown = isWhole ? stream.concepts : stream.concepts.slice(0, few);
  section.rows = isAlone ? byCategory(shown) : shown;
  section.name.disabled = isAlone;
  put(section.facts, factsOf(stream));
  put(section.caption, `What was present in ${stream.stream}`);
  section.more.hidden = left <= 0;
  put(section.more, isWhole ? "Fewer concepts" : `${plural(left, "more concept")}`);
  section.more.setAttribute("aria-expanded", String(isWhole));
  section.more.setAttribute("aria-label", `${section.more.textContent} of ${stream.stream}`);
  const key = JSON.stringify([isAlone, section.rows.map(({ concept, seconds }) => [concept, Math.round(seconds)])]);
  if (section.key === key) return;
  section.key = key;
  let category = "";
  const lines = section.rows.flatMap((row) => {
    const heading = isAlone && row.category !== category ? [headingRow(row.category)] : [];
    category = row.category;
    return [...heading, conceptRow(row)];
  });
  section.tbody.replaceChildren(...(lines.length ? lines : [nothingRow()]));
}

function factsOf({ heard_s, gap_count, lost_s }) {
  const lost = gap_count ? ` · ${plural(gap_count, "gap")}, ${lost_s < 10 ? `${lost_s.toFixed(1)} s` : duration(lost_s)} lost` : "";
  return `heard ${duration(heard_s)}${lost}`;
}

function cell(kind, words, fields = {}) {
  return Object.assign(document.createElement(kind), { textContent: words, ...fields });
}

function line(cells, kind) {
  const row = document.createElement("tr");
  row.className = kind;
  row.append(...cells);
  return row;
}

const headingRow = (category) =>
  line([cell("th", CATEGORIES[category] ?? category, { scope: "rowgroup", colSpan: 2 })], "day-group");
const nothingRow = () => line([cell("td", "nothing certain", { colSpan: 2 })], "day-nothing");
const conceptRow = ({ concept, seconds }) =>
  line([cell("th", concept, { scope: "row", title: concept }), cell("td", duration(seconds))], "day-row");

/** Paint the pictures on the screen now, the others when they come there. */
export function paintSections(history) {
  painted = { history, version: painted.version + 1 };
  for (const [name, { item }] of sections)
    if (visible.has(name) || item.getBoundingClientRect().top < innerHeight) paintSection(name); // the watcher is later
}

function paintSection(name) {
  const { history, version } = painted,
    section = sections.get(name),
    stream = history?.streams.find((each) => each.stream === name);
  if (!section || !stream || section.version === version) return;
  section.version = version;
  const { canvas, tbody, rows } = section,
    scale = devicePixelRatio || 1,
    isBelow = canvas.offsetLeft === 0; // on a phone the bars lie below the words
  const width = Math.max(1, Math.round(canvas.clientWidth * scale)),
    pen = fitCanvas(canvas, width, Math.max(1, Math.round(canvas.clientHeight * scale)));
  const lines = [...tbody.rows].filter((row) => row.className !== "day-group"), // nothing, too
    [top, part] = isBelow ? [0.58, 0.34] : [0.14, 0.72];
  const boxes = lines.map((row) => ({
    y: Math.round((row.offsetTop + top * row.offsetHeight) * scale),
    height: Math.round(part * row.offsetHeight * scale),
  }));
  const size = { width, scale };
  boxes.forEach((box) => paintHeard(pen, history, stream, box, size));
  paintMarks(pen, history, boxes, size);
  rows.forEach((row, place) => paintPresent(pen, row.present, boxes[place], size));
  paintGaps(pen, history, stream, boxes, size);
  performance.mark("day painted");
}

const edgesOf = (count, width) => (bin) => Math.round((bin * width) / count);

/** Where the stream ran; hatched where it did not, as far as that is past. */
function paintHeard(pen, history, { heard }, { y, height }, { width }) {
  const edge = edgesOf(heard.length, width),
    past = Math.min(width, ((Math.min(now(), history.to) - history.from) / (history.to - history.from)) * width);
  pen.fillStyle = pen.createPattern(paint.unheard, "repeat");
  if (past > 0) pen.fillRect(0, y, past, height);
  for (let bin = 0; bin < heard.length; bin++) {
    if (!heard[bin]) continue;
    let end = bin + 1;
    while (heard[end]) end++;
    pen.fillStyle = paint.lane;
    pen.fillRect(edge(bin), y, edge(end) - edge(bin), height);
    bin = end;
  }
}

function paintMarks(pen, history, boxes, { width, scale }) {
  pen.fillStyle = paint.line;
  for (const { at } of marksOf(history, mostMarks(width / scale))) {
    const x = Math.round(((at - history.from) / (history.to - history.from)) * width);
    for (const { y, height } of boxes) pen.fillRect(x, y, Math.max(1, Math.round(scale / 2)), height);
  }
}

/** A bar for each bin: the higher, the longer it was present in it. */
function paintPresent(pen, present, { y, height }, { width, scale }) {
  const edge = edgesOf(present.length, width);
  pen.fillStyle = paint.on;
  present.forEach((percent, bin) => {
    if (!percent) return;
    const tall = Math.max(Math.round(2 * scale), Math.round((percent / 100) * height));
    pen.fillRect(edge(bin), y + height - tall, Math.max(1, edge(bin + 1) - edge(bin)), tall);
  });
}

function paintGaps(pen, history, { gaps }, boxes, { width, scale }) {
  pen.fillStyle = paint.warn;
  for (const [at, lost] of gaps) {
    const x = Math.round(((at - history.from) / (history.to - history.from)) * width),
      wide = Math.max(Math.round(2 * scale), Math.round((lost / (history.to - history.from)) * width));
    for (const { y, height } of boxes) pen.fillRect(x, y, wide, height);
  }
}
