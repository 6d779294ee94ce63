import { withUnit } from "../format";
import { alerts } from "../session";
import { Shown, useLoaded } from "./acts";
import { AlertLink } from "./link";
import type { Anomaly } from "./protocol";
import { listAnomalies } from "./requests";
import { At } from "./times";
import { groupText } from "./words";

const SHOWN = 10;

/** The series that anomaly alerts watch, the most unusual first: advice, and there only where something is watched. */
export function UnusualList() {
  const watched = alerts.alerts.value.some(({ alert_type, enabled }) => alert_type === "anomaly" && enabled);
  return watched ? <Ranking /> : null;
}

function Ranking() {
  const loaded = useLoaded(() => listAnomalies(SHOWN));
  return (
    <section class="group" aria-labelledby="unusual-title">
      <h2 id="unusual-title">Unusual now</h2>
      <Shown of={loaded} empty="The past is being read, or nothing has come yet.">
        {(all) => (
          <ul class="channels">
            {all.map((each) => (
              <li key={`${each.alert_id} ${groupText(each.group)}`}>
                <Row of={each} />
              </li>
            ))}
          </ul>
        )}
      </Shown>
    </section>
  );
}

function Row({ of: found }: { of: Anomaly }) {
  const { likely_from: from, likely_to: to } = found;
  const likely = from === null || to === null ? [found.typical_low, found.typical_high] : [from, to];
  return (
    <p>
      <AlertLink id={found.alert_id} name={found.alert} /> <bdi>{groupText(found.group)}</bdi>{" "}
      <span class={found.anomalous ? "fault" : "count"}>
        {withUnit(found.value)} where {withUnit(likely[0])} to {withUnit(likely[1])} would be usual · score {found.score.toFixed(1)}
        {found.since !== null && (
          <>
            {" "}
            · since <At time={found.since} />
          </>
        )}
      </span>
    </p>
  );
}
