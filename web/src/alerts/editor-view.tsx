import { useEffect, useMemo, useState } from "preact/hooks";
import { reasonOf } from "../api";
import { planFor } from "../plans";
import { catalogue, connection } from "../session";
import { groups, opened } from "../view";
import { Editor } from "./editor";
import { EMPTY, formAbout, readForm, type Form } from "./form";
import { AlertLink } from "./link";
import type { Alert } from "./protocol";
import { readAlert } from "./requests";

/** A form for a new alert, about the panel that the address names. */
export function NewAlert() {
  const about = opened.value;
  const start = useMemo((): Form => (about === null ? EMPTY : filled(about)), [about]);
  return <Editor key={about} start={start} before={null} slot={about ?? ""} />;
}

/** The metric, aggregation and group of a panel. */
function filled(panel: string): Form {
  const item = catalogue.find(panel);
  const kind = panel.startsWith("event:") ? "event" : "metric";
  const plan = planFor(kind, item?.type ?? "gauge", item?.cumulative.peek() ?? false);
  return formAbout(panel, plan.lines[0]!.aggregation, groups.peek().get(panel) ?? null);
}

/** The form of an alert as it stands on the server. */
export function EditAlert({ id }: { id: string }) {
  const [alert, setAlert] = useState<Alert | null>(null);
  const [trouble, setTrouble] = useState("");
  const connected = connection.value.phase === "connected";

  useEffect(() => {
    if (alert || !connected) return undefined;
    let over = false;
    readAlert(id).then(
      (found) => !over && setAlert(found),
      (error: unknown) => !over && setTrouble(reasonOf(error)),
    );
    return () => void (over = true);
  }, [id, connected, alert]);

  const start = useMemo(() => alert && readForm(alert), [alert]);
  if (alert && start) return <Editor start={start} before={alert} slot={id} reread={() => setAlert(null)} />;
  if (trouble === "") return <p class="quiet-note">Opening the alert…</p>;
  return (
    <p class="quiet-note" role="alert">
      {trouble} <AlertLink id="" name="All alerts" />
    </p>
  );
}
