/** The rows of labels: which are shown, in which order, and what they say. */
import { onPointerLeave, onPointerMove, seekAt } from "./cursor.js";
import { heardTime } from "./player.js";
import { columnOf, hello, refresh, showsTags, shownGroups, shownLabels, view } from "./state.js";
import { lookedAt, shownEnd, shownFrame, weightsOf } from "./timeline.js";
import { $, calm, clamp, formatValue, memory, seconds, timecode } from "./util.js";

const CALM_S = 1; // between two changes of the order
const TOUCHED_S = 4; // for so long after the reader did something with the rows they stay where they are

export const rows = []; // by column of the label: the elements of a row
const headings = new Map(); // by title

export function forgetRows() {
  rows.length = 0;
  headings.clear();
  $("rows").replaceChildren();
}

function rowOf(label) {
  if (rows[label]) return rows[label];
  const item = $("row").content.firstElementChild.cloneNode(true),
    part = (name) => item.querySelector(name);
  const row = { item };
  for (const name of ["name", "bar", "fill", "mark", "value", "lane"]) row[name] = part(`.${name}`);
  const name = hello.labels[label],
    threshold = hello.thresholds[label];
  part(".tag").textContent = name;
  item.dataset.tag = name;
  row.name.title = `${name}: pin it to the top, or let it go`;
  row.bar.setAttribute("aria-label", name);
  row.mark.hidden = threshold === Infinity; // never present, for lack of evidence
  row.mark.style.left = `${100 * Math.min(1, threshold)}%`;
  row.mark.title = `present from ${threshold.toFixed(2)} on`;
  row.name.onclick = () => pin(name);
  row.lane.onpointermove = row.lane.onpointerdown = (event) => onPointerMove(event, label);
  row.lane.onpointerleave = onPointerLeave;
  row.lane.onclick = seekAt;
  return (rows[label] = row);
}

function headingOf(title) {
  if (!headings.has(title)) {
    const item = document.createElement("li"),
      words = document.createElement("h3");
    item.className = "group";
    words.textContent = title;
    item.append(words);
    headings.set(title, item);
  }
  return headings.get(title);
}

function pin(name) {
  view.pins = view.pins.includes(name) ? view.pins.filter((other) => other !== name) : [...view.pins, name];
  memory.write("pins", view.pins);
  view.ranked = -Infinity;
  refresh();
}

/** Return whether a name has any of the texts between commas; an empty filter fits all. */
export function filterMatches(filter) {
  const words = filter
    .toLowerCase()
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
  return (name) => !words.length || words.some((word) => name.toLowerCase().includes(word));
}

/**
 * Pinned labels, then those that matter by category: what is present first, then the strongest. Who is there stays
 * until clearly beaten, so that rows hold still.
 */
function orderFor(stream) {
  const fits = filterMatches(view.filter),
    pinned = view.pins.map(columnOf).filter((label) => label !== undefined);
  const pool = shownLabels().filter((label) => !pinned.includes(label) && fits(hello.labels[label]));
  const weights = weightsOf(stream),
    present = presence(stream),
    weight = (label) => (weights?.[label] || 0) + (present(label) ? 1 : 0),
    was = new Set(view.order);
  const score = (label) => weight(label) + (was.has(label) ? 0.03 : 0);
  const chosen = new Set(
    [...pool].sort((a, b) => score(b) - score(a)).slice(0, Math.max(0, view.count - pinned.length)),
  );
  const place = new Map(view.order.map((label, index) => [label, index]));
  const grouped = shownGroups().flatMap(({ labels }) => {
    const group = labels.filter((label) => chosen.has(label));
    group.sort((a, b) => (place.get(a) ?? Infinity) - (place.get(b) ?? Infinity) || 0);
    return stableOrder(group, weight, view.order.length ? 0.03 : 0);
  });
  return [...pinned, ...grouped];
}

/** Return whether a label is present, at the moment or in the stream that is shown. */
export function presence(stream) {
  const end = shownEnd(stream),
    frame = shownFrame(stream);
  return (label) => (end ? Boolean(end.on[label]) : Boolean(stream?.history.isPresent(frame, label)));
}

/** The heavier first, but neighbours change places only for more than `margin`. */
export function stableOrder(order, weight, margin) {
  for (let moved = true; moved; ) {
    moved = false;
    for (let index = 1; index < order.length; index++)
      if (weight(order[index]) > weight(order[index - 1]) + margin) {
        [order[index - 1], order[index]] = [order[index], order[index - 1]];
        moved = true;
      }
  }
  return order;
}

export function arrange(stream) {
  const now = seconds(),
    forced = view.ranked === -Infinity;
  if (
    !forced &&
    (view.frozen || lookedAt(stream) !== null || now - view.ranked < CALM_S || now - view.busy < TOUCHED_S)
  )
    return;
  view.ranked = now;
  const order = orderFor(stream);
  if (
    !order.length ||
    order.length !== view.order.length ||
    order.some((label, index) => label !== view.order[index])
  )
    layOut(order);
  for (const label of view.order)
    rows[label].name.setAttribute("aria-pressed", String(view.pins.includes(hello.labels[label])));
}

/** The items of the list: rows, and the titles of their categories. */
function itemsOf(order) {
  const items = [],
    titles = new Map(shownGroups().flatMap(({ title, labels }) => labels.map((label) => [label, title])));
  let title = "";
  for (const label of order) {
    const own = view.pins.includes(hello.labels[label]) ? "" : titles.get(label);
    if (own !== title && own) items.push(headingOf(own));
    title = own;
    items.push(rowOf(label).item);
  }
  return items;
}

/** Room for the rows and titles, so that what is below them holds still. */
export function reserveRoom() {
  const labels = shownLabels().length || view.count,
    titles = showsTags() ? 0 : hello.groups.length;
  $("rows").style.minHeight = `calc(${Math.min(view.count, labels)} * var(--row) + ${titles} * var(--title))`;
}

/** Moves the rows to their new places, each gliding from where it was. */
function layOut(order) {
  const list = $("rows"),
    focus = document.activeElement,
    tops = new Map([...list.children].map((item) => [item, item.offsetTop]));
  view.order = order;
  const items = itemsOf(order);
  list.replaceChildren(...items);
  if (!order.length && hello.labels.length) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = `No ${showsTags() ? "tag" : "concept"} has “${view.filter.trim()}” in its name.`;
    list.append(none);
  }
  reserveRoom();
  if (list.contains(focus) && focus !== document.activeElement) focus.focus({ preventScroll: true });
  if (calm.matches || document.hidden) return;
  for (const item of items) {
    const before = tops.get(item);
    if (before === undefined) item.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300 });
    else if (before !== item.offsetTop)
      item.animate([{ transform: `translateY(${before - item.offsetTop}px)` }, { transform: "none" }], {
        duration: 450,
        easing: "ease-in-out",
      });
  }
}

export function showRows(stream) {
  const frame = shownFrame(stream),
    end = shownEnd(stream),
    present = presence(stream);
  for (const label of view.order) {
    const row = rows[label],
      value = end ? end.means[label] : frame < 0 ? NaN : stream.history.value(frame, label),
      on = present(label);
    const known = value === value,
      shown = clamp(known ? value : 0, 0, 1);
    row.fill.style.transform = `translateX(${100 * shown - 100}%)`;
    row.value.textContent = formatValue(value);
    row.item.classList.toggle("on", on);
    row.bar.setAttribute("aria-valuenow", shown.toFixed(4));
    row.bar.setAttribute("aria-valuetext", `${known ? value.toFixed(2) : "unknown"}${on ? ", present" : ""}`);
  }
  $("now").textContent = end ? "mean" : whenOf(stream, frame);
}

/** The moment whose values are shown, for people. */
export function whenOf(stream, frame) {
  const looked = lookedAt(stream),
    time = looked ?? view.frozen?.time ?? heardTime(stream);
  if (time === null) return "now";
  const exact = looked === null ? time : frame < 0 ? null : stream.history.times[frame];
  return exact === null ? timecode(time, true) : `at ${timecode(exact, true)}`;
}
