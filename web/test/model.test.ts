import { describe as group, expect, it } from "vitest";
import { buildModel, describe, drawnLines, kindText, markOf, tableOf, valuesAt } from "../src/model";
import { planFor } from "../src/plans";
import { parseMessage, readColumns, selector, toMs, type Columns } from "../src/protocol";

const NOW = Date.UTC(2026, 0, 1, 12, 0, 2);
const STEP = 5000;
const START = NOW - 2000 - 3 * STEP;
const times = [0, 1, 2, 3].map((i) => START + i * STEP);
const result = (...values: (number | null)[]): Columns => ({ times, series: [{ group: "", labels: {}, values }] });

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
});

group("model", () => {
  it("says of a counter what came in the range, and how fast", () => {
    const model = buildModel(planFor("metric", "counter"), "requests", [result(null, 40, null, 20)], NOW);
    expect(model.headline).toEqual({ number: "60", unit: "requests", caption: "in the last 15 min" });
    expect(model.facts.map((fact) => fact.text)).toEqual(["0.968 /s", "20 requests"]);
    expect(model.newest).toBe(times[3]);
    expect(model.rows.length).toBe(drawnLines(planFor("metric", "counter")).length);
  });

  it("says of a gauge what it was last", () => {
    const plan = planFor("metric", "gauge");
    const model = buildModel(plan, "%", [result(10, 30, null, null)], NOW);
    expect(model.headline).toEqual({ number: "30", unit: "%", caption: "last value" });
    expect(model.facts.map((fact) => fact.text)).toEqual(["10 %", "30 %"]);
    expect(model.rows.every((row) => row.length === model.times.length)).toBe(true);
    expect(valuesAt(drawnLines(plan), model, 3, "%")).toMatch(/last known 30 %$/);
  });

  it("says of a timer where its middle and its edges are", () => {
    const plan = planFor("metric", "timer");
    const rows = [result(null, null, null, 20), result(null, null, null, 10), result(null, null, null, 80)];
    const model = buildModel(plan, "ms", [...rows, result(null, null, null, 1500)], NOW);
    expect(model.headline).toEqual({ number: "20", unit: "ms", caption: "p50 of the last 5 s" });
    expect(model.facts).toEqual([
      { label: "p10", text: "10 ms" },
      { label: "p90", text: "80 ms" },
      { label: "p99", text: "1.5 s" },
    ]);
  });

  it("says so when there is no number", () => {
    const model = buildModel(planFor("metric", "gauge"), "", [{ times, series: [] }], NOW);
    expect(model.headline.number).toBe("–");
    expect(describe("x", "gauge", model, NOW)).toBe("x, gauge: no number in the last 15 min.");
  });

  it("has a table with each step once", () => {
    const counter = planFor("metric", "counter");
    const table = tableOf(drawnLines(counter), buildModel(counter, "", [result(null, 5, null, 7)], NOW));
    expect(table.head).toEqual(["sum per step"]);
    expect(table.rows.map(({ values }) => values)).toEqual([[7], [0], [5], [0]]);
    expect(table.rows[0]!.time).toBe(times[3]);
    const gauge = planFor("metric", "gauge");
    const values = tableOf(drawnLines(gauge), buildModel(gauge, "", [result(1, null, 3, null)], NOW)).rows;
    expect(values.map((row) => row.values)).toEqual([[3], [1]]);
  });

  it("describes the chart in a sentence", () => {
    const model = buildModel(planFor("metric", "counter"), "", [result(1, null, null, 2)], NOW);
    expect(describe("orders", "counter", model, NOW)).toBe(
      "orders, counter: 3 in the last 15 min; last minute 0.0484 /s, newest step 2.",
    );
  });
});

group("marks", () => {
  const model = buildModel(planFor("metric", "gauge"), "", [result(1, 1, 1, 1)], NOW);
  const base = { model, connected: true, error: null, shownAt: NOW, now: NOW };

  it("is exactly one state, the worst first", () => {
    expect(markOf(base).state).toBe("live");
    expect(markOf({ ...base, now: NOW + 300_000 })).toEqual({ state: "stale", text: "silent for 5 min" });
    expect(markOf({ ...base, connected: false }).state).toBe("frozen");
    expect(markOf({ ...base, model: null, shownAt: null }).state).toBe("loading");
    expect(markOf({ ...base, error: { code: "internal", message: "broke" } })).toMatchObject({ detail: "broke" });
    expect(markOf({ ...base, error: { code: "too_many_subscriptions", message: "100" } }).state).toBe("over limit");
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
