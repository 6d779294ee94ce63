import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { reasonOf } from "../api";
import { alerts } from "../session";
import { author, rememberAuthor, tell } from "./acts";
import { Field } from "./fields";
import { faultOfMember } from "./form";
import { createSilence } from "./requests";

/** What is about to be silenced: matchers, and what they are called. */
const wanted = signal<{ matchers: string; name: string } | null>(null);
const LENGTHS = ["30m", "1h", "2h", "8h", "1d", "7d"];

/** Opens the form for a silence. */
export function silenceAbout(matchers: string, name: string): void {
  wanted.value = { matchers, name };
}

export function SilenceDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const about = wanted.value;
  useEffect(() => {
    if (about && !dialog.current?.open) dialog.current?.showModal();
    if (!about) dialog.current?.close();
  }, [about]);
  return (
    <dialog class="help silence" ref={dialog} aria-labelledby="silence-title" onClose={() => (wanted.value = null)}>
      {about && <Form key={about.matchers} about={about} />}
    </dialog>
  );
}

function Form({ about }: { about: { matchers: string; name: string } }) {
  const [matchers, setMatchers] = useState(about.matchers);
  const [span, setSpan] = useState("2h");
  const [reason, setReason] = useState("");
  const [who, setWho] = useState(author());
  const [fault, setFault] = useState<{ member: string; words: string } | null>(null);
  const of = (member: string): string => (fault?.member === member ? fault.words : "");

  async function save(): Promise<void> {
    if (reason.trim() === "") return setFault({ member: "reason", words: "say why, for those who wonder" });
    rememberAuthor(who.trim());
    try {
      await createSilence({ matchers, for: span.trim(), reason: reason.trim(), ...(who.trim() === "" ? {} : { author: who.trim() }) });
      tell(`Silenced for ${span.trim()}${about.name === "" ? "" : `: ${about.name}`}.`);
      alerts.refresh();
      wanted.value = null;
    } catch (error) {
      setFault(faultOfMember(reasonOf(error)));
    }
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <h2 id="silence-title">
        Silence <bdi>{about.name || "alerts"}</bdi>
      </h2>
      {of("") !== "" && (
        <p class="fault" role="alert">
          {of("")}
        </p>
      )}
      <Field
        label="Alerts with these labels"
        hint='Labels of their group and of the alert, "alert" (its name), "alert_id", "severity".'
        value={matchers}
        set={setMatchers}
        fault={of("matchers")}
        placeholder='{host=~"web.*"}'
        code
      />
      <Field label="For" hint="A number and m, h or d." value={span} set={setSpan} fault={of("for") || of("to")} options={LENGTHS} short />
      <Field label="Why" first={about.matchers !== ""} value={reason} set={setReason} fault={of("reason")} />
      <Field label="Your name" hint="Kept in this browser." value={who} set={setWho} fault={of("author")} />
      <p class="acts">
        <button type="submit" class="main-act">
          Silence
        </button>
        <button type="button" onClick={() => (wanted.value = null)}>
          Cancel
        </button>
      </p>
    </form>
  );
}
