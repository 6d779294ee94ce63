import { describe, expect, it } from "vitest";
import { drawnOf, sampleOf, type Sample } from "../src/alerts/sample";
import { bandsOf, thresholdsOf } from "../src/alerts/marks";
import type { AlertMembers } from "../src/alerts/protocol";
import type { Series } from "../src/protocol";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 0, 5, 12);
const rule = (part: Partial<AlertMembers> = {}): AlertMembers => ({ name: "x", metric_name: "cpu", threshold: 1, ...part });
const sample = (part: Partial<AlertMembers>, span = HOUR, known = { series: 3, labels: ["host"] }): Sample => sampleOf(rule(part), span, NOW, known)!;
const series = (values: (number | null)[], counts?: number[], labels = {}): Series => ({ group: "", labels, values, ...(counts ? { counts } : {}) });
const times = (step: number, count: number): number[] => Array.from({ length: count }, (_, i) => NOW - (count - i) * step);

describe("what is asked for the chart of a rule", () => {
  it("takes the window as the step, or parts of it that can be put together", () => {
    expect(sample({ aggregation: "percentile_95", window: "1m" }).query).toMatchObject({ step: "1m", from: NOW - HOUR, to: NOW });
    // The readable step of an hour is 15 s: a window of 5 min is 20 of them, and begins 5 min earlier.
    expect(sample({ aggregation: "average", window: "5m" })).toMatchObject({ window: 300_000, query: { step: "15s", from: NOW - HOUR - 300_000 } });
    expect(sample({ aggregation: "percentile_95", window: "5m" })).toMatchObject({ window: 0, query: { step: "5m" } });
    expect(sample({ aggregation: "sum", window: "1m" }, DAY).query.step).toBe("1m");
    expect(sample({ aggregation: "sum", window: "7m" }, HOUR).query.step).toBe("15s");
  });

  it("says so where a point is of another length than the rule's window", () => {
    expect(sample({ aggregation: "sum", window: "1m" }, 30 * DAY).note).toContain("not of 1m");
    expect(sample({ aggregation: "sum", window: "1m" }, DAY).note).toBe("");
  });

  it("looks at the worst of each arriving value, series by series where there are not too many", () => {
    expect(sample({}).query).toMatchObject({ aggregation: "max", group_by: ["host"] });
    expect(sample({ condition: "<=" }).query.aggregation).toBe("min");
    expect(sample({ condition: "==" }).query.aggregation).toBe("last");
    expect(sample({}, HOUR, { series: 5000, labels: ["host"] }).query).not.toHaveProperty("group_by");
  });

  it("knows the other kinds, and queries", () => {
    expect(sample({ alert_type: "no_data", no_data_after: "90s" }).query).toMatchObject({ aggregation: "count", step: "15s" });
    expect(sample({ alert_type: "rate_of_change", change_over: "1d" })).toMatchObject({ over: DAY, query: { from: NOW - HOUR - DAY - 300_000 } });
    const query = { query_string: "event:order", aggregation: "sum", field: "amount", filters: { plan: "pro" } };
    expect(sampleOf({ name: "x", query }, HOUR, NOW, null)?.query).toMatchObject({ query_string: "event:order", aggregation: "sum", field: "amount", filters: { plan: "pro" } });
    expect(sampleOf({ name: "x", query_id: "q" }, HOUR, NOW, null)).toBeNull();
  });
});

describe("what is drawn of the answer", () => {
  const roll = (aggregation: string, values: (number | null)[], counts?: number[]): (number | null)[] => {
    const asked: Sample = { ...sample({ aggregation, window: "1m" }), window: 180_000, from: NOW - HOUR };
    return drawnOf(asked, { times: times(60_000, values.length), series: [series(values, counts)] }).rows[0]!;
  };

  it("puts a window of three steps together at each of them", () => {
    expect(roll("sum", [1, 2, null, 4, 5])).toEqual([1, 3, 3, 6, 9]);
    expect(roll("max", [3, 1, 2, null, null])).toEqual([3, 3, 3, 2, 2]);
    expect(roll("min", [3, 1, 2, null, null])).toEqual([3, 1, 1, 1, 2]);
    expect(roll("rate", [3, 3, 3])).toEqual([1, 2, 3]);
    expect(roll("average", [10, 20, null, null, null, 1], [1, 3, 0, 0, 0, 1])).toEqual([10, 17.5, 17.5, 20, null, 1]);
  });

  it("compares with what was before", () => {
    const asked: Sample = { ...sample({}), query: { ...sample({}).query, aggregation: "average" }, window: 0, over: 120_000, from: NOW - HOUR };
    const columns = { times: times(60_000, 5), series: [series([1, 0, 3, 4, null])] };
    expect(drawnOf(asked, columns).rows[0]).toEqual([null, null, 2, 4, null]);
    expect(drawnOf({ ...asked, relative: true }, columns).rows[0]).toEqual([null, null, 200, null, null]);
  });

  it("begins where the range does, each point at the end of its window", () => {
    const asked: Sample = { ...sample({ aggregation: "sum", window: "1m" }), from: NOW - 120_000 };
    const drawn = drawnOf(asked, { times: times(60_000, 4), series: [series([1, 2, 3, 4])] });
    expect(drawn.times).toEqual([NOW - 60_000, NOW]);
    expect(drawn.rows).toEqual([[3, 4]]);
    expect(drawn.lines).toMatchObject([{ role: "group" }].slice(1).concat([{ role: "main" } as never]));
  });

  it("draws the largest groups, and says how many it leaves out", () => {
    const asked = sample({});
    const all = Array.from({ length: 14 }, (_, i) => series([i], undefined, { host: `h${i}` }));
    const drawn = drawnOf({ ...asked, from: 0 }, { times: [NOW - 60_000], series: [...all, series([null], undefined, { host: "silent" })] });
    expect(drawn.lines).toHaveLength(10);
    expect(drawn.lines.map(({ label }) => label)).not.toContain("h3");
    expect(drawn.beyond).toBe(4);
  });

  it("draws nothing of nothing", () => {
    expect(drawnOf(sample({}), { times: [], series: [] })).toEqual({ lines: [], times: [], rows: [], beyond: 0 });
  });
});

describe("what lies on the chart", () => {
  it("has the thresholds by their level, where a level is left dashed", () => {
    expect(thresholdsOf(rule({ threshold: 0, recovery: -1, warning: 5 }))).toEqual([
      { value: 0, level: "critical", dashed: false },
      { value: -1, level: "critical", dashed: true },
      { value: 5, level: "warning", dashed: false },
    ]);
    expect(thresholdsOf(rule({ severity: "warning" }))).toEqual([{ value: 1, level: "warning", dashed: false }]);
    expect(thresholdsOf(rule({ alert_type: "no_data" }))).toEqual([]);
  });

  it("has the episodes at their worst", () => {
    const episode = (from: number, to: number | null, worst: string): never =>
      ({ fired_at: new Date(NOW + from).toISOString(), resolved_at: to === null ? null : new Date(NOW + to).toISOString(), worst }) as never;
    expect(bandsOf([episode(0, null, "critical")])).toEqual([{ from: NOW, to: null, level: "critical" }]);
    // Of two groups at once there is one stretch; of two levels there are two.
    const all = [episode(5, 9, "critical"), episode(0, 6, "critical"), episode(9, 10, "critical"), episode(20, 21, "critical"), episode(1, 2, "warning")];
    expect(bandsOf(all).map(({ from, to, level }) => [from - NOW, to! - NOW, level])).toEqual([
      [1, 2, "warning"],
      [0, 10, "critical"],
      [20, 21, "critical"],
    ]);
    expect(bandsOf([episode(0, null, "critical"), episode(5, 9, "critical")])).toEqual([{ from: NOW, to: null, level: "critical" }]);
  });
});
