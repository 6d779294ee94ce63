// uPlot, dressed in the page's colours: lines without points, a band behind them, a crosshair shared by all charts.

import { effect } from "@preact/signals";
import uPlot from "uplot";
import { extent, niceCeiling } from "./columns";
import { clockMinute, clockTime, dayOf, isBinary, onAxis, timesAreUtc } from "./format";
import type { DrawnLine, Model } from "./model";
import { drawBehind, drawThresholds, type Overlay } from "./overlay";
import type { Plan } from "./plans";
import { dark } from "./theme";

const CROSSHAIR = "time";
const BINARY_STEPS = Array.from({ length: 60 }, (_, power) => 2 ** power);
const DECIMAL_STEPS = Array.from({ length: 40 }, (_, i) => i - 15).flatMap((power) =>
  [1, 2, 2.5, 5].map((n) => Number(`${n}e${power}`)),
);
/** More lines than these are drawn thin: they are told apart better, and a browser without a graphics card draws a line
 * of one pixel four times as fast as a wider one. */
const FEW = 4;
/** A drag shorter than this, in pixels, is a click. */
const DRAG = 6;

/** Colours of the theme in force: asking the document for one costs more than drawing with it. */
const colours = new Map<string, string>();

function colour(name: string): string {
  let found = colours.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    colours.set(name, found);
  }
  return found;
}

effect(() => {
  void dark.value;
  colours.clear();
});

/** What the reader does with a chart; times in ms. */
export interface Acts {
  hover(index: number | null): void;
  zoom(from: number, to: number): void;
  back(): void;
}

export interface Edges {
  from: number;
  to: number;
}

export class Chart {
  private readonly plot: uPlot;
  private readonly sizes: ResizeObserver;
  private readonly forgetTheme: () => void;
  private unit = "";
  private overlay: Overlay | null = null;
  private edges: Edges = { from: Date.now() - 900_000, to: Date.now() };

  constructor(
    private readonly box: HTMLElement,
    private readonly plan: Plan,
    lines: DrawnLine[],
    private readonly acts: Acts,
  ) {
    const empty: uPlot.AlignedData = [[], ...lines.map(() => [])];
    this.plot = new uPlot(this.options(lines), empty, box);
    this.sizes = new ResizeObserver(() => {
      const { width, height } = this.size();
      if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
    });
    this.sizes.observe(box);
    this.forgetTheme = effect(() => {
      void dark.value;
      this.plot.redraw(false, true);
    });
  }

  /** Draws the model between the edges. Its lines must be those the chart was made with. */
  show(model: Pick<Model, "times" | "rows"> | null, unit: string, edges: Edges, overlay: Overlay | null = null): void {
    this.unit = unit;
    this.overlay = overlay;
    this.edges = edges;
    if (model) this.plot.setData([model.times, ...model.rows] as uPlot.AlignedData);
    else this.plot.setData(this.plot.data);
  }

  /** Shows one line alone, or with null all. */
  isolate(line: number | null): void {
    this.plot.batch(() => {
      for (let i = 1; i < this.plot.series.length; i++) {
        const show = line === null || line === i - 1;
        if (this.plot.series[i]!.show !== show) this.plot.setSeries(i, { show });
      }
    });
  }

  destroy(): void {
    this.forgetTheme();
    this.sizes.disconnect();
    this.plot.destroy();
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(120, this.box.clientWidth), height: Math.max(80, this.box.clientHeight) };
  }

  private options(lines: DrawnLine[]): uPlot.Options {
    return {
      ...this.size(),
      ms: 1,
      tzDate: (ms) => (timesAreUtc() ? uPlot.tzDate(new Date(ms), "Etc/UTC") : new Date(ms)),
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: {
        // Only where the pointer is goes to the other charts; a drag is this chart's own.
        sync: {
          key: CROSSHAIR,
          scales: ["x", null],
          filters: { pub: (type) => type === "mousemove" || type === "mouseleave" },
        },
        drag: { x: true, y: false, setScale: false, dist: DRAG },
        bind: { dblclick: () => () => (this.acts.back(), null) },
        points: { size: 5 },
        y: false,
      },
      scales: {
        x: { time: true, range: () => [this.edges.from, this.edges.to] },
        y: { range: () => this.heights() },
      },
      axes: [
        { ...this.axis(), size: 24, space: 72, values: (_, times) => this.labels(times) },
        {
          ...this.axis(),
          size: 58,
          space: 26,
          incrs: () => (isBinary(this.unit) ? BINARY_STEPS : DECIMAL_STEPS),
          values: (_, values) => values.map((v) => onAxis(v, this.unit)),
        },
      ],
      series: [{}, ...lines.map((line) => this.line(line, lines.length > FEW))],
      bands: this.bands(lines),
      hooks: {
        drawClear: [(u) => void (this.overlay && drawBehind(u, this.overlay, colour))],
        draw: [(u) => void (this.overlay && drawThresholds(u, this.overlay, colour))],
        setCursor: [(u) => this.acts.hover(u.cursor.idx ?? null)],
        setSelect: [(u) => this.selected(u)],
      },
    };
  }

  private selected(u: uPlot): void {
    const { left, width } = u.select;
    if (width < DRAG) return;
    const [from, to] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.acts.zoom(from, to);
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

  private labels(times: number[]): string[] {
    const days = this.edges.to - this.edges.from > 20 * 3_600_000;
    return times.map((time) => {
      if (time % 60_000 !== 0) return clockTime(time);
      const text = clockMinute(time);
      return days && text === "00:00" ? dayOf(time) : text;
    });
  }

  private line({ role, colour: place }: DrawnLine, thin: boolean): uPlot.Series {
    const edgeOfBand = role === "low" || role === "high";
    const stairs = this.plan.shape === "stairs";
    const ink = place ? `--series-${place}` : role === "main" ? "--data" : "--data-soft";
    const series: uPlot.Series = {
      stroke: () => (edgeOfBand ? "transparent" : colour(ink)),
      width: role === "main" ? 1.75 : role === "group" && !thin ? 1.5 : edgeOfBand ? 0 : 1,
      points: { show: false, filter: edgeOfBand || stairs ? () => null : alone, size: 5, fill: () => colour(ink) },
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
    const shown = this.plot.data.slice(1).filter((_, i) => this.plot.series[i + 1]?.show !== false);
    const found = extent([...(shown as (number | null)[][]), (this.overlay?.thresholds ?? []).map(({ value }) => value)]);
    if (!found) return [0, 1];
    const [min, max] = found;
    if (this.plan.fromZero && min >= 0) return [0, this.ceiling(max)];
    const span = max - min || Math.abs(max) * 0.2 || 1;
    const low = min - span * 0.15;
    return [min >= 0 && low < 0 ? 0 : low, max + span * 0.15];
  }
}

/** The values that stand between two gaps: no line reaches them, so they are drawn as a point. */
function alone(u: uPlot, index: number): number[] | null {
  const values = u.data[index] as (number | null | undefined)[];
  // undefined is no gap: the line runs on over it.
  const gap = (i: number): boolean => i < 0 || i >= values.length || values[i] === null;
  const found = [...values.keys()].filter((i) => typeof values[i] === "number" && gap(i - 1) && gap(i + 1));
  return found.length ? found : null;
}
