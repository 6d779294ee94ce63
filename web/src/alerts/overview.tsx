import { plural } from "../format";
import { alerts, connection } from "../session";
import { showAlert } from "../view";
import { ChannelList } from "./channel-list";
import { EmptyAlerts } from "./empty";
import { IncidentCard } from "./incident";
import { AlertLink } from "./link";
import { RuleList } from "./rules";
import { SilenceList } from "./silences";
import { At } from "./times";
import { UnusualList } from "./unusual";
import { momentText } from "./words";

/** Cards that are drawn, and incidents that are over and still named. */
const CARDS = 20;
const OVER = 8;

/** What fires first, then all alerts, silences and channels. */
export function Overview() {
  const { value: trouble } = alerts.trouble;
  const known = alerts.listed.value;
  if (!known && trouble === "") {
    const waits = connection.value.phase === "connected" || connection.value.phase === "connecting";
    return <p class="quiet-note">{waits ? "Asking what fires…" : "Nothing to show until the server answers."}</p>;
  }
  if (known && alerts.alerts.value.length === 0 && alerts.incidents.value.length === 0 && trouble === "") return <EmptyAlerts />;
  return (
    <>
      {trouble !== "" && (
        <p class="fault" role="alert">
          {trouble} {known && "What you see is what was known before."}{" "}
          <button type="button" onClick={() => alerts.refresh()}>
            Try again
          </button>
        </p>
      )}
      <Firing />
      <RuleList />
      <UnusualList />
      <SilenceList />
      <ChannelList />
    </>
  );
}

function Firing() {
  const open = alerts.open.value;
  const over = alerts.incidents.value.filter(({ closed_at }) => closed_at !== null).slice(0, OVER);
  return (
    <section class="group" aria-labelledby="firing-title">
      <div class="head">
        <h2 id="firing-title">
          Firing <span class="count">{open.length}</span>
        </h2>
        <button type="button" class="main-act" onClick={() => showAlert("new")}>
          New alert
        </button>
      </div>
      {open.length === 0 && <p class="all-well">Nothing fires.</p>}
      <ul class="incidents">
        {open.slice(0, CARDS).map((incident) => (
          <li key={incident.id}>
            <IncidentCard incident={incident} />
          </li>
        ))}
      </ul>
      {open.length > CARDS && <p class="count">{plural(open.length - CARDS, "more")}, of which the list below tells.</p>}
      {over.length > 0 && (
        <details class="over">
          <summary>
            Resolved lately <span class="count">the newest {momentText(over[0]!.closed_at, Date.now())}</span>
          </summary>
          <ul>
            {over.map((incident) => (
              <li key={incident.id}>
                <AlertLink id={incident.alert_id} name={incident.alert} /> <span class="count">{incident.worst}</span>{" "}
                <At time={incident.opened_at} /> – <At time={incident.closed_at} />
              </li>
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}
