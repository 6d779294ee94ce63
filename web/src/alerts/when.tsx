import { useState } from "preact/hooks";
import { catalogue } from "../session";
import { itemOf } from "./about";
import type { Part } from "./editor";
import { Choice, Field } from "./fields";
import { has } from "./form";

const SIGNS = [
  [">", "above"],
  [">=", "at or above"],
  ["<", "below"],
  ["<=", "at or below"],
  ["==", "equal to"],
  ["!=", "not equal to"],
] as const;
const SILENCE = [
  ["", "nothing is wrong"],
  ["keep", "it stays as it was"],
  ["alert", "it fires"],
] as const;
const MOMENTS = ["1m", "2m", "5m", "15m", "30m"];
const SPANS = ["5m", "15m", "1h", "1d"];

/** When it fires, and when it ends. */
export function When({ form, before, set, fault }: Part) {
  void catalogue.items.value;
  const [more, showMore] = useState(
    [form.recovery, form.warning_recovery, form.keep_firing_for, form.no_data, form.no_data_after].some((text) => text !== ""),
  );
  const unit = form.aggregation === "count" || form.aggregation === "unique" ? "" : (itemOf(form, before)?.unit.value ?? "");
  const measured = form.relative && form.alert_type === "rate_of_change" ? "in %" : unit === "" ? "" : `in ${unit}`;
  const bind = (name: "threshold" | "warning" | "recovery" | "warning_recovery" | "change_over" | "budget" | "for" | "keep_firing_for" | "no_data_after") =>
    ({ name, value: form[name], set: (value: string) => set(name, value), fault: fault(name) }) as const;
  return (
    <fieldset>
      <legend>When</legend>
      {has(form, "condition") && (
        <div class="row">
          <Choice label="Is" name="condition" value={form.condition} options={SIGNS} set={(value) => set("condition", value)} fault={fault("condition")} />
          <Field {...bind("threshold")} label="Threshold" hint={measured} numeric short />
          <Field {...bind("warning")} label="Warning" hint="earlier, milder" numeric short />
        </div>
      )}
      {has(form, "change_over") && (
        <div class="row">
          <Field {...bind("change_over")} label="Compared with" hint="so long before" options={SPANS} placeholder="1h" short />
          <label class="check">
            <input type="checkbox" checked={form.relative} onChange={(event) => set("relative", event.currentTarget.checked)} />
            in percent of that
          </label>
        </div>
      )}
      {has(form, "budget") && <Field {...bind("budget")} label="False alarms put up with" hint="per series and day" placeholder="0.2" numeric short />}
      {form.alert_type === "no_data" && <Field {...bind("no_data_after")} label="No data for" options={SPANS} placeholder="5m" short />}
      <Field {...bind("for")} label="For" hint="How long it has to be so before anybody is told." options={MOMENTS} placeholder="at once" short />
      <details open={more} onToggle={(event) => showMore(event.currentTarget.open)}>
        <summary>When it ends, and what silence means</summary>
        {has(form, "recovery") && (
          <div class="row">
            <Field {...bind("recovery")} label="Recovered at" hint="the threshold, where empty" numeric short />
            <Field {...bind("warning_recovery")} label="Warning over at" numeric short />
          </div>
        )}
        <Field {...bind("keep_firing_for")} label="Fires on for" hint="after it is no longer so, against flapping" options={MOMENTS} placeholder="0s" short />
        {has(form, "no_data") && (
          <div class="row">
            <Choice label="Without data" name="no_data" value={form.no_data} options={SILENCE} set={(value) => set("no_data", value)} fault={fault("no_data")} />
            {has(form, "no_data_after") && <Field {...bind("no_data_after")} label="for" options={SPANS} placeholder="its window" short />}
          </div>
        )}
      </details>
    </fieldset>
  );
}
