import { getEventListeners } from "node:events";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { portableSuite } from "../protocol/crypto.ts";
import { EventReader } from "./event-reader.ts";
import { NodeHttp } from "./node-http.ts";
import type { Socket, SocketConstructor } from "./platform.ts";
import type { EventVerifier } from "./received-event.ts";
import { type SubscribeOptions, Subscription } from "./subscription.ts";

const TOPIC = "/xmtp/0/m-scripted/proto";
const READY = JSON.stringify({ type: "ready", token: "a-token" });
const EVENTS = JSON.stringify({ type: "events", events: [{}], token: "another" });

/** A WebSocket to a node that says some texts, one after the other, to each that connects. */
function scriptedSocket(texts: readonly string[], sent: string[] = []): SocketConstructor {
  return class ScriptedSocket extends EventTarget {
    constructor(_: string) {
      super();
      queueMicrotask(() => {
        this.dispatchEvent(new Event("open"));
        for (const data of texts) this.dispatchEvent(new MessageEvent("message", { data }));
      });
    }

    send(text: string): void {
      sent.push(text);
    }

    close(): void {
      queueMicrotask(() => this.dispatchEvent(new Event("close")));
    }
  } as unknown as SocketConstructor;
}

const suite = portableSuite();
/** Judges nothing: as where a node that is asked for records does not answer. */
const undecided = { read: () => new Promise(() => {}) } as unknown as EventVerifier;

async function open(WebSocket: SocketConstructor, options: SubscribeOptions = {}): Promise<Subscription> {
  const http = new NodeHttp("https://node.test", { fetch: () => new Promise(() => {}) });
  const reader = new EventReader({ http, verifier: undecided, suite });
  const parts = { url: "wss://node.test/v1/subscribe", WebSocket, verifier: undecided, reader, suite };
  const subscription = await Subscription.open({ ...parts, now: Date.now }, [TOPIC], options);
  onTestFinished(() => subscription.close());
  return subscription;
}

describe("a subscription", () => {
  test("that is ended while an event is judged ends at once", async () => {
    const subscription = await open(scriptedSocket([READY, EVENTS]));
    const next = subscription[Symbol.asyncIterator]().next();
    await new Promise((resolve) => setTimeout(resolve, 0));
    subscription.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  test("that is ended while it reads what was missed ends at once", async () => {
    const subscription = await open(scriptedSocket([READY]), { token: "0." });
    const next = subscription[Symbol.asyncIterator]().next();
    await new Promise((resolve) => setTimeout(resolve, 0));
    subscription.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  test("that the platform does not let connect fails with an error of the library, and keeps no listener", async () => {
    const { signal } = new AbortController();
    class Forbidden {
      constructor(url: string) {
        throw new SyntaxError(`${url} is not encrypted`);
      }
    }
    const opened = open(Forbidden as unknown as new (url: string) => Socket, { maxFailures: 0, signal });
    const message = expect.stringContaining("is not encrypted");
    await expect(opened).rejects.toMatchObject({ code: "subscription_lost", message });
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test.each([
    ["a token that could not be kept", JSON.stringify({ type: "ready", token: "a token" })],
    ["a message of values without end", `{"type":"ready","token":"","more":[${"0,".repeat(1e6)}0]}`],
    ["no JSON", "{"],
    ["another word", '{"type":"pong"}'],
  ])("to a node that says %s fails", async (_, text) => {
    const opened = open(scriptedSocket([text]), { maxFailures: 0 });
    await expect(opened).rejects.toMatchObject({ code: "subscription_lost" });
  });

  test("that asks its connection at no time, or in a month, does not do so at once", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const sent: string[] = [];
    await open(scriptedSocket([READY], sent), { pingEveryMs: Number.POSITIVE_INFINITY });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sent).toEqual([JSON.stringify({ topics: [TOPIC] })]);
  });

  test("to a text is none to its characters", async () => {
    const parts = {} as Parameters<typeof Subscription.open>[0];
    const opened = Subscription.open(parts, TOPIC as unknown as string[]);
    await expect(opened).rejects.toMatchObject({ code: "topics_required" });
  });
});
