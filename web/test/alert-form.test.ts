import { describe, expect, it } from "vitest";
import { changesOf, EMPTY, faultOf, faultOfMember, formAbout, has, missingOf, readForm, writeForm, type Form } from "../src/alerts/form";
import type { Alert, AlertMembers } from "../src/alerts/protocol";
import { alertOf } from "./alert-samples";

const known = (text: string): boolean => text === "cpu" || text === "odd{name}";
const write = (part: Partial<Form>, before: AlertMembers | null = null): Record<string, unknown> =>
  writeForm({ ...EMPTY, name: "x", source: "cpu", ...part }, before, known) as unknown as Record<string, unknown>;

describe("the form of an alert", () => {
  it.each<[string, Partial<Alert>]>([
    ["plain", {}],
    ["of a warning at 0", { threshold: 0, severity: "warning", condition: "<=" }],
    ["full", {
      aggregation: "percentile_95", window: "15m", group_by: ["host"], warning: 60, recovery: 70, warning_recovery: 50.5, for: "2m",
      keep_firing_for: "5m", no_data: "alert", no_data_after: "10m", severity: "page", message: " {value} \n", repeat_interval: "1h",
      notification_channels: ["slack", "email:a@b.example"],
    }],
    ["of change", { alert_type: "rate_of_change", change_over: "1d", relative: true, condition: "<", threshold: -50 }],
    ["of what it does not know", { labels: { team: "shop" }, mute: [{ from: "22:00", to: "06:00" }], max_groups: 7 } as never],
    ["of a saved query", { metric_name: undefined, query_id: "q1" } as never],
  ])("brings back an alert: %s", (_, part) => {
    const alert = { notification_channels: [], ...alertOf(part) };
    expect(changesOf(alert, writeForm(readForm(alert), alert, known))).toEqual({});
  });

  it("brings out of a query what has fields of its own, and leaves the rest in it", () => {
    const query = { query_string: 'metric:cpu{host="a"}', aggregation: "max", time_range: "1m", filters: { b: "c" } };
    const { metric_name: _, ...rest } = alertOf({ query, notification_channels: [] });
    const alert = rest as Alert;
    const written = writeForm({ ...readForm(alert), aggregation: "min" }, alert, known);
    expect(written).toMatchObject({ query: { query_string: query.query_string, filters: { b: "c" } }, aggregation: "min", window: "1m" });
    expect(written.query).not.toHaveProperty("aggregation");
  });

  it("tells names from queries", () => {
    expect(write({ source: " cpu " })).toMatchObject({ metric_name: "cpu" });
    expect(write({ source: "odd{name}" })).toMatchObject({ metric_name: "odd{name}" });
    expect(write({ source: 'new{host="a"}' })).toMatchObject({ query: { query_string: 'metric:new{host="a"}' } });
    expect(write({ source: "event:order" })).toMatchObject({ query: { query_string: "event:order" } });
    expect(write({ source: "not there yet" })).toMatchObject({ metric_name: "not there yet" });
  });

  it("sends numbers as numbers, and what is none as it stands, for the server to say so", () => {
    expect(write({ threshold: " -1.5e3 ", warning: "0,25", recovery: "many" })).toMatchObject({ threshold: -1500, warning: 0.25, recovery: "many" });
    expect(write({ threshold: "0" })["threshold"]).toBe(0);
    expect(write({ threshold: " " })).not.toHaveProperty("threshold");
  });

  it("leaves out what its kind of alert does not have", () => {
    const full: Partial<Form> = { threshold: "1", warning: "0", budget: "1", change_over: "1h", relative: true, no_data: "alert", no_data_after: "9m", aggregation: "max", window: "2m" };
    expect(write({ ...full, alert_type: "no_data" })).toEqual({ name: "x", alert_type: "no_data", metric_name: "cpu", no_data_after: "9m", notification_channels: [] });
    expect(write({ ...full, alert_type: "anomaly" })).toMatchObject({ budget: 1, aggregation: "max", no_data: "alert", no_data_after: "9m" });
    expect(write({ ...full, alert_type: "anomaly" })).not.toHaveProperty("threshold");
    expect(write({ ...full, aggregation: "" })).not.toHaveProperty("window");
    expect(write({ ...full, no_data: "" })).not.toHaveProperty("no_data_after");
    expect(has({ ...EMPTY, source: "event:x" }, "window")).toBe(true);
  });

  it("changes what changed, takes away what went, and nothing else", () => {
    const alert = { notification_channels: ["slack"], ...alertOf({ for: "2m", severity: "page" }) };
    const form = { ...readForm(alert), threshold: "90", for: "" };
    expect(changesOf(alert, writeForm(form, alert, known))).toEqual({ threshold: 90, for: null });
    const silent = { ...readForm(alert), alert_type: "no_data" as const };
    expect(changesOf(alert, writeForm(silent, alert, known))).toEqual({ alert_type: "no_data", condition: null, threshold: null });
  });

  it("finds the field that the server objects to", () => {
    expect(faultOf("threshold: it is no number")).toEqual({ field: "threshold", words: "it is no number" });
    expect(faultOf("alert.window: too long: 40d")).toEqual({ field: "window", words: "too long: 40d" });
    expect(faultOf("query.step: an alert takes one value")).toEqual({ field: "source", words: "an alert takes one value" });
    expect(faultOf("Metric_name: missing.")).toEqual({ field: "source", words: "missing." });
    expect(faultOf("Alert.threshold: Value error, must be a number.")?.words).toBe("must be a number.");
    expect(faultOf("labels.x: no such field here")).toBeNull();
    expect(faultOf("constructor: no")).toBeNull();
    expect(faultOf("The server does not answer.")).toBeNull();
    expect(faultOfMember("matchers: no braces")).toEqual({ member: "matchers", words: "no braces" });
  });

  it("says what is missing before it asks", () => {
    expect(missingOf(EMPTY, null)?.field).toBe("source");
    expect(missingOf({ ...EMPTY, source: "cpu" }, null)?.field).toBe("threshold");
    expect(missingOf({ ...EMPTY, source: "cpu", warning: "0" }, null)).toBeNull();
    expect(missingOf({ ...EMPTY, source: "cpu", threshold: "1", alert_type: "rate_of_change" }, null)?.field).toBe("change_over");
    expect(missingOf({ ...EMPTY, source: "cpu", alert_type: "no_data" }, null)).toBeNull();
  });

  it("is filled in from a panel", () => {
    expect(formAbout("metric:cpu", "average", "host")).toMatchObject({ source: "cpu", aggregation: "average", group_by: ["host"] });
    expect(formAbout("event:odd {x}", "count", null)).toMatchObject({ source: 'event:"odd {x}"', group_by: [] });
  });
});
