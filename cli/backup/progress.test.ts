import { expect, test } from "vitest";
import { Progress, sizeText } from "./progress.ts";

function watched(parts: { isTerminal: boolean; isQuiet?: boolean }) {
  let text = "";
  let nowMs = 0;
  const progress = new Progress({
    ...{ isQuiet: false, ...parts },
    output: {
      stderr: (part) => {
        text += part;
      },
    },
    nowMs: () => nowMs,
  });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { progress, pass, text: () => text };
}

test("a terminal has a bar that is drawn over, and lines above it", () => {
  const { progress, pass, text } = watched({ isTerminal: true });
  progress.begin("segments", 4);
  progress.step(1, 1_500_000);
  progress.step(1, 0);
  progress.say("one is damaged");
  pass(100);
  progress.step(1, 500_000);
  progress.end();
  const lines = text()
    .split(/[\r\n]/)
    .map((line) => line.replace("\u001b[K", ""))
    .filter(Boolean);
  expect(lines).toEqual([
    "segments: [######------------------] 1/4 (25 %), 1.5 MB",
    "one is damaged",
    "segments: [##################------] 3/4 (75 %), 2.0 MB",
    "segments: [##################------] 3/4 (75 %), 2.0 MB",
  ]);
  expect(text().endsWith("\n")).toBe(true);
});

test("elsewhere come a few lines, and of an unknown whole the count", () => {
  const { progress, pass, text } = watched({ isTerminal: false });
  progress.begin("events", null);
  for (let n = 0; n < 10; n++) {
    progress.step(1, 10);
    pass(1_000);
  }
  progress.begin("segments", 0);
  progress.end();
  expect(text()).toBe("events: 1, 10 B\nevents: 6, 60 B\nevents: 10, 100 B\n");
});

test("a quiet one says nothing", () => {
  const { progress, text } = watched({ isTerminal: true, isQuiet: true });
  progress.begin("segments", 1);
  progress.step(1, 1);
  progress.say("a line");
  progress.end();
  expect(text()).toBe("");
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1_000, "1.0 kB"],
  [123_456_789, "123.5 MB"],
  [5e15, "5000.0 TB"],
])("%d bytes are %s", (bytes, text) => expect(sizeText(bytes)).toBe(text));
