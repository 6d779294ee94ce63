import { useState } from "preact/hooks";
import { reasonOf } from "../api";
import { Shown, useLoaded } from "./acts";
import type { Channel } from "./protocol";
import { listChannels, testChannel } from "./requests";
import { At } from "./times";

/** The ways to tell people, and whether they work. */
export function ChannelList() {
  const loaded = useLoaded(listChannels);
  return (
    <section class="group" aria-labelledby="channels-title">
      <h2 id="channels-title">Channels</h2>
      <Shown of={loaded} empty="There are none.">
        {(all) => (
          <ul class="channels">
            {all.map((channel) => (
              <li key={channel.name}>
                <p>
                  <bdi class="channel">{channel.name}</bdi> <ChannelState channel={channel} />
                </p>
                <TestButton channel={channel} />
              </li>
            ))}
          </ul>
        )}
      </Shown>
    </section>
  );
}

/** Where it goes, or why it does not. */
export function ChannelState({ channel }: { channel: Channel }) {
  if (!channel.configured) return <span class="count">{(channel.problem ?? "not configured").replace(`${channel.name} is `, "")}</span>;
  return (
    <span class="count">
      <bdi>{channel.target}</bdi>
      {channel.last_sent_at !== null && (
        <>
          {" "}
          · last sent <At time={channel.last_sent_at} />
        </>
      )}
      {channel.last_error !== null && (
        <span class="fault">
          {" "}
          · <bdi>{channel.last_error}</bdi>
        </span>
      )}
    </span>
  );
}

/** Sends a test message and says what came of it. */
export function TestButton({ channel }: { channel: Pick<Channel, "name" | "configured"> }) {
  const [said, say] = useState<{ words: string; bad: boolean } | null>(null);
  const [busy, setBusy] = useState(false);

  async function test(): Promise<void> {
    if (busy) return;
    setBusy(true);
    say({ words: "Sending…", bad: false });
    try {
      await testChannel(channel.name);
      say({ words: "The far side has taken the message.", bad: false });
    } catch (error) {
      say({ words: reasonOf(error), bad: true });
    }
    setBusy(false);
  }

  return (
    <span class="test">
      <span class={said?.bad ? "fault" : "count"} role="status">
        <bdi>{said?.words}</bdi>
      </span>
      <button type="button" aria-disabled={busy} onClick={() => void test()}>
        Test<span class="unseen"> {channel.name}</span>
      </button>
    </span>
  );
}
