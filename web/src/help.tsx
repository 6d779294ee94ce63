import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

export const helpShown = signal(false);

export const KEYS: readonly (readonly [keys: string, words: string])[] = [
  ["/", "search"],
  ["Space", "pause, or back to live"],
  ["← →", "one range back, one forth"],
  ["+ −", "closer, wider"],
  ["j k", "next panel, previous panel"],
  ["Enter", "open the panel, or close it"],
  ["t", "its table"],
  ["a", "an alert about it"],
  ["1 2 3 4", "explore, events, dashboards, alerts"],
  ["d", "dark or light"],
  ["?", "this list"],
  ["Esc", "back: out of the search, the zoom, the opened panel or alert"],
];

/** The list of keys. */
export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = helpShown.value;
  useEffect(() => {
    if (shown && !dialog.current?.open) dialog.current?.showModal();
    if (!shown) dialog.current?.close();
  }, [shown]);
  return (
    <dialog class="help" ref={dialog} aria-labelledby="help-title" onClose={() => (helpShown.value = false)}>
      <h2 id="help-title">Keys</h2>
      <dl>
        {KEYS.map(([keys, words]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{words}</dd>
          </div>
        ))}
        <div>
          <dt>drag</dt>
          <dd>over a chart: zoom; double click: back</dd>
        </div>
      </dl>
      <button type="button" onClick={() => (helpShown.value = false)}>
        Close
      </button>
    </dialog>
  );
}
