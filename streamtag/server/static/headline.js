/** What is present, by category, in large letters. */
import { heardTime } from "./player.js";
import { presence, stableOrder, whenOf } from "./rows.js";
import { hello, shownGroups, showsTags, view } from "./state.js";
import { lookedAt, shownEnd, shownFrame } from "./timeline.js";
import { $, put } from "./util.js";

/** Return [{title, labels}], of what is present; each category in its own calm order. */
function presentGroups(stream) {
  const there = presence(stream),
    end = shownEnd(stream),
    frame = shownFrame(stream),
    isMoment = view.frozen || lookedAt(stream) !== null || heardTime(stream) !== null;
  const weight = (label) =>
    end ? end.means[label] : isMoment ? stream.history.value(frame, label) : stream.rank[label];
  return shownGroups().map(({ title, labels }) => {
    const now = stream ? labels.filter(there) : [];
    const held = view.present.filter((label) => now.includes(label)),
      added = now.filter((label) => !view.present.includes(label));
    return { title, labels: stableOrder([...held, ...added], weight, 0.1) };
  });
}

export function showHeadline(stream) {
  const groups = presentGroups(stream),
    list = $("present");
  view.present = groups.flatMap((group) => group.labels);
  put($("present-title"), titleOf(stream));
  const words = groups.map(({ title, labels }) => [title, labels.map((label) => hello.labels[label])]);
  const isUntagged = heardTime(stream) !== null && shownFrame(stream) < 0,
    nothing = !stream ? "–" : isUntagged ? "not tagged yet" : "nothing certain";
  const key = JSON.stringify([nothing, words]);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.classList.toggle("of-tags", showsTags());
  if (view.present.length) list.replaceChildren(...words.map(([title, names]) => groupItem(title, names)));
  else list.replaceChildren(groupItem("", [nothing], "nothing"));
}

function titleOf(stream) {
  if (shownEnd(stream)) return "Present in the whole stream";
  return `Present ${whenOf(stream, shownFrame(stream))}`;
}

function groupItem(title, names, kind = names.length ? "one" : "nobody") {
  const item = document.createElement("li"),
    element = (kind, words) => Object.assign(document.createElement("span"), { className: kind, textContent: words });
  if (title) item.append(element("category", title));
  const list = element("names", "");
  (names.length ? names : ["–"]).forEach((name, index) => {
    if (index) list.append(", ");
    list.append(element(kind, name));
  });
  item.append(list);
  return item;
}

/** The names of what is present in a stream now, or in all of it, as one line: for a card. */
export function presentWords(stream) {
  const isPresent = (label) => (stream.ended ? stream.ended.on[label] : stream.on[label]);
  const weights = stream.ended ? stream.ended.means : stream.rank;
  return shownGroups()
    .map(({ labels }) => labels.filter(isPresent).sort((a, b) => weights[b] - weights[a]))
    .filter((labels) => labels.length)
    .map((labels) => labels.map((label) => hello.labels[label]).join(", "))
    .join("; ");
}
