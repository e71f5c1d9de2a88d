/** Which stream is shown, or all of them. */
import { ingest } from "./ingest.js";
import { refresh, streams, view } from "./state.js";
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
  look({ chosen: name, all: false });
}

export function chooseAll() {
  look({ chosen: null, all: true });
}

/** Between one stream and all of them the browser's button goes back; the address leads here again. */
function look({ chosen, all }) {
  const isOtherKind = all !== view.isGrid;
  restore({ chosen, all });
  const url = new URL(location.href);
  for (const name of ["stream", "view"]) url.searchParams.delete(name);
  if (chosen !== null) url.searchParams.set("stream", chosen);
  if (all) url.searchParams.set("view", "all");
  if (url.href !== location.href) window.history[isOtherKind ? "pushState" : "replaceState"](null, "", url);
}

function restore(wanted) {
  Object.assign(view, wanted);
  ingest.follow = false; // streams sent later no longer change the view
  view.frozen = view.cursor = null;
  view.ranked = -Infinity;
  refresh();
}

export function goBack() {
  const query = new URLSearchParams(location.search);
  restore({ chosen: query.get("stream"), all: query.get("view") === "all" });
}

export function nextStream() {
  const names = [...streams.keys()];
  if (names.length) choose(names[(names.indexOf(current()?.name) + 1) % names.length]);
}

export function showPicker(stream) {
  const picker = $("stream"),
    names = [...streams.keys()];
  if (view.chosen !== null && !streams.has(view.chosen)) names.push(view.chosen);
  const labels = names.map((name) => {
    const found = streams.get(name);
    return !found ? `${name} (waiting)` : found.ended ? `${name} (ended)` : name;
  });
  const isAuto = view.chosen === null && !view.all;
  const auto =
    isAuto && view.isGrid
      ? "Whatever plays: all"
      : isAuto && stream
        ? `Whatever plays: ${stream.name}`
        : "Whatever plays";
  const all = names.length > 1 || view.all ? `All ${plural(names.length, "stream")}` : null;
  const key = JSON.stringify([auto, all, labels, view.chosen, view.all]);
  if (picker.dataset.key === key) return;
  picker.dataset.key = key;
  picker.replaceChildren(
    option("auto", auto),
    ...(all ? [option("all", all)] : []),
    ...names.map((name, index) => option(`stream ${name}`, labels[index])),
  );
  picker.value = view.chosen !== null ? `stream ${view.chosen}` : view.all ? "all" : "auto";
  $("all-streams").textContent = all ?? "";
}
