import { describe, expect, it } from "vitest";
import { Catalogue, fits, ordered } from "../src/catalogue";
import { usualGap } from "../src/columns";
import { curlLine } from "../src/empty";
import { eventFits, Feed, MAX_EVENTS } from "../src/feed";
import type { EventRow, Stats } from "../src/protocol";

const event = (n: number, more: Partial<EventRow> = {}): EventRow => ({
  id: `event_${n}`,
  event_type: "login",
  timestamp: n,
  ...more,
});
const ids = (feed: Feed): (string | undefined)[] => feed.rows.value.map(({ id }) => id);

describe("the feed", () => {
  it("has each event once, the newest first, and no more than it may", () => {
    const feed = new Feed();
    feed.saw(event(2));
    feed.load([event(1), event(2), event(3)]);
    expect(ids(feed)).toEqual(["event_3", "event_2", "event_1"]);
    feed.load(Array.from({ length: 2 * MAX_EVENTS }, (_, n) => event(n)));
    expect(feed.rows.value).toHaveLength(MAX_EVENTS);
    expect(feed.rows.value[0]!.id).toBe(`event_${2 * MAX_EVENTS - 1}`);
  });

  it("stands still while it is held, and counts what waits", () => {
    const feed = new Feed();
    feed.saw(event(1));
    feed.hold();
    feed.saw(event(2));
    feed.load([event(1), event(2), event(3)]);
    expect(ids(feed)).toEqual(["event_1"]);
    expect(feed.waiting.value).toBe(2);
    feed.release();
    expect(ids(feed)).toEqual(["event_3", "event_2", "event_1"]);
    expect(feed.waiting.value).toBe(0);
  });

  it("is searched in everything that is shown", () => {
    const row = event(1, { user_id: "Ada", properties: { plan: "pro" } });
    for (const text of ["", "log", "ada PRO", "plan"]) expect(eventFits(row, text)).toBe(true);
    expect(eventFits(row, "ada free")).toBe(false);
  });
});

describe("the catalogue", () => {
  const metric = (name: string, more = {}): Stats["metrics"][number] => ({ name, type: "gauge", ...more });
  const stats = (...names: string[]): Stats => ({
    total_metrics: 1,
    total_events: 0,
    metrics: names.map((name) => {
      const last = name.startsWith("old") ? "2025-01-01T00:00:00Z" : "2026-01-01T00:00:00Z";
      return metric(name, { labels: ["host"], last_time: last, series: 2 });
    }),
    event_types: { login: 3 },
  });
  const names = (catalogue: Catalogue, order: "newest" | "name"): string[] =>
    ordered(catalogue.items.value, order).map(({ name }) => name);

  it("lists the newest first, or by name", () => {
    const catalogue = new Catalogue();
    catalogue.load(stats("old", "b9", "b10", "a"));
    expect(names(catalogue, "newest")).toEqual(["login", "a", "b10", "b9", "old"]);
    catalogue.sawMetric({ name: "fresh", metric_type: "gauge", value: 1, timestamp: 5 });
    expect(names(catalogue, "newest")[0]).toBe("fresh");
    expect(names(catalogue, "name")).toEqual(["a", "b9", "b10", "fresh", "login", "old"]);
    catalogue.load(stats("a", "b9", "b10"));
    expect(names(catalogue, "newest")).toEqual(["fresh", "login", "a", "b10", "b9", "old"]);
  });

  it("knows labels, the last time, and what was never sent", () => {
    const catalogue = new Catalogue();
    catalogue.load(stats("cpu"));
    const item = catalogue.find("metric:cpu")!;
    expect(item.labels.value).toEqual(["host"]);
    expect(item.lastTime.value).toBe(Date.UTC(2026, 0, 1));
    expect(item.known.value).toBe(true);
    expect(catalogue.find("metric:none")).toBeUndefined();
    expect(fits(item, "CP gauge")).toBe(true);
    expect(fits(item, "cpu counter")).toBe(false);
  });
});

describe("small things", () => {
  it("tells the rhythm of a sender from its gaps", () => {
    const times = [0, 5, 10, 15, 20, 25, 30];
    expect(usualGap(times, [1, null, 1, null, 1, null, 1])).toBe(10);
    expect(usualGap(times, [1, null, 1, undefined, null, null, null])).toBeNull();
  });

  it("writes a command that a shell takes as it is", () => {
    expect(curlLine("http://h", false)).toContain(`-d '{"name": "hello_world", "metric_type": "gauge", "value": 42}'`);
    const hostile = curlLine("http://h", true, "event", "it's; rm -rf /");
    const body = /-d '([^']*)'$/.exec(hostile)![1]!;
    expect(JSON.parse(body)).toEqual({ event_type: "it's; rm -rf /", user_id: "u1" });
    expect(hostile).toContain("/api/events");
  });
});
