import * as z from "zod";
import { type Bytes, compareBytes, equalBytes, fromHex, toHex, utf8 } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { type CryptoSuite, isPrimeOrderKey } from "./crypto.ts";
import { invalidArgument } from "./errors.ts";
import { MAX_TIME_MS } from "./hybrid-clock.ts";
import { MAX_TOPIC_BYTES } from "./limits.ts";

/** A retention class: how long the events of its topics are kept, everywhere. */
export interface RetentionClass {
  readonly id: number;
  readonly name: string;
  /** 0: relayed only; null: for ever. */
  readonly durationMs: number | null;
  /** The class with the lowest priority loses its messages first when a node is full. */
  readonly priority: number;
}

const KEY_HEX = /^[0-9a-f]{64}$/;
/** A refinement is asked even where the form before it failed. */
const publicKeyHex = z
  .string()
  .regex(KEY_HEX, "64 lower-case hex digits")
  .refine((hex) => !KEY_HEX.test(hex) || isPrimeOrderKey(fromHex(hex)), "an Ed25519 key of prime order");

/** Two texts that differ in lone surrogates alone would have one encoding. */
const text = (limit: number) =>
  z
    .string()
    .max(limit)
    .refine((value) => value.isWellFormed(), "well-formed Unicode");

/** The genesis document in its JSON form, as operators read and write it. */
export const genesisSchema = z
  .strictObject({
    version: z.literal(1),
    name: text(64).min(1),
    createdMs: z.int().min(0).max(MAX_TIME_MS),
    classes: z
      .array(
        z.strictObject({
          id: z.int().min(0).max(255),
          name: text(32).min(1),
          durationMs: z.int().min(0).max(MAX_TIME_MS).nullable(),
          priority: z.int().min(0).max(255),
        }),
      )
      .min(1)
      .max(64),
    prefixes: z.array(z.tuple([text(MAX_TOPIC_BYTES), z.int()])).max(256),
    members: z.union([z.literal("any"), z.array(publicKeyHex).max(1_024)]),
    recordKeys: z.array(publicKeyHex).max(16),
    stampPrefixes: z.array(text(MAX_TOPIC_BYTES)).max(256),
  })
  .superRefine((genesis, context) => {
    const problem = (field: keyof typeof genesis, message: string) =>
      context.addIssue({ code: "custom", path: [field], message });
    const ids = new Set(genesis.classes.map((each) => each.id));
    if (ids.size !== genesis.classes.length) problem("classes", "two classes have one id");
    const prefixes = new Set(genesis.prefixes.map(([prefix]) => prefix));
    if (prefixes.size !== genesis.prefixes.length) problem("prefixes", "a prefix stands twice");
    if (!prefixes.has("")) problem("prefixes", 'no class for the empty prefix "", which all topics match');
    for (const field of ["members", "recordKeys"] as const) {
      const keys = genesis[field];
      if (keys !== "any" && new Set(keys).size !== keys.length) problem(field, "a key stands twice");
    }
    for (const [prefix, id] of genesis.prefixes) {
      if (!ids.has(id)) {
        problem("prefixes", `${JSON.stringify(prefix)} names class ${id}, which is not there`);
      }
    }
  });

export type Genesis = z.infer<typeof genesisSchema>;

/** @throws PennypostError `genesis_invalid`, naming the field. */
export function parseGenesis(json: unknown): Genesis {
  const parsed = genesisSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.join(".") || "the document";
  throw invalidArgument("genesis_invalid", `genesis document: ${where}: ${issue?.message ?? "invalid"}`, {
    where,
  });
}

/** The genesis document as dag-cbor: keys and prefixes as bytes, lists in their canonical order. */
export function encodeGenesis(genesis: Genesis): Bytes {
  const keys = (hex: readonly string[]) => hex.map(fromHex).sort(compareBytes);
  return encodeCbor({
    version: genesis.version,
    name: genesis.name,
    createdMs: genesis.createdMs,
    classes: [...genesis.classes].sort((a, b) => a.id - b.id),
    prefixes: genesis.prefixes
      .map(([prefix, id]): [Bytes, number] => [utf8(prefix), id])
      .sort(([a], [b]) => compareBytes(a, b)),
    members: genesis.members === "any" ? "any" : keys(genesis.members),
    recordKeys: keys(genesis.recordKeys),
    stampPrefixes: genesis.stampPrefixes.map(utf8).sort(compareBytes),
  });
}

/** What the rules ask of a genesis document, prepared for many answers. */
export class Network {
  readonly genesis: Genesis;
  /** SHA-256 of the genesis document as dag-cbor: the network's id. */
  readonly id: Bytes;
  readonly #classes: ReadonlyMap<number, RetentionClass>;
  /** Longest prefix first, so that the first match is the longest. */
  readonly #prefixes: readonly { readonly bytes: Bytes; readonly classId: number }[];
  readonly #members: ReadonlySet<string> | "any";
  readonly #stampPrefixes: readonly Bytes[];

  constructor(genesis: Genesis, suite: CryptoSuite) {
    this.genesis = genesis;
    this.id = suite.sha256(encodeGenesis(genesis));
    this.#classes = new Map(genesis.classes.map((each) => [each.id, each]));
    this.#prefixes = genesis.prefixes
      .map(([prefix, classId]) => ({ bytes: utf8(prefix), classId }))
      .sort((a, b) => b.bytes.length - a.bytes.length);
    this.#stampPrefixes = genesis.stampPrefixes.map(utf8);
    this.#members = genesis.members === "any" ? "any" : new Set(genesis.members);
  }

  /** Whether this network admits any origin, as only the development one may. */
  get isOpen(): boolean {
    return this.#members === "any";
  }

  /** The class that the policy gives a topic (UTF-8 bytes): that of its longest matching prefix. */
  classOf(topic: Uint8Array): RetentionClass {
    const match = this.#prefixes.find(
      ({ bytes }) => topic.length >= bytes.length && equalBytes(topic.subarray(0, bytes.length), bytes),
    );
    const found = match && this.#classes.get(match.classId);
    if (!found) throw new Error("the genesis schema guarantees a class for every topic");
    return found;
  }

  /** Whether the policy asks for a stamp in the events of a topic (UTF-8 bytes). */
  asksForStamp(topic: Uint8Array): boolean {
    return this.#stampPrefixes.some(
      (bytes) => topic.length >= bytes.length && equalBytes(topic.subarray(0, bytes.length), bytes),
    );
  }

  /** The class of an id. @throws PennypostError `class_unknown` when the network has none such. */
  retentionOf(classId: number): RetentionClass {
    const found = this.#classes.get(classId);
    if (!found)
      throw invalidArgument("class_unknown", `the network has no class ${classId}`, { class: classId });
    return found;
  }

  /** Whether the genesis admits an origin, before any record says more. */
  admitsFirst(origin: Uint8Array): boolean {
    return this.#members === "any" || this.#members.has(toHex(origin));
  }
}

const DAY_MS = 86_400_000;

/** The classes and prefixes that a new network starts with. V1 introductions are that version's invites. */
export const DEFAULT_POLICY: Pick<Genesis, "classes" | "prefixes" | "stampPrefixes"> = {
  classes: [
    { id: 0, name: "ephemeral", durationMs: 0, priority: 0 },
    { id: 1, name: "default", durationMs: 30 * DAY_MS, priority: 1 },
    { id: 2, name: "conversation", durationMs: 90 * DAY_MS, priority: 2 },
    { id: 3, name: "permanent", durationMs: null, priority: 3 },
  ],
  prefixes: [
    ["", 1],
    ["/xmtp/0/mE-", 0],
    ["/xmtp/0/dmE-", 0],
    ["/xmtp/0/m-", 2],
    ["/xmtp/0/dm-", 2],
    ["/xmtp/0/contact-", 3],
    ["/xmtp/0/privatestore-", 3],
    ["/xmtp/0/invite-", 3],
    ["/xmtp/0/groupInvite-", 3],
    ["/xmtp/0/intro-", 3],
    ["/xmtp/0/userpreferences-", 3],
  ],
  stampPrefixes: [],
};

/** For one machine and for tests: any key is a member. A deployed node refuses it. */
export const DEVELOPMENT_GENESIS: Genesis = {
  version: 1,
  name: "pennypost-development",
  createdMs: Date.UTC(2026, 0, 1),
  ...DEFAULT_POLICY,
  members: "any",
  recordKeys: [],
};
