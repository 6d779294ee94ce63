import { useRef } from "preact/hooks";
import { SECTIONS, type Section } from "./address";
import { FiringBadge, FiringSpoken } from "./alerts/badge";
import { beat, behind } from "./clock";
import { duration, plural, withUnit, zoneName } from "./format";
import { helpShown } from "./help";
import { isOwn } from "./catalogue";
import { LedgerBadge } from "./ledger/badge";
import { catalogue, connection, lastHeard, needsKey, retryNow } from "./session";
import { dark, setZone, toggleTheme, zone } from "./theme";
import { TimeControl } from "./time-control";
import { search, section, setSection } from "./view";

export function Header() {
  return (
    <header class="top">
      <h1>
        <img src="/favicon.svg" alt="" width="20" height="20" /> Streamgauge
      </h1>
      <Search />
      <TimeControl />
      <Sections />
      <Status />
      <LedgerBadge />
      <div class="tools">
        <select
          aria-label="Time zone"
          value={zone.value}
          onChange={(event) => setZone(event.currentTarget.value === "utc" ? "utc" : "local")}
        >
          <option value="local">{zone.value === "local" ? zoneName() : "local time"}</option>
          <option value="utc">UTC</option>
        </select>
        <button type="button" onClick={() => (helpShown.value = true)} aria-haspopup="dialog">
          <kbd>?</kbd> Keys
        </button>
        <button type="button" onClick={toggleTheme}>
          <span aria-hidden="true">◐</span> {dark.value ? "Light" : "Dark"}
        </button>
      </div>
      <Trouble />
      <p class="unseen" role="status">
        <Spoken />
      </p>
      <p class="unseen" role="status">
        <FiringSpoken />
      </p>
    </header>
  );
}

function Search() {
  const field = useRef<HTMLInputElement>(null);
  return (
    <label class="search">
      <span class="unseen">Search metrics and events</span>
      <input
        ref={field}
        id="search"
        type="search"
        placeholder="Search metrics and events"
        autocomplete="off"
        spellcheck={false}
        value={search.value}
        onInput={(event) => (search.value = event.currentTarget.value)}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  );
}

const TITLES: Record<Section, string> = { explore: "Explore", events: "Events", dashboards: "Dashboards", alerts: "Alerts" };

function Sections() {
  return (
    <nav class="sections" aria-label="Sections">
      {SECTIONS.map((name, at) => (
        <a
          key={name}
          href={name === "explore" ? "/" : `/?view=${name}`}
          aria-current={section.value === name ? "page" : undefined}
          aria-keyshortcuts={`${at + 1}`}
          onClick={(event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab, as everywhere
            event.preventDefault();
            setSection(name);
          }}
        >
          {TITLES[name]}
          {" "}
          {name === "alerts" && <FiringBadge />}
        </a>
      ))}
    </nav>
  );
}

/** The state as a dot and a word; the dot's form differs too, so that colour alone says nothing. */
function Status() {
  const { phase } = connection.value;
  const items = catalogue.items.value.filter((item) => !isOwn(item));
  const metrics = items.filter((item) => item.kind === "metric").length;
  return (
    <p class={`status ${phase}`}>
      <span class="dot" aria-hidden="true" />
      <strong>{phase}</strong>
      <span class="behind" title="How old what is drawn was when it was drawn">
        {phase === "connected" &&
          behind.value !== null &&
          `${withUnit(Math.max(1, Math.round(behind.value)), "ms")} behind`}
      </span>
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
