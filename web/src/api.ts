// The HTTP questions the page asks, and the key it asks them with.

import { sentence } from "./format";
import { readColumns, toMs, type Columns, type EventRow, type Ledger, type MetricRow, type Query, type RejectList, type Stats } from "./protocol";

const KEY_SLOT = "streamgauge.key";
const TIMEOUT = 10_000;
/** For a query, which the server ends by itself after MAX_QUERY_EXECUTION_TIME. */
const LONG_TIMEOUT = 60_000;

export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** What went wrong with a request, as a sentence. */
export function reasonOf(error: unknown): string {
  return error instanceof HttpError ? sentence(error.message) : "The server does not answer.";
}

/** The key this tab was given; it is kept for the tab only. */
export function storedKey(): string {
  try {
    return sessionStorage.getItem(KEY_SLOT) ?? "";
  } catch {
    return ""; // storage may be switched off; then the key lasts until the next reload
  }
}

let key = storedKey();

export function currentKey(): string {
  return key;
}

export function useKey(value: string): void {
  key = value;
  try {
    sessionStorage.setItem(KEY_SLOT, value);
  } catch {
    // As above: kept in memory only.
  }
}

/** The answer of the server; HttpError for a refusal. With a signal of the caller's it may take long. */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (key) headers["Authorization"] = `Bearer ${key}`;
  if (init.body) headers["Content-Type"] = "application/json";
  const signal = init.signal
    ? AbortSignal.any([init.signal, AbortSignal.timeout(LONG_TIMEOUT)])
    : AbortSignal.timeout(TIMEOUT);
  const response = await fetch(path, { ...init, headers, cache: "no-store", signal });
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) {
    const detail = (body as { detail?: { code?: string; message?: string } } | null)?.detail;
    throw new HttpError(response.status, detail?.code ?? "", detail?.message ?? `The server answered ${response.status}.`);
  }
  return body as T;
}

export const getStats = (): Promise<Stats> => ask<Stats>("/api/stats");
export const getNewestMetrics = (): Promise<MetricRow[]> => ask<MetricRow[]>("/api/metrics?limit=200&time_range=1h");
export const getNewestEvents = (): Promise<EventRow[]> => ask<EventRow[]>("/api/events?limit=100&time_range=1h");

export const getLedger = (): Promise<Ledger> => ask<Ledger>("/api/ledger");
export const getRejects = (): Promise<RejectList> => ask<RejectList>("/api/rejects?limit=20");

/** One answer in columns, and the server time it stands for. */
export async function askQuery(query: Query, signal: AbortSignal): Promise<{ at: number; columns: Columns }> {
  const body = await ask<{ at?: unknown }>("/api/query", { method: "POST", body: JSON.stringify(query), signal });
  const columns = readColumns(body);
  if (!columns) throw new HttpError(200, "internal", "The answer has no columns.");
  return { at: toMs(body.at) ?? 0, columns };
}

export interface Diagnosis {
  reason: string;
  /** Waiting alone will not help. */
  final: boolean;
  /** A key would. */
  wantsKey: boolean;
}

/** Why the server refuses or does not answer, in a sentence. */
export async function diagnose(): Promise<Diagnosis> {
  const passing = (reason: string): Diagnosis => ({ reason, final: false, wantsKey: false });
  if (!navigator.onLine) return passing("This device is offline.");
  try {
    await getStats();
    return passing("The server answers, but not on the live connection.");
  } catch (error) {
    if (!(error instanceof HttpError)) return passing("The server does not answer.");
    const refused = error.status === 401 || error.status === 403;
    return { reason: sentence(error.message), final: refused, wantsKey: error.status === 401 || (refused && key !== "") };
  }
}

export function socketAddress(clientId: string): string {
  const address = new URL(`/ws/${clientId}`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (key) address.searchParams.set("token", key);
  return address.href;
}
