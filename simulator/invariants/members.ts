import * as dagCbor from "@ipld/dag-cbor";
import { equalBytes, readUint64, toHex } from "../../protocol/bytes.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";

/** What a member record says, read without the production code. */
interface MemberFields {
  readonly kind: string;
  readonly member: Uint8Array;
  readonly admitted: boolean;
  readonly from: number | bigint;
}

/** Who is a member at which seq, by the genesis and the records that a node has. */
export class Members {
  readonly #founders: ReadonlySet<string>;
  readonly #records: readonly MemberFields[];

  constructor(founders: ReadonlySet<string>, blocks: readonly Uint8Array[]) {
    this.#founders = founders;
    this.#records = blocks
      .map((block) => dagCbor.decode<MemberFields>(block))
      .filter(({ kind }) => kind === "member");
  }

  /** By the record that begins last, and of two that begin at once by the one that removes. */
  isMember(origin: Uint8Array, seq: bigint): boolean {
    let last: MemberFields | undefined;
    for (const record of this.#records) {
      if (!equalBytes(record.member, origin) || BigInt(record.from) > seq) continue;
      const isLater = !last || BigInt(record.from) > BigInt(last.from);
      if (isLater || (BigInt(record.from) === BigInt(last?.from ?? 0) && !record.admitted)) last = record;
    }
    return last ? last.admitted : this.#founders.has(toHex(origin));
  }
}

/** By the records of the first node: it is honest, and no plan removes it. */
export function membersOf({ nodes, plan, signers }: Simulation): Members {
  const founders = signers.filter((_, index) => plan.nodes[index]?.isFounder);
  const blocks = nodes[0]?.stateDisk.state.records.all().map(({ block }) => block) ?? [];
  return new Members(new Set(founders.map(({ publicKey }) => toHex(publicKey))), blocks);
}

/** Honest nodes that are members now: the others need not hold what these hold. */
export function presentNodes(simulation: Simulation): SimNode[] {
  const members = membersOf(simulation);
  const seq = BigInt(simulation.scheduler.nowMs) << 21n;
  return simulation.honest.filter(({ settings }) => members.isMember(settings.config.signer.publicKey, seq));
}

/**
 * Whether an acknowledged event belongs to what the network holds. Its origin may be another node, which had the envelope first: when
 * that one is removed from before, the envelope goes with it.
 */
export function isOfMember({ inspector }: Simulation, members: Members, id: Uint8Array): boolean {
  const origin = inspector.originOf(id);
  return origin !== undefined && members.isMember(origin, readUint64(id));
}
