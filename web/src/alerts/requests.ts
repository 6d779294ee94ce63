// The requests about alerts, one line each.

import { ask } from "../api";
import type {
  Alert,
  AlertMembers,
  Anomaly,
  Channel,
  Episode,
  GroupState,
  Incident,
  Notification,
  Preview,
  Silence,
  Templates,
} from "./protocol";

const of = (path: string, id: string): string => `${path}/${encodeURIComponent(id)}`;

function send<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return ask<T>(path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Incidents that the page knows at most of those that are over, and of those that go on. */
const LATELY = 200;
const OPEN = 1000;

export const listAnomalies = (most: number): Promise<Anomaly[]> => ask(`/api/anomalies?limit=${most}`);
export const listAlerts = (): Promise<Alert[]> => ask("/api/alerts");
export const readAlert = (id: string): Promise<Alert> => ask(of("/api/alerts", id));
export const createAlert = (members: AlertMembers): Promise<Alert> => send("POST", "/api/alerts", members);
/** Changes members, null takes one away. `version`: the one the change rests on; null overwrites whatever is there. */
export const changeAlert = (id: string, members: Record<string, unknown>, version: number | null): Promise<Alert> =>
  send("PATCH", of("/api/alerts", id), version === null ? members : { ...members, version });
export const switchAlert = (id: string, on: boolean): Promise<Alert> =>
  send("POST", `${of("/api/alerts", id)}/${on ? "enable" : "disable"}`);
export const deleteAlert = (id: string): Promise<unknown> => send("DELETE", of("/api/alerts", id));
export const readGroups = (id: string, limit: number): Promise<GroupState[]> =>
  ask(`${of("/api/alerts", id)}/groups?limit=${limit}`);
export const readHistory = (id: string): Promise<Episode[]> => ask(`${of("/api/alerts", id)}/history?limit=100`);
export const previewAlert = (alert: AlertMembers, range: string, signal: AbortSignal): Promise<Preview> =>
  send("POST", "/api/alerts/preview", { alert, time_range: range }, signal);

export const listTemplates = (): Promise<Templates> => ask("/api/alerts/templates");
export const makeFromTemplate = (name: string, more: object): Promise<Alert> =>
  send("POST", of("/api/alerts/templates", name), more);

/** Those that go on, and the newest of those that are over. */
export async function listIncidents(): Promise<Incident[]> {
  const [open, over] = await Promise.all([
    ask<Incident[]>(`/api/incidents?open=true&limit=${OPEN}`),
    ask<Incident[]>(`/api/incidents?open=false&limit=${LATELY}`),
  ]);
  return [...open, ...over];
}

export const acknowledge = (id: string, author: string): Promise<Incident> =>
  send("POST", `${of("/api/incidents", id)}/acknowledge`, by(author));
export const snooze = (id: string, span: string, author: string): Promise<Incident> =>
  send("POST", `${of("/api/incidents", id)}/snooze`, { for: span, ...by(author) });
export const unsnooze = (id: string, author: string): Promise<Incident> =>
  send("POST", `${of("/api/incidents", id)}/unsnooze`, by(author));

export const listSilences = (): Promise<Silence[]> => ask("/api/silences");
export const createSilence = (body: {
  matchers: string;
  for: string;
  reason: string;
  author?: string;
}): Promise<Silence> => send("POST", "/api/silences", body);
export const endSilence = (id: string): Promise<unknown> => send("DELETE", of("/api/silences", id));

export const listChannels = (): Promise<Channel[]> => ask("/api/channels");
/** Sends a test message; a target stands beside the path, which could not hold an address. */
export function testChannel(name: string): Promise<unknown> {
  const colon = name.indexOf(":");
  if (colon < 0) return send("POST", `${of("/api/channels", name)}/test`, undefined, AbortSignal.timeout(60_000));
  const [kind, target] = [name.slice(0, colon), name.slice(colon + 1)];
  const path = `${of("/api/channels", kind)}/test?target=${encodeURIComponent(target)}`;
  return send("POST", path, undefined, AbortSignal.timeout(60_000));
}
export const listNotifications = (alertId: string): Promise<Notification[]> =>
  ask(`/api/notifications?limit=50&alert_id=${encodeURIComponent(alertId)}`);

const by = (author: string): { author?: string } => (author === "" ? {} : { author });
