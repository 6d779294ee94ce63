// Which colour a group has: the same label value has the same one on every chart.

/** Colours of the palette: --series-1 to --series-8 of the theme. */
export const COLOURS = 8;

const known = new Map<string, number>();
/** Values remembered; beyond it the colour follows from the text, so memory is bounded. */
const MAX_KNOWN = 1000;

/** 1 to COLOURS, in the order in which values were first seen. */
export function colourOf(value: string): number {
  const found = known.get(value);
  if (found !== undefined) return found;
  if (known.size >= MAX_KNOWN) return 1 + (hash(value) % COLOURS);
  const colour = 1 + (known.size % COLOURS);
  known.set(value, colour);
  return colour;
}

export function forgetColours(): void {
  known.clear();
}

function hash(text: string): number {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (Math.imul(h, 31) + text.charCodeAt(i)) >>> 0;
  return h;
}
