// What one panel shows: columns for the chart, one large value, a few facts, and the sentence that says it all.

import { bridged, held, join, lastKnown, perSecond, stairs, total, valueOn, type Value } from "./columns";
import { clockTime, duration, plural, quantity, withUnit, type Quantity } from "./format";
import { BRIDGE, RANGE, STEP, type Plan } from "./plans";
import type { Columns } from "./protocol";

export interface Model {
  times: number[];
  /** How many of the times begin a step; what follows only carries a line to the edge. */
  steps: number;
  /** One row per drawn line, in the order of `drawnLines`. */
  rows: Value[][];
  headline: Quantity & { caption: string };
  facts: { label: string; text: string }[];
  /** Begin of the newest step that has a value. */
  newest: number | null;
}

export interface DrawnLine {
  label: string;
  /** open: the step still filling; held: the last known value where there is no newer one. */
  role: "main" | "low" | "high" | "thin" | "open" | "held";
}

/** The lines of a plan's chart; stairs also have the step still filling, a value the one last known. */
export function drawnLines(plan: Plan): DrawnLine[] {
  const lines: DrawnLine[] = plan.lines.map(({ label, role }) => ({ label, role }));
  if (plan.shape === "stairs") lines.push({ label: "so far", role: "open" });
  if (plan.shape === "value") lines.push({ label: "last known", role: "held" });
  return lines;
}

export function buildModel(plan: Plan, unit: string, results: (Columns | null)[], now: number): Model {
  const { times, rows } = join(results);
  const main = rows[0] ?? [];
  const last = lastKnown(main);
  const newest = last < 0 ? null : times[last]!;
  if (plan.shape === "stairs") {
    const drawn = stairs(times, main, STEP.ms, now);
    return { ...drawn, newest, ...countFacts(plan, unit, times, main, now) };
  }
  const lines = rows.map((row) => bridged(times, row, BRIDGE));
  if (plan.shape === "band") {
    return { times, steps: times.length, rows: lines, newest, ...bandFacts(plan, unit, rows, last) };
  }
  const tail = held(times, main, BRIDGE, now);
  return {
    times: tail.times,
    steps: tail.steps,
    rows: [[...(lines[0] ?? []), null], tail.rows[0]!],
    newest,
    ...valueFacts(unit, main, last),
  };
}

type Facts = Pick<Model, "headline" | "facts">;

function countFacts(plan: Plan, unit: string, times: number[], row: (number | null)[], now: number): Facts {
  const rate = perSecond(times, row, STEP.ms, now, 60_000);
  const last = lastKnown(row);
  const word = plan.lines[0]!.aggregation === "count" ? "" : unit;
  return {
    headline: { ...quantity(total(row), word), caption: `in the last ${RANGE.words}` },
    facts: [
      { label: "last minute", text: `${withUnit(rate)} /s` },
      { label: "newest step", text: withUnit(last < 0 ? null : row[last], word) },
    ],
  };
}

function valueFacts(unit: string, row: (number | null)[], last: number): Facts {
  const known = row.filter((v): v is number => v !== null);
  const range = known.length ? { low: Math.min(...known), high: Math.max(...known) } : { low: null, high: null };
  return {
    headline: { ...quantity(last < 0 ? null : row[last], unit), caption: "last value" },
    facts: [
      { label: "lowest", text: withUnit(range.low, unit) },
      { label: "highest", text: withUnit(range.high, unit) },
    ],
  };
}

function bandFacts(plan: Plan, unit: string, rows: (number | null)[][], last: number): Facts {
  const at = (i: number): number | null => (last < 0 ? null : (rows[i]?.[last] ?? null));
  return {
    headline: { ...quantity(at(0), unit), caption: `${plan.lines[0]!.label} of the last ${STEP.words}` },
    facts: plan.lines.slice(1).map((line, i) => ({ label: line.label, text: withUnit(at(i + 1), unit) })),
  };
}

/** The chart in one sentence, for those who do not see it. */
export function describe(name: string, kindWords: string, model: Model | null, now: number): string {
  if (!model) return `${name}, ${kindWords}: loading.`;
  if (model.newest === null) return `${name}, ${kindWords}: no number in the last ${RANGE.words}.`;
  const { number, unit, caption } = model.headline;
  const facts = model.facts.map(({ label, text }) => `${label} ${text}`).join(", ");
  const age = now - model.newest;
  const seen = age > BRIDGE ? ` Nothing new for ${duration(age)}.` : "";
  return `${name}, ${kindWords}: ${number}${unit ? ` ${unit}` : ""} ${caption}; ${facts}.${seen}`;
}

/** The values of one step in words, for the line under the chart. */
export function valuesAt(lines: DrawnLine[], model: Model, index: number, unit: string): string {
  const at = Math.min(index, model.steps - 1);
  const values = lines.map((_, i) => valueOn(model.rows[i] ?? [], at));
  const shown = lines
    .map(({ label, role }, i) => ({ label, value: values[i] ?? null, spare: isSpare(role) && values[0] !== null }))
    .filter(({ value, spare }) => value !== null && !spare)
    .map(({ label, value }) => `${label} ${withUnit(value, unit)}`);
  return `${clockTime(model.times[at] ?? 0)}  ${shown.join(" · ") || "no number"}`;
}

const isSpare = (role: DrawnLine["role"]): boolean => role === "open" || role === "held";

/** The chart's numbers as a table, newest step first; the step still filling stands with the others. */
export function tableOf(lines: DrawnLine[], model: Model): { head: string[]; rows: { time: number; values: Value[] }[] } {
  const shown = lines.map((_, i) => i).filter((i) => !isSpare(lines[i]!.role));
  const open = lines.findIndex(({ role }) => role === "open");
  const rows = model.times
    .slice(0, model.steps)
    .map((time, at) => ({
      time,
      values: shown.map((line) => model.rows[line]?.[at] ?? (line === 0 ? model.rows[open]?.[at] : null)),
    }))
    .filter(({ values }) => values.some((v) => v !== null && v !== undefined));
  return { head: shown.map((i) => lines[i]!.label), rows: rows.reverse() };
}

export interface Mark {
  state: "loading" | "live" | "stale" | "absent" | "frozen" | "error" | "over limit";
  /** A few words. */
  text: string;
  /** A sentence, where there is something to explain. */
  detail?: string;
}

/** Exactly one state, from the worst down. */
export function markOf(input: {
  model: Model | null;
  connected: boolean;
  error: { code: string; message: string } | null;
  shownAt: number | null;
  now: number;
}): Mark {
  const { model, connected, error, shownAt, now } = input;
  if (error && LIMITS.has(error.code)) return { state: "over limit", text: "over limit", detail: error.message };
  if (error) return { state: "error", text: "error", detail: error.message || error.code };
  if (!connected && shownAt !== null) return { state: "frozen", text: `as of ${clockTime(shownAt)}` };
  if (!model) return { state: "loading", text: "loading" };
  if (model.newest === null) return { state: "absent", text: `nothing in ${RANGE.words}` };
  const age = now - (model.newest + STEP.ms);
  if (age > BRIDGE) return { state: "stale", text: `silent for ${duration(age)}` };
  return { state: "live", text: "live" };
}

const LIMITS = new Set(["too_many_subscriptions", "query_too_expensive", "query_timeout", "out_of_reach"]);

export function kindText(kind: "metric" | "event", type: string, unit: string, series: number): string {
  const many = series > 1 ? ` · ${plural(series, "series", "series")}` : "";
  if (kind === "event") return "event";
  return `${type}${unit ? ` · ${unit}` : ""}${many}`;
}

