import { showAlert } from "../view";

/** A link to an alert, which opens without a new page; in a new tab it is one. */
export function AlertLink({ id, name }: { id: string; name: string }) {
  return (
    <a
      href={`/?view=alerts&alert=${encodeURIComponent(id)}`}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        showAlert(id);
      }}
    >
      <bdi>{name || "without a name"}</bdi>
    </a>
  );
}
