import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type Abi, createTestClient, getAddress, type Hex, http, publicActions, walletActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { HOST } from "../../cli/local-node.ts";
import { freePorts } from "./ports.ts";
import { until } from "./until.ts";

const require = createRequire(import.meta.url);
const SOURCE = join(import.meta.dirname, "contracts", "Wallets.sol");
/** The first of the accounts that anvil gives money to. */
const ACCOUNT = privateKeyToAccount("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

interface Contract {
  readonly abi: Abi;
  readonly bytecode: Hex;
}

interface Compiled {
  readonly errors?: readonly { readonly severity: string; readonly formattedMessage: string }[];
  readonly contracts: Record<
    string,
    Record<string, { readonly abi: Abi; readonly evm: { readonly bytecode: { readonly object: string } } }>
  >;
}

/** The contracts of `contracts/Wallets.sol`, compiled. */
function compileContracts(): ReadonlyMap<string, Contract> {
  const { compile } = require("solc") as { compile(input: string): string };
  const input = {
    language: "Solidity",
    sources: { "Wallets.sol": { content: readFileSync(SOURCE, "utf8") } },
    settings: {
      optimizer: { enabled: true },
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
    },
  };
  const { errors = [], contracts } = JSON.parse(compile(JSON.stringify(input))) as Compiled;
  const wrong = errors.find(({ severity }) => severity === "error");
  if (wrong) throw new Error(wrong.formattedMessage);
  const found = Object.entries(contracts["Wallets.sol"] ?? {});
  return new Map(found.map(([name, { abi, evm }]) => [name, { abi, bytecode: `0x${evm.bytecode.object}` }]));
}

const clientOf = (url: string) =>
  createTestClient({ account: ACCOUNT, chain: foundry, mode: "anvil", transport: http(url) })
    .extend(publicActions)
    .extend(walletActions);

/** A chain of its own: anvil, on this machine. */
export class TestChain {
  readonly url: string;
  readonly client: ReturnType<typeof clientOf>;
  readonly #process: ChildProcess;
  readonly #contracts = compileContracts();

  private constructor(port: number) {
    this.url = `http://${HOST}:${port}`;
    this.client = clientOf(this.url);
    const program = join(dirname(require.resolve("@foundry-rs/anvil/package.json")), "bin.mjs");
    const words = [program, "--host", HOST, "--port", String(port), "--silent"];
    this.#process = spawn(process.execPath, words, { stdio: "ignore" });
  }

  static async start(): Promise<TestChain> {
    const [port = 0] = await freePorts(1);
    const chain = new TestChain(port);
    const isReady = () => chain.client.getChainId().then(Boolean, () => false);
    await until("anvil", isReady);
    return chain;
  }

  contract(name: string): Contract {
    const contract = this.#contracts.get(name);
    if (!contract) throw new RangeError(`there is no contract ${name}`);
    return contract;
  }

  /** Answers its address. */
  async deploy(name: string, ...args: readonly unknown[]): Promise<Hex> {
    const hash = await this.client.deployContract({ ...this.contract(name), args });
    const { contractAddress } = await this.client.waitForTransactionReceipt({ hash });
    if (!contractAddress) throw new Error(`${name} was not made`);
    return getAddress(contractAddress);
  }

  async write(name: string, address: Hex, functionName: string, ...args: readonly unknown[]): Promise<void> {
    const { abi } = this.contract(name);
    const hash = await this.client.writeContract({ address, abi, functionName, args });
    await this.client.waitForTransactionReceipt({ hash });
  }

  async stop(): Promise<void> {
    const ended = Promise.withResolvers<void>();
    this.#process.once("exit", () => ended.resolve());
    this.#process.kill("SIGTERM");
    await ended.promise;
  }
}
