#!/usr/bin/env node
import { describeError } from "./command-error.ts";
import { type Actions, makeProgram } from "./program.ts";

const output = {
  stdout: (text: string): void => void process.stdout.write(text),
  stderr: (text: string): void => void process.stderr.write(text),
};

const actions: Actions = {
  keygen: async (options) => (await import("./keygen.ts")).keygen(options, output, Date.now()),
  start: async (options) => (await import("./launcher.ts")).runNetwork(options),
  node: async (options) => (await import("./launcher.ts")).runNode(options),
  deploy: async (options) =>
    (await import("./deploy.ts")).deploy(options, (line) => output.stdout(`${line}\n`)),
};

async function main(): Promise<number> {
  try {
    await makeProgram(actions).parseAsync();
    return 0;
  } catch (error) {
    output.stderr(`${describeError(error)}\n`);
    return 1;
  }
}

const status = await main();
// What is printed into a pipe may not have left yet; what else is open shall not keep the process.
process.stdout.write("", () => process.exit(status));
