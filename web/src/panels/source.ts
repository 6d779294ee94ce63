// The data of one panel for one stretch of time: a live query per line, or one answer each where time stands still.

import { batch, signal } from "@preact/signals";
import { askQuery, HttpError } from "../api";
import { drew, heardTime, serverNow } from "../clock";
import { buildModel, type Model } from "../model";
import { linesAsked, queryFor, type Kind, type Line, type Plan } from "../plans";
import type { Columns, ServerError } from "../protocol";
import type { Scope } from "../ranges";
import { live } from "../session";

export class Source {
  /** Server time the shown result stands for. */
  readonly at = signal<number | null>(null);
  /** Why a line has no result, by line. */
  readonly errors = signal<readonly (ServerError | null)[]>([]);
  readonly lines: readonly Line[];
  private readonly version = signal(0);
  private readonly results: (Columns | null)[];
  private built: { version: number; unit: string; now: number; model: Model | null } | null = null;

  constructor(
    private readonly kind: Kind,
    private readonly name: string,
    readonly plan: Plan,
    readonly scope: Scope,
    readonly group: string | null,
  ) {
    this.lines = linesAsked(plan, group);
    this.results = this.lines.map(() => null);
    this.errors.value = this.lines.map(() => null);
  }

  /** Asks for results; the answer ends that. What was shown stays. */
  watch(): () => void {
    const ends = this.lines.map((line, i) => (this.scope.fixed ? this.fetch(line, i) : this.follow(line, i)));
    return () => ends.forEach((end) => end());
  }

  private follow(line: Line, i: number): () => void {
    return live.watch(queryFor(this.kind, this.name, line, this.scope, this.group), {
      update: ({ at, columns }) => {
        heardTime(at);
        drew(at);
        this.take(i, at, columns);
      },
      error: (error) => this.fail(i, error),
    });
  }

  private fetch(line: Line, i: number): () => void {
    if (this.results[i]) return () => undefined; // what is past is asked once
    const stop = new AbortController();
    askQuery(queryFor(this.kind, this.name, line, this.scope, this.group), stop.signal).then(
      ({ at, columns }) => this.take(i, at, columns),
      (error: unknown) => {
        if (stop.signal.aborted) return;
        const known = error instanceof HttpError;
        const message = known ? error.message : "The server does not answer.";
        this.fail(i, { code: known ? error.code : "unreachable", message });
      },
    );
    return () => stop.abort();
  }

  private take(i: number, at: number, columns: Columns): void {
    batch(() => {
      this.results[i] = columns;
      this.at.value = Math.max(this.at.peek() ?? 0, at);
      this.fail(i, null);
      this.version.value += 1;
    });
  }

  private fail(i: number, error: ServerError | null): void {
    if (this.errors.peek()[i] !== error) this.errors.value = this.errors.peek().with(i, error);
  }

  /** The model as of `now`, built once per change of data, unit or beat; null before the first result. */
  model(unit: string, now: number, moving: boolean): Model | null {
    const version = this.version.value;
    const kept = this.built;
    if (kept && kept.version === version && kept.unit === unit && kept.now === now) return kept.model;
    // Data may be newer than the last beat; the edge of a moving chart is whichever is later.
    const edge = moving ? Math.max(now, serverNow()) : now;
    const { plan, scope, group, results } = this;
    const model = results[0] ? buildModel({ plan, unit, scope, group, results, now: edge }) : null;
    this.built = { version, unit, now, model };
    return model;
  }
}
