import { describe, expect, it } from "vitest";
import { accountOf, mendLines } from "../src/ledger/account";
import type { Ledger } from "../src/protocol";

const sound: Ledger = {
  received: 1015,
  accepted: 1000,
  events: 5,
  duplicate: 3,
  late: 2,
  folded: 0,
  expired: 4,
  rejected: { bad_value: 2, too_long: 5 },
  in_panes: { open: 600, pending: 96, stored: 300 },
  balanced: true,
};

describe("the account of a ledger", () => {
  it("adds up, and says what became of every row", () => {
    const { total, rejected, balanced, faults, rows, places, traits, words } = accountOf(sound);
    expect([total, rejected, balanced, faults]).toEqual([1015, 7, true, []]);
    expect(rows.filter(({ inner }) => !inner).reduce((sum, { count }) => sum + count, 0)).toBe(1015);
    expect(rows.filter(({ inner }) => inner)).toEqual([
      { label: "too_long", count: 5, inner: true },
      { label: "bad_value", count: 2, inner: true },
    ]);
    expect(places.map(({ count }) => count)).toEqual([600, 96, 300, 4]);
    expect(traits).toEqual([{ label: "came late, and counted all the same", count: 2 }]);
    expect(words).toBe(
      "1,015 rows received · 1,000 samples and 5 events accepted · 3 duplicate · 7 rejected (too_long 5, bad_value 2)",
    );
  });

  it("notices what is missing, or there twice", () => {
    expect(accountOf({ ...sound, received: 1016 }).faults).toEqual(["1,016 rows came, but 1,015 are accounted for."]);
    const lost = accountOf({ ...sound, in_panes: { open: 600, pending: 96, stored: 299 } });
    expect(lost.balanced).toBe(false);
    expect(lost.faults).toEqual(["1,000 samples were accepted, but 999 are held."]);
    expect(accountOf({ ...sound, duplicate: 4 }).balanced).toBe(false);
    expect(accountOf({ ...sound, balanced: false }).faults).toEqual(["The server's own sums differ."]);
  });

  it("reads a server that does not say where the samples are", () => {
    const old: Ledger = { received: 1, accepted: 1, events: 0, duplicate: 0, rejected: {} };
    expect(accountOf(old)).toMatchObject({ balanced: true, places: [], traits: [] });
  });
});

it("the lines for sending again name this server", () => {
  expect(mendLines("http://127.0.0.1:8000").split("\n")).toEqual([
    "streamgauge rejects --ndjson --url http://127.0.0.1:8000 > rows.ndjson",
    "streamgauge send --file rows.ndjson --url http://127.0.0.1:8000",
  ]);
});
