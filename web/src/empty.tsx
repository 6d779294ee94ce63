import { useRef, useState } from "preact/hooks";
import { currentKey } from "./api";

/** The command that sends a first number to this server. */
export function curlLine(origin: string, withKey: boolean): string {
  const parts = [`curl ${origin}/api/metrics`, `-H 'Content-Type: application/json'`];
  if (withKey) parts.push(`-H 'Authorization: Bearer YOUR_KEY'`);
  parts.push(`-d '{"name": "hello_world", "metric_type": "gauge", "value": 42}'`);
  return parts.join(" \\\n  ");
}

/** A server that holds nothing yet: one line to try, until its first number turns this into a chart. */
export function Empty() {
  const line = curlLine(location.origin, currentKey() !== "");
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
    <section class="empty" aria-labelledby="empty-title">
      <h2 id="empty-title">Send a number, see it here</h2>
      <div class="curl">
        <pre>
          <code ref={code}>{line}</code>
        </pre>
        <button type="button" onClick={() => void copy()} aria-live="polite">
          {said}
        </button>
      </div>
      <p class="waiting" role="status">
        waiting for the first number…
      </p>
    </section>
  );
}
