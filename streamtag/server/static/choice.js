/** Which stream is shown, or all of them. */
import { ingest } from "./ingest.js";
import { readAddress, refresh, streams, view } from "./state.js";
import { $, option, plural } from "./util.js";

/** The chosen stream; else one that plays, and the same as long as it does. */
export function current() {
  if (view.frozen) return view.frozen.stream;
  if (view.chosen !== null) return streams.get(view.chosen) ?? null;
  if (view.shown && streams.get(view.shown.name) === view.shown && view.shown.live) return view.shown;
  const all = [...streams.values()].filter((stream) => stream.frames);
  const live = all.filter((stream) => stream.live);
  return newest(live.length ? live : all, live.length ? "began" : "arrived") ?? null;
}

const newest = (list, key) =>
  list.reduce((best, stream) => (!best || stream[key] > best[key] ? stream : best), undefined);

/** Whether all streams are shown: the reader asked for it, or two play at once and none was chosen. */
export function showsAll() {
  if (view.frozen || view.chosen !== null) return false;
  if (!view.all && !view.several) {
    let live = 0;
    for (const stream of streams.values()) if (stream.live && ++live > 1) break;
    view.several = live > 1;
  }
  return view.all || view.several;
}

/** name: of a stream; null: whatever plays. */
export function choose(name) {
  look({ chosen: name, all: false, day: null });
}

export function chooseAll() {
  look({ chosen: null, all: true, day: null });
}

/** name: of a stream; null: all. day: as readAddress returns it. isStep: the browser's button leads back from here. */
export function chooseDay(name, day, isStep) {
  look({ chosen: name, all: false, day }, isStep);
}

const kindOf = ({ all, day }) => (day ? "day" : all ? "all" : "one");

/** Between one stream, all of them and a day the browser's button goes back; the address leads here again. */
function look(wanted, isStep = kindOf(wanted) !== view.shows) {
  restore(wanted);
  const url = new URL(location.href);
  for (const name of ["stream", "view", "from", "to", "at"]) url.searchParams.delete(name);
  if (wanted.chosen !== null) url.searchParams.set("stream", wanted.chosen);
  if (wanted.all) url.searchParams.set("view", "all");
  if (wanted.day) {
    url.searchParams.set("view", "day");
    for (const [name, time] of Object.entries(wanted.day)) if (time !== null) url.searchParams.set(name, time);
  }
  if (url.href !== location.href) window.history[isStep ? "pushState" : "replaceState"](null, "", url);
}

function restore(wanted) {
  Object.assign(view, wanted);
  ingest.follow = false; // streams sent later no longer change the view
  view.frozen = view.cursor = null;
  view.ranked = -Infinity;
  refresh();
}

export function goBack() {
  restore(readAddress());
}

export function nextStream() {
  const names = [...streams.keys()];
  if (names.length) choose(names[(names.indexOf(current()?.name) + 1) % names.length]);
}

export function showPicker(stream) {
  const picker = $("stream"),
    isDay = Boolean(view.day),
    names = [...new Set([...streams.keys(), ...(isDay ? view.stored : [])])];
  if (view.chosen !== null && !names.includes(view.chosen)) names.push(view.chosen);
  const labels = names.map((name) => {
    const found = streams.get(name);
    return isDay ? name : !found ? `${name} (waiting)` : found.ended ? `${name} (ended)` : name;
  });
  const isAuto = view.chosen === null && !view.all;
  const auto =
    isAuto && view.shows === "all"
      ? "Whatever plays: all"
      : isAuto && stream
        ? `Whatever plays: ${stream.name}`
        : "Whatever plays";
  const all = isDay ? "All streams" : names.length > 1 || view.all ? `All ${plural(names.length, "stream")}` : null;
  const key = JSON.stringify([isDay, auto, all, labels, view.chosen, view.all]);
  if (picker.dataset.key === key) return;
  picker.dataset.key = key;
  picker.replaceChildren(
    ...(isDay ? [] : [option("auto", auto)]),
    ...(all ? [option("all", all)] : []),
    ...names.map((name, index) => option(`stream ${name}`, labels[index])),
  );
  picker.value = view.chosen !== null ? `stream ${view.chosen}` : view.all || isDay ? "all" : "auto";
  $("all-streams").textContent = all ?? "";
}
