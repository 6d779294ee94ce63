// What alerts add to a chart: when something fired behind the lines, and thresholds across them.

import type uPlot from "uplot";

/** A stretch of time, ms; `to` is null while it goes on. */
export interface Stretch {
  from: number;
  to: number | null;
}

export interface Overlay {
  bands: readonly (Stretch & { level: "warning" | "critical" })[];
  /** Lines across; a dashed one is where a level is left again. */
  thresholds: readonly { value: number; level: "warning" | "critical"; dashed: boolean }[];
  /** Stretches in which a watched series was anomalous: a ribbon along the bottom. */
  unusual: readonly Stretch[];
  /** Stretches that are known less finely, underlined. */
  coarse: readonly { from: number; to: number }[];
}

type Colour = (name: string) => string;
const INK = { critical: "--firing", warning: "--warn" } as const;
/** Device pixels. */
const EDGE = 3;
const RIBBON = 8;
const LEAST = 2;

/** Behind the lines: a ground for each stretch, with a bar on top, so that not colour alone says it. */
export function drawBehind(u: uPlot, overlay: Overlay, colour: Colour): void {
  const { ctx, bbox } = u;
  ctx.save();
  for (const { from, to, level } of overlay.bands) {
    const place = between(u, from, to);
    if (!place) continue;
    ctx.fillStyle = colour(`${INK[level]}-band`);
    ctx.fillRect(place.left, bbox.top, place.width, bbox.height);
    ctx.fillStyle = colour(INK[level]);
    ctx.fillRect(place.left, bbox.top, place.width, EDGE);
  }
  drawAlong(u, overlay.unusual, colour("--unusual"), RIBBON);
  drawAlong(u, overlay.coarse, colour("--outline"), EDGE);
  ctx.restore();
}

/** A strip along the bottom, so many pixels high. */
function drawAlong(u: uPlot, stretches: readonly Stretch[], ink: string, height: number): void {
  const { ctx, bbox } = u;
  ctx.fillStyle = ink;
  for (const { from, to } of stretches) {
    const place = between(u, from, to);
    if (place) ctx.fillRect(place.left, bbox.top + bbox.height - height, place.width, height);
  }
}

/** Over the lines. */
export function drawThresholds(u: uPlot, overlay: Overlay, colour: Colour): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.lineWidth = EDGE / 2;
  for (const { value, level, dashed } of overlay.thresholds) {
    const y = Math.round(u.valToPos(value, "y", true));
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.strokeStyle = colour(INK[level]);
    ctx.setLineDash(dashed ? [2 * EDGE, 2 * EDGE] : []);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

/** Where a stretch lies on the canvas, at least LEAST wide; null where it lies outside. */
function between(u: uPlot, from: number, to: number | null): { left: number; width: number } | null {
  const { min = null, max = null } = u.scales["x"]!;
  if (min === null || max === null || from > max || (to !== null && to < min)) return null;
  const left = u.valToPos(Math.max(from, min), "x", true);
  const right = u.valToPos(Math.min(to ?? max, max), "x", true);
  return { left, width: Math.max(LEAST, right - left) };
}
