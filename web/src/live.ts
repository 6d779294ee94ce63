// Live queries over the one connection: asked again after each reconnect, with the offset of what is already shown.
// Updates are complete results, so only the newest of each query is parsed, once per frame.

import type { NextFrame } from "./frames";
import type { Outbox } from "./outbox";
import { parseMessage, readUpdate, type Query, type ServerError, type Update } from "./protocol";

export interface Watcher {
  update(update: Update): void;
  error(error: ServerError): void;
}

interface Live {
  query: Query;
  watcher: Watcher;
  /** The server's name for it, null until it has answered. */
  id: string | null;
  offset: string;
  /** Found no room among the connection's subscriptions; asked again when one ends. */
  crowdedOut: boolean;
  /** Takes back the question while it waits for its turn. */
  takeBack: () => void;
}

interface Unread {
  /** Its text, or the message where it was parsed already. */
  update: string | Record<string, unknown>;
  /** The frame before which it came first. */
  since: number;
}

/** Frames that an update with much to draw lets pass for lighter ones. */
const PATIENCE = 8;

const UPDATE_HEAD = /^\{\s*"type"\s*:\s*"realtime_update"\s*,\s*"subscription_id"\s*:\s*"([^"\\]+)"/;

export class LiveQueries {
  private readonly all = new Set<Live>();
  private readonly byId = new Map<string, Live>();
  /** Asked and not answered yet, in the order they were sent: answers come in that order. */
  private asked: Live[] = [];
  /** Newest unread update per subscription. */
  private readonly unread = new Map<string, Unread>();
  private scheduled = false;
  private frames = 0;

  constructor(
    private readonly outbox: Outbox,
    private readonly nextFrame: NextFrame,
  ) {}

  /** Starts a live query; the answer ends it. */
  watch(query: Query, watcher: Watcher): () => void {
    const live: Live = {
      query,
      watcher,
      id: null,
      offset: "",
      crowdedOut: false,
      takeBack: () => undefined,
    };
    this.all.add(live);
    this.ask(live);
    return () => this.end(live);
  }

  /** A new line is open: nothing asked on the old one counts. */
  reopened(): void {
    this.byId.clear();
    this.unread.clear();
    this.asked = [];
    this.outbox.clear();
    for (const live of this.all) {
      live.id = null;
      this.ask(live);
    }
  }

  /** Takes an update by its first bytes alone; false for any other text. */
  takeText(text: string): boolean {
    const id = UPDATE_HEAD.exec(text.slice(0, 160))?.[1];
    if (id === undefined) return false;
    this.keep(id, text);
    return true;
  }

  /** Takes a parsed message if it concerns a live query; false otherwise. */
  take(message: { type: string } & Record<string, unknown>): boolean {
    const id = typeof message["subscription_id"] === "string" ? message["subscription_id"] : "";
    switch (message.type) {
      case "realtime_update":
        this.keep(id, message);
        return true;
      case "subscription_created":
        this.created(this.asked.shift(), id);
        return true;
      case "subscription_deleted":
        this.askNext();
        return true;
      case "error":
        return this.failed(id, message);
      default:
        return false;
    }
  }

  private ask(live: Live): void {
    live.crowdedOut = false;
    const since = live.offset ? { since: live.offset } : {};
    const text = JSON.stringify({ type: "subscribe", query: live.query, ...since });
    live.takeBack = this.outbox.put(text, () => this.asked.push(live));
  }

  private end(live: Live): void {
    this.all.delete(live);
    live.takeBack();
    if (live.id !== null) this.unsubscribe(live.id);
    // One that is asked already is ended by `created`, when its id is known.
  }

  private unsubscribe(id: string): void {
    this.byId.delete(id);
    this.unread.delete(id);
    this.outbox.put(JSON.stringify({ type: "unsubscribe", subscription_id: id }), undefined, true);
  }

  /** There is room again. */
  private askNext(): void {
    const next = [...this.all].find((live) => live.crowdedOut);
    if (next) this.ask(next);
  }

  private created(live: Live | undefined, id: string): void {
    if (!live || !this.all.has(live)) {
      this.unsubscribe(id);
      return;
    }
    live.id = id;
    this.byId.set(id, live);
  }

  /** An error that names no subscription answers the oldest question: the server takes them in order. */
  private failed(id: string, message: Record<string, unknown>): boolean {
    const live = id ? this.byId.get(id) : this.asked.shift();
    if (!live) return id !== "";
    const code = String(message["code"] ?? "internal");
    if (code === "too_many_requests" && !id && this.all.has(live)) this.ask(live);
    else {
      live.crowdedOut = code === "too_many_subscriptions";
      live.watcher.error({ code, message: String(message["message"] ?? "") });
    }
    return true;
  }

  private keep(id: string, update: string | Record<string, unknown>): void {
    this.unread.set(id, { update, since: this.unread.get(id)?.since ?? this.frames });
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.nextFrame((room) => this.flush(room));
  }

  private flush(room: number): number {
    this.scheduled = false;
    const updates = this.next(room);
    for (const [id, { update: unread }] of updates) {
      this.unread.delete(id);
      const live = this.byId.get(id);
      const message = typeof unread === "string" ? parseMessage(unread) : unread;
      const update = message && readUpdate(message);
      if (!live || !update) continue;
      live.offset = update.offset;
      live.watcher.update(update);
    }
    if (this.unread.size > 0) this.schedule();
    return updates.length;
  }

  /** What to draw now: what has waited long, then the lightest first, so that a single new value need not wait for
   * fifty full charts. */
  private next(room: number): [string, Unread][] {
    const frame = ++this.frames;
    const order = ([, { update, since }]: [string, Unread]): number => {
      if (frame - since > PATIENCE) return since - frame;
      return typeof update === "string" ? update.length : 0;
    };
    return [...this.unread].sort((a, b) => order(a) - order(b)).slice(0, room);
  }
}
