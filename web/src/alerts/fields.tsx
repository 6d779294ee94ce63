import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface Common {
  label: string;
  hint?: string;
  /** What is wrong with it; "" for nothing. */
  fault?: string;
  /** A few characters wide. */
  short?: boolean;
  /** The name by which the form finds it, to give it the focus. */
  name?: string;
}

interface FieldProps extends Common {
  value: string;
  set(value: string): void;
  placeholder?: string;
  /** Suggestions; anything else may be written too. */
  options?: readonly string[];
  /** Read as it stands, letter by letter. */
  code?: boolean;
  numeric?: boolean;
  disabled?: boolean;
  /** Has the focus when its dialog opens. */
  first?: boolean;
}

/** A line of text with its label, what helps to fill it in, and what is wrong with it. */
export function Field(props: FieldProps) {
  const { value, set, placeholder, options, code = false, numeric = false, disabled = false, first = false, name, fault = "" } = props;
  const id = useId();
  return (
    <Labelled {...props} id={id}>
      <input
        id={id}
        type="text"
        class={code ? "code" : ""}
        data-field={name}
        value={value}
        placeholder={placeholder}
        disabled={disabled}
        autofocus={first}
        inputMode={numeric ? "decimal" : undefined}
        autocomplete="off"
        spellcheck={false}
        list={options && `${id}-options`}
        aria-invalid={fault !== ""}
        aria-describedby={`${id}-notes`}
        onInput={(event) => set(event.currentTarget.value)}
      />
      {options && (
        <datalist id={`${id}-options`}>
          {options.map((option) => (
            <option key={option} value={option} />
          ))}
        </datalist>
      )}
    </Labelled>
  );
}

interface ChoiceProps extends Common {
  value: string;
  set(value: string): void;
  options: readonly (readonly [value: string, words: string])[];
}

/** One of a few. A value that is none of them stays as it is. */
export function Choice(props: ChoiceProps) {
  const { value, set, options, name, fault = "" } = props;
  const id = useId();
  const all = options.some(([each]) => each === value) ? options : [...options, [value, value] as const];
  return (
    <Labelled {...props} id={id}>
      <select
        id={id}
        value={value}
        data-field={name}
        aria-invalid={fault !== ""}
        aria-describedby={`${id}-notes`}
        onChange={(event) => set(event.currentTarget.value)}
      >
        {all.map(([each, words]) => (
          <option key={each} value={each}>
            {words}
          </option>
        ))}
      </select>
    </Labelled>
  );
}

export function Labelled({ label, hint, fault = "", short = false, id, children }: Common & { id: string; children: ComponentChildren }) {
  return (
    <div class={`field ${short ? "short" : ""} ${fault === "" ? "" : "wrong"}`}>
      <label for={id}>{label}</label>
      {children}
      <p id={`${id}-notes`} class="notes">
        {fault !== "" && <bdi class="fault">{fault}</bdi>}
        {hint && <span>{hint}</span>}
      </p>
    </div>
  );
}
