/** Paints probabilities by time: the picture of the page, of its cards and of the saved file. */
import { hello } from "./state.js";
import { $, clamp, timecode } from "./util.js";

export const GAMMA = 0.6; // lifts the small probabilities of rare tags out of the dark
export const RAMPS = {
  dark: ["#16151f", "#3b1a68", "#84267f", "#d2455f", "#f8892c", "#fbe481"],
  light: ["#f2efec", "#f6d9b8", "#f0955f", "#c8446c", "#7b2484", "#2a0d52"],
};
export const TICKS = [0, 0.1, 0.25, 0.5, 1];
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

export const theme = () => document.documentElement.dataset.theme;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
export let paint = {}; // the theme's colours, looked up once

function mixColours(stops, part) {
  const at = part * (stops.length - 1),
    left = Math.min(Math.floor(at), stops.length - 2),
    share = at - left;
  const channel = (stop, k) => parseInt(stop.slice(1 + 2 * k, 3 + 2 * k), 16);
  return [0, 1, 2].map((k) =>
    Math.round((1 - share) * channel(stops[left], k) + share * channel(stops[left + 1], k)),
  );
}

export function loadColours() {
  const stops = RAMPS[theme()],
    table = new Uint32Array(256);
  for (let level = 0; level < 256; level++) {
    const [red, green, blue] = mixColours(stops, (level / 255) ** GAMMA);
    table[level] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  paint = {
    table,
    paper: colour("paper"),
    lane: colour("lane"),
    ink: colour("ink"),
    soft: colour("soft"),
    on: colour("on"),
    warn: colour("warn"),
    edge: colour("edge"),
    line: colour("line"),
    font: colour("font"),
  };
  paint.hatch = hatch(paint.warn, paint.paper);
  paint.unheard = hatch(paint.line, paint.paper);
  $("legend").firstElementChild.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
}

function hatch(ink, paper) {
  const tile = document.createElement("canvas"),
    size = (tile.width = tile.height = 8),
    pen = tile.getContext("2d");
  pen.fillStyle = paper;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = ink;
  pen.lineWidth = 2;
  pen.lineCap = "square";
  for (const x of [-size, 0, size]) {
    pen.beginPath();
    pen.moveTo(x, size);
    pen.lineTo(x + size, 0);
    pen.stroke();
  }
  return tile;
}

/**
 * Which frames each of `width` columns shows, the last ending at `edge`: from, to, and the way between (2: the mean).
 * Columns stand on a grid of time, so that a scrolled picture is the same picture. Nothing after `until` is shown.
 */
export function columnsOf(history, edge, width, span, until = Infinity) {
  const step = span / width,
    last = Math.round(edge / step),
    reach = 0.75 * hello.hop_s;
  const columns = {
    width,
    step,
    start: (last - width) * step,
    from: new Int32Array(width).fill(-1),
    to: new Int32Array(width),
    part: new Float32Array(width),
  };
  columns.until = until;
  if (!history?.length) return columns;
  const { times } = history,
    length = history.before(until) + 1;
  let frame = Math.min(history.before(columns.start), length - 1);
  for (let x = 0; x < width; x++) {
    const time = columns.start + (x + 0.5) * step;
    const first = frame + 1;
    while (frame + 1 < length && times[frame + 1] <= (step > hello.hop_s ? time + step / 2 : time)) frame++;
    if (step > hello.hop_s && frame >= first) {
      columns.from[x] = first;
      columns.to[x] = frame;
      columns.part[x] = 2;
      continue;
    }
    const next = frame + 1;
    if (frame >= 0 && next < length && times[next] - times[frame] < 1.6 * hello.hop_s) {
      columns.from[x] = frame;
      columns.to[x] = next;
      columns.part[x] = (time - times[frame]) / (times[next] - times[frame]);
    } else if (frame >= 0 && time - times[frame] < reach) columns.from[x] = columns.to[x] = frame;
    else if (next < length && times[next] - time < reach) columns.from[x] = columns.to[x] = next;
  }
  return columns;
}

const strip = document.createElement("canvas"); // one line of pixels a tag: stretched into the lanes

export function fillStrip(history, columns, labels) {
  paintStrip(strip, history, columns, labels);
}

/** Paint one line of pixels for each label. -> the pen. */
export function paintStrip(canvas, history, columns, labels) {
  canvas.width = columns.width;
  canvas.height = Math.max(1, labels.length);
  const pen = canvas.getContext("2d"),
    image = pen.createImageData(canvas.width, canvas.height),
    pixels = new Uint32Array(image.data.buffer);
  labels.forEach((label, line) => {
    for (let x = 0; x < columns.width; x++) {
      const from = columns.from[x],
        to = columns.to[x],
        part = columns.part[x];
      if (from < 0) continue;
      let value = history.value(from, label);
      if (part === 2) {
        for (let frame = from + 1; frame <= to; frame++) value += history.value(frame, label);
        value /= to - from + 1;
      } else if (part > 0) value += part * (history.value(to, label) - value);
      if (value === value) pixels[line * columns.width + x] = paint.table[clamp(Math.round(value * 255), 0, 255)];
    }
  });
  pen.putImageData(image, 0, 0);
  return pen;
}

/** One lane: the strip's line, what was lost, and below where the tag is present. */
export function paintLane(pen, history, columns, line, tag, box, scale) {
  const { x, y, width, height } = box,
    foot = Math.max(2, Math.round(2 * scale));
  pen.imageSmoothingEnabled = false;
  pen.drawImage(strip, 0, line, columns.width, 1, x, y, width, height - foot - Math.round(scale));
  if (!history) return;
  paintGaps(pen, history, columns, box);
  pen.fillStyle = paint.on;
  let since = -1;
  for (let column = 0; column <= columns.width; column++) {
    const there =
      column < columns.width &&
      columns.from[column] >= 0 &&
      history.present[columns.from[column] * history.size + tag];
    if (there && since < 0) since = column;
    if (!there && since >= 0) {
      pen.fillRect(
        x + (since * width) / columns.width,
        y + height - foot,
        ((column - since) * width) / columns.width,
        foot,
      );
      since = -1;
    }
  }
}

function paintGaps(pen, history, columns, { x, y, width, height }) {
  const seen = columns.step * columns.width;
  for (const gap of history.gaps) {
    const left = (gap.start - columns.start) / seen,
      right = (gap.start + gap.lost - columns.start) / seen;
    if (right < 0 || left > 1 || gap.start > columns.until) continue;
    const from = Math.round(x + clamp(left, 0, 1) * width),
      to = Math.round(x + clamp(right, 0, 1) * width);
    pen.fillStyle = pen.createPattern(paint.hatch, "repeat");
    pen.fillRect(from, y, Math.max(3, to - from), height);
  }
}

export function paintAxis(pen, columns, { x, y, width }, scale) {
  const seen = columns.step * columns.width,
    few = Math.max(2, width / scale / 75);
  const tick = STEPS.find((step) => seen / step <= few) ?? 900;
  pen.font = `${12 * scale}px ${paint.font}`;
  pen.textBaseline = "top";
  pen.fillStyle = paint.soft;
  for (
    let time = Math.ceil(Math.max(0, columns.start - 1e-6) / tick) * tick;
    time <= columns.start + seen + 1e-6;
    time += tick
  ) {
    const at = x + ((time - columns.start) / seen) * width,
      label = timecode(time),
      half = pen.measureText(label).width / 2;
    pen.fillRect(Math.min(Math.round(at), x + width - scale), y, Math.max(1, scale), 5 * scale);
    if (at + half < x) continue;
    pen.fillText(label, clamp(at - half, x, x + width - 2 * half), y + 9 * scale);
  }
}

/** A canvas as many pixels large as the screen shows of it. -> its pen, or null where there is no room. */
export function fitCanvas(canvas, width, height, clear = true) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d");
  if (clear) pen.clearRect(0, 0, width, height);
  return pen;
}
