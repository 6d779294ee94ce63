// What is typed into a form and not saved yet: kept in this tab, so that no key and no reload loses it.

import { EMPTY, type Form } from "./form";

const SLOT = "streamgauge.alert-draft";

export interface Draft {
  /** Of which form: the id of an alert, or the panel that a new one is about. */
  slot: string;
  form: Form;
  /** Of the alert that was read when it was begun, so that what others have changed since is not overwritten. */
  version: number | null;
}

/** The draft of a form; null where there is none. Only the newest form has one. */
export function readDraft(slot: string): Draft | null {
  try {
    const kept = JSON.parse(sessionStorage.getItem(SLOT) ?? "null") as Draft | null;
    return kept?.slot === slot ? { ...kept, form: { ...EMPTY, ...kept.form } } : null;
  } catch {
    return null; // no storage, or nothing that can be read: then there is no draft
  }
}

export function keepDraft(draft: Draft): void {
  try {
    sessionStorage.setItem(SLOT, JSON.stringify(draft));
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
