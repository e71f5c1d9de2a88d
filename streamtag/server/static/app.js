import { createSenders } from "./sender.js";

// --- limits: the page may stay open for months --------------------------------------------------
const PROTOCOL = 1;
const MAX_FRAMES = 7200; // of a stream: half an hour
const MAX_STREAMS = 24;
const MAX_GAPS = 500; // of a stream
const MAX_TEXT = 16 * 2 ** 20; // characters of messages, for the JSON lines
const MAX_MESSAGE_CHARS = 2 ** 20; // characters of one message
const SPANS = [15, 30, 60, 120, 300, 600, 1800]; // seconds of history shown
const FIRST_WAIT_S = 0.5,
  MAX_WAIT_S = 10,
  HANDSHAKE_S = 10;
const SILENT_CONNECTION_S = 30; // without any message: the connection may be dead with no close event
const GAMMA = 0.6; // lifts the small probabilities of rare tags out of the dark
const RAMPS = {
  dark: ["#16151f", "#3b1a68", "#84267f", "#d2455f", "#f8892c", "#fbe481"],
  light: ["#f2efec", "#f6d9b8", "#f0955f", "#c8446c", "#7b2484", "#2a0d52"],
};
const TICKS = [0, 0.1, 0.25, 0.5, 1];
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

const $ = (id) => document.getElementById(id);
const droppable = matchMedia("(hover: none)").matches ? "" : ", or drop a file anywhere on this page";
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const darkness = matchMedia("(prefers-color-scheme: dark)");
const seconds = () => performance.now() / 1000;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function timecode(time, tenths = false) {
  const sign = time < 0 ? "−" : "",
    whole = Math.abs(time);
  const all = tenths ? Math.round(whole * 10) / 10 : Math.floor(whole + 1e-6);
  const hours = Math.floor(all / 3600),
    minutes = Math.floor(all / 60) % 60,
    rest = all % 60;
  const end = tenths ? rest.toFixed(1).padStart(4, "0") : String(Math.floor(rest)).padStart(2, "0");
  return sign + (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : String(minutes)) + `:${end}`;
}

/** What the reader chose; a browser may forbid it. */
const memory = {
  read(key) {
    try {
      return JSON.parse(localStorage.getItem(`streamtag.${key}`));
    } catch {
      return null;
    }
  },
  write(key, value) {
    try {
      localStorage.setItem(`streamtag.${key}`, JSON.stringify(value));
    } catch {
      /* not kept */
    }
  },
};

// --- the frames of one stream --------------------------------------------------------------------------------------
class History {
  /** size: labels. Frames in order of time; at most 1.25 MAX_FRAMES of them, the oldest go first. */
  constructor(size) {
    this.size = size;
    this.length = 0;
    this.gaps = [];
    this.grow(256);
  }

  grow(room) {
    const move = (kind, old, count) => {
      const fresh = new kind(count);
      if (old && this.length) fresh.set(old);
      return fresh;
    };
    this.room = room;
    this.times = move(Float64Array, this.times, room); // of the windows' centres
    this.values = move(Float32Array, this.values, room * this.size); // NaN: unknown
    this.present = move(Uint8Array, this.present, room * this.size);
  }

  get last() {
    return this.length - 1;
  }
  get end() {
    return this.length ? this.times[this.last] : 0;
  }
  value(frame, tag) {
    return this.values[frame * this.size + tag];
  }

  append(time, values, present) {
    if (this.length === this.room)
      this.room < 1.25 * MAX_FRAMES
        ? this.grow(Math.min(2 * this.room, 1.25 * MAX_FRAMES))
        : this.drop(this.room - MAX_FRAMES);
    this.times[this.length] = time;
    this.values.set(values, this.length * this.size);
    this.present.set(present, this.length * this.size);
    this.length++;
  }

  drop(count) {
    this.times.copyWithin(0, count);
    this.values.copyWithin(0, count * this.size);
    this.present.copyWithin(0, count * this.size);
    this.length -= count;
    this.gaps = this.gaps.filter((gap) => gap.start + gap.lost >= this.times[0]);
  }

  /** The last frame at or before a time; -1: none. */
  before(time) {
    let low = 0,
      high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The nearest frame, if one is within `reach` seconds; else -1. */
  nearest(time, reach = Infinity) {
    const left = this.before(time),
      right = left + 1;
    const pick =
      left < 0 || (right < this.length && this.times[right] - time < time - this.times[left]) ? right : left;
    return pick < this.length && Math.abs(this.times[pick] - time) <= reach ? pick : -1;
  }
}

/** One run of a stream; a stream that starts again is another object. */
class Stream {
  constructor(name, size) {
    this.name = name;
    this.history = new History(size);
    this.on = new Uint8Array(size);
    this.rank = new Float32Array(size);
    this.smooth = new Float32Array(size); // of the tags, beside concepts
    this.frame = -1;
    this.frames = 0;
    this.arrived = -Infinity;
    this.began = seconds();
    this.ended = null;
    this.trouble = "";
    this.latencies = [];
    this.dropped = 0;
    this.gaps = 0;
    this.lost = 0;
    this.blind = true; // which labels are on is not known yet
  }

  get stalled() {
    return seconds() - this.arrived > Math.max(3, 8 * hello.hop_s);
  }
  get live() {
    return this.frames > 0 && !this.ended && link.state === "open" && !this.stalled;
  }
}

class Session {
  /** The newest messages as they came, up to MAX_TEXT characters, and the hello that they follow. */
  constructor() {
    this.lines = [];
    this.first = 0;
    this.size = 0;
    this.greeting = "";
  }

  get count() {
    return this.lines.length - this.first;
  }

  keep(line, isHello) {
    this.lines.push({ line, isHello });
    this.size += line.length + 1;
    while (this.size > MAX_TEXT && this.count > 1) {
      const oldest = this.lines[this.first++];
      this.size -= oldest.line.length + 1;
      if (oldest.isHello) this.greeting = oldest.line;
    }
    if (this.first > 4096) {
      this.lines.splice(0, this.first);
      this.first = 0;
    }
  }

  text() {
    const kept = this.lines.slice(this.first).map((entry) => entry.line);
    if (this.greeting && !this.lines[this.first].isHello) kept.unshift(this.greeting);
    return kept.join("\n") + (kept.length ? "\n" : "");
  }
}

// --- state ----------------------------------------------------------------------------------------------
// labels: the tags, then the concepts; thresholds: of all labels, infinite where there is none
let hello = { labels: [], tagCount: 0, thresholds: [], hop_s: 0.256, lookahead_s: 0.384, model: "–", server: "" };
let tagIndex = new Map(), // columns by name
  conceptIndex = new Map();
const streams = new Map();
const session = new Session();
const link = { state: "connecting", socket: null, tries: 0, due: 0, timer: 0, why: "", lastMessageAt: seconds() };
const query = new URLSearchParams(location.search);
const view = {
  chosen: query.get("stream"), // null: whatever plays
  pins: (memory.read("pins") || []).filter((name) => typeof name === "string"),
  filter: "",
  kind: memory.read("kind") === "tags" ? "tags" : "concepts",
  count: memory.read("count") || (innerWidth < 768 ? 8 : 15),
  span: memory.read("span") || 60,
  theme: memory.read("theme") || "auto",
  shortcuts: memory.read("shortcuts") !== false,
  frozen: null, // {stream, edge, time}: what the display stands still at
  cursor: null, // {part} of the width under a pointer, or {time} by keys
  order: [],
  present: [],
  ranked: -Infinity,
  busy: -Infinity,
  shown: null,
};

const { ingest, senders, updateIngest, addSenderListeners } = createSenders({
  ...{ $, address, choose, clamp, link, option, plural, put, announce, seconds, timecode },
  ...{ HANDSHAKE_S, MAX_WAIT_S },
});

// --- incoming messages ---------------------------------------------------------------------------------------------------
const kinds = new Map([
  ["hello", onHello],
  ["frame", onFrame],
  ["event", onEvent],
  ["gap", onGap],
  ["end", onEnd],
  ["error", onError],
]);
const number = (value) => {
  if (!Number.isFinite(value)) throw new TypeError("not a number");
  return value;
};
const text = (value) => {
  if (typeof value !== "string") throw new TypeError("not a text");
  return value;
};

/** In the order of the labels; NaN where no value came. */
function perLabel(tags, concepts = {}) {
  for (const values of [tags, concepts])
    if (typeof values !== "object" || values === null) throw new TypeError("no probabilities");
  return hello.labels.map((name, label) => {
    const values = label < hello.tagCount ? tags : concepts;
    return Object.hasOwn(values, name) && typeof values[name] === "number" ? values[name] : NaN;
  });
}

/** The columns of the labels that are shown: the concepts, or the tags where the reader or an older server wants it. */
function shownLabels() {
  const tags = showsTags();
  return hello.labels.map((_, label) => label).filter((label) => label < hello.tagCount === tags);
}

const hasConcepts = () => hello.labels.length > hello.tagCount;
const showsTags = () => view.kind === "tags" || !hasConcepts();
const columnOf = (name) => (showsTags() ? tagIndex : conceptIndex).get(name);

function receive(data) {
  if (typeof data !== "string" || data.length > MAX_MESSAGE_CHARS) return;
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return;
  }
  if (typeof message?.type !== "string") return;
  link.lastMessageAt = seconds();
  try {
    kinds.get(message.type)?.(message);
  } catch (error) {
    if (error instanceof TypeError) return;
    throw error;
  } // not what its type promises
  session.keep(data, message.type === "hello");
}

function onHello(message) {
  if (number(message.protocol) !== PROTOCOL) {
    link.why = `The server speaks protocol ${message.protocol}, this page protocol ${PROTOCOL}: reload it.`;
    link.socket.close();
    return;
  }
  if (!Array.isArray(message.tags)) throw new TypeError("no tags");
  const tags = message.tags.map(text),
    concepts = message.concepts ?? [];
  if (!Array.isArray(concepts)) throw new TypeError("no concepts");
  const labels = [...tags, ...concepts.map((concept) => text(concept?.name))];
  const thresholds = [
    ...(message.thresholds ?? tags.map(() => 0.5)).map(number),
    ...concepts.map((concept) => (concept.threshold === null ? Infinity : number(concept.threshold))),
  ];
  const same =
    tags.length === hello.tagCount &&
    labels.length === hello.labels.length &&
    labels.every((name, label) => name === hello.labels[label]);
  hello = {
    labels,
    tagCount: tags.length,
    thresholds,
    hop_s: number(message.hop_s),
    lookahead_s: number(message.lookahead_s),
    model: text(message.model),
    server: text(message.server),
  };
  link.tries = 0;
  link.why = "";
  if (!same) otherModel();
  showKind();
  for (const stream of streams.values()) stream.blind = true;
  $("model").textContent = hello.model;
  $("model").title = hello.server;
  updateIngest();
  refresh();
}

function otherModel() {
  tagIndex = new Map(hello.labels.slice(0, hello.tagCount).map((name, label) => [name, label]));
  conceptIndex = new Map(hello.labels.slice(hello.tagCount).map((name, place) => [name, hello.tagCount + place]));
  streams.clear();
  rows.length = 0;
  view.order = [];
  view.present = [];
  view.frozen = view.cursor = null;
  view.ranked = -Infinity;
  $("rows").replaceChildren();
}

function streamOf(message) {
  const name = text(message.stream);
  let stream = streams.get(name);
  if (!stream) {
    if (streams.size >= MAX_STREAMS) forgetOne();
    streams.set(name, (stream = new Stream(name, hello.labels.length)));
  }
  return stream;
}

function forgetOne() {
  const others = [...streams.values()].filter((stream) => stream !== current());
  others.sort((a, b) => a.arrived - b.arrived);
  if (others.length) streams.delete(others[0].name);
}

function onFrame(message) {
  const index = number(message.frame),
    time = (number(message.start) + number(message.end)) / 2;
  const values = perLabel(message.tags, message.concepts);
  let stream = streamOf(message);
  const again = index === stream.frame && !stream.ended && Math.abs(time - stream.history.end) < 1e-3;
  if (again) return; // the latest frame, sent again after a reconnect
  if (stream.ended || index <= stream.frame || (time <= stream.history.end && stream.history.length))
    streams.set(stream.name, (stream = new Stream(stream.name, hello.labels.length)));
  const passed = stream.history.length ? time - stream.history.end : Infinity;
  if (hasConcepts()) followTags(stream, values, passed);
  if (stream.blind) {
    hello.labels.forEach((_, label) => {
      stream.on[label] = values[label] >= hello.thresholds[label] ? 1 : 0;
    });
    stream.blind = false;
  }
  rank(stream, values, passed);
  stream.history.append(time, values, stream.on);
  stream.frame = index;
  stream.frames++;
  stream.arrived = seconds();
  stream.trouble = "";
  if (Number.isFinite(message.dropped)) stream.dropped += message.dropped;
  stream.latencies.push(Number.isFinite(message.latency_s) ? message.latency_s : NaN);
  if (stream.latencies.length * hello.hop_s > 60) stream.latencies.shift();
  refresh();
}

/** Slow means decide the order of the rows, so that it holds still. */
function rank(stream, values, passed) {
  const keep = Math.exp(-passed / 3);
  values.forEach((value, tag) => {
    if (value === value) stream.rank[tag] = keep * stream.rank[tag] + (1 - keep) * value;
  });
}

/** Events are about concepts: which tags are present follows from their values, as the server does it for concepts. */
function followTags(stream, values, passed) {
  const keep = Math.exp(-passed / 0.5);
  for (let tag = 0; tag < hello.tagCount; tag++) {
    if (values[tag] !== values[tag]) continue;
    stream.smooth[tag] = keep * stream.smooth[tag] + (1 - keep) * values[tag];
    stream.on[tag] = stream.smooth[tag] > hello.thresholds[tag] * (stream.on[tag] ? 0.7 : 1) ? 1 : 0;
  }
}

function onEvent(message) {
  const stream = streamOf(message),
    isTag = message.concept === undefined, // from before concepts
    tag = isTag ? tagIndex.get(message.tag) : conceptIndex.get(message.concept),
    on = message.state === "on" ? 1 : 0;
  if (tag === undefined) return;
  stream.on[tag] = on;
  for (
    let frame = stream.history.last;
    frame >= 0 && stream.history.times[frame] >= number(message.time) - 1e-3;
    frame--
  )
    stream.history.present[frame * stream.history.size + tag] = on;
  if (stream === current() && !stream.ended && isTag === showsTags()) announceTag(hello.labels[tag], on);
  refresh();
}

function onGap(message) {
  const stream = streamOf(message);
  stream.gaps++;
  stream.lost += number(message.lost_s);
  stream.history.gaps.push({ start: number(message.start), lost: message.lost_s });
  if (stream.history.gaps.length > MAX_GAPS) stream.history.gaps.shift();
  notices.gap = {
    stream,
    text: `${message.lost_s.toFixed(1)} s of sound were lost at ${timecode(message.start)}.`,
    until: seconds() + 6,
  };
  refresh();
}

function onEnd(message) {
  const stream = streamOf(message);
  stream.ended = { seconds: number(message.seconds), means: perLabel(message.summary, message.concepts) };
  if (stream === current()) {
    view.ranked = -Infinity;
    announce(`${stream.name} ended`);
  }
  refresh();
}

function onError(message) {
  const words = text(message.message).slice(0, 300);
  if (typeof message.stream === "string") {
    streamOf(message).trouble = words;
  } else notices.error = { text: words, until: seconds() + 15 };
  refresh();
}

// --- the connection ------------------------------------------------------------------------------------------------
function address(scheme, page) {
  const url = new URL(page, location.href);
  url.protocol = location.protocol === "https:" ? `${scheme}s:` : `${scheme}:`;
  url.search = query.get("token") === null ? "" : `?token=${encodeURIComponent(query.get("token"))}`;
  url.hash = "";
  return url;
}

function connect() {
  clearTimeout(link.timer);
  const socket = new WebSocket(address("ws", "./"));
  const late = setTimeout(() => socket.close(), HANDSHAKE_S * 1000);
  let opened = false;
  link.socket = socket;
  link.lastMessageAt = seconds();
  if (link.state !== "open") link.state = "connecting";
  socket.onopen = () => {
    clearTimeout(late);
    opened = true;
    link.state = "open";
    refresh();
  };
  socket.onmessage = (event) => {
    if (socket === link.socket) receive(event.data);
  };
  socket.onclose = (event) => {
    clearTimeout(late);
    if (socket === link.socket) onClose(event, opened);
  };
  status();
}

function onClose(event, opened) {
  const wait = Math.min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** Math.min(link.tries++, 10)) * (0.8 + 0.4 * Math.random());
  link.socket = null;
  link.state = "away";
  link.due = seconds() + wait;
  link.timer = setTimeout(connect, wait * 1000);
  if (event.code === 1013) link.why = "The server closed the connection: this page read too slowly.";
  else if (event.code === 1001 || event.code === 1012) link.why = "The server was stopped.";
  else if (event.reason) link.why ||= `The server closed the connection: ${event.reason}.`;
  else if (!opened) explainFailure();
  refresh();
}

/** A browser hides why a handshake failed; a plain HTTP request to the same port shows it. */
async function explainFailure() {
  let why = "";
  try {
    const answer = await fetch(address("http", "metrics"), {
      signal: AbortSignal.timeout(3000),
      cache: "no-store",
      credentials: "same-origin",
    });
    why =
      answer.status === 401 || answer.status === 403
        ? "The server wants a token: add ?token=… to this page's address."
        : "The server answers, but accepts no more connections.";
  } catch {
    /* nobody there */
  }
  if (link.state !== "open") {
    link.why = why;
    refresh();
  }
}

function reconnectNow() {
  link.tries = 0;
  link.socket?.close();
  link.socket = null;
  connect();
}

/** Reconnect after a long time without a message: a dead connection is not reported. */
function reconnectIfSilent() {
  if (link.state !== "open" || seconds() - link.lastMessageAt < SILENT_CONNECTION_S) return;
  const old = link.socket;
  connect();
  old.close();
}

// --- choice of the stream --------------------------------------------------------------------------------------------------
/** The chosen stream; else one that plays, and the same as long as it does. */
function current() {
  if (view.frozen) return view.frozen.stream;
  if (view.chosen !== null) return streams.get(view.chosen) ?? null;
  if (view.shown && streams.get(view.shown.name) === view.shown && view.shown.live) return view.shown;
  const all = [...streams.values()].filter((stream) => stream.frames);
  const live = all.filter((stream) => stream.live);
  return newest(live.length ? live : all, live.length ? "began" : "arrived") ?? null;
}

const newest = (list, key) =>
  list.reduce((best, stream) => (!best || stream[key] > best[key] ? stream : best), undefined);

function choose(name) {
  view.chosen = name;
  ingest.follow = false; // streams sent later no longer change the view
  view.frozen = view.cursor = null;
  view.ranked = -Infinity;
  refresh();
}

function nextStream() {
  const names = [...streams.keys()];
  if (names.length) choose(names[(names.indexOf(current()?.name) + 1) % names.length]);
}

function showPicker(stream) {
  const picker = $("stream"),
    names = [...streams.keys()];
  if (view.chosen !== null && !streams.has(view.chosen)) names.push(view.chosen);
  const labels = names.map((name) => {
    const found = streams.get(name);
    return !found ? `${name} (waiting)` : found.ended ? `${name} (ended)` : name;
  });
  const auto = stream && view.chosen === null ? `Whatever plays: ${stream.name}` : "Whatever plays";
  const key = JSON.stringify([auto, labels, view.chosen]);
  if (picker.dataset.key === key) return;
  picker.dataset.key = key;
  picker.replaceChildren(
    option("auto", auto),
    ...names.map((name, index) => option(`stream ${name}`, labels[index])),
  );
  picker.value = view.chosen === null ? "auto" : `stream ${view.chosen}`;
}

function option(value, label) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = label;
  return made;
}

// --- rows: choice and order of the labels --------------------------------------------------------------------------
const rows = []; // by column of the label: the elements of a row

function rowOf(tag) {
  if (rows[tag]) return rows[tag];
  const item = $("row").content.firstElementChild.cloneNode(true),
    part = (name) => item.querySelector(name);
  const row = {
    item,
    name: part(".name"),
    bar: part(".bar"),
    fill: part(".fill"),
    mark: part(".mark"),
    value: part(".value"),
    lane: part(".lane"),
  };
  part(".tag").textContent = hello.labels[tag];
  item.dataset.tag = hello.labels[tag];
  row.name.title = `${hello.labels[tag]}: pin it to the top, or let it go`;
  row.bar.setAttribute("aria-label", hello.labels[tag]);
  row.mark.hidden = hello.thresholds[tag] === Infinity; // never present, for lack of evidence
  row.mark.style.left = `${100 * Math.min(1, hello.thresholds[tag])}%`;
  row.mark.title = `present from ${hello.thresholds[tag].toFixed(2)} on`;
  row.name.onclick = () => pin(hello.labels[tag]);
  row.lane.onpointermove = row.lane.onpointerdown = (event) => onPointerMove(event, tag);
  row.lane.onpointerleave = onPointerLeave;
  return (rows[tag] = row);
}

function pin(name) {
  view.pins = view.pins.includes(name) ? view.pins.filter((other) => other !== name) : [...view.pins, name];
  memory.write("pins", view.pins);
  view.ranked = -Infinity;
  refresh();
}

function filterMatches() {
  const words = view.filter
    .toLowerCase()
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
  return (name) => !words.length || words.some((word) => name.toLowerCase().includes(word));
}

/** Pinned labels, then the strongest; who is there stays until clearly beaten, so that rows hold still. */
function orderFor(stream) {
  const fits = filterMatches(),
    pinned = view.pins.map(columnOf).filter((tag) => tag !== undefined);
  const pool = shownLabels().filter((tag) => !pinned.includes(tag) && fits(hello.labels[tag]));
  const weights = stream?.ended ? stream.ended.means : stream?.rank,
    weight = (tag) => weights?.[tag] || 0,
    was = view.order.filter((tag) => pool.includes(tag));
  const score = (tag) => weight(tag) + (was.includes(tag) ? 0.03 : 0);
  const chosen = new Set(
    [...pool].sort((a, b) => score(b) - score(a)).slice(0, Math.max(0, view.count - pinned.length)),
  );
  const order = [...was.filter((tag) => chosen.has(tag)), ...[...chosen].filter((tag) => !was.includes(tag))];
  return [...pinned, ...stableOrder(order, weight, was.length ? 0.05 : 0)];
}

/** The heavier first, but neighbours change places only for more than `margin`. */
function stableOrder(order, weight, margin) {
  for (let moved = true; moved;) {
    moved = false;
    for (let index = 1; index < order.length; index++)
      if (weight(order[index]) > weight(order[index - 1]) + margin) {
        [order[index - 1], order[index]] = [order[index], order[index - 1]];
        moved = true;
      }
  }
  return order;
}

function arrange(stream) {
  const now = seconds(),
    forced = view.ranked === -Infinity;
  if (!forced && (view.frozen || view.cursor || now - view.ranked < 1.5 || now - view.busy < 4)) return;
  view.ranked = now;
  const order = orderFor(stream);
  if (order.length === view.order.length && order.every((tag, index) => tag === view.order[index])) return showPins();
  layOut(order);
  showPins();
}

/** Moves the rows to their new places, each gliding from where it was. */
function layOut(order) {
  const list = $("rows"),
    focus = document.activeElement,
    tops = new Map();
  for (const tag of view.order) tops.set(tag, rows[tag].item.offsetTop);
  view.order = order;
  list.replaceChildren(...order.map((tag) => rowOf(tag).item));
  if (!order.length && hello.labels.length) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = `No ${showsTags() ? "tag" : "concept"} has “${view.filter.trim()}” in its name.`;
    list.append(none);
  }
  list.style.minHeight = `calc(${Math.min(view.count, shownLabels().length || view.count)} * var(--row))`;
  if (list.contains(focus) && focus !== document.activeElement) focus.focus({ preventScroll: true });
  if (calm.matches || document.hidden) return;
  for (const tag of order) {
    const before = tops.get(tag),
      item = rows[tag].item;
    if (before === undefined) item.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300 });
    else if (before !== item.offsetTop)
      item.animate([{ transform: `translateY(${before - item.offsetTop}px)` }, { transform: "none" }], {
        duration: 450,
        easing: "ease-in-out",
      });
  }
}

function showPins() {
  for (const tag of view.order)
    rows[tag].name.setAttribute("aria-pressed", String(view.pins.includes(hello.labels[tag])));
}

// --- time axis ------------------------------------------------------------------------------------------
/** The stream time that plays now: it runs on between two frames, never further than the newest. */
function playhead(stream) {
  if (!stream?.history.length) return 0;
  const end = stream.history.end + hello.hop_s / 2;
  if (!stream.live || calm.matches) return end;
  return end - Math.max(0, hello.hop_s - (seconds() - stream.arrived));
}

/** The time at the right edge: the picture fills from the left, then it scrolls. */
function edgeOf(stream) {
  if (view.frozen) return view.frozen.edge;
  const start = stream?.history.length ? Math.max(0, stream.history.times[0] - hello.hop_s / 2) : 0;
  return Math.max(playhead(stream), start + view.span);
}

function cursorTime(stream) {
  if (!view.cursor || !stream?.history.length) return null;
  return view.cursor.time ?? edgeOf(stream) - (1 - view.cursor.part) * view.span;
}

/** The frame whose values are shown; -1: none. */
function shownFrame(stream) {
  if (!stream?.history.length) return -1;
  const time = cursorTime(stream) ?? view.frozen?.time;
  if (view.frozen && time > view.frozen.time + hello.hop_s) return -1; // not yet, on the frozen picture
  return time === undefined || time === null
    ? stream.history.last
    : stream.history.nearest(time, view.cursor ? hello.hop_s : Infinity);
}

// --- painting ------------------------------------------------------------------------------------------------------
const theme = () => document.documentElement.dataset.theme;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
let paint = {}; // the theme's colours, looked up once

function mixColours(stops, part) {
  const at = part * (stops.length - 1),
    left = Math.min(Math.floor(at), stops.length - 2),
    share = at - left;
  const channel = (stop, k) => parseInt(stop.slice(1 + 2 * k, 3 + 2 * k), 16);
  return [0, 1, 2].map((k) =>
    Math.round((1 - share) * channel(stops[left], k) + share * channel(stops[left + 1], k)),
  );
}

function loadColours() {
  const stops = RAMPS[theme()],
    table = new Uint32Array(256);
  for (let level = 0; level < 256; level++) {
    const [red, green, blue] = mixColours(stops, (level / 255) ** GAMMA);
    table[level] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  paint = {
    table,
    paper: colour("paper"),
    lane: colour("lane"),
    ink: colour("ink"),
    soft: colour("soft"),
    on: colour("on"),
    warn: colour("warn"),
    edge: colour("edge"),
    font: colour("font"),
  };
  paint.hatch = hatch(paint.warn, paint.paper);
  $("legend").firstElementChild.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
}

function hatch(ink, paper) {
  const tile = document.createElement("canvas"),
    size = (tile.width = tile.height = 8),
    pen = tile.getContext("2d");
  pen.fillStyle = paper;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = ink;
  pen.lineWidth = 2;
  pen.lineCap = "square";
  for (const x of [-size, 0, size]) {
    pen.beginPath();
    pen.moveTo(x, size);
    pen.lineTo(x + size, 0);
    pen.stroke();
  }
  return tile;
}

/**
 * Which frames each of `width` columns shows, the last ending at `edge`: from, to, and the way between (2: the mean).
 * Columns stand on a grid of time, so that a scrolled picture is the same picture. Nothing after `until` is shown.
 */
function columnsOf(history, edge, width, span, until = Infinity) {
  const step = span / width,
    last = Math.round(edge / step),
    reach = 0.75 * hello.hop_s;
  const columns = {
    width,
    step,
    start: (last - width) * step,
    from: new Int32Array(width).fill(-1),
    to: new Int32Array(width),
    part: new Float32Array(width),
  };
  columns.until = until;
  if (!history?.length) return columns;
  const { times } = history,
    length = history.before(until) + 1;
  let frame = Math.min(history.before(columns.start), length - 1);
  for (let x = 0; x < width; x++) {
    const time = columns.start + (x + 0.5) * step;
    const first = frame + 1;
    while (frame + 1 < length && times[frame + 1] <= (step > hello.hop_s ? time + step / 2 : time)) frame++;
    if (step > hello.hop_s && frame >= first) {
      columns.from[x] = first;
      columns.to[x] = frame;
      columns.part[x] = 2;
      continue;
    }
    const next = frame + 1;
    if (frame >= 0 && next < length && times[next] - times[frame] < 1.6 * hello.hop_s) {
      columns.from[x] = frame;
      columns.to[x] = next;
      columns.part[x] = (time - times[frame]) / (times[next] - times[frame]);
    } else if (frame >= 0 && time - times[frame] < reach) columns.from[x] = columns.to[x] = frame;
    else if (next < length && times[next] - time < reach) columns.from[x] = columns.to[x] = next;
  }
  return columns;
}

const strip = document.createElement("canvas"); // one line of pixels a tag: stretched into the lanes

function fillStrip(history, columns, tags) {
  strip.width = columns.width;
  strip.height = Math.max(1, tags.length);
  const pen = strip.getContext("2d"),
    image = pen.createImageData(strip.width, strip.height),
    pixels = new Uint32Array(image.data.buffer);
  tags.forEach((tag, line) => {
    for (let x = 0; x < columns.width; x++) {
      const from = columns.from[x],
        to = columns.to[x],
        part = columns.part[x];
      if (from < 0) continue;
      let value = history.value(from, tag);
      if (part === 2) {
        for (let frame = from + 1; frame <= to; frame++) value += history.value(frame, tag);
        value /= to - from + 1;
      } else if (part > 0) value += part * (history.value(to, tag) - value);
      if (value === value) pixels[line * columns.width + x] = paint.table[clamp(Math.round(value * 255), 0, 255)];
    }
  });
  pen.putImageData(image, 0, 0);
}

/** One lane: the strip's line, what was lost, and below where the tag is present. */
function paintLane(pen, history, columns, line, tag, box, scale) {
  const { x, y, width, height } = box,
    foot = Math.max(2, Math.round(2 * scale));
  pen.imageSmoothingEnabled = false;
  pen.drawImage(strip, 0, line, columns.width, 1, x, y, width, height - foot - Math.round(scale));
  if (!history) return;
  paintGaps(pen, history, columns, box);
  pen.fillStyle = paint.on;
  let since = -1;
  for (let column = 0; column <= columns.width; column++) {
    const there =
      column < columns.width &&
      columns.from[column] >= 0 &&
      history.present[columns.from[column] * history.size + tag];
    if (there && since < 0) since = column;
    if (!there && since >= 0) {
      pen.fillRect(
        x + (since * width) / columns.width,
        y + height - foot,
        ((column - since) * width) / columns.width,
        foot,
      );
      since = -1;
    }
  }
}

function paintGaps(pen, history, columns, { x, y, width, height }) {
  const seen = columns.step * columns.width;
  for (const gap of history.gaps) {
    const left = (gap.start - columns.start) / seen,
      right = (gap.start + gap.lost - columns.start) / seen;
    if (right < 0 || left > 1 || gap.start > columns.until) continue;
    const from = Math.round(x + clamp(left, 0, 1) * width),
      to = Math.round(x + clamp(right, 0, 1) * width);
    pen.fillStyle = pen.createPattern(paint.hatch, "repeat");
    pen.fillRect(from, y, Math.max(3, to - from), height);
  }
}

function paintAxis(pen, columns, { x, y, width }, scale) {
  const seen = columns.step * columns.width,
    few = Math.max(2, width / scale / 75);
  const tick = STEPS.find((step) => seen / step <= few) ?? 900;
  pen.font = `${12 * scale}px ${paint.font}`;
  pen.textBaseline = "top";
  pen.fillStyle = paint.soft;
  for (
    let time = Math.ceil(Math.max(0, columns.start - 1e-6) / tick) * tick;
    time <= columns.start + seen + 1e-6;
    time += tick
  ) {
    const at = x + ((time - columns.start) / seen) * width,
      label = timecode(time),
      half = pen.measureText(label).width / 2;
    pen.fillRect(Math.min(Math.round(at), x + width - scale), y, Math.max(1, scale), 5 * scale);
    if (at + half < x) continue;
    pen.fillText(label, clamp(at - half, x, x + width - 2 * half), y + 9 * scale);
  }
}

/** A canvas as many pixels large as the screen shows of it. -> its pen, or null where there is no room. */
function fitCanvas(canvas, width, height, clear = true) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d");
  if (clear) pen.clearRect(0, 0, width, height);
  return pen;
}

let size = { width: 0, lane: 0, axis: 0, scale: 1, left: 0 }; // of a lane, in device pixels

function measure() {
  const time = $("time").getBoundingClientRect(),
    scale = devicePixelRatio || 1,
    board = $("board").getBoundingClientRect();
  const lane = view.order.length ? rows[view.order[0]].lane.clientHeight : 0;
  size = {
    width: Math.max(1, Math.round(time.width * scale)),
    lane: Math.round(lane * scale),
    axis: Math.round(time.height * scale),
    scale,
    left: time.left - board.left,
    css: time.width,
  };
}

function paintBoard(stream) {
  const history = stream?.history,
    edge = edgeOf(stream),
    columns = columnsOf(history, edge, size.width, view.span, view.frozen?.time);
  fillStrip(history, columns, view.order);
  view.order.forEach((tag, line) => {
    const pen = fitCanvas(rows[tag].lane, size.width, size.lane);
    paintLane(pen, history, columns, line, tag, { x: 0, y: 0, width: size.width, height: size.lane }, size.scale);
  });
  paintAxis(
    fitCanvas($("axis"), size.width, size.axis),
    columns,
    { x: 0, y: 2 * size.scale, width: size.width, height: size.axis },
    size.scale,
  );
  showCursor(stream, columns);
}

function showCursor(stream, columns) {
  const time = cursorTime(stream),
    line = $("cursor");
  line.hidden = time === null;
  if (time === null) return;
  const at = ((time - columns.start) / view.span) * size.css,
    stage = $("rows").parentElement;
  line.hidden = at < -1 || at > size.css + 1;
  line.style.left = `${size.left + at}px`;
  line.style.top = `${stage.offsetTop}px`;
  line.style.height = `${stage.offsetHeight}px`;
  const frame = shownFrame(stream),
    tag = view.cursor.tag,
    gap = stream.history.gaps.find((gap) => time >= gap.start && time <= gap.start + gap.lost);
  const value =
    frame >= 0 && tag !== undefined ? ` · ${hello.labels[tag]} ${formatValue(stream.history.value(frame, tag))}` : "";
  const bubble = $("bubble");
  bubble.textContent =
    timecode(frame < 0 ? time : stream.history.times[frame], true) +
    (gap ? ` · ${gap.lost.toFixed(1)} s of sound lost` : frame < 0 ? " · nothing came" : value);
  const half = bubble.offsetWidth / 2,
    room = size.left + at;
  bubble.style.transform = `translateX(${clamp(-half, -room, $("board").offsetWidth - room - 2 * half)}px)`;
}

// --- text -----------------------------------------------------------------------------------------
const formatValue = (value) => (value === value && value !== undefined ? value.toFixed(2) : "–");
const notices = { gap: null, error: null };

function showRows(stream) {
  const frame = shownFrame(stream),
    past = view.cursor && stream,
    means = stream?.ended && !past && !view.frozen ? stream.ended.means : null;
  for (const tag of view.order) {
    const row = rows[tag],
      value = means ? means[tag] : frame < 0 ? NaN : stream.history.value(frame, tag);
    const on = means
      ? means[tag] >= hello.thresholds[tag]
      : frame >= 0 && Boolean(stream.history.present[frame * stream.history.size + tag]);
    const known = value === value,
      shown = clamp(known ? value : 0, 0, 1);
    row.fill.style.transform = `translateX(${100 * shown - 100}%)`;
    row.value.textContent = formatValue(value);
    row.item.classList.toggle("on", on);
    row.bar.setAttribute("aria-valuenow", shown.toFixed(4));
    row.bar.setAttribute("aria-valuetext", `${known ? value.toFixed(2) : "unknown"}${on ? ", present" : ""}`);
  }
  $("now").textContent = means
    ? "mean"
    : past
      ? frame < 0
        ? timecode(cursorTime(stream), true)
        : `at ${timecode(stream.history.times[frame], true)}`
      : view.frozen
        ? `at ${timecode(view.frozen.time, true)}`
        : "now";
  showPresent(stream, frame, means);
  showSlider(stream, frame);
}

function showPresent(stream, frame, means) {
  const list = $("present"),
    there = (tag) =>
      means
        ? means[tag] >= hello.thresholds[tag]
        : frame >= 0 && stream.history.present[frame * stream.history.size + tag];
  const weight = (tag) =>
    means ? means[tag] : view.cursor || view.frozen ? stream.history.value(frame, tag) : stream.rank[tag];
  const tags = stream ? shownLabels().filter(there) : [];
  view.present = stableOrder(
    [...view.present.filter((tag) => tags.includes(tag)), ...tags.filter((tag) => !view.present.includes(tag))],
    weight,
    0.1,
  );
  const names = view.present.map((tag) => hello.labels[tag]),
    words = names.length ? names : [stream ? "nothing for certain" : "–"],
    key = JSON.stringify(words);
  put($("present-title"), stream?.ended && means ? "Average" : "Present now");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(
    ...words.map((word) => {
      const item = document.createElement("li");
      item.textContent = word;
      item.className = names.length ? "" : "nothing";
      return item;
    }),
  );
}

function showSlider(stream, frame) {
  const slider = $("time"),
    history = stream?.history;
  const times = history?.length
    ? [history.times[0], history.end, frame < 0 ? history.end : history.times[frame]]
    : [0, 0, 0];
  ["aria-valuemin", "aria-valuemax", "aria-valuenow"].forEach((name, k) =>
    slider.setAttribute(name, times[k].toFixed(2)),
  );
  const best =
    frame < 0
      ? []
      : view.order
          .map((tag) => [history.value(frame, tag), hello.labels[tag]])
          .filter(([value]) => value === value)
          .sort((a, b) => b[0] - a[0])
          .slice(0, 3);
  const words = best.map(([value, name]) => `${name} ${value.toFixed(2)}`).join(", ");
  slider.setAttribute("aria-valuetext", `${timecode(times[2], true)}: ${words || "nothing"}`);
}

function showStats(stream) {
  const known = (stream?.latencies ?? []).filter((value) => value === value).sort((a, b) => a - b);
  const at = (part) => Math.round(1000 * known[Math.min(known.length - 1, Math.floor(part * known.length))]);
  $("latency").textContent = known.length
    ? `${at(0.5)} / ${at(0.95)} ms`
    : stream?.frames
      ? "not a live source"
      : "–";
  $("gaps").textContent = stream?.gaps ? `${stream.gaps} (${stream.lost.toFixed(1)} s lost)` : "0";
  $("dropped").textContent = String(stream?.dropped ?? 0);
  $("frames").textContent = (stream?.frames ?? 0).toLocaleString("en");
  $("kept").textContent = `${session.count.toLocaleString("en")} (${(session.size / 2 ** 20).toFixed(1)}\u00a0MB)`;
  $("clock").textContent = timecode(
    !stream
      ? 0
      : view.frozen
        ? view.frozen.time
        : stream.ended
          ? stream.ended.seconds
          : Math.max(0, playhead(stream)),
  );
}

/** -> [kind, words] of the connection and the stream in it. */
function stateOf(stream) {
  if (link.state === "away") return ["away", `retry in ${Math.max(0, Math.ceil(link.due - seconds()))} s`];
  if (link.state === "connecting") return ["connecting", "connecting"];
  if (!stream?.frames) return ["waiting", "waiting"];
  if (view.frozen) return ["frozen", "frozen"];
  if (stream.ended) return ["ended", "ended"];
  return stream.stalled ? ["stalled", "stalled"] : ["live", "live"];
}

function noticeOf(stream, kind) {
  const now = seconds();
  if (kind === "away") return ["bad", link.why || (hello.labels.length ? "The server does not answer." : "")];
  if (stream?.trouble) return ["warn", stream.trouble];
  if (notices.error && now < notices.error.until) return ["bad", notices.error.text];
  if (kind === "stalled")
    return ["warn", `No frame for ${Math.floor(now - stream.arrived)} s: has the sound stopped coming?`];
  if (notices.gap?.stream === stream && now < notices.gap.until) return ["warn", notices.gap.text];
  if (kind === "frozen") return ["", "The stream goes on behind the frozen picture: Space lets it run."];
  return ["", ""];
}

/** Cheap, and often enough for a countdown. */
function status() {
  const stream = current(),
    [kind, words] = stateOf(stream),
    [tone, notice] = noticeOf(stream, kind);
  put($("state"), words);
  $("state").dataset.state = kind;
  put($("freeze"), view.frozen ? "Go on" : "Freeze");
  $("freeze").setAttribute("aria-pressed", String(Boolean(view.frozen)));
  put($("notice"), notice);
  $("notice").dataset.kind = tone;
  $("retry").hidden = kind !== "away";
  showEmpty(stream);
  reconnectIfSilent();
}

/** Set the text only if it changed: a screen reader would read it again. */
function put(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function showEmpty(stream) {
  $("empty").hidden = Boolean(stream?.frames);
  $("rows").inert = !$("empty").hidden;
  if ($("empty").hidden) return;
  const waiting = link.state === "open";
  put($("empty-title"), waiting ? "Waiting for a stream" : link.state === "away" ? "No connection" : "Connecting");
  put(
    $("empty-text"),
    !waiting
      ? link.why ||
          "The server does not answer. This page goes on trying; to start it, for instance with a microphone:"
      : view.chosen !== null
        ? `The server has no stream named “${view.chosen}” yet.`
        : ingest.health
          ? `Nothing plays yet. Tag your microphone or a file with the buttons above${droppable}.`
          : "The server is there, but nothing plays yet. The first results come within a second of the first sound.",
  );
  const here = ["127.0.0.1", "localhost"].includes(location.hostname);
  put($("empty-code"), `streamtag listen --serve ${here ? location.port : location.host}`);
  $("empty-code").hidden = link.state !== "away" || Boolean(link.why);
}

const announcements = { changes: new Map(), words: [], timer: 0 };

function announceTag(tag, on) {
  announcements.changes.set(tag, on);
  announce();
}

/** Announce changes to screen readers together, at most every five seconds. */
function announce(words) {
  if (words) announcements.words.push(words);
  announcements.timer ||= setTimeout(() => {
    const list = (on) =>
      [...announcements.changes]
        .filter((change) => change[1] === on)
        .map((change) => change[0])
        .slice(0, 6)
        .join(", ");
    const parts = [list(1) && `on: ${list(1)}`, list(0) && `off: ${list(0)}`, ...announcements.words].filter(Boolean);
    $("announcer").textContent = parts.join("; ");
    announcements.changes.clear();
    announcements.words = [];
    announcements.timer = 0;
  }, 5000);
}

// --- redrawing -----------------------------------------------------------------------------------------
let planned = 0,
  sleeping = 0;

function refresh() {
  planned ||= requestAnimationFrame(show);
}

/** Redraw everything, and again when the picture has moved by a pixel. */
function show() {
  planned = 0;
  clearTimeout(sleeping);
  const stream = current();
  if (stream !== view.shown) {
    view.shown = stream;
    view.ranked = -Infinity;
    document.title = stream ? `${stream.name} · streamtag` : "streamtag";
  }
  showPicker(stream);
  arrange(stream);
  measure();
  showRows(stream);
  showStats(stream);
  paintBoard(stream);
  status();
  if (stream?.live && !view.frozen && !calm.matches)
    sleeping = setTimeout(scroll, clamp((1000 * view.span) / size.width, 16, 250));
}

function scroll() {
  requestAnimationFrame(() => {
    clearTimeout(sleeping);
    const stream = view.shown;
    if (planned || !stream) return;
    if (playhead(stream) > view.span || view.cursor) paintBoard(stream);
    if (view.cursor) showRows(stream);
    put(
      $("clock"),
      view.frozen
        ? $("clock").textContent
        : timecode(Math.max(0, stream.ended ? stream.ended.seconds : playhead(stream))),
    );
    if (stream.live && !view.frozen && seconds() - stream.arrived < 2 * hello.hop_s)
      sleeping = setTimeout(scroll, clamp((1000 * view.span) / size.width, 16, 250));
  });
}

function freeze() {
  const stream = current();
  if (view.frozen) {
    view.frozen = null;
    view.ranked = -Infinity;
  } else if (stream?.history.length) view.frozen = { stream, edge: edgeOf(stream), time: stream.history.end };
  refresh();
}

// --- cursor ------------------------------------------------------------------------------------------
function onPointerMove(event, tag) {
  const box = event.currentTarget.getBoundingClientRect();
  view.cursor = { part: clamp((event.clientX - box.left) / box.width, 0, 1), tag };
  refresh();
}

function onPointerLeave(event) {
  if (event.pointerType === "mouse") clearCursor();
} // a finger's mark stays until the next tap

function clearCursor() {
  if (view.cursor) {
    view.cursor = null;
    refresh();
  }
}

function moveCursor(key) {
  const stream = current(),
    history = stream?.history;
  if (!history?.length) return;
  const at = cursorTime(stream) ?? view.frozen?.time ?? history.end,
    jump = {
      ArrowLeft: -hello.hop_s,
      ArrowRight: hello.hop_s,
      PageUp: -10,
      PageDown: 10,
      Home: -Infinity,
      End: Infinity,
    }[key];
  const left = Math.max(history.times[0], edgeOf(stream) - view.span),
    right = view.frozen?.time ?? history.end;
  view.cursor = { time: history.times[history.nearest(clamp(at + jump, left, right))] };
  refresh();
}

// --- downloads -----------------------------------------------------------------------------------------------------
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const fileName = (stream) =>
  (stream?.name ?? "")
    .replace(/[^\p{L}\p{N}._-]+/gu, "_")
    .replace(/^[._]+/, "")
    .slice(0, 60) || "stream";

function saveLines() {
  download(new Blob([session.text()], { type: "application/x-ndjson" }), "streamtag-session.jsonl");
  announce(`${plural(session.count, "message")} saved`);
}

function savePicture() {
  const stream = current();
  if (!stream?.history.length) return;
  const time = timecode(view.frozen?.time ?? stream.history.end).replaceAll(":", "m");
  const name = `streamtag-${fileName(stream)}-${time}s.png`;
  picture(stream).toBlob((blob) => download(blob, name), "image/png");
  announce("picture saved");
}

/** The rows and times on the screen as one picture, 1600 pixels wide. */
function picture(stream) {
  const canvas = document.createElement("canvas"),
    pitch = 34,
    top = 130,
    left = 190,
    right = 45,
    height = top + pitch * view.order.length + 70;
  canvas.width = 1600;
  canvas.height = height;
  const pen = canvas.getContext("2d"),
    width = canvas.width - left - right,
    columns = columnsOf(stream.history, edgeOf(stream), width, view.span, view.frozen?.time);
  pen.fillStyle = paint.paper;
  pen.fillRect(0, 0, canvas.width, height);
  title(pen, stream, columns, left, canvas.width - right);
  fillStrip(stream.history, columns, view.order);
  view.order.forEach((tag, line) => {
    const box = { x: left, y: top + line * pitch, width, height: pitch - 4 };
    pen.fillStyle = paint.lane;
    pen.fillRect(box.x, box.y, box.width, box.height);
    paintLane(pen, stream.history, columns, line, tag, box, 1);
    pen.fillStyle = paint.ink;
    pen.font = `16px ${paint.font}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(hello.labels[tag], left - 12, box.y + box.height / 2, left - 24);
  });
  pen.textAlign = "left";
  paintAxis(pen, columns, { x: left, y: top + pitch * view.order.length + 4, width, height: 40 }, 1.15);
  return canvas;
}

function title(pen, stream, columns, left, right) {
  const from = Math.max(0, columns.start),
    to = Math.min(columns.until, stream.history.end, columns.start + columns.step * columns.width);
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  pen.fillStyle = paint.ink;
  pen.font = `700 28px ${paint.font}`;
  pen.fillText(stream.name, left, 58, right - left - 340);
  pen.font = `16px ${paint.font}`;
  pen.fillStyle = paint.soft;
  const times = `${timecode(from)} to ${timecode(to)}`;
  pen.fillText(times, left, 92);
  pen.fillStyle = paint.on;
  pen.fillText("underlined: where a tag counts as present", left + pen.measureText(times).width + 28, 92);
  const ramp = pen.createLinearGradient(right - 280, 0, right, 0),
    stops = RAMPS[theme()];
  stops.forEach((stop, k) => ramp.addColorStop(k / (stops.length - 1), stop));
  pen.fillStyle = ramp;
  pen.fillRect(right - 280, 54, 280, 12);
  pen.fillStyle = paint.soft;
  pen.font = `13px ${paint.font}`;
  pen.textAlign = "center";
  pen.fillText("probability", right - 140, 44);
  for (const tick of TICKS) pen.fillText(String(tick), right - 280 + 280 * tick ** GAMMA, 86);
}

// --- user input ------------------------------------------------------------------------------------------
function applyTheme() {
  const chosen = view.theme === "auto" ? (darkness.matches ? "dark" : "light") : view.theme;
  document.documentElement.dataset.theme = chosen;
  $("theme").title = `Colours: ${view.theme === "auto" ? "as the system" : view.theme} (T)`;
  $("theme").setAttribute("aria-label", `Colours: ${view.theme === "auto" ? "as the system" : view.theme}`);
  loadColours();
  refresh();
}

function nextTheme() {
  const other = darkness.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  view.theme = other[(other.indexOf(view.theme) + 1) % 3];
  memory.write("theme", view.theme);
  applyTheme();
}

function setSpan(span) {
  view.span = span;
  view.cursor = null;
  if (view.frozen)
    view.frozen.edge = Math.max(
      view.frozen.time + hello.hop_s / 2,
      Math.max(0, view.frozen.stream.history.times[0]) + span,
    );
  $("span").value = String(span);
  $("past").textContent = `last ${spanName(span)}`;
  memory.write("span", span);
  refresh();
}

const spanName = (span) => (span < 60 ? `${span} s` : span === 60 ? "minute" : `${span / 60} minutes`);
const changeSpan = (by) => setSpan(SPANS[clamp(SPANS.indexOf(view.span) + by, 0, SPANS.length - 1)]);

function setFilter(words) {
  view.filter = words;
  view.ranked = -Infinity;
  refresh();
}

function fullScreen() {
  document.fullscreenElement
    ? document.exitFullscreen()
    : document.documentElement.requestFullscreen?.().catch(() => {});
}

const keys = new Map([
  [
    "/",
    () => {
      $("filter").focus();
      $("filter").select();
    },
  ],
  ["+", () => changeSpan(-1)],
  ["=", () => changeSpan(-1)],
  ["-", () => changeSpan(1)],
  ["−", () => changeSpan(1)],
  ["a", toggleKind],
  ["n", nextStream],
  ["s", savePicture],
  ["j", saveLines],
  ["t", nextTheme],
  ["f", fullScreen],
  ["?", () => $("notes").showModal()],
]);

/** Shows all tags, or concepts again. */
function toggleKind() {
  if (!hasConcepts()) return;
  view.kind = showsTags() ? "concepts" : "tags";
  memory.write("kind", view.kind);
  view.ranked = -Infinity;
  showKind();
  announce(showsTags() ? "all tags" : "concepts");
  refresh();
}

function showKind() {
  $("kind").hidden = !hasConcepts();
  $("kind").textContent = `All ${hello.tagCount} tags`;
  $("kind").setAttribute("aria-pressed", String(showsTags()));
  $("label-kind").textContent = showsTags() ? "tag" : "concept";
}

function onKey(event) {
  const target = event.target,
    typing = target.matches?.("input:not([type=checkbox])");
  if (event.ctrlKey || event.metaKey || event.altKey || $("notes").open) return;
  if (event.key === "Escape") {
    clearCursor();
    if (typing || view.filter) {
      $("filter").value = "";
      setFilter("");
      target.blur?.();
    }
    return;
  }
  if (typing || target.matches?.("select")) return;
  const arrow =
    ["ArrowLeft", "ArrowRight"].includes(event.key) ||
    (target === $("time") && ["PageUp", "PageDown", "Home", "End"].includes(event.key));
  const action = arrow
    ? () => moveCursor(event.key)
    : !view.shortcuts
      ? null
      : event.key === " "
        ? target.matches?.("button")
          ? null
          : freeze
        : keys.get(event.key.toLowerCase());
  if (!action) return;
  event.preventDefault();
  action();
}

function addListeners() {
  $("stream").onchange = (event) =>
    choose(event.target.value === "auto" ? null : event.target.value.slice("stream ".length));
  $("filter").oninput = (event) => setFilter(event.target.value);
  $("count").onchange = (event) => {
    view.count = Number(event.target.value);
    memory.write("count", view.count);
    view.ranked = -Infinity;
    refresh();
  };
  $("span").onchange = (event) => setSpan(Number(event.target.value));
  Object.entries({
    kind: toggleKind,
    freeze,
    "save-png": savePicture,
    "save-lines": saveLines,
    theme: nextTheme,
    retry: reconnectNow,
    help: () => $("notes").showModal(),
  }).forEach(([id, action]) => {
    $(id).onclick = action;
  });
  $("shortcuts").onchange = (event) => {
    view.shortcuts = event.target.checked;
    memory.write("shortcuts", view.shortcuts);
  };
  $("time").onpointermove = $("time").onpointerdown = (event) => onPointerMove(event);
  $("time").onpointerleave = onPointerLeave;
  $("time").onblur = () => {
    if (view.cursor?.time !== undefined) clearCursor();
  };
  $("rows").onpointermove = () => {
    view.busy = seconds();
  };
  $("rows").onkeydown = () => {
    view.busy = seconds();
  };
  addSenderListeners();
  addEventListener("keydown", onKey);
  addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" && !event.target.matches?.(".lane, .time, .time *")) clearCursor();
  });
  addEventListener("resize", refresh);
  addEventListener("online", () => {
    if (link.state === "away") reconnectNow();
  });
  document.addEventListener("visibilitychange", refresh);
  document.fonts?.ready.then(refresh);
  darkness.addEventListener("change", applyTheme);
}

function start() {
  $("span").append(...SPANS.map((span) => option(String(span), span === 60 ? "1 minute" : spanName(span))));
  if (!SPANS.includes(view.span)) view.span = 60;
  if (![...$("count").options].some((choice) => Number(choice.value) === view.count)) view.count = 15;
  $("count").value = String(view.count);
  $("rows").style.minHeight = `calc(${Math.min(view.count, 36)} * var(--row))`;
  $("shortcuts").checked = view.shortcuts;
  for (const tick of TICKS) {
    const mark = document.createElement("span");
    mark.textContent = tick;
    mark.style.left = `${100 * tick ** GAMMA}%`;
    $("legend").append(mark);
  }
  const perStream = (1.25 * MAX_FRAMES * (86 * 5 + 8)) / 2 ** 20;
  $("memory").textContent =
    `This page keeps half an hour of up to ${MAX_STREAMS} streams (about ${perStream.toFixed(1)} MB each) and the ` +
    `newest ${MAX_TEXT / 2 ** 20} MB of messages for the JSON lines: about 40 minutes of one stream.`;
  addListeners();
  setSpan(view.span);
  applyTheme();
  connect();
  setInterval(() => {
    if (!document.hidden) {
      status();
      for (const sender of senders) if (!sender.isFinished) sender.show();
      if (current() !== view.shown) refresh();
    }
  }, 250);
}

start();
