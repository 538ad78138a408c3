import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { peers } from "../d1-schema.ts";
import type { Env } from "../env.ts";

/** The key that a peer with a bare URL answered the first time, if it did. @throws when D1 is away. */
export async function knownPeerKey(env: Env, url: string): Promise<Bytes | undefined> {
  const row = await drizzle(env.DB).select({ key: peers.key }).from(peers).where(eq(peers.url, url)).get();
  return row && fromHex(row.key);
}

/** Keeps a peer's key for good, and answers the one that is kept: the first. */
export async function keepPeerKey(env: Env, url: string, key: Bytes, nowMs: number): Promise<Bytes> {
  await drizzle(env.DB)
    .insert(peers)
    .values({ url, key: toHex(key), learnedAtMs: nowMs })
    .onConflictDoNothing();
  return (await knownPeerKey(env, url)) ?? key;
}
