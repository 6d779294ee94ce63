// Which dashboard is open, as it stands in the page's address beside what the rest of the page keeps there.

import { signal } from "@preact/signals";

const NAME = "dashboard";
const read = (): string | null => new URLSearchParams(location.search).get(NAME);

export const place = signal<string | null>(read());

addEventListener("popstate", () => (place.value = read()));

/** Opens a dashboard, or the list with null; the browser's back button leads back. */
export function goTo(id: string | null): void {
  const parameters = new URLSearchParams(location.search);
  if (id === null) parameters.delete(NAME);
  else parameters.set(NAME, id);
  const text = parameters.toString();
  history.pushState(null, "", `${location.pathname}${text ? `?${text}` : ""}`);
  place.value = id;
}
