// The state of a panel: exactly one, with a few words and, where there is something to explain, a sentence.

import { clockTime, duration, moment } from "./format";
import type { Model } from "./model";
import { BRIDGE } from "./plans";
import type { Scope } from "./ranges";

export const STATES = [
  "live",
  "delayed",
  "paused",
  "historical",
  "empty",
  "no data in range",
  "stale",
  "partial",
  "error",
  "over limit",
] as const;
export type State = (typeof STATES)[number];

export interface Mark {
  state: State;
  /** A few words. */
  text: string;
  detail?: string;
}

export interface Situation {
  model: Model | null;
  scope: Scope;
  connected: boolean;
  /** Why the main line failed, if it did. */
  error: { code: string; message: string } | null;
  /** Other lines that failed, by what they show. */
  missing: readonly string[];
  /** Server time the shown result stands for. */
  shownAt: number | null;
  /** Whether the server ever held a row of this name. */
  known: boolean;
  now: number;
}

/** The worst of what is the case. */
export function markOf(situation: Situation): Mark {
  const { model, scope, connected, error, missing, shownAt, known, now } = situation;
  if (error && LIMITS.has(error.code)) return { state: "over limit", text: "over limit", detail: error.message };
  if (error) return { state: "error", text: "error", detail: error.message || error.code };
  const standing = scope.fixed !== null;
  if (!connected && !standing) {
    if (shownAt === null) return { state: "delayed", text: "waiting for the server" };
    return { state: "delayed", text: `as of ${clockTime(shownAt)}` };
  }
  if (!model) return { state: "delayed", text: "loading" };
  if (missing.length > 0) return { state: "partial", text: "partial", detail: `Failed: ${missing.join(", ")}.` };
  if (model.newest === null && !known) return { state: "empty", text: "no data yet" };
  if (model.newest === null) return { state: "no data in range", text: `nothing in ${scope.words}` };
  if (scope.mode === "paused") return { state: "paused", text: `paused ${clockTime(scope.fixed?.to ?? now)}` };
  if (scope.mode === "historical") return { state: "historical", text: "historical" };
  return age(model, now);
}

function age(model: Model, now: number): Mark {
  const since = model.newest! + model.step;
  const silent = now - since;
  const usual = model.usualGap ?? BRIDGE / 2;
  if (silent <= Math.max(2 * usual, 2 * model.step, ROOM)) return { state: "live", text: "live" };
  if (silent <= Math.max(6 * usual, BRIDGE)) return { state: "delayed", text: `delayed ${duration(silent)}` };
  const begun = moment(since, now);
  return { state: "stale", text: `silent for ${duration(silent)}`, detail: `No number since ${begun}.` };
}

/** Silence up to this is not worth a word. */
const ROOM = 10_000;
const LIMITS = new Set([
  "too_many_subscriptions",
  "too_many_requests",
  "query_too_expensive",
  "query_timeout",
  "out_of_reach",
]);
