import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Bytes } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import {
  decodeFilePart,
  decodeFilePartAnswer,
  decodeSegments,
  decodeSegmentsAnswer,
  encodeFilePart,
  encodeFilePartAnswer,
  encodeSegments,
  encodeSegmentsAnswer,
  type FilePartQuestion,
  MAX_FILE_PART_BYTES,
  MAX_LISTED_SEGMENTS,
  type SegmentSummary,
} from "./segment-messages.ts";

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => new Uint8Array(bytes) as Bytes);
const uint32 = fc.nat({ max: 0xffffffff });
const shard = fc.nat({ max: 1_023 });
const bucket = fc.nat({ max: 4_095 });
const place = fc.record({ shard, number: fc.nat() });
const summary: fc.Arbitrary<SegmentSummary> = fc.record({
  shard,
  number: fc.nat(),
  root: digest,
  class: fc.nat({ max: 255 }),
  from: uint32,
  to: uint32,
  firstBucket: bucket,
  lastBucket: bucket,
  count: uint32,
  blocksBytes: uint32,
  messagesBytes: fc.option(uint32),
});
const part: fc.Arbitrary<FilePartQuestion> = fc.record({
  shard,
  root: digest,
  file: fc.oneof(fc.constantFrom("blocks" as const, "messages" as const), digest),
  offset: uint32,
  length: fc.integer({ min: 1, max: MAX_FILE_PART_BYTES }),
});

test("questions and answers are read as they were written", () => {
  fc.assert(
    fc.property(fc.option(place), fc.array(summary), part, digest, (after, segments, question, bytes) => {
      const list = { after, limit: 1 + (question.offset % MAX_LISTED_SEGMENTS) };
      expect(decodeSegments(encodeSegments(list))).toEqual(list);
      expect(decodeSegmentsAnswer(encodeSegmentsAnswer({ segments, next: after }))).toEqual({
        segments,
        next: after,
      });
      expect(decodeFilePart(encodeFilePart(question))).toEqual(question);
      for (const each of [bytes, null])
        expect(decodeFilePartAnswer(encodeFilePartAnswer(each))).toEqual(each);
    }),
  );
});

describe("refused are", () => {
  const root = new Uint8Array(32);
  const segment = [0, 1, root, 1, 2, 3, 0, 0, 1, 1, null];
  const changed = (at: number, value: unknown) => [[segment.with(at, value as never)], null];

  test.each<[string, (bytes: Uint8Array) => unknown, unknown]>([
    ["a place of no shard", decodeSegments, [[1_024, 0], 1]],
    ["a place below nothing", decodeSegments, [[0, -1], 1]],
    ["a list of nothing", decodeSegments, [null, 0]],
    ["too long a list", decodeSegments, [null, MAX_LISTED_SEGMENTS + 1]],
    ["a name that is no digest", decodeSegmentsAnswer, changed(2, new Uint8Array(31))],
    ["a bucket that is none", decodeSegmentsAnswer, changed(7, 4_096)],
    ["a part of an event", decodeSegmentsAnswer, changed(8, 0.5)],
    ["more bytes than a file has", decodeSegmentsAnswer, changed(9, 2 ** 32)],
    ["a longer list", decodeSegmentsAnswer, [Array(MAX_LISTED_SEGMENTS + 1).fill(segment), null]],
    ["a file of another name", decodeFilePart, [0, root, "large", 0, 1]],
    ["nothing of a file", decodeFilePart, [0, root, "blocks", 0, 0]],
    ["too much of a file", decodeFilePart, [0, root, "blocks", 0, MAX_FILE_PART_BYTES + 1]],
    ["more bytes than were asked for", decodeFilePartAnswer, [new Uint8Array(MAX_FILE_PART_BYTES + 1)]],
    ["a text", decodeFilePartAnswer, ["bytes"]],
  ])("%s", (_, decode, body) => {
    expect(() => decode(encodeCbor(body))).toThrow(expect.objectContaining({ code: "peer_body_invalid" }));
  });
});
