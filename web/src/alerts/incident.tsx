import { beat } from "../clock";
import { withUnit } from "../format";
import { alerts } from "../session";
import { unitFor } from "./about";
import { attempt, author, useLoaded } from "./acts";
import { AlertLink } from "./link";
import type { Alert, Delivery, GroupState, Incident } from "./protocol";
import { acknowledge, readGroups, snooze, unsnooze } from "./requests";
import { silenceAbout } from "./silence-dialog";
import { panelOf } from "./store";
import { At, Since } from "./times";
import { conditionText, deliveryText, groupText, hasGroups, manyText, matchersOf, snoozedUntil, valueText } from "./words";

const SNOOZES = ["1h", "8h", "24h"] as const;
/** Groups that are named on a card, and charts looked back beyond the begin, ms. */
const NAMED = 5;
const BEFORE = 3_600_000;

/** One thing that fires: how bad, what, since when, who knows, and what can be done about it. */
export function IncidentCard({ incident, heading = true }: { incident: Incident; heading?: boolean }) {
  const alert = alerts.alerts.value.find(({ id }) => id === incident.alert_id);
  const unit = alert ? unitFor(alert) : "";
  const name = incident.alert || alert?.name || "an alert that is gone";
  return (
    <article class={`incident ${incident.level}`} aria-label={`${incident.level}: ${name}`}>
      <header>
        <span class="level">{incident.level}</span>
        {heading && (
          <h3>
            <AlertLink id={incident.alert_id} name={name} />
          </h3>
        )}
        {alert && manyText(alert) !== "" && <span class="many">{manyText(alert)}</span>}
        <span class="since">
          since <At time={incident.opened_at} /> · <Since time={incident.opened_at} />
        </span>
      </header>
      {alert && (
        <p class="what">
          <strong>{valueText(alert, unit)}</strong> <bdi class="condition">{conditionText(alert, unit)}</bdi>
        </p>
      )}
      {alert && hasGroups(alert) && <Groups alert={alert} unit={unit} />}
      <Who incident={incident} />
      <Deliveries deliveries={incident.deliveries} />
      <Acts incident={incident} name={name} alert={alert} />
    </article>
  );
}

/** Which groups fire, the first few by name. */
function Groups({ alert, unit }: { alert: Alert; unit: string }) {
  const loaded = useLoaded(() => readGroups(alert.id, NAMED), alert.id);
  const firing = (loaded.value ?? []).filter(({ status, group }) => status === "firing" && Object.keys(group).length > 0);
  if (firing.length === 0) return null;
  const more = alert.firing - firing.length;
  return (
    <ul class="which" aria-label="Groups that fire">
      {firing.map((state) => (
        <li key={JSON.stringify(state.group)} class={state.level}>
          <bdi>{groupText(state.group)}</bdi> <GroupValue state={state} unit={unit} />
        </li>
      ))}
      {more > 0 && <li>{more} more</li>}
    </ul>
  );
}

function GroupValue({ state, unit }: { state: GroupState; unit: string }) {
  return <span class="count">{state.cause === "condition" ? withUnit(state.value, unit) : state.cause === "no_data" ? "no data" : "error"}</span>;
}

/** Who looks after it, and until when nobody is told. */
function Who({ incident }: { incident: Incident }) {
  const until = snoozedUntil(incident, beat.value);
  if (incident.acknowledged_by === null && until === null) return null;
  return (
    <p class="who">
      {incident.acknowledged_by !== null && (
        <span>
          Acknowledged by <bdi>{incident.acknowledged_by}</bdi>.{" "}
        </span>
      )}
      {until !== null && (
        <span>
          Snoozed until <At time={incident.snoozed_until} />.
        </span>
      )}
    </p>
  );
}

function Deliveries({ deliveries }: { deliveries: Delivery[] }) {
  if (deliveries.length === 0) return <p class="count">This alert tells no channel.</p>;
  return (
    <ul class="deliveries" aria-label="Who was told">
      {deliveries.map((delivery) => (
        <Told key={delivery.channel} delivery={delivery} />
      ))}
    </ul>
  );
}

function Told({ delivery }: { delivery: Delivery }) {
  const { text, bad } = deliveryText(delivery, beat.value);
  return (
    <li class={bad ? "bad" : ""}>
      <bdi class="channel">{delivery.channel}</bdi> <bdi>{text}</bdi>
    </li>
  );
}

function Acts({ incident, name, alert }: { incident: Incident; name: string; alert: Alert | undefined }) {
  const { id } = incident;
  const known = incident.acknowledged_by !== null;
  const isSnoozed = snoozedUntil(incident, beat.value) !== null;
  return (
    <p class="acts">
      <button
        type="button"
        aria-disabled={known}
        onClick={() => known || void attempt(async () => alerts.changed(await acknowledge(id, author())), `${name} is acknowledged: it is not repeated any more.`)}
      >
        {known ? "Acknowledged" : "Acknowledge"}
        <span class="unseen"> {name}</span>
      </button>
      <span class="choice" role="group" aria-label={`Snooze ${name}`}>
        <span aria-hidden="true">Snooze</span>
        {SNOOZES.map((span) => (
          <button
            key={span}
            type="button"
            onClick={() => void attempt(async () => alerts.changed(await snooze(id, span, author())), `${name} is snoozed for ${span.slice(0, -1)} h.`)}
          >
            <span class="unseen">Snooze {name} for </span>
            {span.slice(0, -1)} h
          </button>
        ))}
        {isSnoozed && (
          <button type="button" onClick={() => void attempt(async () => alerts.changed(await unsnooze(id, author())), `${name} is told of again.`)}>
            End<span class="unseen"> the snooze of {name}</span>
          </button>
        )}
      </span>
      <button type="button" aria-haspopup="dialog" onClick={() => silenceAbout(matchersOf(incident.alert_id), name)}>
        Silence these<span class="unseen"> alerts of {name}</span>
      </button>
      {alert && panelOf(alert) !== null && (
        <a href={chartAddress(alert, incident)}>
          Chart<span class="unseen"> of {name}</span>
        </a>
      )}
    </p>
  );
}

/** The view that messages link to: the panel, from an hour before it began. */
export function chartAddress(alert: Alert, { opened_at, closed_at }: Pick<Incident, "opened_at" | "closed_at">): string {
  const panel = panelOf(alert)!;
  const parameters = new URLSearchParams({ open: panel });
  const from = Date.parse(opened_at) - BEFORE;
  const to = closed_at === null ? Date.now() : Math.min(Date.now(), Date.parse(closed_at) + BEFORE);
  parameters.set("from", new Date(from).toISOString());
  parameters.set("to", new Date(to).toISOString());
  const group = alert.group_by?.[0];
  if (group !== undefined) parameters.set("by", `${group}@${panel}`);
  return `/?${parameters}`;
}
