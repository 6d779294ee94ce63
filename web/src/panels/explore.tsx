import { useState } from "preact/hooks";
import { found, isOwn, newItem, ordered, OWN, type Item } from "../catalogue";
import { plural } from "../format";
import type { Kind } from "../plans";
import { catalogue } from "../session";
import { open, opened, order, search } from "../view";
import { Panel } from "./panel";

/** Panels put on the page at once; their charts ask for data only while they are near the screen. */
const PAGE = 120;

/** Everything that arrives, each in a panel; or one of them alone. */
export function Explore({ items }: { items: readonly Item[] }) {
  const id = opened.value;
  if (id !== null) return <Alone key={id} id={id} />;
  const wanted = search.value.trim();
  const shown = found(items, wanted);
  const sorted = ordered(shown, order.value);
  const own = wanted === "" ? items.filter(isOwn).length : 0;
  return (
    <>
      {/* The order stands beside the first heading, and takes no line of its own. */}
      <p class="order" role="group" aria-label="Order">
        <Choice says="newest first" value="newest" />
        <Choice says="by name" value="name" />
      </p>
      <Group title="Metrics" items={sorted.filter((item) => item.kind === "metric")} />
      <Group title="Events" items={sorted.filter((item) => item.kind === "event")} />
      {own > 0 && (
        <p class="quiet-note">
          The server's own {plural(own, "number")} stay out of the way.{" "}
          <button type="button" onClick={() => (search.value = OWN)}>
            Show them
          </button>
        </p>
      )}
      {shown.length === 0 && (
        <p class="quiet-note" role="status">
          No metric and no event type fits “{wanted}”.{" "}
          <button type="button" onClick={() => (search.value = "")}>
            Show all
          </button>
        </p>
      )}
      {catalogue.beyond.value > 0 && (
        <p class="quiet-note">{plural(catalogue.beyond.value, "more name")} are not listed on this page.</p>
      )}
    </>
  );
}

function Choice({ says, value }: { says: string; value: "newest" | "name" }) {
  return (
    <button type="button" aria-pressed={order.value === value} onClick={() => (order.value = value)}>
      {says}
    </button>
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

/** One panel with the page for itself; an id that nothing arrived for yet waits for it. */
function Alone({ id }: { id: string }) {
  const [kind, name] = [id.slice(0, id.indexOf(":")) as Kind, id.slice(id.indexOf(":") + 1)];
  const [expected] = useState(() => newItem(kind, name, kind === "event" ? "event" : "gauge"));
  const item = catalogue.find(id) ?? expected;
  return (
    <>
      <p class="order back">
        <button type="button" onClick={() => open(null)}>
          ← All panels
        </button>
      </p>
      <Panel key={item.known.value ? "known" : "expected"} item={item} large />
    </>
  );
}
