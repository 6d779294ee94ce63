import { useEffect, useRef } from "preact/hooks";
import { Chart } from "../chart";
import type { DrawnLine, Model } from "../model";
import type { Plan } from "../plans";

interface Props {
  plan: Plan;
  lines: DrawnLine[];
  unit: string;
  model: Model | null;
  now: number;
  onHover(index: number | null): void;
}

/** The picture itself; what it says stands in the figure's label and in the table. */
export function ChartView({ plan, lines, unit, model, now, onHover }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);

  useEffect(() => {
    const made = box.current && new Chart(box.current, plan, lines, onHover);
    chart.current = made;
    return () => made?.destroy();
  }, [plan]);

  useEffect(() => chart.current?.show(model, unit, now), [model, unit, now]);

  return <div class="chart" ref={box} aria-hidden="true" />;
}
