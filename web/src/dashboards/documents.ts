// Dashboards as the server keeps them, and the requests that read and change them.

import { currentKey, HttpError } from "../api";
import type { Kind } from "../plans";
import { selector } from "../protocol";

export type WidgetType = "chart" | "metric" | "table" | "gauge";

export interface Widget {
  id: string;
  type: WidgetType;
  title: string;
  query: string;
  visualization_config: Record<string, unknown>;
  /** Seconds between two looks; 0 is live. */
  refresh_interval: number;
}

/** What people edit; the rest is the server's. */
export interface Content {
  name: string;
  description: string;
  widgets: Widget[];
}

export interface Dashboard extends Content {
  id: string;
  owner_id: string;
  is_public: boolean;
  created_at: string;
  /** Names this version: a change that rests on an older one is refused. */
  updated_at: string;
}

const PATH = "/api/dashboards";
const TIMEOUT = 10_000;
/** What a browser sends after its page has gone is limited to about this much. */
const KEEPALIVE_LIMIT = 60_000;

async function request<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const key = currentKey();
  const sent: Record<string, string> = { Accept: "application/json", ...headers };
  if (key) sent["Authorization"] = `Bearer ${key}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const text = body === undefined ? null : JSON.stringify(body);
  const response = await fetch(path, {
    method,
    headers: sent,
    body: text,
    cache: "no-store",
    keepalive: text !== null && text.length < KEEPALIVE_LIMIT,
    signal: AbortSignal.timeout(TIMEOUT),
  });
  const answer: unknown = await response.json().catch(() => null);
  if (!response.ok) {
    const detail = (answer as { detail?: { code?: string; message?: string } } | null)?.detail;
    throw new HttpError(response.status, detail?.code ?? "", detail?.message ?? `The server answered ${response.status}.`);
  }
  return answer as T;
}

export interface Documents {
  list(): Promise<Dashboard[]>;
  read(id: string): Promise<Dashboard>;
  create(content: Content): Promise<Dashboard>;
  /** `known`: the version the change rests on; null overwrites whatever is there. */
  replace(board: Dashboard, known: string | null): Promise<Dashboard>;
  remove(id: string): Promise<void>;
}

export const documents: Documents = {
  list: () => request("GET", PATH),
  read: (id) => request("GET", `${PATH}/${encodeURIComponent(id)}`),
  create: ({ name, description, widgets }) => request("POST", PATH, { name, description, widgets }),
  replace: ({ id, name, description, widgets, owner_id, is_public }, known) =>
    request(
      "PUT",
      `${PATH}/${encodeURIComponent(id)}`,
      { name, description, widgets, owner_id, is_public },
      known === null ? {} : { "If-Match": `"${known}"` },
    ),
  remove: async (id) => void (await request("DELETE", `${PATH}/${encodeURIComponent(id)}`)),
};

/** A widget that shows a metric or event type live, as its type asks for. */
export function widgetFor(kind: Kind, name: string): Widget {
  const id = `widget_${[...crypto.getRandomValues(new Uint8Array(4))].map((b) => b.toString(16).padStart(2, "0")).join("")}`;
  return { id, type: "chart", title: name, query: selector(kind, name), visualization_config: {}, refresh_interval: 0 };
}
