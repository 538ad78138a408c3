import { createRequire } from "node:module";

/** The official SDK of 2023, unmodified. Its ESM build does not load in Node, its CommonJS build does. */
const require = createRequire(import.meta.url);
export const sdk = require("@xmtp/xmtp-js") as typeof import("@xmtp/xmtp-js");
const { Wallet } = require("ethers") as typeof import("ethers");

export type XmtpClient = InstanceType<typeof sdk.Client>;
export type XmtpConversation = Awaited<ReturnType<XmtpClient["conversations"]["newConversation"]>>;
export type XmtpMessage = Awaited<ReturnType<XmtpConversation["send"]>>;

export const newWallet = () => Wallet.createRandom();
export type XmtpWallet = ReturnType<typeof newWallet>;

/** Logs a wallet in at a node, as an application would. */
export const logIn = (wallet: XmtpWallet, apiUrl: string, options: object = {}): Promise<XmtpClient> =>
  sdk.Client.create(wallet, { env: "local", apiUrl, persistConversations: false, ...options });
