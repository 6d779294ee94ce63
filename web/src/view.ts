// What the page shows now, kept in its address: sections, range, pause, search, order, groups, the opened panel.

import { batch, computed, effect, signal, untracked } from "@preact/signals";
import { readView, writeView, type Order, type Section, type View } from "./address";
import { serverNow } from "./clock";
import { between, isLast, scopeOf, shifted, zoomed, type Range } from "./ranges";

const first = readView(new URLSearchParams(location.search));

export const section = signal<Section>(first.section);
export const range = signal<Range>(first.range);
export const pausedAt = signal<number | null>(first.pausedAt);
export const search = signal(first.search);
export const order = signal<Order>(first.order);
export const groups = signal<ReadonlyMap<string, string>>(first.groups);
export const opened = signal<string | null>(first.opened);
export const alertShown = signal<string | null>(first.alert);

/** The time that all panels show. */
export const scope = computed(() => scopeOf(range.value, pausedAt.value));

/** Ranges that were zoomed into, for the way back. */
const visited: { range: Range; pausedAt: number | null }[] = [];
/** Whether the next change is a step that the browser's back button undoes. */
let step = false;

export function setRange(next: Range): void {
  step = true;
  batch(() => {
    range.value = next;
    pausedAt.value = null;
  });
}

export function setSection(next: Section): void {
  step = true;
  batch(() => {
    section.value = next;
    opened.value = null;
    alertShown.value = null;
  });
}

/** Shows an alert, a form for it, or with null all of them. `about`: the panel that a new one is about. */
export function showAlert(next: string | null, about: string | null = null): void {
  step = true;
  batch(() => {
    section.value = "alerts";
    alertShown.value = next;
    opened.value = about;
  });
}

let left: string | null = null;

/** Whether this is the panel that was closed just now; true once. */
export function wasClosed(id: string): boolean {
  if (left !== id) return false;
  left = null;
  return true;
}

/** Gives a panel the page for itself; null ends that. */
export function open(id: string | null): void {
  step = true;
  left = id === null ? opened.peek() : null;
  opened.value = id;
}

/** Stops the charts where they are, or lets them run on; a chosen range becomes the last so many minutes again. */
export function togglePause(): void {
  if (!isLast(range.peek())) return goLive();
  pausedAt.value = pausedAt.peek() === null ? Math.floor(serverNow()) : null;
}

/** Back to charts that move. */
export function goLive(): void {
  const back = visited.find((entry) => isLast(entry.range))?.range;
  visited.length = 0;
  setRange(isLast(range.peek()) ? range.peek() : (back ?? { last: 900_000 }));
}

/** Shows what was dragged over. */
export function zoomInto(from: number, to: number): void {
  visited.push({ range: range.peek(), pausedAt: pausedAt.peek() });
  setRange(between(from, to));
}

/** Back to before the last zoom; whether there was one. */
export function zoomBack(): boolean {
  const back = visited.pop();
  if (!back) return false;
  step = true;
  batch(() => {
    range.value = back.range;
    pausedAt.value = back.pausedAt;
  });
  return true;
}

export const shift = (direction: -1 | 1): void => setRange(shifted(standing(), direction, serverNow()));
export const zoom = (direction: -1 | 1): void => setRange(zoomed(range.peek(), direction));

/** A paused range steps back from where it stands. */
function standing(): Range {
  const fixed = scope.peek().mode === "paused" ? scope.peek().fixed : null;
  return fixed ?? range.peek();
}

export function groupBy(id: string, label: string | null): void {
  const next = new Map(groups.peek());
  if (label === null) next.delete(id);
  else next.set(id, label);
  groups.value = next;
}

function now(): View {
  return {
    section: section.value,
    range: range.value,
    pausedAt: pausedAt.value,
    search: search.value,
    order: order.value,
    groups: groups.value,
    opened: opened.value,
    alert: alertShown.value,
  };
}

/** Keeps the address in step with the view, and the view with the back button. */
export function keepInAddress(): void {
  effect(() => {
    const view = now();
    const text = writeView(view, new URLSearchParams(location.search)).toString();
    if (text === location.search.slice(1)) return;
    const address = `${location.pathname}${text ? `?${text}` : ""}`;
    if (step) history.pushState(null, "", address);
    else history.replaceState(history.state, "", address);
    step = false;
  });
  addEventListener("popstate", () => {
    const view = readView(new URLSearchParams(location.search));
    untracked(() =>
      batch(() => {
        section.value = view.section;
        range.value = view.range;
        pausedAt.value = view.pausedAt;
        search.value = view.search;
        order.value = view.order;
        groups.value = view.groups;
        opened.value = view.opened;
        alertShown.value = view.alert;
      }),
    );
  });
}
