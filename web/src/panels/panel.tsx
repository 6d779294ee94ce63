import { useMemo, useRef, useState } from "preact/hooks";
import type { Item } from "../catalogue";
import { beat } from "../clock";
import { clockTime, duration } from "../format";
import { describe, drawnLines, kindText, markOf, valuesAt } from "../model";
import { planFor } from "../plans";
import { connection } from "../session";
import { ChartView } from "./chart-view";
import { Source } from "./source";
import { TableTwin } from "./table";
import { useNearScreen, useSource } from "./hooks";

export function Panel({ item }: { item: Item }) {
  const root = useRef<HTMLElement>(null);
  const plan = useMemo(() => planFor(item.kind, item.type), [item]);
  const lines = useMemo(() => drawnLines(plan), [plan]);
  const near = useNearScreen(root);
  const source = useSource(() => new Source(item.kind, item.name, plan), near);
  const [tabled, setTabled] = useState(false);
  const [hovered, setHovered] = useState<number | null>(null);

  const unit = item.unit.value;
  const connected = connection.value.phase === "connected";
  // Without the server nobody knows what came after the last result: the chart stands still there.
  const now = connected ? beat.value : (source.at.value ?? beat.value);
  const model = source.model(unit, now, connected);
  const mark = markOf({
    model,
    connected,
    error: source.error.value,
    shownAt: source.at.value,
    now,
  });
  const kind = kindText(item.kind, item.type, unit, item.series.value);
  const drawnUnit = plan.lines[0]!.aggregation === "count" ? "" : unit;

  return (
    <article class={`panel ${mark.state.replace(" ", "-")}`} ref={root}>
      <header>
        <h3 title={item.name}>
          <bdi>{item.name}</bdi>
        </h3>
        <span class="kind">{kind}</span>
        <span class="mark">
          <span class="dot" aria-hidden="true" />
          <span class="mark-text">{mark.text}</span>
        </span>
      </header>
      <p class="headline">
        <span class="number">{model?.headline.number ?? "–"}</span>
        {model?.headline.unit && <span class="unit">{model.headline.unit}</span>}
        <span class="caption">{model?.headline.caption ?? ""}</span>
      </p>
      <p class="facts" title={mark.detail}>
        {mark.detail ?? model?.facts.map(({ label, text }) => `${label} ${text}`).join(" · ")}
      </p>
      <figure aria-label={describe(item.name, kind, model, now)}>
        <ChartView plan={plan} lines={lines} unit={drawnUnit} model={model} now={now} onHover={setHovered} />
      </figure>
      <footer>
        <p class="newest">
          {model && hovered !== null ? (
            valuesAt(lines, model, hovered, drawnUnit)
          ) : (
            <NewestRow item={item} />
          )}
        </p>
        <button type="button" aria-expanded={tabled} onClick={() => setTabled(!tabled)}>
          Table<span class="unseen"> of {item.name}</span>
        </button>
      </footer>
      {tabled && model && <TableTwin lines={lines} model={model} unit={drawnUnit} />}
    </article>
  );
}

/** The newest row that arrived, with its labels as text. */
function NewestRow({ item }: { item: Item }) {
  const newest = item.newest.value;
  if (!newest) return <>&nbsp;</>;
  const age = beat.value - newest.at;
  const parts = [newest.value, newest.labels].filter(Boolean).join("  ");
  return (
    <span title={parts}>
      newest {age > 120_000 ? `${duration(age)} ago` : clockTime(newest.at)}
      {parts && ": "}
      <bdi>{parts}</bdi>
    </span>
  );
}

