import { useEffect, useRef, useState } from "preact/hooks";
import { getRejects } from "../api";
import { grouped, moment, plural, sentence } from "../format";
import { toMs, type Reject, type RejectList } from "../protocol";
import { ledger } from "../session";
import { accountOf, mendLines, type Account, type Line } from "./account";
import { ledgerShown } from "./badge";
import "./ledger.css";

/** What became of every row, where the accepted ones are, and what was refused. */
export default function LedgerDetails() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = ledgerShown.value;
  const found = ledger.value;
  useEffect(() => {
    if (shown && !dialog.current?.open) dialog.current?.showModal();
    if (!shown) dialog.current?.close();
  }, [shown]);
  const account = found && accountOf(found);
  return (
    <dialog class="ledger-details" ref={dialog} aria-labelledby="ledger-title" onClose={() => (ledgerShown.value = false)}>
      <div class="ledger-head">
        <h2 id="ledger-title">Ledger</h2>
        <button type="button" onClick={() => (ledgerShown.value = false)}>
          Close
        </button>
      </div>
      {account && <Verdict account={account} />}
      {found && account && (
        <div class="sums">
          <Sum title="What became of every row" first="received" total={found.received} lines={account.rows} />
          {account.places.length > 0 && (
            <Sum title="Where the accepted samples are" first="accepted samples" total={found.accepted} lines={account.places} />
          )}
        </div>
      )}
      {account && account.traits.length > 0 && (
        <ul class="traits" aria-label="Of the accepted samples">
          {account.traits.map(({ label, count }) => (
            <li key={label}>
              {grouped(String(count))} {label}
            </li>
          ))}
        </ul>
      )}
      {shown && account && account.rejected > 0 && <Rejects rejected={account.rejected} />}
    </dialog>
  );
}

function Verdict({ account }: { account: Account }) {
  if (account.balanced) return <p class="verdict">Every row that came is accounted for ✓</p>;
  return (
    <p class="verdict wrong" role="alert">
      <strong>The ledger does not balance.</strong> {account.faults.join(" ")} “streamgauge verify” finds out more.
    </p>
  );
}

function Sum({ title, first, total, lines }: { title: string; first: string; total: number; lines: Line[] }) {
  return (
    <table>
      <caption>{title}</caption>
      <tbody>
        <tr class="total">
          <th scope="row">{first}</th>
          <td>{grouped(String(total))}</td>
        </tr>
        {lines.map(({ label, count, inner }) => (
          <tr key={label} class={inner ? "inner" : ""}>
            <th scope="row">{label}</th>
            <td>{grouped(String(count))}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The newest refused rows, asked for again when more are refused. */
function Rejects({ rejected }: { rejected: number }) {
  const [list, setList] = useState<RejectList | null>(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    let current = true;
    getRejects().then(
      (answer) => current && (setList(answer), setTrouble("")),
      (error: Error) => current && setTrouble(sentence(error.message)),
    );
    return () => void (current = false);
  }, [rejected]);
  return (
    <section class="rejects" aria-labelledby="rejects-title">
      <h3 id="rejects-title">Newest rejected rows</h3>
      {trouble && <p role="status">{trouble}</p>}
      {list?.rejects.length === 0 && <p class="count">None of them is kept (MAX_REJECTS).</p>}
      {list && list.rejects.length > 0 && (
        <>
          <ul>
            {list.rejects.map((row) => (
              <Row key={row.id} row={row} />
            ))}
          </ul>
          <p class="count">{plural(list.kept, "row is", "rows are")} kept. Once mended they can be sent again, and count at the time they came:</p>
          <pre class="mend">{mendLines(location.origin)}</pre>
        </>
      )}
    </section>
  );
}

function Row({ row }: { row: Reject }) {
  const at = toMs(row.at);
  const place = row.index === null ? "a body" : `${row.kind}, row ${row.index}`;
  return (
    <li>
      <p>
        <code>{row.reason}</code> <bdi>{row.message}</bdi>
        <span class="count">
          {" "}
          · {place}
          {at !== null && <> · {moment(at, Date.now())}</>}
        </span>
      </p>
      {/* A long one scrolls, with the keyboard too. */}
      <pre tabIndex={0}>
        <bdi>{row.content}</bdi>
        {row.cut && "…"}
      </pre>
    </li>
  );
}
