import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { type Bytes, concatBytes, fromHex, utf8 } from "../bytes.ts";
import { hex, patternMessage, seedOf, signerOf } from "./encoding.ts";

/** Ed25519 cases on which libraries differ. `a` is a secret scalar, `k` the hash of RFC 8032, 5.1.7. */

const { Point } = ed25519;
/** As `toBytes`, in an ordinary buffer. */
const encode = (point: CurvePoint): Bytes => Uint8Array.from(point.toBytes());
type CurvePoint = InstanceType<typeof Point>;
export const ORDER = Point.Fn.ORDER;
const FIELD = Point.Fp.ORDER;

export function scalarBytes(value: bigint): Bytes {
  return fromHex(value.toString(16).padStart(64, "0")).reverse();
}
const fieldBytes = scalarBytes;
const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${hex(Uint8Array.from(bytes).reverse())}`);

/** A point of order 8, and its multiples: the eight points of small order. */
const EIGHTH = Point.fromBytes(
  fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
  true,
);
export const encodedSmallOrderPoint = (multiple: number): Bytes => encode(smallOrderPoint(multiple));
const smallOrderPoint = (multiple: number): CurvePoint =>
  multiple === 0 ? Point.ZERO : EIGHTH.multiplyUnsafe(BigInt(multiple));
const ORDERS = [1, 8, 4, 8, 2, 8, 4, 8];

const basePoint = (scalar: bigint): CurvePoint => Point.BASE.multiplyUnsafe(scalar);
const scalarOf = (name: string): bigint => Point.Fn.create(littleEndian(seedOf(name)));
const challenge = (encodedR: Uint8Array, key: Uint8Array, message: Uint8Array): bigint =>
  Point.Fn.create(littleEndian(sha512(concatBytes(encodedR, key, message))));

/** R and s with s = r + k·a: what an honest signer computes, for any encodings of R and the key. */
function respond(encodedR: Bytes, r: bigint, key: Bytes, a: bigint, message: Bytes): Bytes {
  return concatBytes(encodedR, scalarBytes(Point.Fn.create(r + challenge(encodedR, key, message) * a)));
}

/** A key a·B + T with T of order 8, of which the secret scalar is known. */
export function torsionedKey(name: string) {
  const a = scalarOf(name);
  const publicKey = encode(basePoint(a).add(EIGHTH));
  const r = scalarOf(`${name}: r`);
  const encodedR = encode(basePoint(r));
  return {
    publicKey,
    /** Holds with the cofactor; without it only where k is a multiple of 8. */
    sign: (message: Bytes): Bytes => respond(encodedR, r, publicKey, a, message),
    challenge: (message: Bytes): bigint => challenge(encodedR, publicKey, message),
  };
}

interface SignatureCase {
  readonly description: string;
  readonly publicKey: Bytes;
  readonly message: Bytes;
  readonly signature: Bytes;
  readonly valid: boolean;
}

/** The first of the messages "0", "1", … that fits. */
function findMessage(fits: (message: Bytes) => boolean): Bytes {
  for (let i = 0; ; i++) {
    const message = utf8(String(i));
    if (fits(message)) return message;
  }
}

const RFC_8032: readonly (readonly [key: string, message: string, signature: string])[] = [
  [
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
];

const signer = signerOf("signatures");
const secret = Point.Fn.create(
  littleEndian(ed25519.utils.getExtendedPublicKey(seedOf("signatures")).head.slice(0, 32)),
);
const MESSAGE = utf8("a message");
const SIGNATURE = signer.sign(MESSAGE);
const S = littleEndian(SIGNATURE.subarray(32));
const withS = (s: bigint): Bytes => concatBytes(SIGNATURE.subarray(0, 32), scalarBytes(s));

const made = (
  valid: boolean,
  description: string,
  changes: Partial<Omit<SignatureCase, "valid">> = {},
): SignatureCase => ({
  publicKey: signer.publicKey,
  message: MESSAGE,
  signature: SIGNATURE,
  ...changes,
  description,
  valid,
});

function ordinaryCases(): SignatureCase[] {
  const empty = new Uint8Array();
  const long = patternMessage(1_023);
  return [
    ...RFC_8032.map(([key, message, signature], i) =>
      made(true, `Test ${i + 1} of RFC 8032, 7.1.`, {
        publicKey: fromHex(key),
        message: fromHex(message),
        signature: fromHex(signature),
      }),
    ),
    made(true, "A signature."),
    made(true, "An empty message.", { message: empty, signature: signer.sign(empty) }),
    made(true, "A message of 1,023 bytes.", { message: long, signature: signer.sign(long) }),
    made(false, "Another message.", { message: utf8("a massage") }),
    made(false, "Another key.", { publicKey: signerOf("another").publicKey }),
    made(false, "The sign bit of R is another.", {
      signature: SIGNATURE.map((byte, i) => (i === 31 ? byte ^ 0x80 : byte)),
    }),
    made(false, "The sign bit of the key is another.", {
      publicKey: signer.publicKey.map((byte, i) => (i === 31 ? byte ^ 0x80 : byte)),
    }),
    made(false, "A signature of 63 bytes.", { signature: SIGNATURE.slice(0, 63) }),
    made(false, "A signature of 65 bytes.", { signature: concatBytes(SIGNATURE, Uint8Array.of(0)) }),
    made(false, "An empty signature.", { signature: empty }),
    made(false, "A key of 31 bytes.", { publicKey: signer.publicKey.slice(0, 31) }),
    made(false, "A key of 33 bytes.", { publicKey: concatBytes(signer.publicKey, Uint8Array.of(0)) }),
    made(false, "A key that is no point of the curve.", { publicKey: fieldBytes(2n) }),
    made(false, "An R that is no point of the curve.", {
      signature: concatBytes(fieldBytes(2n), SIGNATURE.subarray(32)),
    }),
    made(false, "Zeros throughout.", { publicKey: new Uint8Array(32), signature: new Uint8Array(64) }),
  ];
}

function scalarCases(): SignatureCase[] {
  const r = scalarOf("r");
  const encodedR = encode(basePoint(r));
  return [
    made(true, "Another R than the one that RFC 8032 prescribes for this message.", {
      signature: respond(encodedR, r, signer.publicKey, secret, MESSAGE),
    }),
    made(false, "s + L.", { signature: withS(S + ORDER) }),
    made(false, "s + 2·L.", { signature: withS(S + 2n * ORDER) }),
    made(false, "s + 8·L, above 2^255.", { signature: withS(S + 8n * ORDER) }),
    made(false, "s + 14·L, the most that fits.", { signature: withS(S + 14n * ORDER) }),
    made(false, "s = L.", { signature: withS(ORDER) }),
    made(false, "s = L − 1, which is canonical, but not the signature's.", { signature: withS(ORDER - 1n) }),
    made(false, "s = 0, which is canonical, but not the signature's.", { signature: withS(0n) }),
    made(false, "s = 2^256 − 1.", { signature: withS(2n ** 256n - 1n) }),
    made(false, "−s.", { signature: withS(ORDER - S) }),
  ];
}

/** Keys of small order j·E: R = s·B − n·E is found with k·j = n modulo 8, so that the equation holds without the cofactor. */
function smallOrderKeyCases(): SignatureCase[] {
  return ORDERS.map((order, j) => {
    const s = 5n;
    const encodedR = encode(basePoint(s).subtract(smallOrderPoint(j)));
    const publicKey = encode(smallOrderPoint(j));
    const message = findMessage(
      (each) => challenge(encodedR, publicKey, each) % BigInt(order) === 1n % BigInt(order),
    );
    const signature = concatBytes(encodedR, scalarBytes(s));
    return made(false, `A key of order ${order} (${j}·E); the equation holds without the cofactor.`, {
      publicKey,
      message,
      signature,
    });
  });
}

/** Encodings with y ≥ p, or with the sign of x = 0: of points of small order, so that a signature that holds can be made. */
function encodingCases(): SignatureCase[] {
  const sign = 2n ** 255n;
  const keys: readonly (readonly [string, bigint, number])[] = [
    ["the neutral point with y = p + 1", FIELD + 1n, 0],
    ["the neutral point with y = p + 1 and the sign bit", FIELD + 1n + sign, 0],
    ["the neutral point with the sign bit", 1n + sign, 0],
    ["the point of order 2 with the sign bit", FIELD - 1n + sign, 4],
    ["a point of order 4 with y = p", FIELD, littleEndian(encodedSmallOrderPoint(2)) < sign ? 2 : 6],
    [
      "a point of order 4 with y = p and the sign bit",
      FIELD + sign,
      littleEndian(encodedSmallOrderPoint(2)) < sign ? 6 : 2,
    ],
  ];
  const s = 7n;
  const forged = keys.map(([what, encoding, j]) => {
    const publicKey = fieldBytes(encoding);
    const order = BigInt(ORDERS[j] as number);
    const encodedR = encode(basePoint(s).subtract(smallOrderPoint(j)));
    const message = findMessage((each) => challenge(encodedR, publicKey, each) % order === 1n % order);
    return made(false, `A key that encodes ${what}; the equation holds without the cofactor.`, {
      publicKey,
      message,
      signature: concatBytes(encodedR, scalarBytes(s)),
    });
  });
  const others = [3n, 4n, 5n, 9n, 10n, 13n, 14n, 15n, 16n, 18n].map((y) =>
    made(false, `A key with y = p + ${y}, which some take for y = ${y}.`, {
      publicKey: fieldBytes(FIELD + y),
    }),
  );
  return [...forged, ...others];
}

function encodedRCases(): SignatureCase[] {
  const rOf = (encoding: bigint, r: bigint): Bytes =>
    respond(fieldBytes(encoding), r, signer.publicKey, secret, MESSAGE);
  const sign = 2n ** 255n;
  const r = scalarOf("r");
  const torsionedR = (j: number): Bytes => {
    const encodedR = encode(basePoint(r).add(smallOrderPoint(j)));
    return respond(encodedR, r, signer.publicKey, secret, MESSAGE);
  };
  return [
    made(
      false,
      "R is the neutral point, in its canonical encoding: the equation holds without the cofactor.",
      {
        signature: rOf(1n, 0n),
      },
    ),
    made(false, "R is the neutral point, encoded with y = p + 1: the equation holds without the cofactor.", {
      signature: rOf(FIELD + 1n, 0n),
    }),
    made(
      false,
      "R is the neutral point, encoded with the sign bit: the equation holds without the cofactor.",
      { signature: rOf(1n + sign, 0n) },
    ),
    made(
      false,
      "R is the neutral point, encoded with y = p + 1 and the sign bit: the equation holds without the cofactor.",
      {
        signature: rOf(FIELD + 1n + sign, 0n),
      },
    ),
    ...[1, 2, 4].map((j) =>
      made(false, `R is r·B plus a point of order ${ORDERS[j]}: the equation holds with the cofactor.`, {
        signature: torsionedR(j),
      }),
    ),
    made(false, "R is a point of order 8 alone: the equation holds with the cofactor.", {
      signature: respond(encode(EIGHTH), 0n, signer.publicKey, secret, MESSAGE),
    }),
  ];
}

function torsionedKeyCases(): SignatureCase[] {
  const key = torsionedKey("torsioned");
  const both = findMessage((message) => key.challenge(message) % 8n === 0n);
  const cofactorOnly = findMessage((message) => key.challenge(message) % 8n !== 0n);
  const { publicKey } = key;
  return [
    made(false, "A key of mixed order; the equation holds with and without the cofactor.", {
      publicKey,
      message: both,
      signature: key.sign(both),
    }),
    made(false, "A key of mixed order; the equation holds with the cofactor alone.", {
      publicKey,
      message: cofactorOnly,
      signature: key.sign(cofactorOnly),
    }),
  ];
}

/** By the rule of ZIP 215: with the cofactor, any encodings, any order of the points; s below L. */
function laxly(publicKey: Bytes, message: Bytes, signature: Bytes): boolean {
  try {
    return ed25519.verify(signature, message, publicKey, { zip215: true });
  } catch {
    return false;
  }
}

export function signatureVectors() {
  const cases = [
    ...ordinaryCases(),
    ...scalarCases(),
    ...smallOrderKeyCases(),
    ...encodingCases(),
    ...encodedRCases(),
    ...torsionedKeyCases(),
  ];
  return {
    cases: cases.map(({ description, publicKey, message, signature, valid }) => ({
      description,
      publicKey: hex(publicKey),
      message: hex(message),
      signature: hex(signature),
      valid,
      zip215: laxly(publicKey, message, signature),
    })),
  };
}
