import { beat } from "./clock";
import { duration, plural, zoneName } from "./format";
import { RANGE, STEP } from "./plans";
import { catalogue, connection, lastHeard, needsKey, retryNow } from "./session";

export function Header() {
  return (
    <header class="top">
      <h1>
        <img src="/favicon.svg" alt="" width="20" height="20" /> Streamgauge
      </h1>
      <Status />
      <p class="range">
        last {RANGE.words} · steps of {STEP.words} · times in {zoneName()}
      </p>
      <Trouble />
      <p class="unseen" role="status">
        <Spoken />
      </p>
    </header>
  );
}

/** The state as a dot and a word; the dot's form differs too, so that colour alone says nothing. */
function Status() {
  const { phase } = connection.value;
  const items = catalogue.items.value;
  const metrics = items.filter((item) => item.kind === "metric").length;
  return (
    <p class={`status ${phase}`}>
      <span class="dot" aria-hidden="true" />
      <strong>{phase}</strong>
      {items.length > 0 && (
        <span class="totals">
          {plural(metrics, "metric")} · {plural(items.length - metrics, "event type")}
        </span>
      )}
    </p>
  );
}

/** What happens next while the line is down, and how old what is shown is. */
function Trouble() {
  const state = connection.value;
  if (state.phase === "connected" || state.phase === "connecting" || needsKey.value !== null) return null;
  // Reading the beat makes the seconds count down.
  const now = beat.value && Date.now();
  const age = lastHeard.value === null ? "" : ` What you see is ${duration(now - lastHeard.value)} old.`;
  const next =
    state.phase === "reconnecting" ? ` Trying again ${inSeconds(state.retryAt - now)}.` : " Not trying again by itself.";
  return (
    <div class="trouble">
      <span>
        {state.reason}
        {next}
        {age}
      </span>
      <button type="button" onClick={retryNow}>
        Try now
      </button>
    </div>
  );
}

function inSeconds(ms: number): string {
  return ms < 1000 ? "now" : `in ${duration(ms)}`;
}

/** Said aloud: changes of state only. */
function Spoken() {
  const state = connection.value;
  if (state.phase === "connected") return <>Connected, charts are live.</>;
  if (state.phase === "connecting") return null;
  return <>{state.phase === "reconnecting" ? `${state.reason} Reconnecting.` : `Disconnected. ${state.reason}`}</>;
}
