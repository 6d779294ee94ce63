// uPlot, dressed in the page's colours: lines without points, a band behind them, a crosshair shared by all charts.

import uPlot from "uplot";
import { extent, niceCeiling } from "./columns";
import { clockMinute, clockTime, isBinary, onAxis } from "./format";
import type { DrawnLine, Model } from "./model";
import { RANGE, type Plan } from "./plans";

const HEIGHT = 132;
const CROSSHAIR = "time";
const BINARY_STEPS = Array.from({ length: 60 }, (_, power) => 2 ** power);
const DECIMAL_STEPS = Array.from({ length: 40 }, (_, i) => i - 15).flatMap((power) =>
  [1, 2, 2.5, 5].map((n) => Number(`${n}e${power}`)),
);
const dark = matchMedia("(prefers-color-scheme: dark)");

/** A colour of the theme in force. */
function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class Chart {
  private readonly plot: uPlot;
  private readonly sizes: ResizeObserver;
  private readonly repaint = (): void => this.plot.redraw(false, true);
  private unit = "";
  private edge = Date.now();

  constructor(
    private readonly box: HTMLElement,
    private readonly plan: Plan,
    lines: DrawnLine[],
    private readonly onHover: (index: number | null) => void,
  ) {
    const empty: uPlot.AlignedData = [[], ...lines.map(() => [])];
    this.plot = new uPlot(this.options(lines), empty, box);
    this.sizes = new ResizeObserver(() => this.plot.setSize({ width: this.width(), height: HEIGHT }));
    this.sizes.observe(box);
    dark.addEventListener("change", this.repaint);
  }

  /** Draws the model with its right edge at `now`, ms. */
  show(model: Model | null, unit: string, now: number): void {
    this.unit = unit;
    this.edge = Math.max(now, model?.times[model.times.length - 1] ?? 0);
    if (model) this.plot.setData([model.times, ...model.rows] as uPlot.AlignedData);
    else this.plot.setData(this.plot.data);
  }

  destroy(): void {
    dark.removeEventListener("change", this.repaint);
    this.sizes.disconnect();
    this.plot.destroy();
  }

  private width(): number {
    return Math.max(120, this.box.clientWidth);
  }

  private options(lines: DrawnLine[]): uPlot.Options {
    return {
      width: this.width(),
      height: HEIGHT,
      ms: 1,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: CROSSHAIR, scales: ["x", null] },
        drag: { x: false, y: false, setScale: false },
        points: { size: 5 },
        y: false,
      },
      scales: {
        x: { time: true, range: () => [this.edge - RANGE.ms, this.edge] },
        y: { range: () => this.heights() },
      },
      axes: [
        { ...this.axis(), size: 24, space: 72, values: (_, times) => times.map(labelOfTime) },
        {
          ...this.axis(),
          size: 58,
          space: 26,
          incrs: () => (isBinary(this.unit) ? BINARY_STEPS : DECIMAL_STEPS),
          values: (_, values) => values.map((v) => onAxis(v, this.unit)),
        },
      ],
      series: [{}, ...lines.map((line) => this.line(line))],
      bands: this.bands(lines),
      hooks: { setCursor: [(u) => this.onHover(u.cursor.idx ?? null)] },
    };
  }

  private axis(): Pick<uPlot.Axis, "stroke" | "grid" | "ticks" | "font" | "gap"> {
    return {
      stroke: () => colour("--faint-text"),
      grid: { stroke: () => colour("--hairline"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
      gap: 4,
    };
  }

  private line({ role }: DrawnLine): uPlot.Series {
    const edgeOfBand = role === "low" || role === "high";
    const stairs = this.plan.shape === "stairs";
    const series: uPlot.Series = {
      stroke: () => (edgeOfBand ? "transparent" : colour(role === "main" ? "--data" : "--data-soft")),
      width: role === "main" ? 1.75 : edgeOfBand ? 0 : 1,
      points: { show: false, filter: edgeOfBand || stairs ? () => null : alone, size: 5, fill: () => colour("--data") },
    };
    if (role === "held" && !stairs) series.dash = [4, 4];
    if (stairs && uPlot.paths.stepped) series.paths = uPlot.paths.stepped({ align: 1 });
    return series;
  }

  private bands(lines: DrawnLine[]): uPlot.Band[] {
    const low = lines.findIndex(({ role }) => role === "low");
    const high = lines.findIndex(({ role }) => role === "high");
    return low < 0 || high < 0 ? [] : [{ series: [high + 1, low + 1], fill: () => colour("--data-band") }];
  }

  private ceiling(max: number): number {
    return isBinary(this.unit) && max > 0 ? 2 ** Math.ceil(Math.log2(max)) : niceCeiling(max);
  }

  /** The value axis: from 0 to a round number for amounts, close around the data for levels. */
  private heights(): [number, number] {
    const found = extent(this.plot.data.slice(1) as (number | null)[][]);
    if (!found) return [0, 1];
    const [min, max] = found;
    if (this.plan.fromZero && min >= 0) return [0, this.ceiling(max)];
    const span = max - min || Math.abs(max) * 0.2 || 1;
    const low = min - span * 0.15;
    return [min >= 0 && low < 0 ? 0 : low, max + span * 0.15];
  }
}

function labelOfTime(time: number): string {
  return time % 60_000 === 0 ? clockMinute(time) : clockTime(time);
}

/** The values that stand between two gaps: no line reaches them, so they are drawn as a point. */
function alone(u: uPlot, index: number): number[] | null {
  const values = u.data[index] as (number | null | undefined)[];
  // undefined is no gap: the line runs on over it.
  const gap = (i: number): boolean => i < 0 || i >= values.length || values[i] === null;
  const found = [...values.keys()].filter((i) => typeof values[i] === "number" && gap(i - 1) && gap(i + 1));
  return found.length ? found : null;
}
