import { Panel } from "../panels/panel";
import { readSelector } from "../protocol";
import { catalogue } from "../session";
import { AskedWidget } from "./asked";
import type { Widget } from "./documents";

/** A live chart of a whole metric or event type is the same panel as everywhere; any other widget asks by itself. */
export function WidgetView({ widget }: { widget: Widget }) {
  const selected = readSelector(widget.query);
  const item = selected && catalogue.items.value.find(({ id }) => id === `${selected.kind}:${selected.name}`);
  if (!catalogue.loaded.value && !item) return <p class="quiet-note">Asking the server what it holds…</p>;
  const plain = Object.keys(widget.visualization_config).length === 0;
  if (!item || !selected?.whole || !plain || widget.type !== "chart" || widget.refresh_interval !== 0) {
    return <AskedWidget widget={widget} selected={selected} unit={item?.unit.value ?? ""} type={item?.type ?? ""} />;
  }
  return (
    <>
      {widget.title !== "" && widget.title !== item.name && <p class="widget-title">{widget.title}</p>}
      <Panel item={item} />
    </>
  );
}
