/** Small helpers that know nothing of streams. */
export const $ = (id) => document.getElementById(id);
export const droppable = matchMedia("(hover: none)").matches ? "" : ", or drop a file anywhere on this page";
export const calm = matchMedia("(prefers-reduced-motion: reduce)");
export const darkness = matchMedia("(prefers-color-scheme: dark)");
export const seconds = () => performance.now() / 1000;
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const numbers = new Intl.NumberFormat("en"); // made once: it is slow to make
export const grouped = (count) => numbers.format(count);
export const plural = (count, word) => `${grouped(count)} ${word}${count === 1 ? "" : "s"}`;

export function timecode(time, tenths = false) {
  const sign = time < 0 ? "−" : "",
    whole = Math.abs(time);
  const all = tenths ? Math.round(whole * 10) / 10 : Math.floor(whole + 1e-6);
  const hours = Math.floor(all / 3600),
    minutes = Math.floor(all / 60) % 60,
    rest = all % 60;
  const end = tenths ? rest.toFixed(1).padStart(4, "0") : String(Math.floor(rest)).padStart(2, "0");
  return sign + (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : String(minutes)) + `:${end}`;
}

/** What the reader chose; a browser may forbid it. */
export const memory = {
  read(key) {
    try {
      return JSON.parse(localStorage.getItem(`streamtag.${key}`));
    } catch {
      return null;
    }
  },
  write(key, value) {
    try {
      localStorage.setItem(`streamtag.${key}`, JSON.stringify(value));
    } catch {
      /* not kept */
    }
  },
};

export const formatValue = (value) => (value === value && value !== undefined ? value.toFixed(2) : "–");

/** Set the text only if it changed: a screen reader would read it again. */
export function put(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function option(value, label) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = label;
  return made;
}

/** A sample as a 16-bit integer; 0 for what is no number. */
export const sample16 = (value) => clamp(Math.round(value * 32768), -32768, 32767) || 0;
