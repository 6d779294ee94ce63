// Numbers and times as people read them: three significant digits, units that scale, "–" for what is unknown.

export const UNKNOWN = "–";

const NARROW_SPACE = "\u202f";
const SI = [
  { from: 1e15, by: 1e15, prefix: "P" },
  { from: 1e12, by: 1e12, prefix: "T" },
  { from: 1e9, by: 1e9, prefix: "G" },
  { from: 1e6, by: 1e6, prefix: "M" },
  { from: 1e4, by: 1e3, prefix: "k" },
];

type Scale = readonly (readonly [from: number, by: number, unit: string])[];

const SECONDS: Scale = [
  [172_800, 86_400, "d"],
  [7_200, 3_600, "h"],
  [120, 60, "min"],
  [1, 1, "s"],
  [1e-3, 1e-3, "ms"],
  [1e-6, 1e-6, "µs"],
  [0, 1e-9, "ns"],
];
const BYTES: Scale = [
  [2 ** 50, 2 ** 50, "PiB"],
  [2 ** 40, 2 ** 40, "TiB"],
  [2 ** 30, 2 ** 30, "GiB"],
  [2 ** 20, 2 ** 20, "MiB"],
  [2 ** 10, 2 ** 10, "KiB"],
  [0, 1, "B"],
];

/** Unit as sent -> the scale it moves on, and what one of it is on that scale. */
const UNITS: Record<string, readonly [Scale, number]> = {
  __proto__: null as never, // a unit is what a sender wrote: `constructor` is none of ours
  ns: [SECONDS, 1e-9],
  nanoseconds: [SECONDS, 1e-9],
  us: [SECONDS, 1e-6],
  µs: [SECONDS, 1e-6],
  microseconds: [SECONDS, 1e-6],
  ms: [SECONDS, 1e-3],
  milliseconds: [SECONDS, 1e-3],
  s: [SECONDS, 1],
  sec: [SECONDS, 1],
  seconds: [SECONDS, 1],
  minutes: [SECONDS, 60],
  b: [BYTES, 1],
  byte: [BYTES, 1],
  bytes: [BYTES, 1],
  kb: [BYTES, 1000],
  kib: [BYTES, 1024],
  mb: [BYTES, 1e6],
  mib: [BYTES, 2 ** 20],
  gb: [BYTES, 1e9],
  gib: [BYTES, 2 ** 30],
};
const PERCENT = new Set(["%", "percent", "pct"]);

export interface Quantity {
  number: string;
  unit: string;
}

/** At most three significant digits, without exponent where people do not write one; whole numbers below 10,000 exactly. */
function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-4 || size >= 1e18) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  if (size < 1e4 && Number.isInteger(value)) return grouped(String(value));
  if (size >= 100) return grouped(String(Math.round(value)));
  return String(Number(value.toPrecision(3)));
}

export function grouped(whole: string): string {
  return whole.replace(/\B(?=(\d{3})+$)/g, ",");
}

function onScale(value: number, scale: Scale): Quantity {
  const size = Math.abs(value);
  if (size === 0) return { number: "0", unit: "" };
  const [, by, unit] = scale.find(([from]) => size >= from) ?? scale[scale.length - 1]!;
  return { number: digits(value / by), unit };
}

/** A value split in number and unit, both ready to show. */
export function quantity(value: number | null | undefined, unit: string = ""): Quantity {
  if (value === null || value === undefined || !Number.isFinite(value)) return { number: UNKNOWN, unit: "" };
  const known = UNITS[unit.toLowerCase()];
  if (known) {
    const [scale, one] = known;
    return value === 0 ? { number: "0", unit } : onScale(value * one, scale);
  }
  if (PERCENT.has(unit.toLowerCase())) return { number: digits(value), unit: "%" };
  const size = Math.abs(value);
  const step = size < 1e18 ? SI.find(({ from }) => size >= from) : undefined;
  if (!step) return { number: digits(value), unit };
  return { number: digits(value / step.by) + NARROW_SPACE + step.prefix, unit };
}

/** A value with its unit on one line, such as `1.25 ms` or `42 %`. */
export function withUnit(value: number | null | undefined, unit: string = ""): string {
  const { number, unit: shown } = quantity(value, unit);
  return shown ? `${number} ${shown}` : number;
}

/** A value for an axis: its unit only where the unit scales with it. */
export function onAxis(value: number, unit: string = ""): string {
  const scales = unit.toLowerCase() in UNITS || PERCENT.has(unit.toLowerCase());
  return value === 0 ? "0" : withUnit(value, scales ? unit : "");
}

/** Whether round numbers of this unit are powers of two. */
export function isBinary(unit: string): boolean {
  return UNITS[unit.toLowerCase()]?.[0] === BYTES;
}

/** Every digit of a value, for the table and the tooltip. */
export function exact(value: number | null | undefined, unit: string = ""): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  return unit ? `${value} ${unit}` : String(value);
}

const pad = (n: number): string => String(n).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

let utc = false;

/** Chooses the zone that times are written in from now on. */
export function writeTimesIn(zone: "local" | "utc"): void {
  utc = zone === "utc";
}

export function timesAreUtc(): boolean {
  return utc;
}

/** Hours, minutes and seconds in the chosen zone. */
export function clockTime(ms: number): string {
  return `${clockMinute(ms)}:${pad(utc ? new Date(ms).getUTCSeconds() : new Date(ms).getSeconds())}`;
}

export function clockMinute(ms: number): string {
  const t = new Date(ms);
  return utc ? `${pad(t.getUTCHours())}:${pad(t.getUTCMinutes())}` : `${pad(t.getHours())}:${pad(t.getMinutes())}`;
}

/** The day in the chosen zone: `3 Jan`. */
export function dayOf(ms: number): string {
  const t = new Date(ms);
  return utc ? `${t.getUTCDate()} ${MONTHS[t.getUTCMonth()]}` : `${t.getDate()} ${MONTHS[t.getMonth()]}`;
}

/** Time of day, with the day where it is another one than `now`'s. */
export function moment(ms: number, now: number): string {
  return dayOf(ms) === dayOf(now) ? clockTime(ms) : `${dayOf(ms)} ${clockTime(ms)}`;
}

/** The name of the zone that `clockTime` writes in. */
export function zoneName(): string {
  return utc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
}

/** A duration in its largest fitting unit: `4 s`, `3 min`, `2 h`, `5 d`. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

export function plural(count: number, one: string, many: string = `${one}s`): string {
  return `${grouped(String(count))} ${count === 1 ? one : many}`;
}

/** A message as a sentence: it begins large and ends with a stop. */
export function sentence(message: string): string {
  const text = message.trim();
  return text && text[0]!.toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

/** Labels as one line of text, sorted by name: `host=web-1 · region=eu`. */
export function labelText(labels: Record<string, unknown> | null | undefined): string {
  return Object.entries(labels ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" · ");
}
