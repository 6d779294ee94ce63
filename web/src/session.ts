// The one connection of this page, what arrives on it, and what follows from losing it.

import { batch, signal } from "@preact/signals";
import {
  diagnose,
  getLedger,
  getNewestEvents,
  getNewestMetrics,
  getStats,
  HttpError,
  socketAddress,
  useKey,
  type Diagnosis,
} from "./api";
import { AnomalyStore } from "./alerts/anomalies";
import { listAlerts, listAnomalies, listIncidents } from "./alerts/requests";
import { AlertStore } from "./alerts/store";
import { Catalogue } from "./catalogue";
import { forgetTime, heardTime, roundTrip } from "./clock";
import { Connection, type ConnectionState, type Socket } from "./connection";
import { Feed } from "./feed";
import { sentence } from "./format";
import { measuredFrames } from "./frames";
import { LiveQueries } from "./live";
import { Outbox } from "./outbox";
import { parseMessage, toMs, type EventRow, type Ledger, type MetricRow } from "./protocol";

/** How often the list of names is compared with the server's, for those the firehose had to leave out. */
const SWEEP = 15_000;
/** How soon the first list is asked again, for example while the server replays its log. */
const IMPATIENCE = 1_500;

/** How long rows are gathered before they are shown, ms, where no result is drawn before. */
const GATHER = 100;

/** How often the round trip is measured, the ledger read and the values of alerts, where somebody looks at them. */
const PULSE = 10_000;

export const connection = signal<ConnectionState>({ phase: "connecting" });
export const needsKey = signal<string | null>(null);
/** Own time of the last message, for the age of what is shown. */
export const lastHeard = signal<number | null>(null);
export const catalogue = new Catalogue();
export const feed = new Feed();
export const ledger = signal<Ledger | null>(null);
/** Alerts, and what fires. */
export const alerts = new AlertStore({
  incidents: listIncidents,
  alerts: listAlerts,
  now: () => performance.now(),
  later,
});
/** When watched series were unusual; so many of them at most. */
export const anomalies = new AnomalyStore(() => listAnomalies(200), () => performance.now());
/** What the server says its owner should know. */
export const warnings = signal<readonly string[]>([]);

const clientId = `page-${[...crypto.getRandomValues(new Uint8Array(8))].map((b) => b.toString(16).padStart(2, "0")).join("")}`;
let heard = 0;
let pinged: number | null = null;

const outbox = new Outbox((text) => line.send(text), { now: () => performance.now(), later });
const nextFrame = measuredFrames({ now: () => performance.now(), frame: (call) => requestAnimationFrame(call), later });
export const live = new LiveQueries(outbox, (draw) =>
  nextFrame((room) => {
    showRows(); // with the results they led to, in one frame
    return draw(room);
  }),
);

const line = new Connection(
  { open: openSocket, now: Date.now, random: Math.random, later, diagnose: diagnoseAndAsk },
  { state: stateChanged, message: receive, open: opened },
);

export function begin(): void {
  line.start();
  addEventListener("online", () => line.check());
  addEventListener("pageshow", (event) => event.persisted && line.check());
  setInterval(() => void (connection.peek().phase === "connected" && sweep()), SWEEP);
  setInterval(pulse, PULSE);
}

export function retryNow(): void {
  line.start();
}

export function giveKey(key: string): void {
  useKey(key);
  needsKey.value = null;
  line.restart();
}

function stateChanged(state: ConnectionState): void {
  batch(() => {
    if (state.phase === "reconnecting" && heard) lastHeard.value = heard;
    connection.value = state;
  });
}

function opened(): void {
  needsKey.value = null;
  live.reopened();
  void sweep(true);
  alerts.refresh();
  pulse();
}

/** Whether the line is open and somebody can see the page. */
const isWatched = (): boolean => connection.peek().phase === "connected" && document.visibilityState === "visible";

function pulse(): void {
  if (!isWatched()) return;
  pinged = performance.now();
  outbox.put('{"type":"ping"}');
  readLedger();
  alerts.beat();
  void anomalies.beat();
}

/** Asks for the ledger now. A failure shows as the lost connection; the last count stays. */
export function readLedger(): void {
  getLedger().then(
    (found) => (ledger.value = found),
    () => undefined,
  );
}

async function sweep(withNewest: boolean = false): Promise<void> {
  try {
    const [found, metrics, events] = await Promise.all([
      getStats(),
      withNewest ? getNewestMetrics() : [],
      withNewest ? getNewestEvents() : [],
    ]);
    batch(() => {
      catalogue.load(found);
      warnings.value = found.warnings ?? [];
      metrics.forEach((row) => catalogue.sawMetric(row));
      events.forEach((row) => catalogue.sawEvent(row));
      if (withNewest) feed.load(events);
    });
  } catch (error) {
    // Asked again later; a refusal shows as the form for the key, a lost server as the lost connection.
    if (error instanceof HttpError && error.status === 401) needsKey.value = sentence(error.message);
    else if (!catalogue.loaded.peek()) setTimeout(() => void sweep(true), IMPATIENCE);
  }
}

async function diagnoseAndAsk(): Promise<Diagnosis> {
  const found = await diagnose();
  if (found.wantsKey) needsKey.value = found.reason;
  return found;
}

function receive(text: string): void {
  heard = Date.now();
  if (live.takeText(text)) return;
  const message = parseMessage(text);
  if (!message || live.take(message)) return;
  switch (message.type) {
    case "new_metric":
      return atOnce(() => catalogue.sawMetric(message["metric"] as MetricRow));
    case "new_event":
      return atOnce(() => {
        feed.saw(message["event"] as EventRow);
        catalogue.sawEvent(message["event"] as EventRow);
      });
    case "alert_triggered":
    case "alert_resolved":
      return atOnce(() => alerts.take(message));
    case "pong":
      if (pinged !== null) roundTrip.value = performance.now() - pinged;
      pinged = null;
      return;
    case "hello":
      forgetTime();
      heardTime(toMs(message["at"]) ?? 0);
      return;
    case "dropped":
      void sweep(); // a name that is new may be among what was left out
      return;
    case "reconnect":
      line.advise(Number(message["after_ms"]) || 0);
      return;
  }
}

let rows: (() => void)[] = [];
let stopGathering: () => void = () => undefined;

/** Rows that come within a moment are shown in one frame: each alone would cost as much as all together. */
function atOnce(show: () => void): void {
  if (rows.push(show) === 1) stopGathering = later(showRows, GATHER);
}

function showRows(): void {
  stopGathering();
  const shown = rows;
  rows = [];
  if (shown.length > 0) batch(() => shown.forEach((each) => each()));
}

function openSocket(): Socket {
  const socket = new WebSocket(socketAddress(clientId));
  const wrapped: Socket = {
    send: (text) => socket.send(text),
    close: () => socket.close(),
    onopen: null,
    onmessage: null,
    onclose: null,
  };
  socket.onopen = () => wrapped.onopen?.();
  socket.onmessage = (event) => typeof event.data === "string" && wrapped.onmessage?.(event.data);
  socket.onclose = () => wrapped.onclose?.();
  return wrapped;
}

function later(call: () => void, ms: number): () => void {
  const timer = setTimeout(call, ms);
  return () => clearTimeout(timer);
}
