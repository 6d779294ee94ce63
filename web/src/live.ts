// Live queries over the one connection: asked again after each reconnect, with the offset of what is already known.
// Of complete results only the newest of each query is parsed, when its turn to be drawn has come. Deltas build on one
// another, and are small: they are taken in as they come, and drawn together.

import type { NextFrame } from "./frames";
import type { Outbox } from "./outbox";
import { applyDelta, isDelta, parseMessage, readUpdate, type Query, type ServerError, type Update } from "./protocol";

export interface Watcher {
  update(update: Update): void;
  error(error: ServerError): void;
}

interface Live {
  query: Query;
  watcher: Watcher;
  /** The server's name for it, null until it has answered. */
  id: string | null;
  /** Its place among all that were ever asked: about the order in which they stand on the page. */
  place: number;
  /** The newest result that was read. */
  known: Update | null;
  /** Found no room among the connection's subscriptions; asked again when one ends. */
  crowdedOut: boolean;
  /** Takes back the question while it waits for its turn. */
  takeBack: () => void;
}

/** What a query has to show and did not show yet. */
interface Undrawn {
  /** The text of a complete result, null where the result is read already. */
  text: string | null;
  /** The frame before which it came first. */
  since: number;
}

/** Frames that an update with much to draw lets pass for lighter ones; then it has every other frame before them. */
const PATIENCE = 8;

/** What a number takes in a text, about. */
const NUMBER = 8;

const UPDATE_HEAD = /^\{\s*"type"\s*:\s*"realtime_update"\s*,\s*"subscription_id"\s*:\s*"([^"\\]+)"/;

export class LiveQueries {
  private readonly all = new Set<Live>();
  private readonly byId = new Map<string, Live>();
  /** Asked and not answered yet, in the order they were sent: answers come in that order. */
  private asked: Live[] = [];
  private readonly undrawn = new Map<Live, Undrawn>();
  private scheduled = false;
  private frames = 0;
  private places = 0;

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
      place: this.places++,
      known: null,
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
    this.asked = [];
    this.outbox.clear();
    for (const live of this.all) {
      // What was read is known to the server by its offset and not sent again; what was not read is.
      if (this.undrawn.get(live)?.text) this.undrawn.delete(live);
      live.id = null;
      this.ask(live);
    }
  }

  /** Takes an update by its first bytes alone; false for any other text. */
  takeText(text: string): boolean {
    const id = UPDATE_HEAD.exec(text.slice(0, 160))?.[1];
    if (id === undefined) return false;
    const live = this.byId.get(id);
    const message = isDelta(text) ? parseMessage(text) : null;
    if (live && message) this.read(live, message);
    else if (live) this.keep(live, text);
    return true;
  }

  /** Takes a parsed message if it concerns a live query; false otherwise. */
  take(message: { type: string } & Record<string, unknown>): boolean {
    const id = typeof message["subscription_id"] === "string" ? message["subscription_id"] : "";
    const live = this.byId.get(id);
    switch (message.type) {
      case "realtime_update":
        if (live) this.read(live, message);
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
    const since = live.known?.offset ? { since: live.known.offset } : {};
    const text = JSON.stringify({ type: "subscribe", query: live.query, delta: true, ...since });
    live.takeBack = this.outbox.put(text, () => this.asked.push(live));
  }

  private end(live: Live): void {
    this.all.delete(live);
    this.undrawn.delete(live);
    live.takeBack();
    if (live.id !== null) this.unsubscribe(live.id);
    // One that is asked already is ended by `created`, when its id is known.
  }

  private unsubscribe(id: string): void {
    this.byId.delete(id);
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

  private keep(live: Live, text: string | null): void {
    this.undrawn.set(live, { text, since: this.undrawn.get(live)?.since ?? this.frames });
    this.schedule();
  }

  /** Reads an update. A delta builds on the result before it; one that does not fit it is asked for as a whole. */
  private read(live: Live, message: Record<string, unknown>): void {
    this.readText(live);
    const delta = message["delta"] === true;
    const update = delta ? live.known && applyDelta(live.known, message) : readUpdate(message);
    if (update) {
      live.known = update;
      this.keep(live, null);
    } else if (delta && live.id !== null) {
      this.unsubscribe(live.id);
      live.id = live.known = null;
      this.ask(live);
    }
  }

  /** Reads the complete result that waits for it, if there is one. */
  private readText(live: Live): void {
    const text = this.undrawn.get(live)?.text;
    const message = text ? parseMessage(text) : null;
    if (message) live.known = readUpdate(message) ?? live.known;
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.nextFrame((room) => this.flush(room));
  }

  private flush(room: number): number {
    this.scheduled = false;
    const drawn = this.next(room);
    for (const live of drawn) {
      this.readText(live);
      this.undrawn.delete(live);
      if (live.known) live.watcher.update(live.known);
    }
    if (this.undrawn.size > 0) this.schedule();
    return drawn.length;
  }

  /** What to draw now: what has waited long, then the lightest first, so that a single new value need not wait for
   * fifty full charts; of equal ones the first on the page, so that what changes in a frame lies together. */
  private next(room: number): Live[] {
    const frame = ++this.frames;
    const order = ([live, { text, since }]: [Live, Undrawn]): number => {
      if (frame % 2 === 0 && frame - since > PATIENCE) return since - frame;
      return text !== null ? text.length : weight(live.known);
    };
    return [...this.undrawn]
      .map((each) => ({ live: each[0], order: order(each) }))
      .sort((a, b) => a.order - b.order || a.live.place - b.live.place)
      .slice(0, room)
      .map(({ live }) => live);
  }
}

/** About how long the text of a result is. */
function weight(known: Update | null): number {
  return known === null ? 0 : NUMBER * known.columns.times.length * (1 + 2 * known.columns.series.length);
}
