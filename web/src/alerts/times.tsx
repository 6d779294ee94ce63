import { beat } from "../clock";
import { zone } from "../theme";
import { momentText, sinceText } from "./words";

/** How long something has been so; counts on. */
export function Since({ time }: { time: string | null }) {
  return <time dateTime={time ?? undefined}>{sinceText(time, beat.value)}</time>;
}

/** A moment, with its day where that is not today. */
export function At({ time }: { time: string | null }) {
  void zone.value; // the words are written in it
  return (
    <time dateTime={time ?? undefined} title={time ?? undefined}>
      {momentText(time, Date.now())}
    </time>
  );
}
