/** Topics of the XMTP message API (2023) that one wallet alone may write: its contact, and its private store. */
const RESTRICTED = /^\/xmtp\/0\/(?:contact|privatestore)-([^/]*)/;

/** The name in a topic that only the wallet of that name may write; undefined where any may. */
export const restrictedTo = (topic: string): string | undefined => RESTRICTED.exec(topic)?.[1];
