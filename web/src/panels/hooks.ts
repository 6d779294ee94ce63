import { useEffect, useMemo, useState } from "preact/hooks";
import type { RefObject } from "preact";
import type { Source } from "./source";

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

/** A source that is watched while `active`. */
export function useSource(make: () => Source, active: boolean): Source {
  const source = useMemo(make, []);
  useEffect(() => (active ? source.watch() : undefined), [source, active]);
  return source;
}
