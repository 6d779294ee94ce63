import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isOwn } from "./catalogue";
import { Empty } from "./empty";
import { EventsView } from "./events";
import { Header } from "./header";
import { Help } from "./help";
import { KeyForm } from "./key-form";
import { LedgerDialog } from "./ledger/badge";
import { Explore } from "./panels/explore";
import { catalogue, connection, needsKey } from "./session";
import { opened, search, section } from "./view";

export function App() {
  return (
    <>
      <a class="skip" href="#panels">
        Skip to the charts
      </a>
      <Header />
      <main id="panels" tabIndex={-1}>
        <Content />
      </main>
      <Help />
      <LedgerDialog />
    </>
  );
}

function Content() {
  const items = catalogue.items.value;
  if (needsKey.value !== null) return <KeyForm reason={needsKey.value} />;
  if (section.value === "dashboards") return <Loaded key="dashboards" what="dashboards" load={loadDashboards} />;
  if (section.value === "alerts") return <Loaded key="alerts" what="alerts" load={loadAlerts} />;
  if (section.value === "events") return <EventsView />;
  const wanted = search.value.trim() !== "" || opened.value !== null;
  if (items.length > 0 && (wanted || !items.every(isOwn))) return <Explore items={items} />;
  if (catalogue.loaded.value) return <Empty />;
  const waiting = connection.value.phase === "connecting" || connection.value.phase === "connected";
  return <p class="quiet-note">{waiting ? "Asking the server what it holds…" : "Nothing to show until the server answers."}</p>;
}

type Module = Promise<{ default: ComponentType }>;
const loadDashboards = (): Module => import("./dashboards/view");
const loadAlerts = (): Module => import("./alerts/view");

/** A section that is loaded when it is asked for. */
function Loaded({ what, load }: { what: string; load(): Module }) {
  const [view, setView] = useState<{ show: ComponentType } | string>("Loading…");
  useEffect(() => {
    load().then(
      (module) => setView({ show: module.default }),
      () => setView(`The ${what} could not be loaded; load the page again.`),
    );
  }, []);
  if (typeof view === "string") return <p class="quiet-note">{view}</p>;
  const View = view.show;
  return <View />;
}
