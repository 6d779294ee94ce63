import { useEffect, useMemo, useState } from "preact/hooks";
import type { RefObject } from "preact";
import type { Kind, Plan } from "../plans";
import type { Scope } from "../ranges";
import { Source } from "./source";

/** Whether the element is on the screen or close to it. */
export function useNearScreen(element: RefObject<HTMLElement | null>): boolean {
  const [near, setNear] = useState(false);
  useEffect(() => {
    const target = element.current;
    if (!target) return undefined;
    const observer = new IntersectionObserver(([entry]) => setNear(entry?.isIntersecting ?? false), {
      rootMargin: "200px",
    });
    observer.observe(target);
    return () => observer.disconnect();
  }, []);
  return near;
}

/** A source that is watched while `active`; a new one for another stretch of time or another group. */
export function useSource(
  kind: Kind,
  name: string,
  plan: Plan,
  scope: Scope,
  group: string | null,
  active: boolean,
): Source {
  const source = useMemo(() => new Source(kind, name, plan, scope, group), [kind, name, plan, scope, group]);
  useEffect(() => (active ? source.watch() : undefined), [source, active]);
  return source;
}
