// Light, dark, or as the system has it; kept in this browser. And the zone in which times are written.

import { computed, effect, signal } from "@preact/signals";
import { writeTimesIn } from "./format";

export type Theme = "system" | "light" | "dark";
export type Zone = "local" | "utc";

const THEMES: readonly Theme[] = ["system", "light", "dark"];

function kept(slot: string): string | null {
  try {
    return localStorage.getItem(slot);
  } catch {
    return null; // storage may be switched off: then the choice lasts until the next reload
  }
}

function keep(slot: string, value: string): void {
  try {
    localStorage.setItem(slot, value);
  } catch {
    // As above.
  }
}

const stored = kept("streamgauge.theme") as Theme;
export const theme = signal<Theme>(THEMES.includes(stored) ? stored : "system");
export const zone = signal<Zone>(kept("streamgauge.zone") === "utc" ? "utc" : "local");

const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", () => (systemDark.value = system.matches));

/** Whether the dark theme is in force. */
export const dark = computed(() => (theme.value === "system" ? systemDark.value : theme.value === "dark"));

/** The other theme than the one in force; the system's choice is followed again when it is the same. */
export function toggleTheme(): void {
  const wanted = !dark.peek();
  theme.value = wanted === systemDark.peek() ? "system" : wanted ? "dark" : "light";
}

export function setTheme(next: Theme): void {
  theme.value = next;
}

export function setZone(next: Zone): void {
  zone.value = next;
}

effect(() => {
  keep("streamgauge.theme", theme.value);
  if (theme.value === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
});

effect(() => {
  keep("streamgauge.zone", zone.value);
  writeTimesIn(zone.value);
});
