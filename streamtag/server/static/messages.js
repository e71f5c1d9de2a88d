/** Reads the server's messages into streams. What is not as its type promises is ignored. */
import { announce, announceTag } from "./announcer.js";
import { current } from "./choice.js";
import { hasFile } from "./player.js";
import { MAX_STREAMS, Stream, groupsOf, hasConcepts, hello, link, notices, refresh, session } from "./state.js";
import { showsTags, streams, view } from "./state.js";
import { seconds, timecode } from "./util.js";

const PROTOCOL = 1;
const MAX_GAPS = 500; // of a stream
const MAX_MESSAGE_CHARS = 2 ** 21; // characters of one message
const PRESENT_SHARE = 0.25; // of a stream: present that long, a concept belongs to what is said of all of it
const DENIAL = "no ";
const SAME_S = 1e-3; // times that are closer are the same

const kinds = new Map([
  ["hello", onHello],
  ["history", onHistory],
  ["frame", onFrame],
  ["event", onEvent],
  ["gap", onGap],
  ["end", onEnd],
  ["error", onError],
]);
const listeners = { hello: () => {}, otherModel: () => {} };

/** onHello: called after each hello; onOtherModel: before it, if the labels are others. */
export function listen(callbacks) {
  Object.assign(listeners, callbacks);
}

const number = (value) => {
  if (!Number.isFinite(value)) throw new TypeError("not a number");
  return value;
};
const text = (value) => {
  if (typeof value !== "string") throw new TypeError("not a text");
  return value;
};
const array = (value) => {
  if (!Array.isArray(value)) throw new TypeError("not an array");
  return value;
};

/** In the order of the labels; `missing` where no value came. */
function perLabel(tags, concepts = {}, isValue = (value) => typeof value === "number", missing = NaN) {
  for (const values of [tags, concepts])
    if (typeof values !== "object" || values === null) throw new TypeError("no probabilities");
  return hello.labels.map((name, label) => {
    const values = label < hello.tagCount ? tags : concepts;
    return Object.hasOwn(values, name) && isValue(values[name]) ? values[name] : missing;
  });
}

export function receive(data) {
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
  if (message.type !== "history") session.keep(data, message.type === "hello");
}

function onHello(message) {
  if (number(message.protocol) !== PROTOCOL) {
    link.why = `The server speaks protocol ${message.protocol}, this page protocol ${PROTOCOL}: reload it.`;
    link.socket.close();
    return;
  }
  const tags = array(message.tags).map(text),
    concepts = array(message.concepts ?? []);
  const labels = [...tags, ...concepts.map((concept) => text(concept?.name))];
  const thresholds = [
    ...(message.thresholds ?? tags.map(() => 0.5)).map(number),
    ...concepts.map((concept) => (concept.threshold === null ? Infinity : number(concept.threshold))),
  ];
  const same =
    tags.length === hello.tagCount &&
    labels.length === hello.labels.length &&
    labels.every((name, label) => name === hello.labels[label]);
  Object.assign(hello, {
    ...{ labels, thresholds, tagCount: tags.length },
    groups: groupsOf(
      concepts.map((concept) => (typeof concept.category === "string" ? concept.category : "other")),
      tags.length,
    ),
    tagIndex: new Map(tags.map((name, label) => [name, label])),
    conceptIndex: new Map(concepts.map((concept, place) => [concept.name, tags.length + place])),
    hop_s: number(message.hop_s),
    lookahead_s: number(message.lookahead_s),
    model: text(message.model),
    server: text(message.server),
  });
  link.tries = 0;
  link.why = "";
  if (!same) forgetAll();
  for (const stream of streams.values()) stream.known.fill(0);
  listeners.hello();
  refresh();
}

function forgetAll() {
  streams.clear();
  view.order = [];
  view.present = [];
  view.frozen = view.cursor = view.shown = null;
  view.several = false;
  view.ranked = -Infinity;
  listeners.otherModel();
}

function streamOf(message) {
  const name = text(message.stream);
  return streams.get(name) ?? newStream(name);
}

function newStream(name) {
  if (!streams.has(name) && streams.size >= MAX_STREAMS) forgetOne();
  const stream = new Stream(name, hello.labels.length);
  stream.history.isFile = hasFile(name);
  streams.set(name, stream);
  refresh();
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
  const isNewest = stream.history.length > 0 && Math.abs(time - stream.history.end) < SAME_S;
  if (isNewest && !stream.ended && (index === stream.frame || stream.frame < 0)) {
    stream.frame = index; // the latest frame, sent again after a reconnection or a history
    return;
  }
  if (stream.ended || index <= stream.frame || (time <= stream.history.end && stream.history.length))
    stream = newStream(stream.name);
  if (index === 0) stream.known.fill(1); // before it nothing was present
  addFrame(stream, time, values, (label) => values[label] >= hello.thresholds[label]);
  stream.frame = index;
  if (Number.isFinite(message.dropped)) stream.dropped += message.dropped;
  stream.latencies.push(Number.isFinite(message.latency_s) ? message.latency_s : NaN);
  if (stream.latencies.length * hello.hop_s > 60) stream.latencies.shift();
  refresh(stream);
}

/** isPresent(label): for the labels of events whose state is not known. */
function addFrame(stream, time, values, isPresent) {
  const passed = stream.history.length ? time - stream.history.end : Infinity;
  if (hasConcepts()) followTags(stream, values, passed);
  for (let label = hasConcepts() ? hello.tagCount : 0; label < hello.labels.length; label++)
    if (!stream.known[label]) stream.on[label] = isPresent(label) ? 1 : 0;
  rank(stream, values, passed);
  stream.history.append(time, values, stream.on);
  stream.frames++;
  stream.arrived = seconds();
  stream.trouble = "";
}

/** Slow means decide the order of the rows, so that it holds still. */
function rank(stream, values, passed) {
  const keep = Math.exp(-passed / 2);
  for (let label = 0; label < values.length; label++)
    if (values[label] === values[label]) stream.rank[label] = keep * stream.rank[label] + (1 - keep) * values[label];
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

/** The column that an event is about; undefined: none that is known here. */
const columnOfEvent = (event) =>
  event?.concept === undefined ? hello.tagIndex.get(event?.tag) : hello.conceptIndex.get(event.concept);

/** The recent past of a stream, from before this page subscribed. */
function onHistory(message) {
  const times = array(message.times).map(number),
    isColumn = (values) => Array.isArray(values) && values.length === times.length;
  const columns = perLabel(message.tags, message.concepts, isColumn, null);
  const events = array(message.events).map((event) => ({
    column: columnOfEvent(event),
    time: number(event?.time),
    on: event.state === "on" ? 1 : 0,
  }));
  const now = array(message.present).map((name) => (hasConcepts() ? hello.conceptIndex : hello.tagIndex).get(name));
  const gaps = array(message.gaps).map((gap) => ({ start: number(gap?.start), lost: number(gap.lost_s) }));
  let stream = streams.get(text(message.stream));
  if (!stream || !isContinued(stream, times)) stream = newStream(message.stream);
  if (stream.ended) return;
  const known = events.filter((event) => event.column !== undefined).sort((a, b) => a.time - b.time),
    states = statesOver(times, known, now);
  stream.known.fill(1);
  times.forEach((time, frame) => {
    if (stream.history.length && time <= stream.history.end + SAME_S) return;
    const values = columns.map((column) => (typeof column?.[frame] === "number" ? column[frame] : NaN));
    for (let label = hasConcepts() ? hello.tagCount : 0; label < hello.labels.length; label++)
      stream.on[label] = states[frame][label];
    addFrame(stream, time, values);
  });
  for (const label of now) if (label !== undefined) stream.on[label] = 1;
  for (const event of known) if (!(event.time <= stream.changes.at(-1))) stream.addChange(event.time);
  for (const gap of gaps) addGap(stream, gap.start, gap.lost);
  stream.frame = -1; // the next frame tells
  refresh(stream);
}

/** Whether the times are of this run of the stream: they go on where its frames end. */
function isContinued({ history, ended }, times) {
  if (!history.length || !times.length) return !history.length;
  if (ended) return Math.abs(times.at(-1) - history.end) < SAME_S;
  return times[0] > history.end || times.some((time) => Math.abs(time - history.end) < SAME_S);
}

/** What was present at each time: from what is present after the last one, back over the events. */
function statesOver(times, events, now) {
  const on = new Uint8Array(hello.labels.length),
    states = [];
  for (const label of now) if (label !== undefined) on[label] = 1;
  let next = events.length - 1;
  for (let frame = times.length - 1; frame >= 0; frame--) {
    for (; next >= 0 && events[next].time - SAME_S > times[frame]; next--)
      on[events[next].column] = 1 - events[next].on;
    states[frame] = on.slice();
  }
  return states;
}

function onEvent(message) {
  const stream = streamOf(message),
    time = number(message.time),
    label = columnOfEvent(message),
    on = message.state === "on" ? 1 : 0;
  if (label === undefined) return;
  stream.known[label] = 1;
  stream.on[label] = on;
  stream.addChange(time);
  for (let frame = stream.history.last; frame >= 0 && stream.history.times[frame] >= time - SAME_S; frame--)
    stream.history.present[frame * stream.history.size + label] = on;
  if (view.shows === "one" && stream === current() && !stream.ended && label < hello.tagCount === showsTags())
    announceTag(hello.labels[label], on);
  refresh(stream);
}

/** Return whether it was not known yet: the newest is sent again after a reconnection. */
function addGap(stream, start, lost) {
  const { gaps } = stream.history;
  if (gaps.some((gap) => Math.abs(gap.start - start) < SAME_S)) return false;
  stream.gaps++;
  stream.lost += lost;
  gaps.push({ start, lost });
  if (gaps.length > MAX_GAPS) gaps.shift();
  return true;
}

function onGap(message) {
  const stream = streamOf(message),
    lost = number(message.lost_s);
  if (!addGap(stream, number(message.start), lost)) return;
  const words = `${lost.toFixed(1)} s of sound were lost at ${timecode(message.start)}.`;
  notices.gap = { stream, text: words, until: seconds() + 6 };
  refresh(stream);
}

function onEnd(message) {
  const stream = streamOf(message),
    means = perLabel(message.summary, message.concepts);
  stream.ended = { seconds: number(message.seconds), means, on: presentInAll(stream, message) };
  if (view.shows === "one" && stream === current()) {
    view.ranked = -Infinity;
    announce(`${stream.name} ended`);
  }
  refresh();
}

/**
 * What was present long enough: as the server says, else as this page saw it. A denial, such as “no vocals”, is about
 * the whole stream: it yields to anything else of its category.
 */
function presentInAll(stream, { present_s: told, seconds: all }) {
  const on = hello.labels.map((name, label) => {
    const isOfEvents = label >= hello.tagCount === hasConcepts();
    if (isOfEvents && typeof told === "object" && told !== null)
      return Object.hasOwn(told, name) && told[name] >= PRESENT_SHARE * all;
    return stream.history.presentShare(label) >= PRESENT_SHARE;
  });
  const isDenial = (label) => hello.labels[label].startsWith(DENIAL);
  for (const { labels } of hello.groups)
    if (labels.some((label) => on[label] && !isDenial(label)))
      for (const label of labels.filter(isDenial)) on[label] = false;
  return on;
}

function onError(message) {
  const words = text(message.message).slice(0, 300);
  if (typeof message.stream === "string") streamOf(message).trouble = words;
  else notices.error = { text: words, until: seconds() + 15 };
  refresh();
}
