/** The page: draws what the other modules know, and follows the reader. */
import { announce } from "./announcer.js";
import { measure, paintBoard, showPlayhead, showSlider, size } from "./board.js";
import { choose, chooseAll, chooseDay, current, goBack, nextStream, showPicker, showsAll } from "./choice.js";
import { connect, reconnectIfSilent, reconnectNow } from "./connection.js";
import { clearCursor, moveCursor, onPointerLeave, onPointerMove, seekAt } from "./cursor.js";
import { addDayListeners, dayName, isDayOld, leaveDay, moveMoment, showDay, toggleDay } from "./day.js";
import { showHeadline } from "./headline.js";
import { ingest, senders, updateIngest } from "./ingest.js";
import { listen } from "./messages.js";
import { focusCard, forgetCards, moveByKey, showOverview } from "./overview.js";
import { GAMMA, TICKS, loadColours } from "./paint.js";
import { saveLines, savePicture } from "./picture.js";
import {
  addPlayerListeners,
  fileSeconds,
  heardTime,
  seekByKey,
  showPlayer,
  stopPlaying,
  togglePlay,
} from "./player.js";
import { arrange, forgetRows, reserveRoom, showRows } from "./rows.js";
import { addSenderListeners } from "./sources.js";
import {
  MAX_ALL_FRAMES,
  MAX_TEXT_MB,
  SPANS,
  hasConcepts,
  hello,
  link,
  notices,
  session,
  showsTags,
} from "./state.js";
import { isPlanned, onDraw, refresh, streams, view } from "./state.js";
import { edgeOf, playhead, spanOf } from "./timeline.js";
import {
  $,
  calm,
  clamp,
  darkness,
  droppable,
  grouped,
  memory,
  option,
  plural,
  put,
  seconds,
  timecode,
} from "./util.js";

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
  $("frames").textContent = grouped(stream?.frames ?? 0);
  $("kept").textContent = `${grouped(session.count)} (${(session.size / 2 ** 20).toFixed(1)}\u00a0MB)`;
  put($("clock"), clockOf(stream));
}

/** The time of what is shown. The length of an ended stream is rounded, a moment is not. */
function clockOf(stream) {
  if (!stream) return timecode(0);
  const time = view.frozen?.time ?? heardTime(stream);
  if (time === null && stream.ended) return timecode(Math.round(stream.ended.seconds));
  return timecode(Math.max(0, time ?? playhead(stream)));
}

/** Return [kind, words] of the connection and the stream in it. */
function stateOf(stream) {
  if (link.state === "away") return ["away", `retry in ${Math.max(0, Math.ceil(link.due - seconds()))} s`];
  if (link.state === "connecting") return ["connecting", "connecting"];
  if (view.shows === "day") return ["live", "connected"];
  if (view.shows === "all") return ["live", plural(streams.size, "stream")];
  if (!stream?.frames) return ["waiting", "waiting"];
  if (view.frozen) return ["frozen", "frozen"];
  if (stream.ended) return ["ended", "ended"];
  return stream.stalled ? ["stalled", "stalled"] : ["live", "live"];
}

function noticeOf(stream, kind) {
  const now = seconds();
  if (kind === "away") return ["bad", link.why || (hello.labels.length ? "The server does not answer." : "")];
  if (view.shows !== "one") stream = null;
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

function showEmpty(stream) {
  $("empty").hidden = Boolean(stream?.frames) || view.shows !== "one";
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

// --- redrawing -----------------------------------------------------------------------------------------
let sleeping = 0;

/** Redraw everything, and again when the picture has moved by a pixel. */
function show() {
  clearTimeout(sleeping);
  const stream = current(),
    shows = view.day ? "day" : showsAll() ? "all" : "one";
  if (stream !== view.shown || shows !== view.shows) {
    if (shows !== view.shows) showKindOfView(shows, view.shown);
    view.shows = shows;
    view.shown = stream;
    view.ranked = -Infinity;
  }
  const title = { one: stream?.name, all: plural(streams.size, "stream"), day: dayName() }[shows];
  document.title = title ? `${title} · streamtag` : "streamtag";
  showPicker(stream);
  $("all-streams").hidden = shows !== "one" || streams.size < 2;
  $("freeze").hidden = Boolean(fileSeconds(stream));
  if (shows === "day") showDay();
  else if (shows === "all") showOverview();
  else showStream(stream);
  showStats(stream);
  status();
}

function showStream(stream) {
  showPlayer(stream);
  showSpans(stream);
  arrange(stream);
  measure();
  showRows(stream);
  showHeadline(stream);
  showSlider(stream);
  paintBoard(stream);
  showPlayhead(stream);
  if (stream?.live && !stream.history.isFile && !view.frozen && !calm.matches)
    sleeping = setTimeout(scroll, clamp((1000 * view.span) / size.width, 16, 250));
}

/** shows: as view.shows. stream: that was shown before. */
function showKindOfView(shows, stream) {
  const isGrid = shows === "all";
  document.body.dataset.view = shows;
  $("overview").hidden = !isGrid;
  $("day-view").hidden = shows !== "day";
  $("day").setAttribute("aria-pressed", String(shows === "day"));
  $("filter").value = isGrid ? view.streamFilter : view.filter;
  $("filter").placeholder = isGrid ? "Filter streams" : "Filter";
  if (shows !== "one") showPlayer(null);
  if (isGrid) {
    forgetCards();
    if (view.focusCard && stream) focusCard(stream.name);
  }
  view.focusCard = false;
}

/** From one stream back to all: the keyboard goes on at its card. */
function showAllStreams() {
  view.focusCard = true;
  chooseAll();
}

function scroll() {
  requestAnimationFrame(() => {
    clearTimeout(sleeping);
    const stream = view.shown;
    if (isPlanned() || !stream || view.shows !== "one") return;
    if (playhead(stream) > view.span || view.cursor) paintBoard(stream);
    if (view.cursor) showRows(stream);
    if (!view.frozen) put($("clock"), clockOf(stream));
    if (stream.live && !view.frozen && seconds() - stream.arrived < 2 * hello.hop_s)
      sleeping = setTimeout(scroll, clamp((1000 * view.span) / size.width, 16, 250));
  });
}

let heard = -1; // the hop that was shown last while a file is played

/** A file is played: often only its mark has moved. */
function onHeard() {
  const stream = view.shown;
  if (!stream || view.shows !== "one") return;
  const moment = Math.floor((heardTime(stream) ?? -1) / hello.hop_s);
  if (moment !== heard || spanOf(stream) < fileSeconds(stream)) refresh();
  heard = moment;
  showPlayhead(stream);
  showPlayer(stream);
  put($("clock"), clockOf(stream));
}

function freeze() {
  const stream = current();
  if (view.shows !== "one" || stream?.history.isFile) return;
  if (view.frozen) {
    view.frozen = null;
    view.ranked = -Infinity;
  } else if (stream?.history.length) view.frozen = { stream, edge: edgeOf(stream), time: stream.history.end };
  refresh();
}

// --- user input ------------------------------------------------------------------------------------------
function applyTheme() {
  const chosen = view.theme === "auto" ? (darkness.matches ? "dark" : "light") : view.theme;
  document.documentElement.dataset.theme = chosen;
  $("theme").title = `Colours: ${view.theme === "auto" ? "as the system" : view.theme} (T)`;
  $("theme").setAttribute("aria-label", `Colours: ${view.theme === "auto" ? "as the system" : view.theme}`);
  loadColours();
  forgetCards();
  refresh();
}

function nextTheme() {
  const other = darkness.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  view.theme = other[(other.indexOf(view.theme) + 1) % 3];
  memory.write("theme", view.theme);
  applyTheme();
}

/** span: seconds, or "file": all of it. */
function setSpan(span) {
  view.wholeFile = span === WHOLE;
  view.cursor = null;
  if (view.wholeFile) return refresh();
  view.span = span;
  if (view.frozen)
    view.frozen.edge = Math.max(
      view.frozen.time + hello.hop_s / 2,
      Math.max(0, view.frozen.stream.history.times[0]) + span,
    );
  memory.write("span", span);
  refresh();
}

const spanName = (span) => (span < 60 ? `${span} s` : span === 60 ? "minute" : `${span / 60} minutes`);
const WHOLE = "file";

/** The spans to choose from: of a file also all of it, and nothing longer. */
function spansOf(stream) {
  const whole = fileSeconds(stream);
  return whole ? [...SPANS.filter((span) => span < whole), WHOLE] : SPANS;
}

const chosenSpan = (stream) => (fileSeconds(stream) && spanOf(stream) === fileSeconds(stream) ? WHOLE : view.span);

function changeSpan(by) {
  const spans = spansOf(view.shown);
  setSpan(spans[clamp(spans.indexOf(chosenSpan(view.shown)) + by, 0, spans.length - 1)]);
}

function showSpans(stream) {
  const spans = spansOf(stream),
    chosen = chosenSpan(stream),
    key = JSON.stringify([spans, chosen]);
  if ($("span").dataset.key === key) return;
  $("span").dataset.key = key;
  const name = (span) => (span === WHOLE ? "the whole file" : span === 60 ? "1 minute" : spanName(span));
  $("span").replaceChildren(...spans.map((span) => option(String(span), name(span))));
  $("span").value = String(chosen);
  put(
    $("past"),
    chosen === WHOLE ? "the whole file" : stream?.history.isFile ? spanName(chosen) : `last ${spanName(chosen)}`,
  );
}

function setFilter(words) {
  if (view.shows === "all") {
    view.streamFilter = words;
    return refresh();
  }
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
  ["g", () => (view.shows === "all" ? null : showAllStreams())],
  ["d", toggleDay],
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
  forgetCards();
  showKind();
  announce(showsTags() ? "all tags" : "concepts");
  refresh();
}

function showKind() {
  $("kind").hidden = !hasConcepts();
  $("kind").textContent = `All ${hello.tagCount} tags`;
  $("kind").setAttribute("aria-pressed", String(showsTags()));
  $("label-kind").textContent = showsTags() ? "tag" : "concept";
  $("model").textContent = hello.model;
  $("model").title = hello.server;
}

/** Escape undoes one thing: what is typed, a moment that is looked at, what is played, the choice of one stream. */
function onEscape(target, typing) {
  if (typing || (view.shows === "all" ? view.streamFilter : view.filter)) {
    $("filter").value = "";
    setFilter("");
    target.blur?.();
    clearCursor();
  } else if (view.cursor) clearCursor();
  else if (!stopPlaying() && view.shows === "one" && view.several) showAllStreams();
}

/** Return what a key does, or null. */
function actionOf({ key, target }) {
  const stream = view.shown,
    isArrow = ["ArrowLeft", "ArrowRight"].includes(key);
  if (view.shows === "one" && (isArrow || (target === $("time") && ["PageUp", "PageDown", "Home", "End"].includes(key))))
    return () => seekByKey(stream, key) || moveCursor(key);
  if (target === $("time") && key === "Enter") return () => togglePlay(stream);
  if (!view.shortcuts) return null;
  if (key !== " ") return keys.get(key.toLowerCase()) ?? null;
  return target.matches?.("button") ? null : () => togglePlay(view.shows === "one" ? stream : null) || freeze();
}

function onKey(event) {
  const { target } = event,
    typing = target.matches?.("input:not([type=checkbox], [type=range])");
  if (event.ctrlKey || event.metaKey || event.altKey || $("notes").open) return;
  if (event.key === "Escape" && view.shows === "day") return leaveDay();
  if (event.key === "Escape") return onEscape(target, typing);
  if (typing || target.matches?.("select")) return;
  if (view.shows === "day" && moveMoment(event)) return event.preventDefault();
  if (target === $("seek") && /^(Arrow|Page|Home|End)/.test(event.key)) return; // it moves itself
  if (view.shows === "all" && moveByKey(event)) return event.preventDefault();
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
}

function addListeners() {
  $("stream").onchange = ({ target }) => {
    const name = target.value.startsWith("stream ") ? target.value.slice("stream ".length) : null;
    if (view.day) chooseDay(name, view.day);
    else if (target.value === "all") chooseAll();
    else choose(name);
  };
  $("filter").oninput = (event) => setFilter(event.target.value);
  $("count").onchange = (event) => {
    view.count = Number(event.target.value);
    memory.write("count", view.count);
    view.ranked = -Infinity;
    refresh();
  };
  $("span").onchange = (event) => setSpan(event.target.value === WHOLE ? WHOLE : Number(event.target.value));
  Object.entries({
    kind: toggleKind,
    freeze,
    "save-png": savePicture,
    "save-lines": saveLines,
    theme: nextTheme,
    retry: reconnectNow,
    "all-streams": showAllStreams,
    help: () => $("notes").showModal(),
  }).forEach(([id, action]) => {
    $(id).onclick = action;
  });
  $("shortcuts").onchange = (event) => {
    view.shortcuts = event.target.checked;
    memory.write("shortcuts", view.shortcuts);
  };
  $("time").onpointermove = $("time").onpointerdown = (event) => onPointerMove(event);
  $("time").onclick = seekAt;
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
  addDayListeners();
  addSenderListeners();
  addPlayerListeners(current, onHeard);
  addEventListener("keydown", onKey);
  addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" && !event.target.matches?.(".lane, .time, .time *")) clearCursor();
  });
  addEventListener("resize", () => refresh());
  addEventListener("popstate", goBack);
  addEventListener("online", () => {
    if (link.state === "away") reconnectNow();
  });
  document.addEventListener("visibilitychange", () => refresh());
  document.fonts?.ready.then(() => refresh());
  darkness.addEventListener("change", applyTheme);
}

function start() {
  if (!SPANS.includes(view.span)) view.span = 60;
  if (![...$("count").options].some((choice) => Number(choice.value) === view.count)) view.count = 15;
  $("count").value = String(view.count);
  reserveRoom();
  $("shortcuts").checked = view.shortcuts;
  for (const tick of TICKS) {
    const mark = document.createElement("span");
    mark.textContent = tick;
    mark.style.left = `${100 * tick ** GAMMA}%`;
    $("legend").append(mark);
  }
  const frame = 86 * 5 + 8; // bytes
  $("memory").textContent =
    `This page keeps half an hour of up to ${MAX_ALL_FRAMES / 7200} streams, and less of each of more, down to two ` +
    `minutes (about ${Math.round((1.25 * MAX_ALL_FRAMES * frame) / 2 ** 20)} MB together); and the newest ` +
    `${MAX_TEXT_MB} MB of messages for the JSON lines: about 40 minutes of one stream.`;
  onDraw(show);
  listen({
    otherModel: forgetRows,
    hello() {
      showKind();
      reserveRoom();
      updateIngest();
    },
  });
  addListeners();
  applyTheme();
  connect();
  setInterval(() => {
    if (!document.hidden) {
      if (view.shows === "all" || (view.shows === "day" && isDayOld())) refresh();
      status();
      for (const sender of senders) if (!sender.isFinished) sender.show();
      if (current() !== view.shown) refresh();
    }
  }, 250);
}

start();
