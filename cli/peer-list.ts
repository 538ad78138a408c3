/** What the admin API tells of a key that broke rules, or was suspended by the operator. */
export interface ListedConduct {
  readonly strikes: number;
  readonly suspended: boolean;
  /** Null until the operator resumes it. */
  readonly suspendedUntilMs: number | null;
}

/** How a key stands in the network; null where it is not known yet, and absent where the node is of an earlier version. */
export type ListedStanding = "member" | "removed" | "unknown" | null;

export interface ListedPeer {
  readonly url: string;
  readonly did?: string;
  readonly standing?: ListedStanding;
  readonly downSinceMs: number | null;
  readonly refusal?: string | null;
  readonly conduct: ListedConduct | null;
  readonly lastSync: {
    readonly atMs: number;
    readonly report: { readonly outcome: string; readonly received: number; readonly sent: number };
  } | null;
}

export interface ListedKey {
  readonly did: string;
  readonly standing?: ListedStanding;
  readonly conduct: ListedConduct;
}

export interface PeerListing {
  readonly peers: readonly ListedPeer[];
  /** Keys that are no peers. */
  readonly others: readonly ListedKey[];
}

/** The listing for people: a line for each peer, then one for each other key that is suspended or has strikes. */
export function listLines({ peers, others }: PeerListing, nowMs: number): string[] {
  const lines = peers.map((peer) =>
    [peer.url, peer.did ?? "key not known yet", standingWord(peer.standing), stateOf(peer, nowMs)].join("  "),
  );
  const watched = others.filter(({ conduct }) => conduct.suspended || conduct.strikes > 0);
  return [
    ...(lines.length > 0 ? lines : ["no peers: npx pennypost peer invite, or join"]),
    ...(watched.length > 0 ? ["", "No peers of this node:"] : []),
    ...watched.map(({ did, standing, conduct }) =>
      [did, standingWord(standing), conductWord(did, conduct)].join("  "),
    ),
  ];
}

function standingWord(standing: ListedStanding | undefined): string {
  if (standing === "member" || standing === "removed") return standing;
  return standing === "unknown" ? "not a member" : "–";
}

function stateOf(peer: ListedPeer, nowMs: number): string {
  const { conduct, did } = peer;
  if (conduct?.suspended) return conductWord(did, conduct);
  const state = exchangeOf(peer, nowMs);
  return conduct && conduct.strikes > 0 ? `${state}, ${conductWord(did, conduct)}` : state;
}

function conductWord(did: string | undefined, conduct: ListedConduct): string {
  const { strikes, suspended, suspendedUntilMs } = conduct;
  if (!suspended) return counted(strikes, "strike");
  if (suspendedUntilMs !== null) return `suspended until ${new Date(suspendedUntilMs).toISOString()}`;
  return `suspended; to lift it: npx pennypost peer resume ${did ?? "KEY"}`;
}

const REFUSALS: Readonly<Record<string, string>> = {
  not_a_member: "not a member yet",
  peer_suspended: "suspended",
};

function exchangeOf({ downSinceMs, refusal, lastSync }: ListedPeer, nowMs: number): string {
  if (downSinceMs !== null && refusal) return `refuses us: ${REFUSALS[refusal] ?? refusal}`;
  if (downSinceMs !== null) return `down since ${new Date(downSinceMs).toISOString()}`;
  if (!lastSync) return "not compared yet";
  const { atMs, report } = lastSync;
  const when = ago(nowMs - atMs);
  if (report.outcome === "same") return `in sync ${when}`;
  if (report.outcome === "apart") return `not compared ${when}: the clocks are apart`;
  const partly = report.outcome === "partial" ? ", in part" : "";
  return `synced ${when}${partly}, took ${counted(report.received, "event")}, gave ${report.sent}`;
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
] as const;

/** The node's clock may be ahead of this one. */
function ago(ms: number): string {
  const [name, unitMs] = UNITS.find(([, each]) => ms >= each) ?? (["s", 1_000] as const);
  return `${Math.max(0, Math.floor(ms / unitMs))} ${name} ago`;
}
