// When the series that anomaly alerts watch were unusual, for the charts that show them. Asked now and then: it is
// advice, and an episode lasts many windows.

import { computed, signal } from "@preact/signals";
import type { Stretch } from "../overlay";
import { toMs } from "../protocol";
import type { Anomaly } from "./protocol";

/** At least so long between two looks, ms. */
export const SELDOM = 60_000;

const NONE: readonly Stretch[] = [];

export class AnomalyStore {
  private readonly found = signal<readonly Anomaly[]>([]);
  private askedAt = -Infinity;
  /** By the id of the panel that shows the metric, whichever of its groups it was. */
  private readonly stretches = computed(() => {
    const found = new Map<string, Stretch[]>();
    for (const anomaly of this.found.value) {
      const own = found.get(anomaly.query_string) ?? [];
      found.set(anomaly.query_string, [...own, ...stretchesOf(anomaly)]);
    }
    return found;
  });

  constructor(
    private readonly ask: () => Promise<Anomaly[]>,
    private readonly now: () => number,
  ) {}

  of(panel: string): readonly Stretch[] {
    return this.stretches.value.get(panel) ?? NONE;
  }

  /** Called now and then. What was known stays where nobody answers. */
  async beat(): Promise<void> {
    if (this.now() - this.askedAt < SELDOM) return;
    this.askedAt = this.now();
    try {
      this.found.value = await this.ask();
    } catch {
      // It is advice: the connection's state says elsewhere that something is wrong.
    }
  }
}

function stretchesOf({ episodes }: Anomaly): Stretch[] {
  return episodes.map(({ from, to }) => ({ from: toMs(from) ?? 0, to: toMs(to) }));
}
