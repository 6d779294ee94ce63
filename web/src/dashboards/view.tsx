import { useEffect, useState } from "preact/hooks";
import { sentence } from "../format";
import { connection } from "../session";
import { BoardView } from "./board";
import { documents, type Dashboard } from "./documents";
import { List } from "./list";
import { place } from "./place";
import "./dashboards.css";

/** The list of dashboards, or the one that the address names. */
export function DashboardsView() {
  const id = place.value;
  return id === null ? <List /> : <Opened key={id} id={id} />;
}

export default DashboardsView;

function Opened({ id }: { id: string }) {
  const [board, setBoard] = useState<Dashboard | null>(null);
  const [trouble, setTrouble] = useState("");
  const connected = connection.value.phase === "connected";

  useEffect(() => {
    if (board || !connected) return undefined;
    let over = false;
    documents.read(id).then(
      (found) => !over && setBoard(found),
      (error: Error) => !over && setTrouble(sentence(error.message)),
    );
    return () => void (over = true);
  }, [id, connected, board]);

  if (board) return <BoardView board={board} />;
  if (!trouble) return <p class="quiet-note">Opening the dashboard…</p>;
  return (
    <>
      <p class="quiet-note" role="alert">
        {trouble}
      </p>
      <List />
    </>
  );
}
