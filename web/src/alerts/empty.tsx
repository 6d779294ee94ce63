import { currentKey } from "../api";
import { Command } from "../empty";
import { showAlert } from "../view";
import { attempt, Shown, useLoaded, type Loaded } from "./acts";
import type { Template } from "./protocol";
import { listChannels, listTemplates, makeFromTemplate } from "./requests";

/** The command that makes an alert on this server. */
export function alertLine(origin: string, withKey: boolean): string {
  const key = withKey ? ` \\\n  -H 'Authorization: Bearer YOUR_KEY'` : "";
  const body = `{"name": "Too hot", "metric_name": "hello_world", "threshold": 40}`;
  return `curl ${origin}/api/alerts \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${body}'`;
}

/** A server without alerts: a form, one line to try, and templates that one click makes alerts of. */
export function EmptyAlerts() {
  return (
    <section class="empty no-alerts" aria-labelledby="empty-title">
      <h2 id="empty-title">Be told when a number goes wrong</h2>
      <p>
        <button type="button" class="main-act" onClick={() => showAlert("new")}>
          New alert
        </button>{" "}
        or “Alert” below any chart, or a line such as this:
      </p>
      <Command line={alertLine(location.origin, currentKey() !== "")} />
      <Templates />
    </section>
  );
}

/** Those that are ready, then one's own. */
export function Templates() {
  const loaded = useLoaded(listTemplates);
  const ready = new Set(loaded.value?.ready);
  const names = Object.keys(loaded.value?.alert_templates ?? {});
  const rows = names.sort((a, b) => Number(ready.has(b)) - Number(ready.has(a)));
  const listed: Loaded<string[]> = { ...loaded, value: loaded.value && rows };
  return (
    <>
      <h3>Or begin with one of these</h3>
      <Shown of={listed} empty="There is no template.">
        {(all) => (
          <ul class="templates">
            {all.map((name) => (
              <One key={name} name={name} template={loaded.value!.alert_templates[name]!} />
            ))}
          </ul>
        )}
      </Shown>
    </>
  );
}

function One({ name, template }: { name: string; template: Template }) {
  return (
    <li>
      <div>
        <strong>
          <bdi>{name.replaceAll("_", " ")}</bdi>
        </strong>
        <p class="condition">
          <bdi>{template.description ?? template.condition}</bdi>
        </p>
      </div>
      <button type="button" onClick={() => void make(name)}>
        Use<span class="unseen"> {name}</span>
      </button>
    </li>
  );
}

/** Makes an alert that tells whom there is to tell, and shows it. */
async function make(name: string): Promise<void> {
  let id = "";
  const well = await attempt(async () => {
    const channels = (await listChannels()).filter(({ configured }) => configured).map((channel) => channel.name);
    id = (await makeFromTemplate(name, channels.length > 0 ? { notification_channels: channels } : {})).id;
  }, "The alert is made. It is evaluated from now on.");
  if (well) showAlert(id);
}
