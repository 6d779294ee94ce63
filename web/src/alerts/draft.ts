// What is typed into a form and not saved yet: kept in this tab, so that no key and no reload loses it.

import { EMPTY, type Form } from "./form";

const SLOT = "streamgauge.alert-draft";

interface Draft {
  /** Of which form: the id of an alert, or the panel that a new one is about. */
  slot: string;
  form: Form;
}

/** The draft of a form; null where there is none. Only the newest form has one. */
export function readDraft(slot: string): Form | null {
  try {
    const kept = JSON.parse(sessionStorage.getItem(SLOT) ?? "null") as Draft | null;
    return kept?.slot === slot ? { ...EMPTY, ...kept.form } : null;
  } catch {
    return null; // no storage, or nothing that can be read: then there is no draft
  }
}

export function keepDraft(slot: string, form: Form): void {
  try {
    sessionStorage.setItem(SLOT, JSON.stringify({ slot, form } satisfies Draft));
  } catch {
    // Without storage a draft lasts as long as its form is open.
  }
}

export function dropDraft(): void {
  try {
    sessionStorage.removeItem(SLOT);
  } catch {
    // As above.
  }
}
