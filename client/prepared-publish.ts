import { GRPC, PennypostError } from "../protocol/errors.ts";
import type { AdmissionWay } from "./new-envelope.ts";

/** A publish that is ready to be sent, and can be sent any number of times: it is JSON, so that an application can keep it. */
export interface PreparedPublish {
  readonly by: AdmissionWay;
  /** The key of the node that it is for, hex: stamps are good there alone. */
  readonly node: string;
  /** Until when the node has to take its stamps, by its own records, in ms since 1970; absent without stamps. */
  readonly stampsUntilMs?: number;
  readonly envelopes: readonly PreparedEnvelope[];
}

export interface PreparedEnvelope {
  readonly contentTopic: string;
  /** Decimal. */
  readonly timestampNs: string;
  /** Base64. */
  readonly message: string;
  /** Base64. Absent also where no stamp was to be had: then it is put there when the publish is sent. */
  readonly stamp?: string;
}

/**
 * That a publish was not acknowledged. Whether the node has it is not known: sending `prepared` again is safe, and the way to find out. Keep
 * that of the last failure: stamps that were put on it are in no earlier one. `cause` is what went wrong.
 */
export class PublishError extends PennypostError {
  readonly prepared: PreparedPublish;

  constructor({ code, grpc, message, data }: PennypostError, prepared: PreparedPublish, cause?: unknown) {
    super(code, grpc, message, data);
    this.name = "PublishError";
    this.prepared = prepared;
    this.cause = cause;
  }
}

/** What went wrong, as the library says it. */
export function publishFailure(error: unknown, signal: AbortSignal | undefined): PennypostError {
  if (error instanceof PennypostError) return error;
  if (signal?.aborted)
    return new PennypostError("publish_aborted", GRPC.cancelled, "the publish was aborted by its signal");
  const why = error instanceof Error ? error.message : String(error);
  return new PennypostError("publish_failed", GRPC.unknown, `the publish failed: ${why.slice(0, 200)}`);
}
