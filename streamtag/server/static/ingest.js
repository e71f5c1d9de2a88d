/** Whether the server accepts sound from this page, and the names that streams of this page may have. */
import { address, link } from "./state.js";
import { $ } from "./util.js";

const MAX_NAME_CHARS = 64;

/** The state of the server: `health.capacity` is set if it accepts streams; hasHistory: it keeps one; `token` is the token for producers. */
export const ingest = { health: null, hasHistory: false, isStarting: false, timer: 0, token: null, follow: true };
export const senders = []; // as their rows, the newest last

export async function fetchHealth() {
  const limits = { signal: AbortSignal.timeout(3000), cache: "no-store", credentials: "same-origin" };
  const health = await (await fetch(address("http", "health"), limits)).json();
  ingest.health = Number.isFinite(health?.capacity) ? health : null;
  ingest.hasHistory = health?.history === true;
  ingest.isStarting = health?.status === "starting";
  showIngest();
  return ingest.health;
}

/** Check whether the server accepts streams; ask again a few times while it is starting or does not answer. */
export async function updateIngest(times = 10) {
  clearTimeout(ingest.timer);
  const isKnown = await fetchHealth().then(
    () => !ingest.isStarting,
    () => false,
  );
  if (!isKnown && times > 1 && link.state === "open") ingest.timer = setTimeout(() => updateIngest(times - 1), 3000);
}

function showIngest() {
  $("send-controls").hidden = !ingest.health;
  $("day").hidden = $("shortcut-day").hidden = $("shortcut-day-text").hidden = !ingest.hasHistory;
  $("shortcut-drop").hidden = $("shortcut-drop-text").hidden = !ingest.health;
  if (ingest.health) $("empty-code").hidden = true;
}

/** Make a valid stream name: 1 to 64 printable characters, no slash. */
export function streamName(title, suffix = "") {
  const clean = title.normalize("NFC").replace(/[\p{C}\p{Z}/\\]+/gu, " ");
  const short = [...clean.trim()]
    .slice(0, MAX_NAME_CHARS - suffix.length)
    .join("")
    .trim();
  return (/^\.*$/.test(short) ? "file" : short) + suffix; // dots alone would be a way in an address
}

export const randomEnd = () => `-${Math.random().toString(36).slice(2, 6).padEnd(4, "0")}`;

export const hasEnded = (name) => {
  const known = ingest.health?.streams?.[name];
  return !known || known.ended;
};
