import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Chart, type Edges } from "../chart";
import type { Model } from "../model";
import type { Overlay } from "../overlay";
import type { Plan } from "../plans";
import { zone } from "../theme";
import { zoomBack, zoomInto } from "../view";

interface Props {
  plan: Plan;
  unit: string;
  model: Model | null;
  edges: Edges;
  /** The line shown alone, null for all. */
  isolated: number | null;
  /** When something fired, and when something was unusual. */
  bands: Overlay["bands"];
  unusual: Overlay["unusual"];
  onHover(index: number | null): void;
}

/** The picture itself; what it says stands in the figure's label and in the table. */
export function ChartView({ plan, unit, model, edges, isolated, bands, unusual, onHover }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const lines = model?.lines ?? [];
  // Another set of lines is another chart; the same set with other values is not.
  const made = `${zone.value} ${plan.shape} ${lines.map(({ label, role, colour }) => `${role}${colour}${label}`).join("\n")}`;

  // Before the paint: a chart that is made anew must not vanish for a frame, or from under the pointer.
  useLayoutEffect(() => {
    const acts = { hover: onHover, zoom: zoomInto, back: () => void zoomBack() };
    const drawn = box.current && new Chart(box.current, plan, lines, acts);
    chart.current = drawn;
    return () => drawn?.destroy();
  }, [plan, made]);

  // With the words of the panel, in one frame.
  const overlay = bands.length + unusual.length > 0 ? { bands, unusual, thresholds: [], coarse: [] } : null;
  const shown = [made, model, unit, edges.from, edges.to, bands, unusual];
  useLayoutEffect(() => chart.current?.show(model, unit, edges, overlay), shown);
  useEffect(() => chart.current?.isolate(isolated), [made, isolated]);

  return <div class="chart" ref={box} aria-hidden="true" />;
}
