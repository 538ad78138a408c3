import * as fc from "fast-check";
import { type Bytes, compareBytes, utf8 } from "../bytes.ts";
import { encodeCbor } from "../cbor.ts";
import { portableSigner, portableSuite } from "../crypto.ts";
import type { NewEvent } from "../event.ts";
import { eventId } from "../event-id.ts";
import { DEVELOPMENT_GENESIS, Network } from "../genesis.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import { MAX_LINKS, MAX_SEQ, MAX_TOPIC_BYTES, MAX_UINT64 } from "../limits.ts";
import { RecordSet } from "../record-set.ts";

/** What the tests of protocol/ share: fixed keys, a network, and random values of each kind. */

export const suite = portableSuite();
export const network = new Network(DEVELOPMENT_GENESIS, suite);
/** What stands in the genesis alone. */
export const noRecords = (of: Network): RecordSet => new RecordSet(of, suite);
export const signer = portableSigner(new Uint8Array(32).fill(7));
export const otherSigner = portableSigner(new Uint8Array(32).fill(8));

/** fast-check's arrays may be views of larger ones; these stand alone. */
export const bytesOf = (minLength: number, maxLength = minLength): fc.Arbitrary<Bytes> =>
  fc.uint8Array({ minLength, maxLength }).map((bytes) => Uint8Array.from(bytes));

/** Any character but a surrogate. (fast-check's unit "binary" is the same, and takes a second to begin with.) */
const anyCharacter = fc
  .oneof(fc.integer({ min: 0, max: 0xd7ff }), fc.integer({ min: 0xe000, max: 0x10ffff }))
  .map((point) => String.fromCodePoint(point));

/** Well-formed Unicode of every kind, with the marks and controls that tools like to drop. */
export const characters = fc.oneof(
  { weight: 5, arbitrary: fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 1 }) },
  { weight: 2, arbitrary: anyCharacter },
  fc.constantFrom("\uFEFF", "\0", "\n", "\u{1F600}", "e\u0301", "\uFFFD", "\u202E"),
);

export const topics: fc.Arbitrary<Bytes> = fc
  .oneof(
    fc.array(characters, { minLength: 1, maxLength: 60 }).map((parts) => parts.join("")),
    fc.constantFrom(...DEVELOPMENT_GENESIS.prefixes.map(([prefix]) => `${prefix}x`)),
    fc.constantFrom("/".repeat(MAX_TOPIC_BYTES), "\uFEFF"),
  )
  .map(utf8)
  .filter((topic) => topic.length <= MAX_TOPIC_BYTES);

export const seqs = fc.bigInt({ min: firstSeqOf(DEVELOPMENT_GENESIS.createdMs), max: MAX_SEQ });
export const uint64s = fc.oneof(
  fc.bigInt({ min: 0n, max: MAX_UINT64 }),
  fc.constantFrom(0n, MAX_UINT64, 2n ** 53n),
);

const linksBelow = (seq: bigint): fc.Arbitrary<Bytes[]> =>
  fc
    .uniqueArray(fc.tuple(fc.bigInt({ min: 0n, max: seq - 1n }), bytesOf(32)), {
      maxLength: MAX_LINKS,
      selector: ([linked]) => linked,
    })
    .map((links) => links.map(([linked, digest]) => eventId(linked, digest)).sort(compareBytes));

/** Values of the IPLD data model whose one encoding the library gives back. */
const plainText = fc.string({ maxLength: 8 });
export const ipldValues: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(
      fc.integer(),
      fc.bigInt({ min: 2n ** 53n, max: MAX_UINT64 }),
      plainText,
      bytesOf(0, 8),
      fc.boolean(),
    ),
    fc.constantFrom<unknown>(null, 1.5, -1),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(plainText, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;

const grants: fc.Arbitrary<Bytes> = fc
  .dictionary(plainText, ipldValues, { maxKeys: 3, noNullPrototype: true })
  .map(encodeCbor);

/** Events that no rule refuses, for the development network. */
export const newEvents: fc.Arbitrary<NewEvent> = fc
  .tuple(topics, seqs, uint64s, bytesOf(0, 200))
  .chain(([topic, seq, ts, message]) => {
    const retention = network.classOf(topic);
    const links = retention.durationMs === 0 ? fc.constant<Bytes[]>([]) : linksBelow(seq);
    return links.map((each) => ({
      net: network.id,
      topic,
      ts,
      class: retention.id,
      links: each,
      seq,
      message,
    }));
  });

/** Events as a block may hold them, some with a grant of any content: no policy asks for such. */
export const encodableEvents: fc.Arbitrary<NewEvent> = fc
  .tuple(newEvents, fc.option(grants, { nil: undefined }))
  .map(([event, grant]) => (grant ? { ...event, grant } : event));
