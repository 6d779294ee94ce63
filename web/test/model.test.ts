import { beforeEach, describe as group, expect, it } from "vitest";
import { forgetColours } from "../src/colours";
import { markOf, STATES, type Situation } from "../src/marks";
import { buildModel, csvOf, describe, kindText, MAX_LINES, tableOf, valuesAt, type Model } from "../src/model";
import { linesAsked, planFor, queryFor } from "../src/plans";
import { parseMessage, readColumns, selector, toMs, type Columns } from "../src/protocol";
import { scopeOf } from "../src/ranges";

const NOW = Date.UTC(2026, 0, 1, 12, 0, 2);
const STEP = 5000;
const START = NOW - 2000 - 3 * STEP;
const times = [0, 1, 2, 3].map((i) => START + i * STEP);
const result = (...values: (number | null)[]): Columns => ({ times, series: [{ group: "", labels: {}, values }] });
const LIVE = scopeOf({ last: 900_000 }, null);
const PAUSED = scopeOf({ last: 900_000 }, NOW);
const PAST = scopeOf({ from: START, to: START + 4 * STEP }, null);

function model(type: string, unit: string, results: (Columns | null)[], more: { scope?: typeof LIVE } = {}): Model {
  return buildModel({ plan: planFor("metric", type), unit, scope: LIVE, group: null, results, now: NOW, ...more });
}

group("plans", () => {
  it.each([
    ["counter", ["sum"]],
    ["gauge", ["average"]],
    ["histogram", ["percentile_50", "percentile_10", "percentile_90", "percentile_99"]],
    ["timer", ["percentile_50", "percentile_10", "percentile_90", "percentile_99"]],
    ["average", ["average", "min", "max"]],
    ["constructor", ["average"]],
  ])("a %s is asked for %j", (type, aggregations) => {
    expect(planFor("metric", type).lines.map((line) => line.aggregation)).toEqual(aggregations);
  });

  it("counts events, whatever they are called", () => {
    expect(planFor("event", "counter").lines[0]!.aggregation).toBe("count");
  });

  it("shows a running total by its rate, and only that", () => {
    expect(planFor("metric", "counter", true).lines[0]!.aggregation).toBe("rate");
    expect(planFor("metric", "gauge", true).lines[0]!.aggregation).toBe("average");
    expect(model("counter", "bytes", [result(1, 2, 3, 4)]).headline.unit).not.toContain("/s");
  });

  it("asks for a range that moves, for one that stands, and for groups by their main line only", () => {
    const plan = planFor("metric", "timer");
    const [line] = linesAsked(plan, "route");
    expect(linesAsked(plan, "route")).toHaveLength(1);
    expect(queryFor("metric", "latency", line!, LIVE, "route")).toEqual({
      query_string: "metric:latency",
      time_range: "15m",
      step: "5s",
      aggregation: "percentile_50",
      group_by: ["route"],
      format: "columns",
    });
    const past = queryFor("metric", "latency", line!, PAST, null);
    expect(past).toMatchObject({ from: START, to: START + 4 * STEP, step: "1s" });
    expect(past).not.toHaveProperty("time_range");
    expect(past).not.toHaveProperty("group_by");
  });
});

group("model", () => {
  it("says of a counter what came in the range, and how fast", () => {
    const made = model("counter", "requests", [result(null, 40, null, 20)]);
    expect(made.headline).toEqual({ number: "60", unit: "requests", caption: "in the last 15 min" });
    expect(made.facts.map((fact) => fact.text)).toEqual(["0.968 /s", "20 requests"]);
    expect(made.newest).toBe(times[3]);
    expect(made.rows.length).toBe(made.lines.length);
  });

  it("counts a past range whole: no step of it is still filling", () => {
    const made = model("counter", "", [result(1, 2, null, 4)], { scope: PAST });
    const open = made.lines.findIndex(({ role }) => role === "open");
    expect(made.rows[open]!.every((v) => v === null)).toBe(true);
    expect(made.rows[0]!.slice(0, 4)).toEqual([1, 2, 0, 4]);
    expect(made.headline).toMatchObject({ number: "7", caption: "in 20 s" });
  });

  it("says of a gauge what it was last", () => {
    const made = model("gauge", "%", [result(10, 30, null, null)]);
    expect(made.headline).toEqual({ number: "30", unit: "%", caption: "last value" });
    expect(made.facts.map((fact) => fact.text)).toEqual(["10 %", "30 %"]);
    expect(made.rows.every((row) => row.length === made.times.length)).toBe(true);
    expect(valuesAt(made, 3, "%")).toMatch(/last known 30 %$/);
  });

  it("says of a timer where its middle and its edges are", () => {
    const rows = [result(null, null, null, 20), result(null, null, null, 10), result(null, null, null, 80)];
    const made = model("timer", "ms", [...rows, result(null, null, null, 1500)]);
    expect(made.headline).toEqual({ number: "20", unit: "ms", caption: "p50 of the last 5 s" });
    expect(made.facts).toEqual([
      { label: "p10", text: "10 ms" },
      { label: "p90", text: "80 ms" },
      { label: "p99", text: "1.5 s" },
    ]);
  });

  it("takes the step from the answer, which may be wider than asked", () => {
    const wide: Columns = { times: [0, 60_000], series: [{ group: "", labels: {}, values: [5, 7] }] };
    expect(model("counter", "", [wide], { scope: PAST }).step).toBe(60_000);
  });

  it("says so when there is no number", () => {
    const made = model("gauge", "", [{ times, series: [] }]);
    expect(made.headline.number).toBe("–");
    expect(describe("x", "gauge", made, LIVE, NOW)).toBe("x, gauge: no number in the last 15 min.");
  });

  it("has a table with each step once, and the same as a file", () => {
    const table = tableOf(model("counter", "", [result(null, 5, null, 7)]));
    expect(table.head).toEqual(["sum per step"]);
    expect(table.rows.map(({ values }) => values)).toEqual([[7], [0], [5], [0]]);
    expect(table.rows[0]!.time).toBe(times[3]);
    const values = tableOf(model("gauge", "", [result(1, null, 3, null)])).rows;
    expect(values.map((row) => row.values)).toEqual([[3], [1]]);
    const file = csvOf({ head: ["=cmd()", 'a,"b"'], rows: [{ time: 0, values: [1, null] }] });
    expect(file).toBe(`time,'=cmd(),"a,""b"""\r\n1970-01-01T00:00:00.000Z,1,\r\n`);
  });

  it("describes the chart in a sentence", () => {
    const made = model("counter", "", [result(1, null, null, 2)]);
    expect(describe("orders", "counter", made, LIVE, NOW)).toBe(
      "orders, counter: 3 in the last 15 min; last minute 0.0484 /s, newest step 2.",
    );
  });
});

group("groups", () => {
  beforeEach(forgetColours);
  const groups = (rows: Record<string, (number | null)[]>): Columns => ({
    times,
    series: Object.entries(rows).map(([host, values]) => ({ group: host, labels: { host: host || null }, values })),
  });
  const grouped = (type: string, rows: Record<string, (number | null)[]>): Model =>
    buildModel({
      plan: planFor("metric", type),
      unit: "",
      scope: LIVE,
      group: "host",
      results: [groups(rows)],
      now: NOW,
    });

  it("has a line per group in a lasting order, and a legend by value", () => {
    const made = grouped("counter", { b: [1, null, 3, 4], a: [1, 1, 1, 1], "": [null, null, 9, 9] });
    expect(made.lines.map(({ label }) => label)).toEqual(["a", "b", "no host"]);
    expect(made.legend.map(({ label, value }) => [label, value])).toEqual([
      ["no host", 18],
      ["b", 8],
      ["a", 4],
    ]);
    expect(made.legend.every(({ label, line }) => made.lines[line]!.label === label)).toBe(true);
    expect(made.headline).toMatchObject({ number: "30", caption: "in the last 15 min" });
    expect(made.rows[1]!.slice(0, 4)).toEqual([1, 0, 3, 4]);
    expect(made.rows.every((row) => row.length === made.times.length)).toBe(true);
  });

  it("gives a value the same colour on every chart", () => {
    const one = grouped("gauge", { a: [1], b: [2] });
    const other = grouped("gauge", { b: [9], c: [1] });
    const colour = (made: Model, label: string): number => made.legend.find((entry) => entry.label === label)!.colour;
    expect(colour(one, "b")).toBe(colour(other, "b"));
    expect(colour(one, "a")).not.toBe(colour(one, "b"));
  });

  it("draws the largest and says how many are left out", () => {
    const rows = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`h${i}`, [i, i, i, i]]));
    const made = grouped("gauge", rows);
    expect(made.lines).toHaveLength(MAX_LINES);
    expect(made.beyond).toBe(25 - MAX_LINES);
    expect(made.headline).toMatchObject({ number: "24", caption: "highest value: h24" });
    expect(tableOf(made).head).toEqual(made.lines.map(({ label }) => label));
  });
});

group("marks", () => {
  const sent = model("gauge", "", [result(1, 1, 1, 1)]);
  const none = model("gauge", "", [{ times, series: [] }]);
  const base: Situation = {
    model: sent,
    scope: LIVE,
    connected: true,
    error: null,
    missing: [],
    shownAt: NOW,
    known: true,
    now: NOW,
  };
  const refused = { code: "too_many_subscriptions", message: "100" };

  it.each<[string, Partial<Situation>, string]>([
    ["live", {}, "live"],
    ["delayed", { now: NOW + 30_000 }, "delayed 27 s"],
    ["delayed", { connected: false }, "as of"],
    ["delayed", { connected: false, shownAt: null }, "waiting"],
    ["delayed", { model: null }, "loading"],
    ["paused", { scope: PAUSED }, "paused"],
    ["historical", { scope: PAST, connected: false }, "historical"],
    ["empty", { model: none, known: false }, "no data yet"],
    ["no data in range", { model: none }, "nothing in 15 min"],
    ["stale", { now: NOW + 300_000 }, "silent for 5 min"],
    ["partial", { missing: ["p99"] }, "partial"],
    ["error", { error: { code: "internal", message: "broke" } }, "error"],
    ["over limit", { error: refused, connected: false, missing: ["p99"] }, "over limit"],
  ])("is %s when %j", (state, change, text) => {
    const mark = markOf({ ...base, ...change });
    expect(mark.state).toBe(state);
    expect(mark.text).toContain(text);
    expect(STATES).toContain(state);
  });

  it("explains what failed and since when it is silent", () => {
    expect(markOf({ ...base, missing: ["p10", "p99"] }).detail).toBe("Failed: p10, p99.");
    expect(markOf({ ...base, now: NOW + 300_000 }).detail).toMatch(/^No number since \d\d:\d\d:\d\d\.$/);
  });

  it("allows a slow sender its rhythm", () => {
    const slow: Model = { ...sent, usualGap: 60_000 };
    expect(markOf({ ...base, model: slow, now: NOW + 110_000 }).state).toBe("live");
    expect(markOf({ ...base, model: slow, now: NOW + 200_000 }).state).toBe("delayed");
    expect(markOf({ ...base, model: slow, now: NOW + 500_000 }).state).toBe("stale");
  });
});

group("protocol", () => {
  it("reads times with and without a zone as UTC", () => {
    expect(toMs("2026-01-01T00:00:00")).toBe(Date.UTC(2026, 0, 1));
    expect(toMs("2026-01-01T01:00:00+01:00")).toBe(Date.UTC(2026, 0, 1));
    expect(toMs(5)).toBe(5);
    for (const none of [null, "soon", NaN, {}]) expect(toMs(none)).toBeNull();
  });

  it("tells no samples from samples that add up to 0", () => {
    const series = [{ group: "", labels: {}, values: [0, 0, 3], counts: [0, 2, 1] }];
    expect(readColumns({ columns: { times: [1, 2, 3], series } })!.series[0]!.values).toEqual([null, 0, 3]);
    for (const none of [null, [], { times: 1 }, "x"]) expect(readColumns(none)).toBeNull();
  });

  it("reads only objects with a type", () => {
    expect(parseMessage('{"type":"pong"}')).toEqual({ type: "pong" });
    for (const none of ["", "[]", "null", '{"type":1}', "{"]) expect(parseMessage(none)).toBeNull();
  });

  it("selects by name", () => {
    expect(selector("metric", "api.requests total")).toBe("metric:api.requests total");
    expect(selector("event", "a{b}")).toBe('event:"a{b}"');
  });

  it("says type, unit and number of series", () => {
    expect(kindText("metric", "gauge", "%", 3)).toBe("gauge · % · 3 series");
    expect(kindText("event", "event", "", 0)).toBe("event");
  });
});
