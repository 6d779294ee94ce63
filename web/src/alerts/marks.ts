// What a rule and its episodes put onto a chart.

import type { Overlay } from "../overlay";
import { toMs } from "../protocol";
import type { AlertMembers, Episode } from "./protocol";

type Band = Overlay["bands"][number];

/** When anything fired: episodes of several groups at once are one stretch, of each level by itself. */
export function bandsOf(episodes: readonly Episode[]): Band[] {
  const bands: Band[] = [];
  for (const level of ["warning", "critical"] as const) {
    const own = episodes
      .filter(({ worst }) => (worst === "critical") === (level === "critical"))
      .map(({ fired_at, resolved_at }): Band => ({ from: toMs(fired_at) ?? 0, to: toMs(resolved_at), level }))
      .sort((a, b) => a.from - b.from);
    let last: Band | null = null;
    for (const band of own) {
      if (last && (last.to === null || band.from <= last.to)) {
        last.to = last.to === null || band.to === null ? null : Math.max(last.to, band.to);
      } else bands.push((last = band));
    }
  }
  return bands;
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
