// The data of one panel: a live query per line, and the model made from their newest results.

import { batch, signal } from "@preact/signals";
import { heardTime, serverNow } from "../clock";
import { buildModel, type Model } from "../model";
import { queryFor, type Kind, type Plan } from "../plans";
import type { Columns, ServerError } from "../protocol";
import { live } from "../session";

export class Source {
  /** Server time the shown result stands for. */
  readonly at = signal<number | null>(null);
  readonly error = signal<ServerError | null>(null);
  private readonly version = signal(0);
  private readonly results: (Columns | null)[];
  private built: { version: number; unit: string; now: number; model: Model | null } | null = null;

  constructor(
    private readonly kind: Kind,
    private readonly name: string,
    private readonly plan: Plan,
  ) {
    this.results = plan.lines.map(() => null);
  }

  /** Asks for live results; the answer ends that. What was shown stays. */
  watch(): () => void {
    const ends = this.plan.lines.map((line, i) =>
      live.watch(queryFor(this.kind, this.name, line), {
        update: ({ at, columns }) =>
          batch(() => {
            heardTime(at);
            this.results[i] = columns;
            this.at.value = Math.max(this.at.value ?? 0, at);
            this.error.value = null;
            this.version.value += 1;
          }),
        error: (error) => (this.error.value = error),
      }),
    );
    return () => ends.forEach((end) => end());
  }

  /** The model as of `now`, built once per change of data, unit or beat; null before the first result. */
  model(unit: string, now: number, moving: boolean): Model | null {
    const version = this.version.value;
    const kept = this.built;
    if (kept && kept.version === version && kept.unit === unit && kept.now === now) return kept.model;
    // Data may be newer than the last beat; the edge of a moving chart is whichever is later.
    const edge = moving ? Math.max(now, serverNow()) : now;
    const model = this.results[0] ? buildModel(this.plan, unit, this.results, edge) : null;
    this.built = { version, unit, now, model };
    return model;
  }
}
