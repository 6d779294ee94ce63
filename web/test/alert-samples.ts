import type { Alert, Incident } from "../src/alerts/protocol";

export const NOW = Date.UTC(2026, 0, 5, 12);
export const at = (ms: number): string => new Date(NOW + ms).toISOString();

export const alertOf = (part: Partial<Alert> = {}): Alert => ({
  id: "a1", name: "High load", enabled: true, alert_type: "threshold", metric_name: "cpu", condition: ">", threshold: 80,
  version: 1, last_triggered: null, state: "inactive", level: "ok", firing: 0, pending: 0, groups: 1, value: 12,
  evaluated_at: at(0), error: null, warnings: [], ...part,
});

export const incidentOf = (part: Partial<Incident> = {}): Incident => ({
  id: "i1", alert_id: "a1", alert: "High load", level: "critical", worst: "critical", opened_at: at(-60_000),
  closed_at: null, firing: 1, total: 1, acknowledged_by: null, snoozed_until: null, deliveries: [], ...part,
});
