import { useState } from "preact/hooks";
import type { Item } from "../catalogue";
import { plural } from "../format";
import { catalogue } from "../session";
import { Panel } from "./panel";

/** Panels put on the page at once; their charts ask for data only while they are near the screen. */
const PAGE = 120;

export function Panels({ items }: { items: readonly Item[] }) {
  return (
    <>
      <Group title="Metrics" items={items.filter((item) => item.kind === "metric")} />
      <Group title="Events" items={items.filter((item) => item.kind === "event")} />
      {catalogue.beyond.value > 0 && (
        <p class="quiet-note">{plural(catalogue.beyond.value, "more name")} are not listed on this page.</p>
      )}
    </>
  );
}

function Group({ title, items }: { title: string; items: Item[] }) {
  const [shown, show] = useState(PAGE);
  if (items.length === 0) return null;
  const rest = items.length - shown;
  return (
    <section class="group">
      <h2>
        {title} <span class="count">{items.length}</span>
      </h2>
      <div class="panels">
        {items.slice(0, shown).map((item) => (
          <Panel key={item.id} item={item} />
        ))}
      </div>
      {rest > 0 && (
        <button type="button" onClick={() => show(shown + PAGE)}>
          Show {Math.min(rest, PAGE)} more
        </button>
      )}
    </section>
  );
}
