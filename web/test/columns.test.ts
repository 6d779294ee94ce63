import { describe, expect, it } from "vitest";
import {
  bridged,
  extent,
  held,
  join,
  lastKnown,
  niceCeiling,
  perSecond,
  stairs,
  total,
  valueOn,
} from "../src/columns";
import type { Columns } from "../src/protocol";

const columns = (times: number[], values: (number | null)[]): Columns => ({
  times,
  series: values.length ? [{ group: "", labels: {}, values }] : [],
});

describe("join", () => {
  it("keeps equal axes as they are", () => {
    const a = columns([0, 5, 10], [1, 2, 3]);
    const b = columns([0, 5, 10], [4, null, 6]);
    expect(join([a, b])).toEqual({ times: [0, 5, 10], rows: [[1, 2, 3], [4, null, 6]] });
  });

  it("puts results that have slid apart on one axis", () => {
    const late = columns([0, 5], [1, 2]);
    const early = columns([5, 10], [3, 4]);
    expect(join([late, early])).toEqual({ times: [0, 5, 10], rows: [[1, 2, null], [null, 3, 4]] });
  });

  it("knows nothing where there is no series or no result yet", () => {
    expect(join([columns([0, 5], []), null])).toEqual({ times: [0, 5], rows: [[null, null], [null, null]] });
    expect(join([null, null])).toEqual({ times: [], rows: [[], []] });
  });
});

describe("stairs", () => {
  // step 5, now inside the step that begins at 20
  const now = 23;

  it("is 0 between samples, unknown before the first, and shows the open step apart", () => {
    const { times, steps, rows } = stairs([0, 5, 10, 15, 20], [null, null, 4, null, 7], 5, now);
    expect(times).toEqual([0, 5, 10, 15, 20, 23]);
    expect(steps).toBe(5);
    expect(rows[0]).toEqual([null, 0, 4, 0, null, null]);
    expect(rows[1]).toEqual([null, null, null, 0, 7, 7]);
  });

  it("goes on with 0 when the server has nothing new to say", () => {
    const { times, rows } = stairs([0, 5], [2, 3], 5, now);
    expect(times).toEqual([0, 5, 10, 15, 20, 23]);
    expect(rows[0]).toEqual([2, 3, 0, 0, null, null]);
    expect(rows[1]).toEqual([null, null, null, 0, 0, 0]);
  });

  it("draws nothing for nothing", () => {
    const { rows } = stairs([0, 5], [null, null], 5, 7);
    expect(rows.flat().every((v) => v === null)).toBe(true);
    expect(stairs([], [], 5, 7)).toEqual({ times: [7], steps: 0, rows: [[null], [null]] });
  });

  it("is bounded when the clock jumps", () => {
    expect(stairs([0], [1], 5, 1e12).times.length).toBeLessThan(3000);
  });
});

describe("gaps", () => {
  it("lets a line run over short gaps only", () => {
    expect(bridged([0, 5, 10, 15, 30], [1, null, 2, null, 3], 10)).toEqual([1, undefined, 2, null, 3]);
    expect(bridged([0, 5], [null, null], 10)).toEqual([null, null]);
  });

  it("holds the last known value over long gaps and up to now", () => {
    const { times, steps, rows } = held([0, 5, 10, 30, 35], [1, null, null, 3, null], 10, 37);
    expect(times).toEqual([0, 5, 10, 30, 35, 37]);
    expect(steps).toBe(5);
    expect(rows[0]).toEqual([1, 1, 1, 3, 3, 3]);
    expect(held([0, 5], [null, null], 10, 7).rows[0]).toEqual([null, null]);
  });

  it("reads the value under a line that runs on, and none in a gap", () => {
    expect(valueOn([1, undefined, undefined, 2], 2)).toBe(1);
    expect(valueOn([1, null, 2], 1)).toBeNull();
    expect(valueOn([], 0)).toBeNull();
  });
});

describe("figures", () => {
  it("sums what is known", () => {
    expect(total([1, null, 2, undefined])).toBe(3);
    expect(total([null, null])).toBeNull();
    expect(lastKnown([1, null, 2, null])).toBe(2);
    expect(lastKnown([null])).toBe(-1);
  });

  it("divides by the seconds that were counted, the open step's share included", () => {
    // steps of 5 s; the last minute before 65 s begins at 5 s; at 67.5 s the open step is half over
    const times = [0, 5_000, 60_000, 65_000];
    expect(perSecond(times, [100, 6, 6, 6], 5_000, 67_500, 60_000)).toBeCloseTo(18 / 62.5, 12);
    expect(perSecond(times, [null, null, null, null], 5_000, 67_500, 60_000)).toBeNull();
  });

  it("finds the extent of all rows", () => {
    expect(extent([[1, null], [undefined, -2, 5]])).toEqual([-2, 5]);
    expect(extent([[null]])).toBeNull();
  });

  it.each([
    [0, 1],
    [0.7, 0.8],
    [1, 1],
    [11, 15],
    [99, 100],
    [1.01e9, 1.5e9],
  ])("the axis for %d ends at %d", (value, end) => {
    expect(niceCeiling(value)).toBeCloseTo(end, 9);
  });

  it("never ends below the value", () => {
    for (let v = 1e-6; v < 1e12; v *= 1.37) expect(niceCeiling(v)).toBeGreaterThanOrEqual(v * (1 - 1e-9));
  });
});
