import { useRef, useState } from "preact/hooks";
import { HttpError, reasonOf } from "../api";
import { alerts } from "../session";
import { showAlert } from "../view";
import { isName } from "./about";
import { tell } from "./acts";
import { dropDraft, keepDraft, readDraft } from "./draft";
import { changesOf, faultOf, missingOf, writeForm, type Form } from "./form";
import { PreviewPane } from "./preview";
import type { Alert } from "./protocol";
import { changeAlert, createAlert } from "./requests";
import { What } from "./what";
import { When } from "./when";
import { Whom } from "./whom";

interface Props {
  start: Form;
  /** The alert that is changed; null for a new one. */
  before: Alert | null;
  /** Under which what is typed is kept. */
  slot: string;
  /** Takes the alert as it is on the server now. */
  reread?(): void;
}

/** What the parts of the form need. */
export interface Part {
  form: Form;
  before: Alert | null;
  set<K extends keyof Form>(field: K, value: Form[K]): void;
  /** What is wrong with a field; "" for nothing. */
  fault(field: keyof Form): string;
}

/** The form for an alert, and beside it what it would have done. */
export function Editor({ start, before, slot, reread }: Props) {
  const [draft] = useState(() => readDraft(slot));
  const [form, setForm] = useState<Form>(draft?.form ?? start);
  const version = useRef(draft?.version ?? before?.version ?? null);
  const [fault, setFault] = useState<{ field: keyof Form | null; words: string } | null>(null);
  const [conflict, setConflict] = useState(false);
  const [busy, setBusy] = useState(false);
  const root = useRef<HTMLFormElement>(null);
  const changed = JSON.stringify(form) !== JSON.stringify(start);

  function set<K extends keyof Form>(field: K, value: Form[K]): void {
    setForm((now) => {
      const next = { ...now, [field]: value };
      keepDraft({ slot, form: next, version: version.current });
      return next;
    });
    if (fault?.field === field) setFault(null);
  }

  function refuse(field: keyof Form | null, words: string): void {
    setFault({ field, words });
    requestAnimationFrame(() => root.current?.querySelector<HTMLElement>(field ? `[data-field=${field}]` : ".form-fault")?.focus());
  }

  async function save(known: number | null): Promise<void> {
    if (busy) return;
    const named = form.name.trim() === "" ? ({ field: "name", words: "give it a name" } as const) : null;
    const missing = named ?? missingOf(form, before);
    if (missing) return refuse(missing.field, missing.words);
    setBusy(true);
    setConflict(false);
    try {
      const after = writeForm(form, before, isName);
      const saved = before ? await changeAlert(before.id, changesOf(before, after), known) : await createAlert(after);
      dropDraft();
      alerts.refresh();
      tell(saved.warnings.length > 0 ? `Saved. ${saved.warnings.join(" ")}` : "Saved. It is evaluated from now on.");
      showAlert(saved.id);
    } catch (error) {
      if (error instanceof HttpError && error.status === 409) setConflict(true);
      const words = reasonOf(error);
      const found = faultOf(words);
      refuse(found?.field ?? null, found?.words ?? words);
    }
    setBusy(false);
  }

  function discard(): void {
    dropDraft();
    version.current = before?.version ?? null;
    setForm(start);
    setFault(null);
  }

  const part: Part = { form, before, set, fault: (field) => (fault?.field === field ? fault.words : "") };
  return (
    <div class="editor">
      <form
        ref={root}
        aria-labelledby="editor-title"
        onSubmit={(event) => {
          event.preventDefault();
          void save(version.current);
        }}
      >
        <div class="head">
          <h2 id="editor-title">{before ? <>Edit “<bdi>{before.name}</bdi>”</> : "New alert"}</h2>
          <button type="button" onClick={() => showAlert(before?.id ?? null)}>
            {before ? "Back to the alert" : "All alerts"}
          </button>
        </div>
        {fault !== null && fault.field === null && (
          <p class="fault form-fault" role="alert" tabIndex={-1}>
            <bdi>{fault.words}</bdi>
          </p>
        )}
        {conflict && before && (
          <p class="acts">
            <button type="button" onClick={() => (dropDraft(), reread?.())}>
              Take theirs
            </button>
            <button type="button" onClick={() => void save(null)}>
              Save mine all the same
            </button>
          </p>
        )}
        <What {...part} />
        <When {...part} />
        <Whom {...part} />
        <p class="acts save">
          <button type="submit" class="main-act" aria-disabled={busy}>
            {before ? "Save" : "Create alert"}
          </button>
          {changed && (
            <>
              <button type="button" onClick={discard}>
                {before ? "Take back my changes" : "Begin again"}
              </button>
              <span class="count">Not saved yet; what you have typed is kept in this tab.</span>
            </>
          )}
        </p>
      </form>
      <PreviewPane form={form} before={before} />
    </div>
  );
}
