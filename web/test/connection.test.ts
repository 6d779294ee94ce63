import { beforeEach, describe, expect, it } from "vitest";
import {
  backOff,
  Connection,
  LONGEST_WAIT,
  PATIENCE,
  SILENCE,
  type ConnectionState,
  type Socket,
} from "../src/connection";

class FakeSocket implements Socket {
  sent: string[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((text: string) => void) | null = null;
  onclose: (() => void) | null = null;
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.closed = true;
  }
}

/** A world whose clock moves only when told. */
class FakeWorld {
  time = 0;
  sockets: FakeSocket[] = [];
  diagnosis = { reason: "The server does not answer.", final: false };
  private timers: { at: number; call: () => void }[] = [];

  open = (): Socket => {
    const socket = new FakeSocket();
    this.sockets.push(socket);
    return socket;
  };
  now = (): number => this.time;
  random = (): number => 1;
  diagnose = async (): Promise<{ reason: string; final: boolean }> => this.diagnosis;
  later = (call: () => void, ms: number): (() => void) => {
    const timer = { at: this.time + ms, call };
    this.timers.push(timer);
    return () => (this.timers = this.timers.filter((other) => other !== timer));
  };

  pass(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const next = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.timers = this.timers.filter((other) => other !== next);
      this.time = next.at;
      next.call();
    }
    this.time = end;
  }

  get socket(): FakeSocket {
    return this.sockets[this.sockets.length - 1]!;
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

describe("back-off", () => {
  it("doubles up to its bound and spreads over the upper half", () => {
    expect([0, 1, 2, 3].map((n) => backOff(n, 1))).toEqual([500, 1000, 2000, 4000]);
    expect(backOff(0, 0)).toBe(250);
    expect(backOff(1000, 1)).toBe(LONGEST_WAIT);
  });
});

describe("connection", () => {
  let world: FakeWorld;
  let states: ConnectionState[];
  let messages: string[];
  let opens: number;
  let line: Connection;
  const phases = (): string[] => states.map(({ phase }) => phase);

  beforeEach(() => {
    world = new FakeWorld();
    states = [];
    messages = [];
    opens = 0;
    line = new Connection(world, {
      state: (state) => states.push(state),
      message: (text) => messages.push(text),
      open: () => opens++,
    });
    line.start();
  });

  it("connects, hands on messages and sends", () => {
    expect(line.send("too early")).toBe(false);
    world.socket.onopen!();
    world.socket.onmessage!("hello");
    expect(line.send("hi")).toBe(true);
    expect(world.socket.sent).toEqual(["hi"]);
    expect(messages).toEqual(["hello"]);
    expect(phases()).toEqual(["connecting", "connected"]);
  });

  it("comes back after a loss and says when", () => {
    world.socket.onopen!();
    world.socket.onclose!();
    expect(states.at(-1)).toMatchObject({ phase: "reconnecting", retryAt: 500 });
    world.pass(499);
    expect(world.sockets.length).toBe(1);
    world.pass(1);
    expect(world.sockets.length).toBe(2);
    world.socket.onopen!();
    expect(opens).toBe(2);
  });

  it("waits longer after each failure, and starts small again once connected", async () => {
    world.socket.onclose!();
    await settle();
    world.pass(500);
    world.socket.onclose!();
    await settle();
    expect(states.at(-1)).toMatchObject({ phase: "reconnecting", retryAt: 500 + 1000 });
    world.pass(1000);
    world.socket.onopen!();
    world.socket.onclose!();
    expect(states.at(-1)).toMatchObject({ retryAt: 1500 + 500 });
  });

  it("gives the reason of a refusal, and stops when waiting would not help", async () => {
    world.diagnosis = { reason: "This server asks for a key.", final: true };
    world.socket.onclose!();
    await settle();
    expect(states.at(-1)).toEqual({ phase: "disconnected", reason: "This server asks for a key." });
    world.pass(60_000);
    expect(world.sockets.length).toBe(1);
    line.restart();
    expect(world.sockets.length).toBe(2);
  });

  it("does not let a late diagnosis undo a new attempt", async () => {
    world.diagnosis = { reason: "gone", final: true };
    world.socket.onclose!();
    world.pass(500);
    await settle();
    expect(states.at(-1)).toEqual({ phase: "connecting" });
  });

  it("asks a silent line for a sign of life and drops it without one", () => {
    world.socket.onopen!();
    world.pass(SILENCE);
    expect(world.socket.sent).toEqual(['{"type":"ping"}']);
    world.socket.onmessage!('{"type":"pong"}');
    world.pass(SILENCE + PATIENCE - 1);
    expect(world.socket.closed).toBe(false);
    world.pass(1);
    expect(world.sockets[0]!.closed).toBe(true);
    expect(states.at(-1)!.phase).toBe("reconnecting");
  });

  it("gives up an attempt that never opens", async () => {
    world.pass(PATIENCE);
    expect(world.sockets[0]!.closed).toBe(true);
    await settle();
    expect(states.at(-1)!.phase).toBe("reconnecting");
  });

  it("comes back when the server advised, within reason", () => {
    world.socket.onopen!();
    line.advise(3200);
    world.socket.onclose!();
    expect(states.at(-1)).toMatchObject({ retryAt: 3200 });
  });

  it("tries at once when asked, and never holds two lines", () => {
    world.socket.onopen!();
    world.socket.onclose!();
    line.start();
    line.start();
    expect(world.sockets.length).toBe(2);
    world.pass(60_000);
    expect(world.sockets.filter((s) => !s.closed).length).toBeLessThanOrEqual(1);
  });

  it("hears nothing from a line it has given up", () => {
    const old = world.socket;
    old.onopen!();
    const late = old.onmessage!;
    line.restart();
    late("late");
    expect(messages).toEqual([]);
  });
});
