import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { reasonOf } from "../api";
import { alerts, connection } from "../session";

/** What the last act came to, in words. */
const told = signal<{ words: string; bad: boolean } | null>(null);
const SHOWN_FOR = 10_000;

export function tell(words: string, bad: boolean = false): void {
  told.value = { words, bad };
}

/** Does something on the server and says how it went; whether it went well. */
export async function attempt(work: () => Promise<unknown>, done: string): Promise<boolean> {
  try {
    await work();
    tell(done);
    alerts.refresh();
    return true;
  } catch (error) {
    tell(reasonOf(error), true);
    return false;
  }
}

/** The words, seen and heard, for a while; bad ones until something else is done. */
export function Told() {
  const now = told.value;
  useEffect(() => {
    if (!now || now.bad) return undefined;
    const timer = setTimeout(() => (told.value = null), SHOWN_FOR);
    return () => clearTimeout(timer);
  }, [now]);
  return (
    <p class={`told ${now?.bad ? "bad" : ""}`} role="status" hidden={now === null}>
      <bdi>{now?.words}</bdi>
      {now?.bad && (
        <button type="button" onClick={() => (told.value = null)}>
          Close
        </button>
      )}
    </p>
  );
}

/** A button that asks once more in its own place before it does what cannot be taken back. */
export function Sure({ says, of, act }: { says: string; of: string; act(): void }) {
  const [asked, setAsked] = useState(false);
  if (!asked) {
    return (
      <button type="button" onClick={() => setAsked(true)}>
        {says}
        <span class="unseen"> {of}</span>
      </button>
    );
  }
  return (
    <span class="sure" role="group" aria-label={`${says} ${of}?`} onKeyDown={(event) => stopAt(event, () => setAsked(false))}>
      <button type="button" class="grave" ref={focus} onClick={act}>
        Really {says.toLowerCase()}
      </button>
      <button type="button" onClick={() => setAsked(false)}>
        Keep
      </button>
    </span>
  );
}

function stopAt(event: KeyboardEvent, stop: () => void): void {
  if (event.key !== "Escape") return;
  event.preventDefault();
  event.stopPropagation();
  stop();
}

/** Gives the focus to what has just come. */
export const focus = (element: HTMLElement | null): void => element?.focus();

export type Loaded<T> = { value: T | null; trouble: string; again(): void };

/** What `load` gives, asked again with each look at the alerts; what was shown stays meanwhile. */
export function useLoaded<T>(load: () => Promise<T>, key: string = ""): Loaded<T> {
  const [value, setValue] = useState<T | null>(null);
  const [trouble, setTrouble] = useState("");
  const [turn, setTurn] = useState(0);
  const version = alerts.version.value;
  const connected = connection.value.phase === "connected";
  useEffect(() => {
    if (!connected) return undefined;
    let over = false;
    load().then(
      (found) => !over && (setValue(found), setTrouble("")),
      (error: unknown) => !over && setTrouble(reasonOf(error)),
    );
    return () => void (over = true);
  }, [key, version, connected, turn]);
  return { value, trouble, again: () => setTurn(turn + 1) };
}

/** Tells apart what is loading, what failed, what is empty and what is there. */
export function Shown<T>({ of, empty, children }: { of: Loaded<T[]>; empty: string; children(rows: T[]): ComponentChildren }) {
  if (of.value === null && of.trouble === "") return <p class="count">Loading…</p>;
  return (
    <>
      {of.trouble !== "" && (
        <p class="fault">
          {of.trouble}{" "}
          <button type="button" onClick={of.again}>
            Try again
          </button>
        </p>
      )}
      {of.value?.length === 0 && <p class="count">{empty}</p>}
      {of.value !== null && of.value.length > 0 && children(of.value)}
    </>
  );
}

const AUTHOR = "streamgauge.author";

/** The name under which this browser acknowledges and silences; "" where it was given none. */
export function author(): string {
  try {
    return localStorage.getItem(AUTHOR) ?? "";
  } catch {
    return ""; // storage may be switched off: then nobody is named
  }
}

export function rememberAuthor(name: string): void {
  try {
    localStorage.setItem(AUTHOR, name);
  } catch {
    // As above.
  }
}
