// What one panel shows: lines for the chart, one large value, a few facts, a legend, and the sentence that says it all.

import { colourOf } from "./colours";
import { bridged, held, join, lastKnown, perSecond, stairs, total, usualGap, valueOn, type Value } from "./columns";
import { clockTime, dayOf, duration, plural, quantity, withUnit, type Quantity } from "./format";
import { BRIDGE, bridgeOf, type Plan } from "./plans";
import type { Columns, Series } from "./protocol";
import type { Scope } from "./ranges";

/** Lines that one chart of groups has at most: the largest. */
export const MAX_LINES = 10;

export interface DrawnLine {
  label: string;
  /** open: the step still filling; held: the last known value where there is no newer one; group: one of several. */
  role: "main" | "low" | "high" | "thin" | "open" | "held" | "group";
  /** Place in the palette, of a group. */
  colour?: number;
}

export interface LegendEntry {
  label: string;
  colour: number;
  /** Index among the lines. */
  line: number;
  value: number | null;
}

export interface Model {
  lines: DrawnLine[];
  times: number[];
  /** How many of the times begin a step; what follows only carries a line to the edge. */
  steps: number;
  /** Width of a step, ms. */
  step: number;
  /** One row per line. */
  rows: Value[][];
  headline: Quantity & { caption: string };
  facts: { label: string; text: string }[];
  /** The groups by value, the largest first; empty without groups. */
  legend: LegendEntry[];
  /** Groups that are not drawn. */
  beyond: number;
  /** Begin of the newest step that has a value. */
  newest: number | null;
  usualGap: number | null;
}

export interface Given {
  plan: Plan;
  unit: string;
  scope: Scope;
  group: string | null;
  /** One per line asked for. */
  results: (Columns | null)[];
  /** The moment up to which the lines are known. */
  now: number;
}

/** The unit in which values of the plan are shown. */
export function unitOf(plan: Plan, unit: string): string {
  const aggregation = plan.lines[0]!.aggregation;
  if (aggregation === "count") return "";
  return aggregation === "rate" ? `${unit}/s` : unit;
}

export function buildModel(given: Given): Model {
  const times = given.results[0]?.times ?? [];
  const step = times.length > 1 ? times[1]! - times[0]! : given.scope.step;
  // A step that is over when the range ends is not one still filling.
  const end = (times[times.length - 1] ?? 0) + step;
  const now = given.scope.mode === "historical" ? end - 1 : given.now;
  const unit = unitOf(given.plan, given.unit);
  return given.group === null ? single({ ...given, unit, now }, step) : grouped({ ...given, unit, now }, step, given.group);
}

function single({ plan, unit, scope, results, now }: Given, step: number): Model {
  const { times, rows } = join(results);
  const main = rows[0] ?? [];
  const last = lastKnown(main);
  const newest = last < 0 ? null : times[last]!;
  const shared = { step, newest, usualGap: usualGap(times, main), legend: [], beyond: 0 };
  const lines: DrawnLine[] = plan.lines.map(({ label, role }) => ({ label, role }));
  if (plan.shape === "stairs") {
    const filling = stairs(times, main, step, now);
    const none = filling.times.map(() => null);
    const drawn = scope.mode === "historical" ? { ...filling, rows: [whole(filling.rows), none] } : filling;
    lines.push({ label: "so far", role: "open" });
    return { ...shared, ...drawn, lines, ...countFacts(scope, unit, times, main, step, now) };
  }
  const over = rows.map((row) => bridged(times, row, bridgeOf(step)));
  if (plan.shape === "band") {
    return { ...shared, lines, times, steps: times.length, rows: over, ...bandFacts(plan, unit, rows, last, step) };
  }
  const tail = held(times, main, bridgeOf(step), now);
  lines.push({ label: "last known", role: "held" });
  const drawn = [[...(over[0] ?? []), ...Array<null>(tail.times.length - times.length).fill(null)], tail.rows[0]!];
  return { ...shared, lines, times: tail.times, steps: tail.steps, rows: drawn, ...valueFacts(plan, unit, main, last) };
}

/** The steps that are over and the one still filling as one row. */
const whole = ([over, open]: Value[][]): Value[] => over!.map((v, i) => v ?? open![i]);

/** The value of a group's label, as the legend has it. */
export function groupLabel(series: Series, label: string): string {
  return series.labels[label] ?? `no ${label}`;
}

function grouped({ plan, unit, scope, results, now }: Given, step: number, group: string): Model {
  const result = results[0];
  const times = result?.times ?? [];
  const counted = plan.shape === "stairs";
  const sized = (result?.series ?? [])
    .map((series) => {
      const last = lastKnown(series.values);
      const value = counted ? total(series.values) : last < 0 ? null : series.values[last]!;
      return { label: groupLabel(series, group), values: series.values, value, last };
    })
    .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
  // Drawn in an order that does not change with the values, so that a chart is not made anew at each update.
  const drawn = sized.slice(0, MAX_LINES).sort((a, b) => (a.label < b.label ? -1 : 1));
  const tables = drawn.map(({ values }) => {
    if (!counted) return { times, steps: times.length, rows: [bridged(times, values, bridgeOf(step))] };
    const { rows, ...rest } = stairs(times, values, step, now);
    return { ...rest, rows: [whole(rows)] };
  });
  const lines: DrawnLine[] = drawn.map(({ label }) => ({ label, role: "group", colour: colourOf(label) }));
  const legend = drawn
    .map(({ label, value }, line) => ({ label, value, line, colour: colourOf(label) }))
    .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
  const last = Math.max(-1, ...sized.map((each) => each.last));
  const present = times.map((_, i) => (sized.some(({ values }) => (values[i] ?? null) !== null) ? 1 : null));
  const first = legend[0];
  const headline = counted
    ? { ...quantity(total(sized.map(({ value }) => value)), unit), caption: inRange(scope) }
    : { ...quantity(first?.value, unit), caption: first ? `highest ${plan.lines[0]!.label}: ${first.label}` : "" };
  return {
    lines,
    times: tables[0]?.times ?? times,
    steps: tables[0]?.steps ?? times.length,
    step,
    rows: tables.map(({ rows }) => rows[0]!),
    headline,
    facts: first ? [{ label: plural(sized.length, "group"), text: `highest ${first.label}` }] : [],
    legend,
    beyond: sized.length - drawn.length,
    newest: last < 0 ? null : times[last]!,
    usualGap: usualGap(times, present),
  };
}

type Facts = Pick<Model, "headline" | "facts">;

const inRange = (scope: Scope): string => (scope.mode === "live" ? `in the last ${scope.words}` : `in ${scope.words}`);

function countFacts(
  scope: Scope,
  unit: string,
  times: number[],
  row: (number | null)[],
  step: number,
  now: number,
): Facts {
  const recent = scope.mode === "live" && step < 60_000;
  const rate = perSecond(times, row, step, now, recent ? 60_000 : scope.span);
  const last = lastKnown(row);
  return {
    headline: { ...quantity(total(row), unit), caption: inRange(scope) },
    facts: [
      { label: recent ? "last minute" : "mean", text: `${withUnit(rate)} /s` },
      { label: "newest step", text: withUnit(last < 0 ? null : row[last], unit) },
    ],
  };
}

function valueFacts(plan: Plan, unit: string, row: (number | null)[], last: number): Facts {
  const known = row.filter((v): v is number => v !== null);
  const range = known.length ? { low: Math.min(...known), high: Math.max(...known) } : { low: null, high: null };
  const caption = plan.lines[0]!.aggregation === "rate" ? "newest rate" : "last value";
  return {
    headline: { ...quantity(last < 0 ? null : row[last], unit), caption },
    facts: [
      { label: "lowest", text: withUnit(range.low, unit) },
      { label: "highest", text: withUnit(range.high, unit) },
    ],
  };
}

function bandFacts(plan: Plan, unit: string, rows: (number | null)[][], last: number, step: number): Facts {
  const at = (i: number): number | null => (last < 0 ? null : (rows[i]?.[last] ?? null));
  return {
    headline: { ...quantity(at(0), unit), caption: `${plan.lines[0]!.label} of the last ${duration(step)}` },
    facts: plan.lines.slice(1).map((line, i) => ({ label: line.label, text: withUnit(at(i + 1), unit) })),
  };
}

/** The chart in one sentence, for those who do not see it. */
export function describe(name: string, kindWords: string, model: Model | null, scope: Scope, now: number): string {
  if (!model) return `${name}, ${kindWords}: loading.`;
  const span = scope.mode === "live" ? `the last ${scope.words}` : scope.words;
  if (model.newest === null) return `${name}, ${kindWords}: no number in ${span}.`;
  const { number, unit, caption } = model.headline;
  const facts = model.facts.map(({ label, text }) => `${label} ${text}`).join(", ");
  const age = now - model.newest;
  const seen = scope.mode === "live" && age > BRIDGE ? ` Nothing new for ${duration(age)}.` : "";
  return `${name}, ${kindWords}: ${number}${unit ? ` ${unit}` : ""} ${caption}; ${facts}.${seen}`;
}

/** The values of one step in words, for the line under the chart; of groups the largest first. */
export function valuesAt(model: Model, index: number, unit: string): string {
  const at = Math.min(index, model.steps - 1);
  const values = model.lines.map((_, i) => valueOn(model.rows[i] ?? [], at));
  const shown = model.lines
    .map(({ label, role }, i) => ({ label, role, value: values[i] ?? null }))
    .filter(({ value, role }) => value !== null && !(isSpare(role) && values[0] !== null));
  if (shown[0]?.role === "group") shown.sort((a, b) => b.value! - a.value!);
  const words = shown.map(({ label, value }) => `${label} ${withUnit(value, unit)}`);
  return `${clockTime(model.times[at] ?? 0)}  ${words.join(" · ") || "no number"}`;
}

const isSpare = (role: DrawnLine["role"]): boolean => role === "open" || role === "held";

export interface TableRows {
  head: string[];
  rows: { time: number; values: Value[] }[];
}

/** The chart's numbers as a table, newest step first; the step still filling stands with the others. */
export function tableOf(model: Model): TableRows {
  const { lines } = model;
  const shown = lines.map((_, i) => i).filter((i) => !isSpare(lines[i]!.role));
  const open = lines.findIndex(({ role }) => role === "open");
  const rows = model.times
    .slice(0, model.steps)
    .map((time, at) => ({
      time,
      values: shown.map((line) => model.rows[line]?.[at] ?? (line === 0 && open >= 0 ? model.rows[open]?.[at] : null)),
    }))
    .filter(({ values }) => values.some((v) => v !== null && v !== undefined));
  return { head: shown.map((i) => lines[i]!.label), rows: rows.reverse() };
}

/** A table as CSV, oldest first, times in ISO 8601. A text that a spreadsheet would run is made harmless. */
export function csvOf({ head, rows }: TableRows): string {
  const cell = (text: string): string => {
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = rows.toReversed().map(({ time, values }) => [new Date(time).toISOString(), ...values.map((v) => v ?? "")]);
  return [["time", ...head.map(cell)], ...lines].map((line) => line.join(",")).join("\r\n") + "\r\n";
}

export function timeInTable(ms: number, span: number): string {
  return span > 86_400_000 / 2 ? `${dayOf(ms)} ${clockTime(ms)}` : clockTime(ms);
}

export function kindText(kind: "metric" | "event", type: string, unit: string, series: number): string {
  const many = series > 1 ? ` · ${plural(series, "series", "series")}` : "";
  if (kind === "event") return "event";
  return `${type}${unit ? ` · ${unit}` : ""}${many}`;
}
