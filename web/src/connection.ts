// One WebSocket that comes back by itself: back-off with jitter, a check that a silent line is alive, and a state that
// says what happens next. Sockets, clock and chance come from outside, so tests decide them.

export type ConnectionState =
  | { phase: "connecting" }
  | { phase: "connected" }
  /** Lost; tries again at `retryAt` (ms). */
  | { phase: "reconnecting"; retryAt: number; reason: string }
  /** Lost, and trying again would not help until somebody acts. */
  | { phase: "disconnected"; reason: string };

export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: (() => void) | null;
  onmessage: ((text: string) => void) | null;
  onclose: (() => void) | null;
}

export interface World {
  open(): Socket;
  now(): number;
  random(): number;
  /** Calls once after `ms`; the answer cancels. */
  later(call: () => void, ms: number): () => void;
  /** Asks why a connection was refused before it opened; a browser does not tell. */
  diagnose(): Promise<{ reason: string; final: boolean }>;
}

export interface Handlers {
  state(state: ConnectionState): void;
  message(text: string): void;
  open(): void;
}

export const FIRST_WAIT = 500;
export const LONGEST_WAIT = 15_000;
/** A line that was silent this long is asked for a sign of life, */
export const SILENCE = 20_000;
/** which must come within this time. */
export const PATIENCE = 10_000;

/** How long to wait before the given attempt (0 is the first): doubling, spread over its upper half. */
export function backOff(attempt: number, random: number): number {
  const full = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempt, 10));
  return Math.round(full * (0.5 + random / 2));
}

export class Connection {
  private socket: Socket | null = null;
  private opened = false;
  private attempt = 0;
  private asked = false;
  private advised: number | null = null;
  private cancelRetry: () => void = () => undefined;
  private cancelWatch: () => void = () => undefined;

  constructor(
    private readonly world: World,
    private readonly handlers: Handlers,
  ) {}

  /** Connects now, whatever was planned; does nothing on a line that is open or opening. */
  start(): void {
    if (this.socket) return;
    this.cancelRetry();
    this.opened = false;
    this.handlers.state({ phase: "connecting" });
    const socket = this.world.open();
    this.socket = socket;
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.opened = true;
      this.attempt = 0;
      this.advised = null;
      this.watch(SILENCE);
      this.handlers.state({ phase: "connected" });
      this.handlers.open();
    };
    socket.onmessage = (text) => {
      if (this.socket !== socket) return;
      this.asked = false;
      this.watch(SILENCE);
      this.handlers.message(text);
    };
    socket.onclose = () => this.lost(socket);
    this.watch(PATIENCE);
  }

  /** True when the text was handed to an open line. */
  send(text: string): boolean {
    if (!this.socket || !this.opened) return false;
    this.socket.send(text);
    return true;
  }

  /** The server is about to close the line and says when to come back. */
  advise(afterMs: number): void {
    this.advised = Math.min(Math.max(0, afterMs), LONGEST_WAIT);
  }

  /** Asks an open line for a sign of life at once, for example after the machine slept. */
  check(): void {
    if (this.socket && this.opened) this.silent();
    else this.start();
  }

  /** Drops the line and connects again, for example with another key. */
  restart(): void {
    this.drop();
    this.attempt = 0;
    this.start();
  }

  private watch(ms: number): void {
    this.cancelWatch();
    this.cancelWatch = this.world.later(() => this.silent(), ms);
  }

  private silent(): void {
    if (this.opened && !this.asked) {
      this.asked = true;
      this.socket?.send('{"type":"ping"}');
      this.watch(PATIENCE);
    } else if (this.socket) {
      this.lost(this.socket);
    }
  }

  private drop(): void {
    this.cancelWatch();
    this.cancelRetry();
    const socket = this.socket;
    this.socket = null;
    this.asked = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private lost(socket: Socket): void {
    if (this.socket !== socket) return;
    const wasOpen = this.opened;
    this.drop();
    this.opened = false;
    if (wasOpen) this.retry("The connection was lost.");
    else void this.refused();
  }

  private async refused(): Promise<void> {
    // Plan the next attempt first: the question may take long, or never be answered.
    this.retry("The server does not answer.");
    const attempt = this.attempt;
    const { reason, final } = await this.world.diagnose();
    if (this.socket || this.attempt !== attempt) return;
    if (final) {
      this.cancelRetry();
      this.handlers.state({ phase: "disconnected", reason });
    } else {
      this.handlers.state({ phase: "reconnecting", retryAt: this.retryAt, reason });
    }
  }

  private retryAt = 0;

  private retry(reason: string): void {
    const wait = this.advised ?? backOff(this.attempt, this.world.random());
    this.advised = null;
    this.attempt += 1;
    this.retryAt = this.world.now() + wait;
    this.cancelRetry = this.world.later(() => this.start(), wait);
    this.handlers.state({ phase: "reconnecting", retryAt: this.retryAt, reason });
  }
}
