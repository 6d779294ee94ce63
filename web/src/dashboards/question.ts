// What a widget asks: its query, over its own time range, live or again and again.

import { askQuery, HttpError } from "../api";
import { planFor } from "../plans";
import type { Columns, Query, readSelector, ServerError } from "../protocol";
import { readSpan, spanText, stepFor } from "../ranges";
import { live } from "../session";
import type { Widget } from "./documents";

const USUAL_RANGE = "15m";

/** The query of a widget in columns; `type` is that of its metric where it is known. */
export function questionOf(widget: Widget, selected: ReturnType<typeof readSelector>, type: string): Query {
  const config = widget.visualization_config;
  const span = readSpan(textIn(config, "time_range")) ?? readSpan(USUAL_RANGE)!;
  const groups = config["group_by"];
  const labels = Array.isArray(groups) ? groups.filter((label): label is string => typeof label === "string") : [];
  return {
    query_string: widget.query,
    time_range: spanText(span),
    step: spanText(stepFor(span, true)),
    aggregation: textIn(config, "aggregation") ?? planFor(selected?.kind ?? "metric", type).lines[0]!.aggregation,
    ...(labels.length > 0 ? { group_by: labels } : {}),
    format: "columns",
  };
}

function textIn(config: Record<string, unknown>, name: string): string | null {
  const value = config[name];
  return typeof value === "string" && value !== "" ? value : null;
}

export interface Reader {
  answer(columns: Columns): void;
  failed(error: ServerError): void;
}

/** Watches a query; the answer ends that. interval: seconds between two looks; 0 = live. */
export function watchQuestion(query: Query, interval: number, reader: Reader): () => void {
  if (interval === 0) {
    return live.watch(query, { update: ({ columns }) => reader.answer(columns), error: (error) => reader.failed(error) });
  }
  const stop = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  async function look(): Promise<void> {
    // Nobody looks at a hidden page; the next look is as late as any other.
    if (document.visibilityState === "visible") {
      try {
        const { columns } = await askQuery(query, stop.signal);
        if (!stop.signal.aborted) reader.answer(columns);
      } catch (error) {
        const known = error instanceof HttpError;
        const told = known ? error : { code: "unreachable", message: "the server does not answer" };
        if (!stop.signal.aborted) reader.failed(told);
      }
    }
    if (!stop.signal.aborted) timer = setTimeout(() => void look(), interval * 1000);
  }
  void look();
  return () => {
    stop.abort();
    clearTimeout(timer);
  };
}
