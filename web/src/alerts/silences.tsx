import { alerts } from "../session";
import { attempt, Shown, Sure, useLoaded } from "./acts";
import type { Silence } from "./protocol";
import { endSilence, listSilences } from "./requests";
import { silenceAbout } from "./silence-dialog";
import { At } from "./times";

/** Silences that have ended and are still listed. */
const ENDED = 20;

/** Who is told nothing, and until when. */
export function SilenceList() {
  const loaded = useLoaded(listSilences);
  return (
    <section class="group" aria-labelledby="silences-title">
      <div class="head">
        <h2 id="silences-title" tabIndex={-1}>
          Silences
        </h2>
        <button type="button" aria-haspopup="dialog" onClick={() => silenceAbout("", "")}>
          New silence
        </button>
      </div>
      <Shown of={loaded} empty="None. A silence keeps alerts from telling anybody for a while; they are evaluated as ever.">
        {(all) => <Silences all={all} />}
      </Shown>
    </section>
  );
}

function Silences({ all }: { all: Silence[] }) {
  const newest = all.toReversed();
  const now = newest.filter(({ state }) => state !== "expired");
  const ended = newest.filter(({ state }) => state === "expired");
  return (
    <>
      {now.length === 0 && <p class="count">None now.</p>}
      <ul class="silences">
        {now.map((silence) => (
          <One key={silence.id} silence={silence} />
        ))}
      </ul>
      {ended.length > 0 && (
        <details>
          <summary>
            Ended <span class="count">{ended.length}</span>
          </summary>
          <ul class="silences">
            {ended.slice(0, ENDED).map((silence) => (
              <One key={silence.id} silence={silence} />
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function One({ silence }: { silence: Silence }) {
  const id = /alert_id="([^"\\]+)"/.exec(silence.matchers)?.[1];
  const alert = alerts.alerts.value.find((each) => each.id === id);
  return (
    <li>
      <p>
        <code>{silence.matchers}</code>
        {alert && (
          <span>
            {" "}
            <bdi>{alert.name}</bdi>
          </span>
        )}
      </p>
      <p class="count">
        {silence.state === "pending" ? "from " : silence.state === "expired" ? "" : "until "}
        {silence.state !== "active" && (
          <>
            <At time={silence.from} /> –{" "}
          </>
        )}
        <At time={silence.to} /> · <bdi>{silence.reason}</bdi>
        {silence.author !== "" && (
          <>
            {" "}
            · <bdi>{silence.author}</bdi>
          </>
        )}
      </p>
      {silence.state !== "expired" && (
        <Sure
          says="End"
          of="this silence"
          act={() =>
            void attempt(() => endSilence(silence.id), "The silence has ended.").then(() =>
              document.getElementById("silences-title")?.focus(),
            )
          }
        />
      )}
    </li>
  );
}
