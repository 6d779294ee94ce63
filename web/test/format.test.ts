import { describe, expect, it } from "vitest";
import { clockTime, duration, exact, isBinary, labelText, onAxis, plural, quantity, sentence, withUnit } from "../src/format";

describe("numbers", () => {
  it.each([
    [0, "0"],
    [7, "7"],
    [-3, "-3"],
    [1204, "1,204"],
    [9999, "9,999"],
    [12_345, "12.3\u202fk"],
    [1_204_331, "1.2\u202fM"],
    [2_500_000_000, "2.5\u202fG"],
    [3.14159, "3.14"],
    [0.1 + 0.2, "0.3"],
    [1250.5, "1,251"],
    [0.000_012_3, "1.23e-5"],
    [1e21, "1e21"],
  ])("%d is %s", (value, text) => {
    expect(withUnit(value)).toBe(text);
  });

  it("shows what is unknown as a dash, never as 0", () => {
    for (const unknown of [null, undefined, NaN, Infinity]) expect(withUnit(unknown, "ms")).toBe("–");
    expect(exact(null, "ms")).toBe("–");
  });

  it("keeps every digit where asked", () => {
    expect(exact(1234.56789, "ms")).toBe("1234.56789 ms");
  });
});

describe("units", () => {
  it.each([
    [1500, "ms", "1.5 s"],
    [0.25, "ms", "250 µs"],
    [90_000, "ms", "90 s"],
    [600, "seconds", "10 min"],
    [7200, "s", "2 h"],
    [2048, "bytes", "2 KiB"],
    [1, "GB", "954 MiB"],
    [42.34, "%", "42.3 %"],
    [42, "percent", "42 %"],
    [12, "requests", "12 requests"],
    [0, "ms", "0 ms"],
    [-1500, "ms", "-1.5 s"],
  ])("%d %s is %s", (value, unit, text) => {
    expect(withUnit(value, unit)).toBe(text);
  });

  it("takes a unit for what it says, whatever it is called", () => {
    for (const unit of ["constructor", "__proto__", "toString", "<b>"]) {
      expect(withUnit(5, unit)).toBe(`5 ${unit}`);
      expect(isBinary(unit)).toBe(false);
    }
  });

  it("leaves words off the axis, but not scales", () => {
    expect(onAxis(20, "requests")).toBe("20");
    expect(onAxis(1500, "ms")).toBe("1.5 s");
    expect(onAxis(0, "ms")).toBe("0");
    expect(isBinary("KiB")).toBe(true);
    expect(isBinary("ms")).toBe(false);
  });

  it("splits number and unit", () => {
    expect(quantity(2048, "B")).toEqual({ number: "2", unit: "KiB" });
  });
});

describe("words", () => {
  it.each([
    [-5, "0 s"],
    [4_400, "4 s"],
    [119_000, "119 s"],
    [180_000, "3 min"],
    [7_200_000, "2 h"],
    [432_000_000, "5 d"],
  ])("%d ms last %s", (ms, text) => {
    expect(duration(ms)).toBe(text);
  });

  it("counts in the right number", () => {
    expect(plural(1, "metric")).toBe("1 metric");
    expect(plural(1200, "metric")).toBe("1,200 metrics");
    expect(plural(2, "series", "series")).toBe("2 series");
  });

  it("writes labels sorted, and nested values as JSON", () => {
    expect(labelText({ region: "eu", host: "<b>", n: { a: [1] } })).toBe('host=<b> · n={"a":[1]} · region=eu');
    expect(labelText(null)).toBe("");
  });

  it("makes sentences of messages", () => {
    expect(sentence("the key is not known")).toBe("The key is not known.");
    expect(sentence("Trying…")).toBe("Trying…");
    expect(sentence("")).toBe("");
  });

  it("writes times of day", () => {
    expect(clockTime(new Date(2026, 0, 2, 3, 4, 5).getTime())).toBe("03:04:05");
  });
});
