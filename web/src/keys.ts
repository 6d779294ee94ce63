// The keyboard: one key, one act. Keys that a field, a list or a dialog needs are left to it.

import { helpShown } from "./help";
import { SECTIONS } from "./address";
import { toggleTheme } from "./theme";
import { alertShown, open, opened, search, section, setSection, shift, showAlert, togglePause, zoom, zoomBack } from "./view";

const PANEL = "article[data-panel]";

/** What an element does with keys by itself: everything, some of them, or none. */
export function appetite(target: Element | null): "all" | "some" | "none" {
  if (!target) return "none";
  if (target.matches("input, textarea, select, [contenteditable]")) return "all";
  if (target.matches("button, a, summary, [role=region]")) return "some";
  return "none";
}

const acts: Record<string, (event: KeyboardEvent) => void> = {
  "/": () => document.querySelector<HTMLInputElement>("#search")?.select(),
  " ": togglePause,
  ArrowLeft: () => shift(-1),
  ArrowRight: () => shift(1),
  "+": () => zoom(-1),
  "=": () => zoom(-1),
  "-": () => zoom(1),
  j: () => move(1),
  k: () => move(-1),
  Enter: () => press("open"),
  t: () => press("table"),
  a: () => press("alert"),
  ...Object.fromEntries(SECTIONS.map((name, at) => [`${at + 1}`, () => setSection(name)])),
  d: toggleTheme,
  "?": () => (helpShown.value = true),
};

/** Keys that a button, a link or a table needs itself. */
const NEEDED = new Set([" ", "Enter", "ArrowLeft", "ArrowRight"]);

export function listenToKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return; // it closes itself with Esc
    const target = event.target instanceof Element ? event.target : null;
    if (event.key === "Escape") return escape(target, event);
    const hungry = appetite(target);
    if (hungry === "all" || (hungry === "some" && NEEDED.has(event.key))) return;
    const act = Object.hasOwn(acts, event.key) ? acts[event.key] : undefined;
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}

/** Back by one: out of the field, the search, the zoom, the opened panel. */
function escape(target: Element | null, event: KeyboardEvent): void {
  if (appetite(target) === "all") {
    if (target?.id === "search" && search.peek() !== "") search.value = "";
    else (target as HTMLElement).blur();
  } else if (section.peek() === "alerts" && alertShown.peek() !== null) {
    const edited = alertShown.peek()!.split("/edit");
    showAlert(edited.length > 1 ? edited[0]! : null); // what was typed stays with the form
  } else if (!zoomBack()) {
    if (opened.peek() !== null) open(null);
    else if (search.peek() !== "") search.value = "";
    else return;
  }
  event.preventDefault();
}

function here(): HTMLElement | null {
  return document.activeElement?.closest<HTMLElement>(PANEL) ?? null;
}

function move(direction: 1 | -1): void {
  const panels = [...document.querySelectorAll<HTMLElement>(PANEL)];
  const current = here();
  const at = current ? panels.indexOf(current) + direction : direction > 0 ? 0 : panels.length - 1;
  const next = panels[Math.max(0, Math.min(panels.length - 1, at))];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

function press(act: "open" | "table" | "alert"): void {
  const panel = here() ?? document.querySelector<HTMLElement>(PANEL);
  panel?.querySelector<HTMLButtonElement>(`[data-act=${act}]`)?.click();
}
