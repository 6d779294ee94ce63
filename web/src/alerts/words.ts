// Alerts in words: what they watch, where they stand, what was told.

import { duration, labelText, moment, plural, withUnit } from "../format";
import { toMs } from "../protocol";
import type { Alert, AlertMembers, Cause, Delivery, Episode, GroupState, Incident, Labels } from "./protocol";
import { panelOf } from "./store";

/** How an alert stands: its state in a word, and how urgent that is. */
export interface Standing {
  word: "firing" | "pending" | "inactive" | "disabled" | "error" | "not evaluated yet";
  tone: "firing" | "warning" | "quiet" | "good";
}

export function standingOf(alert: Alert): Standing {
  if (!alert.enabled) return { word: "disabled", tone: "quiet" };
  if (alert.state === "firing") return { word: "firing", tone: alert.level === "critical" ? "firing" : "warning" };
  if (alert.error !== null) return { word: "error", tone: "warning" };
  if (alert.state === "pending") return { word: "pending", tone: "warning" };
  if (alert.evaluated_at === null) return { word: "not evaluated yet", tone: "quiet" };
  return { word: "inactive", tone: "good" };
}

/** What an alert is about: the name of a metric, a query, or a saved one. */
export function sourceText(alert: AlertMembers): string {
  return alert.metric_name ?? alert.query?.query_string ?? (alert.query_id === undefined ? "" : `query ${alert.query_id}`);
}

/** The unit of an alert's values. unitOf: the unit of a panel's metric. */
export function unitOfAlert(alert: AlertMembers, unitOf: (panel: string) => string): string {
  if (alert.alert_type === "no_data") return "";
  if (alert.alert_type === "rate_of_change" && alert.relative) return "%";
  const how = aggregationOf(alert);
  if (how === "count" || how === "unique") return "";
  const unit = unitOf(panelOf(alert) ?? "");
  return how === "rate" && unit !== "" ? `${unit}/s` : unit;
}

export const aggregationOf = (alert: AlertMembers): string =>
  alert.aggregation ?? (alert.query?.["aggregation"] as string | undefined) ?? "";
export const windowOf = (alert: AlertMembers): string =>
  alert.window ?? (alert.query?.["time_range"] as string | undefined) ?? "";
export const groupByOf = (alert: AlertMembers): string[] =>
  alert.group_by ?? (alert.query?.["group_by"] as string[] | undefined) ?? [];

/** What makes it fire, in a sentence without its end: `average of cpu over 5m > 80 % for 2m, by host`. */
export function conditionText(alert: AlertMembers, unit: string): string {
  const about = sourceText(alert);
  const how = aggregationOf(alert);
  const groups = groupByOf(alert);
  const by = groups.length > 0 ? `, by ${groups.join(", ")}` : "";
  const held = alert.for && !/^0+\w?$/.test(alert.for) ? ` for ${alert.for}` : "";
  const window = windowOf(alert) || "5m";
  switch (alert.alert_type ?? "threshold") {
    case "no_data":
      return `no data of ${about} for ${alert.no_data_after ?? window}${held}${by}`;
    case "anomaly":
      return `${how || "average"} of ${about} is unusual${held}${by}`;
    case "rate_of_change":
      return `${how || "average"} of ${about} over ${window} changes ${limitText(alert, unit)} within ${alert.change_over ?? "?"}${held}${by}`;
    case "threshold": {
      const what = how === "" ? `each value of ${about}` : `${how.replace("percentile_", "p")} of ${about} over ${window}`;
      return `${what} ${limitText(alert, unit)}${held}${by}`;
    }
  }
}

/** The thresholds with their operator: `> 80 %, warning > 60 %`. */
export function limitText(alert: AlertMembers, unit: string): string {
  const sign = alert.condition ?? ">";
  const parts: string[] = [];
  if (alert.threshold !== undefined) parts.push(`${sign} ${withUnit(alert.threshold, unit)}`);
  if (alert.warning !== undefined) parts.push(`warning ${sign} ${withUnit(alert.warning, unit)}`);
  return parts.join(", ");
}

/** A value with the limit of its level: `84 % > 80 %`; one that fires on though it is no longer so, with both apart. */
export function valueText(alert: Alert, unit: string): string {
  if (alert.alert_type === "no_data") return "no data";
  if (alert.alert_type === "anomaly") return withUnit(alert.value, unit);
  const limit = alert.level === "warning" && alert.warning !== undefined ? alert.warning : alert.threshold;
  const value = withUnit(alert.value, unit);
  if (limit === undefined) return value;
  const sign = alert.condition ?? ">";
  const isSo = alert.value === null || holds(alert.value, sign, limit);
  return `${value} ${isSo ? "" : "· threshold "}${sign} ${withUnit(limit, unit)}`;
}

function holds(value: number, sign: string, limit: number): boolean {
  if (sign === "==" || sign === "!=") return true; // compared with a tolerance that is the server's
  return sign.startsWith(">") ? value > limit || (value === limit && sign === ">=") : value < limit || (value === limit && sign === "<=");
}

/** How many of its groups fire: `37 of 40`; empty where there is one only. */
export function manyText({ firing, groups }: Pick<Alert, "firing" | "groups">): string {
  return groups > 1 || firing > 1 ? `${firing} of ${Math.max(groups, firing)}` : "";
}

/** A group by its values, with its labels where these are needed to tell: `web-1 · eu`. */
export function groupText(group: Labels): string {
  const values = Object.values(group);
  return values.length === 1 ? values[0]! : labelText(group);
}

/** Until when nothing is told of an incident, ms; null where that is not so. */
export function snoozedUntil(incident: Incident, now: number): number | null {
  const until = toMs(incident.snoozed_until);
  return until !== null && until > now ? until : null;
}

/** What became of telling one channel, and whether that is bad. */
export function deliveryText(delivery: Delivery, now: number): { text: string; bad: boolean } {
  const retry = toMs(delivery.retry_at);
  switch (delivery.status) {
    case "sent":
      return { text: `told ${momentText(delivery.sent_at, now)}`, bad: false };
    case "waiting":
      return { text: "about to be told", bad: false };
    case "held":
      return { text: `not told: ${(delivery.held ?? delivery.error ?? "held").replace(`${delivery.channel} is `, "")}`, bad: false };
    case "retrying": {
      const next = retry !== null && retry > now ? `, again in ${duration(retry - now)}` : "";
      return { text: `${plural(delivery.tries, "try", "tries")} failed${next}: ${delivery.error ?? "no reason known"}`, bad: true };
    }
    case "gave_up":
      return { text: `given up: ${delivery.error ?? "no reason known"}`, bad: true };
  }
}

export function causeText(cause: Cause): string {
  return { condition: "", no_data: "no data", error: "the query failed" }[cause];
}

/** The status of one group, with why where that is not its value. */
export function groupStateText({ status, level, cause }: GroupState): string {
  const why = causeText(cause);
  const word = status === "inactive" ? (why === "" ? "ok" : why) : status === "firing" ? level : "pending";
  return status !== "inactive" && why !== "" ? `${word}: ${why}` : word;
}

/** Whether there can be several groups: named ones, or one for each series where each arriving value counts. */
export function hasGroups(alert: AlertMembers): boolean {
  return groupByOf(alert).length > 0 || (aggregationOf(alert) === "" && (alert.alert_type ?? "threshold") === "threshold");
}

export const momentText = (time: string | null, now: number): string => {
  const ms = toMs(time);
  return ms === null ? "–" : moment(ms, now);
};

/** How long it has been so: `12 min`. */
export function sinceText(time: string | null, now: number): string {
  const ms = toMs(time);
  return ms === null ? "–" : duration(Math.max(0, now - ms));
}

export function episodeEnd(episode: Episode): string {
  return episode.resolved_at === null ? "still firing" : (episode.why ?? "recovered");
}

/** Matchers of an alert, or of one group of it, as silences have them. */
export function matchersOf(alertId: string, group: Labels = {}): string {
  const all = Object.entries({ alert_id: alertId, ...group });
  return `{${all.map(([name, value]) => `${name}="${escaped(value)}"`).join(", ")}}`;
}

const escaped = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n").replaceAll("\t", "\\t");
