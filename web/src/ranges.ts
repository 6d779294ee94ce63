// The time that all charts show: the last so many minutes, or from one moment to another. Pure; all times are ms.

import { clockMinute, clockTime, dayOf, duration } from "./format";

export type Range = { last: number } | { from: number; to: number };

/** What panels need to know of the time they show. */
export interface Scope {
  /** live: moves on; paused: stands where it was stopped; historical: chosen. */
  mode: "live" | "paused" | "historical";
  span: number;
  /** Ends of a range that stands still. */
  fixed: { from: number; to: number } | null;
  /** Step to ask for; the answer may have a wider one. */
  step: number;
  /** The length in words, such as `15 min`. */
  words: string;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const PRESETS: readonly number[] = [
  5 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  HOUR,
  3 * HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  7 * DAY,
];
export const DEFAULT_RANGE: Range = { last: 15 * MINUTE };
/** The longest range that is asked for, and the shortest. */
export const LONGEST = 400 * DAY;
export const SHORTEST = 10 * SECOND;
/** A chart has at most so many steps. */
const MAX_STEPS = 300;
/** What is sent at the base resolution is kept at it for a minute only, so a live chart does not ask for less. */
const LIVE_STEP = 5 * SECOND;
const STEPS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400].map(
  (s) => s * SECOND,
);

/** The finest step that keeps a chart of this span readable. */
export function stepFor(span: number, live: boolean): number {
  const finest = live ? LIVE_STEP : SECOND;
  return STEPS.find((step) => step >= finest && span / step <= MAX_STEPS) ?? Math.ceil(span / MAX_STEPS / DAY) * DAY;
}

export function spanOf(range: Range): number {
  return "last" in range ? range.last : range.to - range.from;
}

export function isLast(range: Range): range is { last: number } {
  return "last" in range;
}

/** pausedAt: the moment at which a range that moves was stopped. */
export function scopeOf(range: Range, pausedAt: number | null): Scope {
  const span = spanOf(range);
  const words = duration(span);
  if (!isLast(range)) {
    const fixed = { from: range.from, to: range.to };
    return { mode: "historical", span, fixed, step: stepFor(span, false), words };
  }
  const step = stepFor(span, true);
  if (pausedAt === null) return { mode: "live", span, fixed: null, step, words };
  return { mode: "paused", span, fixed: { from: pausedAt - span, to: pausedAt }, step, words };
}

function limited(from: number, to: number): { from: number; to: number } {
  const span = Math.min(LONGEST, Math.max(SHORTEST, to - from));
  const middle = (from + to) / 2;
  return { from: Math.round(middle - span / 2), to: Math.round(middle + span / 2) };
}

/** The range chosen by dragging over it, at least as long as the shortest. */
export function between(a: number, b: number): Range {
  return limited(Math.min(a, b), Math.max(a, b));
}

/** One range back (-1) or forth (1); what would reach beyond now is the last so many minutes again. */
export function shifted(range: Range, direction: -1 | 1, now: number): Range {
  const span = spanOf(range);
  if (isLast(range)) return direction > 0 ? range : { from: now - 2 * span, to: now - span };
  const to = range.to + direction * span;
  return to >= now - span / 100 && direction > 0 ? { last: nearestPreset(span) ?? span } : { from: to - span, to };
}

/** Closer (-1) or wider (1): the next preset, or half and double about the middle. */
export function zoomed(range: Range, direction: -1 | 1): Range {
  if (isLast(range)) {
    const next = direction > 0 ? PRESETS.find((p) => p > range.last) : PRESETS.findLast((p) => p < range.last);
    return { last: next ?? range.last };
  }
  const half = (spanOf(range) * (direction > 0 ? 2 : 0.5)) / 2;
  const middle = (range.from + range.to) / 2;
  return limited(middle - half, middle + half);
}

function nearestPreset(span: number): number | undefined {
  return PRESETS.find((preset) => Math.abs(preset - span) < span / 100);
}

/** The range in words for the header and for captions. */
export function rangeWords(range: Range): string {
  if (isLast(range)) return `last ${duration(range.last)}`;
  const { from, to } = range;
  const clock = spanOf(range) < 10 * MINUTE ? clockTime : clockMinute;
  const sameDay = dayOf(from) === dayOf(to);
  return sameDay
    ? `${dayOf(from)} ${clock(from)} – ${clock(to)}`
    : `${dayOf(from)} ${clock(from)} – ${dayOf(to)} ${clock(to)}`;
}

const UNITS: readonly (readonly [string, number])[] = [
  ["d", DAY],
  ["h", HOUR],
  ["m", MINUTE],
  ["s", SECOND],
];

/** A length of time as queries and addresses have it: `15m`, `7d`. */
export function spanText(ms: number): string {
  const [unit, width] = UNITS.find(([, width]) => ms % width === 0 && (width < DAY || ms >= 2 * DAY)) ?? ["s", SECOND];
  return `${Math.max(1, Math.round(ms / width))}${unit}`;
}

/** The inverse of `spanText`; null for anything else. */
export function readSpan(text: string | null): number | null {
  const found = /^(\d{1,6})([smhdw])$/.exec(text ?? "");
  if (!found) return null;
  const width = found[2] === "w" ? 7 * DAY : UNITS.find(([unit]) => unit === found[2])![1];
  const ms = Number(found[1]) * width;
  return ms >= SHORTEST && ms <= LONGEST ? ms : null;
}
