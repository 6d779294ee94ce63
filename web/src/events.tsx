import { useEffect } from "preact/hooks";
import { clockTime, dayOf, labelText, plural, zoneName } from "./format";
import { eventFits, keyOf, timeOf } from "./feed";
import { catalogue, feed } from "./session";
import { scope, search } from "./view";
import { EmptyEvents } from "./empty";

/** Rows put on the page. */
const SHOWN = 200;

/** The newest events as rows. While charts are paused, or the reader is in the list, it stands still. */
export function EventsView() {
  const paused = scope.value.mode === "paused";
  useEffect(() => {
    if (paused) feed.hold();
    else feed.release();
  }, [paused]);
  useEffect(() => {
    // Who has scrolled down reads: what is new waits above.
    const scrolled = (): void => (scrollY > 40 || scope.peek().mode === "paused" ? feed.hold() : feed.release());
    addEventListener("scroll", scrolled, { passive: true });
    return () => {
      removeEventListener("scroll", scrolled);
      feed.release();
    };
  }, []);

  const rows = feed.rows.value;
  const found = rows.filter((row) => eventFits(row, search.value)).slice(0, SHOWN);
  if (rows.length === 0) return catalogue.loaded.value ? <EmptyEvents /> : <p class="quiet-note">Asking…</p>;
  return (
    <section class="events" aria-labelledby="events-title">
      <div class="events-head">
        <h2 id="events-title">
          Newest events <span class="count">{plural(found.length, "row")} · times in {zoneName()}</span>
        </h2>
        {feed.waiting.value > 0 && (
          <button type="button" onClick={showNew}>
            Show {plural(feed.waiting.value, "new event")}
          </button>
        )}
      </div>
      <div class="event-rows" role="region" aria-label="Newest events" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">time</th>
              <th scope="col">event</th>
              <th scope="col">user</th>
              <th scope="col">properties</th>
            </tr>
          </thead>
          <tbody>
            {found.map((row) => (
              <tr key={keyOf(row)}>
                <td class="when" title={new Date(timeOf(row)).toISOString()}>
                  {Date.now() - timeOf(row) > 43_200_000 && `${dayOf(timeOf(row))} `}
                  {clockTime(timeOf(row))}
                </td>
                <td class="what">
                  <bdi>{row.event_type}</bdi>
                </td>
                <td>
                  <bdi>{row.user_id ?? "–"}</bdi>
                </td>
                <td class="properties">
                  <bdi>{labelText(row.properties as Record<string, unknown> | null)}</bdi>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {found.length === 0 && <p class="quiet-note">No event fits “{search.value}”.</p>}
    </section>
  );
}

function showNew(): void {
  feed.release();
  scrollTo({ top: 0 });
}
