import { useState } from "preact/hooks";
import { clockTime, duration, timesAreUtc } from "./format";
import { between, isLast, PRESETS, rangeWords, readSpan, spanText } from "./ranges";
import { zone } from "./theme";
import { range, scope, setRange, shift, togglePause, zoom } from "./view";

/** Live or paused, the range, and steps back, forth, closer and wider. */
export function TimeControl() {
  void zone.value; // the words are written in it
  const { mode, fixed } = scope.value;
  const [custom, setCustom] = useState(false);
  const shown = range.value;
  const preset = isLast(shown) && PRESETS.includes(shown.last) ? spanText(shown.last) : "";
  const says = { live: "Live", paused: `Paused ${clockTime(fixed?.to ?? 0)}`, historical: "Historical" }[mode];
  return (
    <div class="time" role="group" aria-label="Time range">
      <button
        type="button"
        class={`mode ${mode}`}
        onClick={togglePause}
        title={mode === "live" ? "Pause (space)" : "Back to live (space)"}
      >
        <span class="mode-sign" aria-hidden="true">
          {mode === "live" ? "▮▮" : "▶"}
        </span>
        {says}
        <span class="unseen">: {mode === "live" ? "pause" : "go live"}</span>
      </button>
      <select
        class="range-choice"
        aria-label="Range"
        value={custom ? "custom" : preset}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          setCustom(chosen === "custom");
          const last = readSpan(chosen);
          if (last !== null) setRange({ last });
        }}
      >
        {PRESETS.map((ms) => (
          <option key={ms} value={spanText(ms)}>
            last {duration(ms)}
          </option>
        ))}
        {preset === "" && <option value="">{rangeWords(shown)}</option>}
        <option value="custom">from … to …</option>
      </select>
      <span class="steps">
        <Step says="One range back" sign="←" act={() => shift(-1)} />
        <Step says="One range forth" sign="→" act={() => shift(1)} off={isLast(shown) && mode === "live"} />
        <Step says="Closer" sign="+" act={() => zoom(-1)} />
        <Step says="Wider" sign="−" act={() => zoom(1)} />
      </span>
      {custom && <Absolute close={() => setCustom(false)} />}
    </div>
  );
}

function Step({ says, sign, act, off = false }: { says: string; sign: string; act(): void; off?: boolean }) {
  return (
    <button type="button" class="step" aria-label={says} title={says} disabled={off} onClick={act}>
      <span aria-hidden="true">{sign}</span>
    </button>
  );
}

/** A moment as the browser's own field for it has it, in the chosen zone. */
export function fieldOf(ms: number): string {
  const t = new Date(ms);
  const shifted = timesAreUtc() ? ms : ms - t.getTimezoneOffset() * 60_000;
  return new Date(shifted).toISOString().slice(0, 19);
}

/** The inverse of `fieldOf`; NaN where it is no moment. */
export function momentOf(field: string): number {
  return Date.parse(timesAreUtc() ? `${field}Z` : field);
}

function Absolute({ close }: { close(): void }) {
  const { fixed, span } = scope.value;
  const end = fixed?.to ?? Date.now();
  const [from, setFrom] = useState(fieldOf(fixed?.from ?? end - span));
  const [to, setTo] = useState(fieldOf(end));
  const [a, b] = [momentOf(from), momentOf(to)];
  const good = a < b;
  return (
    <form
      class="absolute"
      onSubmit={(event) => {
        event.preventDefault();
        if (!good) return;
        setRange(between(a, b));
        close();
      }}
    >
      <label>
        from <input type="datetime-local" step="1" value={from} onInput={(e) => setFrom(e.currentTarget.value)} />
      </label>
      <label>
        to <input type="datetime-local" step="1" value={to} onInput={(e) => setTo(e.currentTarget.value)} />
      </label>
      <button type="submit" disabled={!good}>
        Show
      </button>
      <button type="button" onClick={close}>
        Cancel
      </button>
      {!good && <span class="absolute-note">The end must come after the begin.</span>}
    </form>
  );
}
