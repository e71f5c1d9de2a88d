/** What screen readers are told. */
import { $ } from "./util.js";

const announcements = { changes: new Map(), words: [], timer: 0 };

export function announceTag(tag, on) {
  announcements.changes.set(tag, on);
  announce();
}

/** Announce changes to screen readers together, at most every five seconds. */
export function announce(words) {
  if (words) announcements.words.push(words);
  announcements.timer ||= setTimeout(() => {
    const list = (on) =>
      [...announcements.changes]
        .filter((change) => change[1] === on)
        .map((change) => change[0])
        .slice(0, 6)
        .join(", ");
    const parts = [list(1) && `on: ${list(1)}`, list(0) && `off: ${list(0)}`, ...announcements.words].filter(Boolean);
    $("announcer").textContent = parts.join("; ");
    announcements.changes.clear();
    announcements.words = [];
    announcements.timer = 0;
  }, 5000);
}
