// The form of a rule: fields as they are typed, from and to the members of an alert, and what the server objects to.

import { selector } from "../protocol";
import { READ_ONLY, type Alert, type AlertMembers, type AlertType } from "./protocol";
import { aggregationOf, groupByOf, windowOf } from "./words";

/** Every field as text, as it stands in the form; "" for what is not given. */
export interface Form {
  name: string;
  /** The name of a metric, or `metric:name{…}`, or `event:type`. */
  source: string;
  alert_type: AlertType;
  aggregation: string;
  window: string;
  group_by: string[];
  condition: string;
  threshold: string;
  warning: string;
  recovery: string;
  warning_recovery: string;
  change_over: string;
  relative: boolean;
  budget: string;
  for: string;
  keep_firing_for: string;
  no_data: string;
  no_data_after: string;
  severity: string;
  message: string;
  notification_channels: string[];
  repeat_interval: string;
}

export const EMPTY: Form = {
  name: "",
  source: "",
  alert_type: "threshold",
  aggregation: "",
  window: "",
  group_by: [],
  condition: ">",
  threshold: "",
  warning: "",
  recovery: "",
  warning_recovery: "",
  change_over: "",
  relative: false,
  budget: "",
  for: "",
  keep_firing_for: "",
  no_data: "",
  no_data_after: "",
  severity: "",
  message: "",
  notification_channels: [],
  repeat_interval: "",
};

const NUMBERS = ["threshold", "warning", "recovery", "warning_recovery", "budget"] as const;
const TEXTS = [
  "for",
  "keep_firing_for",
  "no_data",
  "no_data_after",
  "change_over",
  "severity",
  "message",
  "repeat_interval",
] as const;
/** Members that only some kinds of alerts have; the server refuses them in others. */
const ONLY: Partial<Record<keyof Form, readonly AlertType[]>> = {
  condition: ["threshold", "rate_of_change"],
  threshold: ["threshold", "rate_of_change"],
  warning: ["threshold", "rate_of_change"],
  recovery: ["threshold", "rate_of_change"],
  warning_recovery: ["threshold", "rate_of_change"],
  change_over: ["rate_of_change"],
  relative: ["rate_of_change"],
  budget: ["anomaly"],
  no_data: ["threshold", "rate_of_change", "anomaly"],
};

/** Whether a kind of alert has a field. */
export function has(form: Form, field: keyof Form): boolean {
  const isEvent = form.source.startsWith("event:");
  if (field === "window") return form.alert_type !== "no_data" && (form.alert_type !== "threshold" || form.aggregation !== "" || isEvent);
  if (field === "aggregation") return form.alert_type !== "no_data";
  if (field === "no_data_after" && form.alert_type !== "no_data") return form.no_data === "keep" || form.no_data === "alert";
  return ONLY[field]?.includes(form.alert_type) ?? true;
}

/** The members of an alert as fields. */
export function readForm(alert: AlertMembers): Form {
  const form: Form = { ...EMPTY };
  for (const name of NUMBERS) form[name] = alert[name] === undefined ? "" : String(alert[name]);
  for (const name of TEXTS) form[name] = alert[name] ?? "";
  // An anomaly's threshold is another name of its budget.
  if (alert.alert_type === "anomaly" && alert.threshold !== undefined) form.budget = String(alert.threshold);
  return {
    ...form,
    name: alert.name,
    source: alert.metric_name ?? alert.query?.query_string ?? "",
    alert_type: alert.alert_type ?? "threshold",
    aggregation: aggregationOf(alert),
    window: windowOf(alert),
    group_by: groupByOf(alert),
    condition: alert.condition ?? ">",
    relative: alert.relative ?? false,
    notification_channels: alert.notification_channels ?? [],
  };
}

/** What the form says, as members of an alert. before: the alert it changes, whose other members stay. isName: whether
 * there is a metric of this very name. */
export function writeForm(form: Form, before: AlertMembers | null, isName: (text: string) => boolean): AlertMembers {
  const written: Record<string, unknown> = { ...others(before), name: form.name.trim(), alert_type: form.alert_type };
  Object.assign(written, sourceOf(form, before, isName));
  const put = (name: keyof Form, value: unknown): void => {
    if (has(form, name) && value !== "" && value !== undefined) written[name] = value;
  };
  put("aggregation", form.aggregation);
  put("window", form.window.trim());
  if (form.group_by.length > 0) written["group_by"] = form.group_by;
  put("condition", form.condition);
  put("relative", form.relative || undefined);
  for (const name of NUMBERS) put(name, form[name].trim() === "" ? "" : numberOf(form[name]));
  for (const name of TEXTS) put(name, name === "message" ? form[name] : form[name].trim());
  written["notification_channels"] = form.notification_channels;
  return written as unknown as AlertMembers;
}

/** A number as people type it; as text where it is none, for the server to say so. */
function numberOf(text: string): number | string {
  const number = Number(text.trim().replace(/^([+-]?\d+),(\d+)$/, "$1.$2"));
  return Number.isFinite(number) ? number : text.trim();
}

const WRITTEN = new Set<string>([...Object.keys(EMPTY), "metric_name", "query", "query_id", ...READ_ONLY]);

/** What the form does not know. */
function others(before: AlertMembers | null): Record<string, unknown> {
  return Object.fromEntries(Object.entries(before ?? {}).filter(([name]) => !WRITTEN.has(name)));
}

function sourceOf(form: Form, before: AlertMembers | null, isName: (text: string) => boolean): Record<string, unknown> {
  const text = form.source.trim();
  if (text === "" && before?.query_id !== undefined) return { query_id: before.query_id };
  if (text === "") return {};
  const rest = before?.query === undefined ? {} : withoutOwn(before.query);
  const isQuery = !isName(text) && (/^(metric|event):/.test(text) || /\{.*\}$/s.test(text));
  if (isQuery) return { query: { ...rest, query_string: /^(metric|event):/.test(text) ? text : `metric:${text}` } };
  return { metric_name: text };
}

/** A query without what stands in fields of its own. */
function withoutOwn({ aggregation: _a, time_range: _t, group_by: _g, ...rest }: Record<string, unknown>): object {
  return rest;
}

/** What changes an alert into what the form says: members, and null for those that go. */
export function changesOf(before: Alert, after: AlertMembers): Record<string, unknown> {
  const old = before as unknown as Record<string, unknown>;
  const wanted = after as unknown as Record<string, unknown>;
  const names = new Set([...Object.keys(old), ...Object.keys(wanted)]);
  READ_ONLY.forEach((name) => names.delete(name));
  const changed: Record<string, unknown> = {};
  for (const name of names) {
    if (JSON.stringify(old[name]) !== JSON.stringify(wanted[name])) changed[name] = wanted[name] ?? null;
  }
  return changed;
}

const ALIASES: Record<string, keyof Form> = { metric_name: "source", query: "source", query_id: "source" };

/** The member that an error of the server names, "" for none, and what it says. */
export function faultOfMember(message: string): { member: string; words: string } {
  const found = /^(?:alert\.)?([a-z_]+)(?:\.[\w.]+)?: (.+)$/is.exec(message);
  return found ? { member: found[1]!.toLowerCase(), words: found[2]!.replace(/^Value error, /, "") } : { member: "", words: message };
}

/** The field that an error of the server is about; null where it names none, or one that the form lacks. */
export function faultOf(message: string): { field: keyof Form; words: string } | null {
  const { member, words } = faultOfMember(message);
  const field = ALIASES[member] ?? member;
  return Object.hasOwn(EMPTY, field) ? { field: field as keyof Form, words } : null;
}

/** What is missing before there is anything to ask the server about. */
export function missingOf(form: Form, before: AlertMembers | null): { field: keyof Form; words: string } | null {
  if (form.source.trim() === "" && before?.query_id === undefined) return { field: "source", words: "name what to watch" };
  if (has(form, "threshold") && form.threshold.trim() === "" && form.warning.trim() === "") {
    return { field: "threshold", words: "give a threshold, or a warning" };
  }
  if (has(form, "change_over") && form.change_over.trim() === "") {
    return { field: "change_over", words: "say with when the value is compared" };
  }
  return null;
}

/** A form about a panel: what it shows, as it is grouped. */
export function formAbout(panel: string, aggregation: string, group: string | null): Form {
  const isMetric = panel.startsWith("metric:");
  const name = panel.slice(panel.indexOf(":") + 1);
  return {
    ...EMPTY,
    name: name.slice(0, 400),
    source: isMetric ? name : selector("event", name),
    aggregation,
    window: "5m",
    group_by: group === null ? [] : [group],
  };
}
