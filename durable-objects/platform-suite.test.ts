import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { portableSigner } from "../protocol/crypto.ts";
import { platformSigner, suite } from "./platform-suite.ts";

test("the platform signs as the portable signer does", () => {
  const seed = new Uint8Array(32).fill(5);
  const message = new Uint8Array([1, 2, 3]);
  const signer = platformSigner(seed);
  expect(signer.publicKey).toEqual(portableSigner(seed).publicKey);
  expect(signer.sign(message)).toEqual(portableSigner(seed).sign(message));
  expect(suite.verify(signer.publicKey, message, signer.sign(message))).toBe(true);
  expect(env.LOCAL).toBe("true");
});
