// The server's time as this page knows it, and the beat at which charts move on.

import { signal } from "@preact/signals";

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

/** Moves on once a second while the page is visible. */
export const beat = signal(serverNow());

setInterval(() => {
  if (document.visibilityState === "visible") beat.value = serverNow();
}, 1000);

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") beat.value = serverNow();
});
