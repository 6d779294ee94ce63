import { describe, expect, it } from "vitest";
import type { Alert, Incident } from "../src/alerts/protocol";
import { AlertStore, PAUSE, SELDOM } from "../src/alerts/store";
import { conditionText, deliveryText, groupText, manyText, matchersOf, standingOf, unitOfAlert, valueText } from "../src/alerts/words";
import { alertOf, at, incidentOf, NOW } from "./alert-samples";

/** A server whose answers and a clock that tests move. */
class Fake {
  incidents: Incident[] = [];
  alerts: Alert[] = [alertOf()];
  trouble = false;
  asked = { incidents: 0, alerts: 0 };
  time = 0;
  private timers: { at: number; call: () => void }[] = [];

  store = new AlertStore({
    incidents: () => this.answer("incidents"),
    alerts: () => this.answer("alerts"),
    now: () => this.time,
    later: (call, ms) => {
      const timer = { at: this.time + ms, call };
      this.timers.push(timer);
      return () => void (this.timers = this.timers.filter((other) => other !== timer));
    },
  });

  private answer<K extends "incidents" | "alerts">(what: K): Promise<this[K]> {
    this.asked[what] += 1;
    return this.trouble ? Promise.reject(new Error("no")) : Promise.resolve(this[what]);
  }

  async pass(ms: number): Promise<void> {
    this.time += ms;
    const due = this.timers.filter((timer) => timer.at <= this.time);
    this.timers = this.timers.filter((timer) => timer.at > this.time);
    due.forEach(({ call }) => call());
    await new Promise((done) => setTimeout(done));
  }
}

describe("what the page knows of alerts", () => {
  it("looks at once when one fires, and not more often than the pace allows however many do", async () => {
    const fake = new Fake();
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.store.open.value).toEqual([]);
    await fake.pass(PAUSE);

    fake.incidents = [incidentOf()];
    for (let i = 0; i < 1000; i++) fake.store.take({ alert: alertOf({ state: "firing", firing: 1 }) });
    await fake.pass(0);
    expect(fake.store.open.value.map(({ id }) => id)).toEqual(["i1"]);
    for (let i = 0; i < 1000; i++) fake.store.take({});
    await fake.pass(0);
    expect(fake.asked.incidents).toBe(2);
    await fake.pass(PAUSE);
    expect(fake.asked.incidents).toBe(3);
    await fake.pass(10 * PAUSE);
    expect(fake.asked.incidents).toBe(3);
  });

  it("asks for all alerts only where somebody looks, or where one is unknown that has fired", async () => {
    const fake = new Fake();
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.asked.alerts).toBe(0);
    fake.incidents = [incidentOf()];
    await fake.pass(PAUSE);
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.asked.alerts).toBe(1);
    await fake.pass(PAUSE);
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.asked.alerts).toBe(1);
    const end = fake.store.watch();
    await fake.pass(PAUSE);
    expect(fake.asked.alerts).toBe(2);
    await fake.pass(PAUSE);
    fake.store.beat();
    await fake.pass(0);
    expect(fake.asked.alerts).toBe(3);
    end();
    await fake.pass(PAUSE);
    fake.store.beat();
    await fake.pass(0);
    expect(fake.asked.alerts).toBe(3);
    await fake.pass(SELDOM);
    fake.store.beat();
    await fake.pass(0);
    expect(fake.asked.incidents).toBe(6);
  });

  it("lets nobody wait who comes to look for the first time", async () => {
    const fake = new Fake();
    fake.store.refresh();
    await fake.pass(0);
    expect([fake.store.loaded.value, fake.store.listed.value]).toEqual([true, false]);
    fake.store.watch();
    await fake.pass(0);
    expect(fake.store.listed.value).toBe(true);
    fake.store.watch();
    await fake.pass(0);
    expect(fake.asked.alerts).toBe(1);
  });

  it("keeps what it knew when the server does not answer, and looks again", async () => {
    const fake = new Fake();
    fake.incidents = [incidentOf()];
    fake.store.refresh();
    await fake.pass(0);
    fake.trouble = true;
    await fake.pass(PAUSE);
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.store.trouble.value).not.toBe("");
    expect(fake.store.open.value).toHaveLength(1);
    fake.trouble = false;
    await fake.pass(PAUSE);
    fake.store.beat();
    await fake.pass(0);
    expect(fake.store.trouble.value).toBe("");
  });

  it("says what begins and what ends, and nothing else", async () => {
    const fake = new Fake();
    const heard: string[] = [];
    fake.store.said.subscribe((words) => words && heard.push(words));
    const look = async (incidents: Incident[]): Promise<void> => {
      fake.incidents = incidents;
      await fake.pass(PAUSE);
      fake.store.refresh();
      await fake.pass(0);
    };
    const others = [2, 3, 4, 5].map((n) => incidentOf({ id: `i${n}`, alert: `Alert ${n}` }));
    await look([]);
    await look([incidentOf()]);
    await look([incidentOf({ firing: 7 })]);
    await look([incidentOf(), ...others]);
    await look([incidentOf({ closed_at: at(0) })]);
    expect(heard).toEqual([
      "High load fires.",
      "Alert 2, Alert 3, Alert 4 and 1 more fire. 5 alerts in all.",
      "High load, Alert 2, Alert 3 and 2 more are resolved. Nothing fires now.",
    ]);
  });

  it("shows on a metric's chart when something fired", async () => {
    const fake = new Fake();
    fake.alerts = [alertOf(), alertOf({ id: "a2", metric_name: undefined, query: { query_string: 'metric:cpu{host="a"}' } } as never)];
    fake.incidents = [
      incidentOf(),
      incidentOf({ id: "i2", alert_id: "a2", level: "ok", worst: "warning", closed_at: at(-1000) }),
      incidentOf({ id: "i3", alert_id: "gone" }),
    ];
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.store.bandsOf("metric:cpu")).toEqual([
      { from: NOW - 60_000, to: null, level: "critical", alert: "High load" },
      { from: NOW - 60_000, to: NOW - 1000, level: "warning", alert: "High load" },
    ]);
    expect(fake.store.bandsOf("metric:other")).toEqual([]);
  });

  it("puts the worst first, then the newest", async () => {
    const fake = new Fake();
    fake.incidents = [
      incidentOf({ id: "old", level: "warning", opened_at: at(-9000) }),
      incidentOf({ id: "new", level: "warning", opened_at: at(-1000) }),
      incidentOf({ id: "bad", opened_at: at(-99_000) }),
    ];
    fake.store.refresh();
    await fake.pass(0);
    expect(fake.store.open.value.map(({ id }) => id)).toEqual(["bad", "new", "old"]);
  });
});

describe("words", () => {
  it.each([
    [{}, "each value of cpu > 80 %"],
    [{ aggregation: "average", window: "5m", for: "2m", group_by: ["host", "core"] }, "average of cpu over 5m > 80 % for 2m, by host, core"],
    [{ aggregation: "percentile_95", window: "1m", warning: 60, for: "0s" }, "p95 of cpu over 1m > 80 %, warning > 60 %"],
    [{ alert_type: "no_data", no_data_after: "25h" }, "no data of cpu for 25h"],
    [{ alert_type: "rate_of_change", change_over: "1d", relative: true, condition: "<", threshold: -50 }, "average of cpu over 5m changes < -50 % within 1d"],
    [{ alert_type: "anomaly", aggregation: "max" }, "max of cpu is unusual"],
    [{ metric_name: undefined, query: { query_string: "event:order", aggregation: "count" } }, "count of event:order over 5m > 80"],
  ] as const)("of a rule %#", (part, words) => {
    const alert = alertOf(part as unknown as Partial<Alert>);
    expect(conditionText(alert, unitOfAlert(alert, () => "%"))).toBe(words);
  });

  it("of where an alert stands", () => {
    const word = (part: Partial<Alert>): string => standingOf(alertOf(part)).word;
    expect(word({ state: "firing", level: "warning" })).toBe("firing");
    expect(word({ enabled: false, state: "disabled" })).toBe("disabled");
    expect(word({ error: "the query failed" })).toBe("error");
    expect(word({ error: "3 groups beyond max_groups", state: "firing" })).toBe("firing");
    expect(word({ evaluated_at: null })).toBe("not evaluated yet");
    expect(word({})).toBe("inactive");
  });

  it("of values against the threshold of their level, and of how many groups", () => {
    expect(valueText(alertOf({ value: 84.26, level: "critical", warning: 60 }), "%")).toBe("84.3 % > 80 %");
    expect(valueText(alertOf({ value: 64, level: "warning", warning: 60 }), "%")).toBe("64 % > 60 %");
    expect(valueText(alertOf({ value: 46, level: "critical" }), "%")).toBe("46 % · threshold > 80 %");
    expect(valueText(alertOf({ value: 80, condition: "<=", threshold: 80 }), "%")).toBe("80 % <= 80 %");
    expect(valueText(alertOf({ value: 0, condition: "==", threshold: 0 }), "")).toBe("0 == 0");
    expect(valueText(alertOf({ value: null }), "%")).toBe("– > 80 %");
    expect(manyText({ firing: 37, groups: 40 })).toBe("37 of 40");
    expect(manyText({ firing: 1, groups: 1 })).toBe("");
  });

  it("of what a channel was told", () => {
    const delivery = { channel: "slack", status: "sent", sent_at: at(-1000), tries: 0, retry_at: null, error: null, held: null } as const;
    expect(deliveryText(delivery, NOW).bad).toBe(false);
    const failing = { ...delivery, status: "retrying", tries: 3, retry_at: at(12_000), error: "connection refused" } as const;
    expect(deliveryText(failing, NOW)).toEqual({ text: "3 tries failed, again in 12 s: connection refused", bad: true });
    expect(deliveryText({ ...failing, retry_at: at(-1) }, NOW).text).toBe("3 tries failed: connection refused");
    expect(deliveryText({ ...delivery, status: "held", held: "silenced" }, NOW)).toEqual({ text: "not told: silenced", bad: false });
    expect(deliveryText({ ...delivery, status: "gave_up", error: "401" }, NOW)).toEqual({ text: "given up: 401", bad: true });
  });

  it("of groups, and matchers that mean these and nothing else", () => {
    expect(groupText({ host: "web-1" })).toBe("web-1");
    expect(groupText({ region: "eu", host: "web-1" })).toBe("host=web-1 · region=eu");
    expect(matchersOf("a1")).toBe('{alert_id="a1"}');
    expect(matchersOf("a1", { host: 'say "no"\\\n', x: "}" })).toBe('{alert_id="a1", host="say \\"no\\"\\\\\\n", x="}"}');
  });
});
