import { quantity } from "../format";
import type { Model } from "../model";

interface Props {
  model: Model;
  unit: string;
  isolated: string | null;
  isolate(label: string | null): void;
}

/** The groups of a chart, the largest first; a click shows one alone. */
export function Legend({ model, unit, isolated, isolate }: Props) {
  return (
    <ul class="legend" aria-label="Groups">
      {model.legend.map(({ label, colour, value }) => {
        const { number, unit: shown } = quantity(value, unit);
        const alone = isolated === label;
        return (
          <li key={label}>
            <button type="button" aria-pressed={alone} title={label} onClick={() => isolate(alone ? null : label)}>
              <span class={`swatch series-${colour}`} aria-hidden="true" />
              <bdi>{label}</bdi>
              <span class="legend-value">{shown && shown !== unit ? `${number} ${shown}` : number}</span>
            </button>
          </li>
        );
      })}
      {model.beyond > 0 && <li class="beyond">{model.beyond} smaller not drawn</li>}
    </ul>
  );
}
