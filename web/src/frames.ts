// When to draw, and how much at once: short frames, and a bound on the share of time that drawing takes.

/** Draws up to `room` things and says how many it drew. */
export type Draw = (room: number) => number;
/** Calls it before a next frame. */
export type NextFrame = (draw: Draw) => void;

interface Screen {
  now(): number;
  /** Calls before the next paint. */
  frame(call: () => void): void;
  later(call: () => void, ms: number): void;
}

/** What a frame may take, ms, paint included. */
const FRAME = 40;
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

  const earn = (): void => {
    const now = screen.now();
    credit = Math.min(SAVED, credit + (now - counted) * SHARE);
    counted = now;
  };

  return (draw) => {
    const run = (): void => {
      const start = screen.now();
      const drawn = draw(Math.max(1, Math.floor(FRAME / each)));
      // After the paint, which the frame has to pay for as well.
      screen.later(() => {
        const took = screen.now() - start;
        earn();
        credit -= took;
        if (drawn > 0) each = Math.max(0.5, 0.7 * each + (0.3 * took) / drawn);
      }, 0);
    };
    earn();
    if (credit > 0) screen.frame(run);
    else screen.later(() => screen.frame(run), Math.min(250, -credit / SHARE));
  };
}
