// Everything that has arrived. A name that is there keeps its rank; a new one stands before all others.

import { signal, type Signal } from "@preact/signals";
import { labelText, withUnit } from "./format";
import type { Kind } from "./plans";
import { toMs, type EventRow, type MetricRow, type Stats } from "./protocol";

export interface Newest {
  at: number;
  /** The value with its unit, or who caused the event. */
  value: string;
  /** Labels or properties as text. */
  labels: string;
}

export interface Item {
  id: string;
  kind: Kind;
  name: string;
  type: string;
  unit: Signal<string>;
  series: Signal<number>;
  /** Labels its series have. */
  labels: Signal<readonly string[]>;
  /** Whether its values are running totals. */
  cumulative: Signal<boolean>;
  /** Whether a row of it ever arrived. */
  known: Signal<boolean>;
  /** Time of its newest row, as far as the server tells. */
  lastTime: Signal<number | null>;
  /** The newest row seen, null until one was. */
  newest: Signal<Newest | null>;
  /** The larger, the newer. */
  rank: number;
}

export function newItem(kind: Kind, name: string, type: string, rank: number = 0): Item {
  return {
    id: `${kind}:${name}`,
    kind,
    name,
    type,
    unit: signal(""),
    series: signal(0),
    labels: signal([]),
    cumulative: signal(false),
    known: signal(false),
    lastTime: signal(null),
    newest: signal(null),
    rank,
  };
}

/** Names kept at most; more are counted in `beyond`. */
export const MAX_ITEMS = 5000;

export class Catalogue {
  readonly items = signal<readonly Item[]>([]);
  /** False until the server has told what it holds. */
  readonly loaded = signal(false);
  /** Names that found no room. */
  readonly beyond = signal(0);
  private readonly known = new Map<string, Item>();
  private readonly refused = new Set<string>();

  /** What the server holds, the newest first. */
  load(stats: Stats): void {
    for (const metric of byAge(stats.metrics ?? [])) {
      const item = this.item("metric", metric.name, metric.type);
      if (!item) continue;
      item.known.value = true;
      if (metric.unit) item.unit.value = metric.unit;
      item.series.value = metric.series ?? 0;
      item.cumulative.value = metric.cumulative ?? false;
      const labels = metric.labels ?? [];
      if (labels.join("\n") !== item.labels.peek().join("\n")) item.labels.value = labels;
      sawTime(item, toMs(metric.last_time));
    }
    for (const type of Object.keys(stats.event_types ?? {}).sort().reverse()) {
      const item = this.item("event", type, "event");
      if (item) item.known.value = true;
    }
    this.publish();
    this.loaded.value = true;
  }

  /** The item of an id such as `metric:orders`, if it is known. */
  find(id: string): Item | undefined {
    void this.items.value;
    return this.known.get(id);
  }

  sawMetric(row: MetricRow): void {
    if (typeof row?.name !== "string") return;
    const item = this.item("metric", row.name, String(row.metric_type));
    if (!item) return;
    if (row.unit) item.unit.value = row.unit;
    const source = row.source ? { source: row.source } : {};
    remember(item, {
      at: toMs(row.timestamp) ?? 0,
      value: withUnit(row.value, item.unit.value),
      labels: labelText({ ...row.tags, ...source }),
    });
    this.publish();
  }

  sawEvent(row: EventRow): void {
    if (typeof row?.event_type !== "string") return;
    const item = this.item("event", row.event_type, "event");
    if (!item) return;
    const properties = typeof row.properties === "object" ? (row.properties as Record<string, unknown>) : {};
    remember(item, { at: toMs(row.timestamp) ?? 0, value: row.user_id ?? "", labels: labelText(properties) });
    this.publish();
  }

  private item(kind: Kind, name: string, type: string): Item | undefined {
    const id = `${kind}:${name}`;
    const known = this.known.get(id);
    if (known) return known;
    if (this.known.size >= MAX_ITEMS) {
      if (this.refused.size < MAX_ITEMS) this.refused.add(id);
      this.beyond.value = this.refused.size;
      return undefined;
    }
    const item = newItem(kind, name, type, this.known.size);
    this.known.set(id, item);
    return item;
  }

  private publish(): void {
    if (this.items.peek().length !== this.known.size) this.items.value = [...this.known.values()];
  }
}

function remember(item: Item, newest: Newest): void {
  const known = item.newest.peek();
  item.known.value = true;
  sawTime(item, newest.at);
  if (!known || newest.at >= known.at) item.newest.value = newest;
}

function sawTime(item: Item, at: number | null): void {
  if (at !== null && at > (item.lastTime.peek() ?? 0)) item.lastTime.value = at;
}

/** Newer than this, and one name is as new as another. */
const RECENT = 300_000;

/** The oldest first, so that the newest get the highest rank; the order of recent ones does not depend on chance. */
function byAge(metrics: Stats["metrics"]): Stats["metrics"] {
  const time = (metric: Stats["metrics"][number]): number => toMs(metric.last_time) ?? 0;
  const newest = Math.max(0, ...metrics.map(time));
  const age = (metric: Stats["metrics"][number]): number => Math.floor((newest - time(metric)) / RECENT);
  return metrics.toSorted((a, b) => age(b) - age(a) || (a.name < b.name ? 1 : -1));
}

/** How the names of the server's own numbers begin. */
export const OWN = "streamgauge_";

/** Whether it is one of the server's own numbers, which stay out of the way until one looks for them. */
export function isOwn(item: Item): boolean {
  return item.kind === "metric" && item.name.startsWith(OWN);
}

/** What a search finds: items with every word of it in their name, type or unit. */
export function found(items: readonly Item[], search: string): readonly Item[] {
  const own = search.toLowerCase().includes("streamgauge");
  return items.filter((item) => (own || !isOwn(item)) && fits(item, search));
}

/** Whether an item has every word of a search in its name, type or unit. */
export function fits(item: Item, search: string): boolean {
  const text = `${item.name} ${item.type} ${item.unit.value}`.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The items in the order wanted. */
export function ordered(items: readonly Item[], order: "newest" | "name"): Item[] {
  if (order === "newest") return items.toSorted((a, b) => b.rank - a.rank);
  return items.toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}
