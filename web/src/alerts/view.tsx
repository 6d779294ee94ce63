import { useEffect } from "preact/hooks";
import { alerts, catalogue } from "../session";
import { alertShown } from "../view";
import { Told } from "./acts";
import { EditAlert, NewAlert } from "./editor-view";
import { Opened } from "./opened";
import { Overview } from "./overview";
import { SilenceDialog } from "./silence-dialog";
import "./alerts.css";
import "./incidents.css";
import "./editor.css";

/** All alerts, one of them, or the form for one, as the address says. */
export default function AlertsView() {
  useEffect(() => alerts.watch(), []);
  return (
    <div class="alerts">
      <Part />
      <SilenceDialog />
      <Told />
    </div>
  );
}

function Part() {
  const part = alertShown.value;
  if (part === null || part === "") return <Overview />;
  // A form that is about a metric has to know which labels and what unit it has.
  if (!catalogue.loaded.value) return <p class="quiet-note">Asking the server what it holds…</p>;
  if (part === "new") return <NewAlert />;
  if (part.endsWith("/edit")) return <EditAlert key={part} id={part.slice(0, -"/edit".length)} />;
  return <Opened key={part} id={part} />;
}
