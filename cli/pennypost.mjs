#!/usr/bin/env node
// The command for any Node that can say what it lacks: older ones cannot read TypeScript, and would only show a stack.

const LEAST_MAJOR = 24;

if (Number(process.versions.node.split(".")[0]) < LEAST_MAJOR) {
  process.stderr.write(
    `pennypost: Node ${LEAST_MAJOR} is needed, and this is ${process.version}\n` +
      "  mend: npm ci installs one in the folder of the repository; there: npx pennypost …\n",
  );
  process.exitCode = 1;
} else {
  import("./pennypost.ts");
}
