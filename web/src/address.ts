// What the page shows, as it stands in its address: readable, and safe to read back whatever it holds.

import { DEFAULT_RANGE, isLast, LONGEST, readSpan, SHORTEST, spanText, type Range } from "./ranges";

export type Section = "explore" | "events" | "dashboards" | "alerts";
export type Order = "newest" | "name";

export interface View {
  section: Section;
  range: Range;
  /** When a range that moves was stopped, null while it moves. */
  pausedAt: number | null;
  search: string;
  order: Order;
  /** Panel id -> the label its series are grouped by. */
  groups: ReadonlyMap<string, string>;
  /** Id of the panel that has the page for itself. */
  opened: string | null;
  /** Of the alerts: an id, `<id>/edit` or `new`; null for all of them. */
  alert: string | null;
}

export const SECTIONS: readonly Section[] = ["explore", "events", "dashboards", "alerts"];
/** Parameters that are this module's; others are left as they are. */
const OWN = ["view", "range", "from", "to", "paused", "q", "order", "by", "open", "alert"];

export function readView(parameters: URLSearchParams): View {
  const wanted = parameters.get("view") as Section;
  const section = SECTIONS.includes(wanted) ? wanted : "explore";
  return {
    section,
    range: readRange(parameters),
    pausedAt: moment(parameters.get("paused")),
    search: parameters.get("q") ?? "",
    order: parameters.get("order") === "name" ? "name" : "newest",
    groups: readGroups(parameters.getAll("by")),
    opened: parameters.get("open"),
    alert: section === "alerts" ? parameters.get("alert") : null,
  };
}

/** The parameters of the view; those of others among `before` are kept. */
export function writeView(view: View, before: URLSearchParams): URLSearchParams {
  const out = new URLSearchParams(before);
  OWN.forEach((name) => out.delete(name));
  const put = (name: string, value: string | null, usual = ""): void => {
    if (value !== null && value !== usual) out.append(name, value);
  };
  put("view", view.section, "explore");
  if (isLast(view.range)) {
    put("range", spanText(view.range.last), spanText((DEFAULT_RANGE as { last: number }).last));
    put("paused", view.pausedAt === null ? null : iso(view.pausedAt));
  } else {
    put("from", iso(view.range.from));
    put("to", iso(view.range.to));
  }
  put("q", view.search);
  put("order", view.order, "newest");
  for (const [id, label] of view.groups) put("by", `${label}@${id}`);
  put("open", view.opened);
  put("alert", view.alert);
  return out;
}

function readRange(parameters: URLSearchParams): Range {
  const from = moment(parameters.get("from"));
  const to = moment(parameters.get("to"));
  if (from !== null && to !== null && to - from >= SHORTEST && to - from <= LONGEST) return { from, to };
  const last = readSpan(parameters.get("range"));
  return last === null ? DEFAULT_RANGE : { last };
}

function readGroups(texts: string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const text of texts) {
    const at = text.search(/@(metric|event):/);
    if (at > 0) found.set(text.slice(at + 1), text.slice(0, at));
  }
  return found;
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** ISO 8601 in any form that `Date` reads, between 1970 and 2200; null otherwise. */
function moment(text: string | null): number | null {
  const ms = text === null ? NaN : Date.parse(text);
  return ms > 0 && ms < 7_258_118_400_000 ? ms : null;
}
