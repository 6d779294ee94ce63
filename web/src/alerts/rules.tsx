import { useState } from "preact/hooks";
import { withUnit } from "../format";
import { alerts } from "../session";
import { search, showAlert } from "../view";
import { unitFor } from "./about";
import { attempt, Sure } from "./acts";
import { AlertLink } from "./link";
import type { Alert } from "./protocol";
import { deleteAlert, switchAlert } from "./requests";
import { At } from "./times";
import { conditionText, manyText, sourceText, standingOf, type Standing } from "./words";

/** Alerts put on the page at once. */
const PAGE = 100;
const ORDER: Standing["word"][] = ["firing", "error", "pending", "inactive", "not evaluated yet", "disabled"];

/** All alerts that fit the search, those that fire first. */
export function RuleList() {
  const [shown, show] = useState(PAGE);
  const all = alerts.alerts.value;
  const wanted = search.value.trim().toLowerCase();
  const found = all
    .filter((alert) => wanted === "" || `${alert.name} ${sourceText(alert)}`.toLowerCase().includes(wanted))
    .map((alert) => ({ alert, standing: standingOf(alert) }))
    .sort((a, b) => ORDER.indexOf(a.standing.word) - ORDER.indexOf(b.standing.word) || (a.alert.name < b.alert.name ? -1 : 1));
  return (
    <section class="group" aria-labelledby="rules-title">
      <h2 id="rules-title" tabIndex={-1}>
        Alerts <span class="count">{found.length === all.length ? all.length : `${found.length} of ${all.length}`}</span>
      </h2>
      {all.length === 0 && <p class="count">There are none any more.</p>}
      {all.length > 0 && found.length === 0 && <p class="count">No alert fits “{search.value}”.</p>}
      <ul class="rules">
        {found.slice(0, shown).map(({ alert, standing }) => (
          <Rule key={alert.id} alert={alert} standing={standing} />
        ))}
      </ul>
      {found.length > shown && (
        <button type="button" onClick={() => show(shown + PAGE)}>
          Show {Math.min(PAGE, found.length - shown)} more
        </button>
      )}
    </section>
  );
}

/** The state as a form and a word: colour alone says nothing. */
export function State({ standing }: { standing: Standing }) {
  return (
    <span class={`state ${standing.tone} ${standing.word.replaceAll(" ", "-")}`}>
      <span class="dot" aria-hidden="true" />
      {standing.word}
    </span>
  );
}

function Rule({ alert, standing }: { alert: Alert; standing: Standing }) {
  const unit = unitFor(alert);
  const many = manyText(alert);
  return (
    <li class="rule">
      <State standing={standing} />
      <div class="rule-what">
        <AlertLink id={alert.id} name={alert.name} />
        <p class="condition">
          <bdi>{conditionText(alert, unit)}</bdi>
        </p>
        {alert.error !== null && (
          <p class="fault">
            <bdi>{alert.error}</bdi>
          </p>
        )}
      </div>
      <p class="rule-now">
        {alert.value !== null && <strong>{withUnit(alert.value, unit)}</strong>}
        {standing.word === "firing" && many !== "" && <span>{many}</span>}
        <span class="count">{alert.last_triggered === null ? "never fired" : <>last fired <At time={alert.last_triggered} /></>}</span>
      </p>
      <p class="acts">
        <Switch alert={alert} />
        <button type="button" onClick={() => showAlert(`${alert.id}/edit`)}>
          Edit<span class="unseen"> {alert.name}</span>
        </button>
        <Sure says="Delete" of={alert.name} act={() => void remove(alert)} />
      </p>
    </li>
  );
}

/** Switches an alert on and off. */
export function Switch({ alert }: { alert: Alert }) {
  return (
    <label class="switch">
      <input
        type="checkbox"
        role="switch"
        checked={alert.enabled}
        onChange={(event) => {
          const box = event.currentTarget;
          const on = box.checked;
          void attempt(async () => alerts.saw(await switchAlert(alert.id, on)), `${alert.name} is ${on ? "on" : "off"}.`).then(
            (well) => well || (box.checked = alert.enabled),
          );
        }}
      />
      <span>
        <span class="unseen">Switch {alert.name} </span>on
      </span>
    </label>
  );
}

async function remove(alert: Alert): Promise<void> {
  if (!(await attempt(() => deleteAlert(alert.id), `${alert.name} is deleted.`))) return;
  alerts.alerts.value = alerts.alerts.peek().filter(({ id }) => id !== alert.id);
  // The focus would be lost with the button that was pressed.
  document.getElementById("rules-title")?.focus();
}
