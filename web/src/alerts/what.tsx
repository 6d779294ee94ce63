import { catalogue } from "../session";
import { itemOf } from "./about";
import type { Part } from "./editor";
import { Choice, Field } from "./fields";
import { has, type Form } from "./form";

/** Names and labels suggested at once. */
const NAMES = 100;
const LABELS = 24;

const KINDS = [
  ["threshold", "passes a threshold"],
  ["rate_of_change", "changes too fast"],
  ["no_data", "goes silent"],
  ["anomaly", "is unusual"],
] as const;
const AGGREGATIONS = [
  "average", "sum", "min", "max", "count", "median", "percentile_90", "percentile_95", "percentile_99", "rate", "increase",
  "first", "last", "stddev", "unique",
] as const;
const WINDOWS = ["1m", "5m", "15m", "1h", "1d"];

/** What the alert is about. */
export function What({ form, before, set, fault }: Part) {
  const known = itemOf(form, before);
  const needed = form.alert_type === "threshold" && !form.source.startsWith("event:");
  const aggregations = AGGREGATIONS.map((each) => [each, each.replace("percentile_", "p")] as const);
  return (
    <fieldset>
      <legend>What</legend>
      <Field label="Name" name="name" value={form.name} set={(value) => set("name", value)} fault={fault("name")} placeholder="High error rate" />
      <Field
        label="Metric"
        name="source"
        value={form.source}
        set={(value) => set("source", value)}
        fault={fault("source")}
        options={suggested(form.source)}
        disabled={form.source === "" && before?.query_id !== undefined}
        placeholder={before?.query_id ? `saved query ${before.query_id}` : "api_errors_total"}
        hint={sourceHint(form, known !== null)}
      />
      <Choice label="Fires when it" name="alert_type" value={form.alert_type} options={KINDS} set={(value) => set("alert_type", value as Form["alert_type"])} fault={fault("alert_type")} />
      <div class="row">
        {has(form, "aggregation") && (
          <Choice
            label="Of its values"
            name="aggregation"
            value={form.aggregation}
            set={(value) => set("aggregation", value)}
            fault={fault("aggregation")}
            options={[["", needed ? "each by itself" : "the usual"], ...aggregations]}
          />
        )}
        {has(form, "window") && (
          <Field label="Over" name="window" value={form.window} set={(value) => set("window", value)} fault={fault("window")} options={WINDOWS} placeholder="5m" short />
        )}
      </div>
      <Groups form={form} known={known?.labels.value ?? []} set={set} fault={fault("group_by")} />
    </fieldset>
  );
}

function sourceHint(form: Form, known: boolean): string {
  if (form.source.trim() === "" || known) return 'Also metric:name{label="value"} or event:type.';
  return "Nothing of this name has arrived yet; the alert waits for it.";
}

function suggested(text: string): string[] {
  const wanted = text.trim().toLowerCase();
  return catalogue.items.value
    .filter(({ kind, name }) => kind === "metric" && name.toLowerCase().includes(wanted))
    .slice(-NAMES)
    .reverse()
    .map(({ name }) => name);
}

/** One alert for each value of these labels. */
function Groups({ form, known, set, fault }: { form: Form; known: readonly string[]; set: Part["set"]; fault: string }) {
  const chosen = form.group_by;
  const offered = [...known.slice(0, LABELS), ...chosen.filter((label) => !known.slice(0, LABELS).includes(label))];
  const toggle = (label: string): void =>
    set("group_by", chosen.includes(label) ? chosen.filter((each) => each !== label) : [...chosen, label]);
  return (
    <div class={`field ${fault === "" ? "" : "wrong"}`} role="group" aria-label="One for each">
      <span class="label">One for each</span>
      {offered.length === 0 ? (
        <p class="notes">Its series have no labels.</p>
      ) : (
        <p class="chips">
          {offered.map((label, at) => (
            <button key={label} type="button" aria-pressed={chosen.includes(label)} data-field={at === 0 ? "group_by" : undefined} onClick={() => toggle(label)}>
              <bdi>{label}</bdi>
            </button>
          ))}
        </p>
      )}
      {fault !== "" && (
        <p class="notes">
          <bdi class="fault">{fault}</bdi>
        </p>
      )}
    </div>
  );
}
