// Everything that has arrived, in the order it became known. A name that is there stays where it is.

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
  /** The newest row seen, null until one was. */
  newest: Signal<Newest | null>;
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

  /** What the server holds; new names are added in their alphabetical order. */
  load(stats: Stats): void {
    const metrics = [...(stats.metrics ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const metric of metrics) {
      const item = this.item("metric", metric.name, metric.type);
      if (!item) continue;
      if (metric.unit) item.unit.value = metric.unit;
      item.series.value = metric.series ?? 0;
    }
    for (const type of Object.keys(stats.event_types ?? {}).sort()) this.item("event", type, "event");
    this.publish();
    this.loaded.value = true;
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
    const item: Item = { id, kind, name, type, unit: signal(""), series: signal(0), newest: signal(null) };
    this.known.set(id, item);
    return item;
  }

  private publish(): void {
    if (this.items.peek().length !== this.known.size) this.items.value = [...this.known.values()];
  }
}

function remember(item: Item, newest: Newest): void {
  const known = item.newest.peek();
  if (!known || newest.at >= known.at) item.newest.value = newest;
}
