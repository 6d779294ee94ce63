import { useEffect, useRef, useState } from "preact/hooks";
import { colourOf } from "../colours";
import { bridged, extent, lastKnown, type Value } from "../columns";
import { clockTime, exact, quantity, sentence, withUnit, zoneName } from "../format";
import { useNearScreen } from "../panels/hooks";
import { bridgeOf } from "../plans";
import type { Columns, readSelector, Series, ServerError } from "../protocol";
import { connection } from "../session";
import type { Widget } from "./documents";
import { questionOf, watchQuestion } from "./question";

interface Props {
  widget: Widget;
  selected: ReturnType<typeof readSelector>;
  unit: string;
  type: string;
}

/** Lines drawn and named at most; the table has them all. */
const SHOWN = 8;
const ROWS = 50;

/** A widget of any type, asked at its own interval over its own range. */
export function AskedWidget({ widget, selected, unit, type }: Props) {
  const root = useRef<HTMLElement>(null);
  const near = useNearScreen(root);
  const [columns, setColumns] = useState<Columns | null>(null);
  const [error, setError] = useState<ServerError | null>(null);
  const connected = connection.value.phase === "connected";
  const query = questionOf(widget, selected, type);
  const asked = JSON.stringify([query, widget.refresh_interval]);

  useEffect(() => {
    if (!near || !connected) return undefined;
    return watchQuestion(query, widget.refresh_interval, {
      answer(found) {
        setColumns(found);
        setError(null);
      },
      failed: setError,
    });
  }, [asked, near, connected]);

  const counted = query.aggregation === "count" || query.aggregation === "unique";
  const shownUnit = counted ? "" : unit;
  const rhythm = widget.refresh_interval === 0 ? "live" : `every ${widget.refresh_interval} s`;
  const state = !connected ? "not connected" : error ? "error" : columns ? rhythm : "loading";
  const title = widget.title || widget.query;
  return (
    <article class={`panel asked ${error ? "error" : state === "live" ? "live" : ""}`} ref={root}>
      <header>
        <h3 title={widget.query}>
          <bdi>{title}</bdi>
        </h3>
        <span class="kind">
          {query.aggregation} · {query.time_range}
        </span>
        <span class="mark">
          <span class="dot" aria-hidden="true" />
          <span class="mark-text">{state}</span>
        </span>
      </header>
      {error ? <p class="error-text">{sentence(error.message || error.code)}</p> : <Shown {...{ widget, title, columns }} unit={shownUnit} />}
    </article>
  );
}

function Shown({ widget, title, columns, unit }: { widget: Widget; title: string; columns: Columns | null; unit: string }) {
  if (!columns) return <p class="quiet-note">Loading…</p>;
  const series = columns.series.filter(({ values }) => lastKnown(values) >= 0);
  if (series.length === 0) return <p class="quiet-note">No number in this time.</p>;
  switch (widget.type) {
    case "metric":
      return <Numbers series={series} unit={unit} />;
    case "gauge":
      return <Gauges series={series} unit={unit} config={widget.visualization_config} />;
    case "table":
      return <Values columns={{ ...columns, series }} title={title} unit={unit} />;
    default:
      return <Lines columns={{ ...columns, series }} title={title} unit={unit} />;
  }
}

const newest = ({ values }: Series): number => values[lastKnown(values)]!;

function Numbers({ series, unit }: { series: Series[]; unit: string }) {
  return (
    <>
      {series.slice(0, SHOWN).map((each) => {
        const shown = quantity(newest(each), unit);
        return (
          <p class="headline" key={each.group}>
            <span class="number">{shown.number}</span>
            <span class="unit">{shown.unit}</span>
            <span class="caption">
              <bdi>{each.group}</bdi>
            </span>
          </p>
        );
      })}
    </>
  );
}

/** The newest value between `min` and `max` of the configuration, or between the extremes of what is shown. */
function Gauges({ series, unit, config }: { series: Series[]; unit: string; config: Record<string, unknown> }) {
  const found = extent(series.map(({ values }) => values)) ?? [0, 1];
  const end = (name: string, otherwise: number): number => (typeof config[name] === "number" ? config[name] : otherwise);
  const min = end("min", Math.min(0, found[0]));
  const max = Math.max(end("max", unit === "%" ? 100 : found[1]), min);
  return (
    <>
      {series.slice(0, SHOWN).map((each) => (
        <label key={each.group}>
          <bdi>{each.group}</bdi> {withUnit(newest(each), unit)} <span class="count">of {withUnit(max, unit)}</span>
          <meter min={min} max={max === min ? min + 1 : max} value={newest(each)} />
        </label>
      ))}
    </>
  );
}

function Values({ columns, title, unit }: { columns: Columns; title: string; unit: string }) {
  const { times, series } = columns;
  const steps = times.map((time, at) => ({ time, at })).filter(({ at }) => series.some(({ values }) => values[at] !== null));
  return (
    <div class="table" tabIndex={0} role="region" aria-label={`Values of ${title}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">from ({zoneName()})</th>
            {series.map(({ group }) => (
              <th scope="col" key={group}>
                {group || "value"}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {steps.reverse().slice(0, ROWS).map(({ time, at }) => (
            <tr key={time}>
              <th scope="row">{clockTime(time)}</th>
              {series.map(({ group, values }) => (
                <td key={group}>{exact(values[at], unit)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Lines({ columns, title, unit }: { columns: Columns; title: string; unit: string }) {
  const { times } = columns;
  const series = columns.series.slice(0, SHOWN);
  const [low, high] = extent(series.map(({ values }) => values)) ?? [0, 1];
  const bottom = Math.min(0, low);
  const span = high - bottom || 1;
  const gap = bridgeOf((times[1] ?? 0) - (times[0] ?? 0));
  const x = (at: number): string => ((at / Math.max(1, times.length - 1)) * 100).toFixed(2);
  const y = (value: number): string => (96 - ((value - bottom) / span) * 92).toFixed(2);
  const said = series.map((each) => `${each.group} ${withUnit(newest(each), unit)}`.trim()).join(", ");
  return (
    <figure aria-label={`${title}: newest ${said}; from ${withUnit(low, unit)} to ${withUnit(high, unit)}.`}>
      <p class="facts">
        {series.map((each) => (
          <span key={each.group}>
            {each.group !== "" && <span class={`swatch series-${colourOf(each.group)}`} aria-hidden="true" />}
            <bdi>{each.group}</bdi> {withUnit(newest(each), unit)}
            {" · "}
          </span>
        ))}
        lowest {withUnit(low, unit)} · highest {withUnit(high, unit)}
      </p>
      <svg class="lines" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
        <path class="ground" d="M0 4H100M0 50H100M0 96H100" />
        {series.map(({ group, values }) => (
          <path key={group} class={group === "" ? "alone" : `line-${colourOf(group)}`} d={pathOf(bridged(times, values, gap), x, y)} />
        ))}
      </svg>
      <p class="ends">
        <span>{clockTime(times[0] ?? 0)}</span>
        <span>{clockTime(times[times.length - 1] ?? 0)}</span>
      </p>
    </figure>
  );
}

/** A line through the values, over short gaps; a single one between long gaps is a short stroke. */
function pathOf(values: Value[], x: (at: number) => string, y: (value: number) => string): string {
  let broken = true;
  return values
    .map((value, at) => {
      if (value === undefined) return "";
      const begins = broken;
      broken = value === null;
      if (value === null) return "";
      return `${begins ? "M" : "L"}${x(at)} ${y(value)}${begins ? "h0.5" : ""}`;
    })
    .join("");
}
