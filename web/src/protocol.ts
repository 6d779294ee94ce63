// What travels between page and server, as far as the page reads it. Times arrive as ISO text or milliseconds.

export type MetricType = "counter" | "gauge" | "histogram" | "timer" | "average";

export interface MetricRow {
  name: string;
  metric_type: string;
  value: number;
  timestamp: string | number;
  tags?: Record<string, unknown> | null;
  unit?: string | null;
  source?: string | null;
}

export interface EventRow {
  id?: string;
  event_type: string;
  timestamp: string | number;
  user_id?: string | null;
  session_id?: string | null;
  properties?: unknown;
}

export interface Query {
  query_string: string;
  /** A range that moves, or `from` and `to` in ms. */
  time_range?: string;
  from?: number;
  to?: number;
  step: string;
  aggregation: string;
  group_by?: string[];
  filters?: Record<string, unknown>;
  field?: string;
  format: "columns";
}

/** One result in columns: `values[i]` belongs to the step that begins at `times[i]`. */
export interface Columns {
  times: number[];
  series: Series[];
}

export interface Series {
  group: string;
  labels: Record<string, string | null>;
  values: (number | null)[];
  /** Samples per step. */
  counts?: number[];
}

export interface Update {
  offset: string;
  /** The server's time the result stands for, in ms. */
  at: number;
  columns: Columns;
}

export interface ServerError {
  code: string;
  message: string;
}

export interface Stats {
  total_metrics: number;
  total_events: number;
  metrics: {
    name: string;
    type: string;
    unit?: string | null;
    series?: number;
    labels?: string[];
    cumulative?: boolean;
    last_time?: string | number | null;
  }[];
  event_types: Record<string, number>;
  warnings?: string[];
}

/** What came in and what became of it. */
export interface Ledger {
  received: number;
  accepted: number;
  events: number;
  duplicate: number;
  late?: number;
  late_total?: number;
  squeezed?: number;
  folded?: number;
  expired?: number;
  rejected: Record<string, number>;
  in_panes?: { open: number; pending: number; stored: number };
  balanced?: boolean;
}

/** A refused row as it came. */
export interface Reject {
  id: string;
  at: string;
  kind: "metric" | "event" | "body";
  index: number | null;
  reason: string;
  message: string;
  content: string;
  cut: boolean;
}

export interface RejectList {
  rejects: Reject[];
  kept: number;
}

/** Milliseconds UTC of a time in either form; null where it is none. */
export function toMs(time: unknown): number | null {
  if (typeof time === "number") return Number.isFinite(time) ? time : null;
  if (typeof time !== "string") return null;
  // A time without a zone is UTC, here as everywhere in the server.
  const zoned = /(Z|[+-]\d\d:?\d\d)$/i.test(time) ? time : `${time}Z`;
  const ms = Date.parse(zoned);
  return Number.isNaN(ms) ? null : ms;
}

/** The message as an object, or null for what is no JSON object with a type. */
export function parseMessage(text: string): ({ type: string } & Record<string, unknown>) | null {
  try {
    const message: unknown = JSON.parse(text);
    if (typeof message === "object" && message !== null && typeof (message as { type?: unknown }).type === "string") {
      return message as { type: string } & Record<string, unknown>;
    }
  } catch {
    // Falls through: the caller counts it as a message it cannot read.
  }
  return null;
}

/** The columns in a query's answer or in the `data` of an update; null where they are not. */
export function readColumns(data: unknown): Columns | null {
  if (typeof data !== "object" || data === null) return null;
  const found = "columns" in data ? (data as { columns: unknown }).columns : data;
  if (typeof found !== "object" || found === null) return null;
  const { times, series } = found as Partial<Columns>;
  if (!Array.isArray(times) || !Array.isArray(series)) return null;
  return { times, series: series.map(unknownWhereUncounted) };
}

/** A sum over no samples is answered as 0; the page tells it from a 0 that was sent. */
function unknownWhereUncounted(series: Series): Series {
  const { counts } = series;
  if (!counts?.includes(0)) return series;
  return { ...series, values: series.values.map((value, i) => (counts[i] === 0 ? null : value)) };
}

export function readUpdate(message: Record<string, unknown>): Update | null {
  const columns = readColumns(message["data"]);
  if (!columns) return null;
  return {
    offset: typeof message["offset"] === "string" ? message["offset"] : "",
    at: toMs(message["at"]) ?? toMs(message["timestamp"]) ?? 0,
    columns,
  };
}

/** Whether the text of an update holds only what changed; told by its first bytes. */
export function isDelta(text: string): boolean {
  return text.slice(0, 500).includes('"delta":true');
}

/** The result after an update that holds the changed steps alone; null where it does not build on this one. */
export function applyDelta(before: Update, message: Record<string, unknown>): Update | null {
  const { times, series } = before.columns;
  const start = times.indexOf(message["first"] as number);
  const changed = readUpdate(message);
  if (start < 0 || changed === null || changed.columns.series.length !== series.length) return null;
  const tail = changed.columns;
  const end = tail.times.length === 0 ? times.length : times.findLastIndex((time) => time < tail.times[0]!) + 1;
  const joined = <T>(old: T[], fresh: T[]): T[] => [...old.slice(start, end), ...fresh];
  return {
    ...changed,
    columns: {
      times: joined(times, tail.times),
      series: series.map((one, i) => {
        const { values, counts } = tail.series[i]!;
        return { ...one, values: joined(one.values, values), ...(counts && { counts: joined(one.counts ?? [], counts) }) };
      }),
    },
  };
}

/** `metric:<name>` or `event:<type>`; a name that would end early stands in quotes. */
export function selector(kind: "metric" | "event", name: string): string {
  const plain = !/[{}]|^["\s]|\s$/.test(name);
  return `${kind}:${plain ? name : JSON.stringify(name)}`;
}

/** The metric or event type that a query selects, and whether it selects all of it. */
export function readSelector(query: string): { kind: "metric" | "event"; name: string; whole: boolean } | null {
  const found = /^\s*(metric|event):\s*("(?:[^"\\]|\\.)*"|[^{]*)(.*)$/s.exec(query);
  if (!found) return null;
  const kind = found[1] as "metric" | "event";
  let name = found[2]!.trim();
  if (name.startsWith('"')) {
    try {
      name = String(JSON.parse(name));
    } catch {
      return null;
    }
  }
  return name ? { kind, name, whole: found[3]!.trim() === "" } : null;
}
