import { useState } from "preact/hooks";
import { currentKey } from "./api";
import { giveKey } from "./session";

/** Asks for the key of a server that has keys. */
export function KeyForm({ reason }: { reason: string }) {
  const [key, setKey] = useState("");
  return (
    <form
      class="empty"
      onSubmit={(event) => {
        event.preventDefault();
        if (key.trim()) giveKey(key.trim());
      }}
    >
      <h2>This server asks for a key</h2>
      {currentKey() !== "" && <p>{reason}</p>}
      {/* Password managers file a key under a name. */}
      <input type="text" name="username" autocomplete="username" value="streamgauge" readOnly hidden />
      <label>
        Key that may read
        <input
          type="password"
          autocomplete="current-password"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
      </label>
      <button type="submit">Connect</button>
      <p class="quiet-note">It is kept in this tab only.</p>
    </form>
  );
}
