import { exact, zoneName } from "../format";
import { csvOf, tableOf, timeInTable, type Model } from "../model";

interface Props {
  name: string;
  model: Model;
  unit: string;
  span: number;
}

/** The chart's numbers, newest first. */
export function TableTwin({ name, model, unit, span }: Props) {
  const { head, rows } = tableOf(model);
  return (
    <div class="table" tabIndex={0} role="region" aria-label={`Values of ${name} per step`}>
      <table>
        <thead>
          <tr>
            <th scope="col">from ({zoneName()})</th>
            {head.map((label) => (
              <th scope="col" key={label}>
                <bdi>{label}</bdi>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ time, values }) => (
            <tr key={time}>
              <th scope="row">{timeInTable(time, span)}</th>
              {values.map((value, i) => (
                <td key={head[i]}>{exact(value, unit)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Hands the table to the browser as a file. */
export function saveCsv(name: string, model: Model): void {
  const file = new Blob([csvOf(tableOf(model))], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${name.replace(/[^\w.-]+/g, "_").slice(0, 80) || "table"}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
