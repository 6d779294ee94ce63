import { Header } from "./header";
import { Empty } from "./empty";
import { KeyForm } from "./key-form";
import { Panels } from "./panels/panels";
import { catalogue, connection, needsKey } from "./session";

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
    </>
  );
}

function Content() {
  const items = catalogue.items.value;
  if (needsKey.value !== null) return <KeyForm reason={needsKey.value} />;
  if (items.length > 0) return <Panels items={items} />;
  if (catalogue.loaded.value) return <Empty />;
  const waiting = connection.value.phase === "connecting" || connection.value.phase === "connected";
  return <p class="quiet-note">{waiting ? "Asking the server what it holds…" : "Nothing to show until the server answers."}</p>;
}
