/** The Day view: what was heard in the last 24 hours, on a day or in an hour, as the server's history has it. */
import { choose, chooseDay } from "./choice.js";
import { byCategory, paintSections, showSections } from "./dayrows.js";
import {
  DAY_S,
  HOUR_S,
  dateValue,
  dayOf,
  fromDateValue,
  hourOf,
  marksOf,
  midnight,
  mostMarks,
  now,
  rangeName,
  resolutionOf,
  written,
} from "./daytime.js";
import { theme } from "./paint.js";
import { address, refresh, streams, view } from "./state.js";
import { $, clamp, plural, put, seconds } from "./util.js";

const REFRESH_S = 60, // of a range that is not over
  RETRY_S = 5,
  TIMEOUT_MS = 15000;
const ROLLING_STEP_S = 300; // the last 24 hours end at such a time

const answer = { history: null, key: "", asked: "", dueAt: Infinity, isLoading: false, trouble: "", request: null };
let painted = ""; // what the pictures were made of
let hovered = null; // the time under a mouse

const isRolling = () => view.day.from === null;
const isHour = () => !isRolling() && view.day.to - view.day.from <= HOUR_S;

/** The range that is shown. */
function range() {
  if (!isRolling()) return view.day;
  const to = Math.ceil(now() / ROLLING_STEP_S) * ROLLING_STEP_S;
  return { from: to - DAY_S, to };
}

export const dayName = () => (view.day ? `${view.chosen ?? "all streams"}, ${titleOf().toLowerCase()}` : "");
const titleOf = () => (isRolling() ? "Last 24 hours" : rangeName(view.day));
const chosenKey = () => JSON.stringify([view.chosen, view.day.from, view.day.to]);

/** What the server said about the range that is shown; null while it is awaited. */
const current = () => (answer.key === chosenKey() ? answer.history : null);

/** Whether it is time to read again: a range goes on, or could not be read. */
export const isDayOld = () => !answer.isLoading && seconds() > answer.dueAt;

// --- reading -------------------------------------------------------------------------------------------------------

async function load() {
  answer.request?.abort();
  const request = (answer.request = new AbortController()),
    { from, to } = range(),
    fields = { from, to, resolution: resolutionOf({ from, to }) };
  const late = setTimeout(() => request.abort(), TIMEOUT_MS);
  answer.asked = chosenKey();
  answer.isLoading = true;
  let history = null,
    trouble = "The server does not answer.";
  try {
    const page = address("http", "api/history", view.chosen === null ? fields : { ...fields, stream: view.chosen });
    const reply = await fetch(page, { signal: request.signal, cache: "no-store", credentials: "same-origin" });
    if (reply.ok) history = await reply.json();
    else trouble = troubleOf(reply.status, (await reply.text()).trim());
  } catch {
    /* nobody there, or another range is asked for by now */
  }
  clearTimeout(late);
  if (request !== answer.request) return;
  answer.isLoading = false;
  answer.trouble = history ? "" : trouble;
  answer.dueAt = seconds() + (!history ? RETRY_S : to > now() ? REFRESH_S : Infinity);
  if (history) {
    for (const stream of history.streams)
      stream.heard_s = stream.heard.reduce((sum, percent) => sum + percent, 0) * 0.01 * history.resolution;
    Object.assign(answer, { history, key: answer.asked });
    view.stored = [...new Set([...view.stored, ...history.streams.map(({ stream }) => stream)])].sort();
  }
  refresh();
}

function troubleOf(status, text) {
  if (status === 401 || status === 403) return "The server wants a token: add ?token=… to this page's address.";
  if (status === 404) return "This server keeps no history: start it with --history FILE.";
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

// --- drawing -------------------------------------------------------------------------------------------------------

export function showDay() {
  if (chosenKey() !== answer.asked || isDayOld()) load();
  const history = current(),
    shown = history ?? answer.history; // the former one until the new one has come
  $("day-view").setAttribute("aria-busy", String(!history));
  showControls();
  put($("day-notice"), noticeOf(history));
  $("day-notice").dataset.kind = answer.trouble ? "bad" : "";
  $("day-newest").hidden = !(history && !history.streams.length && history.last_at);
  $("day-stage").hidden = !shown?.streams.length;
  if (!shown?.streams.length) return showMoment(null);
  showSections(shown, (name) => chooseDay(name, view.day, true));
  showAxis(shown);
  const key = JSON.stringify([theme(), devicePixelRatio, $("day-stage").offsetWidth, $("day-stage").offsetHeight]);
  if (painted !== key || answer.painted !== shown) {
    painted = key;
    answer.painted = shown;
    paintSections(shown);
  }
  showMoment(history);
}

function showControls() {
  const { from, to } = range(),
    step = isHour() ? "hour" : "day",
    first = answer.history?.first_at ?? 0;
  put($("day-title"), titleOf());
  for (const [id, word, isOver] of [
    ["day-back", "Previous", from <= first],
    ["day-on", "Next", isRolling() || to >= now()],
  ]) {
    $(id).disabled = isOver;
    $(id).title = `${word} ${step}`;
    $(id).setAttribute("aria-label", `${word} ${step}`);
  }
  $("day-last").setAttribute("aria-pressed", String(isRolling()));
  $("day-out").hidden = !isHour();
  if (document.activeElement !== $("day-date")) $("day-date").value = dateValue(isRolling() ? to - 1 : from);
}

function noticeOf(history) {
  if (answer.trouble) return answer.trouble;
  if (!history) return answer.history ? "" : "Reading the history …";
  if (!history.streams.length) return history.last_at ? "Nothing was heard in this time." : "The history is empty so far.";
  return history.left_out ? `${plural(history.left_out, "stream")} more, heard less long: choose one above.` : "";
}

function showAxis(history) {
  const axis = $("day-axis"),
    marks = marksOf(history, mostMarks(axis.clientWidth)),
    key = JSON.stringify([history.from, history.to, marks]);
  if (axis.dataset.key === key) return;
  axis.dataset.key = key;
  axis.replaceChildren(
    ...marks.map(({ at, label }) => {
      const mark = document.createElement("span"),
        part = (at - history.from) / (history.to - history.from);
      mark.textContent = label;
      mark.style.left = `${100 * part}%`;
      const half = (4 * label.length) / axis.clientWidth; // about
      mark.className = part < half ? "first" : part > 1 - half ? "last" : "";
      return mark;
    }),
  );
}

// --- a moment ------------------------------------------------------------------------------------------------------

const binOf = (history, at) =>
  clamp(Math.floor((at - history.from) / history.resolution), 0, Math.round((history.to - history.from) / history.resolution) - 1);

/** The words of a stream at a moment: what was present for some of the bin. */
function wordsAt(stream, bin) {
  if (!stream.heard[bin]) return "not heard";
  const present = stream.concepts.filter((concept) => concept.present[bin]);
  return byCategory(present).map(({ concept }) => concept).join(", ") || "nothing certain";
}

function binName(history, bin) {
  const from = history.from + bin * history.resolution,
    kind = history.resolution < 60 ? "second" : "time";
  return `${written(from, "date")}, ${written(from, kind)} – ${written(from + history.resolution, kind)}`;
}

function showMoment(history) {
  const at = view.day.at,
    isIn = history !== null && at !== null && at >= history.from && at <= history.to && history.streams.length > 0;
  $("day-moment").hidden = !isIn;
  showLine(history, hovered ?? (isIn ? at : null));
  const slider = $("day-time");
  if (history) {
    const bin = binOf(history, isIn ? at : Math.min(now(), history.to - 1));
    slider.setAttribute("aria-valuemax", String(Math.round((history.to - history.from) / history.resolution) - 1));
    slider.setAttribute("aria-valuenow", String(bin));
    const words = history.streams.length === 1 ? `: ${wordsAt(history.streams[0], bin)}` : "";
    slider.setAttribute("aria-valuetext", `${binName(history, bin)}${words}`);
  }
  if (!isIn) return;
  const bin = binOf(history, at);
  put($("moment-title"), binName(history, bin));
  $("moment-zoom").hidden = isHour();
  const key = JSON.stringify(history.streams.map((stream) => [stream.stream, wordsAt(stream, bin)]));
  if ($("moment-list").dataset.key === key) return;
  $("moment-list").dataset.key = key;
  $("moment-list").replaceChildren(
    ...JSON.parse(key).flatMap(([name, words]) => {
      const [term, text] = ["dt", "dd"].map((kind) => document.createElement(kind));
      term.textContent = name;
      text.textContent = words;
      return [term, text];
    }),
  );
}

function showLine(history, at) {
  const line = $("day-line");
  line.hidden = !history || at === null;
  if (line.hidden) return;
  const axis = $("day-time"),
    part = (at - history.from) / (history.to - history.from);
  line.style.left = `${axis.offsetLeft + part * axis.offsetWidth}px`;
  const bubble = $("day-bubble");
  put(bubble, written(at, history.resolution < 60 ? "second" : "time"));
  bubble.style.left = `${clamp(part * axis.offsetWidth - bubble.offsetWidth / 2, 0, axis.offsetWidth - bubble.offsetWidth)}px`;
}

function setMoment(at) {
  chooseDay(view.chosen, { ...view.day, at: at === null ? null : Math.round(at) }, false);
}

/** The time under a pointer; null beside the pictures. */
function timeUnder(event) {
  const box = $("day-time").getBoundingClientRect(),
    part = (event.clientX - box.left) / box.width,
    history = current();
  return history && part >= 0 && part <= 1 ? history.from + part * (history.to - history.from) : null;
}

const isPicture = (event) => event.target.matches?.("canvas, .day-time, .day-time *");

// --- ways to another time ------------------------------------------------------------------------------------------

const show = (times, at = null, isStep = false) => chooseDay(view.chosen, { ...times, at }, isStep);

function zoomIn() {
  const { from, to } = range(),
    at = view.day.at ?? Math.min(to, answer.history?.last_at ?? to, now()) - 1;
  if (!isHour()) show(hourOf(clamp(at, from, to - 1)), view.day.at, true);
}

function zoomOut() {
  if (isHour()) show(dayOf(view.day.from), view.day.at, true);
}

function step(by) {
  const { from, to } = range();
  if (isHour()) show({ from: from + by * HOUR_S, to: to + by * HOUR_S });
  else show(dayOf(midnight(isRolling() ? to - 1 : from, by)));
}

const showLast = () => show({ from: null, to: null });

export function toggleDay() {
  if ($("day").hidden && !view.day) return;
  if (!view.day) return chooseDay(view.chosen, { from: null, to: null, at: null });
  choose(streams.has(view.chosen) ? view.chosen : null);
}

/** Escape undoes one thing: the moment, the hour, the view. */
export function leaveDay() {
  if (view.day.at !== null) setMoment(null);
  else if (isHour()) zoomOut();
  else toggleDay();
}

/** Keys that look at a moment or another range. Return whether the key did anything. */
export function moveMoment({ key, target }) {
  const history = current();
  if (key === "+" || key === "=") zoomIn();
  else if (key === "-" || key === "−") zoomOut();
  else if (key === "Enter" && target === $("day-time")) zoomIn();
  else if (["a", "g", "j", "n", "s", "/", " "].includes(key.toLowerCase()))
    return key !== " " && view.shortcuts; // they belong to the live views
  else {
    const bins = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -Infinity, End: Infinity }[key];
    if (bins === undefined || !history || (!key.startsWith("Arrow") && target !== $("day-time"))) return false;
    const last = Math.min(history.to, now(), history.last_at ?? Infinity) - 1,
      at = view.day.at ?? last;
    const bin = binOf(history, clamp(at + bins * history.resolution, history.from, Math.max(history.from, last)));
    setMoment(history.from + (bin + 0.5) * history.resolution);
  }
  return true;
}

export function addDayListeners() {
  if (view.day) load(); // before anything is drawn
  Object.entries({
    day: toggleDay,
    "day-back": () => step(-1),
    "day-on": () => step(1),
    "day-last": showLast,
    "day-out": zoomOut,
    "day-newest": () => show(dayOf(answer.history.last_at - 1)),
    "moment-zoom": zoomIn,
    "moment-close": () => setMoment(null),
  }).forEach(([id, action]) => {
    $(id).onclick = action;
  });
  $("day-date").onchange = ({ target }) => {
    const at = fromDateValue(target.value);
    if (at >= 0) show(dayOf(at));
  };
  const stage = $("day-stage");
  stage.onclick = (event) => {
    const at = timeUnder(event);
    if (isPicture(event) && at !== null) setMoment(at);
  };
  stage.ondblclick = (event) => isPicture(event) && zoomIn();
  stage.onpointermove = (event) => {
    hovered = event.pointerType === "mouse" && isPicture(event) ? timeUnder(event) : null;
    showLine(current(), hovered ?? view.day.at);
  };
  stage.onpointerleave = () => {
    hovered = null;
    refresh();
  };
}
