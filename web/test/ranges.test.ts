import { describe, expect, it } from "vitest";
import { readView, writeView, type View } from "../src/address";
import { writeTimesIn } from "../src/format";
import { between, DEFAULT_RANGE, PRESETS, rangeWords, readSpan, scopeOf, shifted, SHORTEST, spanText, stepFor, zoomed } from "../src/ranges";
import css from "../src/styles/theme.css?raw";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const NOW = Date.UTC(2026, 0, 5, 12);

describe("ranges", () => {
  it("asks for steps that keep a chart readable", () => {
    for (const span of PRESETS) {
      const steps = span / stepFor(span, true);
      expect(steps).toBeGreaterThanOrEqual(60);
      expect(steps).toBeLessThanOrEqual(300);
    }
    expect(stepFor(15 * MINUTE, true)).toBe(5000);
    expect(stepFor(MINUTE, true)).toBe(5000);
    expect(stepFor(MINUTE, false)).toBe(1000);
  });

  it("stops where it was paused", () => {
    expect(scopeOf({ last: HOUR }, NOW)).toMatchObject({ mode: "paused", fixed: { from: NOW - HOUR, to: NOW } });
    expect(scopeOf({ last: HOUR }, null)).toMatchObject({ mode: "live", fixed: null, words: "60 min" });
    expect(scopeOf({ from: 0, to: HOUR }, NOW).mode).toBe("historical");
  });

  it("goes back, forth, and at the end to what moves", () => {
    const back = shifted({ last: HOUR }, -1, NOW);
    expect(back).toEqual({ from: NOW - 2 * HOUR, to: NOW - HOUR });
    expect(shifted(back, -1, NOW)).toEqual({ from: NOW - 3 * HOUR, to: NOW - 2 * HOUR });
    expect(shifted(back, 1, NOW)).toEqual({ last: HOUR });
    expect(shifted({ last: HOUR }, 1, NOW)).toEqual({ last: HOUR });
  });

  it("comes closer and wider, within bounds", () => {
    expect(zoomed({ last: 15 * MINUTE }, 1)).toEqual({ last: 30 * MINUTE });
    expect(zoomed({ last: PRESETS[0]! }, -1)).toEqual({ last: PRESETS[0] });
    expect(zoomed({ from: 0, to: 4 * HOUR }, -1)).toEqual({ from: HOUR, to: 3 * HOUR });
    const least = between(NOW, NOW + 3);
    expect("from" in least && least.to - least.from).toBe(SHORTEST);
    expect(between(NOW + HOUR, NOW)).toEqual({ from: NOW, to: NOW + HOUR });
  });

  it("is written and read alike", () => {
    for (const span of PRESETS) expect(readSpan(spanText(span))).toBe(span);
    for (const none of ["", "5", "m5", "0s", "999999d", "1y", null]) expect(readSpan(none)).toBeNull();
    writeTimesIn("utc");
    expect(rangeWords({ from: NOW, to: NOW + HOUR })).toBe("5 Jan 12:00 – 13:00");
    expect(rangeWords({ from: NOW, to: NOW + 24 * HOUR })).toBe("5 Jan 12:00 – 6 Jan 12:00");
    expect(rangeWords({ last: HOUR })).toBe("last 60 min");
    writeTimesIn("local");
  });
});

describe("the address", () => {
  const usual = readView(new URLSearchParams());
  const back = (view: View): View => readView(new URLSearchParams(writeView(view, new URLSearchParams()).toString()));

  it("says nothing of what is usual, and keeps what is others'", () => {
    expect(usual.range).toEqual(DEFAULT_RANGE);
    expect(writeView(usual, new URLSearchParams("dashboard=7&q=old")).toString()).toBe("dashboard=7");
  });

  it("brings back every view", () => {
    const view: View = {
      section: "events",
      range: { from: NOW - HOUR, to: NOW },
      pausedAt: null,
      search: "a & b = c #",
      order: "name",
      groups: new Map([["metric:x@y", "host@metric"], ["event:&", "plan"]]),
      opened: "metric:cpu load",
      alert: null,
    };
    expect(back(view)).toEqual(view);
    const paused = { ...usual, range: { last: HOUR }, pausedAt: NOW };
    expect(back(paused)).toEqual(paused);
  });

  it("makes nothing of nonsense", () => {
    for (const text of ["range=-1", "from=x&to=y", "from=2026-01-02&to=2026-01-01", "view=admin", "by=@", "paused=soon"]) {
      expect(readView(new URLSearchParams(text))).toEqual(usual);
    }
  });
});

describe("the themes", () => {
  const blocks = [...css.matchAll(/\{([^{}]*--ground[^{}]*)\}/g)].map(([, text]) =>
    Object.fromEntries([...text!.matchAll(/--([\w-]+):\s*([^;]+);/g)].map(([, name, value]) => [name!, value!])),
  );
  const [light, dark, system] = blocks;

  const luminance = (hex: string): number => {
    const [r, g, b] = [1, 3, 5]
      .map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const contrast = (a: string, b: string): number => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x! + 0.05) / (y! + 0.05);
  };

  it("are the same dark by choice and by the system", () => {
    expect(system).toEqual(dark);
  });

  it.each([
    ["light", () => light!],
    ["dark", () => dark!],
  ])("%s: text has 4.5 : 1, data 3 : 1 against each ground", (_, theme) => {
    const values = theme();
    for (const ground of [values["surface"]!, values["ground"]!]) {
      for (const name of ["text", "soft-text", "faint-text", "warn", "firing"]) {
        expect(contrast(values[name]!, ground), `${name} on ${ground}`).toBeGreaterThanOrEqual(4.5);
      }
    }
    for (const name of ["data", "data-soft", "outline", "good", ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => `series-${n}`)]) {
      expect(contrast(values[name]!, values["surface"]!), name).toBeGreaterThanOrEqual(3);
    }
    for (const ground of ["warn-ground", "firing-ground"]) {
      for (const name of ["text", "faint-text"]) expect(contrast(values[name]!, values[ground]!), `${name} on ${ground}`).toBeGreaterThanOrEqual(4.5);
    }
    expect(contrast(values["firing"]!, values["firing-ground"]!)).toBeGreaterThanOrEqual(4.5);
  });
});
