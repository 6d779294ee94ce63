// The newest events, the newest first, each once; while the reader holds the list, new ones wait beside it.

import { signal } from "@preact/signals";
import { toMs, type EventRow } from "./protocol";

/** Events kept at most. */
export const MAX_EVENTS = 300;

export class Feed {
  readonly rows = signal<readonly EventRow[]>([]);
  /** How many wait while the list is held. */
  readonly waiting = signal(0);
  private held = false;
  private fresh: EventRow[] = [];

  /** The newest events as the server lists them, for example after a break. */
  load(rows: readonly EventRow[]): void {
    this.merge(rows.filter((row) => typeof row?.event_type === "string"));
  }

  saw(row: EventRow): void {
    if (typeof row?.event_type !== "string") return;
    this.merge([row]);
  }

  /** Nothing moves from now on. */
  hold(): void {
    this.held = true;
  }

  release(): void {
    this.held = false;
    const fresh = this.fresh;
    this.fresh = [];
    this.waiting.value = 0;
    if (fresh.length > 0) this.merge(fresh);
  }

  private merge(rows: readonly EventRow[]): void {
    if (this.held && this.rows.peek().length > 0) {
      this.fresh = newestOf([...rows, ...this.fresh]);
      const shown = new Set(this.rows.peek().map(keyOf));
      this.waiting.value = this.fresh.filter((row) => !shown.has(keyOf(row))).length;
      return;
    }
    this.rows.value = newestOf([...rows, ...this.rows.peek()]);
  }
}

function newestOf(rows: EventRow[]): EventRow[] {
  const unique = new Map(rows.map((row) => [keyOf(row), row]));
  return [...unique.values()].sort((a, b) => timeOf(b) - timeOf(a)).slice(0, MAX_EVENTS);
}

/** The id that the server derives from an event's place in the log. */
export function keyOf(row: EventRow): string {
  return row.id ?? JSON.stringify(row);
}

export function timeOf(row: EventRow): number {
  return toMs(row.timestamp) ?? 0;
}

/** Whether every word stands somewhere in the event. */
export function eventFits(row: EventRow, search: string): boolean {
  if (search.trim() === "") return true;
  const text = `${row.event_type} ${row.user_id ?? ""} ${row.session_id ?? ""} ${JSON.stringify(row.properties ?? "")}`;
  const lower = text.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => lower.includes(word));
}
