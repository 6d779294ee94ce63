import { withUnit } from "../format";
import { alerts, catalogue } from "../session";
import { showAlert } from "../view";
import { unitFor } from "./about";
import { attempt, Shown, Sure, useLoaded } from "./acts";
import { EpisodeTable } from "./episodes";
import { IncidentCard } from "./incident";
import type { Alert, GroupState, Notification } from "./protocol";
import { deleteAlert, listNotifications, readAlert, readGroups, readHistory } from "./requests";
import { State, Switch } from "./rules";
import { silenceAbout } from "./silence-dialog";
import { SilenceList } from "./silences";
import { At } from "./times";
import { conditionText, groupStateText, groupText, matchersOf, standingOf } from "./words";

/** Groups that are listed. */
const GROUPS = 200;

/** One alert: where it stands and its groups do, when it has fired, and what was told of it. */
export function Opened({ id }: { id: string }) {
  const loaded = useLoaded(() => readAlert(id), id);
  const alert = loaded.value;
  if (!alert) {
    if (loaded.trouble === "") return <p class="quiet-note">Opening the alert…</p>;
    return (
      <p class="quiet-note" role="alert">
        {loaded.trouble}{" "}
        <button type="button" onClick={() => showAlert(null)}>
          All alerts
        </button>
      </p>
    );
  }
  const incident = alerts.open.value.find(({ alert_id }) => alert_id === id);
  return (
    <>
      <Head alert={alert} />
      {loaded.trouble !== "" && <p class="fault">{loaded.trouble}</p>}
      {incident && <IncidentCard incident={incident} heading={false} />}
      <Groups alert={alert} />
      <History alert={alert} />
      <Notifications alert={alert} />
      <SilenceList />
    </>
  );
}

function Head({ alert }: { alert: Alert }) {
  void catalogue.items.value; // brings the unit
  const unit = unitFor(alert);

  async function remove(): Promise<void> {
    if (await attempt(() => deleteAlert(alert.id), `${alert.name} is deleted.`)) showAlert(null);
  }

  return (
    <section class="opened" aria-labelledby="alert-title">
      <div class="head">
        <h2 id="alert-title">
          <bdi>{alert.name}</bdi>
        </h2>
        <State standing={standingOf(alert)} />
        <span class="acts">
          <Switch alert={alert} />
          <button type="button" onClick={() => showAlert(`${alert.id}/edit`)}>
            Edit
          </button>
          <button type="button" aria-haspopup="dialog" onClick={() => silenceAbout(matchersOf(alert.id), alert.name)}>
            Silence
          </button>
          <Sure says="Delete" of={alert.name} act={() => void remove()} />
          <button type="button" onClick={() => showAlert(null)}>
            All alerts
          </button>
        </span>
      </div>
      <p class="condition">
        <bdi>{conditionText(alert, unit)}</bdi>
      </p>
      <p class="count">
        {alert.value !== null && <>Now {withUnit(alert.value, unit)}. </>}
        {alert.evaluated_at === null ? "Not evaluated yet." : <>Evaluated <At time={alert.evaluated_at} />.</>}{" "}
        {alert.last_triggered === null ? "Never fired." : <>Last fired <At time={alert.last_triggered} />.</>} Tells{" "}
        <bdi>{(alert.notification_channels ?? []).join(", ") || "no channel"}</bdi>.
      </p>
      {[...(alert.error === null ? [] : [alert.error]), ...alert.warnings].map((words) => (
        <p key={words} class="fault">
          <bdi>{words}</bdi>
        </p>
      ))}
    </section>
  );
}

function Groups({ alert }: { alert: Alert }) {
  const loaded = useLoaded(() => readGroups(alert.id, GROUPS), alert.id);
  const unit = unitFor(alert);
  if (loaded.value?.every(({ group }) => Object.keys(group).length === 0)) return null;
  return (
    <section class="group" aria-labelledby="groups-title">
      <h2 id="groups-title">
        Groups <span class="count">{alert.groups}</span>
      </h2>
      <Shown of={loaded} empty="None known yet.">
        {(all) => (
          <div class="wide" role="region" aria-label="Groups" tabIndex={0}>
            <table>
              <thead>
                <tr>
                  <th scope="col">group</th>
                  <th scope="col">state</th>
                  <th scope="col">value</th>
                  <th scope="col">peak</th>
                  <th scope="col">since</th>
                  <th scope="col">
                    <span class="unseen">acts</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {all.map((state) => (
                  <Group key={JSON.stringify(state.group)} alert={alert} state={state} unit={unit} />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Shown>
      {alert.groups > GROUPS && <p class="count">Those that fire come first; {alert.groups - GROUPS} are not listed.</p>}
    </section>
  );
}

function Group({ alert, state, unit }: { alert: Alert; state: GroupState; unit: string }) {
  const name = groupText(state.group) || "without labels";
  return (
    <tr>
      <th scope="row">
        <bdi>{name}</bdi>
      </th>
      <td class={state.status === "firing" ? state.level : ""}>{groupStateText(state)}</td>
      <td>{withUnit(state.value, unit)}</td>
      <td>{state.status === "firing" ? withUnit(state.peak, unit) : "–"}</td>
      <td>{state.status === "inactive" ? "–" : <At time={state.fired_at ?? state.since} />}</td>
      <td>
        <button type="button" aria-haspopup="dialog" onClick={() => silenceAbout(matchersOf(alert.id, state.group), `${alert.name}: ${name}`)}>
          Silence<span class="unseen"> {name}</span>
        </button>
      </td>
    </tr>
  );
}

function History({ alert }: { alert: Alert }) {
  const loaded = useLoaded(() => readHistory(alert.id), alert.id);
  return (
    <section class="group" aria-labelledby="history-title">
      <h2 id="history-title">When it has fired</h2>
      <Shown of={loaded} empty="Never.">
        {(all) => <EpisodeTable episodes={all} unit={unitFor(alert)} title="Episodes" />}
      </Shown>
    </section>
  );
}

function Notifications({ alert }: { alert: Alert }) {
  const loaded = useLoaded(() => listNotifications(alert.id), alert.id);
  return (
    <section class="group" aria-labelledby="told-title">
      <h2 id="told-title">What was told</h2>
      <Shown of={loaded} empty="Nothing yet.">
        {(all) => (
          <ul class="messages">
            {all.map((each, at) => (
              <One key={at} told={each} />
            ))}
          </ul>
        )}
      </Shown>
    </section>
  );
}

const OUTCOMES: Record<Notification["outcome"], string> = { sent: "sent", failed: "failed", gave_up: "given up", held: "not told" };

function One({ told }: { told: Notification }) {
  const bad = told.outcome === "failed" || told.outcome === "gave_up";
  return (
    <li>
      <At time={told.at} /> <bdi class="channel">{told.channel}</bdi> {told.kind} <span class={bad ? "fault" : "count"}>
        {OUTCOMES[told.outcome]}
        {told.tries > 1 && ` after ${told.tries} tries`}
        {told.reason !== "" && (
          <>
            : <bdi>{told.reason}</bdi>
          </>
        )}
      </span>
    </li>
  );
}
