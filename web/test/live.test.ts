import { beforeEach, describe, expect, it } from "vitest";
import { LiveQueries, type Watcher } from "../src/live";
import { BURST, Outbox, RATE } from "../src/outbox";
import type { Query, ServerError, Update } from "../src/protocol";

const query = (name: string): Query => ({
  query_string: `metric:${name}`,
  time_range: "15m",
  step: "5s",
  aggregation: "sum",
  format: "columns",
});

interface Sent {
  type: string;
  delta?: boolean;
  query?: Query;
  since?: string;
  subscription_id?: string;
}

let sent: Sent[];
let online: boolean;
let frames: ((room: number) => void)[];
let timers: (() => void)[];
let time: number;
let live: LiveQueries;

const frame = (): void => frames.splice(0).forEach((call) => call(8));
const updateText = (id: string, offset: string, value: number): string =>
  JSON.stringify({
    type: "realtime_update",
    subscription_id: id,
    query_id: null,
    offset,
    at: "2026-01-01T00:00:00.000Z",
    data: { times: [0], series: [{ group: "", labels: {}, values: [value] }] },
  });

const STEP = 5000;
/** A delta: from which step on the result still reaches back, and the values of the steps that changed. */
const deltaText = (id: string, offset: string, first: number, times: number[], values: (number | null)[]): string =>
  JSON.stringify({
    type: "realtime_update",
    subscription_id: id,
    query_id: null,
    offset,
    at: "2026-01-01T00:00:05.000Z",
    timestamp: "2026-01-01T00:00:05.000Z",
    delta: true,
    first,
    data: { times, series: [{ values, counts: values.map((v) => (v === null ? 0 : 1)) }] },
  });

function watcher(): Watcher & { updates: Update[]; errors: ServerError[] } {
  const updates: Update[] = [];
  const errors: ServerError[] = [];
  return { updates, errors, update: (u) => updates.push(u), error: (e) => errors.push(e) };
}

beforeEach(() => {
  sent = [];
  online = true;
  frames = [];
  timers = [];
  time = 0;
  const outbox = new Outbox(
    (text) => {
      if (online) sent.push(JSON.parse(text) as Sent);
      return online;
    },
    { now: () => time, later: (call) => (timers.push(call), () => undefined) },
  );
  live = new LiveQueries(outbox, (call) => frames.push(call));
});

describe("live queries", () => {
  it("gives each its own updates, the newest of a frame only", () => {
    const [a, b] = [watcher(), watcher()];
    live.watch(query("a"), a);
    live.watch(query("b"), b);
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    live.take({ type: "subscription_created", subscription_id: "sub_2" });
    for (const text of [updateText("sub_1", "e-1", 1), updateText("sub_1", "e-2", 2), updateText("sub_2", "e-2", 9)]) {
      expect(live.takeText(text)).toBe(true);
    }
    expect(a.updates).toEqual([]);
    frame();
    expect(a.updates.map((u) => [u.offset, u.columns.series[0]!.values])).toEqual([["e-2", [2]]]);
    expect(b.updates.map((u) => u.columns.series[0]!.values)).toEqual([[9]]);
    expect(a.updates[0]!.at).toBe(Date.UTC(2026, 0, 1));
  });

  it("draws light updates first, but lets none wait for ever", () => {
    const drawn: string[] = [];
    const names = ["heavy", "light"];
    names.forEach((name, i) => {
      live.watch(query(name), { update: () => void drawn.push(name), error: () => undefined });
      live.take({ type: "subscription_created", subscription_id: `sub_${i}` });
    });
    const heavy = updateText("sub_0", `e-${"1".repeat(300)}`, 1);
    live.takeText(heavy);
    for (let i = 0; i < 30 && !drawn.includes("heavy"); i++) {
      live.takeText(updateText("sub_1", "e-2", i));
      frames.splice(0).forEach((call) => call(1));
    }
    expect(drawn).toEqual([...Array<string>(drawn.length - 1).fill("light"), "heavy"]);
    expect(drawn.length).toBeLessThan(15);
  });

  it("draws a light update soon, however many heavy ones have waited long", () => {
    const drawn: string[] = [];
    for (let i = 0; i <= 16; i++) {
      const name = i < 16 ? "heavy" : "light";
      live.watch(query(`q${i}`), { update: () => void drawn.push(name), error: () => undefined });
      live.take({ type: "subscription_created", subscription_id: `sub_${i}` });
      if (i < 16) live.takeText(updateText(`sub_${i}`, `e-${"1".repeat(300)}`, 1));
    }
    const one = (): void => frames.splice(0).forEach((call) => call(1));
    for (let i = 0; i < 10; i++) one();
    live.takeText(updateText("sub_16", "e-2", 1));
    one();
    one();
    expect(drawn.slice(10)).toContain("light");
    while (frames.length > 0) one();
    expect(drawn.length).toBe(17);
  });

  it("asks again after a reconnect, from where it was", () => {
    const a = watcher();
    live.watch(query("a"), a);
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    live.takeText(updateText("sub_1", "e-7", 1));
    frame();
    sent = [];
    live.reopened();
    expect(sent).toEqual([{ type: "subscribe", query: query("a"), delta: true, since: "e-7" }]);
    live.take({ type: "subscription_created", subscription_id: "sub_9" });
    live.takeText(updateText("sub_1", "e-8", 5)); // of the line before
    live.takeText(updateText("sub_9", "e-9", 6));
    frame();
    expect(a.updates.map((u) => u.offset)).toEqual(["e-7", "e-9"]);
  });

  it("ends one that was asked and not answered yet", () => {
    const end = live.watch(query("a"), watcher());
    end();
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    expect(sent.map((m) => m.type)).toEqual(["subscribe", "unsubscribe"]);
    expect(sent[1]!.subscription_id).toBe("sub_1");
  });

  it("gives an error to whom it concerns", () => {
    const [a, b] = [watcher(), watcher()];
    live.watch(query("a"), a);
    live.watch(query("b"), b);
    live.take({ type: "error", code: "bad_query", message: "no" });
    live.take({ type: "subscription_created", subscription_id: "sub_2" });
    live.take({ type: "error", subscription_id: "sub_2", code: "query_too_expensive", message: "much" });
    expect(a.errors.map((e) => e.code)).toEqual(["bad_query"]);
    expect(b.errors.map((e) => e.code)).toEqual(["query_too_expensive"]);
  });

  it("asks again for one that found no room when another ends", () => {
    const a = watcher();
    const endFirst = live.watch(query("first"), watcher());
    live.watch(query("a"), a);
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    live.take({ type: "error", code: "too_many_subscriptions", message: "100" });
    expect(a.errors.length).toBe(1);
    endFirst();
    expect(sent.at(-1)!.type).toBe("unsubscribe");
    live.take({ type: "subscription_deleted", subscription_id: "sub_1" });
    expect(sent.slice(-2).map((m) => m.type)).toEqual(["unsubscribe", "subscribe"]);
    expect(sent.at(-1)!.query).toEqual(query("a"));
  });

  it("spreads many updates over frames, and forgets none", () => {
    const all = Array.from({ length: 20 }, (_, i) => {
      const one = watcher();
      live.watch(query(`q${i}`), one);
      live.take({ type: "subscription_created", subscription_id: `sub_${i}` });
      live.takeText(updateText(`sub_${i}`, "e-1", i));
      return one;
    });
    frame();
    expect(all.filter((one) => one.updates.length === 1).length).toBeLessThan(20);
    frame();
    frame();
    expect(all.map((one) => one.updates.length)).toEqual(all.map(() => 1));
  });

  it("builds deltas on what came before, each of them, and draws them once", () => {
    const a = watcher();
    live.watch(query("a"), a);
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    live.takeText(updateText("sub_1", "e-1", 1));
    live.takeText(deltaText("sub_1", "e-2", 0, [STEP], [2]));
    live.takeText(deltaText("sub_1", "e-3", 0, [STEP, 2 * STEP], [2.5, 3]));
    frame();
    live.takeText(deltaText("sub_1", "e-4", STEP, [3 * STEP], [null]));
    frame();
    live.takeText(deltaText("sub_1", "e-5", STEP, [], []));
    frame();
    expect(a.updates.map((u) => [u.offset, u.columns.times, u.columns.series[0]!.values])).toEqual([
      ["e-3", [0, STEP, 2 * STEP], [1, 2.5, 3]],
      ["e-4", [STEP, 2 * STEP, 3 * STEP], [2.5, 3, null]],
      ["e-5", [STEP, 2 * STEP, 3 * STEP], [2.5, 3, null]],
    ]);
    expect(a.updates[2]!.columns.series[0]).toMatchObject({ group: "", labels: {} });
    expect(a.updates[0]!.columns.series[0]!.values).toEqual([1, 2.5, 3]); // what was given away does not change
  });

  it("asks for the whole again where a delta does not fit", () => {
    const a = watcher();
    live.watch(query("a"), a);
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    live.takeText(updateText("sub_1", "e-1", 1));
    frame();
    sent = [];
    live.takeText(deltaText("sub_1", "e-9", 7 * STEP, [8 * STEP], [2]));
    expect(sent).toEqual([
      { type: "unsubscribe", subscription_id: "sub_1" },
      { type: "subscribe", query: query("a"), delta: true },
    ]);
    live.takeText(deltaText("sub_1", "e-10", 0, [], [])); // still under way
    live.take({ type: "subscription_deleted", subscription_id: "sub_1" });
    live.take({ type: "subscription_created", subscription_id: "sub_2" });
    live.takeText(updateText("sub_2", "e-11", 5));
    frame();
    expect(a.updates.map((u) => u.offset)).toEqual(["e-1", "e-11"]);
  });

  it("draws after a reconnect what it had read before, and asks for nothing older", () => {
    const a = watcher();
    live.watch(query("a"), a);
    live.take({ type: "subscription_created", subscription_id: "sub_1" });
    live.takeText(updateText("sub_1", "e-1", 1));
    live.takeText(deltaText("sub_1", "e-2", 0, [STEP], [2]));
    live.reopened();
    expect(sent.at(-1)).toEqual({ type: "subscribe", query: query("a"), delta: true, since: "e-2" });
    frame();
    expect(a.updates.map((u) => u.offset)).toEqual(["e-2"]);
    live.take({ type: "subscription_created", subscription_id: "sub_2" });
    live.takeText(deltaText("sub_2", "e-3", 0, [STEP], [4]));
    frame();
    expect(a.updates[1]!.columns.series[0]!.values).toEqual([1, 4]);
  });

  it("draws equal ones in the order they were asked in", () => {
    const drawn: number[] = [];
    [0, 1, 2, 3].forEach((i) => {
      live.watch(query(`q${i}`), { update: () => void drawn.push(i), error: () => undefined });
      live.take({ type: "subscription_created", subscription_id: `sub_${i}` });
    });
    [2, 0, 3, 1].forEach((i) => live.takeText(updateText(`sub_${i}`, "e-1", 1)));
    frame();
    expect(drawn).toEqual([0, 1, 2, 3]);
  });

  it("leaves other messages to others", () => {
    expect(live.takeText('{"type":"new_metric","metric":{"name":"realtime_update"}}')).toBe(false);
    expect(live.take({ type: "new_metric" })).toBe(false);
  });
});

describe("outbox", () => {
  it("keeps below the server's rate, and what is taken back is never sent", () => {
    const ends = Array.from({ length: BURST + 5 }, (_, i) => live.watch(query(`q${i}`), watcher()));
    expect(sent.length).toBe(BURST);
    ends[BURST]!();
    for (let round = 0; round < 10 && timers.length; round++) {
      time += 1000 / RATE;
      timers.splice(0).forEach((call) => call());
    }
    expect(sent.length).toBe(BURST + 4);
    expect(sent.some((m) => m.query?.query_string === `metric:q${BURST}`)).toBe(false);
  });

  it("begins what is looked at before it ends what is not", () => {
    const ends = Array.from({ length: BURST }, (_, i) => live.watch(query(`q${i}`), watcher()));
    ends.forEach((_, i) => live.take({ type: "subscription_created", subscription_id: `sub_${i}` }));
    ends.forEach((end) => end());
    live.watch(query("opened"), watcher());
    time += 1000 / RATE;
    timers.splice(0).forEach((call) => call());
    expect(sent.at(-1)!.query).toEqual(query("opened"));
  });

  it("drops what cannot be sent: it is asked again on the next line", () => {
    online = false;
    live.watch(query("a"), watcher());
    expect(sent).toEqual([]);
    online = true;
    live.reopened();
    expect(sent.map((m) => m.query!.query_string)).toEqual(["metric:a"]);
  });
});
