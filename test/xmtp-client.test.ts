import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { eachOf, until } from "./support/until.ts";
import {
  logIn,
  newWallet,
  Reader,
  StreamWatch,
  sdk,
  type XmtpClient,
  type XmtpConversation,
  type XmtpMessage,
} from "./support/xmtp-sdk.ts";

/** The official SDK `@xmtp/xmtp-js@9.4.1`, unmodified: Alice on one node, Bob on another. */

const SHARED_TIMESTAMP = new Date("2026-11-01T12:00:00Z");
const contentsOf = (messages: readonly XmtpMessage[]): unknown[] => messages.map(({ content }) => content);
const idsOf = (messages: readonly XmtpMessage[]): string[] => messages.map(({ id }) => id);

describe("the real client", () => {
  let network: TestNetwork;
  let aliceNode: TestNode;
  let bobNode: TestNode;
  let watch: StreamWatch;

  beforeAll(async () => {
    network = await startNetwork(2);
    aliceNode = network.node(0);
    bobNode = network.node(1);
    return () => network.stop();
  });

  beforeEach(() => {
    watch = new StreamWatch();
    // The SDK says when a stream closes.
    vi.spyOn(console, "info").mockImplementation(() => {});
  });

  afterEach(() => {
    watch.stop();
    vi.restoreAllMocks();
  });

  /** Opens a stream of the SDK; it is read from now on and closed after the test. */
  const read = async <T>(stream: () => Promise<AsyncIterator<T>>) => new Reader(await watch.opened(stream));

  /** A client publishes a V1 contact and then a V2 one; who sees only the first takes it for a V1 peer. */
  const contactAt = async (node: TestNode, { address }: XmtpClient, versions: number) => {
    const topic = `/xmtp/0/contact-${address}/proto`;
    await until("a contact at the other node", async () => (await node.queryAll(topic)).length === versions);
  };

  /** Two clients, each with its contact on the other's node; Bob may have a V1 contact only. */
  async function pair({ publishLegacyContact = false } = {}) {
    const aliceWallet = newWallet();
    const [alice, bob] = await Promise.all([
      logIn(aliceWallet, aliceNode.url),
      logIn(newWallet(), bobNode.url, { publishLegacyContact }),
    ]);
    await contactAt(aliceNode, bob, publishLegacyContact ? 1 : 2);
    await contactAt(bobNode, alice, 2);
    return { aliceWallet, alice, bob };
  }

  /** Bob's side of a conversation that Alice began. */
  const conversationAt = (client: XmtpClient, topic: string): Promise<XmtpConversation> =>
    until("the conversation on the other side", async () =>
      (await client.conversations.list()).find((each) => each.topic === topic),
    );

  test("canMessage, single and batch, asks for those who are there and those who are not", async () => {
    const { alice, bob } = await pair();
    const strangers = [newWallet().address, newWallet().address] as const;
    expect(await alice.canMessage(strangers[0])).toBe(false);
    expect(await alice.canMessage(bob.address)).toBe(true);
    alice.forgetContact(bob.address);
    const asked = [strangers[0], bob.address, strangers[1], alice.address];
    expect(await alice.canMessage(asked)).toEqual([false, true, false, true]);
    const { Client } = sdk;
    expect(await Client.canMessage(asked, { apiUrl: bobNode.url })).toEqual([false, true, false, true]);
    expect(await Client.canMessage(bob.address, { apiUrl: aliceNode.url })).toBe(true);
  });

  test("a conversation is streamed, and three messages and a reply, and all are listed", async () => {
    const { alice, bob } = await pair();
    const conversations = await read(() => bob.conversations.stream());
    const conversation = await alice.conversations.newConversation(bob.address);
    const [bobs] = await conversations.reach(1);
    if (!bobs) throw new Error("one conversation came");
    expect(bobs.topic).toBe(conversation.topic);
    expect(bobs.peerAddress).toBe(alice.address);

    const atBob = await read(() => bobs.streamMessages());
    const atAlice = await read(() => conversation.streamMessages());
    // One by one: what comes at once, the SDK decrypts at once, and hands over in any order.
    for (const [i, text] of ["one", "two", "three"].entries()) {
      await conversation.send(text);
      await Promise.all([atBob.reach(i + 1), atAlice.reach(i + 1)]);
    }
    expect(contentsOf(atBob.items)).toEqual(["one", "two", "three"]);
    await bobs.send("a reply");
    expect(contentsOf(await atAlice.reach(4))).toEqual(["one", "two", "three", "a reply"]);
    await atBob.reach(4);
    expect(idsOf(atBob.items)).toEqual(idsOf(atAlice.items));
    expect(atBob.items.map(({ senderAddress }) => senderAddress)).toEqual([
      alice.address,
      alice.address,
      alice.address,
      bob.address,
    ]);
    for (const each of [conversation, bobs]) expect(idsOf(await each.messages())).toEqual(idsOf(atBob.items));
    for (const client of [alice, bob])
      expect((await client.conversations.list()).map(({ topic }) => topic)).toEqual([conversation.topic]);
    expect(conversations.items.length).toBe(1);
  });

  test("the stream of all messages takes up a conversation that began after it", async () => {
    const { alice, bob } = await pair();
    const all = await read(() => bob.conversations.streamAllMessages());
    const conversation = await watch.opened(() => alice.conversations.newConversation(bob.address));
    const sent: XmtpMessage[] = [];
    for (const text of ["first", "second", "third"]) sent.push(await conversation.send(text));
    await until("all three", () => sent.every(({ id }) => idsOf(all.items).includes(id)));
    expect([...new Set(contentsOf(all.items))].sort()).toEqual(["first", "second", "third"]);
  });

  test("an ephemeral message is streamed to the other node, once, and stored on neither", async () => {
    const { alice, bob } = await pair();
    const conversation = await alice.conversations.newConversation(bob.address);
    const bobs = await conversationAt(bob, conversation.topic);
    expect(conversation.ephemeralTopic).toMatch(/^\/xmtp\/0\/mE-/);
    const atBob = await read(() => bobs.streamEphemeral());
    const atAlice = await read(() => conversation.streamEphemeral());
    await conversation.send("typing", { ephemeral: true });
    await Promise.all([atBob.reach(1), atAlice.reach(1)]);
    await conversation.send("still typing", { ephemeral: true });
    expect(contentsOf(await atBob.reach(2))).toEqual(["typing", "still typing"]);
    expect(contentsOf(await atAlice.reach(2))).toEqual(["typing", "still typing"]);

    await conversation.send("a lasting one");
    await until("the lasting one", async () => (await bobs.messages()).length > 0);
    for (const each of [conversation, bobs])
      expect(contentsOf(await each.messages())).toEqual(["a lasting one"]);
    for (const node of [aliceNode, bobNode]) {
      expect(await node.queryAll(conversation.ephemeralTopic)).toEqual([]);
      expect(await node.events(conversation.ephemeralTopic)).toEqual([]);
      expect(await node.heads(conversation.ephemeralTopic)).toEqual([]);
    }
  });

  test("230 messages, half of them of one timestamp, are paged by 40 in both directions", async () => {
    const { alice, bob } = await pair();
    const conversation = await alice.conversations.newConversation(bob.address);
    const bobs = await conversationAt(bob, conversation.topic);
    const numbers = Array.from({ length: 230 }, (_, n) => n);
    const sentAt = (n: number) => (n % 2 === 0 ? SHARED_TIMESTAMP : new Date(+SHARED_TIMESTAMP + n - 115));
    await eachOf(numbers, 8, (n) => conversation.send(`number ${n}`, { timestamp: sentAt(n) }));
    await until("all at Bob's node", async () => (await bobNode.queryAll(conversation.topic)).length === 230);

    type Direction = (typeof sdk.SortDirection)[keyof typeof sdk.SortDirection];
    const { SORT_DIRECTION_ASCENDING, SORT_DIRECTION_DESCENDING } = sdk.SortDirection;
    for (const each of [conversation, bobs]) {
      const pagesOf = async (direction: Direction) => {
        const pages: XmtpMessage[][] = [];
        for await (const page of each.messagesPaginated({ pageSize: 40, direction })) pages.push(page);
        expect(pages.map(({ length }) => length)).toEqual([40, 40, 40, 40, 40, 30]);
        return pages.flat();
      };
      const ascending = await pagesOf(SORT_DIRECTION_ASCENDING);
      const times = ascending.map(({ sent }) => +sent);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect(times.filter((time) => time === +SHARED_TIMESTAMP).length).toBe(116);
      expect(contentsOf(ascending).sort()).toEqual(numbers.map((n) => `number ${n}`).sort());
      expect(idsOf(await pagesOf(SORT_DIRECTION_DESCENDING))).toEqual(idsOf(ascending).reverse());
      expect(idsOf(await each.messages())).toEqual(idsOf(ascending));
    }
  });

  test("who logs in again on the other node has the same keys, conversations and messages", async () => {
    const { aliceWallet, alice, bob } = await pair();
    const conversation = await alice.conversations.newConversation(bob.address, {
      conversationId: "example.org/again",
      metadata: { title: "Again" },
    });
    const sent = [await conversation.send("before"), await conversation.send("and again")];
    await until("the messages at the other node", async () => {
      const envelopes = await bobNode.queryAll(conversation.topic);
      return envelopes.length === sent.length;
    });
    const again = await logIn(aliceWallet, bobNode.url);
    expect(again.publicKeyBundle.equals(alice.publicKeyBundle)).toBe(true);
    const [there, ...others] = await again.conversations.list();
    expect(others).toEqual([]);
    expect(there?.topic).toBe(conversation.topic);
    expect(there?.context).toEqual(conversation.context);
    expect(idsOf((await there?.messages()) ?? [])).toEqual(idsOf(sent));
    await there?.send("from the other node");
    await until("it at the first node", async () => {
      const messages = await conversation.messages();
      return contentsOf(messages).includes("from the other node");
    });
  });

  test("a V1 conversation with a peer who has a V1 contact only", async () => {
    const { alice, bob: carol } = await pair({ publishLegacyContact: true });
    const conversations = await read(() => carol.conversations.stream());
    const conversation = await alice.conversations.newConversation(carol.address);
    expect(conversation.topic).toMatch(/^\/xmtp\/0\/dm-/);
    await conversation.send("an introduction");
    const [carols] = await conversations.reach(1);
    expect(carols?.topic).toBe(conversation.topic);
    if (!carols) throw new Error("one conversation came");
    const atCarol = await read(() => carols.streamMessages());
    await conversation.send("and more");
    expect(contentsOf(await atCarol.reach(1))).toEqual(["and more"]);
    await carols.send("a reply");
    await until("the reply", async () => (await conversation.messages()).length === 3);
    for (const each of [conversation, await conversationAt(carol, conversation.topic)])
      expect(contentsOf(await each.messages())).toEqual(["an introduction", "and more", "a reply"]);
    expect((await alice.conversations.list()).map(({ topic }) => topic)).toEqual([conversation.topic]);
  });
});
