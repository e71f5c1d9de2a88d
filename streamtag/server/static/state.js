/** What the page knows: the model, the streams and what the reader chose. Changes are drawn with `refresh`. */
import { clamp, memory, seconds } from "./util.js";

// --- limits: the page may stay open for months --------------------------------------------------
export const HISTORY_S = 120; // of the past that the server is asked for
const MAX_FRAMES = 7200, // of a stream: half an hour
  MIN_FRAMES = 480, // of a stream among many: two minutes
  MAX_FILE_FRAMES = 22000; // of a file of this page, which is kept as a whole: 90 minutes
export const MAX_ALL_FRAMES = 24 * MAX_FRAMES; // of all streams together
export const MAX_STREAMS = 400;
export const SPANS = [15, 30, 60, 120, 300, 600, 1800]; // seconds of history shown
export const MAX_WAIT_S = 10, // between two tries to connect
  HANDSHAKE_S = 10;
const MAX_TEXT = 16 * 2 ** 20; // characters of messages, for the JSON lines
export const MAX_TEXT_MB = MAX_TEXT / 2 ** 20;
const ACTIVITY_S = 60; // in which changes are counted
const MIN_RANGE_S = 60, // of the history
  MAX_RANGE_S = 31 * 86400;

// --- the model -----------------------------------------------------------------------------------
/** labels: the tags, then the concepts; thresholds: of all labels, infinite where there is none. groups: concepts by category. */
export const hello = {
  ...{ labels: [], tagCount: 0, thresholds: [], groups: [], tagIndex: new Map(), conceptIndex: new Map() },
  ...{ hop_s: 0.256, lookahead_s: 0.384, model: "–", server: "" },
};

export const CATEGORIES = { instrument: "instruments", genre: "genre", voice: "voice", mood: "mood and tempo" };

/** Return [{title, labels}], categories of concepts in the order in which they are shown. */
export function groupsOf(categories, tagCount) {
  const groups = new Map(Object.entries(CATEGORIES).map(([name, title]) => [name, { title, labels: [] }]));
  categories.forEach((name, place) => {
    if (!groups.has(name)) groups.set(name, { title: name, labels: [] });
    groups.get(name).labels.push(tagCount + place);
  });
  return [...groups.values()].filter((group) => group.labels.length);
}

export const hasConcepts = () => hello.labels.length > hello.tagCount;
export const showsTags = () => view.kind === "tags" || !hasConcepts();
export const columnOf = (name) => (showsTags() ? hello.tagIndex : hello.conceptIndex).get(name);

/** The columns of the labels that are shown: the concepts, or the tags where the reader or an older server wants it. */
export function shownLabels() {
  const tags = showsTags();
  return hello.labels.map((_, label) => label).filter((label) => label < hello.tagCount === tags);
}

/** The shown labels by category; tags have none. */
export function shownGroups() {
  return showsTags() ? [{ title: "", labels: shownLabels() }] : hello.groups;
}

// --- the frames of one stream --------------------------------------------------------------------------------------
class History {
  /** size: labels. Frames in order of time; the oldest go first. */
  constructor(size) {
    this.size = size;
    this.length = 0;
    this.gaps = [];
    this.isFile = false; // of this page: kept as a whole
    this.resize(256);
  }

  /** The most frames to keep: many streams share the memory. */
  get limit() {
    return this.isFile ? MAX_FILE_FRAMES : clamp(Math.floor(MAX_ALL_FRAMES / streams.size), MIN_FRAMES, MAX_FRAMES);
  }

  resize(room) {
    const move = (kind, old, width) => {
      const fresh = new kind(room * width);
      if (old && this.length) fresh.set(old.subarray(0, this.length * width));
      return fresh;
    };
    this.room = room;
    this.times = move(Float64Array, this.times, 1); // of the windows' centres
    this.values = move(Float32Array, this.values, this.size); // NaN: unknown
    this.present = move(Uint8Array, this.present, this.size);
  }

  get last() {
    return this.length - 1;
  }
  get end() {
    return this.length ? this.times[this.last] : 0;
  }
  value(frame, label) {
    return this.values[frame * this.size + label];
  }
  isPresent(frame, label) {
    return frame >= 0 && this.present[frame * this.size + label] === 1;
  }

  append(time, values, present) {
    if (this.length === this.room) this.makeRoom();
    this.times[this.length] = time;
    this.values.set(values, this.length * this.size);
    this.present.set(present, this.length * this.size);
    this.length++;
  }

  makeRoom() {
    const { limit } = this,
      most = Math.floor(1.25 * limit);
    if (this.length >= most) this.drop(this.length - limit);
    const room = Math.min(2 * this.length, most);
    if (room > this.room || 2 * room < this.room) this.resize(room);
  }

  drop(count) {
    this.times.copyWithin(0, count);
    this.values.copyWithin(0, count * this.size);
    this.present.copyWithin(0, count * this.size);
    this.length -= count;
    this.gaps = this.gaps.filter((gap) => gap.start + gap.lost >= this.times[0]);
  }

  /** The share of the frames in which a label was present. */
  presentShare(label) {
    let count = 0;
    for (let frame = 0; frame < this.length; frame++) count += this.present[frame * this.size + label];
    return this.length ? count / this.length : 0;
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
export class Stream {
  constructor(name, size) {
    this.name = name;
    this.history = new History(size);
    this.on = new Uint8Array(size); // present now
    this.known = new Uint8Array(size); // whether the server has said so; else the threshold decides
    this.rank = new Float32Array(size);
    this.smooth = new Float32Array(size); // of the tags, beside concepts
    this.changes = []; // stream times of events
    this.frame = -1;
    this.frames = 0;
    this.arrived = -Infinity;
    this.began = seconds();
    this.ended = null; // {seconds, means, on}
    this.trouble = "";
    this.latencies = [];
    this.dropped = 0;
    this.gaps = 0;
    this.lost = 0;
  }

  get stalled() {
    return seconds() - this.arrived > Math.max(3, 8 * hello.hop_s);
  }
  get live() {
    return this.frames > 0 && !this.ended && link.state === "open" && !this.stalled;
  }

  addChange(time) {
    this.changes.push(time);
    while (this.changes[0] < time - ACTIVITY_S || this.changes.length > 999) this.changes.shift();
  }

  /** How often something went on or off, per minute of the last minute. */
  get activity() {
    const { end, times } = this.history,
      heard_s = clamp(end - (times[0] ?? 0), 10, ACTIVITY_S);
    return (60 * this.changes.filter((time) => time > end - heard_s).length) / heard_s;
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
export const streams = new Map();
export const session = new Session();
export const link = {
  ...{ state: "connecting", socket: null, tries: 0, due: 0, timer: 0, why: "", lastMessageAt: seconds() },
};
export const notices = { gap: null, error: null };
const query = new URLSearchParams(location.search);
export const view = {
  ...{ chosen: null, all: false, day: null }, // as readAddress returns them
  stored: [], // names of streams in the history
  several: false, // two have played at once: all are shown unless one is chosen
  shows: "one", // what is on the screen: "one" stream, "all" of them, or a "day" of the history
  pins: (memory.read("pins") || []).filter((name) => typeof name === "string"),
  filter: "", // of rows
  streamFilter: "", // of streams
  kind: memory.read("kind") === "tags" ? "tags" : "concepts",
  count: memory.read("count") || (innerWidth < 768 ? 8 : 15),
  span: memory.read("span") || 60,
  wholeFile: true, // a file of this page is shown as a whole
  theme: memory.read("theme") || "auto",
  shortcuts: memory.read("shortcuts") !== false,
  frozen: null, // {stream, edge, time}: what the display stands still at
  cursor: null, // {part} of the width under a pointer, or {time} by keys
  listening: false, // a file is being played here
  order: [],
  present: [],
  ranked: -Infinity,
  busy: -Infinity,
  shown: null,
};

/**
 * What the page's address asks for. chosen: a stream's name, null: whatever plays; all: of them; day: {from, to, at}
 * of the history as Unix times, from null: the last 24 hours, at null: no moment.
 */
export function readAddress() {
  const query = new URLSearchParams(location.search),
    [from, to, at] = ["from", "to", "at"].map((name) => Number.parseFloat(query.get(name)));
  const isRange = from >= 0 && to - from >= MIN_RANGE_S && to - from <= MAX_RANGE_S && to < 1e11,
    day = { from: isRange ? from : null, to: isRange ? to : null, at: Number.isFinite(at) ? at : null };
  const kind = query.get("view");
  return { chosen: query.get("stream"), all: kind === "all", day: kind === "day" ? day : null };
}
Object.assign(view, readAddress());

/** The address of a page of this server, with this page's token. */
export function address(scheme, page, fields = {}) {
  const url = new URL(page, location.href);
  url.protocol = location.protocol === "https:" ? `${scheme}s:` : `${scheme}:`;
  url.search = "";
  url.hash = "";
  if (query.get("token") !== null) url.searchParams.set("token", query.get("token"));
  for (const [name, value] of Object.entries(fields)) url.searchParams.set(name, value);
  return url;
}

// --- redrawing -------------------------------------------------------------------------------------------
let draw = () => {},
  planned = 0;

export const onDraw = (action) => {
  draw = action;
};
export const isPlanned = () => planned !== 0;

/**
 * Draw before the next picture of the screen. stream: what has changed; nothing is done if it is not the one that is
 * shown: all streams together are drawn four times a second, the history when it is read.
 */
export function refresh(stream) {
  if (stream && (view.shows !== "one" || (view.shown && stream !== view.shown))) return;
  planned ||= requestAnimationFrame(() => {
    planned = 0;
    draw();
  });
}
