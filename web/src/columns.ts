// From the columns of a result to the columns a chart draws. Pure; all times are ms.

import type { Columns } from "./protocol";

/** null breaks the line, undefined lets it run on to the next value. */
export type Value = number | null | undefined;

export interface Table {
  times: number[];
  /** How many of the times begin a step; what follows only carries a line to the edge. */
  steps: number;
  rows: Value[][];
}

/** The first series of each result on one common time axis; null where a result has no step there. */
export function join(results: (Columns | null)[]): { times: number[]; rows: (number | null)[][] } {
  const first = results[0]?.times ?? [];
  const same = results.every((r) => r !== null && sameTimes(r.times, first));
  if (same) {
    return { times: first, rows: results.map((r) => fitted(r!.series[0]?.values, first.length)) };
  }
  const times = [...new Set(results.flatMap((r) => r?.times ?? []))].sort((a, b) => a - b);
  const place = new Map(times.map((t, i) => [t, i]));
  const rows = results.map((r) => {
    const row: (number | null)[] = new Array<number | null>(times.length).fill(null);
    const values = r?.series[0]?.values ?? [];
    r?.times.forEach((t, i) => {
      row[place.get(t)!] = values[i] ?? null;
    });
    return row;
  });
  return { times, rows };
}

function sameTimes(a: number[], b: number[]): boolean {
  return a === b || (a.length === b.length && a[0] === b[0] && a[a.length - 1] === b[b.length - 1]);
}

function fitted(values: (number | null)[] | undefined, length: number): (number | null)[] {
  if (values?.length === length) return values;
  return Array.from({ length }, (_, i) => values?.[i] ?? null);
}

/** Index of the newest value, -1 where there is none. */
export function lastKnown(values: readonly Value[]): number {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return i;
  return -1;
}

export function firstKnown(values: readonly Value[]): number {
  return values.findIndex((v) => v !== null && v !== undefined);
}

/**
 * A sum or count per step, as stairs up to `now`, in two rows: the steps that are over, and the one still filling.
 * Steps without a sample are 0 from just before the first known one, and so are steps the server has not sent yet.
 */
export function stairs(times: number[], values: (number | null)[], step: number, now: number): Table {
  const outTimes = times.slice();
  const first = firstKnown(values);
  const out: Value[] = values.map((v, i) => (first < 0 || i < first - 1 ? null : (v ?? 0)));
  let next = (times[times.length - 1] ?? now) + step;
  for (let left = MAX_FILL; next <= now && left > 0; next += step, left--) {
    outTimes.push(next);
    out.push(first < 0 ? null : 0);
  }
  const steps = outTimes.length;
  const open = new Array<Value>(steps).fill(null);
  if (steps > 0 && outTimes[steps - 1]! + step > now) {
    // The open row begins one step early, so that its stair rises from where the other ends.
    if (steps > 1) open[steps - 2] = out[steps - 2];
    open[steps - 1] = out[steps - 1];
    out[steps - 1] = null;
  }
  outTimes.push(Math.max(now, (outTimes[steps - 1] ?? 0) + 1));
  open.push(open[steps - 1] ?? null);
  out.push(null);
  return { times: outTimes, steps, rows: [out, open] };
}

/** More steps than any chart shows; it bounds the work when the clock jumps. */
const MAX_FILL = 2000;

/** Lets a line run over gaps of at most `bridge` ms and break at longer ones. */
export function bridged(times: number[], values: (number | null)[], bridge: number): Value[] {
  const out: Value[] = values.slice();
  let previous = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null) continue;
    if (previous >= 0 && i - previous > 1 && times[i]! - times[previous]! <= bridge) {
      out.fill(undefined, previous + 1, i);
    }
    previous = i;
  }
  return out;
}

/** The last known value over each gap that `bridged` leaves, and from the newest value to `now`. */
export function held(times: number[], values: (number | null)[], bridge: number, now: number): Table {
  const outTimes = times.slice();
  const out: Value[] = new Array<Value>(values.length).fill(null);
  let previous = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null) continue;
    if (previous >= 0 && times[i]! - times[previous]! > bridge) {
      for (let k = previous; k < i; k++) out[k] = values[previous]!;
    }
    previous = i;
  }
  if (previous >= 0) {
    for (let k = previous; k < values.length; k++) out[k] = values[previous]!;
    outTimes.push(Math.max(now, (times[times.length - 1] ?? 0) + 1));
    out.push(values[previous]!);
  }
  return { times: outTimes, steps: times.length, rows: [out] };
}

/** The value the line has at a place: the one there, or the last before it where the line runs on. */
export function valueOn(values: readonly Value[], index: number): number | null {
  let i = index;
  while (i > 0 && values[i] === undefined) i--;
  return values[i] ?? null;
}

export function total(values: readonly Value[]): number | null {
  if (firstKnown(values) < 0) return null;
  return values.reduce<number>((sum, v) => sum + (v ?? 0), 0);
}

/** Mean rate per second over the whole steps of the last `span` ms and the step that is still open at `now`. */
export function perSecond(
  times: number[],
  values: readonly Value[],
  step: number,
  now: number,
  span: number,
): number | null {
  if (firstKnown(values) < 0) return null;
  const from = Math.floor(now / step) * step - span;
  let sum = 0;
  for (let i = times.length - 1; i >= 0 && times[i]! >= from; i--) sum += values[i] ?? 0;
  return (sum * 1000) / (now - from);
}

/** Smallest and largest known value of all rows, null where none is known. */
export function extent(rows: readonly (readonly Value[])[]): [number, number] | null {
  let min = Infinity;
  let max = -Infinity;
  for (const row of rows) {
    for (const v of row) {
      if (v === null || v === undefined) continue;
      if (v < min) min = v;
      if (v > max) max = v;
    }
  }
  return min <= max ? [min, max] : null;
}

/** The next 1, 2, 2.5, 5 times a power of ten, so that an axis keeps still while its data move. */
export function niceCeiling(value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const share = value / power;
  const nice = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((n) => share <= n * (1 + 1e-9)) ?? 10;
  return nice * power;
}

/** The distance at which values usually follow one another, ms; null where too few are known to tell. */
export function usualGap(times: number[], values: readonly Value[]): number | null {
  const gaps: number[] = [];
  let previous = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null || values[i] === undefined) continue;
    if (previous >= 0) gaps.push(times[i]! - times[previous]!);
    previous = i;
  }
  if (gaps.length < 3) return null;
  gaps.sort((a, b) => a - b);
  return gaps[Math.floor((gaps.length - 1) * 0.9)]!;
}
