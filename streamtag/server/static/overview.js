/** All streams at once: a card for each. Cards that cannot be seen only get new text, now and then. */
import { choose } from "./choice.js";
import { presentWords } from "./headline.js";
import { columnsOf, paint, paintStrip } from "./paint.js";
import { filterMatches } from "./rows.js";
import { hello, shownLabels, streams, view } from "./state.js";
import { playhead } from "./timeline.js";
import { $, clamp, plural, put, timecode } from "./util.js";

const SPAN_S = 60; // of history on a card
const LANES = 3, // labels on a card
  COLUMNS = 120; // of pixels: two a second
const IN_TURN = 16; // cards that are written at a time, seen or not
const BUSY = 30; // changes a minute that fill the meter

const cards = new Map(); // by the stream's name
const visible = new Set(); // cards on the screen
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const card = cards.get(entry.target.dataset.stream);
      if (!card) continue;
      if (entry.isIntersecting) visible.add(card);
      else visible.delete(card);
      if (entry.isIntersecting) drawCard(card);
    }
  },
  { rootMargin: "60px" },
);
const byName = new Intl.Collator("en", { numeric: true }).compare;
let listed = ""; // what the list of cards was made of
let turn = 0; // counts the cards that were written in turn
let tabStop = null; // the name of the card that Tab reaches

/** Draw the cards that can be seen, and write a few of the others in turn: a screen reader reads them too. */
export function showOverview() {
  list();
  for (const card of visible) drawCard(card);
  const all = [...cards.values()];
  for (let count = 0; count < Math.min(IN_TURN, all.length); count++, turn++) {
    const card = all[turn % all.length];
    if (!visible.has(card)) writeCard(card);
  }
  summarize();
}

export function forgetCards() {
  listed = "";
}

/** Cards of the streams that the filter leaves, by name. */
function list() {
  const fits = filterMatches(view.streamFilter);
  const names = [...streams.keys()].filter(fits),
    key = JSON.stringify(names);
  if (key === listed) return;
  listed = key;
  names.sort(byName);
  const focused = document.activeElement?.closest(".card")?.dataset.stream;
  const wanted = new Set(names);
  for (const [name, card] of cards)
    if (!wanted.has(name)) {
      watcher.unobserve(card.item);
      visible.delete(card);
      cards.delete(name);
    }
  $("cards").replaceChildren(...names.map((name) => (cards.get(name) ?? makeCard(name)).item));
  if (!names.length) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = streams.size
      ? `No stream has “${view.streamFilter.trim()}” in its name.`
      : "No stream plays yet.";
    $("cards").append(none);
  }
  setTabStop(wanted.has(tabStop) ? tabStop : names[0]);
  if (focused && wanted.has(focused)) cards.get(focused).item.firstElementChild.focus({ preventScroll: true });
}

function makeCard(name) {
  const item = $("card").content.firstElementChild.cloneNode(true),
    card = { stream: name, item, button: item.firstElementChild };
  for (const part of ["name", "state", "words", "activity", "level", "losses"])
    card[part] = item.querySelector(`.card-${part}`);
  card.lanes = item.querySelector("canvas");
  card.labels = [...item.querySelectorAll(".card-label")];
  item.dataset.stream = card.button.dataset.stream = name;
  card.name.textContent = name;
  card.button.onclick = () => open(name);
  card.button.onfocus = () => setTabStop(name);
  cards.set(name, card);
  watcher.observe(item);
  return card;
}

function open(name) {
  choose(name);
  setTabStop(name);
  scrollTo(0, 0);
}

function setTabStop(name) {
  if (tabStop !== null && cards.has(tabStop)) cards.get(tabStop).button.tabIndex = -1;
  tabStop = name ?? null;
  if (cards.has(tabStop)) cards.get(tabStop).button.tabIndex = 0;
}

/** Back from a stream: to its card. */
export function focusCard(name) {
  list();
  if (!cards.has(name)) return;
  setTabStop(name);
  cards.get(name).button.focus();
}

const stateOf = (stream) => (stream.ended ? "ended" : stream.live ? "live" : stream.frames ? "stalled" : "waiting");

function drawCard(card) {
  writeCard(card);
  const stream = streams.get(card.stream);
  if (stream) paintLanes(card, stream);
}

function writeCard(card) {
  const stream = streams.get(card.stream);
  if (!stream) return;
  const state = stateOf(stream),
    time = stream.ended ? Math.round(stream.ended.seconds) : playhead(stream);
  card.item.dataset.state = state;
  put(card.state, `${state === "live" ? "" : `${state} `}${timecode(Math.max(0, time))}`);
  const words = presentWords(stream);
  put(card.words, words || "nothing certain");
  card.words.classList.toggle("nothing", !words);
  put(card.losses, lossesOf(stream));
  card.losses.hidden = !lossesOf(stream);
  const activity = Math.round(stream.activity);
  put(card.activity, `${plural(activity, "change")}/min`);
  card.level.style.transform = `scaleX(${clamp(activity / BUSY, 0, 1)})`;
}

function lossesOf(stream) {
  const parts = [];
  if (stream.trouble) parts.push(stream.trouble);
  if (stream.gaps) parts.push(`${plural(stream.gaps, "gap")}, ${stream.lost.toFixed(1)} s lost`);
  if (stream.dropped) parts.push(`${plural(stream.dropped, "frame")} dropped`);
  return parts.join(" · ");
}

/** The last minute of what matters most in a stream; lost sound in the colour of warnings. */
function paintLanes(card, stream) {
  const weight = (label) => stream.rank[label] + (stream.on[label] ? 1 : 0);
  const labels = shownLabels()
    .sort((a, b) => weight(b) - weight(a))
    .slice(0, LANES);
  card.labels.forEach((element, line) => {
    put(element, stream.frames ? (hello.labels[labels[line]] ?? "") : "");
    element.classList.toggle("on", Boolean(stream.on[labels[line]]));
  });
  const start = Math.max(0, (stream.history.times[0] ?? 0) - hello.hop_s / 2),
    columns = columnsOf(stream.history, Math.max(playhead(stream), start + SPAN_S), COLUMNS, SPAN_S),
    pen = paintStrip(card.lanes, stream.history, columns, labels);
  pen.fillStyle = paint.warn;
  for (const gap of stream.history.gaps) {
    const x = Math.floor((gap.start - columns.start) / columns.step);
    if (x + gap.lost / columns.step > 0) pen.fillRect(x, 0, Math.max(1, Math.round(gap.lost / columns.step)), LANES);
  }
}

function summarize() {
  const counts = { live: 0, stalled: 0, ended: 0, waiting: 0 };
  let lossy = 0;
  for (const stream of streams.values()) {
    counts[stateOf(stream)]++;
    if (stream.gaps || stream.dropped) lossy++;
  }
  const states = Object.entries(counts)
    .filter((entry) => entry[1])
    .map(([state, count]) => `${count} ${state}`);
  if (lossy) states.push(`${lossy} with losses`);
  put($("present-title"), `${plural(streams.size, "stream")}${states.length ? `: ${states.join(", ")}` : ""}`);
}

/** Arrow keys move from card to card. Return whether the key did anything. */
export function moveByKey(event) {
  const button = event.target.closest?.(".card");
  if (!button) return false;
  const all = [...$("cards").querySelectorAll(".card")],
    here = all.indexOf(button),
    top = all[0].getBoundingClientRect().top,
    columns = all.filter((other) => other.getBoundingClientRect().top === top).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step === undefined ? NaN : here + step;
  if (Number.isNaN(to)) return false;
  all[to]?.focus();
  return true;
}
