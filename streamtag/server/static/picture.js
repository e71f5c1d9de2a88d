/** What the reader saves: the session as JSON lines, the history as a picture. */
import { announce } from "./announcer.js";
import { current } from "./choice.js";
import { GAMMA, RAMPS, TICKS, columnsOf, fillStrip, paint, paintAxis, paintLane, theme } from "./paint.js";
import { hello, session, view } from "./state.js";
import { edgeOf, spanOf } from "./timeline.js";
import { plural, timecode } from "./util.js";

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const fileName = (stream) =>
  (stream?.name ?? "")
    .replace(/[^\p{L}\p{N}._-]+/gu, "_")
    .replace(/^[._]+/, "")
    .slice(0, 60) || "stream";

export function saveLines() {
  download(new Blob([session.text()], { type: "application/x-ndjson" }), "streamtag-session.jsonl");
  announce(`${plural(session.count, "message")} saved`);
}

export function savePicture() {
  const stream = current();
  if (!stream?.history.length) return;
  const time = timecode(view.frozen?.time ?? stream.history.end).replaceAll(":", "m");
  const name = `streamtag-${fileName(stream)}-${time}s.png`;
  picture(stream).toBlob((blob) => download(blob, name), "image/png");
  announce("picture saved");
}

/** The rows and times on the screen as one picture, 1600 pixels wide. */
function picture(stream) {
  const canvas = document.createElement("canvas"),
    pitch = 34,
    top = 130,
    left = 190,
    right = 45,
    height = top + pitch * view.order.length + 70;
  canvas.width = 1600;
  canvas.height = height;
  const pen = canvas.getContext("2d"),
    width = canvas.width - left - right,
    columns = columnsOf(stream.history, edgeOf(stream), width, spanOf(stream), view.frozen?.time);
  pen.fillStyle = paint.paper;
  pen.fillRect(0, 0, canvas.width, height);
  title(pen, stream, columns, left, canvas.width - right);
  fillStrip(stream.history, columns, view.order);
  view.order.forEach((tag, line) => {
    const box = { x: left, y: top + line * pitch, width, height: pitch - 4 };
    pen.fillStyle = paint.lane;
    pen.fillRect(box.x, box.y, box.width, box.height);
    paintLane(pen, stream.history, columns, line, tag, box, 1);
    pen.fillStyle = paint.ink;
    pen.font = `16px ${paint.font}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(hello.labels[tag], left - 12, box.y + box.height / 2, left - 24);
  });
  pen.textAlign = "left";
  paintAxis(pen, columns, { x: left, y: top + pitch * view.order.length + 4, width, height: 40 }, 1.15);
  return canvas;
}

function title(pen, stream, columns, left, right) {
  const from = Math.max(0, columns.start),
    to = Math.min(columns.until, stream.history.end, columns.start + columns.step * columns.width);
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  pen.fillStyle = paint.ink;
  pen.font = `700 28px ${paint.font}`;
  pen.fillText(stream.name, left, 58, right - left - 340);
  pen.font = `16px ${paint.font}`;
  pen.fillStyle = paint.soft;
  const times = `${timecode(from)} to ${timecode(to)}`;
  pen.fillText(times, left, 92);
  pen.fillStyle = paint.on;
  pen.fillText("underlined: where a tag counts as present", left + pen.measureText(times).width + 28, 92);
  const ramp = pen.createLinearGradient(right - 280, 0, right, 0),
    stops = RAMPS[theme()];
  stops.forEach((stop, k) => ramp.addColorStop(k / (stops.length - 1), stop));
  pen.fillStyle = ramp;
  pen.fillRect(right - 280, 54, 280, 12);
  pen.fillStyle = paint.soft;
  pen.font = `13px ${paint.font}`;
  pen.textAlign = "center";
  pen.fillText("probability", right - 140, 44);
  for (const tick of TICKS) pen.fillText(String(tick), right - 280 + 280 * tick ** GAMMA, 86);
}
