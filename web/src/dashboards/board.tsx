import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { sentence } from "../format";
import { Explore } from "../panels/explore";
import { catalogue, connection } from "../session";
import { opened } from "../view";
import { documents, type Dashboard, type Widget } from "./documents";
import { Editor } from "./editor";
import { Picker } from "./picker";
import { goTo } from "./place";
import { WidgetView } from "./widget";

/** How often a dashboard that is only looked at takes a colleague's changes. */
const REFRESH = 15_000;

const world = {
  now: () => performance.now(),
  later: (call: () => void, ms: number): (() => void) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

export function BoardView({ board }: { board: Dashboard }) {
  const editor = useMemo(() => new Editor(board, documents, world), []);
  const list = useRef<HTMLUListElement>(null);
  const [picking, setPicking] = useState(board.widgets.length === 0);
  const [said, say] = useState("");
  useKeeping(editor);
  useUndoKey(editor);

  const { name, widgets } = editor.board.value;

  /** Moves by the keyboard or a button; the focus stays where it was on the widget that moved. */
  function move(widget: Widget, by: number): void {
    const focused = document.activeElement;
    const place = editor.move(widget.id, by);
    if (place === null) return say(`${titleOf(widget)} is ${by < 0 ? "first" : "last"} already.`);
    say(`${titleOf(widget)} is now ${place + 1} of ${widgets.length}.`);
    requestAnimationFrame(() => focused instanceof HTMLElement && focused.isConnected && focused.focus());
  }

  function remove(widget: Widget): void {
    const at = widgets.indexOf(widget);
    editor.remove(widget.id);
    say(`${titleOf(widget)} is removed. Undo brings it back.`);
    // The focus would be lost with the button that was pressed.
    requestAnimationFrame(() => {
      const left = list.current?.querySelectorAll<HTMLElement>(":scope > li") ?? [];
      (left[Math.min(at, left.length - 1)] ?? document.getElementById("board-undo"))?.focus();
    });
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (!event.altKey || event.target instanceof HTMLInputElement) return;
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const id = (event.target as HTMLElement).closest<HTMLElement>("[data-widget]")?.dataset["widget"];
    const widget = widgets.find((each) => each.id === id);
    if (by === undefined || !widget) return;
    event.preventDefault(); // Alt and an arrow is the browser's way back
    event.stopPropagation();
    move(widget, by);
  }

  if (opened.value !== null) return <Explore items={catalogue.items.value} />; // one panel alone
  return (
    <section class="dashboards" aria-labelledby="board-title" onKeyDown={onKeyDown}>
      <h2 id="board-title" class="unseen">
        Dashboard {name}
      </h2>
      <div class="board-bar">
        <button type="button" onClick={() => goTo(null)}>
          All dashboards
        </button>
        <label>
          <span class="unseen">Name of this dashboard</span>
          <input type="text" maxLength={400} value={name} onInput={(event) => editor.rename(event.currentTarget.value)} />
        </label>
        <button type="button" aria-expanded={picking} onClick={() => setPicking(!picking)}>
          Choose panels
        </button>
        <button type="button" id="board-undo" aria-disabled={!editor.canUndo.value} onClick={() => editor.undo()}>
          Undo
        </button>
        <button type="button" aria-disabled={!editor.canRedo.value} onClick={() => editor.redo()}>
          Redo
        </button>
        <Saved editor={editor} />
      </div>
      {picking && <Picker editor={editor} say={say} />}
      <p class="unseen" role="status">
        {said}
      </p>
      {widgets.length === 0 && !picking && <p class="quiet-note">This dashboard is empty. “Choose panels” fills it.</p>}
      <ul class="panels widgets" ref={list}>
        {widgets.map((widget) => (
          <li key={widget.id} data-widget={widget.id} tabIndex={-1} aria-label={titleOf(widget)}>
            <WidgetView widget={widget} />
            <div class="widget-bar" role="group" aria-label={`Arrange ${titleOf(widget)}`}>
              <button type="button" title="Alt and ←" onClick={() => move(widget, -1)}>
                <span aria-hidden="true">←</span> <span class="unseen">Move {titleOf(widget)} </span>earlier
              </button>
              <button type="button" title="Alt and →" onClick={() => move(widget, 1)}>
                <span class="unseen">Move {titleOf(widget)} </span>later <span aria-hidden="true">→</span>
              </button>
              <button type="button" onClick={() => remove(widget)}>
                Remove<span class="unseen"> {titleOf(widget)}</span>
              </button>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}

const titleOf = (widget: Widget): string => widget.title || widget.query;

/** Saves what waits when the page goes, tries again when the server is back, and looks for a colleague's changes. */
function useKeeping(editor: Editor): void {
  const connected = connection.value.phase === "connected";
  useEffect(() => {
    const leave = (): void => void (document.visibilityState === "hidden" && editor.flush());
    const timer = setInterval(() => document.visibilityState === "visible" && void editor.refresh(), REFRESH);
    document.addEventListener("visibilitychange", leave);
    addEventListener("pagehide", leave);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", leave);
      removeEventListener("pagehide", leave);
      void editor.close();
    };
  }, [editor]);
  const lost = useRef(false);
  useEffect(() => {
    if (connected && lost.current) void editor.flush().then(() => editor.refresh());
    lost.current = !connected;
  }, [editor, connected]);
}

/** Undo by its key, wherever the focus is; a field of text has an undo of its own. */
function useUndoKey(editor: Editor): void {
  useEffect(() => {
    function onKeyDown(event: KeyboardEvent): void {
      const { target, key } = event;
      const typing = target instanceof HTMLInputElement && target.type !== "checkbox";
      if (typing || !(event.ctrlKey || event.metaKey) || key.toLowerCase() !== "z") return;
      event.preventDefault();
      if (event.shiftKey) editor.redo();
      else editor.undo();
    }
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [editor]);
}

/** Whether everything is saved, in words; a conflict asks which of the two is to stay. */
function Saved({ editor }: { editor: Editor }) {
  const state = editor.state.value;
  const words = {
    saved: "Saved",
    changed: "Saving…",
    saving: "Saving…",
    failed: state.phase === "failed" ? `Not saved: ${sentence(state.message)}` : "",
    conflict: "Not saved: somebody else has changed this dashboard.",
    gone: "Not saved: somebody else has deleted this dashboard.",
  }[state.phase];
  return (
    <p class={`saved ${state.phase}`} role="status">
      {words}
      {state.phase === "conflict" && (
        <>
          <button type="button" onClick={() => void editor.takeTheirs()}>
            Take theirs
          </button>
          <button type="button" onClick={() => void editor.keepMine()}>
            Keep mine
          </button>
        </>
      )}
      {state.phase === "gone" && (
        <button type="button" onClick={() => void editor.makeAnew().then((made) => made && goTo(made.id))}>
          Make it anew
        </button>
      )}
    </p>
  );
}
