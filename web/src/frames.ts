// When to draw, and how much at once: short frames, and a bound on the share of time that drawing takes.

/** Draws up to `room` things and says how many it drew. */
export type Draw = (room: number) => number;
/** Calls it as soon as what was drawn before is on the screen. */
export type NextFrame = (draw: Draw) => void;

interface Screen {
  now(): number;
  /** Calls before the next paint. */
  frame(call: () => void): void;
  later(call: () => void, ms: number): void;
}

/** What a frame may take, ms, paint included. A shorter one keeps a new value waiting for less; a longer one draws a
 * burst in fewer frames, each of which has a price of its own: without a graphics card the whole window is put together anew. */
const FRAME = 36;
/** The share of time that drawing may take in the long run, and how many ms of it can be saved up for a burst. */
export const SHARE = 0.5;
const SAVED = 400;

/**
 * Frames for drawing. Ranges slide all at once, so a page of many charts has bursts: they are drawn at once, a frame
 * at a time, from saved-up time; what comes faster than that in the long run waits.
 */
export function measuredFrames(screen: Screen): NextFrame {
  let credit = SAVED;
  let counted = screen.now();
  let each = 4; // ms that drawing one thing took lately
  let painting = false;
  let next: Draw | null = null;

  const earn = (): void => {
    const now = screen.now();
    credit = Math.min(SAVED, credit + (now - counted) * SHARE);
    counted = now;
  };

  const painted = (drawn: number, took: number): void => {
    earn();
    credit -= took;
    if (drawn > 0) each = Math.max(0.5, 0.7 * each + (0.3 * took) / drawn);
    painting = false;
    if (next) begin();
  };

  const begin = (): void => {
    painting = true;
    earn();
    screen.later(run, credit > 0 ? 0 : Math.min(250, -credit / SHARE));
  };

  const run = (): void => {
    const start = screen.now();
    const draw = next!;
    next = null;
    const drawn = draw(Math.max(1, Math.floor(FRAME / each)));
    const took = screen.now() - start;
    // The paint has to be paid for as well, but not the wait for it.
    screen.frame(() => {
      const framed = screen.now();
      screen.later(() => painted(drawn, took + screen.now() - framed), 0);
    });
  };

  return (draw) => {
    next = draw;
    if (!painting) begin();
  };
}
