// The server's time as this page knows it, and the beat at which charts move on.

import { signal, type ReadonlySignal } from "@preact/signals";

/** The largest (server time - own time) seen: stamps are never ahead of the server, only behind. */
let skew: number | null = null;
/** Below this, the difference is delivery time and not a clock that is wrong. */
const TOLERANCE = 1500;

/** Learns from a time the server says it is. */
export function heardTime(at: number, own: number = Date.now()): void {
  if (at > 0) skew = skew === null ? at - own : Math.max(skew, at - own);
}

export function forgetTime(): void {
  skew = null;
}

/** The server's time now, ms. */
export function serverNow(own: number = Date.now()): number {
  return skew !== null && Math.abs(skew) > TOLERANCE ? own + skew : own;
}

/** Round trip to the server, ms; null until one was measured. */
export const roundTrip = signal<number | null>(null);
/** How far behind the server what is shown was, ms: the middle of the last second's updates. */
export const behind = signal<number | null>(null);
const delays: number[] = [];

/** Learns how old an update was when it was drawn. Clocks are compared by the fastest delivery seen. */
export function drew(at: number, own: number = Date.now()): void {
  if (at <= 0 || skew === null) return;
  delays.push(Math.max(0, own + skew - at) + (roundTrip.peek() ?? 0) / 2);
}

/** Once a second: the middle of what was seen since, kept where nothing was. */
export function sumUpDelays(): void {
  if (delays.length === 0) return;
  delays.sort((a, b) => a - b);
  behind.value = delays[delays.length >> 1]!;
  delays.length = 0;
}

/** Moves on once a second while the page is visible. */
export const beat = signal(serverNow());
/** The same in turns: a page of many charts is not redrawn in one frame. */
const turns = Array.from({ length: 8 }, () => signal(serverNow()));
let turn = 0;

/** The beat of one of many. */
export function beatOf(id: string): ReadonlySignal<number> {
  let sum = 0;
  for (let i = 0; i < id.length; i++) sum = (sum * 31 + id.charCodeAt(i)) >>> 0;
  return turns[sum % turns.length]!;
}

setInterval(() => {
  if (document.visibilityState !== "visible") return;
  turn = (turn + 1) % turns.length;
  turns[turn]!.value = serverNow();
  if (turn > 0) return;
  sumUpDelays();
  beat.value = serverNow();
}, 1000 / turns.length);

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") for (const each of [beat, ...turns]) each.value = serverNow();
});
