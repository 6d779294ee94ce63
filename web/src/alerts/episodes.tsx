import { useState } from "preact/hooks";
import { duration, grouped, withUnit } from "../format";
import type { Episode } from "./protocol";
import { At } from "./times";
import { causeText, episodeEnd, groupText } from "./words";

const PAGE = 20;

interface Props {
  /** Newest first. */
  episodes: Episode[];
  /** How many there are, of which these are a part. */
  total?: number;
  unit: string;
  title: string;
}

/** Episodes as a table: which group, when, how long, how bad. */
export function EpisodeTable({ episodes, total = episodes.length, unit, title }: Props) {
  const [shown, show] = useState(PAGE);
  const hasGroups = episodes.some(({ group }) => Object.keys(group).length > 0);
  return (
    <>
      <div class="wide" role="region" aria-label={title} tabIndex={0}>
        <table>
          <caption>
            {title} <span class="count">{grouped(String(total))}</span>
          </caption>
          <thead>
            <tr>
              {hasGroups && <th scope="col">group</th>}
              <th scope="col">fired</th>
              <th scope="col">for</th>
              <th scope="col">level</th>
              <th scope="col">at first</th>
              <th scope="col">peak</th>
              <th scope="col">at the end</th>
              <th scope="col">ended</th>
            </tr>
          </thead>
          <tbody>
            {episodes.slice(0, shown).map((episode, at) => (
              <tr key={episode.id || at}>
                {hasGroups && (
                  <th scope="row">
                    <bdi>{groupText(episode.group) || "–"}</bdi>
                  </th>
                )}
                <td>
                  <At time={episode.fired_at} />
                </td>
                <td>{duration(episode.duration * 1000)}</td>
                <td class={episode.worst}>
                  {episode.worst}
                  {causeText(episode.cause) !== "" && `: ${causeText(episode.cause)}`}
                </td>
                <td>{withUnit(episode.value_at_fire, unit)}</td>
                <td>{withUnit(episode.peak, unit)}</td>
                <td>{withUnit(episode.value_at_resolve, unit)}</td>
                <td>{episodeEnd(episode)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {episodes.length > shown && (
        <button type="button" onClick={() => show(shown + 5 * PAGE)}>
          Show {Math.min(5 * PAGE, episodes.length - shown)} more
        </button>
      )}
    </>
  );
}
