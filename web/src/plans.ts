// The type decides the chart: which aggregations are asked, and how each is drawn.

import { selector, type Query } from "./protocol";

export type Kind = "metric" | "event";
/** stairs: a sum or count per step; value: the last known one; band: a middle line between two others. */
export type Shape = "stairs" | "value" | "band";
/** main: the line itself; low, high: the edges of its band; thin: a thin line beside. */
export type Role = "main" | "low" | "high" | "thin";

export interface Line {
  aggregation: string;
  label: string;
  role: Role;
}

export interface Plan {
  shape: Shape;
  lines: readonly Line[];
  /** Whether the axis begins at 0. */
  fromZero: boolean;
}

export const RANGE = { text: "15m", ms: 900_000, words: "15 min" };
export const STEP = { text: "5s", ms: 5_000, words: "5 s" };
/** A gap up to this long is sending rhythm, not silence. */
export const BRIDGE = 60_000;

const main = (aggregation: string, label: string): Line => ({ aggregation, label, role: "main" });

const COUNTED: Plan = { shape: "stairs", fromZero: true, lines: [main("sum", "sum per step")] };
const VALUE: Plan = { shape: "value", fromZero: false, lines: [main("average", "value")] };
const SPREAD: Plan = {
  shape: "band",
  fromZero: true,
  lines: [
    main("percentile_50", "p50"),
    { aggregation: "percentile_10", label: "p10", role: "low" },
    { aggregation: "percentile_90", label: "p90", role: "high" },
    { aggregation: "percentile_99", label: "p99", role: "thin" },
  ],
};
const MEAN: Plan = {
  shape: "band",
  fromZero: false,
  lines: [
    main("average", "mean"),
    { aggregation: "min", label: "min", role: "low" },
    { aggregation: "max", label: "max", role: "high" },
  ],
};
const EVENTS: Plan = { shape: "stairs", fromZero: true, lines: [main("count", "count per step")] };

const BY_TYPE: Record<string, Plan> = {
  counter: COUNTED,
  sum: COUNTED,
  gauge: VALUE,
  histogram: SPREAD,
  timer: SPREAD,
  average: MEAN,
};

/** The plan for a metric's type; an unknown type is shown as its value. */
export function planFor(kind: Kind, type: string): Plan {
  if (kind === "event") return EVENTS;
  return Object.hasOwn(BY_TYPE, type) ? BY_TYPE[type]! : VALUE;
}

export function queryFor(kind: Kind, name: string, line: Line): Query {
  return {
    query_string: selector(kind, name),
    time_range: RANGE.text,
    step: STEP.text,
    aggregation: line.aggregation,
    format: "columns",
  };
}
