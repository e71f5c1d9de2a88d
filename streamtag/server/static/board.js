/** The board: the rows' pictures, the time axis, the cursor and where a file plays. */
import { columnsOf, fillStrip, fitCanvas, paintAxis, paintLane } from "./paint.js";
import { heardTime } from "./player.js";
import { rows } from "./rows.js";
import { hello, view } from "./state.js";
import { cursorTime, edgeOf, shownFrame, spanOf } from "./timeline.js";
import { $, clamp, formatValue, timecode } from "./util.js";

export let size = { width: 0, lane: 0, axis: 0, scale: 1, left: 0 }; // of a lane, in device pixels

export function measure() {
  const time = $("time").getBoundingClientRect(),
    scale = devicePixelRatio || 1,
    board = $("board").getBoundingClientRect();
  const lane = view.order.length ? rows[view.order[0]].lane.clientHeight : 0;
  size = {
    width: Math.max(1, Math.round(time.width * scale)),
    lane: Math.round(lane * scale),
    axis: Math.round(time.height * scale),
    scale,
    left: time.left - board.left,
    css: time.width,
  };
}

export function paintBoard(stream) {
  const history = stream?.history,
    edge = edgeOf(stream),
    columns = columnsOf(history, edge, size.width, spanOf(stream), view.frozen?.time);
  fillStrip(history, columns, view.order);
  view.order.forEach((tag, line) => {
    const pen = fitCanvas(rows[tag].lane, size.width, size.lane);
    paintLane(pen, history, columns, line, tag, { x: 0, y: 0, width: size.width, height: size.lane }, size.scale);
  });
  paintAxis(
    fitCanvas($("axis"), size.width, size.axis),
    columns,
    { x: 0, y: 2 * size.scale, width: size.width, height: size.axis },
    size.scale,
  );
  showCursor(stream, columns);
}

function showCursor(stream, columns) {
  const time = cursorTime(stream),
    line = $("cursor");
  line.hidden = time === null;
  if (time === null) return;
  const at = placeLine(line, (time - columns.start) / spanOf(stream));
  const until = view.frozen?.time ?? Infinity,
    frame = time > until + hello.hop_s ? -1 : stream.history.nearest(time, hello.hop_s),
    label = view.cursor.label,
    gap = stream.history.gaps.find((gap) => time >= gap.start && time <= gap.start + gap.lost);
  const value =
    frame >= 0 && label !== undefined
      ? ` · ${hello.labels[label]} ${formatValue(stream.history.value(frame, label))}`
      : "";
  const bubble = $("bubble");
  bubble.textContent =
    timecode(frame < 0 ? time : stream.history.times[frame], true) +
    (gap ? ` · ${gap.lost.toFixed(1)} s of sound lost` : frame < 0 ? " · nothing came" : value);
  const half = bubble.offsetWidth / 2,
    room = size.left + at;
  bubble.style.transform = `translateX(${clamp(-half, -room, $("board").offsetWidth - room - 2 * half)}px)`;
}

/** Put an upright line over the rows. part: of the picture's width. -> pixels from its left edge. */
function placeLine(line, part) {
  const at = part * size.css,
    stage = $("rows").parentElement;
  line.hidden = at < -1 || at > size.css + 1;
  line.style.left = `${size.left + at}px`;
  line.style.top = `${stage.offsetTop}px`;
  line.style.height = `${stage.offsetHeight}px`;
  return at;
}

/** Mark what is heard in the picture of a file. */
export function showPlayhead(stream) {
  const time = heardTime(stream),
    span = spanOf(stream);
  if (time === null) $("playhead").hidden = true;
  else placeLine($("playhead"), 1 - (edgeOf(stream) - time) / span);
}

export function showSlider(stream) {
  const slider = $("time"),
    history = stream?.history,
    frame = shownFrame(stream);
  slider.setAttribute("aria-label", history?.isFile ? "Position in the file" : "Look back in time");
  const times = history?.length
    ? [history.times[0], history.end, frame < 0 ? history.end : history.times[frame]]
    : [0, 0, 0];
  ["aria-valuemin", "aria-valuemax", "aria-valuenow"].forEach((name, k) =>
    slider.setAttribute(name, times[k].toFixed(2)),
  );
  const best =
    frame < 0
      ? []
      : view.order
          .map((tag) => [history.value(frame, tag), hello.labels[tag]])
          .filter(([value]) => value === value)
          .sort((a, b) => b[0] - a[0])
          .slice(0, 3);
  const words = best.map(([value, name]) => `${name} ${value.toFixed(2)}`).join(", ");
  slider.setAttribute("aria-valuetext", `${timecode(times[2], true)}: ${words || "nothing"}`);
}
