import { useState } from "preact/hooks";
import type { Item } from "../catalogue";
import { readSelector } from "../protocol";
import { catalogue } from "../session";
import { widgetFor } from "./documents";
import type { Editor } from "./editor";

/** Names offered at once; the search finds the others. */
const SHOWN = 60;

/** Known metrics and event types; a tick puts one on the dashboard, taking it away removes it. */
export function Picker({ editor, say }: { editor: Editor; say(words: string): void }) {
  const [wanted, setWanted] = useState("");
  const text = wanted.trim().toLowerCase();
  const items = catalogue.items.value.filter(({ name }) => name.toLowerCase().includes(text));
  const chosen = new Map<string, string>();
  for (const { id, query } of editor.board.value.widgets) {
    const found = readSelector(query);
    if (found) chosen.set(`${found.kind}:${found.name}`, id);
  }

  function toggle(item: Item): void {
    const id = chosen.get(item.id);
    if (id === undefined) editor.add(widgetFor(item.kind, item.name));
    else editor.remove(id);
    say(`${item.name} is ${id === undefined ? "on the dashboard" : "removed"}.`);
  }

  return (
    <fieldset class="picker">
      <legend>Panels of this dashboard</legend>
      <label>
        Search{" "}
        <input type="search" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} autocomplete="off" />
      </label>
      <div class="choices">
        {items.slice(0, SHOWN).map((item) => (
          <label key={item.id}>
            <input type="checkbox" checked={chosen.has(item.id)} onChange={() => toggle(item)} />
            <bdi>{item.name}</bdi> <span class="count">{item.type}</span>
          </label>
        ))}
      </div>
      {items.length === 0 && <p class="count">{text ? "No name has this in it." : "Nothing has arrived yet."}</p>}
      {items.length > SHOWN && <p class="count">{items.length - SHOWN} more; search for them.</p>}
    </fieldset>
  );
}
