import { useComputed, useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Item } from "../catalogue";
import { beat, beatOf } from "../clock";
import { clockTime, duration, moment } from "../format";
import { markOf, type Mark } from "../marks";
import { describe, kindText, unitOf, valuesAt, type Model } from "../model";
import { planFor } from "../plans";
import { alerts, anomalies, connection } from "../session";
import { groupBy, groups, open, scope as shownScope, showAlert, wasClosed, zoomInto } from "../view";
import { CurlLine } from "../empty";
import { ChartView } from "./chart-view";
import { Legend } from "./legend";
import { useNearScreen, useSource } from "./hooks";
import { saveCsv, TableTwin } from "./table";

/** About the width of a chart. */
const PIXELS = 400;

interface Props {
  item: Item;
  /** Has the page for itself. */
  large?: boolean;
}

export function Panel({ item, large = false }: Props) {
  const root = useRef<HTMLElement>(null);
  const scope = shownScope.value;
  const group = groups.value.get(item.id) ?? null;
  const cumulative = item.cumulative.value;
  const plan = useMemo(() => planFor(item.kind, item.type, cumulative), [item, cumulative]);
  const near = useNearScreen(root);
  const source = useSource(item.kind, item.name, plan, scope, group, near);
  const [tabled, setTabled] = useState(false);
  const [isolated, isolate] = useState<string | null>(null);
  const hovered = useSignal<number | null>(null);
  const last = useRef<Model | null>(null);

  // The keyboard stays with the panel that is opened or closed.
  useEffect(() => {
    if (large || wasClosed(item.id)) root.current?.focus({ preventScroll: large });
  }, []);
  // A chart moves on when that shows: about a pixel at a time, and its age in words every few seconds. One that gets
  // data more often than that moves with them, and is not drawn once more in between.
  const own = useComputed(() => {
    const pace = Math.min(5000, Math.max(1000, shownScope.value.span / PIXELS));
    const time = beatOf(item.id).value;
    const at = source.at.value ?? 0;
    return time - at < pace ? at : Math.floor(time / pace) * pace;
  });

  const unit = item.unit.value;
  const connected = connection.value.phase === "connected";
  const moving = connected && scope.fixed === null;
  // Without the server nobody knows what came after the last result: the chart stands still there.
  const now = scope.fixed?.to ?? (connected ? own.value : (source.at.value ?? own.value));
  const fresh = source.model(unit, now, moving);
  // Until the answer for another stretch of time is there, what is known of it is drawn.
  const model = fresh ?? (last.current && matches(last.current, group) ? last.current : null);
  last.current = model;
  const to = moving ? Math.max(now, model?.times[model.times.length - 1] ?? 0) : now;
  const edges = { from: to - scope.span, to };
  const [error, ...others] = source.errors.value;
  const mark = markOf({
    model: fresh,
    scope,
    connected,
    error: error ?? null,
    missing: source.lines.slice(1).flatMap(({ label }, i) => (others[i] ? [label] : [])),
    shownAt: source.at.value,
    known: item.known.value,
    now,
  });
  const kind = kindText(item.kind, item.type, unit, item.series.value);
  const drawnUnit = unitOf(plan, unit);
  const bands = alerts.bandsOf(item.id);
  const firing = bands.filter(({ to }) => to === null).map((band) => ` The alert ${band.alert} fires.`);
  const unusual = anomalies.of(item.id);
  if (unusual.some(({ to }) => to === null)) firing.push(" It is unusual now.");
  const alone = model?.legend.find(({ label }) => label === isolated)?.line ?? null;

  return (
    <article
      class={`panel ${mark.state.replaceAll(" ", "-")} ${large ? "large" : ""}`}
      ref={root}
      tabIndex={-1}
      data-panel={item.id}
      data-state={mark.state}
      aria-label={item.name}
    >
      <header>
        <h3 title={item.name}>
          <bdi>{item.name}</bdi>
        </h3>
        <span class="kind">{kind}</span>
        <span class="mark" title={mark.detail}>
          <span class="dot" aria-hidden="true" />
          <span class="mark-text">{mark.text}</span>
        </span>
      </header>
      <p class="headline">
        <span class="number">{model?.headline.number ?? "–"}</span>
        {model?.headline.unit && <span class="unit">{model.headline.unit}</span>}
        <span class="caption">{model?.headline.caption ?? ""}</span>
        <GroupChoice item={item} group={group} />
      </p>
      {model && model.legend.length > 0 && !mark.detail ? (
        <Legend model={model} unit={drawnUnit} moving={moving} isolated={isolated} isolate={isolate} />
      ) : (
        <p class="facts" title={mark.detail}>
          {mark.detail ?? model?.facts.map(({ label, text }) => `${label} ${text}`).join(" · ")}
        </p>
      )}
      <figure aria-label={describe(item.name, kind, model, scope, now) + firing.join("")}>
        <ChartView
          plan={plan}
          unit={drawnUnit}
          model={model}
          edges={edges}
          isolated={alone}
          bands={bands}
          unusual={unusual}
          onHover={(index) => (hovered.value = index)}
        />
        <Hint mark={mark} item={item} span={scope.span} />
      </figure>
      <footer>
        <p class="newest">
          <Readout model={model} hovered={hovered} unit={drawnUnit} item={item} still={scope.fixed !== null} />
        </p>
        <button type="button" data-act="table" aria-expanded={tabled} onClick={() => setTabled(!tabled)}>
          Table<Of name={item.name} />
        </button>
        <button type="button" disabled={!model} onClick={() => model && saveCsv(item.name, model)}>
          CSV<Of name={item.name} />
        </button>
        <button type="button" data-act="alert" onClick={() => showAlert("new", item.id)}>
          Alert
          <span class="unseen"> about {item.name}</span>
        </button>
        <button type="button" data-act="open" onClick={() => open(large ? null : item.id)}>
          {large ? "Close" : "Open"}
          <Of name={item.name} />
        </button>
      </footer>
      {tabled && model && <TableTwin name={item.name} model={model} unit={drawnUnit} span={scope.span} />}
    </article>
  );
}

const Of = ({ name }: { name: string }) => <span class="unseen"> of {name}</span>;

/** Whether a model that was made earlier has the lines that are wanted now. */
function matches(model: Model, group: string | null): boolean {
  return (model.lines[0]?.role === "group") === (group !== null) && model.lines.length > 0;
}

/** By which label the series are told apart. */
function GroupChoice({ item, group }: { item: Item; group: string | null }) {
  const labels = item.labels.value;
  if (labels.length === 0 && group === null) return null;
  const offered = group === null || labels.includes(group) ? labels : [...labels, group];
  return (
    <select
      class="group-choice"
      aria-label={`Group ${item.name} by`}
      value={group ?? ""}
      onChange={(event) => groupBy(item.id, event.currentTarget.value || null)}
    >
      <option value="">all together</option>
      {offered.map((label) => (
        <option key={label} value={label}>
          by {label}
        </option>
      ))}
    </select>
  );
}

/** What helps where there is nothing to draw. */
function Hint({ mark, item, span }: { mark: Mark; item: Item; span: number }) {
  if (mark.state === "empty") {
    return (
      <div class="hint">
        <CurlLine name={item.name} kind={item.kind} type={item.type} />
      </div>
    );
  }
  const last = item.lastTime.value;
  if (mark.state !== "no data in range" || last === null) return null;
  return (
    <div class="hint">
      <button type="button" onClick={() => zoomInto(last - span * 0.8, last + span * 0.2)}>
        Jump to the last data, {moment(last, beat.value)}
      </button>
    </div>
  );
}

interface ReadoutProps {
  model: Model | null;
  hovered: Signal<number | null>;
  unit: string;
  item: Item;
  still: boolean;
}

/** The values at the crosshair, else the newest row that arrived, with its labels as text. */
function Readout({ model, hovered, unit, item, still }: ReadoutProps) {
  if (model && hovered.value !== null) {
    const text = valuesAt(model, hovered.value, unit);
    return <span title={text}>{text}</span>;
  }
  const newest = item.newest.value;
  if (!newest || still) return <>&nbsp;</>;
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
