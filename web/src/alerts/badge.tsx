import { useEffect } from "preact/hooks";
import { alerts } from "../session";

/** How many alerts fire, beside the link that leads to them. */
export function FiringBadge() {
  const open = alerts.open.value;
  const count = open.length;
  useEffect(() => {
    document.title = count > 0 ? `(${count}) Streamgauge` : "Streamgauge";
  }, [count]);
  if (count === 0) return null;
  const names = open.slice(0, 10).map(({ alert }) => alert);
  return (
    <span class={`firing-badge ${open[0]!.level}`} title={names.join("\n")}>
      {count}
      <span class="unseen"> firing</span>
    </span>
  );
}

/** Said aloud: what began and what ended. */
export function FiringSpoken() {
  return <>{alerts.said.value}</>;
}
