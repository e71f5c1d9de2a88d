/** Times of the day, in the local time zone: ranges, hours, and how they are written. All are Unix times [s]. */
export const HOUR_S = 3600,
  DAY_S = 24 * HOUR_S;
const RESOLUTIONS = [10, 30, 60, 300, 900, 1800, 3600, 7200],
  MAX_BINS = 400;
const STEPS = [60, 300, 600, 900, 1800, 3600, 3 * 3600, 6 * 3600, DAY_S]; // between two marks

const formats = {
  time: new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }),
  second: new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  day: new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" }),
  weekday: new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long" }),
  date: new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" }),
};
/** kind: a name in `formats`; the commas of dates depend on the browser's version, and are left out. */
export function written(at, kind) {
  if (kind === "time" || kind === "second") return formats[kind].format(1000 * at);
  const parts = formats[kind].formatToParts(1000 * at).filter(({ type }) => type !== "literal");
  return parts.map(({ value }) => value).join(" ");
}

export const now = () => Date.now() / 1000;

/** Midnight of the day of a time, or of so many days later. */
export function midnight(at, days = 0) {
  const date = new Date(1000 * at);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime() / 1000;
}

export function hourOf(at) {
  const from = new Date(1000 * at).setMinutes(0, 0, 0) / 1000;
  return { from, to: from + HOUR_S };
}

/** A day of the calendar; it has 23 or 25 hours when the clocks change. */
export const dayOf = (at) => ({ from: midnight(at), to: midnight(at, 1) });

/** As the value of an input of type date, and back; NaN for none. */
export function dateValue(at) {
  const date = new Date(1000 * at),
    two = (number) => String(number).padStart(2, "0");
  return `${String(date.getFullYear()).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
export const fromDateValue = (text) => new Date(`${text}T00:00`).getTime() / 1000;

/** The length of the bins of a range. */
export const resolutionOf = ({ from, to }) =>
  RESOLUTIONS.find((step) => (to - from) / step <= MAX_BINS) ?? Math.ceil((to - from) / MAX_BINS);

/** The name of a range: a day, an hour, or from when to when. */
export function rangeName({ from, to }) {
  if (from === midnight(from) && to === midnight(from, 1)) return written(from, "day");
  const isOneDay = midnight(from) === midnight(to - 1);
  return `${written(from, "weekday")}, ${written(from, "time")} – ${isOneDay ? "" : `${written(to, "weekday")}, `}${written(to, "time")}`;
}

/** So many marks have room in a width. */
export const mostMarks = (width) => Math.max(2, width / 75);

/** Return [{at, label}], the marks of a range of which at most `most` have room; midnight has the date. */
export function marksOf({ from, to }, most) {
  const step = STEPS.find((each) => (to - from) / each <= most) ?? DAY_S * Math.ceil((to - from) / most / DAY_S),
    marks = [];
  const ofDay = (at) => {
    const date = new Date(1000 * at);
    return 3600 * date.getHours() + 60 * date.getMinutes();
  };
  const fine = Math.min(step, 900); // local times are whole quarters of an hour apart from UTC
  for (let at = Math.ceil(from / fine) * fine; at <= to; at += fine)
    if (step > DAY_S ? Math.round((at - midnight(from)) / DAY_S) % (step / DAY_S) === 0 && !ofDay(at) : ofDay(at) % step === 0)
      marks.push({ at, label: ofDay(at) ? written(at, "time") : written(at, "date") });
  return marks;
}

/** A length as people say it: "3 h 12 min", "12 min", "45 s". */
export function duration(length) {
  if (length < 59.5) return `${Math.round(length)} s`;
  const minutes = Math.round(length / 60),
    hours = Math.floor(minutes / 60);
  return hours ? `${hours} h ${String(minutes % 60).padStart(2, "0")} min` : `${minutes} min`;
}
