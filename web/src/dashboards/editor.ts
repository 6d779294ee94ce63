// One dashboard being edited: every change is saved by itself, can be taken back, and never overwrites a colleague's.

import { batch, signal } from "@preact/signals";
import type { Content, Dashboard, Documents, Widget } from "./documents";

export type SaveState =
  | { phase: "saved" }
  /** Changed, and about to be saved. */
  | { phase: "changed" }
  | { phase: "saving" }
  /** Not saved; tried again by itself. */
  | { phase: "failed"; message: string }
  /** Somebody else has changed it since: one of the two must be chosen. */
  | { phase: "conflict" }
  /** Somebody else has deleted it. */
  | { phase: "gone" };

export interface World {
  now(): number;
  /** Calls once after `ms`; the answer cancels. */
  later(call: () => void, ms: number): () => void;
}

/** A change is saved when nothing followed it for this long. */
export const PAUSE = 500;
export const RETRY = 3_000;
/** Changes of the same thing within this time are one step of undo, so that it does not take back single letters. */
export const ONE_STEP = 1_500;
const MAX_STEPS = 100;

interface Step {
  content: Content;
  what: string;
}

export class Editor {
  readonly board;
  readonly state = signal<SaveState>({ phase: "saved" });
  readonly canUndo = signal(false);
  readonly canRedo = signal(false);
  private past: Step[] = [];
  private future: Step[] = [];
  private lastChange = { what: "", at: -Infinity };
  private cancel: () => void = () => undefined;
  private closed = false;

  constructor(
    board: Dashboard,
    private readonly documents: Documents,
    private readonly world: World,
  ) {
    this.board = signal(board);
  }

  rename(name: string): void {
    this.change("the name", { name });
  }

  add(widget: Widget): void {
    this.change(`adding ${widget.title}`, { widgets: [...this.board.peek().widgets, widget] });
  }

  remove(id: string): void {
    const { widgets } = this.board.peek();
    const gone = widgets.find((widget) => widget.id === id);
    if (gone) this.change(`removing ${gone.title}`, { widgets: widgets.filter((widget) => widget !== gone) });
  }

  /** Moves a widget by so many places; the answer is its new place from 0, or null where it cannot go further. */
  move(id: string, by: number): number | null {
    const widgets = [...this.board.peek().widgets];
    const from = widgets.findIndex((widget) => widget.id === id);
    const to = from + by;
    if (from < 0 || to < 0 || to >= widgets.length) return null;
    widgets.splice(to, 0, ...widgets.splice(from, 1));
    this.change(`moving ${id}`, { widgets });
    return to;
  }

  undo(): void {
    this.step(this.past, this.future);
  }

  redo(): void {
    this.step(this.future, this.past);
  }

  /** Saves what is not saved yet, without waiting for the pause. */
  async flush(): Promise<void> {
    if (this.state.peek().phase === "changed" || this.state.peek().phase === "failed") await this.save();
  }

  /** Takes what the server has, where nothing of one's own is waiting. */
  async refresh(): Promise<void> {
    if (this.state.peek().phase !== "saved") return;
    const before = this.board.peek();
    const found = await this.documents.read(before.id).catch(() => null);
    if (found && this.state.peek().phase === "saved" && this.board.peek() === before && found.updated_at !== before.updated_at) {
      this.board.value = found;
    }
  }

  /** After a conflict: what the colleague has made; one's own stays one step of undo away. */
  async takeTheirs(): Promise<void> {
    const mine = this.board.peek();
    try {
      const theirs = await this.documents.read(mine.id);
      batch(() => {
        this.remember("what the colleague has made");
        this.board.value = theirs;
        this.state.value = { phase: "saved" };
      });
    } catch (error) {
      this.failed(error);
    }
  }

  /** After a conflict: one's own, over what the colleague has made. */
  async keepMine(): Promise<void> {
    await this.save(true);
  }

  /** After a deletion by somebody else: makes it anew; the answer is the new one. */
  async makeAnew(): Promise<Dashboard | null> {
    try {
      return await this.documents.create(this.board.peek());
    } catch (error) {
      this.failed(error);
      return null;
    }
  }

  async close(): Promise<void> {
    await this.flush();
    this.closed = true;
    this.cancel();
  }

  private change(what: string, part: Partial<Content>): void {
    const now = this.world.now();
    const same = what === this.lastChange.what && now - this.lastChange.at < ONE_STEP;
    this.lastChange = { what, at: now };
    batch(() => {
      if (!same) this.remember(what);
      this.board.value = { ...this.board.peek(), ...part };
      this.changed();
    });
  }

  private remember(what: string): void {
    const { name, description, widgets } = this.board.peek();
    this.past = [...this.past, { content: { name, description, widgets }, what }].slice(-MAX_STEPS);
    this.future = [];
    this.tellSteps();
  }

  private step(from: Step[], to: Step[]): void {
    const step = from.pop();
    if (!step) return;
    const { name, description, widgets } = this.board.peek();
    to.push({ content: { name, description, widgets }, what: step.what });
    this.lastChange = { what: "", at: -Infinity };
    batch(() => {
      this.board.value = { ...this.board.peek(), ...step.content };
      this.tellSteps();
      this.changed();
    });
  }

  private tellSteps(): void {
    this.canUndo.value = this.past.length > 0;
    this.canRedo.value = this.future.length > 0;
  }

  private changed(): void {
    const { phase } = this.state.peek();
    // A save that is under way looks for newer changes when it ends; a conflict waits for its answer.
    if (phase === "saving" || phase === "conflict" || phase === "gone") return;
    this.state.value = { phase: "changed" };
    this.plan(PAUSE);
  }

  private plan(ms: number): void {
    this.cancel();
    if (!this.closed) this.cancel = this.world.later(() => void this.save(), ms);
  }

  private async save(over: boolean = false): Promise<void> {
    this.cancel();
    const sent = this.board.peek();
    // A name cannot be empty; while it is being typed anew the one before stays.
    if (!sent.name.trim()) {
      this.state.value = { phase: "failed", message: "a dashboard needs a name" };
      return;
    }
    this.state.value = { phase: "saving" };
    try {
      const kept = await this.documents.replace(sent, over ? null : sent.updated_at);
      const now = this.board.peek();
      batch(() => {
        this.board.value = { ...now, updated_at: kept.updated_at };
        this.state.value = { phase: now === sent ? "saved" : "changed" };
      });
      if (now !== sent) this.plan(PAUSE);
    } catch (error) {
      this.failed(error);
    }
  }

  private failed(error: unknown): void {
    const { status, message } = error as { status?: number; message?: string };
    if (status === 409) this.state.value = { phase: "conflict" };
    else if (status === 404) this.state.value = { phase: "gone" };
    else {
      const reason = status === undefined ? "the server does not answer" : (message ?? "");
      this.state.value = { phase: "failed", message: reason };
      // What the server refuses it refuses again; the next change may mend it.
      if (status === undefined || status >= 500 || status === 429) this.plan(RETRY);
    }
  }
}
