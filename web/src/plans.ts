// The type decides the chart: which aggregations are asked, and how each is drawn.

import { selector, type Query } from "./protocol";
import { spanText, type Scope } from "./ranges";

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

/** A gap up to this long is sending rhythm, not silence; with wide steps it is two of them. */
export const BRIDGE = 60_000;
export const bridgeOf = (step: number): number => Math.max(BRIDGE, 2 * step);

const main = (aggregation: string, label: string): Line => ({ aggregation, label, role: "main" });

const COUNTED: Plan = { shape: "stairs", fromZero: true, lines: [main("sum", "sum per step")] };
const RATE: Plan = { shape: "value", fromZero: true, lines: [main("rate", "per second")] };
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

/** The plan for a metric's type; an unknown type is shown as its value. A running total is shown by its rate. */
export function planFor(kind: Kind, type: string, cumulative: boolean = false): Plan {
  if (kind === "event") return EVENTS;
  if (cumulative && BY_TYPE[type] === COUNTED) return RATE;
  return Object.hasOwn(BY_TYPE, type) ? BY_TYPE[type]! : VALUE;
}

/** The lines that are asked for: of groups only the main one, else nobody could tell the lines apart. */
export function linesAsked(plan: Plan, group: string | null): readonly Line[] {
  return group === null ? plan.lines : plan.lines.slice(0, 1);
}

export function queryFor(kind: Kind, name: string, line: Line, scope: Scope, group: string | null): Query {
  const time = scope.fixed ?? { time_range: spanText(scope.span) };
  return {
    query_string: selector(kind, name),
    ...time,
    step: spanText(scope.step),
    aggregation: line.aggregation,
    ...(group === null ? {} : { group_by: [group] }),
    format: "columns",
  };
}
