import { useEffect, useRef, useState } from "preact/hooks";
import { askQuery, reasonOf } from "../api";
import { serverNow } from "../clock";
import { duration, grouped, plural, sentence } from "../format";
import { toMs } from "../protocol";
import { connection } from "../session";
import { isName, itemOf, unitFor } from "./about";
import { Choice } from "./fields";
import { faultOfMember, missingOf, writeForm, type Form } from "./form";
import { PreviewChart } from "./preview-chart";
import type { Alert, AlertMembers, Preview } from "./protocol";
import { previewAlert } from "./requests";
import { drawnOf, lengthOf, sampleOf, type Drawn } from "./sample";
import { EpisodeTable } from "./episodes";
import { At } from "./times";
import { groupText } from "./words";

/** What is typed is tried when nothing followed it for this long, ms. */
const PAUSE = 800;
const MESSAGES = 20;
const FEW = 10;
const FLAPPING = 5;
/** Parts that were evaluated at least this finely are as the rule itself would be, ms. */
const FINE = 5_000;

const RANGES = [
  ["1h", "the last hour"],
  ["6h", "the last 6 h"],
  ["1d", "the last day"],
  ["7d", "the last 7 d"],
  ["30d", "the last 30 d"],
] as const;
const SPANS: Record<string, number> = { "1h": 3_600_000, "6h": 21_600_000, "1d": 86_400_000, "7d": 604_800_000, "30d": 2_592_000_000 };

interface Found {
  rule: AlertMembers;
  from: number;
  to: number;
  /** null while the form lacks something: then only its values are shown. */
  preview: Preview | null;
  /** Why there is no line, where there is none. */
  drawn: Drawn | string;
  note: string;
  /** Why the rule could not be tried; "" where it was. */
  trouble: string;
}

/** What the rule of the form would have done: tried at once where a button asks, and a moment after each change. */
export function PreviewPane({ form, before }: { form: Form; before: Alert | null }) {
  const [range, setRange] = useState("1d");
  const [found, setFound] = useState<Found | null>(null);
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const stop = useRef<AbortController | null>(null);
  const missing = missingOf(form, before);
  const rule = writeForm(form, before, isName);
  const { name: _name, message: _message, ...deciding } = rule; // what these say changes nothing that is shown
  const asked = JSON.stringify([deciding, range]);
  const connected = connection.value.phase === "connected";

  async function run(): Promise<void> {
    stop.current?.abort();
    if (missing?.field === "source") return;
    const turn = (stop.current = new AbortController());
    setBusy(true);
    try {
      const result = await look(rule, range, itemOf(form, before), missing === null, turn.signal);
      if (turn.signal.aborted) return;
      setFound(result);
      setTrouble(result.trouble);
    } catch (error) {
      if (turn.signal.aborted) return;
      setTrouble(reasonOf(error));
    }
    setBusy(false);
  }

  const first = useRef(true);
  useEffect(() => {
    if (!connected) return undefined;
    const timer = setTimeout(() => void run(), first.current ? 0 : PAUSE);
    first.current = false;
    return () => clearTimeout(timer);
  }, [asked, connected]);
  useEffect(() => () => stop.current?.abort(), []);

  return (
    <section class="preview" aria-labelledby="preview-title">
      <div class="head">
        <h2 id="preview-title">What it would have done</h2>
        <Choice label="In" value={range} options={RANGES} set={setRange} />
        <button type="button" onClick={() => void run()} aria-disabled={busy || missing?.field === "source"}>
          Try now
        </button>
      </div>
      <p class={trouble === "" ? "count" : "fault"} role="status">
        {missing ? sentence(`to try it, ${missing.words}`) : trouble || (found?.preview ? <Sum preview={found.preview} /> : busy ? "Trying…" : "")}
      </p>
      {found && missing?.field !== "source" && (
        <div class={busy ? "older" : ""}>
          <Shown found={found} />
        </div>
      )}
    </section>
  );
}

async function look(rule: AlertMembers, range: string, item: ReturnType<typeof itemOf>, whole: boolean, signal: AbortSignal): Promise<Found> {
  const to = Math.floor(serverNow() / 1000) * 1000;
  const known = item && { series: item.series.peek(), labels: item.labels.peek() };
  const sample = sampleOf(rule, SPANS[range]!, to, known);
  const named = rule.name === "" ? { ...rule, name: "preview" } : rule;
  // Values are shown of a rule that the server refuses, too.
  const [preview, drawn] = await Promise.all([
    whole ? previewAlert(named, range, signal).catch(refusal) : null,
    sample
      ? askQuery(sample.query, signal).then(({ columns }) => drawnOf(sample, columns), reasonOf)
      : "No line is drawn for a saved query.",
  ]);
  const refused = typeof preview === "string";
  const shared = { rule, from: to - SPANS[range]!, to, drawn, note: sample?.note ?? "" };
  return refused ? { ...shared, preview: null, trouble: preview } : { ...shared, preview, trouble: "" };
}

/** Why a rule cannot be tried, beginning with the member that is wrong. */
function refusal(error: unknown): string {
  const { member, words } = faultOfMember(reasonOf(error));
  return member === "" ? words : sentence(`${member.replaceAll("_", " ")}: ${words}`);
}

function Sum({ preview }: { preview: Preview }) {
  const { total_episodes: episodes, total_messages: messages, total_pending: pending, took } = preview;
  const nearly = pending === 0 ? "" : ` ${plural(pending, "time")} it was pending and did not fire.`;
  if (episodes === 0) return <>It would not have fired.{nearly}</>;
  const told = messages === 0 ? "nobody would have been told" : `${plural(messages, "message")} would have gone out`;
  return (
    <>
      It would have fired <strong>{plural(episodes, "time")}</strong>; {told}.{nearly} <span class="took">Tried in {took < 1 ? `${Math.round(took * 1000)} ms` : duration(took * 1000)}.</span>
    </>
  );
}

function Shown({ found }: { found: Found }) {
  const { rule, preview, drawn, note, from, to } = found;
  const unit = unitFor(rule);
  const episodes = preview?.episodes ?? [];
  const coarse = (preview?.evaluated ?? [])
    .map((part) => ({ ...part, from: toMs(part.from) ?? from, to: toMs(part.to) ?? to, step: lengthOf(part.resolution) }))
    .filter((part) => part.step > FINE && part.to - part.from > part.step);
  return (
    <>
      {typeof drawn === "string" ? (
        <p class="fault">{drawn}</p>
      ) : (
        <PreviewChart rule={rule} unit={unit} drawn={drawn} episodes={episodes} coarse={coarse} edges={{ from, to }} />
      )}
      {note !== "" && <p class="count">{note}</p>}
      {coarse.length > 0 && <Coarse parts={coarse} />}
      {preview?.notes.map((each) => (
        <p key={each} class="fault">
          <bdi>{sentence(each)}</bdi>
        </p>
      ))}
      {preview && <Flaps preview={preview} />}
      {preview && episodes.length > 0 && (
        <EpisodeTable episodes={episodes.toReversed()} total={preview.total_episodes} unit={unit} title="When it would have fired" />
      )}
      {preview && <Messages preview={preview} />}
    </>
  );
}

const WORDS: Record<string, string> = { "1m": "by the minute", "1h": "by the hour", "1d": "by the day" };

/** Which parts are not as the rule itself would have been. */
function Coarse({ parts }: { parts: { from: number; to: number; resolution: string }[] }) {
  return (
    <p class="count">
      <span class="coarse-sign" aria-hidden="true" />
      Underlined:{" "}
      {parts.map((part, at) => (
        <span key={part.from}>
          {at > 0 && "; "}
          {WORDS[part.resolution] ?? `by ${part.resolution}`} until <At time={new Date(part.to).toISOString()} />
        </span>
      ))}
      , as finely as it is still stored. What was shorter may be missing there.
    </p>
  );
}

function Flaps({ preview }: { preview: Preview }) {
  if (preview.flaps.length === 0) return null;
  const shown = preview.flaps.slice(0, FLAPPING);
  const more = preview.flaps.length - shown.length;
  return (
    <p class="flaps">
      Flaps:{" "}
      {shown.map(({ group, count }, at) => (
        <span key={JSON.stringify(group)}>
          {at > 0 && ", "}
          <bdi>{groupText(group) || "it"}</bdi> {count}×
        </span>
      ))}
      {more > 0 && ` and ${plural(more, "more group")}`}. “For”, a recovery threshold or “fires on for” calm it.
    </p>
  );
}

function Messages({ preview }: { preview: Preview }) {
  const { messages, total_messages: total } = preview;
  if (messages.length === 0) return null;
  return (
    <details open={total <= FEW}>
      <summary>
        Messages <span class="count">{grouped(String(total))}</span>
      </summary>
      <ul class="messages">
        {messages.slice(-MESSAGES).reverse().map((message, at) => (
          <li key={at}>
            <At time={message.at} /> <bdi class="channel">{message.channel}</bdi> {message.kind}
            {message.firing > 1 && <span class="count"> · {message.firing} firing</span>}
          </li>
        ))}
      </ul>
      {total > MESSAGES && <p class="count">and {grouped(String(total - MESSAGES))} earlier</p>}
    </details>
  );
}
