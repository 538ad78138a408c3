/** The part of an IPv6 address that one customer has: the first 64 bits. */
const IPV6_GROUPS = 4;

/**
 * Whose budget a request counts against by where it came from: its IPv4 address, or the /64 of its IPv6 address, as the platform names
 * it; null where it names none, as on a local node.
 */
export function clientAddress(header: string | null): string | null {
  const text = header?.trim().toLowerCase();
  if (!text) return null;
  if (!text.includes(":")) return text;
  const [head = "", tail] = text.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail ? tail.split(":") : [];
  const zeros =
    tail === undefined ? [] : Array<string>(Math.max(0, 8 - before.length - after.length)).fill("0");
  const groups = [...before, ...zeros, ...after].map((group) => group.replace(/^0+(?=.)/, ""));
  return `${groups.slice(0, IPV6_GROUPS).join(":")}::/64`;
}
