import { useEffect, useRef, useState } from "preact/hooks";
import { plural, sentence } from "../format";
import { connection } from "../session";
import { documents, type Dashboard } from "./documents";
import { goTo } from "./place";

/** All dashboards this page may list, and a form for a new one. */
export function List() {
  const [boards, setBoards] = useState<Dashboard[] | null>(null);
  const [removed, setRemoved] = useState<Dashboard | null>(null);
  const [trouble, setTrouble] = useState("");
  const connected = connection.value.phase === "connected";

  async function attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      setTrouble("");
    } catch (error) {
      setTrouble(sentence((error as Error).message));
    }
  }

  const load = (): Promise<void> => attempt(async () => setBoards(await documents.list()));

  useEffect(() => {
    if (connected) void load();
  }, [connected]);

  const remove = (board: Dashboard): Promise<void> =>
    attempt(async () => {
      await documents.remove(board.id);
      setRemoved(board);
      setBoards(await documents.list());
    });

  const putBack = (board: Dashboard): Promise<void> =>
    attempt(async () => {
      await documents.create(board);
      setRemoved(null);
      setBoards(await documents.list());
    });

  return (
    <section class="dashboards" aria-labelledby="dashboards-title">
      <h2 id="dashboards-title">Dashboards</h2>
      <p class="said" role="status">
        {trouble || (removed && `“${removed.name}” is deleted.`)}
        {removed && !trouble && (
          <button type="button" onClick={() => void putBack(removed)}>
            Undo
          </button>
        )}
      </p>
      {boards?.length === 0 && (
        <p class="quiet-note">None yet. A dashboard keeps the charts you choose, in your order, for everybody who opens this page.</p>
      )}
      {boards && boards.length > 0 && (
        <ul class="boards">
          {boards.map((board) => (
            <li key={board.id}>
              <a
                href={`?view=dashboards&dashboard=${encodeURIComponent(board.id)}`}
                onClick={(event) => {
                  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
                  event.preventDefault();
                  goTo(board.id);
                }}
              >
                <bdi>{board.name}</bdi>
              </a>
              <span class="count">{plural(board.widgets.length, "panel")}</span>
              <button type="button" onClick={() => void remove(board)}>
                Delete<span class="unseen"> {board.name}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      <NewBoard attempt={attempt} />
    </section>
  );
}

function NewBoard({ attempt }: { attempt(work: () => Promise<void>): Promise<void> }) {
  const field = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);

  async function create(): Promise<void> {
    const name = field.current?.value.trim();
    if (!name || busy) return field.current?.focus();
    setBusy(true);
    await attempt(async () => goTo((await documents.create({ name, description: "", widgets: [] })).id));
    setBusy(false);
  }

  return (
    <form
      class="new-board"
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <label>
        Name of a new dashboard
        <input ref={field} type="text" maxLength={400} autocomplete="off" />
      </label>
      <button type="submit" aria-disabled={busy}>
        Create
      </button>
    </form>
  );
}
