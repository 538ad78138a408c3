import { PennypostError, unavailable } from "../../protocol/errors.ts";

/** An answer is awaited for so long. */
const RPC_TIMEOUT_MS = 5_000;
/** Yes and no have 200 bytes; a contract may add to its no what it likes. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** What a contract may compute: signatures of P-256 in Solidity, and the making of a wallet, fit in. */
const CALL_GAS = 10_000_000;
/** How nodes of chains name what a call itself did wrong; EIP-1474 has no number for it, most give 3. */
const REVERTED = 3;
const FAILED_CALL = /revert|out ?of ?gas|oog\b|invalid ?(opcode|jump)|stack ?(under|over)flow/i;

/** Neither the URL, in which keys stand, nor what came from there is told. */
const failed = (why: string) =>
  unavailable("wallet_check_unavailable", `the wallet's contract cannot be asked: ${why}`);

/** A JSON-RPC endpoint of the chain on which wallets' contracts are. */
export class RpcEndpoint {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /**
   * Runs code on the chain's newest state; changes nothing there.
   * @returns what it returned, in hex; undefined when it failed by its own doing.
   * @throws PennypostError `wallet_check_unavailable` (503) when the endpoint does not answer as it should.
   */
  async run(code: `0x${string}`): Promise<string | undefined> {
    const params = [{ data: code, gas: `0x${CALL_GAS.toString(16)}` }, "latest"];
    const { result, error } = await this.#ask({ jsonrpc: "2.0", id: 1, method: "eth_call", params });
    if (typeof result === "string") return result;
    if (isObject(error) && (error.code === REVERTED || FAILED_CALL.test(String(error.message))))
      return undefined;
    throw failed("the RPC endpoint refuses");
  }

  async #ask(question: object): Promise<JsonObject> {
    try {
      const response = await fetch(this.#url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(question),
        redirect: "manual",
        signal: AbortSignal.timeout(RPC_TIMEOUT_MS),
      });
      if (response.status === 200) return readObject(await readText(response.body));
      await response.body?.cancel();
      throw failed(`the RPC endpoint answers ${response.status}`);
    } catch (error) {
      if (error instanceof PennypostError) throw error;
      throw failed("the RPC endpoint does not answer");
    }
  }
}

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject => typeof value === "object" && value !== null;

async function readText(body: ReadableStream<Uint8Array> | null): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw failed(`the answer is over ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

function readObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // As what is no object.
  }
  throw failed("the RPC endpoint's answer is no JSON-RPC");
}
