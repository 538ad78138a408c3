/** The client library of Pennypost, for browsers, Node and Workers: docs/client.md. */

export { PennypostError } from "../protocol/errors.ts";
export type { Genesis } from "../protocol/genesis.ts";
export type { CausalQueryOptions, Head, TimeQueryOptions } from "./event-reader.ts";
export { Identity, type LocalAccount, type Wallet } from "./identity.ts";
export type { AdmissionWay, NewEnvelope } from "./new-envelope.ts";
export type { NodeInfo } from "./node-facts.ts";
export { type ClientOptions, PennypostClient, type StampOptions } from "./pennypost-client.ts";
export type { Fetch, Now, Socket, SocketConstructor } from "./platform.ts";
export { type PreparedEnvelope, type PreparedPublish, PublishError } from "./prepared-publish.ts";
export type { ReceivedEvent } from "./received-event.ts";
export type { BufferLimits } from "./socket-session.ts";
export { type KeptStamp, MemoryStampStore, type StampStore } from "./stamp-store.ts";
export type { SubscribeOptions, Subscription } from "./subscription.ts";
export type { SubscriptionItem } from "./subscription-items.ts";
