// Alerts and what is told of them, as the server answers. Times are ISO text; null is unknown, or not yet.

export type Level = "ok" | "warning" | "critical";
export type Cause = "condition" | "no_data" | "error";
export type Labels = Record<string, string>;
export type AlertType = "threshold" | "rate_of_change" | "no_data" | "anomaly";

/** What people say of an alert; members that were not given are absent. */
export interface AlertMembers {
  name: string;
  enabled?: boolean;
  alert_type?: AlertType;
  metric_name?: string;
  query?: { query_string: string } & Record<string, unknown>;
  query_id?: string;
  aggregation?: string;
  window?: string;
  group_by?: string[];
  condition?: string;
  threshold?: number;
  warning?: number;
  recovery?: number;
  warning_recovery?: number;
  change_over?: string;
  relative?: boolean;
  budget?: number;
  for?: string;
  keep_firing_for?: string;
  no_data?: "ok" | "keep" | "alert";
  no_data_after?: string;
  severity?: string;
  message?: string;
  notification_channels?: string[];
  repeat_interval?: string;
}

/** What the server adds to them. */
export const READ_ONLY = [
  "id",
  "created_at",
  "updated_at",
  "version",
  "last_triggered",
  "state",
  "level",
  "firing",
  "pending",
  "groups",
  "value",
  "evaluated_at",
  "error",
  "warnings",
] as const;

export interface Alert extends AlertMembers {
  id: string;
  version: number;
  enabled: boolean;
  alert_type: AlertType;
  last_triggered: string | null;
  state: "inactive" | "pending" | "firing" | "disabled";
  level: Level;
  /** Groups that fire, that are about to, and that there are. */
  firing: number;
  pending: number;
  groups: number;
  /** The newest; of several groups that of the worst. */
  value: number | null;
  evaluated_at: string | null;
  error: string | null;
  warnings: string[];
}

export interface Delivery {
  channel: string;
  status: "waiting" | "held" | "retrying" | "sent" | "gave_up";
  sent_at: string | null;
  tries: number;
  retry_at: string | null;
  error: string | null;
  held: string | null;
}

/** The episodes of one alert that overlap. */
export interface Incident {
  id: string;
  alert_id: string;
  alert: string;
  level: Level;
  worst: Level;
  opened_at: string;
  closed_at: string | null;
  firing: number;
  total: number;
  acknowledged_by: string | null;
  snoozed_until: string | null;
  deliveries: Delivery[];
}

export interface GroupState {
  group: Labels;
  status: "inactive" | "pending" | "firing";
  level: Level;
  cause: Cause;
  since: string | null;
  fired_at: string | null;
  value: number | null;
  peak: number | null;
  peak_at: string | null;
}

/** A group from firing to resolved. */
export interface Episode {
  id: string;
  group: Labels;
  level: Level;
  worst: Level;
  cause: Cause;
  since: string | null;
  fired_at: string;
  resolved_at: string | null;
  /** Seconds. */
  duration: number;
  value_at_fire: number | null;
  peak: number | null;
  peak_at: string | null;
  value_at_resolve: number | null;
  why: string | null;
}

export interface Preview {
  /** From when on; later than asked for where that was too much. */
  begin: string | null;
  episodes: Episode[];
  total_episodes: number;
  /** How often a group was pending and did not fire. */
  total_pending: number;
  flaps: { group: Labels; count: number }[];
  messages: { at: string; kind: string; channel: string; incident: string; firing: number }[];
  total_messages: number;
  evaluated: { from: string; to: string; resolution: string }[];
  /** Where it is not what would have been, and why. */
  notes: string[];
  /** Seconds. */
  took: number;
}

export interface Silence {
  id: string;
  matchers: string;
  from: string;
  to: string;
  reason: string;
  author: string;
  state: "pending" | "active" | "expired";
}

export interface Channel {
  name: string;
  kind: string;
  configured: boolean;
  problem: string | null;
  target: string;
  last_sent_at: string | null;
  last_error: string | null;
}

/** How unusual a watched series is now. */
export interface Anomaly {
  alert_id: string;
  alert: string;
  /** `metric:cpu`, without labels. */
  query_string: string;
  group: Labels;
  score: number;
  anomalous: boolean;
  since: string | null;
  peak: number;
  value: number | null;
  at: string | null;
  likely_from: number | null;
  likely_to: number | null;
  typical_low: number;
  typical: number;
  typical_high: number;
  /** When it was anomalous, the newest last. */
  episodes: { from: string; to: string | null; peak: number }[];
}

export interface Notification {
  at: string;
  alert_id: string;
  alert: string;
  incident_id: string;
  channel: string;
  kind: string;
  outcome: "sent" | "failed" | "gave_up" | "held";
  reason: string;
  message_id: string;
  tries: number;
}

export interface Template extends Partial<Omit<AlertMembers, "condition">> {
  /** `metric:name > 100`. */
  condition: string;
  description?: string;
}

export interface Templates {
  alert_templates: Record<string, Template>;
  /** The names of those that the server brings along. */
  ready: string[];
}
