/** The rows of what this page sends. */
import { choose } from "./choice.js";
import { $, clamp, put, timecode } from "./util.js";

const MIN_DB = -60; // the level's left end

export function addRow(sender) {
  const item = $("source").content.firstElementChild.cloneNode(true),
    part = (name) => item.querySelector(`.${name}`);
  const row = { item };
  for (const name of ["title", "gauge", "level", "peak", "words", "device", "look", "stop"]) row[name] = part(name);
  item.dataset.kind = sender.kind;
  row.gauge.setAttribute("role", sender.kind === "mic" ? "meter" : "progressbar");
  row.gauge.setAttribute("aria-label", sender.kind === "mic" ? "Level" : `Progress of ${sender.title}`);
  row.look.onclick = () => choose(sender.name);
  row.stop.onclick = () => sender.stop();
  $("source-list").append(item);
  $("sources").hidden = false;
  return row;
}

/** Scroll the list, not the page. */
export function showInList(item) {
  const list = $("source-list"),
    top = item.offsetTop - list.offsetTop,
    bottom = top + item.offsetHeight - list.clientHeight;
  list.scrollTop = clamp(list.scrollTop, bottom, Math.max(top, bottom));
}

export function showRow(sender) {
  const { row, phase } = sender;
  row.item.dataset.phase = phase;
  put(row.title, sender.begun ? sender.name : sender.title);
  row.title.title = sender.name;
  put(row.words, statusText(sender));
  row.look.hidden = !sender.begun;
  const action = sender.isFinished ? "Dismiss" : sender.kind === "mic" ? "Stop" : "Cancel";
  put(row.stop, action);
  row.stop.setAttribute("aria-label", `${action}: ${sender.title}`);
  row.look.setAttribute("aria-label", `Show ${sender.title}`);
  if (sender.kind === "mic") showLevel(row, sender.isFinished ? null : sender.level);
  else showProgress(row, (sender.processed_s * sender.rate) / sender.length);
}

function statusText(sender) {
  if (sender.phase === "busy") return sender.countdown();
  if (sender.phase !== "live")
    return sender.note && sender.isFinished
      ? `${sender.note} ${sender.words}`
      : sender.words || (sender.phase === "waiting" ? "waiting for its turn" : "opening");
  const time = sender.kind === "mic" ? timecode(sender.available / sender.rate) : "";
  return [time, sender.note || sender.progress()].filter(Boolean).join(" · ") + sender.losses();
}

function showLevel(row, level) {
  const part = (db) => clamp(1 - db / MIN_DB, 0, 1);
  row.level.style.transform = `scaleX(${level ? part(level.rms) : 0})`;
  row.peak.hidden = !level || level.peak <= MIN_DB;
  if (level) row.peak.style.left = `${100 * part(level.peak)}%`;
  row.gauge.setAttribute("aria-valuemin", String(MIN_DB));
  row.gauge.setAttribute("aria-valuemax", "0");
  row.gauge.setAttribute("aria-valuenow", level ? clamp(level.rms, MIN_DB, 0).toFixed(0) : String(MIN_DB));
  row.gauge.setAttribute("aria-valuetext", level ? `${level.rms.toFixed(0)} dB` : "none");
}

function showProgress(row, part) {
  const done = clamp(part || 0, 0, 1);
  row.level.style.transform = `scaleX(${done})`;
  row.peak.hidden = true;
  row.gauge.setAttribute("aria-valuemin", "0");
  row.gauge.setAttribute("aria-valuemax", "100");
  row.gauge.setAttribute("aria-valuenow", (100 * done).toFixed(0));
}
