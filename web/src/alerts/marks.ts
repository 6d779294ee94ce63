// What a rule and its episodes put onto a chart.

import type { Overlay } from "../overlay";
import { toMs } from "../protocol";
import type { AlertMembers, Episode } from "./protocol";

export function bandsOf(episodes: readonly Episode[]): Overlay["bands"] {
  return episodes.map(({ fired_at, resolved_at, worst }) => ({
    from: toMs(fired_at) ?? 0,
    to: toMs(resolved_at),
    level: worst === "critical" ? "critical" : "warning",
  }));
}

/** The thresholds that lie on the axis of the values. */
export function thresholdsOf(rule: AlertMembers): Overlay["thresholds"] {
  if (rule.alert_type === "no_data" || rule.alert_type === "anomaly") return [];
  // With this severity alone, the threshold is that of a warning.
  const first = rule.severity === "warning" && rule.warning === undefined ? "warning" : "critical";
  const lines = [
    { value: rule.threshold, level: first, dashed: false },
    { value: rule.recovery, level: first, dashed: true },
    { value: rule.warning, level: "warning", dashed: false },
    { value: rule.warning_recovery, level: "warning", dashed: true },
  ] as const;
  return lines.flatMap((line) => (typeof line.value === "number" ? [{ ...line, value: line.value }] : []));
}
