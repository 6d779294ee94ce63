import { describe, expect, it } from "vitest";
import { AnomalyStore, SELDOM } from "../src/alerts/anomalies";
import type { Anomaly } from "../src/alerts/protocol";
import { HttpError } from "../src/api";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const at = (ms: number): string => new Date(NOW + ms).toISOString();

function anomalyOf(query_string: string, ...episodes: [number, number | null][]): Anomaly {
  const told = episodes.map(([from, to]) => ({ from: at(from), to: to === null ? null : at(to), peak: 7 }));
  return { query_string, episodes: told } as Anomaly;
}

class Fake {
  clock = 0;
  asked = 0;
  answer: () => Promise<Anomaly[]> = async () => [];
  readonly store = new AnomalyStore(
    () => {
      this.asked += 1;
      return this.answer();
    },
    () => this.clock,
  );
}

describe("when a series was unusual", () => {
  it("is known to the chart of its metric, of all its groups", async () => {
    const fake = new Fake();
    fake.answer = async () => [
      anomalyOf("metric:cpu", [-9000, -5000], [-1000, null]),
      anomalyOf("metric:cpu", [-7000, -6000]),
      anomalyOf("metric:calm"),
    ];
    await fake.store.beat();
    expect(fake.store.of("metric:cpu").map(({ from, to }) => [from - NOW, to && to - NOW])).toEqual([
      [-9000, -5000],
      [-1000, null],
      [-7000, -6000],
    ]);
    expect(fake.store.of("metric:calm")).toEqual([]);
    expect(fake.store.of("metric:other")).toBe(fake.store.of("metric:another"));
  });

  it("is asked seldom, and stays where nobody answers; not at all where nothing is watched", async () => {
    const fake = new Fake();
    fake.answer = async () => [anomalyOf("metric:cpu", [-1000, null])];
    await fake.store.beat();
    const known = fake.store.of("metric:cpu");
    fake.clock += SELDOM - 1;
    await fake.store.beat();
    expect(fake.asked).toBe(1);

    fake.answer = () => Promise.reject(new TypeError("network"));
    fake.clock += 1;
    await fake.store.beat();
    expect(fake.asked).toBe(2);
    expect(fake.store.of("metric:cpu")).toBe(known);

    fake.answer = () => Promise.reject(new HttpError(503, "unavailable", "the log is being replayed"));
    fake.clock += SELDOM;
    await fake.store.beat();
    fake.clock += SELDOM;
    await fake.store.beat();
    expect(fake.asked).toBe(4);
    expect(fake.store.of("metric:cpu")).toBe(known);
  });
});
