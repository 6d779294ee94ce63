import { useRef } from "preact/hooks";
import { quantity } from "../format";
import type { LegendEntry, Model } from "../model";

interface Props {
  model: Model;
  unit: string;
  /** Whether the values go on changing. */
  moving: boolean;
  isolated: string | null;
  isolate(label: string | null): void;
}

/** How long the entries keep their places while their values change, ms: one can read them, and click the right one. */
const STEADY = 10_000;
/** Longer ones may be cut off. */
const LONG = 20;

/** The groups of a chart, the largest first; a click shows one alone. */
export function Legend({ model, unit, moving, isolated, isolate }: Props) {
  const entries = useSteady(model.legend, moving);
  return (
    <ul class="legend" aria-label="Groups">
      {entries.map(({ label, colour, value }) => {
        const { number, unit: shown } = quantity(value, unit);
        const alone = isolated === label;
        return (
          <li key={label}>
            <button type="button" aria-pressed={alone} title={label} onClick={() => isolate(alone ? null : label)}>
              <span class={`swatch series-${colour}`} aria-hidden="true" />
              <bdi class={label.length > LONG ? "long" : undefined}>{label}</bdi>
              <span class="legend-value">{shown && shown !== unit ? `${number} ${shown}` : number}</span>
            </button>
          </li>
        );
      })}
      {model.beyond > 0 && <li class="beyond">{model.beyond} smaller not drawn</li>}
    </ul>
  );
}

/** The entries in the order they had a moment ago, as long as they are the same ones and move. */
function useSteady(entries: LegendEntry[], moving: boolean): LegendEntry[] {
  const kept = useRef({ at: -Infinity, labels: [] as string[] });
  const byLabel = new Map(entries.map((entry) => [entry.label, entry]));
  const { at, labels } = kept.current;
  const same = labels.length === entries.length && labels.every((label) => byLabel.has(label));
  if (moving && same && performance.now() - at < STEADY) return labels.map((label) => byLabel.get(label)!);
  kept.current = { at: performance.now(), labels: entries.map(({ label }) => label) };
  return entries;
}
