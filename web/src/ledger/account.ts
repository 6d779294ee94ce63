// What the ledger says, as the page shows it: sums that must be equal, and what each part of them is called.

import { grouped, plural } from "../format";
import type { Ledger } from "../protocol";

export interface Line {
  label: string;
  count: number;
  /** Part of the line above. */
  inner?: boolean;
}

export interface Account {
  /** Rows that became something known. */
  total: number;
  rejected: number;
  balanced: boolean;
  /** What does not add up, in sentences; empty where all does. */
  faults: string[];
  /** What became of the rows that came. */
  rows: Line[];
  /** Where the accepted samples are; empty where the server does not say. */
  places: Line[];
  /** What else is known of accepted samples, as far as there are any. */
  traits: Line[];
  /** All of the rows in one line. */
  words: string;
}

const number = (count: number): string => grouped(String(count));

/** Reads a ledger, and checks its sums again. */
export function accountOf(found: Ledger): Account {
  const reasons = Object.entries(found.rejected ?? {}).sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  const rejected = reasons.reduce((sum, [, count]) => sum + count, 0);
  const total = found.accepted + found.events + found.duplicate + rejected;
  const places = placesOf(found);
  const held = places.reduce((sum, { count }) => sum + count, 0);
  const faults: string[] = [];
  if (total !== found.received) {
    faults.push(`${plural(found.received, "row")} came, but ${number(total)} are accounted for.`);
  }
  if (places.length > 0 && held !== found.accepted) {
    faults.push(`${plural(found.accepted, "sample was", "samples were")} accepted, but ${number(held)} are held.`);
  }
  if (found.balanced === false && faults.length === 0) faults.push("The server's own sums differ.");
  const words = [
    `${number(found.received)} rows received`,
    `${number(found.accepted)} samples and ${number(found.events)} events accepted`,
    `${number(found.duplicate)} duplicate`,
    `${number(rejected)} rejected${reasons.length ? ` (${reasons.map(([why, n]) => `${why} ${number(n)}`).join(", ")})` : ""}`,
  ].join(" · ");
  return {
    total,
    rejected,
    balanced: faults.length === 0,
    faults,
    rows: [
      { label: "accepted samples", count: found.accepted },
      { label: "accepted events", count: found.events },
      { label: "duplicates, counted once", count: found.duplicate },
      { label: "rejected", count: rejected },
      ...reasons.map(([label, count]) => ({ label, count, inner: true })),
    ],
    places,
    traits: traitsOf(found),
    words,
  };
}

function placesOf({ in_panes: held, expired = 0 }: Ledger): Line[] {
  if (!held) return [];
  return [
    { label: "in open panes", count: held.open },
    { label: "in closed panes, not stored yet", count: held.pending },
    { label: "stored", count: held.stored },
    { label: "older than every retention", count: expired },
  ];
}

function traitsOf(found: Ledger): Line[] {
  const lines: Line[] = [
    { label: "came late, and counted all the same", count: found.late ?? 0 },
    { label: "running totals too late for “increase”", count: found.late_total ?? 0 },
    { label: "running totals closed early for lack of memory", count: found.squeezed ?? 0 },
    { label: "folded into __other__", count: found.folded ?? 0 },
  ];
  return lines.filter(({ count }) => count > 0);
}

/** The lines that fetch the refused rows and send them again. */
export function mendLines(origin: string): string {
  return [
    `streamgauge rejects --ndjson --url ${origin} > rows.ndjson`,
    `streamgauge send --file rows.ndjson --url ${origin}`,
  ].join("\n");
}
