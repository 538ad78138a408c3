#!/usr/bin/env node
import { CommandError, describeError } from "./command-error.ts";
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
  export: async (options) => (await import("./backup/export.ts")).exportNode(options, output, Date.now()),
  import: async (options) => (await import("./backup/import.ts")).importInto(options, output),
  peer: {
    invite: async (options) => (await import("./peer.ts")).invite(options, output),
    revoke: async (options) => (await import("./peer.ts")).revoke(options, output),
    join: async (url, invitation, options) =>
      (await import("./peer.ts")).join(url, invitation, options, output),
    list: async (options) => (await import("./peer.ts")).list(options, output),
    suspend: async (key, options) => (await import("./peer.ts")).suspend(key, options, output),
    resume: async (key, options) => (await import("./peer.ts")).resume(key, options, output),
    forget: async (key, options) => (await import("./peer.ts")).forget(key, options, output),
    rotate: async (options) => (await import("./rotate.ts")).rotate(options, output),
    decide: async (key, admitted, options) =>
      (await import("./member.ts")).decide(key, admitted, options, output),
  },
};

async function main(): Promise<number> {
  try {
    await makeProgram(actions).parseAsync();
    return 0;
  } catch (error) {
    output.stderr(`${describeError(error)}\n`);
    return error instanceof CommandError ? error.status : 1;
  }
}

const status = await main();
// What is printed into a pipe may not have left yet; what else is open shall not keep the process.
process.stdout.write("", () => process.exit(status));
