// The values that a rule would have seen, for the chart beside its form: what is asked, and the columns made of it.

import type { DrawnLine } from "../model";
import { lastKnown } from "../columns";
import { colourOf } from "../colours";
import { selector, type Columns, type Query, type Series } from "../protocol";
import { spanText, stepFor } from "../ranges";
import type { AlertMembers } from "./protocol";
import { aggregationOf, groupByOf, groupText, windowOf } from "./words";

/** Lines that are drawn, those with the largest values. */
export const MAX_LINES = 10;
/** Steps of a chart at most, and series told apart where each arriving value counts. */
const MAX_STEPS = 3000;
const MAX_SERIES = 100;
const SECOND = 1000;
const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const USUAL = "5m";
/** Aggregations of a window that follow from those of its parts. */
const ROLLABLE = new Set(["sum", "count", "increase", "min", "max", "average", "rate"]);
const OF_EACH: Record<string, string> = { ">": "max", ">=": "max", "<": "min", "<=": "min" };

export interface Sample {
  query: Query;
  /** Begin of what is drawn, ms; what is asked may begin earlier. */
  from: number;
  /** ms, of a window that is put together from steps; 0 where each step is one. */
  window: number;
  /** Of a rate of change: ms back to the value compared with. */
  over: number;
  relative: boolean;
  /** What a point of the chart is, where it is not what the rule sees. */
  note: string;
}

export interface Known {
  series: number;
  labels: readonly string[];
}

/** What to ask for the chart of a rule over the last `span` ms; null where it says too little. known: of its metric. */
export function sampleOf(rule: AlertMembers, span: number, now: number, known: Known | null): Sample | null {
  const target = rule.query?.query_string ?? (rule.metric_name === undefined ? null : selector("metric", rule.metric_name));
  if (target === null) return null;
  const kind = rule.alert_type ?? "threshold";
  const named = aggregationOf(rule);
  const each = kind === "threshold" && named === "" && !target.startsWith("event:");
  const usual = target.startsWith("event:") || kind === "no_data" ? "count" : "average";
  const aggregation = each ? (OF_EACH[rule.condition ?? ">"] ?? "last") : kind === "no_data" ? usual : named || usual;
  const written = (kind === "no_data" && rule.no_data_after) || windowOf(rule) || (kind === "anomaly" ? "1m" : USUAL);
  const window = each ? 0 : lengthOf(written);
  const over = kind === "rate_of_change" ? lengthOf(rule.change_over ?? USUAL) : 0;
  const { step, note } = stepOf(span, window, ROLLABLE.has(aggregation));
  const own = groupByOf(rule);
  const groups = each && own.length === 0 && known && known.series <= MAX_SERIES ? known.labels.slice(0, 10) : own;
  const { filters, field } = { ...rule.query, ...(rule as { filters?: unknown }) } as Pick<Query, "filters" | "field">;
  const query: Query = {
    query_string: target,
    from: now - span - over - (step < window ? window : 0),
    to: now,
    step: spanText(step),
    aggregation,
    ...(groups.length > 0 ? { group_by: [...groups] } : {}),
    ...(filters === undefined ? {} : { filters }),
    ...(field === undefined ? {} : { field }),
    format: "columns",
  };
  return { query, from: now - span, window: step < window ? window : 0, over, relative: rule.relative ?? false, note };
}

/** ms of a duration as rules have it, such as 90s; of what is none that of the usual window. */
export function lengthOf(text: string): number {
  const found = /^\s*(\d{1,9})\s*([smhdw])\s*$/.exec(text);
  return found ? Number(found[1]) * UNITS[found[2]!]! : lengthOf(USUAL);
}

/** The step to ask for: a part of the window where these can be put together, else the window itself. */
function stepOf(span: number, window: number, rollable: boolean): { step: number; note: string } {
  const readable = stepFor(span, true);
  if (window === 0) return { step: readable, note: "" };
  if (window <= readable) {
    if (span / window <= MAX_STEPS) return { step: window, note: "" };
    const note = `A point of the chart is of ${spanText(readable)}, not of ${spanText(window)} as the rule has it.`;
    return { step: readable, note };
  }
  if (!rollable) return { step: window, note: "" };
  let parts = Math.ceil(window / readable);
  while (parts < window / SECOND && (window / parts) % SECOND !== 0) parts += 1;
  return { step: window / parts, note: "" };
}

export interface Drawn {
  lines: DrawnLine[];
  times: number[];
  rows: (number | null)[][];
  /** Series that are not drawn. */
  beyond: number;
}

/** The columns of a chart from those of the answer. A point stands where its window ends. */
export function drawnOf(sample: Sample, { times, series }: Columns): Drawn {
  const step = times.length > 1 ? times[1]! - times[0]! : lengthOf(sample.query.step);
  const parts = Math.max(1, Math.round(sample.window / step));
  const back = sample.over === 0 ? 0 : Math.max(1, Math.round(sample.over / step));
  const rowsOf = (each: Series): (number | null)[] => {
    const rolled = parts === 1 ? each.values : roll(each, parts, sample.query.aggregation);
    return back === 0 ? rolled : change(rolled, back, sample.relative);
  };
  const ends = times.map((time) => time + step);
  const first = Math.max(0, ends.findIndex((time) => time > sample.from));
  const all = series
    .map((each) => ({ label: nameOf(each), row: rowsOf(each).slice(first) }))
    .filter(({ row }) => lastKnown(row) >= 0)
    .map((each) => ({ ...each, last: each.row[lastKnown(each.row)]! }))
    .sort((a, b) => Math.abs(b.last) - Math.abs(a.last));
  const drawn = all.slice(0, MAX_LINES).sort((a, b) => (a.label < b.label ? -1 : 1));
  const alone = sample.query.group_by === undefined;
  return {
    lines: drawn.map(({ label }): DrawnLine => (alone ? { label: "value", role: "main" } : { label, role: "group", colour: colourOf(label) })),
    times: ends.slice(first),
    rows: drawn.map(({ row }) => row),
    beyond: all.length - drawn.length,
  };
}

function nameOf({ labels }: Series): string {
  const known = Object.fromEntries(Object.entries(labels).filter((pair): pair is [string, string] => pair[1] !== null));
  return groupText(known) || "without labels";
}

/** The aggregation of each `parts` steps in a row, by the last of them. */
function roll({ values, counts }: Series, parts: number, aggregation: string): (number | null)[] {
  return values.map((_, at) => {
    const begin = Math.max(0, at - parts + 1);
    const known: [value: number, weight: number][] = [];
    for (let i = begin; i <= at; i++) {
      const value = values[i];
      if (value !== null && value !== undefined) known.push([value, counts?.[i] ?? 1]);
    }
    if (known.length === 0) return null;
    const all = known.map(([value]) => value);
    switch (aggregation) {
      case "min":
        return Math.min(...all);
      case "max":
        return Math.max(...all);
      case "average": {
        const weight = known.reduce((sum, [, each]) => sum + each, 0);
        return known.reduce((sum, [value, each]) => sum + value * each, 0) / weight;
      }
      case "rate":
        return all.reduce((sum, value) => sum + value, 0) / parts;
      default:
        return all.reduce((sum, value) => sum + value, 0);
    }
  });
}

/** How far values are from those `back` steps before, in percent of these where wanted. */
function change(values: (number | null)[], back: number, relative: boolean): (number | null)[] {
  return values.map((value, at) => {
    const before = at >= back ? values[at - back]! : null;
    if (value === null || before === null) return null;
    if (!relative) return value - before;
    return before === 0 ? null : ((value - before) / Math.abs(before)) * 100;
  });
}
