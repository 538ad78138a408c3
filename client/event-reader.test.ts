import { describe, expect, test } from "vitest";
import { toBase64 } from "../protocol/base64.ts";
import { toHex, utf8 } from "../protocol/bytes.ts";
import { portableSigner, portableSuite } from "../protocol/crypto.ts";
import { GRPC, PennypostError } from "../protocol/errors.ts";
import { createEvent } from "../protocol/event.ts";
import { digestOfId, eventCid } from "../protocol/event-id.ts";
import { DEVELOPMENT_GENESIS, Network } from "../protocol/genesis.ts";
import { EventReader, type EventReaderParts } from "./event-reader.ts";
import { badEvent, EventVerifier, type ReceivedEvent } from "./received-event.ts";

const TOPIC = "/xmtp/0/m-reader/proto";
const idOf = (n: number) => n.toString(16).padStart(80, "0");

/** A node that has events 1 to `count`, of which some do not hold. */
function reader(count: number, bad: readonly number[]) {
  const asked: (string | null)[] = [];
  const all = Array.from({ length: count }, (_, i) => i + 1);
  const http = {
    json: async ({ path }: { path: string }) => {
      const query = new URL(path, "https://node.test").searchParams;
      const cursor = query.get("cursor");
      asked.push(cursor && String(Number.parseInt(cursor, 16)));
      const rest = all.filter((n) => idOf(n) > (cursor ?? ""));
      const page = rest.slice(0, Number(query.get("limit")));
      return { events: page, cursor: rest.length > page.length ? "next" : null };
    },
  };
  const verifier = {
    read: async (n: number) => {
      if (bad.includes(n)) throw badEvent("event_signature", `${n} does not hold`, {});
      return { id: idOf(n), topic: TOPIC } as ReceivedEvent;
    },
  };
  const parts = { http, verifier, suite: portableSuite() } as unknown as EventReaderParts;
  return { asked, reader: new EventReader(parts) };
}

async function read(count: number, bad: readonly number[], isPassingOver: boolean) {
  const scene = reader(count, bad);
  const passed: string[] = [];
  const passOver = ({ message }: PennypostError) => void passed.push(message);
  const options = { pageSize: 2, ...(isPassingOver ? { passOver } : {}) };
  const ids: number[] = [];
  let code: unknown;
  try {
    for await (const { id } of scene.reader.byCause(TOPIC, options)) ids.push(Number.parseInt(id, 16));
  } catch (error) {
    code = (error as PennypostError).code;
  }
  return { ids, passed: passed.length, code, asked: scene.asked };
}

describe("an event that does not hold", () => {
  test("ends a reading", async () => {
    expect(await read(5, [3], false)).toMatchObject({ ids: [1, 2], code: "event_signature" });
  });

  test("is passed over where that is asked for, and what comes after it is read", async () => {
    expect(await read(5, [1, 4], true)).toMatchObject({ ids: [2, 3, 5], passed: 2, code: undefined });
    expect(await read(4, [4], true)).toMatchObject({ ids: [1, 2, 3], passed: 1, code: undefined });
  });

  test("makes no endless reading: a page of them alone is its end", async () => {
    const { ids, code, asked } = await read(6, [3, 4], true);
    expect({ ids, code }).toEqual({ ids: [1, 2], code: "answer_malformed" });
    expect(asked).toEqual([null, "2"]);
  });
});

test("a caller that gives up while an event is judged waits no longer", async () => {
  const http = { json: async () => ({ events: [1], cursor: null }) };
  const verifier = { read: () => new Promise(() => {}) };
  const parts = { http, verifier, suite: portableSuite() } as unknown as EventReaderParts;
  const aborting = new AbortController();
  const { signal } = aborting;
  const listed = new EventReader(parts).byCause(TOPIC, { signal }).next();
  const cid = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
  const single = new EventReader(parts).byCid(cid, signal);
  await new Promise((resolve) => setTimeout(resolve, 0));
  const reason = new Error("no patience");
  aborting.abort(reason);
  expect(await Promise.allSettled([listed, single])).toEqual(
    [1, 2].map(() => ({ status: "rejected", reason })),
  );
});

test.each([
  ["that is no number", Number.NaN, ["1"]],
  ["between two numbers", 2.5, ["2"]],
  ["beyond what nodes answer", 1e9, ["1000"]],
])("a page's size %s asks for one that nodes know", async (_, pageSize, expected) => {
  const asked: (string | null)[] = [];
  const json = async ({ path }: { path: string }) => {
    asked.push(new URL(path, "https://node.test").searchParams.get("limit"));
    return { events: [], cursor: null };
  };
  const parts = { http: { json }, verifier: {}, suite: portableSuite() } as unknown as EventReaderParts;
  await new EventReader(parts).byCause(TOPIC, { pageSize }).next();
  expect(asked).toEqual(expected);
});

describe("messages that are gone", () => {
  const signer = portableSigner(new Uint8Array(32).fill(3));
  const suite = portableSuite();
  const network = new Network(DEVELOPMENT_GENESIS, suite);
  const fields = { net: network.id, topic: utf8(TOPIC), ts: 5n, class: 2, links: [], seq: 9n << 21n };
  const event = createEvent({ ...fields, message: utf8("gone") }, signer, suite);
  const other = createEvent({ ...fields, message: utf8("other") }, signer, suite);
  const cid = eventCid(digestOfId(event.id)).toString();
  const left = {
    reason: "dropped",
    id: toHex(event.id),
    cid,
    block: toBase64(event.block),
    signature: toBase64(event.signature),
  };

  async function ask(metadata: Partial<typeof left>, check: () => Promise<void> = async () => {}) {
    const gone = new PennypostError("message_gone", GRPC.notFound, "gone", metadata);
    const facts = { info: async () => ({ networkId: network.id }) };
    const verifier = new EventVerifier({ facts, suite, membership: { check } } as never);
    const http = { json: () => Promise.reject(gone) };
    const parts = { http, verifier, suite } as unknown as EventReaderParts;
    return new EventReader(parts).byCid(cid).catch((error: unknown) => error as PennypostError);
  }

  test("are told by their code, with what was verified of the event", async () => {
    expect(await ask(left)).toMatchObject({ code: "message_gone", data: left });
  });

  test.each<[string, Partial<typeof left>, string]>([
    ["without a block", { ...left, block: undefined as never }, "cbor_malformed"],
    ["with a signature that is no base64", { ...left, signature: "?" }, "event_malformed"],
    ["with a block that is none", { ...left, block: toBase64(utf8("block")) }, "cbor_malformed"],
    [
      "of another event",
      { ...left, block: toBase64(other.block), signature: toBase64(other.signature) },
      "event_not_asked_for",
    ],
    ["with the signature of another", { ...left, signature: toBase64(other.signature) }, "event_signature"],
    ["with the id of another", { ...left, id: toHex(other.id) }, "event_mismatch"],
  ])("are not believed %s", async (_, metadata, code) => {
    expect(await ask(metadata)).toMatchObject({ code });
  });

  test("are not believed of an origin that is no member", async () => {
    const refusal = new PennypostError("event_refused", GRPC.permissionDenied, "no member");
    expect(await ask(left, () => Promise.reject(refusal))).toBe(refusal);
  });

  test("are counted page by page, and asked for nothing", async () => {
    const pages = [
      { events: [1, 2], gone: 3, cursor: "next" },
      { events: [3], cursor: "next" },
      { events: [], gone: 2, cursor: null },
    ];
    const http = { json: async () => pages.shift() };
    const verifier = { read: async (n: number) => ({ id: idOf(n), topic: TOPIC }) as ReceivedEvent };
    const parts = { http, verifier, suite } as unknown as EventReaderParts;
    const told: number[] = [];
    const ids: string[] = [];
    const onGone = (count: number) => void told.push(count);
    for await (const { id } of new EventReader(parts).byCause(TOPIC, { onGone })) ids.push(id);
    expect([ids, told]).toEqual([[1, 2, 3].map(idOf), [3, 2]]);
  });
});
