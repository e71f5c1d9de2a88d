/** The mark with which the reader looks at a moment. */
import { playFrom } from "./player.js";
import { current } from "./choice.js";
import { hello, refresh, view } from "./state.js";
import { cursorTime, edgeOf, spanOf } from "./timeline.js";
import { clamp } from "./util.js";

const partOf = (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  return clamp((event.clientX - box.left) / box.width, 0, 1);
};

export function onPointerMove(event, label) {
  if (event.pointerType !== "mouse" && current()?.history.isFile) return; // a finger plays from there
  view.cursor = { part: partOf(event), label };
  refresh();
}

export function onPointerLeave(event) {
  if (event.pointerType === "mouse") clearCursor();
} // a finger's mark stays until the next tap

export function clearCursor() {
  if (view.cursor) {
    view.cursor = null;
    refresh();
  }
}

/** A click in the picture of a file plays it from there. */
export function seekAt(event) {
  const stream = current();
  if (stream?.history.length) playFrom(stream, edgeOf(stream) - (1 - partOf(event)) * spanOf(stream));
}

/** Look back or forward by a key. */
export function moveCursor(key) {
  const stream = current(),
    history = stream?.history;
  if (!history?.length) return;
  const at = cursorTime(stream) ?? view.frozen?.time ?? history.end,
    jump = {
      ArrowLeft: -hello.hop_s,
      ArrowRight: hello.hop_s,
      PageUp: -10,
      PageDown: 10,
      Home: -Infinity,
      End: Infinity,
    }[key];
  const left = Math.max(history.times[0], edgeOf(stream) - spanOf(stream)),
    right = view.frozen?.time ?? history.end;
  view.cursor = { time: history.times[history.nearest(clamp(at + jump, left, right))] };
  refresh();
}
