import { describe, expect, it } from "vitest";
import { type ListedConduct, type ListedPeer, listLines } from "./peer-list.ts";

const NOW_MS = 1_800_000_000_000;
const DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
const NOW = new Date(NOW_MS).toISOString();

const peer: ListedPeer = {
  url: "https://a.example",
  did: DID,
  standing: "member",
  downSinceMs: null,
  refusal: null,
  conduct: null,
  lastSync: null,
};
const syncedBefore = (ms: number, outcome: string, received = 0, sent = 0) => ({
  lastSync: { atMs: NOW_MS - ms, report: { outcome, received, sent } },
});
const suspended: ListedConduct = { strikes: 12, suspended: true, suspendedUntilMs: null };

/** The words of a peer's line behind its URL and key. */
const wordsOf = (parts: Partial<ListedPeer>): string[] => {
  const [line] = listLines({ peers: [{ ...peer, ...parts }], others: [] }, NOW_MS);
  return (line ?? "").split("  ").slice(2);
};

describe("a peer in the list", () => {
  it.each<[Partial<ListedPeer>, string]>([
    [{}, "not compared yet"],
    [syncedBefore(12_000, "same"), "in sync 12 s ago"],
    [syncedBefore(-5_000, "same"), "in sync 0 s ago"],
    [syncedBefore(61_000, "different", 3, 1), "synced 1 min ago, took 3 events, gave 1"],
    [syncedBefore(7_200_000, "partial", 1), "synced 2 h ago, in part, took 1 event, gave 0"],
    [syncedBefore(200_000_000, "apart"), "not compared 2 d ago: the clocks are apart"],
    [{ ...syncedBefore(1, "same"), downSinceMs: NOW_MS }, `down since ${NOW}`],
    [{ downSinceMs: NOW_MS, refusal: "not_a_member" }, "refuses us: not a member yet"],
    [{ downSinceMs: NOW_MS, refusal: "peer_suspended" }, "refuses us: suspended"],
    [{ downSinceMs: NOW_MS, refusal: "request_signature" }, "refuses us: request_signature"],
    [{ conduct: suspended }, `suspended; to lift it: npx pennypost peer resume ${DID}`],
    [{ conduct: { ...suspended, suspendedUntilMs: NOW_MS } }, `suspended until ${NOW}`],
    [
      {
        ...syncedBefore(1_000, "same"),
        conduct: { strikes: 1, suspended: false, suspendedUntilMs: null },
      },
      "in sync 1 s ago, 1 strike",
    ],
  ])("%j is told as: %s", (parts, words) => expect(wordsOf(parts)).toEqual(["member", words]));

  it("is told as it stands in the network", () => {
    const standings = (["member", "unknown", "removed", null] as const).map(
      (standing) => wordsOf({ standing })[0],
    );
    expect(standings).toEqual(["member", "not a member", "removed", "–"]);
  });
});

describe("keys that are no peers", () => {
  const other = (conduct: ListedConduct) => ({ did: DID, standing: "removed", conduct }) as const;

  it("are listed when they are suspended or have strikes", () => {
    const others = [other(suspended), other({ ...suspended, strikes: 2, suspended: false })];
    expect(listLines({ peers: [], others }, NOW_MS)).toEqual([
      "no peers: npx pennypost peer invite, or join",
      "",
      "No peers of this node:",
      `${DID}  removed  suspended; to lift it: npx pennypost peer resume ${DID}`,
      `${DID}  removed  2 strikes`,
    ]);
  });

  it("are not listed otherwise", () => {
    const others = [other({ strikes: 0, suspended: false, suspendedUntilMs: null })];
    expect(listLines({ peers: [peer], others }, NOW_MS)).toHaveLength(1);
  });
});
