// Messages to the server, in order and below the rate it allows a connection (MAX_MESSAGE_RATE, 50 a second by default).

/** Messages at once, and per second after that. */
export const BURST = 30;
export const RATE = 30;

export interface Pace {
  now(): number;
  later(call: () => void, ms: number): () => void;
}

export class Outbox {
  private waiting: { text: string; sent?: (() => void) | undefined; patient: boolean }[] = [];
  private allowance = BURST;
  private counted: number;
  private cancel: (() => void) | null = null;

  constructor(
    private readonly send: (text: string) => boolean,
    private readonly pace: Pace,
  ) {
    this.counted = pace.now();
  }

  /**
   * Sends when its turn comes and then calls `sent`; the answer takes it back before that. What is patient comes after
   * all that is not: what nobody looks at any more may end a little later, what is looked at begins at once.
   */
  put(text: string, sent?: () => void, patient: boolean = false): () => void {
    const entry = { text, sent, patient };
    const before = patient ? -1 : this.waiting.findIndex((other) => other.patient);
    if (before < 0) this.waiting.push(entry);
    else this.waiting.splice(before, 0, entry);
    this.work();
    return () => {
      this.waiting = this.waiting.filter((other) => other !== entry);
    };
  }

  /** A new line: what waited for the old one is void, and its allowance is whole. */
  clear(): void {
    this.waiting = [];
    this.allowance = BURST;
    this.counted = this.pace.now();
  }

  private work(): void {
    if (this.cancel) return;
    const now = this.pace.now();
    this.allowance = Math.min(BURST, this.allowance + ((now - this.counted) / 1000) * RATE);
    this.counted = now;
    while (this.waiting.length > 0 && this.allowance >= 1) {
      const { text, sent } = this.waiting.shift()!;
      if (!this.send(text)) continue; // no line: everything is asked again when there is one
      this.allowance -= 1;
      sent?.();
    }
    if (this.waiting.length === 0) return;
    this.cancel = this.pace.later(() => {
      this.cancel = null;
      this.work();
    }, 1000 / RATE);
  }
}
