import { beforeEach, describe, expect, it } from "vitest";
import type { Content, Dashboard, Documents, Widget } from "../src/dashboards/documents";
import { Editor, ONE_STEP, PAUSE, RETRY } from "../src/dashboards/editor";
import { readSelector } from "../src/protocol";

const widget = (id: string): Widget => ({
  id, type: "chart", title: id, query: `metric:${id}`, visualization_config: {}, refresh_interval: 0,
});

/** A server with one dashboard, and a clock that tests move. */
class Fake implements Documents {
  version = 1;
  kept: Dashboard = {
    id: "d", name: "first", description: "", widgets: ["a", "b", "c"].map(widget), owner_id: "", is_public: false,
    created_at: "v1", updated_at: "v1",
  };
  trouble: { status?: number; message: string } | null = null;
  writes = 0;
  time = 0;
  private timers: { at: number; call: () => void }[] = [];

  list = (): Promise<Dashboard[]> => Promise.resolve([this.kept]);
  read = (): Promise<Dashboard> => (this.trouble ? Promise.reject(this.trouble) : Promise.resolve(this.kept));
  create = (content: Content): Promise<Dashboard> => Promise.resolve({ ...this.kept, ...content, id: "new" });
  remove = (): Promise<void> => Promise.resolve();
  replace = (board: Dashboard, known: string | null): Promise<Dashboard> => {
    if (this.trouble) return Promise.reject(this.trouble);
    if (known !== null && known !== this.kept.updated_at) return Promise.reject({ status: 409, message: "changed" });
    this.writes += 1;
    return Promise.resolve(this.write(board));
  };

  write(part: Partial<Dashboard>): Dashboard {
    this.kept = { ...this.kept, ...part, updated_at: `v${++this.version}` };
    return this.kept;
  }

  world = {
    now: () => this.time,
    later: (call: () => void, ms: number) => {
      const timer = { at: this.time + ms, call };
      this.timers.push(timer);
      return () => void (this.timers = this.timers.filter((other) => other !== timer));
    },
  };

  async pass(ms: number): Promise<void> {
    this.time += ms;
    const due = this.timers.filter(({ at }) => at <= this.time);
    this.timers = this.timers.filter(({ at }) => at > this.time);
    due.forEach(({ call }) => call());
    for (let i = 0; i < 5; i++) await Promise.resolve();
  }
}

let fake: Fake;
let editor: Editor;
const order = (): string => editor.board.value.widgets.map(({ id }) => id).join("");

beforeEach(() => {
  fake = new Fake();
  editor = new Editor(fake.kept, fake, fake.world);
});

describe("saving", () => {
  it("saves by itself after a pause, many changes as one", async () => {
    editor.rename("second");
    editor.move("a", 2);
    expect(editor.state.value.phase).toBe("changed");
    await fake.pass(PAUSE);
    expect(editor.state.value.phase).toBe("saved");
    expect(fake.writes).toBe(1);
    expect([fake.kept.name, fake.kept.widgets.map(({ id }) => id).join("")]).toEqual(["second", "bca"]);
    editor.rename("third");
    await fake.pass(PAUSE);
    expect(fake.kept.name).toBe("third");
  });

  it("saves what was changed while it saved", async () => {
    editor.rename("second");
    fake.time += PAUSE;
    const saving = editor.flush();
    editor.rename("third");
    await saving;
    expect(fake.kept.name).toBe("second");
    await fake.pass(PAUSE);
    expect([fake.kept.name, editor.state.value.phase]).toEqual(["third", "saved"]);
  });

  it("tries again when the server does not answer, and keeps the changes meanwhile", async () => {
    fake.trouble = { message: "fetch failed" };
    editor.remove("b");
    await fake.pass(PAUSE);
    expect(editor.state.value).toEqual({ phase: "failed", message: "the server does not answer" });
    expect(order()).toBe("ac");
    fake.trouble = null;
    await fake.pass(RETRY);
    expect([editor.state.value.phase, fake.kept.widgets.length]).toEqual(["saved", 2]);
  });

  it("does not repeat what the server refuses", async () => {
    fake.trouble = { status: 400, message: "no" };
    editor.rename("x");
    await fake.pass(PAUSE);
    fake.trouble = null;
    await fake.pass(10 * RETRY);
    expect([editor.state.value.phase, fake.writes]).toEqual(["failed", 0]);
  });
});

describe("a colleague", () => {
  it("is not overwritten; theirs can be taken, and undo brings back one's own", async () => {
    fake.write({ name: "theirs" });
    editor.rename("mine");
    await fake.pass(PAUSE);
    expect([editor.state.value.phase, fake.kept.name]).toEqual(["conflict", "theirs"]);
    editor.rename("still mine");
    await fake.pass(10 * RETRY);
    expect(fake.kept.name).toBe("theirs");
    await editor.takeTheirs();
    expect([editor.board.value.name, editor.state.value.phase]).toEqual(["theirs", "saved"]);
    editor.undo();
    await fake.pass(PAUSE);
    expect(fake.kept.name).toBe("still mine");
  });

  it("is overwritten only on purpose", async () => {
    fake.write({ name: "theirs" });
    editor.rename("mine");
    await fake.pass(PAUSE);
    await editor.keepMine();
    expect([fake.kept.name, editor.state.value.phase]).toEqual(["mine", "saved"]);
  });

  it("is seen when nothing of one's own waits", async () => {
    fake.write({ name: "theirs" });
    await editor.refresh();
    expect(editor.board.value.name).toBe("theirs");
    editor.rename("mine");
    fake.write({ name: "again" });
    await editor.refresh();
    expect(editor.board.value.name).toBe("mine");
  });

  it("may have deleted it", async () => {
    fake.trouble = { status: 404, message: "gone" };
    editor.rename("mine");
    await fake.pass(PAUSE);
    expect(editor.state.value.phase).toBe("gone");
    expect((await editor.makeAnew())?.name).toBe("mine");
  });
});

describe("undo", () => {
  it("takes back step by step, and again forward", () => {
    editor.add(widget("d"));
    editor.remove("a");
    editor.move("d", -2);
    expect(order()).toBe("dbc");
    const seen = [1, 2, 3].map(() => (editor.undo(), order()));
    expect(seen).toEqual(["bcd", "abcd", "abc"]);
    expect([editor.canUndo.value, editor.canRedo.value]).toEqual([false, true]);
    editor.undo();
    editor.redo();
    expect(order()).toBe("abcd");
    editor.rename("x");
    expect(editor.canRedo.value).toBe(false);
  });

  it("takes back a word, not a letter", async () => {
    for (const name of ["s", "se", "sec"]) {
      editor.rename(name);
      fake.time += 100;
    }
    fake.time += ONE_STEP;
    editor.rename("other");
    editor.undo();
    expect(editor.board.value.name).toBe("sec");
    editor.undo();
    expect(editor.board.value.name).toBe("first");
  });

  it("has ends that cannot be crossed", () => {
    expect([editor.move("a", -1), editor.move("c", 1), editor.move("none", 1)]).toEqual([null, null, null]);
    expect(editor.canUndo.value).toBe(false);
  });
});

describe("selectors", () => {
  it.each([
    ["metric:cpu", { kind: "metric", name: "cpu", whole: true }],
    ['event:"a{b}"', { kind: "event", name: "a{b}", whole: true }],
    ['metric:cpu{host="a"}', { kind: "metric", name: "cpu", whole: false }],
    ["metric:", null],
    ["cpu", null],
  ])("%s", (query, found) => expect(readSelector(query)).toEqual(found));
});
