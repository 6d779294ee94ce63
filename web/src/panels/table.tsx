import { clockTime, exact, zoneName } from "../format";
import { tableOf, type DrawnLine, type Model } from "../model";

/** The chart's numbers, newest first. */
export function TableTwin({ lines, model, unit }: { lines: DrawnLine[]; model: Model; unit: string }) {
  const { head, rows } = tableOf(lines, model);
  return (
    <div class="table" tabIndex={0} role="region" aria-label="Values per step">
      <table>
        <thead>
          <tr>
            <th scope="col">from ({zoneName()})</th>
            {head.map((label) => (
              <th scope="col" key={label}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ time, values }) => (
            <tr key={time}>
              <th scope="row">{clockTime(time)}</th>
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
