/** Which stretch of time is shown, and which moment in it. */
import { fileSeconds, heardTime, isPlaying } from "./player.js";
import { hello, view } from "./state.js";
import { calm, clamp, seconds } from "./util.js";

/** The stream time that plays now: it runs on between two frames, never further than the newest. */
export function playhead(stream) {
  if (!stream?.history.length) return 0;
  const end = stream.history.end + hello.hop_s / 2;
  if (!stream.live || calm.matches) return end;
  return end - Math.max(0, hello.hop_s - (seconds() - stream.arrived));
}

/** How many seconds are shown: of a file of this page, all of it unless the reader wants less. */
export function spanOf(stream) {
  const whole = fileSeconds(stream);
  return whole ? (view.wholeFile ? whole : Math.min(view.span, whole)) : view.span;
}

/** The time at the right edge: the picture fills from the left, then it scrolls. */
export function edgeOf(stream) {
  if (view.frozen) return view.frozen.edge;
  const whole = fileSeconds(stream),
    span = spanOf(stream);
  if (whole) return clamp((heardTime(stream) ?? playhead(stream)) + span / 2, span, whole);
  const start = stream?.history.length ? Math.max(0, stream.history.times[0] - hello.hop_s / 2) : 0;
  return Math.max(playhead(stream), start + span);
}

export function cursorTime(stream) {
  if (!view.cursor || !stream?.history.length) return null;
  return view.cursor.time ?? edgeOf(stream) - (1 - view.cursor.part) * spanOf(stream);
}

/** The time under the cursor, where it decides what is shown: not while a file is played. */
export function lookedAt(stream) {
  return heardTime(stream) !== null && isPlaying() ? null : cursorTime(stream);
}

/** The frame whose values are shown: under the cursor, else what is heard, else the newest. -1: none. */
export function shownFrame(stream) {
  if (!stream?.history.length) return -1;
  const looked = lookedAt(stream),
    time = looked ?? view.frozen?.time ?? heardTime(stream);
  if (view.frozen && time > view.frozen.time + hello.hop_s) return -1; // not yet, on the frozen picture
  if (time === null) return stream.history.last;
  return stream.history.nearest(time, view.frozen && looked === null ? Infinity : hello.hop_s);
}

/** The means over a whole stream where they are shown: after its end, unless the reader looks at a moment. */
export function shownEnd(stream) {
  const isMoment = view.frozen || lookedAt(stream) !== null || heardTime(stream) !== null;
  return stream?.ended && !isMoment ? stream.ended : null;
}

/** What decides the order of the labels at the moment that is shown. */
export function weightsOf(stream) {
  if (!stream) return null;
  const end = shownEnd(stream);
  if (end) return end.means;
  const frame = heardTime(stream) === null ? -1 : shownFrame(stream);
  if (frame < 0) return stream.rank;
  const { history } = stream,
    first = Math.max(0, frame - Math.round(3 / hello.hop_s)),
    sums = new Float32Array(history.size);
  for (let at = first; at <= frame; at++)
    for (let label = 0; label < history.size; label++) sums[label] += history.value(at, label) || 0;
  return sums.map((sum) => sum / (frame - first + 1));
}
