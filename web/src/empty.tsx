import { useRef, useState } from "preact/hooks";
import { currentKey } from "./api";
import type { Kind } from "./plans";

/** The command that sends a first row of this name to this server. */
export function curlLine(
  origin: string,
  withKey: boolean,
  kind: Kind = "metric",
  name: string = "hello_world",
  type: string = "gauge",
): string {
  const row = kind === "event" ? { event_type: name, user_id: "u1" } : { name, metric_type: type, value: 42 };
  // As people write JSON, and safe between the shell's single quotes.
  const body = JSON.stringify(row).replaceAll('":', '": ').replaceAll(',"', ', "').replaceAll("'", "\\u0027");
  const parts = [`curl ${origin}/api/${kind}s`, `-H 'Content-Type: application/json'`];
  if (withKey) parts.push(`-H 'Authorization: Bearer YOUR_KEY'`);
  parts.push(`-d '${body}'`);
  return parts.join(" \\\n  ");
}

/** The command that sends a first row, to copy. */
export function CurlLine({ name, kind = "metric", type }: { name?: string; kind?: Kind; type?: string }) {
  return <Command line={curlLine(location.origin, currentKey() !== "", kind, name, type)} />;
}

/** A command to copy. */
export function Command({ line }: { line: string }) {
  const code = useRef<HTMLElement>(null);
  const [said, say] = useState("Copy");

  async function copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(line);
      say("Copied");
    } catch {
      // No clipboard without a secure origin or without leave: select it, so that one key is enough.
      if (code.current) getSelection()?.selectAllChildren(code.current);
      say("Selected: press Ctrl+C");
    }
    setTimeout(() => say("Copy"), 3000);
  }

  return (
    <div class="curl">
      <pre>
        <code ref={code}>{line}</code>
      </pre>
      <button type="button" onClick={() => void copy()} aria-live="polite">
        {said}
      </button>
    </div>
  );
}

/** A server that holds nothing yet: one line to try, until its first number turns this into a chart. */
export function Empty() {
  return (
    <section class="empty" aria-labelledby="empty-title">
      <h2 id="empty-title">Send a number, see it here</h2>
      <CurlLine />
      <p class="waiting" role="status">
        waiting for the first number…
      </p>
    </section>
  );
}

export function EmptyEvents() {
  return (
    <section class="empty" aria-labelledby="empty-title">
      <h2 id="empty-title">Send an event, see it here</h2>
      <CurlLine kind="event" name="login" />
      <p class="waiting" role="status">
        waiting for the first event…
      </p>
    </section>
  );
}
