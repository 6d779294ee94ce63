import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Chart, type Edges } from "../chart";
import { clockTime, duration, plural, withUnit } from "../format";
import type { Overlay } from "../overlay";
import type { Plan } from "../plans";
import { zone } from "../theme";
import { bandsOf, thresholdsOf } from "./marks";
import type { AlertMembers, Episode } from "./protocol";
import type { Drawn } from "./sample";
import { conditionText } from "./words";

const PLAN: Plan = { shape: "value", fromZero: false, lines: [] };

interface Props {
  rule: AlertMembers;
  unit: string;
  drawn: Drawn;
  episodes: Episode[];
  coarse: Overlay["coarse"];
  edges: Edges;
}

/** The values that the rule saw, its thresholds across them, and behind them when it would have fired. */
export function PreviewChart({ rule, unit, drawn, episodes, coarse, edges }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const [zoomed, zoom] = useState<Edges | null>(null);
  const [at, hover] = useState<number | null>(null);
  const made = `${zone.value} ${drawn.lines.map(({ label }) => label).join("\n")}`;
  const shown = zoomed ?? edges;
  useEffect(() => zoom(null), [edges.from, edges.to]);

  useLayoutEffect(() => {
    const acts = { hover, zoom: (from: number, to: number) => zoom({ from, to }), back: () => zoom(null) };
    const one = box.current && new Chart(box.current, PLAN, drawn.lines, acts);
    chart.current = one;
    return () => one?.destroy();
  }, [made]);
  useLayoutEffect(() => {
    chart.current?.show(drawn, unit, shown, { bands: bandsOf(episodes), unusual: [], thresholds: thresholdsOf(rule), coarse });
  }, [made, drawn, episodes, unit, shown.from, shown.to]);

  const every = (drawn.times[1] ?? 0) - (drawn.times[0] ?? 0);
  const said = `${conditionText(rule, unit)}: ${drawn.lines.length === 0 ? "no value" : plural(drawn.lines.length, "line")} over ${duration(edges.to - edges.from)}, ${episodes.length === 0 ? "never firing" : `firing ${plural(episodes.length, "time")}`}.`;
  return (
    <figure aria-label={said}>
      <div class="chart" ref={box} aria-hidden="true" />
      {drawn.lines.length > 1 && (
        <p class="lines-named">
          {drawn.lines.map(({ label, colour }) => (
            <span key={label}>
              <span class={`swatch series-${colour}`} aria-hidden="true" />
              <bdi>{label}</bdi>
            </span>
          ))}
        </p>
      )}
      <p class="readout count" aria-hidden="true">
        {at !== null && drawn.times[at] !== undefined ? <Readout drawn={drawn} at={at} unit={unit} /> : drawn.lines.length === 0 ? "There is no value in this time." : `${every > 0 ? `A point every ${duration(every)}; the rule looks more often. ` : ""}Drag: zoom; double click: back.`}
        {drawn.beyond > 0 && ` ${drawn.beyond} smaller lines are not drawn.`}
      </p>
    </figure>
  );
}

function Readout({ drawn, at, unit }: { drawn: Drawn; at: number; unit: string }) {
  const values = drawn.lines
    .map(({ label }, line) => ({ label, value: drawn.rows[line]?.[at] ?? null }))
    .filter(({ value }) => value !== null)
    .sort((a, b) => b.value! - a.value!);
  return (
    <>
      {clockTime(drawn.times[at]!)} <bdi>{values.map(({ label, value }) => `${label} ${withUnit(value, unit)}`).join(" · ") || "no number"}</bdi>
    </>
  );
}
