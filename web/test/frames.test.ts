import { beforeEach, describe, expect, it } from "vitest";
import { measuredFrames, SHARE, type NextFrame } from "../src/frames";

let time: number;
let queue: { at: number; call: () => void }[];
let next: NextFrame;

/** Runs what is due until nothing is left or the time is over. */
function run(until: number): void {
  for (;;) {
    queue.sort((a, b) => a.at - b.at);
    const first = queue[0];
    if (!first || first.at > until) break;
    queue.shift();
    time = Math.max(time, first.at);
    first.call();
  }
  time = Math.max(time, until);
}

beforeEach(() => {
  time = 0;
  queue = [];
  next = measuredFrames({
    now: () => time,
    frame: (call) => void queue.push({ at: Math.floor(time / 16 + 1) * 16, call }),
    later: (call, ms) => void queue.push({ at: time + ms, call }),
  });
});

/** Draws a heap of things that take `cost` ms each: how much each frame drew, and when the last one ended. */
function heap(things: number, cost: number): { drawn: number[]; ended: number } {
  const found = { drawn: [] as number[], ended: 0 };
  let left = things;
  const draw = (room: number): number => {
    const now = Math.min(room, left);
    left -= now;
    time += now * cost;
    found.drawn.push(now);
    found.ended = time;
    if (left > 0) next(draw);
    return now;
  };
  next(draw);
  run(time + 60_000);
  expect(left).toBe(0);
  return found;
}

describe("frames", () => {
  it("draws a burst from what was saved up, in short frames", () => {
    const { drawn, ended } = heap(50, 2);
    expect(Math.max(...drawn) * 2).toBeLessThanOrEqual(60);
    expect(ended).toBeLessThan(250);
  });

  it("learns what a thing costs, so that no frame grows long", () => {
    const { drawn } = heap(200, 20);
    expect(drawn.slice(8).every((count) => count * 20 <= 40)).toBe(true);
  });

  it("takes no more than its share of the time in the long run", () => {
    const { ended } = heap(1000, 10);
    expect(10_000 / ended).toBeLessThan(SHARE * 1.15);
    expect(10_000 / ended).toBeGreaterThan(SHARE * 0.7);
  });

  it("goes on after a frame that drew nothing", () => {
    next(() => 0);
    run(100);
    expect(heap(3, 1).drawn).toEqual([3]);
  });

  it("begins at once, and goes on when what was drawn is on the screen", () => {
    time = 20; // a frame begins at 32
    const began: number[] = [];
    const draw = (): number => {
      began.push(time);
      if (began.length < 3) next(draw);
      time += 5;
      return 1;
    };
    next(draw);
    run(200);
    expect(began).toEqual([20, 32, 48]);
  });
});
