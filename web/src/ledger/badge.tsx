import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { grouped, plural } from "../format";
import { ledger, readLedger, warnings } from "../session";
import { accountOf } from "./account";

export const ledgerShown = signal(false);

/** Every row that came is accounted for: the two numbers are equal, or the badge says that they are not. */
export function LedgerBadge() {
  const found = ledger.value;
  if (!found) return <p class="ledger">ledger –</p>;
  const { total, rejected, balanced, words } = accountOf(found);
  const [came, counted] = [grouped(String(found.received)), grouped(String(total))];
  const notes = [words, ...warnings.value].join("\n");
  return (
    <button
      type="button"
      class={`ledger ${balanced ? "" : "wrong"}`}
      title={notes}
      aria-haspopup="dialog"
      onClick={() => {
        readLedger();
        ledgerShown.value = true;
      }}
    >
      ledger {came} {found.received === total ? "=" : "≠"} {counted} <span aria-hidden="true">{balanced ? "✓" : "!"}</span>
      {!balanced && <span> does not balance</span>}
      {rejected > 0 && <span class="rejected"> {grouped(String(rejected))} rejected</span>}
      {warnings.value.length > 0 && <span class="rejected"> {plural(warnings.value.length, "warning")}</span>}
    </button>
  );
}

/** The breakdown, loaded when it is first asked for. */
export function LedgerDialog() {
  const [view, setView] = useState<{ show: ComponentType } | null>(null);
  const wanted = ledgerShown.value;
  useEffect(() => {
    if (!wanted || view) return;
    import("./dialog").then(
      (module) => setView({ show: module.default }),
      () => (ledgerShown.value = false), // no connection: the next click tries again
    );
  }, [wanted]);
  if (!view) return null;
  const View = view.show;
  return <View />;
}
