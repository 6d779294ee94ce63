// What the page knows of alerts: asked once, told over the socket when one fires or is resolved, and asked again then.
// Requests and timers come from outside, so tests decide them.

import { batch, computed, signal } from "@preact/signals";
import { reasonOf } from "../api";
import { plural } from "../format";
import { readSelector, toMs } from "../protocol";
import type { Alert, Incident } from "./protocol";

export interface World {
  incidents(): Promise<Incident[]>;
  alerts(): Promise<Alert[]>;
  now(): number;
  /** Calls once after `ms`; the answer cancels. */
  later(call: () => void, ms: number): () => void;
}

/** At least so long between two looks, however much happens; a server that answers slowly is asked more seldom. */
export const PAUSE = 2_000;
const SHARE = 20;
/** What fires is told over the socket; where that was missed, it is seen after this time. */
export const SELDOM = 60_000;

/** A stretch of time in which something fired; `to` is null while it goes on. */
export interface Band {
  from: number;
  to: number | null;
  level: "warning" | "critical";
  alert: string;
}

const NONE: readonly Band[] = [];

export class AlertStore {
  readonly alerts = signal<readonly Alert[]>([]);
  readonly incidents = signal<readonly Incident[]>([]);
  /** Whether there was an answer, and why there was none since. */
  readonly loaded = signal(false);
  /** Whether all alerts were asked for. */
  readonly listed = signal(false);
  readonly trouble = signal("");
  /** One more with every answer: what rests on it is asked again then. */
  readonly version = signal(0);
  /** A change to say aloud. */
  readonly said = signal("");

  /** Those that go on, the worst and then the newest first. */
  readonly open = computed(() =>
    this.incidents.value
      .filter(({ closed_at }) => closed_at === null)
      .sort((a, b) => rank(b) - rank(a) || b.opened_at.localeCompare(a.opened_at)),
  );
  /** When something fired, by the id of the panel that shows its metric. */
  private readonly bands = computed(() => {
    const panels = new Map(this.alerts.value.map((alert) => [alert.id, panelOf(alert)]));
    const found = new Map<string, Band[]>();
    for (const incident of this.incidents.value) {
      const panel = panels.get(incident.alert_id);
      const band = bandOf(incident);
      if (panel && band) found.set(panel, [...(found.get(panel) ?? []), band]);
    }
    return found;
  });

  private watchers = 0;
  private asking = false;
  private again = false;
  private askedAt = -Infinity;
  private took = 0;
  private cancel: () => void = () => undefined;

  constructor(private readonly world: World) {}

  bandsOf(panel: string): readonly Band[] {
    return this.bands.value.get(panel) ?? NONE;
  }

  /** Somebody looks: all alerts are asked for, again and again; the answer ends that. */
  watch(): () => void {
    this.watchers += 1;
    this.refresh();
    return () => void (this.watchers -= 1);
  }

  /** Called now and then: looks where somebody does, where the last look failed, or was long ago. */
  beat(): void {
    const seldom = this.world.now() - this.askedAt >= SELDOM;
    if (this.watchers > 0 || this.trouble.peek() !== "" || seldom) this.refresh();
  }

  /** An alert has fired or is resolved. */
  take(message: Record<string, unknown>): void {
    const told = message["alert"] as Alert | undefined;
    if (typeof told?.id === "string" && typeof told.state === "string") this.saw(told);
    this.refresh();
  }

  /** The answer to a change that was made here: shown at once. */
  changed(incident: Incident): void {
    this.incidents.value = this.incidents.peek().map((each) => (each.id === incident.id ? incident : each));
  }

  /** An alert as it was answered: shown at once. */
  saw(alert: Alert): void {
    const known = this.alerts.peek();
    const at = known.findIndex(({ id }) => id === alert.id);
    if (at >= 0) this.alerts.value = known.with(at, alert);
  }

  /** Looks as soon as the pace allows. */
  refresh(): void {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.cancel();
    const wait = this.askedAt + Math.max(PAUSE, SHARE * this.took) - this.world.now();
    const hurry = this.watchers > 0 && !this.listed.peek() && this.trouble.peek() === "";
    if (wait <= 0 || hurry) void this.look();
    else this.cancel = this.world.later(() => void this.look(), wait);
  }

  private async look(): Promise<void> {
    this.asking = true;
    this.askedAt = this.world.now();
    try {
      const incidents = await this.world.incidents();
      const unknown = incidents.some(({ alert_id }) => !this.alerts.peek().some(({ id }) => id === alert_id));
      const alerts = this.watchers > 0 || unknown ? await this.world.alerts() : null;
      batch(() => this.learn(incidents, alerts));
    } catch (error) {
      this.trouble.value = reasonOf(error);
    }
    this.asking = false;
    this.took = this.world.now() - this.askedAt;
    if (this.again) {
      this.again = false;
      this.refresh();
    }
  }

  private learn(incidents: Incident[], alerts: readonly Alert[] | null): void {
    const before = this.open.peek();
    this.incidents.value = incidents;
    if (alerts) this.alerts.value = alerts;
    if (alerts) this.listed.value = true;
    this.trouble.value = "";
    this.version.value += 1;
    const words = changeInWords(before, this.open.peek());
    if (words !== "") this.said.value = words;
    this.loaded.value = true;
  }
}

const rank = ({ level }: Incident): number => (level === "critical" ? 2 : level === "warning" ? 1 : 0);

/** The id of the panel that shows what an alert is about; null where that is a saved query. */
export function panelOf(alert: Pick<Alert, "metric_name" | "query">): string | null {
  if (alert.metric_name !== undefined) return `metric:${alert.metric_name}`;
  const found = readSelector(alert.query?.query_string ?? "");
  return found && `${found.kind}:${found.name}`;
}

function bandOf({ opened_at, closed_at, level, worst, alert }: Incident): Band | null {
  const from = toMs(opened_at);
  const reached = level === "ok" ? worst : level;
  return from === null ? null : { from, to: toMs(closed_at), level: reached === "critical" ? "critical" : "warning", alert };
}

/** What began and what ended, in a sentence or two; empty where nothing did. */
export function changeInWords(before: readonly Incident[], after: readonly Incident[]): string {
  const begun = after.filter(({ id }) => !before.some((each) => each.id === id));
  const ended = before.filter(({ id }) => !after.some((each) => each.id === id));
  const words: string[] = [];
  if (begun.length > 0) words.push(`${listed(begun)} ${begun.length === 1 ? "fires" : "fire"}.`);
  if (ended.length > 0) words.push(`${listed(ended)} ${ended.length === 1 ? "is" : "are"} resolved.`);
  if (after.length === 0 && ended.length > 0) words.push("Nothing fires now.");
  else if (words.length > 0 && after.length > begun.length) words.push(`${plural(after.length, "alert")} in all.`);
  return words.join(" ");
}

function listed(incidents: readonly Incident[]): string {
  const names = incidents.slice(0, 3).map(({ alert }) => alert || "an alert that is gone");
  const more = incidents.length - names.length;
  return more > 0 ? `${names.join(", ")} and ${more} more` : names.join(", ");
}
