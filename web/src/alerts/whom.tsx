import { useRef, useState } from "preact/hooks";
import { Shown, useLoaded } from "./acts";
import { ChannelState, TestButton } from "./channel-list";
import type { Part } from "./editor";
import { Field, Labelled } from "./fields";
import type { Channel } from "./protocol";
import { listChannels } from "./requests";

const SEVERITIES = ["critical", "warning", "info"];
const REPEATS = ["1h", "4h", "12h", "1d"];
/** What a message may name. */
const NAMES = ["value", "threshold", "group", "unit", "since", "peak", "condition", "name", "metric", "severity", "level", "count", "total"];

/** Whom it tells, and what. */
export function Whom({ form, set, fault }: Part) {
  return (
    <fieldset>
      <legend>Whom</legend>
      <Channels chosen={form.notification_channels} set={(names) => set("notification_channels", names)} fault={fault("notification_channels")} />
      <Message value={form.message} labels={form.group_by} set={(value) => set("message", value)} fault={fault("message")} />
      <div class="row">
        <Field label="Severity" name="severity" value={form.severity} set={(value) => set("severity", value)} fault={fault("severity")} options={SEVERITIES} placeholder="its level" short />
        <Field label="Told again every" name="repeat_interval" value={form.repeat_interval} set={(value) => set("repeat_interval", value)} fault={fault("repeat_interval")} options={REPEATS} placeholder="4h" short />
      </div>
    </fieldset>
  );
}

function Message({ value, labels, set, fault }: { value: string; labels: string[]; set(value: string): void; fault: string }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const names = [...NAMES, ...labels.map((label) => `labels.${label}`)];

  /** Puts a name where the cursor is, and the cursor behind it: the next key is for the message. */
  function insert(name: string): void {
    const field = area.current;
    if (!field) return;
    field.focus();
    field.setRangeText(`{${name}}`, field.selectionStart, field.selectionEnd, "end");
    set(field.value);
  }

  return (
    <>
      <Labelled id="alert-message" label="Message" fault={fault} hint="Its values are filled in; nothing in it runs.">
        <textarea
          ref={area}
          id="alert-message"
          data-field="message"
          rows={3}
          maxLength={2000}
          value={value}
          placeholder="{group} takes {value} {unit}, more than {threshold}"
          aria-invalid={fault !== ""}
          aria-describedby="alert-message-notes"
          onInput={(event) => set(event.currentTarget.value)}
        />
      </Labelled>
      <p class="chips names" role="group" aria-label="Put into the message">
        {names.map((name) => (
          <button key={name} type="button" onClick={() => insert(name)}>
            {`{${name}}`}
          </button>
        ))}
      </p>
    </>
  );
}

/** The channels there are, with what is not configured, and others by name. */
function Channels({ chosen, set, fault }: { chosen: string[]; set(names: string[]): void; fault: string }) {
  const loaded = useLoaded(listChannels);
  const [other, setOther] = useState("");
  const listed = new Set(loaded.value?.map(({ name }) => name));
  const unlisted = chosen.filter((name) => !listed.has(name));
  const toggle = (name: string, on: boolean): void => set(on ? [...chosen, name] : chosen.filter((each) => each !== name));

  function add(): void {
    const name = other.trim();
    if (name === "") return;
    if (!chosen.includes(name)) set([...chosen, name]);
    setOther("");
  }

  return (
    <div class={`field ${fault === "" ? "" : "wrong"}`} role="group" aria-label="Channels">
      <span class="label">Channels</span>
      <Shown of={loaded} empty="There are none.">
        {(all) => (
          <ul class="channels">
            {all.map((channel) => (
              <One key={channel.name} channel={channel} on={chosen.includes(channel.name)} toggle={toggle} />
            ))}
          </ul>
        )}
      </Shown>
      {loaded.value !== null && unlisted.length > 0 && (
        <ul class="channels">
          {unlisted.map((name) => (
            <One key={name} channel={{ name, configured: true }} on toggle={toggle} />
          ))}
        </ul>
      )}
      <div class="row other" onKeyDown={(event) => event.key === "Enter" && (event.preventDefault(), add())} onFocusOut={add}>
        <Field label="Another one" name="notification_channels" value={other} set={setOther} fault={fault} placeholder="slack:#ops or email:ops@example.com" />
        <button type="button" onClick={add}>
          Add<span class="unseen"> the channel</span>
        </button>
      </div>
    </div>
  );
}

function One({ channel, on, toggle }: { channel: Channel | Pick<Channel, "name" | "configured">; on: boolean; toggle(name: string, on: boolean): void }) {
  return (
    <li>
      <label>
        <input type="checkbox" checked={on} onChange={(event) => toggle(channel.name, event.currentTarget.checked)} />{" "}
        <bdi class="channel">{channel.name}</bdi> {"kind" in channel && <ChannelState channel={channel} />}
      </label>
      <TestButton channel={channel} />
    </li>
  );
}
